// SPDX-License-Identifier: GPL-2.0
/*
 * See helpers_kapi.h.
 */
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/wait_bit.h>

#include "helpers_kapi.h"

/* ---- Lists ---- */

static DEFINE_SPINLOCK(shared_lock);

spinlock_t *kq_knlist_shared_lock(void)
{
	return &shared_lock;
}

void kq_knlist_lock(struct knlist *knl)
{
	unsigned long flags;

	switch (knl->kl_kind) {
	case KQ_KNLIST_FUNCTIONS:
		knl->kl_lock(knl->kl_lockarg);
		break;
	case KQ_KNLIST_MUTEX:
		mutex_lock(knl->kl_lockarg);
		break;
	case KQ_KNLIST_SPIN:
		/* Kept where only the holder of the lock looks. */
		spin_lock_irqsave((spinlock_t *)knl->kl_lockarg, flags);
		knl->kl_irqflags = flags;
		break;
	}
}

void kq_knlist_unlock(struct knlist *knl)
{
	switch (knl->kl_kind) {
	case KQ_KNLIST_FUNCTIONS:
		knl->kl_unlock(knl->kl_lockarg);
		break;
	case KQ_KNLIST_MUTEX:
		mutex_unlock(knl->kl_lockarg);
		break;
	case KQ_KNLIST_SPIN:
		spin_unlock_irqrestore((spinlock_t *)knl->kl_lockarg,
				       knl->kl_irqflags);
		break;
	}
}

void kq_knlist_assert_locked(struct knlist *knl)
{
	switch (knl->kl_kind) {
	case KQ_KNLIST_FUNCTIONS:
		if (!knl->kl_locked(knl->kl_lockarg))
			kq_misuse("the lock of a knlist is not held");
		break;
	case KQ_KNLIST_MUTEX:
		lockdep_assert_held((struct mutex *)knl->kl_lockarg);
		break;
	case KQ_KNLIST_SPIN:
		lockdep_assert_held((spinlock_t *)knl->kl_lockarg);
		break;
	}
}

bool kq_in_task(void)
{
	return in_task();
}

void kq_count_in(atomic_t *count)
{
	atomic_inc(count);
}

void kq_count_out(atomic_t *count)
{
	/* Once it is zero it may be gone: its address is all that is used. */
	if (atomic_dec_and_test(count))
		wake_up_var(count);
}

void kq_count_wait(atomic_t *count)
{
	if (atomic_read_acquire(count))
		wait_var_event(count, !atomic_read_acquire(count));
}

/* ---- Modules ---- */

bool kq_module_get_live(struct module *module)
{
	/* The kernel's own, or one whose initialisation can fail no more. */
	return !module || (READ_ONCE(module->state) == MODULE_STATE_LIVE &&
			   try_module_get(module));
}

void kq_module_get(struct module *module)
{
	__module_get(module);
}

static int module_changes(struct notifier_block *nb, unsigned long state,
			  void *module)
{
	if (state == MODULE_STATE_GOING)
		kq_module_going(module);
	return NOTIFY_OK;
}

static struct notifier_block module_notifier = {
	.notifier_call = module_changes,
};

int kq_module_watch(void)
{
	return register_module_notifier(&module_notifier);
}

void kq_module_unwatch(void)
{
	unregister_module_notifier(&module_notifier);
}

void kq_misuse(const char *what)
{
	pr_err("kqueue: misuse: %s\n", what);
	dump_stack();
}
