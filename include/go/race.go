// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

//go:build race

package kqueue

import (
	"runtime"
	"syscall"
	"unsafe"
)

// What came before one call of Kevent came before the events another one returns:
// the race detector, which does not see into the kernel, is told so, and that the
// events were written.
var order byte

func raceRelease() {
	runtime.RaceReleaseMerge(unsafe.Pointer(&order))
}

func raceAcquire(events []Kevent_t, n int, errno syscall.Errno) {
	runtime.RaceAcquire(unsafe.Pointer(&order))
	if errno == 0 && n > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(&events[0]), n*int(unsafe.Sizeof(events[0])))
	}
}
