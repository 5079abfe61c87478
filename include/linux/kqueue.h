/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause */
/*
 * What <linux/kqueue.h> means with this directory on the include path: for a
 * program, the ABI, just as where it is installed; for a kernel module, that and
 * kqueue(9), by which it adds filters of its own and tells knotes of events.
 *
 * Documentation/kqueue.9 has the whole of it, and Documentation/filters.rst a
 * first filter step by step.
 */
#ifndef _LINUX_KQUEUE_H
#define _LINUX_KQUEUE_H

#include "../uapi/linux/kqueue.h"

#ifdef __KERNEL__

#include <linux/atomic.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct file;
struct filterops;
struct knlist;
struct module;
struct task_struct;

/* knote.kn_status */
#define KN_DETACHED	0x0001	/* f_detach is not to be called */

/**
 * struct knote - a registration, as a filter sees it
 * @kn_id:      ident
 * @kn_fp:      what is open at descriptor @kn_id, where the filter has f_isfd
 * @kn_fop:     the operators, as a copy; f_attach may put others here, before
 *              knlist_add(), which need no f_attach
 * @kn_hook:    the filter's own
 * @kn_filter:  EVFILT_*
 * @kn_flags:   EV_* that the filter adds to those that the program asked for,
 *              none at first: EV_CLEAR, EV_ONESHOT, EV_EOF, EV_FLAG1
 * @kn_status:  KN_DETACHED, from before f_attach until knlist_add(), and from
 *              knlist_remove() on
 * @kn_sfflags: fflags of the latest change
 * @kn_sdata:   data of the latest change
 * @kn_fflags:  fflags of the event
 * @kn_data:    data of the event
 *
 * The first five but @kn_hook do not change. The rest is the filter's, and is
 * used where its operators are called: under the lock of the knlist that the
 * knote is on. It has more fields than these; only kqueue makes one.
 */
struct knote {
	unsigned long		kn_id;
	struct file		*kn_fp;
	const struct filterops	*kn_fop;
	void			*kn_hook;
	short			kn_filter;
	unsigned short		kn_flags;
	unsigned int		kn_status;
	unsigned int		kn_sfflags;
	unsigned int		kn_fflags;
	__s64			kn_sdata;
	__s64			kn_data;
};

/* What f_touch is called for. */
#define EVENT_REGISTER	1UL	/* a change to a knote that is there */
#define EVENT_PROCESS	2UL	/* an event is about to be delivered */

/**
 * struct filterops - a filter
 * @f_size:    sizeof(struct filterops), as the module knows it
 * @f_isfd:    ident is a descriptor, and the knote goes when that is closed
 * @f_attach:  hook @kn to its object. 0, or a negative errno.
 * @f_detach:  unhook it
 * @f_event:   has the condition come to hold, or, with a @hint of 0, does it
 *             hold? Sets kn_data, kn_fflags and kn_flags of the event.
 * @f_touch:   EVENT_REGISTER: make the change @kev, instead of its being copied
 *             to kn_sfflags and kn_sdata if it has EV_ADD; a negative errno, and
 *             the change fails; 1, and the condition holds. EVENT_PROCESS: after f_event has found that the
 *             condition holds, fill @kev, and clear what EV_CLEAR clears.
 * @f_process: instead of f_event and f_touch when an event is to be delivered:
 *             fill @kev; 0 if there is nothing to deliver. EV_CLEAR and
 *             EV_ONESHOT in its flags say what becomes of the knote.
 * @f_peek:    instead of f_event with a hint of 0 where no event is delivered:
 *             does the condition hold?
 * @f_stale:   does ident mean another object by now? EV_ADD then makes another
 *             knote, and this one goes when it has delivered its last event.
 *
 * f_attach, f_detach and f_event have to be there. f_attach and f_detach are
 * called without a lock, and may sleep. All others are called under the lock of
 * the knlist that the knote is on; where it is on none, without. They may sleep
 * if that may be done under that lock. But for f_event with a hint, the
 * operators of one knote are called one at a time, and none after f_detach.
 *
 * No operator may call kqfd_register() for the kqueue that the knote is in. One
 * that is called under a list's lock may do to that list no more than
 * knlist_remove_inevent() of its own knote. After knlist_clear() the object may
 * be gone when f_detach is called: then all that f_detach may do with it is
 * knlist_remove(), which uses the list's address alone.
 */
