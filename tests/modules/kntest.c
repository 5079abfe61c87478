// SPDX-License-Identifier: GPL-2.0
/*
 * What tests/kapi.c has done in the kernel: lists with every kind of lock, and
 * what is to be done to them or registered, as commands written to
 * /sys/kernel/debug/kntest/command. The errno of a command is write(2)'s.
 *
 * The filter is EVFILT_KNTEST: ident is a list's number, and more (see attach).
 */
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/irq_work.h>
#include <linux/kqueue.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/rwsem.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

static bool fail;
module_param(fail, bool, 0);
MODULE_PARM_DESC(fail, "Register the filter, leave it so, and fail");

static DEFINE_SPINLOCK(spin);
static DEFINE_MUTEX(mutex);
static DEFINE_RWLOCK(functions);

enum { SPIN, MUTEX, FUNCTIONS, SHARED, LISTS };

/* What the lists are of. An object is remade when its list was destroyed. */
struct object {
	struct knlist	knotes;
	int		number;
};

static struct object *objects[LISTS];
/* For reading while an object is looked up and used, or put on its list. */
static DECLARE_RWSEM(objects_lock);
static u64 attached, detached, told;

/*
 * Polls a kqueue, and whenever it is called makes the next of some events there.
 * How often it was called in an interrupt, and how often by a task.
 */
static struct poller {
	struct poll_table_struct	table;
	struct wait_queue_entry		wait;
	struct wait_queue_head		*head;
	unsigned long			next, last;
	u64				in_irq, in_task;
} poller;

#define NEXT	LONG_MAX	/* the hint */

static void write_lock_function(void *lock)
{
	write_lock((rwlock_t *)lock);
}

static void write_unlock_function(void *lock)
{
	write_unlock((rwlock_t *)lock);
}

static int is_locked_function(void *lock)
{
	if (!write_trylock((rwlock_t *)lock))
		return 1;
	write_unlock((rwlock_t *)lock);
	return 0;
}

static struct object *make(int number)
{
	struct object *o = kzalloc(sizeof(*o), GFP_KERNEL);

	if (!o)
		return NULL;
	o->number = number;
	switch (number) {
	case SPIN:
		knlist_init_mtx(&o->knotes, &spin);
		break;
	case MUTEX:
		knlist_init_mtx(&o->knotes, &mutex);
		break;
	case FUNCTIONS:
		knlist_init(&o->knotes, &functions, write_lock_function,
			    write_unlock_function, is_locked_function);
		break;
	case SHARED:
		knlist_init(&o->knotes, NULL, NULL, NULL, NULL);
		break;
	}
	return o;
}

/* The lock of a list as its owner takes it; the shared one nobody can. */
static void lock(int number)
{
	switch (number) {
	case SPIN:
		spin_lock_irq(&spin);
		break;
	case MUTEX:
		mutex_lock(&mutex);
		break;
	case FUNCTIONS:
		write_lock(&functions);
		break;
	}
}

static void unlock(int number)
{
	switch (number) {
	case SPIN:
		spin_unlock_irq(&spin);
		break;
	case MUTEX:
		mutex_unlock(&mutex);
		break;
	case FUNCTIONS:
		write_unlock(&functions);
		break;
	}
}

/* Idents from here on have the list's number in their last digit. */
#define FAILS		1000	/* after the knote was put on the list */
#define FAILS_BADLY	2000	/* and it is left there */
#define OTHER_OPS	3000	/* with other operators */
#define NO_LIST		4000	/* on none */
#define LEAVES_LIST	5000	/* f_detach does not take it off */

static const struct filterops other_ops;

static int attach_to(struct knote *kn, struct object *o)
{
	unsigned long kind = kn->kn_id / 1000 * 1000;

	attached++;
	kn->kn_hook = o;
	if (kn->kn_sfflags & 1)
		kn->kn_flags |= EV_CLEAR;
	if (kind == NO_LIST) {
		kn->kn_status &= ~KN_DETACHED;
		return 0;
	}
	knlist_add(&o->knotes, kn, 0);
	switch (kind) {
	case FAILS:
		knlist_remove(&o->knotes, kn, 0);
		return -EPERM;
	case FAILS_BADLY:
		return -EPERM;
	case OTHER_OPS:
		kn->kn_fop = &other_ops;
		return 0;
	}
	return 0;
}

