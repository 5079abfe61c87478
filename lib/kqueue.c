// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause
/*
 * libkqueue: kqueue(2) and kevent(2) over /dev/kqueue.
 *
 * The kernel keeps all state. There is none here, so these calls may be made
 * from any thread, from a signal handler, and between vfork() and exec.
 */
#define _GNU_SOURCE	/* struct timespec and O_CLOEXEC whatever -std= says */
#include <sys/event.h>
#include <sys/ioctl.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/time_types.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

/* What KQUEUE_AS_... makes of the names in <sys/event.h>. */
#define DECLARE_AS(flavour)				\
	int kqueue_as_##flavour(void);			\
	int kqueue1_as_##flavour(int flags);		\
	int kqueuex_as_##flavour(unsigned int flags)

DECLARE_AS(freebsd);
DECLARE_AS(netbsd);
DECLARE_AS(macos);

static int kqueue_open(int cloexec, __u32 flavour)
{
	int kq = open("/dev/kqueue", O_RDWR | cloexec);

	/* What a new kqueue is anyway. */
	if (kq < 0 || flavour == KQUEUE_FLAVOUR_OPENBSD)
		return kq;
	if (ioctl(kq, KQUEUE_IOC_FLAVOUR, &flavour) < 0) {
		int error = errno;

		close(kq);
		errno = error;
		return -1;
	}
	return kq;
}

static int kqueue1_open(int flags, __u32 flavour)
{
	if (flags & ~O_CLOEXEC) {
		errno = EINVAL;
		return -1;
	}
	return kqueue_open(flags, flavour);
}

static int kqueuex_open(unsigned int flags, __u32 flavour)
{
	if (flags & ~KQUEUE_CLOEXEC) {
		errno = EINVAL;
		return -1;
	}
	return kqueue_open(flags & KQUEUE_CLOEXEC ? O_CLOEXEC : 0, flavour);
}

#define DEFINE_AS(suffix, flavour)			\
int kqueue##suffix(void)				\
{							\
	return kqueue_open(0, flavour);			\
}							\
							\
int kqueue1##suffix(int flags)				\
{							\
	return kqueue1_open(flags, flavour);		\
}							\
							\
int kqueuex##suffix(unsigned int flags)			\
{							\
	return kqueuex_open(flags, flavour);		\
}

DEFINE_AS(, KQUEUE_FLAVOUR_OPENBSD)
DEFINE_AS(_as_freebsd, KQUEUE_FLAVOUR_FREEBSD)
DEFINE_AS(_as_netbsd, KQUEUE_FLAVOUR_NETBSD)
DEFINE_AS(_as_macos, KQUEUE_FLAVOUR_MACOS)

/*
 * Whether the program's timespec is the kernel's, so that its address can go
 * straight through and a bad one is the kernel's to refuse. Both are 16 bytes
 * with a 64-bit time_t on a 32-bit machine too, but there tv_nsec is half as
 * wide and the rest is padding nobody has set.
 */
#define TIMESPEC_IS_KERNELS						\
	(sizeof(struct timespec) == sizeof(struct __kernel_timespec) &&	\
	 sizeof(((struct timespec *)0)->tv_nsec) ==			\
	 sizeof(((struct __kernel_timespec *)0)->tv_nsec))

int kevent(int kq, const struct kevent *changelist, int nchanges,
	   struct kevent *eventlist, int nevents,
	   const struct timespec *timeout)
{
	struct __kernel_timespec ts;
	struct kqueue_kevent args = {
		.changelist = (uintptr_t)changelist,
		.eventlist = (uintptr_t)eventlist,
		.nchanges = nchanges,
		.nevents = nevents,
	};
	int n;

	if (timeout && TIMESPEC_IS_KERNELS) {
		args.timeout = (uintptr_t)timeout;
	} else if (timeout) {
		ts.tv_sec = timeout->tv_sec;
		ts.tv_nsec = timeout->tv_nsec;
		args.timeout = (uintptr_t)&ts;
	}

	n = ioctl(kq, KQUEUE_IOC_KEVENT, &args);

	/*
	 * A file that is no kqueue does not know the request, which is what
	 * kevent(2) calls EBADF. A kqueue always knows it. Nothing else is
	 * translated: whatever else another file's driver makes of a request
	 * it should not know cannot be told from a kqueue's own answer.
	 */
	if (n < 0 && errno == ENOTTY)
		errno = EBADF;
	return n;
}