struct filterops {
	size_t	f_size;
	int	f_isfd;
	int	(*f_attach)(struct knote *kn);
	void	(*f_detach)(struct knote *kn);
	int	(*f_event)(struct knote *kn, long hint);
	int	(*f_touch)(struct knote *kn, struct kevent *kev, unsigned long type);
	int	(*f_process)(struct knote *kn, struct kevent *kev);
	int	(*f_peek)(struct knote *kn);
	int	(*f_stale)(struct knote *kn);
};

/**
 * struct knlist - the knotes on an object
 *
 * Part of the object. All fields are knlist_*()'s own.
 */
struct knlist {
	const void	*kl_first;
	const void	*kl_last;
	unsigned long	kl_len;
	unsigned int	kl_state;
	unsigned int	kl_kind;
	void		*kl_lockarg;
	void		(*kl_lock)(void *arg);
	void		(*kl_unlock)(void *arg);
	int		(*kl_locked)(void *arg);
	unsigned long	kl_irqflags;
	atomic_t	kl_users;
};

/* Filters. A module's can be used from when its initialisation has ended. */
#define kqueue_add_filteropts(filt, ops) \
	__kqueue_add_filteropts(filt, ops, THIS_MODULE)
#define kfilter_register(name, ops, retfilter) \
	__kfilter_register(name, ops, retfilter, THIS_MODULE)
int __kqueue_add_filteropts(int filt, const struct filterops *ops,
			    struct module *owner);
int kqueue_del_filteropts(int filt);
int __kfilter_register(const char *name, const struct filterops *ops,
		       int *retfilter, struct module *owner);
int kfilter_unregister(const char *name);

/*
 * Registering for the current process, which @td is, or NULL. It sleeps: without
 * @waitok it is -EAGAIN.
 */
int kqfd_register(int fd, const struct kevent *kev, struct task_struct *td,
		  int waitok);

/* The condition of a knote has come to hold. Any context. */
void knote_activate(struct knote *kn);

/*
 * Lists of knotes. Without functions @lock is a struct mutex, and without @lock
 * one is shared. At most 1024 knotes are on a list; for more EV_ADD is ENOMEM.
 *
 * knlist_clear() and knlist_delete() without @islocked, and knlist_destroy(),
 * wait for operators that are under way, so no lock may be held that these take.
 */
void knlist_init(struct knlist *knl, void *lock, void (*kl_lock)(void *arg),
		 void (*kl_unlock)(void *arg), int (*kl_locked)(void *arg));
void knlist_init_mutex(struct knlist *knl, struct mutex *lock);
void knlist_init_spin(struct knlist *knl, spinlock_t *lock);
/* With a lock that is a struct mutex or a spinlock_t, taken with interrupts off. */
#define knlist_init_mtx(knl, lock)				\
	_Generic((lock),					\
		 struct mutex *: knlist_init_mutex,		\
		 spinlock_t *: knlist_init_spin)(knl, lock)
void knlist_add(struct knlist *knl, struct knote *kn, int islocked);
void knlist_remove(struct knlist *knl, struct knote *kn, int islocked);
void knlist_remove_inevent(struct knlist *knl, struct knote *kn);
int knlist_empty(struct knlist *knl);
void knlist_clear(struct knlist *knl, int islocked);
void knlist_delete(struct knlist *knl, struct task_struct *td, int islocked);
void knlist_destroy(struct knlist *knl);

/*
 * Something has happened to the object: tell all its knotes. The first two with
 * the list's lock held, as NetBSD and FreeBSD call it; in any context in which
 * the lock may be taken.
 */
void knote(struct knlist *knl, long hint);
#define KNOTE_LOCKED(knl, hint)	knote(knl, hint)
void knote_unlocked(struct knlist *knl, long hint);
#define KNOTE_UNLOCKED(knl, hint)	knote_unlocked(knl, hint)

#endif /* __KERNEL__ */

#endif /* _LINUX_KQUEUE_H */
