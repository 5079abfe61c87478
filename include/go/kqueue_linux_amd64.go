// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

package kqueue

import "unsafe"

// Kevent_t is a change to a kqueue, or an event from it: struct kevent.
type Kevent_t struct {
	Ident  uint64
	Filter int16
	Flags  uint16
	Fflags uint32
	Data   int64
	Udata  *byte
}

type ident = uint64

// What the kernel takes as a number of 64 bits. It is a pointer, since what it
// points to may be on a stack that moves before the call is made.
type address struct {
	p unsafe.Pointer
}

func (a *address) set(p unsafe.Pointer) { a.p = p }
