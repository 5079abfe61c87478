// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

//go:build !race

package kqueue

import "syscall"

func raceRelease() {}

func raceAcquire(events []Kevent_t, n int, errno syscall.Errno) {}
