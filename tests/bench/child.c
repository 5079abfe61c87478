// SPDX-License-Identifier: GPL-2.0
/*
 * The end of a child that is received, with its status: EVFILT_PROC, and a pidfd that
 * an epoll waits for. What both have to do, and what costs many times as much, is not
 * counted: that the child is made, and ends, and is reaped.
 */
#include "bench.h"

#include <sched.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#define ROUNDS	16

static int kq, ep;

static int child(void *arg)
{
	int *fds = arg;
	char c;

	close(fds[1]);
	return read(fds[0], &c, 1) ? 1 : 7;
}

/*
 * A child that ends once the pipe is closed. It shares our memory, so that we do not
 * copy pages as we go on.
 */
static pid_t start(int *until)
{
	static char stack[65536] __attribute__((aligned(16)));
	static int fds[2];	/* which it reads when we have gone on */
	pid_t pid;

	must(!pipe(fds));
	pid = clone(child, stack + sizeof(stack), CLONE_VM | SIGCHLD, fds);
	must(pid >= 0);
	close(fds[0]);
	*until = fds[1];
	return pid;
}

/* Ends it, and waits until it has ended. */
static void finish(pid_t pid, int until)
{
	siginfo_t info;

	close(until);
	must(!waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
}

static void with_kqueue(void)
{
	int i, until, status;
	struct kevent kev;
	pid_t pid;

	for (i = 0; i < ROUNDS; i++) {
		pid = start(&until);
		begin();
		change(kq, pid, EVFILT_PROC, EV_ADD | EV_ONESHOT, NOTE_EXIT, 0);
		end();
		finish(pid, until);
		begin();
		must(kevent(kq, NULL, 0, &kev, 1, NULL) == 1);
		must(WEXITSTATUS(kev.data) == 7);
		end();
		must(waitpid(pid, &status, 0) == pid);
	}
}

static void with_epoll(void)
{
	struct epoll_event event;
	int i, until, pidfd, status;
	siginfo_t info;
	pid_t pid;

	for (i = 0; i < ROUNDS; i++) {
		pid = start(&until);
		begin();
		pidfd = pidfd_open(pid, 0);
		must(pidfd >= 0);
		control(ep, EPOLL_CTL_ADD, pidfd, EPOLLIN);
		end();
		finish(pid, until);
		begin();
		must(epoll_wait(ep, &event, 1, -1) == 1);
		must(!waitid(P_PIDFD, pidfd, &info, WEXITED | WNOWAIT));
		must(info.si_status == 7);
		close(pidfd);
		end();
		must(waitpid(pid, &status, 0) == pid);
	}
}

void bench_child(void)
{
	ep = new_epoll();
	without_kqueues();
	compare("child", ROUNDS, NULL, with_epoll);
	close(ep);
	kq = new_kqueue();
	compare("child", ROUNDS, with_kqueue, NULL);
	close(kq);
}
