// SPDX-License-Identifier: GPL-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Started as the server, this program is that, and nothing else.
func TestMain(m *testing.M) {
	if os.Getenv("SERVE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

type server struct {
	*exec.Cmd
	url   string
	input io.Closer
}

func start(t *testing.T) *server {
	t.Helper()
	s := &server{Cmd: exec.Command(os.Args[0])}
	s.Env = append(os.Environ(), "SERVE=1")
	s.Stderr = os.Stderr
	input, err := s.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.input = input
	output, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill(); s.Wait() })
	addr, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + strings.TrimSpace(addr)
	return s
}

func (s *server) post(client *http.Client, path, body string) (string, error) {
	r, err := client.Post(s.url+path, "text/plain", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = errors.New(r.Status)
	}
	return string(answer), err
}

// A client with connections of its own.
func client() *http.Client {
	return &http.Client{Transport: &http.Transport{}}
}

// Runs n at the same time; the first error there was.
func together(n int, do func(i int) error) error {
	errs := make(chan error, n)
	for i := 0; i < n; i++ {
		go func(i int) { errs <- do(i) }(i)
	}
	var first error
	for i := 0; i < n; i++ {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

// Looks until it is so; that it never is shows as the test's time-out.
func until(t *testing.T, so func() (bool, error)) {
	t.Helper()
	for {
		ok, err := so()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestManyRequestsOnManyConnections(t *testing.T) {
	s := start(t)
	err := together(50, func(i int) error {
		own := client()
		for n := 0; n < 20; n++ {
			name := fmt.Sprintf("%d.%d", i, n)
			answer, err := s.post(own, "/hello?name="+name, "")
			if err != nil {
				return err
			}
			if answer != "hello "+name {
				return fmt.Errorf("%s, for %s", answer, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestLongBodiesComeBackWhole(t *testing.T) {
	s := start(t)
	err := together(8, func(i int) error {
		body := make([]byte, 1<<20)
		rand.New(rand.NewSource(int64(i))).Read(body)
		answer, err := s.post(client(), "/echo", string(body))
		if err == nil && !bytes.Equal([]byte(answer), body) {
			err = fmt.Errorf("%d bytes, and not those that were sent", len(answer))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEachLineIsAnsweredWhenItIsSent(t *testing.T) {
	s := start(t)
	body, say := io.Pipe()
	go fmt.Fprintln(say, "0")
	r, err := client().Post(s.url+"/talk", "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	answers := bufio.NewReader(r.Body)
	for i := 0; i < 20; i++ {
		answer, err := answers.ReadString('\n')
		if want := fmt.Sprintf("you said %d\n", i); answer != want || err != nil {
			t.Fatalf("%q, %v", answer, err)
		}
		fmt.Fprintln(say, i+1)
	}
	say.Close()
	if rest, err := io.ReadAll(answers); string(rest) != "you said 20\n" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

func (s *server) hung() (hanging, left int, err error) {
	answer, err := s.post(http.DefaultClient, "/hung", "")
	if err == nil {
		_, err = fmt.Sscan(answer, &hanging, &left)
	}
	return hanging, left, err
}

func TestTheServerSeesThatAClientHasGone(t *testing.T) {
	s := start(t)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := 0; i < 10; i++ {
		r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/hang", nil)
		if err != nil {
			t.Fatal(err)
		}
		all.Add(1)
		go func() {
			defer all.Done()
			if _, err := client().Do(r); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}()
	}
	until(t, func() (bool, error) {
		hanging, left, err := s.hung()
		if left > 0 {
			err = fmt.Errorf("%d have left that are there", left)
		}
		return hanging == 10, err
	})
	cancel()
	all.Wait()
	until(t, func() (bool, error) {
		_, left, err := s.hung()
		return left == 10, err
	})
}

func TestATimeOutOfTheClient(t *testing.T) {
	s := start(t)
	hasty := client()
	hasty.Timeout = 50 * time.Millisecond
	var timeout net.Error
	if _, err := hasty.Get(s.url + "/hang"); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Error(err)
	}
}

func TestARequestThatRunsAProgram(t *testing.T) {
	s := start(t)
	err := together(10, func(i int) error {
		answer, err := s.post(client(), "/upper", strings.Repeat("kqueue ", 10000))
		if err == nil && answer != strings.Repeat("KQUEUE ", 10000) {
			err = fmt.Errorf("%.40q", answer)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAtShutdownWhatWasBegunIsEnded(t *testing.T) {
	s := start(t)
	body, say := io.Pipe()
	go fmt.Fprintln(say, "begun")
	r, err := client().Post(s.url+"/talk", "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	s.input.Close()
	until(t, func() (bool, error) {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err == nil {
			c.Close()
		}
		return err != nil, nil
	})
	fmt.Fprintln(say, "ended")
	say.Close()
	answer, err := io.ReadAll(r.Body)
	if want := "you said begun\nyou said ended\n"; string(answer) != want || err != nil {
		t.Errorf("%q, %v", answer, err)
	}
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
}

// The kqueue the server waits with, as the kernel shows it: the listening socket and
// the connection that is kept are watched, and there is nothing of epoll.
func TestTheServerWaitsWithAKqueue(t *testing.T) {
	s := start(t)
	if _, err := s.post(http.DefaultClient, "/hello", ""); err != nil {
		t.Fatal(err)
	}
	dir := fmt.Sprintf("/proc/%d", s.Process.Pid)
	fds, err := filepath.Glob(dir + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	kqueues := 0
	for _, fd := range fds {
		file, err := os.Readlink(fd)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(file, "eventpoll") {
			t.Error(file)
		}
		if !strings.Contains(file, "kqueue") {
			continue
		}
		kqueues++
		info, err := os.ReadFile(dir + "/fdinfo/" + filepath.Base(fd))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(info), "EVFILT_READ"); n < 2 {
			t.Errorf("%d descriptors are watched:\n%s", n, info)
		}
	}
	if kqueues != 1 {
		t.Errorf("%d kqueues", kqueues)
	}
}
