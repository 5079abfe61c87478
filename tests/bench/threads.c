// SPDX-License-Identifier: GPL-2.0
/*
 * Two threads that wait at once for what is ready, and are told one event each time: on
 * one kqueue or epoll, and on one each. On two CPUs, in real time.
 */
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>

#define READY	64
#define SLICES	12
#define SLICE	250	/* milliseconds */

static atomic_bool stop;
static atomic_long total;

static void *wait_kqueue(void *queue)
{
	struct kevent kev;
	long n = 0;

	while (!stop) {
		must(kevent(*(int *)queue, NULL, 0, &kev, 1, NULL) == 1);
		n++;
	}
	total += n;
	return NULL;
}

static void *wait_epoll(void *queue)
{
	struct epoll_event event;
	long n = 0;

	while (!stop) {
		must(epoll_wait(*(int *)queue, &event, 1, -1) == 1);
		n++;
	}
	total += n;
	return NULL;
}

/* Nanoseconds an event, of one slice. */
static double slice(void *(*wait)(void *), int *first, int *second)
{
	const struct timespec time = { .tv_nsec = SLICE * 1000000L };
	pthread_t threads[2];
	double start;

	stop = false;
	total = 0;
	start = now();
	must(!pthread_create(&threads[0], NULL, wait, first));
	must(!pthread_create(&threads[1], NULL, wait, second));
	nanosleep(&time, NULL);
	stop = true;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	return (now() - start) / total;
}

static void measure(const char *name, bool shared)
{
	double kqueue_best = 1e18, epoll_best = 1e18, cost;
	int kqs[2], eps[2], i, j;

	for (i = 0; i < 2; i++) {
		kqs[i] = new_kqueue();
		eps[i] = new_epoll();
		for (j = 0; j < READY; j++) {
			int fd = new_object(1);

			change(kqs[i], fd, EVFILT_READ, EV_ADD, 0, 0);
			control(eps[i], EPOLL_CTL_ADD, fd, EPOLLIN);
		}
	}
	for (i = 0; i < SLICES; i++) {
		cost = slice(wait_kqueue, &kqs[0], &kqs[shared ? 0 : 1]);
		if (cost < kqueue_best)
			kqueue_best = cost;
		if (!HAS_PEER)
			continue;
		cost = slice(wait_epoll, &eps[0], &eps[shared ? 0 : 1]);
		if (cost < epoll_best)
			epoll_best = cost;
	}
	print(name, KQUEUE, kqueue_best);
	if (HAS_PEER)
		print(name, PEER, epoll_best);
	for (i = 0; i < 2; i++) {
		close(kqs[i]);
		close(eps[i]);
	}
}

void bench_threads(void)
{
	measure("two_threads_one_queue", true);
	measure("two_threads_two_queues", false);
}