static int attach(struct knote *kn)
{
	int ret;

	/* Who takes the object away takes its knotes off the list after that. */
	down_read(&objects_lock);
	ret = attach_to(kn, objects[kn->kn_id % 10 % LISTS]);
	up_read(&objects_lock);
	return ret;
}

static void detach(struct knote *kn)
{
	struct object *o = kn->kn_hook;

	detached++;
	/* The list may be gone, and then only its address is used. */
	if (kn->kn_id / 1000 * 1000 != LEAVES_LIST)
		knlist_remove(&o->knotes, kn, 0);
}

static int event(struct knote *kn, long hint)
{
	struct object *o = kn->kn_hook;

	told++;
	/* The object has to be there. */
	if (o->number != kn->kn_id % 10 % LISTS)
		return 0;
	if (hint == NEXT) {
		if (kn->kn_id / 10 != poller.next)
			return 0;
		hint = 1;
	}
	if (hint < 0) {
		knlist_remove_inevent(&o->knotes, kn);
		return 0;
	}
	kn->kn_data += hint;
	kn->kn_fflags = kn->kn_sfflags;
	return kn->kn_data != 0;
}

static const struct filterops ops = {
	.f_size		= sizeof(struct filterops),
	.f_attach	= attach,
	.f_detach	= detach,
	.f_event	= event,
};

/* Data is what f_touch makes of it: all it has been told, and its changes. */
static int other_event(struct knote *kn, long hint)
{
	kn->kn_data += hint;
	return kn->kn_data != 0;
}

static int other_touch(struct knote *kn, struct kevent *kev, unsigned long type)
{
	if (type == EVENT_PROCESS) {
		kev->data = kn->kn_data;
		kev->fflags = kn->kn_fflags;
		kn->kn_data = 0;
		kn->kn_fflags = 0;
		return 0;
	}
	if (kev->fflags == 13)
		return -EDOM;
	kn->kn_fflags++;
	kn->kn_data += kev->data;
	return 0;
}

static const struct filterops other_ops = {
	.f_size		= sizeof(struct filterops),
	.f_attach	= attach,
	.f_detach	= detach,
	.f_event	= other_event,
	.f_touch	= other_touch,
};

/* f_process and f_peek: an event for each 10, the last of which ends it. */
static struct knote *tens;		/* the latest */
static DEFINE_MUTEX(tens_lock);

static int tens_attach(struct knote *kn)
{
	kn->kn_status &= ~KN_DETACHED;
	kn->kn_data = kn->kn_sdata;
	attached++;
	mutex_lock(&tens_lock);
	tens = kn;
	mutex_unlock(&tens_lock);
	return 0;
}

static void tens_detach(struct knote *kn)
{
	detached++;
	mutex_lock(&tens_lock);
	if (tens == kn)
		tens = NULL;
	mutex_unlock(&tens_lock);
}

static int tens_event(struct knote *kn, long hint)
{
	return 0;
}

static int tens_peek(struct knote *kn)
{
	return kn->kn_data > 0;
}

static int tens_process(struct knote *kn, struct kevent *kev)
{
	if (kn->kn_data <= 0)
		return 0;
	kev->ident = 4711;		/* which is not heeded */
	kev->data = min(kn->kn_data, 10);
	kn->kn_data -= kev->data;
	if (kn->kn_data <= 0)
		kev->flags |= EV_ONESHOT | EV_EOF;
	return 1;
}

static const struct filterops tens_ops = {
	.f_size		= sizeof(struct filterops),
	.f_attach	= tens_attach,
	.f_detach	= tens_detach,
	.f_event	= tens_event,
	.f_process	= tens_process,
	.f_peek		= tens_peek,
};

/* What an older, and a newer, module would have. */
struct newer_ops {
	struct filterops	ops;
	int			(*f_newer)(struct knote *kn);
};

static struct newer_ops newer_ops;
static struct filterops shorter_ops, lacking_ops;

static struct knlist destroyed;

static struct {
	struct irq_work	work;
	int		number;
	long		hint;
	struct completion done;
} irq;

static void in_irq(struct irq_work *work)
{
	KNOTE_UNLOCKED(&objects[irq.number]->knotes, irq.hint);
	complete(&irq.done);
}

static int poller_wake(struct wait_queue_entry *wait, unsigned int mode,
		       int flags, void *key)
{
	if (in_hardirq())
		poller.in_irq++;
	else
		poller.in_task++;
	if (poller.next < poller.last) {
		WRITE_ONCE(poller.next, poller.next + 1);
		KNOTE_UNLOCKED(&objects[SPIN]->knotes, NEXT);
	}
	return 0;
}

