// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

package kqueue_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	unix "kqueue"
)

// How long the kernel is given for what is sure to happen.
var patience = unix.Timespec{Sec: 60}

func kqueue(t *testing.T) int {
	t.Helper()
	kq, err := unix.Kqueue()
	if err != nil {
		t.Fatalf("Kqueue: %v", err)
	}
	t.Cleanup(func() { syscall.Close(kq) })
	return kq
}

func event(ident, filter, flags int, fflags uint32, data int64) (ev unix.Kevent_t) {
	unix.SetKevent(&ev, ident, filter, flags)
	ev.Fflags = fflags
	ev.Data = data
	return ev
}

// The events there are within the timeout. The run-time's own signals are not to be
// noticed.
func collect(kq int, events []unix.Kevent_t, timeout *unix.Timespec) (int, error) {
	for {
		n, err := unix.Kevent(kq, nil, events, timeout)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// The one event that there has to be.
func one(kq int) (unix.Kevent_t, error) {
	events := make([]unix.Kevent_t, 4)
	n, err := collect(kq, events, &patience)
	if err == nil && n != 1 {
		err = fmt.Errorf("%d events: %+v", n, events)
	}
	return events[0], err
}

func trigger(kq, ident int) error {
	_, err := unix.Kevent(kq, []unix.Kevent_t{event(ident, unix.EVFILT_USER, 0, unix.NOTE_TRIGGER, 0)}, nil, nil)
	return err
}

func watch(t *testing.T, kq int, changes ...unix.Kevent_t) {
	t.Helper()
	if n, err := unix.Kevent(kq, changes, nil, nil); n != 0 || err != nil {
		t.Fatalf("%+v: %d, %v", changes, n, err)
	}
}

func next(t *testing.T, kq int) unix.Kevent_t {
	t.Helper()
	ev, err := one(kq)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func nothing(t *testing.T, kq int) {
	t.Helper()
	events := make([]unix.Kevent_t, 4)
	if n, err := collect(kq, events, &unix.Timespec{}); n != 0 || err != nil {
		t.Fatalf("%d events, %v: %+v", n, err, events)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestReadOfAPipe(t *testing.T) {
	kq := kqueue(t)
	r, w := pipe(t)
	fd := int(r.Fd())
	watch(t, kq, event(fd, unix.EVFILT_READ, unix.EV_ADD, 0, 0))
	nothing(t, kq)
	if _, err := w.WriteString("12345"); err != nil {
		t.Fatal(err)
	}
	ev := next(t, kq)
	if int(ev.Ident) != fd || ev.Filter != unix.EVFILT_READ || ev.Flags&unix.EV_EOF != 0 || ev.Data != 5 {
		t.Errorf("after a write of 5 bytes: %+v", ev)
	}
	w.Close()
	if ev := next(t, kq); ev.Flags&unix.EV_EOF == 0 || ev.Data != 5 {
		t.Errorf("after the writer has gone: %+v", ev)
	}
	r.Close()
	nothing(t, kq)
}

func TestSetKevent(t *testing.T) {
	ev := unix.Kevent_t{Fflags: 1, Data: 2, Udata: new(byte)}
	want := ev
	unix.SetKevent(&ev, 7, unix.EVFILT_VNODE, unix.EV_ADD|unix.EV_CLEAR)
	want.Ident, want.Filter, want.Flags = 7, -4, 0x21
	if ev != want {
		t.Errorf("%+v, not %+v", ev, want)
	}
}

func TestLayout(t *testing.T) {
	var ev unix.Kevent_t
	word := unsafe.Sizeof(uintptr(0))
	for _, field := range []struct {
		name      string
		got, want uintptr
	}{
		{"Filter", unsafe.Offsetof(ev.Filter), word},
		{"Flags", unsafe.Offsetof(ev.Flags), word + 2},
		{"Fflags", unsafe.Offsetof(ev.Fflags), word + 4},
		{"Data", unsafe.Offsetof(ev.Data), word + 8},
		{"Udata", unsafe.Offsetof(ev.Udata), word + 16},
		{"the end", unsafe.Sizeof(ev), 2*word + 16},
	} {
		if field.got != field.want {
			t.Errorf("%s is at %d, not %d", field.name, field.got, field.want)
		}
	}
}

func TestUdataComesBack(t *testing.T) {
	kq := kqueue(t)
	cookies := make([]byte, 2)
	for i := range cookies {
		ev := event(i, unix.EVFILT_USER, unix.EV_ADD|unix.EV_ONESHOT, 0, 0)
		ev.Udata = &cookies[i]
		watch(t, kq, ev)
	}
	for _, i := range []int{1, 0} {
		if err := trigger(kq, i); err != nil {
			t.Fatal(err)
		}
		if ev := next(t, kq); int(ev.Ident) != i || ev.Udata != &cookies[i] {
			t.Errorf("%d: %+v", i, ev)
		}
	}
}

func TestAChangeThatFailsIsAnswered(t *testing.T) {
	kq := kqueue(t)
	wrong := event(1, unix.EVFILT_USER, unix.EV_DELETE, 0, 0)

	// The changes and their answers in one slice.
	list := []unix.Kevent_t{wrong, event(2, unix.EVFILT_USER, unix.EV_ADD|unix.EV_RECEIPT, 0, 0)}
	if n, err := unix.Kevent(kq, list, list, nil); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	for i, errno := range []syscall.Errno{syscall.ENOENT, 0} {
		ev := list[i]
		if int(ev.Ident) != i+1 || ev.Flags&unix.EV_ERROR == 0 || syscall.Errno(ev.Data) != errno {
			t.Errorf("answer %d: %+v", i, ev)
		}
	}

	// With no room for an answer, the call fails.
	if n, err := unix.Kevent(kq, []unix.Kevent_t{wrong}, nil, nil); n != -1 || err != syscall.ENOENT {
		t.Errorf("%d, %v", n, err)
	}
}

func TestAFileThatIsNoKqueue(t *testing.T) {
	r, _ := pipe(t)
	for _, fd := range []int{int(r.Fd()), -1} {
		if n, err := unix.Kevent(fd, nil, nil, nil); n != -1 || err != syscall.EBADF {
			t.Errorf("descriptor %d: %d, %v", fd, n, err)
		}
	}
}

func TestTimeout(t *testing.T) {
	kq := kqueue(t)
	events := make([]unix.Kevent_t, 1)
	for _, d := range []time.Duration{0, 1, 20 * time.Millisecond} {
		ts := syscall.NsecToTimespec(int64(d))
		start := time.Now()
		n, err := unix.Kevent(kq, nil, events, &ts)
		if err == syscall.EINTR {
			continue
		}
		if passed := time.Since(start); n != 0 || err != nil || passed < d {
			t.Errorf("%v: %d, %v after %v", d, n, err, passed)
		}
	}
	if n, err := unix.Kevent(kq, nil, events, &unix.Timespec{Nsec: 1e9}); n != -1 || err != syscall.EINVAL {
		t.Errorf("too many nanoseconds: %d, %v", n, err)
	}
}

func TestTimer(t *testing.T) {
	kq := kqueue(t)
	watch(t, kq, event(1, unix.EVFILT_TIMER, unix.EV_ADD, unix.NOTE_USECONDS, 100))
	if ev := next(t, kq); ev.Ident != 1 || ev.Filter != unix.EVFILT_TIMER || ev.Data < 1 {
		t.Errorf("%+v", ev)
	}
}

func TestAFileThatIsWrittenAndRemoved(t *testing.T) {
	kq := kqueue(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	watch(t, kq, event(int(f.Fd()), unix.EVFILT_VNODE, unix.EV_ADD|unix.EV_CLEAR, unix.NOTE_WRITE|unix.NOTE_DELETE, 0))
	if _, err := f.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if ev := next(t, kq); ev.Fflags != unix.NOTE_WRITE {
		t.Errorf("written: %+v", ev)
	}
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	if ev := next(t, kq); ev.Fflags != unix.NOTE_DELETE {
		t.Errorf("removed: %+v", ev)
	}
}

func TestAProcessThatExits(t *testing.T) {
	kq := kqueue(t)
	cmd := exec.Command("sh", "-c", "read word; exit 3")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watch(t, kq, event(cmd.Process.Pid, unix.EVFILT_PROC, unix.EV_ADD, unix.NOTE_EXIT, 0))
	nothing(t, kq)
	stdin.Close()
	ev := next(t, kq)
	if int(ev.Ident) != cmd.Process.Pid || ev.Fflags != unix.NOTE_EXIT || syscall.WaitStatus(ev.Data).ExitStatus() != 3 {
		t.Errorf("%+v", ev)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("Wait: %v", err)
	}
}

func TestAChildHasNone(t *testing.T) {
	kqueue(t) // It would stay over exec.
	out, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if s := string(out); !strings.Contains(s, "/proc/") || strings.Contains(s, "kqueue") {
		t.Error(s)
	}
}

// Of what one goroutine hands to another by a kqueue alone, the race detector knows
// that it was.
func TestHandingOver(t *testing.T) {
	const rounds = 100
	there, back := kqueue(t), kqueue(t)
	watch(t, there, event(1, unix.EVFILT_USER, unix.EV_ADD|unix.EV_CLEAR, 0, 0))
	watch(t, back, event(1, unix.EVFILT_USER, unix.EV_ADD|unix.EV_CLEAR, 0, 0))
	throws := 0
	play := func(from, to int) error {
		for i := 0; i < rounds; i++ {
			if _, err := one(from); err != nil {
				return err
			}
			throws++
			if err := trigger(to, 1); err != nil {
				return err
			}
		}
		return nil
	}
	end := make(chan error)
	go func() { end <- play(there, back) }()
	if err := trigger(there, 1); err != nil {
		t.Fatal(err)
	}
	if err := play(back, there); err != nil {
		t.Fatal(err)
	}
	if err := <-end; err != nil {
		t.Fatal(err)
	}
	if throws != 2*rounds {
		t.Errorf("%d throws, not %d", throws, 2*rounds)
	}
}

// Many wait at one kqueue. What is delivered once is delivered to one of them; the
// last event, which is there until it is deleted, to all.
func TestManyWaiters(t *testing.T) {
	const events, waiters = 200, 8
	kq := kqueue(t)
	var (
		all  sync.WaitGroup
		lock sync.Mutex
		seen [events]int
	)
	wait := func() error {
		list := make([]unix.Kevent_t, 3)
		for {
			n, err := collect(kq, list, &patience)
			if err != nil || n == 0 {
				return fmt.Errorf("%d events, %v", n, err)
			}
			for _, ev := range list[:n] {
				if ev.Ident == events {
					return nil
				}
				lock.Lock()
				seen[ev.Ident]++
				lock.Unlock()
			}
		}
	}
	for i := 0; i < waiters; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			if err := wait(); err != nil {
				t.Error(err)
			}
		}()
	}
	for i := 0; i < events; i++ {
		watch(t, kq, event(i, unix.EVFILT_USER, unix.EV_ADD|unix.EV_ONESHOT, unix.NOTE_TRIGGER, 0))
	}
	watch(t, kq, event(events, unix.EVFILT_USER, unix.EV_ADD, unix.NOTE_TRIGGER, 0))
	all.Wait()
	for i, n := range seen {
		if n != 1 {
			t.Errorf("event %d was delivered %d times", i, n)
		}
	}
}
