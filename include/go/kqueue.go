// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

//go:build linux && (386 || amd64)

// Package kqueue is kqueue(2) and kevent(2), by the names and with the types that
// golang.org/x/sys/unix has for them on OpenBSD. It makes its system calls itself,
// and wants kqueue.ko loaded.
//
// A descriptor is watched while it is open: a program that takes one from an os.File
// or a net.Conn keeps that as well.
package kqueue

import (
	"syscall"
	"unsafe"
)

// Timespec is how long Kevent waits.
type Timespec = syscall.Timespec

// The argument of KQUEUE_IOC_KEVENT.
type kevent struct {
	changelist address
	eventlist  address
	nchanges   int32
	nevents    int32
	timeout    address
	flags      uint64
}

const iocKevent = 0x4028bb00

// Kqueue makes a new kqueue and returns its descriptor, which the program closes
// with syscall.Close. As on a BSD it stays over exec, unless syscall.CloseOnExec
// was told of it; a child made by fork does not have it.
func Kqueue() (fd int, err error) {
	return syscall.Open("/dev/kqueue", syscall.O_RDWR, 0)
}

// Kevent applies changes, in their order, and then waits until there are events, of
// which it stores at most len(events) and returns the number. It waits no longer
// than timeout, for ever where that is nil, and not at all where events is empty.
// Both may be the same slice.
//
// The collector does not see a Udata that only the kernel has: what it points to has
// to be kept by the program.
func Kevent(kq int, changes, events []Kevent_t, timeout *Timespec) (n int, err error) {
	var ts kernelTimespec
	arg := kevent{nchanges: int32(len(changes)), nevents: int32(len(events))}
	if len(changes) > 0 {
		arg.changelist.set(unsafe.Pointer(&changes[0]))
	}
	if len(events) > 0 {
		arg.eventlist.set(unsafe.Pointer(&events[0]))
	}
	if timeout != nil {
		ts = kernelTimespec{int64(timeout.Sec), int64(timeout.Nsec)}
		arg.timeout.set(unsafe.Pointer(&ts))
	}
	raceRelease()
	r, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(kq), iocKevent,
		uintptr(unsafe.Pointer(&arg)))
	raceAcquire(events, int(r), errno)
	switch errno {
	case 0:
		return int(r), nil
	case syscall.ENOTTY:
		// What a file that is no kqueue says.
		return -1, syscall.EBADF
	}
	return -1, errno
}

// SetKevent fills in what k watches; mode is the filter, EVFILT_*.
func SetKevent(k *Kevent_t, fd, mode, flags int) {
	k.Ident = ident(fd)
	k.Filter = int16(mode)
	k.Flags = uint16(flags)
}

// struct __kernel_timespec
type kernelTimespec struct {
	sec  int64
	nsec int64
}
