// SPDX-License-Identifier: GPL-2.0
/*
 * A byte that is passed on, around a thousand connected pairs of sockets, and some such
 * bytes at once: what libevent's benchmark does.
 */
#include "bench.h"

#include <sys/socket.h>

#define PAIRS	1000
#define EVENTS	1000	/* so many a run, at least */
#define ROOM	128

static int kq, ep, active;

/*
 * Each way has pairs of its own: of a socket that both watch both are told.
 */
static struct pairs {
	int reader[PAIRS], writer[PAIRS];
} of_kqueue, of_epoll;

static void send_to(const struct pairs *pairs, int pair)
{
	must(write(pairs->writer[pair % PAIRS], "", 1) == 1);
}

static void start(const struct pairs *pairs)
{
	int i;

	for (i = 0; i < active; i++)
		send_to(pairs, i * (PAIRS / active));
}

/* The pair was told to be ready. Whether its byte has gone on: not at the end. */
static bool pass_on(const struct pairs *pairs, int pair, int done)
{
	bool more = done < EVENTS - active;
	char c;

	must(read(pairs->reader[pair], &c, 1) == 1);
	if (more)
		send_to(pairs, pair + 1);
	return more;
}

static void with_kqueue(void)
{
	struct kevent kevents[ROOM];
	int i, n, done = 0, left = active;

	start(&of_kqueue);
	begin();
	while (left) {
		n = kevent(kq, NULL, 0, kevents, ROOM, NULL);
		must(n > 0);
		for (i = 0; i < n; i++)
			left -= !pass_on(&of_kqueue, (intptr_t)kevents[i].udata, done++);
	}
	end();
}

static void with_epoll(void)
{
	struct epoll_event events[ROOM];
	int i, n, done = 0, left = active;

	start(&of_epoll);
	begin();
	while (left) {
		n = epoll_wait(ep, events, ROOM, -1);
		must(n > 0);
		for (i = 0; i < n; i++)
			left -= !pass_on(&of_epoll, events[i].data.u32, done++);
	}
	end();
}

static void make(struct pairs *pairs)
{
	int i, fds[2];

	for (i = 0; i < PAIRS; i++) {
		must(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
		pairs->reader[i] = fds[0];
		pairs->writer[i] = fds[1];
	}
}

static void watch(int pair)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = pair };
	struct kevent kev;

	EV_SET(&kev, of_kqueue.reader[pair], EVFILT_READ, EV_ADD, 0, 0,
	       (void *)(intptr_t)pair);
	must(!kevent(kq, &kev, 1, NULL, 0, NULL));
	must(!epoll_ctl(ep, EPOLL_CTL_ADD, of_epoll.reader[pair], &event));
}

static void unmake(const struct pairs *pairs)
{
	int i;

	for (i = 0; i < PAIRS; i++) {
		close(pairs->reader[i]);
		close(pairs->writer[i]);
	}
}

void bench_pingpong(void)
{
	static const int actives[] = { 1, 2, 5, 10, 20, 50, 100 };
	char name[32];
	size_t i;

	make(&of_kqueue);
	make(&of_epoll);
	kq = new_kqueue();
	ep = new_epoll();
	for (i = 0; i < PAIRS; i++)
		watch(i);
	for (i = 0; i < COUNT(actives); i++) {
		active = actives[i];
		snprintf(name, sizeof(name), "pingpong.%d", active);
		compare(name, EVENTS, with_kqueue, with_epoll);
	}
	close(kq);
	close(ep);
	unmake(&of_kqueue);
	unmake(&of_epoll);
}
