// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/ticker: a device that a timer makes data for, and whose readers are told
 * so through a knlist. Documentation/filters.rst goes through it.
 *
 * A number that is written to it is how many ticks are to come, a millisecond
 * apart. read(2) takes all that have come, a byte each, and never waits. The
 * filter EVFILT_TICKER is on its descriptors: data is how many ticks there are.
 */
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/kqueue.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

/**
 * struct ticker - an open file
 * @lock:   guards what follows, and the list; taken in the timer's interrupt
 * @knotes: those who want to know
 * @ticks:  come, and not read
 * @left:   to come
 */
struct ticker {
	spinlock_t	lock;
	struct knlist	knotes;
	unsigned int	ticks;
	unsigned int	left;
	struct hrtimer	timer;
};

static const ktime_t period = NSEC_PER_MSEC;
static const struct file_operations ticker_fops;

/* In interrupt context. */
static enum hrtimer_restart ticker_expired(struct hrtimer *timer)
{
	struct ticker *t = container_of(timer, struct ticker, timer);
	bool more;

	spin_lock(&t->lock);
	t->ticks++;
	more = --t->left;
	if (more)
		hrtimer_forward_now(timer, period);
	KNOTE_LOCKED(&t->knotes, 1);
	spin_unlock(&t->lock);
	return more ? HRTIMER_RESTART : HRTIMER_NORESTART;
}

static int ticker_attach(struct knote *kn)
{
	struct ticker *t;

	if (kn->kn_fp->f_op != &ticker_fops)
		return -EINVAL;
	t = kn->kn_fp->private_data;
	/* Before it can be told anything. */
	kn->kn_hook = t;
	knlist_add(&t->knotes, kn, 0);
	return 0;
}

static void ticker_detach(struct knote *kn)
{
	struct ticker *t = kn->kn_hook;

	knlist_remove(&t->knotes, kn, 0);
}

/* Under the lock, whoever calls. */
static int ticker_event(struct knote *kn, long hint)
{
	struct ticker *t = kn->kn_hook;

	kn->kn_data = t->ticks;
	return t->ticks != 0;
}

static const struct filterops ticker_filterops = {
	.f_size		= sizeof(struct filterops),
	.f_isfd		= 1,
	.f_attach	= ticker_attach,
	.f_detach	= ticker_detach,
	.f_event	= ticker_event,
};

static int ticker_open(struct inode *inode, struct file *file)
{
	struct ticker *t = kzalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);

	if (!t)
		return -ENOMEM;
	spin_lock_init(&t->lock);
	knlist_init_mtx(&t->knotes, &t->lock);
	hrtimer_setup(&t->timer, ticker_expired, CLOCK_MONOTONIC,
		      HRTIMER_MODE_REL);
	file->private_data = t;
	return stream_open(inode, file);
}

static int ticker_release(struct inode *inode, struct file *file)
{
	struct ticker *t = file->private_data;

	hrtimer_cancel(&t->timer);
	/* A knote holds its file, so there is none. */
	knlist_destroy(&t->knotes);
	kfree(t);
	return 0;
}

static ssize_t ticker_read(struct file *file, char __user *buf, size_t len,
			   loff_t *pos)
{
	struct ticker *t = file->private_data;
	unsigned int n;

	spin_lock_irq(&t->lock);
	n = min(len, t->ticks);
	t->ticks -= n;
	spin_unlock_irq(&t->lock);
	if (!n)
		return -EAGAIN;
	return clear_user(buf, n) ? -EFAULT : n;
}

static ssize_t ticker_write(struct file *file, const char __user *buf,
			    size_t len, loff_t *pos)
{
	struct ticker *t = file->private_data;
	unsigned int n;
	int ret;

	ret = kstrtouint_from_user(buf, len, 10, &n);
	if (ret)
		return ret;
	if (!n || n > 1000000)
		return -EINVAL;
	spin_lock_irq(&t->lock);
	t->left += n;
	if (!hrtimer_is_queued(&t->timer))
		hrtimer_start(&t->timer, period, HRTIMER_MODE_REL);
	spin_unlock_irq(&t->lock);
	return len;
}

static const struct file_operations ticker_fops = {
	.owner		= THIS_MODULE,
	.open		= ticker_open,
	.release	= ticker_release,
	.read		= ticker_read,
	.write		= ticker_write,
};

static struct miscdevice ticker_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "ticker",
	.fops	= &ticker_fops,
	.mode	= 0666,
};

static int __init ticker_init(void)
{
	int ret;

	ret = kfilter_register("EVFILT_TICKER", &ticker_filterops, NULL);
	if (ret)
		return ret;
	ret = misc_register(&ticker_device);
	if (ret)
		kfilter_unregister("EVFILT_TICKER");
	return ret;
}
module_init(ticker_init);

static void __exit ticker_exit(void)
{
	misc_deregister(&ticker_device);
	kfilter_unregister("EVFILT_TICKER");
}
module_exit(ticker_exit);

MODULE_DESCRIPTION("A filter for kqueue, in C");
MODULE_AUTHOR("The kqueue for Linux authors");
MODULE_LICENSE("GPL");
