/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the benchmark's cases share. A case does one thing in two ways, with a
 * kqueue and with what one would use without, and tells what each of them costs:
 * nanoseconds, which are instructions where the machine counts those.
 *
 * Compiled with LIBKQUEUE this is a program for the library of that name, which has
 * kqueues in user space: then the other way is left out.
 */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/types.h>
#include <sys/epoll.h>
#include <sys/event.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

#ifdef LIBKQUEUE
#define KQUEUE		"libkqueue"
#define HAS_PEER	false
#else
#define KQUEUE		"kqueue"
#define HAS_PEER	true	/* the other way is measured, too */
#endif
#define PEER		"peer"

/* No run is worth anything in which something has failed. */
#define must(condition) do {						\
	if (!(condition)) {						\
		fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__,	\
			__LINE__, #condition, strerror(errno));		\
		exit(1);						\
	}								\
} while (0)

/*
 * Time. What is between begin() and end() counts.
 */

/* They do nothing, but tell the profiler: count from here or no more; these were one case. */
#define MARKER		asm volatile("nopl 0x7eefcafe(%rax)")
#define CASE_MARKER	asm volatile("nopl 0x7eefcaff(%rax)")

static inline double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

extern double begun, spent;
extern bool profiling;

static inline void begin(void)
{
	if (profiling)
		MARKER;
	begun = now();
}

static inline void end(void)
{
	spent += now() - begun;
	if (profiling)
		MARKER;
}

/*
 * Runs both ways in turn, some times each, and prints what the cheapest run of each
 * has cost, divided by per: the one that no interrupt has come into. One of the two may
 * be NULL.
 */
void compare(const char *name, double per, void (*with_kqueue)(void),
	     void (*with_peer)(void));

/*
 * Waits, where no kqueue is open, until the module has disarmed its probes: what an other
 * way costs is not to have a part in them.
 */
void without_kqueues(void);

/* Prints a cost. */
void print(const char *name, const char *with, double cost);

/*
 * kqueue and epoll, in one call each.
 */

extern const struct timespec zero;

static inline void change(int kq, uintptr_t ident, int filter, int flags,
			  unsigned int fflags, int64_t data)
{
	struct kevent kev;

	EV_SET(&kev, ident, filter, flags, fflags, data, NULL);
	must(!kevent(kq, &kev, 1, NULL, 0, NULL));
}

static inline int new_kqueue(void)
{
	int kq = kqueue();

	must(kq >= 0);
	return kq;
}

static inline int new_epoll(void)
{
	int ep = epoll_create1(0);

	must(ep >= 0);
	return ep;
}

static inline void control(int ep, int op, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	must(!epoll_ctl(ep, op, fd, &event));
}

/* A descriptor that is ready to be read as long as nobody does, or is not. */
int new_eventfd(int value);
int new_pipe(int bytes);
int new_tcp(int bytes);

/* One of them: libkqueue does not know eventfds. */
static inline int new_object(int bytes)
{
	return HAS_PEER ? new_eventfd(bytes) : new_pipe(bytes);
}

/* Room for many descriptors. */
void want_descriptors(long many);

/* The cases. */
void bench_wait(void);
void bench_idle(void);
void bench_change(void);
void bench_wake(void);
void bench_timer(void);
void bench_signal(void);
void bench_child(void);
void bench_pingpong(void);
void bench_memory(void);
void bench_close(const char *name, const char *with);
void bench_threads(void);

#endif
