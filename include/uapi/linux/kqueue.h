/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause */
/*
 * /dev/kqueue: kqueue(2) and kevent(2) for Linux.
 *
 * Opening /dev/kqueue is kqueue(2): every open file is a kqueue of its own.
 * KQUEUE_IOC_KEVENT on it is kevent(2). A program normally includes
 * <sys/event.h>, which includes this file, and links libkqueue; a run-time that
 * makes its system calls itself needs this file only.
 */
#ifndef _UAPI_LINUX_KQUEUE_H
#define _UAPI_LINUX_KQUEUE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Filters. The names are the interface; the numbers are this system's. */
#define EVFILT_READ		(-1)
#define EVFILT_WRITE		(-2)
#define EVFILT_AIO		(-3)	/* reserved: EV_ADD is EINVAL */
#define EVFILT_VNODE		(-4)
#define EVFILT_PROC		(-5)
#define EVFILT_SIGNAL		(-6)
#define EVFILT_TIMER		(-7)
#define EVFILT_DEVICE		(-8)	/* reserved: EV_ADD is EINVAL */
#define EVFILT_EXCEPT		(-9)
#define EVFILT_USER		(-10)
#define EVFILT_EMPTY		(-11)
#define EVFILT_PROCDESC		(-12)
#define EVFILT_FS		(-13)
#define EVFILT_SYSCOUNT		13

/* Actions, in kevent.flags of a change. */
#define EV_ADD			0x0001	/* add, or change what is there */
#define EV_DELETE		0x0002
#define EV_ENABLE		0x0004
#define EV_DISABLE		0x0008

/* Properties, in kevent.flags of a change and of an event. */
#define EV_ONESHOT		0x0010	/* deleted when delivered */
#define EV_CLEAR		0x0020	/* state starts anew when delivered */
#define EV_RECEIPT		0x0040	/* answer this change with EV_ERROR */
#define EV_DISPATCH		0x0080	/* disabled when delivered */
#define EV_UDATA_SPECIFIC	0x0100	/* udata is part of the identity */
#define EV_KEEPUDATA		0x0200	/* a change leaves udata as it is */
#define EV_SYSFLAGS		0xf000	/* the kernel's own: dropped on input */
#define EV_FLAG1		0x2000	/* filter's own */

/* Returned values, in kevent.flags of an event. */
#define EV_ERROR		0x4000	/* data is an errno, or 0 for EV_RECEIPT */
#define EV_EOF			0x8000

/* EVFILT_READ, EVFILT_WRITE, EVFILT_EXCEPT. */
#define NOTE_LOWAT		0x00000001	/* data is a low-water mark */
#define NOTE_EOF		0x00000002	/* report end of a regular file */
#define NOTE_OOB		0x00000004	/* out-of-band data */
#define NOTE_FILE_POLL		0x00000008	/* a file is always ready */

/* EVFILT_VNODE. */
#define NOTE_DELETE		0x00000001
#define NOTE_WRITE		0x00000002
#define NOTE_EXTEND		0x00000004
#define NOTE_ATTRIB		0x00000008
#define NOTE_LINK		0x00000010
#define NOTE_RENAME		0x00000020
#define NOTE_REVOKE		0x00000040
#define NOTE_TRUNCATE		0x00000080
#define NOTE_OPEN		0x00000100
#define NOTE_CLOSE		0x00000200
#define NOTE_CLOSE_WRITE	0x00000400
#define NOTE_READ		0x00000800

/* EVFILT_FS. */
#define VQ_MOUNT		0x00000008	/* mounted */
#define VQ_UNMOUNT		0x00000010	/* unmounted */

/* EVFILT_PROC, EVFILT_PROCDESC. */
#define NOTE_EXIT		0x80000000U
#define NOTE_FORK		0x40000000U
#define NOTE_EXEC		0x20000000U
#define NOTE_REAP		0x10000000U
#define NOTE_EXITSTATUS		0x04000000U	/* with NOTE_EXIT: as macOS asks for data */
#define NOTE_PCTRLMASK		0xf0000000U
#define NOTE_PDATAMASK		0x000fffffU
#define NOTE_TRACK		0x00000001
#define NOTE_TRACKERR		0x00000002
#define NOTE_CHILD		0x00000004

/* EVFILT_TIMER. */
#define NOTE_SECONDS		0x00000001
#define NOTE_MSECONDS		0x00000002
#define NOTE_USECONDS		0x00000004
#define NOTE_NSECONDS		0x00000008
#define NOTE_ABSTIME		0x00000010

