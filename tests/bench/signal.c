// SPDX-License-Identifier: GPL-2.0
/*
 * A signal that is sent and received: EVFILT_SIGNAL, where it can be ignored, and a
 * signalfd that an epoll waits for, where it has to be blocked.
 */
#include "bench.h"

#include <signal.h>
#include <sys/signalfd.h>

#define ROUNDS	128

static int kq, ep, sfd;

static void with_kqueue(void)
{
	struct kevent kev;
	int i;

	begin();
	for (i = 0; i < ROUNDS; i++) {
		must(!kill(getpid(), SIGUSR1));
		must(kevent(kq, NULL, 0, &kev, 1, NULL) == 1);
	}
	end();
}

static void with_epoll(void)
{
	struct signalfd_siginfo info;
	struct epoll_event event;
	int i;

	begin();
	for (i = 0; i < ROUNDS; i++) {
		must(!kill(getpid(), SIGUSR2));
		must(epoll_wait(ep, &event, 1, -1) == 1);
		must(read(sfd, &info, sizeof(info)) == sizeof(info));
	}
	end();
}

void bench_signal(void)
{
	sigset_t set;

	signal(SIGUSR1, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	must(!sigprocmask(SIG_BLOCK, &set, NULL));
	ep = new_epoll();
	sfd = signalfd(-1, &set, 0);
	must(sfd >= 0);
	control(ep, EPOLL_CTL_ADD, sfd, EPOLLIN);
	without_kqueues();
	compare("signal", ROUNDS, NULL, with_epoll);
	close(ep);
	close(sfd);
	kq = new_kqueue();
	change(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0);
	compare("signal", ROUNDS, with_kqueue, NULL);
	close(kq);
}
