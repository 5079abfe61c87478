// SPDX-License-Identifier: GPL-2.0
/*
 * Makes mistakes, one of each kind that the debug kernel is there to find. Which
 * one is written to /sys/kernel/debug/mishap, by its name below. It is made by
 * the task that writes, which may not live to return.
 *
 * No mistake does lasting harm where the kernel goes on after its report.
 */
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

/* In mishap_rust.rs. */
u8 mishap_rust_read(const u8 *p);
u32 mishap_rust_add(u32 a, u32 b);
u32 mishap_rust_half(u32 a);

/* None: that all is well where nothing is wrong. */
static void nothing(void)
{
}

static void use_after_free(void)
{
	u8 *p = kmalloc(40, GFP_KERNEL);

	if (!p)
		return;
	kfree(p);
	(void)READ_ONCE(p[8]);
}

static void use_after_free_in_rust(void)
{
	u8 *p = kmalloc(40, GFP_KERNEL);

	if (!p)
		return;
	kfree(p);
	mishap_rust_read(p + 8);
}

static void out_of_bounds(void)
{
	size_t size = 40;
	u8 *p = kmalloc(size, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(size);
	if (!p)
		return;
	(void)READ_ONCE(p[size]);
	kfree(p);
}

static void out_of_bounds_of_vmalloc(void)
{
	size_t size = PAGE_SIZE - 8;
	u8 *p = vmalloc(size);

	OPTIMIZER_HIDE_VAR(size);
	if (!p)
		return;
	(void)READ_ONCE(p[size]);
	vfree(p);
}

static DEFINE_SPINLOCK(lock_a);
static DEFINE_SPINLOCK(lock_b);

static void lock_inversion(void)
{
	spin_lock(&lock_a);
	spin_lock(&lock_b);
	spin_unlock(&lock_b);
	spin_unlock(&lock_a);

	spin_lock(&lock_b);
	spin_lock(&lock_a);
	spin_unlock(&lock_a);
	spin_unlock(&lock_b);
}

static void sleep_in_atomic(void)
{
	spin_lock(&lock_a);
	might_sleep();
	spin_unlock(&lock_a);
}

static int value;
static int __rcu *guarded = RCU_INITIALIZER(&value);

static void rcu_without_lock(void)
{
	(void)READ_ONCE(*rcu_dereference(guarded));
}

static LIST_HEAD(list);

static void list_corruption(void)
{
	static LIST_HEAD(entry);

	list_add(&entry, &list);
	list_add(&entry, &list);
	list_del(&entry);
}

static void never(struct timer_list *timer)
{
}

static void free_active_timer(void)
{
	struct timer_list *timer = kmalloc_obj(*timer, GFP_KERNEL);

	if (!timer)
		return;
	timer_setup(timer, never, 0);
	mod_timer(timer, jiffies + 3600 * HZ);
	/* The report of it removes the timer. */
	kfree(timer);
}

static DECLARE_COMPLETION(go_on);

static void wait_to_go_on(struct work_struct *work)
{
	wait_for_completion(&go_on);
}

static void free_active_work(void)
{
	struct workqueue_struct *queue = alloc_ordered_workqueue("mishap", 0);
	struct work_struct *work = kmalloc_obj(*work, GFP_KERNEL);
	static DECLARE_WORK(first, wait_to_go_on);

	if (queue && work) {
		queue_work(queue, &first);
		INIT_WORK(work, wait_to_go_on);
		queue_work(queue, work);
	}
	/* The report of it removes the work. */
	kfree(work);
	complete(&go_on);
	if (queue)
		destroy_workqueue(queue);
}

/* Several, as what an old word on a stack points to is no leak. */
static void leak(void)
{
	void *p;
	int i;

	for (i = 0; i < 16; i++) {
		p = kmalloc(1000, GFP_KERNEL);
		/* Or the compiler does without. */
		OPTIMIZER_HIDE_VAR(p);
	}
}

/* Longer than kernel.hung_task_timeout_secs and kernel.watchdog_thresh. */
#define LONG	8	/* seconds */

static void hung_task(void)
{
	schedule_timeout_uninterruptible(LONG * HZ);
}

static void soft_lockup(void)
{
	unsigned long end = jiffies + LONG * HZ;

	preempt_disable();
	while (time_before(jiffies, end))
		cpu_relax();
	preempt_enable();
}

static void rust_overflow(void)
{
	mishap_rust_add(U32_MAX, 1);
}

static void rust_assertion(void)
{
	mishap_rust_half(3);
}

#define KIND(name) { #name, name }
static const struct {
	const char *name;
	void (*make)(void);
} kinds[] = {
	KIND(nothing),
	KIND(sleep_in_atomic),
	KIND(rcu_without_lock),
	KIND(list_corruption),
	KIND(free_active_timer),
	KIND(free_active_work),
	KIND(hung_task),
	KIND(soft_lockup),
	KIND(lock_inversion),
	KIND(use_after_free),
	KIND(use_after_free_in_rust),
	KIND(out_of_bounds),
	KIND(out_of_bounds_of_vmalloc),
	KIND(rust_overflow),
	KIND(rust_assertion),
	KIND(leak),
};

static ssize_t mishap_write(struct file *file, const char __user *buf,
			    size_t len, loff_t *pos)
{
	char name[32];
	int i;

	if (len >= sizeof(name))
		return -EINVAL;
	if (copy_from_user(name, buf, len))
		return -EFAULT;
	name[len] = '\0';
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!sysfs_streq(name, kinds[i].name))
			continue;
		pr_info("mishap: %s begins\n", kinds[i].name);
		kinds[i].make();
		pr_info("mishap: %s ends\n", kinds[i].name);
		return len;
	}
	return -EINVAL;
}

static const struct file_operations mishap_fops = {
	.owner	= THIS_MODULE,
	.open	= simple_open,
	.write	= mishap_write,
};

static struct dentry *entry;

static int __init mishap_init(void)
{
	entry = debugfs_create_file("mishap", 0200, NULL, NULL, &mishap_fops);
	return PTR_ERR_OR_ZERO(entry);
}
module_init(mishap_init);

static void __exit mishap_exit(void)
{
	debugfs_remove(entry);
}
module_exit(mishap_exit);

MODULE_DESCRIPTION("Mistakes made on purpose");
MODULE_LICENSE("GPL");
