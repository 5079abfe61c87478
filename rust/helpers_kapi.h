/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What kqueue(9) needs of C: the locks of other modules, which are macros, and
 * what is done to their structures where it has no name in Rust.
 */
#ifndef KQUEUE_HELPERS_KAPI_H
#define KQUEUE_HELPERS_KAPI_H

#include <linux/module.h>

#include "../include/linux/kqueue.h"

/* knlist.kl_kind */
enum {
	KQ_KNLIST_FUNCTIONS,
	KQ_KNLIST_MUTEX,
	KQ_KNLIST_SPIN,
};

/* knlist.kl_state; anything else is no list. */
enum {
	KQ_KNLIST_LIVE = 0x6b6e6c31,
	KQ_KNLIST_DESTROYED = 0x6b6e6c30,
};

/* The lock that lists without one share. */
spinlock_t *kq_knlist_shared_lock(void);
void kq_knlist_lock(struct knlist *knl);
void kq_knlist_unlock(struct knlist *knl);
void kq_knlist_assert_locked(struct knlist *knl);

bool kq_in_task(void);

/* A count of those who are at something, and which somebody waits for. */
void kq_count_in(atomic_t *count);
void kq_count_out(atomic_t *count);
void kq_count_wait(atomic_t *count);

/* A reference to a module that has begun, and not ended, to do its work. */
bool kq_module_get_live(struct module *module);
void kq_module_get(struct module *module);

/* Calls kq_module_going(), which is in Rust, when a module goes. */
int kq_module_watch(void);
void kq_module_unwatch(void);
void kq_module_going(struct module *module);

/* A module does what it must not: say so, and who. */
void kq_misuse(const char *what);

#endif /* KQUEUE_HELPERS_KAPI_H */
