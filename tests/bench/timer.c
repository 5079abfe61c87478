// SPDX-License-Identifier: GPL-2.0
/*
 * A timer that is set, expires and is received: EVFILT_TIMER, and a timerfd that an
 * epoll waits for. It expires while the program does something else, which takes always
 * the same and is subtracted: a machine that sleeps would not tell what it costs.
 */
#include "bench.h"

#include <sys/timerfd.h>

#define ROUNDS	16
#define DELAY	20000	/* nanoseconds */
#define LOOPS	40000	/* more than that takes, of two instructions each */

static int kq, ep, tfd;
static double loop;	/* what LOOPS take, in ROUNDS */

static void spin(void)
{
	unsigned long loops = LOOPS;

	asm volatile("1: dec %0; jnz 1b" : "+r" (loops));
}

static void spin_alone(void)
{
	int i;

	begin();
	for (i = 0; i < ROUNDS; i++)
		spin();
	end();
}

static void with_kqueue(void)
{
	struct kevent kev;
	int i;

	begin();
	for (i = 0; i < ROUNDS; i++) {
		change(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_NSECONDS, DELAY);
		spin();
		must(kevent(kq, NULL, 0, &kev, 1, NULL) == 1);
	}
	end();
	spent -= loop;
}

static void with_epoll(void)
{
	const struct itimerspec at = { .it_value.tv_nsec = DELAY };
	struct epoll_event event;
	uint64_t value;
	int i;

	begin();
	for (i = 0; i < ROUNDS; i++) {
		must(!timerfd_settime(tfd, 0, &at, NULL));
		spin();
		must(epoll_wait(ep, &event, 1, -1) == 1);
		must(read(tfd, &value, sizeof(value)) == sizeof(value));
	}
	end();
	spent -= loop;
}

void bench_timer(void)
{
	int i;

	kq = new_kqueue();
	ep = new_epoll();
	tfd = timerfd_create(CLOCK_MONOTONIC, 0);
	must(tfd >= 0);
	control(ep, EPOLL_CTL_ADD, tfd, EPOLLIN);
	loop = 1e18;
	for (i = 0; i < 8 && !profiling; i++) {
		spent = 0;
		spin_alone();
		if (spent < loop)
			loop = spent;
	}
	compare("timer", ROUNDS, with_kqueue, with_epoll);
	close(kq);
	close(ep);
	close(tfd);
}
