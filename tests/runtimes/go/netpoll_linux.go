// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

//go:build linux && amd64

// What the run-time's kqueue poller needs on Linux that the run-time has only
// for the BSDs: the numbers and structures of <linux/kqueue.h>, and the two
// calls. They are made where there may be no P and no room on the stack, so
// nothing here allocates, and the stack does not grow.

package runtime

import (
	"internal/runtime/syscall"
	"unsafe"
)

const (
	_EVFILT_READ  = -1
	_EVFILT_WRITE = -2
	_EVFILT_USER  = -10

	_EV_ADD   = 0x1
	_EV_CLEAR = 0x20
	_EV_ERROR = 0x4000
	_EV_EOF   = 0x8000

	_NOTE_TRIGGER = 0x01000000

	_KQUEUE_IOC_KEVENT = 0x4028bb00

	_ETIMEDOUT = 110

	_AT_FDCWD   = -100
	_O_RDWR     = 2
	_SYS_ioctl  = 16
	_SYS_openat = 257
)

// struct kevent
type keventt struct {
	ident  uint64
	filter int16
	flags  uint16
	fflags uint32
	data   int64
	udata  *byte
}

// struct kqueue_kevent
type kqueueKevent struct {
	changelist uintptr
	eventlist  uintptr
	nchanges   int32
	nevents    int32
	timeout    uintptr
	flags      uint64
}

var kqueuePath = []byte("/dev/kqueue\x00")

// The descriptor of a new one, or the errno with a minus.
func kqueue() int32 {
	cwd := _AT_FDCWD
	fd, _, errno := syscall.Syscall6(_SYS_openat, uintptr(cwd),
		uintptr(unsafe.Pointer(&kqueuePath[0])), _O_RDWR|_O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return -int32(errno)
	}
	return int32(fd)
}

// The number of events, or the errno with a minus. The kernel is given addresses
// as numbers: the stack stays where it is until the call returns.
//
//go:nosplit
func kevent(kq int32, ch *keventt, nch int32, ev *keventt, nev int32, ts *timespec) int32 {
	args := kqueueKevent{
		changelist: uintptr(unsafe.Pointer(ch)),
		eventlist:  uintptr(unsafe.Pointer(ev)),
		nchanges:   nch,
		nevents:    nev,
		timeout:    uintptr(unsafe.Pointer(ts)),
	}
	n, _, errno := syscall.Syscall6(_SYS_ioctl, uintptr(kq), _KQUEUE_IOC_KEVENT,
		uintptr(unsafe.Pointer(&args)), 0, 0, 0)
	if errno != 0 {
		return -int32(errno)
	}
	return int32(n)
}
