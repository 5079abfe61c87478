// SPDX-License-Identifier: GPL-2.0
/* What waiting costs with more and more descriptors that are not ready. */
#include "bench.h"

#define ROUNDS	64
#define READY	10

#ifdef LIBKQUEUE
#define MOST	10000		/* it takes its time */
#else
#define MOST	100000
#endif

static int kq, ep;
static struct kevent kevents[READY + 1];
static struct epoll_event events[READY + 1];

static void wait_kqueue(void)
{
	int i;

	begin();
	for (i = 0; i < ROUNDS; i++)
		must(kevent(kq, NULL, 0, kevents, READY + 1, &zero) == READY);
	end();
}

static void wait_epoll(void)
{
	int i;

	begin();
	for (i = 0; i < ROUNDS; i++)
		must(epoll_wait(ep, events, READY + 1, 0) == READY);
	end();
}

void bench_idle(void)
{
	int first = dup(STDERR_FILENO), idle, n = 0;
	char name[32];

	close(first);
	kq = new_kqueue();
	ep = new_epoll();
	for (idle = 100; idle <= MOST; idle *= 10) {
		for (; n < READY + idle; n++) {
			int fd = new_object(n < READY);

			change(kq, fd, EVFILT_READ, EV_ADD, 0, 0);
			control(ep, EPOLL_CTL_ADD, fd, EPOLLIN);
		}
		snprintf(name, sizeof(name), "idle.%d", idle);
		compare(name, ROUNDS, wait_kqueue, wait_epoll);
	}
	/* Of the library, its kqueue must know first. */
	close(kq);
	close_range(first, ~0U, 0);
}
