/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause */
/*
 * kqueue(2) and kevent(2), as programs written for a BSD include them.
 *
 * Compile with this directory's parent on the include path, link -lkqueue.
 */
#ifndef _SYS_EVENT_H_
#define _SYS_EVENT_H_

#include <sys/types.h>
#include <stdint.h>
#include <linux/kqueue.h>

/* Evaluates each argument once, and fills *(kevp). */
#define EV_SET(kevp, a, b, c, d, e, f) do {	\
	struct kevent *__kevp = (kevp);		\
	__kevp->ident = (uintptr_t)(a);		\
	__kevp->filter = (short)(b);		\
	__kevp->flags = (unsigned short)(c);	\
	__kevp->fflags = (unsigned int)(d);	\
	__kevp->data = (int64_t)(e);		\
	__kevp->udata = (void *)(f);		\
} while (0)

#ifdef __cplusplus
extern "C" {
#endif

struct timespec;

/*
 * Where the BSDs differ, a program gets what it was written for by defining one
 * of KQUEUE_AS_FREEBSD, KQUEUE_AS_NETBSD and KQUEUE_AS_MACOS when it is compiled;
 * otherwise it is OpenBSD's. The names of the functions are the same.
 */
#if defined(KQUEUE_AS_FREEBSD)
#define __KQUEUE_AS(name)	__asm__(#name "_as_freebsd")
#elif defined(KQUEUE_AS_NETBSD)
#define __KQUEUE_AS(name)	__asm__(#name "_as_netbsd")
#elif defined(KQUEUE_AS_MACOS)
#define __KQUEUE_AS(name)	__asm__(#name "_as_macos")
#else
#define __KQUEUE_AS(name)
#endif

/* A new kqueue, or -1 and errno. */
int	kqueue(void) __KQUEUE_AS(kqueue);

/* NetBSD and OpenBSD: flags may hold O_CLOEXEC. */
int	kqueue1(int flags) __KQUEUE_AS(kqueue1);

/* FreeBSD: flags may hold KQUEUE_CLOEXEC. */
int	kqueuex(unsigned int flags) __KQUEUE_AS(kqueuex);

/*
 * Apply nchanges changes, in order, then wait for events and store at most
 * nevents of them. The number stored, 0 where the timeout ran out, or -1 and
 * errno.
 */
int	kevent(int kq, const struct kevent *changelist, int nchanges,
	       struct kevent *eventlist, int nevents,
	       const struct timespec *timeout);

#ifdef __cplusplus
}
#endif

#endif /* _SYS_EVENT_H_ */