/* EVFILT_USER: how fflags of a change act on the stored ones, and a trigger. */
#define NOTE_FFNOP		0x00000000
#define NOTE_FFAND		0x40000000U
#define NOTE_FFOR		0x80000000U
#define NOTE_FFCOPY		0xc0000000U
#define NOTE_FFCTRLMASK		0xc0000000U
#define NOTE_FFLAGSMASK		0x00ffffff
#define NOTE_TRIGGER		0x01000000

/**
 * struct kevent - a change to a kqueue, or an event from it
 * @ident:  what is watched: a descriptor, a pid, a number of the program's own
 * @filter: EVFILT_*
 * @flags:  EV_*
 * @fflags: the filter's flags, NOTE_*
 * @data:   the filter's value; an errno where @flags has EV_ERROR
 * @udata:  the program's own, returned as it was given
 *
 * In the natural layout of the program's ABI: 32 bytes on a 64-bit one.
 */
struct kevent {
	__kernel_ulong_t	ident;
	short			filter;
	unsigned short		flags;
	unsigned int		fflags;
	__s64			data;
	void			*udata;
};

/**
 * struct kqueue_kevent - argument of KQUEUE_IOC_KEVENT
 * @changelist: address of an array of @nchanges struct kevent
 * @eventlist:  address of an array of @nevents struct kevent; may be @changelist
 * @nchanges:   not negative
 * @nevents:    not negative; 0 returns at once whatever @timeout says
 * @timeout:    address of a struct __kernel_timespec, 0 to wait for ever
 * @flags:      none is defined: 0
 *
 * The ioctl returns the number of events stored, or fails as kevent(2) does.
 */
struct kqueue_kevent {
	__aligned_u64	changelist;
	__aligned_u64	eventlist;
	__s32		nchanges;
	__s32		nevents;
	__aligned_u64	timeout;
	__aligned_u64	flags;
};

/* Flavours: whose reading of a point a kqueue takes where the BSDs differ. */
#define KQUEUE_FLAVOUR_OPENBSD	0
#define KQUEUE_FLAVOUR_FREEBSD	1
#define KQUEUE_FLAVOUR_NETBSD	2
#define KQUEUE_FLAVOUR_MACOS	3

/* kqueue_create.flags */
#define KQUEUE_CLOEXEC		0x00000001

/**
 * struct kqueue_create - argument of KQUEUE_IOC_CREATE
 * @flags:    KQUEUE_CLOEXEC
 * @flavour:  KQUEUE_FLAVOUR_*
 * @reserved: 0
 *
 * The ioctl returns the descriptor of a new kqueue, so that one inherited
 * kqueue is enough where /dev/kqueue is out of reach.
 */
struct kqueue_create {
	__u32		flags;
	__u32		flavour;
	__aligned_u64	reserved[2];
};

/**
 * struct kfilter_mapping - argument of KFILTER_BYNAME and KFILTER_BYFILTER
 * @name:   the filter's name, "EVFILT_READ"; read by BYNAME, written by BYFILTER
 * @len:    size of the buffer at @name, for BYFILTER
 * @filter: the filter's number; written by BYNAME, read by BYFILTER
 *
 * Laid out as NetBSD's, for programs that make this ioctl themselves.
 */
struct kfilter_mapping {
	char			*name;
	__kernel_size_t		len;
	__s32			filter;
};

/* A filter's name, its terminating NUL included, is no longer than this. */
#define KFILTER_MAXNAME		32

#define KQUEUE_IOC_MAGIC	0xBB
#define KQUEUE_IOC_KEVENT	_IOW(KQUEUE_IOC_MAGIC, 0, struct kqueue_kevent)
#define KQUEUE_IOC_CREATE	_IOW(KQUEUE_IOC_MAGIC, 1, struct kqueue_create)
/* Gives a kqueue that has no knotes a flavour; the argument points to it. */
#define KQUEUE_IOC_FLAVOUR	_IOW(KQUEUE_IOC_MAGIC, 4, __u32)
#define KFILTER_BYNAME		_IOWR(KQUEUE_IOC_MAGIC, 2, struct kfilter_mapping)
#define KFILTER_BYFILTER	_IOWR(KQUEUE_IOC_MAGIC, 3, struct kfilter_mapping)

#endif /* _UAPI_LINUX_KQUEUE_H */
