// SPDX-License-Identifier: GPL-2.0
/* Changing what is watched. */
#include "bench.h"

#define MANY	1000
#define ROUNDS	256

static int kq, ep, fds[MANY];

static void add_kqueue(void)
{
	struct kevent changes[MANY];
	int i;

	for (i = 0; i < MANY; i++)
		EV_SET(&changes[i], fds[i], EVFILT_READ, EV_ADD, 0, 0, NULL);
	begin();
	must(!kevent(kq, changes, MANY, NULL, 0, NULL));
	end();
	for (i = 0; i < MANY; i++)
		change(kq, fds[i], EVFILT_READ, EV_DELETE, 0, 0);
}

static void add_epoll(void)
{
	int i;

	begin();
	for (i = 0; i < MANY; i++)
		control(ep, EPOLL_CTL_ADD, fds[i], EPOLLIN);
	end();
	for (i = 0; i < MANY; i++)
		control(ep, EPOLL_CTL_DEL, fds[i], 0);
}

/* Ready all the time, and told once, until it is asked for again. */
static int ready;

static void rearm_kqueue(void)
{
	struct kevent kev;
	int i;

	begin();
	for (i = 0; i < ROUNDS; i++) {
		EV_SET(&kev, ready, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
		must(kevent(kq, &kev, 1, &kev, 1, NULL) == 1);
	}
	end();
}

static void rearm_epoll(void)
{
	struct epoll_event event;
	int i;

	begin();
	for (i = 0; i < ROUNDS; i++) {
		control(ep, EPOLL_CTL_MOD, ready, EPOLLIN | EPOLLONESHOT);
		must(epoll_wait(ep, &event, 1, -1) == 1);
	}
	end();
}

void bench_change(void)
{
	int i;

	kq = new_kqueue();
	ep = new_epoll();
	for (i = 0; i < MANY; i++)
		fds[i] = new_object(0);
	compare("add_1000", MANY, add_kqueue, add_epoll);
	for (i = 0; i < MANY; i++)
		close(fds[i]);

	ready = new_pipe(1);
	change(kq, ready, EVFILT_READ, EV_ADD | EV_DISPATCH, 0, 0);
	control(ep, EPOLL_CTL_ADD, ready, EPOLLIN | EPOLLONESHOT);
	compare("rearm", ROUNDS, rearm_kqueue, rearm_epoll);
	close(ready);
	close(kq);
	close(ep);
}
