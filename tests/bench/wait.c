// SPDX-License-Identifier: GPL-2.0
/* Waiting, where there is no need to: what is ready is told, or that nothing is. */
#include "bench.h"

#define ROUNDS	256
#define MANY	64

static int kq, ep;
static int ready;	/* so many are */
static struct kevent kevents[MANY];
static struct epoll_event events[MANY];

static void wait_kqueue(void)
{
	int i;

	begin();
	for (i = 0; i < ROUNDS; i++)
		must(kevent(kq, NULL, 0, kevents, MANY, ready ? NULL : &zero) == ready);
	end();
}

static void wait_epoll(void)
{
	int i;

	begin();
	for (i = 0; i < ROUNDS; i++)
		must(epoll_wait(ep, events, MANY, ready ? -1 : 0) == ready);
	end();
}

/* With so many descriptors of a kind in a kqueue and in an epoll, each with bytes to read. */
static void measure(const char *name, int (*make)(int bytes), int bytes, int many)
{
	int fds[MANY], i;

	kq = new_kqueue();
	ep = new_epoll();
	for (i = 0; i < many; i++) {
		fds[i] = make(bytes);
		change(kq, fds[i], EVFILT_READ, EV_ADD, 0, 0);
		control(ep, EPOLL_CTL_ADD, fds[i], EPOLLIN);
	}
	ready = bytes ? many : 0;
	compare(name, ROUNDS * (ready ?: 1), wait_kqueue, wait_epoll);
	for (i = 0; i < many; i++)
		close(fds[i]);
	close(kq);
	close(ep);
}

void bench_wait(void)
{
	measure("wait_one_pipe", new_pipe, 1, 1);
	measure("wait_one_tcp", new_tcp, 1, 1);
	if (HAS_PEER)
		measure("wait_one_eventfd", new_eventfd, 1, 1);
	measure("wait_64_pipes", new_pipe, 1, MANY);
	measure("wait_64_tcp", new_tcp, 1, MANY);
	if (HAS_PEER)
		measure("wait_64_eventfds", new_eventfd, 1, MANY);
	measure("wait_nothing", new_pipe, 0, 1);
}