static void poller_queue(struct file *file, struct wait_queue_head *head,
			 struct poll_table_struct *table)
{
	poller.head = head;
	add_wait_queue(head, &poller.wait);
}

/* Makes the events of the knotes 0, 10, 20 and so on, which are of kqueue @fd. */
static int poll_and_tell(int fd, unsigned long count)
{
	struct file *file = fget(fd);
	int tries;

	if (!file)
		return -EBADF;
	poller = (struct poller) { .last = count - 1 };
	init_poll_funcptr(&poller.table, poller_queue);
	init_waitqueue_func_entry(&poller.wait, poller_wake);
	vfs_poll(file, &poller.table);
	KNOTE_UNLOCKED(&objects[SPIN]->knotes, NEXT);
	for (tries = 0; tries < 30000; tries++) {
		if (READ_ONCE(poller.in_irq) + READ_ONCE(poller.in_task) == count)
			break;
		msleep(1);
	}
	if (poller.head)
		remove_wait_queue(poller.head, &poller.wait);
	fput(file);
	return tries < 30000 ? 0 : -ETIME;
}

/* Wakes who polls kqueue @fd, and does not say of what. */
static int wake_pollers(int fd)
{
	struct file *file = fget(fd);

	if (!file)
		return -EBADF;
	poller = (struct poller) { };
	init_poll_funcptr(&poller.table, poller_queue);
	init_waitqueue_func_entry(&poller.wait, poller_wake);
	vfs_poll(file, &poller.table);
	if (poller.head) {
		remove_wait_queue(poller.head, &poller.wait);
		wake_up_all(poller.head);
	}
	fput(file);
	return 0;
}

static int destroy(int number)
{
	struct object *o, *new = make(number);

	if (!new)
		return -ENOMEM;
	/* Nobody finds it any more; who has it is told that it goes. */
	down_write(&objects_lock);
	o = objects[number];
	objects[number] = new;
	up_write(&objects_lock);
	knlist_clear(&o->knotes, 0);
	knlist_destroy(&o->knotes);
	kfree(o);
	return 0;
}

/* The latest knote, while it is not looked at, has so much more. */
static int activate(long data)
{
	int ret = -ENOENT;

	mutex_lock(&tens_lock);
	if (tens) {
		tens->kn_data += data;
		knote_activate(tens);
		ret = 0;
	}
	mutex_unlock(&tens_lock);
	return ret;
}

static int command(const char *verb, long a, long b)
{
	struct kevent kev = { .ident = b, .filter = EVFILT_USER,
			      .flags = EV_ADD, .fflags = NOTE_TRIGGER };

	if (!strcmp(verb, "add"))
		return kqueue_add_filteropts(a, &tens_ops);
	if (!strcmp(verb, "add_shorter"))
		return kqueue_add_filteropts(a, &shorter_ops);
	if (!strcmp(verb, "add_newer"))
		return kqueue_add_filteropts(a, &newer_ops.ops);
	if (!strcmp(verb, "add_lacking"))
		return kqueue_add_filteropts(a, &lacking_ops);
	if (!strcmp(verb, "del"))
		return kqueue_del_filteropts(a);
	if (!strcmp(verb, "register"))
		return kqfd_register(a, &kev, current, 1);
	if (!strcmp(verb, "register_nowait"))
		return kqfd_register(a, &kev, current, 0);
	if (!strcmp(verb, "register_other"))
		return kqfd_register(a, &kev, &init_task, 1);
	if (!strcmp(verb, "activate"))
		return activate(a);
	if (!strcmp(verb, "poll_and_tell"))
		return poll_and_tell(a, b);
	if (!strcmp(verb, "wake_pollers"))
		return wake_pollers(a);
	if (!strcmp(verb, "use_destroyed")) {
		knlist_init_mtx(&destroyed, &mutex);
		knlist_destroy(&destroyed);
		KNOTE_UNLOCKED(&destroyed, 1);
		return 0;
	}
	return -ENOTTY;
}

