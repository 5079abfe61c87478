// SPDX-License-Identifier: GPL-2.0
/*
 * Two threads that wake each other in turn: with a user event, and with an eventfd that
 * an epoll waits for. They are of the first-in first-out kind: what the fair scheduler
 * does depends on what has been before, and would tell nothing of either way.
 */
#include "bench.h"

#include <pthread.h>
#include <sched.h>

#define ROUNDS	256

/* One end of it, for each of the threads. */
static struct end {
	int kq, ep, efd;
} ends[2];

static void wake_kqueue(const struct end *end)
{
	change(end->kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0);
}

static void wait_kqueue(const struct end *end)
{
	struct kevent kev;

	must(kevent(end->kq, NULL, 0, &kev, 1, NULL) == 1);
}

static void wake_epoll(const struct end *end)
{
	const uint64_t one = 1;

	must(write(end->efd, &one, sizeof(one)) == sizeof(one));
}

static void wait_epoll(const struct end *end)
{
	struct epoll_event event;
	uint64_t value;

	must(epoll_wait(end->ep, &event, 1, -1) == 1);
	must(read(end->efd, &value, sizeof(value)) == sizeof(value));
}

static void *answer_kqueue(void *arg)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		wait_kqueue(&ends[1]);
		wake_kqueue(&ends[0]);
	}
	return arg;
}

static void *answer_epoll(void *arg)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		wait_epoll(&ends[1]);
		wake_epoll(&ends[0]);
	}
	return arg;
}

/* The first round is to have the other thread started. */
static void with_kqueue(void)
{
	pthread_t thread;
	int i;

	must(!pthread_create(&thread, NULL, answer_kqueue, NULL));
	for (i = 0; i < ROUNDS; i++) {
		if (i == 1)
			begin();
		wake_kqueue(&ends[1]);
		wait_kqueue(&ends[0]);
	}
	end();
	pthread_join(thread, NULL);
}

static void with_epoll(void)
{
	pthread_t thread;
	int i;

	must(!pthread_create(&thread, NULL, answer_epoll, NULL));
	for (i = 0; i < ROUNDS; i++) {
		if (i == 1)
			begin();
		wake_epoll(&ends[1]);
		wait_epoll(&ends[0]);
	}
	end();
	pthread_join(thread, NULL);
}

void bench_wake(void)
{
	const struct sched_param priority = { .sched_priority = 1 };
	int i;

	must(!sched_setscheduler(0, SCHED_FIFO, &priority));

	for (i = 0; i < 2; i++) {
		ends[i].kq = new_kqueue();
		change(ends[i].kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0);
		ends[i].ep = new_epoll();
		ends[i].efd = new_eventfd(0);
		control(ends[i].ep, EPOLL_CTL_ADD, ends[i].efd, EPOLLIN);
	}
	/* There and back. */
	compare("wake_thread", 2 * (ROUNDS - 1), with_kqueue, with_epoll);
	for (i = 0; i < 2; i++) {
		close(ends[i].kq);
		close(ends[i].ep);
		close(ends[i].efd);
	}
}