/* What is done to list number @a. */
static int list_command(const char *verb, long a, long b)
{
	struct knlist *knl = &objects[a]->knotes;

	if (!strcmp(verb, "tell")) {
		KNOTE_UNLOCKED(knl, b);
	} else if (!strcmp(verb, "tell_locked")) {
		lock(a);
		KNOTE_LOCKED(knl, b);
		unlock(a);
	} else if (!strcmp(verb, "tell_falsely")) {
		KNOTE_LOCKED(knl, b);
	} else if (!strcmp(verb, "tell_irq")) {
		irq.number = a;
		irq.hint = b;
		reinit_completion(&irq.done);
		irq_work_queue(&irq.work);
		wait_for_completion(&irq.done);
	} else if (!strcmp(verb, "clear")) {
		knlist_clear(knl, 0);
	} else if (!strcmp(verb, "delete")) {
		knlist_delete(knl, current, 0);
	} else if (!strcmp(verb, "clear_locked")) {
		lock(a);
		knlist_clear(knl, 1);
		unlock(a);
	} else if (!strcmp(verb, "delete_locked")) {
		lock(a);
		knlist_delete(knl, current, 1);
		unlock(a);
	} else if (!strcmp(verb, "empty")) {
		return knlist_empty(knl) ? 0 : -EBUSY;
	} else {
		return -ENOTTY;
	}
	return 0;
}

static ssize_t command_write(struct file *file, const char __user *ubuf,
			     size_t len, loff_t *pos)
{
	char buf[80], verb[32], name[40];
	long a = 0, b = 0;
	int ret;

	if (len >= sizeof(buf))
		return -EINVAL;
	if (copy_from_user(buf, ubuf, len))
		return -EFAULT;
	buf[len] = '\0';
	if (sscanf(buf, "name %39s", name) == 1) {
		ret = kfilter_register(name, &tens_ops, NULL);
	} else if (sscanf(buf, "unname %39s", name) == 1) {
		ret = kfilter_unregister(name);
	} else if (sscanf(buf, "%31s %ld %ld", verb, &a, &b) < 1) {
		ret = -EINVAL;
	} else {
		ret = command(verb, a, b);
		if (ret == -ENOTTY && a >= 0 && a < LISTS) {
			if (!strcmp(verb, "destroy")) {
				ret = destroy(a);
			} else {
				down_read(&objects_lock);
				ret = list_command(verb, a, b);
				up_read(&objects_lock);
			}
		}
	}
	return ret ? ret : len;
}

static const struct file_operations command_fops = {
	.owner	= THIS_MODULE,
	.open	= simple_open,
	.write	= command_write,
};

static struct dentry *dir;
static int number;

static int __init kntest_init(void)
{
	int i, ret;

	ret = kfilter_register("EVFILT_KNTEST", &ops, &number);
	if (ret || fail)
		return ret ? ret : -EINVAL;
	for (i = 0; i < LISTS; i++) {
		objects[i] = make(i);
		if (!objects[i]) {
			kfilter_unregister("EVFILT_KNTEST");
			return -ENOMEM;
		}
	}
	init_irq_work(&irq.work, in_irq);
	init_completion(&irq.done);
	shorter_ops = ops;
	shorter_ops.f_size = offsetof(struct filterops, f_touch);
	/* Where that has come to stand, nothing must be looked for. */
	shorter_ops.f_touch = (void *)1;
	lacking_ops = ops;
	lacking_ops.f_detach = NULL;
	newer_ops.ops = ops;
	newer_ops.ops.f_size = sizeof(newer_ops);
	newer_ops.f_newer = tens_peek;
	dir = debugfs_create_dir("kntest", NULL);
	debugfs_create_file("command", 0600, dir, NULL, &command_fops);
	debugfs_create_u32("number", 0444, dir, (u32 *)&number);
	debugfs_create_u64("attached", 0444, dir, &attached);
	debugfs_create_u64("detached", 0444, dir, &detached);
	debugfs_create_u64("told", 0444, dir, &told);
	debugfs_create_u64("in_irq", 0444, dir, &poller.in_irq);
	debugfs_create_u64("in_task", 0444, dir, &poller.in_task);
	return 0;
}
module_init(kntest_init);

static void __exit kntest_exit(void)
{
	int i;

	debugfs_remove_recursive(dir);
	kfilter_unregister("EVFILT_KNTEST");
	for (i = 0; i < LISTS; i++) {
		knlist_destroy(&objects[i]->knotes);
		kfree(objects[i]);
	}
}
module_exit(kntest_exit);

MODULE_DESCRIPTION("What the tests of kqueue(9) want done");
MODULE_AUTHOR("The kqueue for Linux authors");
MODULE_LICENSE("GPL");
