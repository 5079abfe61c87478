/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the test programs share: the kernel's own test harness, kqueue in one
 * call, and the means to wait for a condition instead of sleeping and hoping.
 */
#ifndef KQTEST_H
#define KQTEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

/* Under emulation, on a busy machine, what takes milliseconds takes seconds. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

/* Seconds a condition may take; PATIENCE in the environment says otherwise. */
static inline int seconds_of_patience(void)
{
	return getenv("PATIENCE") ? atoi(getenv("PATIENCE")) : 30;
}
#define PATIENCE		seconds_of_patience()

#define USER_EVENTS_MAX	"/sys/module/kqueue/parameters/user_events_max"
#define WATCHES_MAX	"/sys/module/kqueue/parameters/watches_max"

/*
 * kqueue, in one call each. All give -errno, or what the call gives.
 */

static inline int kev(int kq, const struct kevent *changes, int nchanges,
		      struct kevent *events, int nevents,
		      const struct timespec *timeout)
{
	int n = kevent(kq, changes, nchanges, events, nevents, timeout);

	return n < 0 ? -errno : n;
}

/* Apply one change, with every field. */
static inline int change_all(int kq, uintptr_t ident, int filter, int flags,
			     unsigned int fflags, int64_t data, void *udata)
{
	struct kevent change;

	EV_SET(&change, ident, filter, flags, fflags, data, udata);
	return kev(kq, &change, 1, NULL, 0, NULL);
}

static inline int change(int kq, uintptr_t ident, int filter, int flags)
{
	return change_all(kq, ident, filter, flags, 0, 0, NULL);
}

static inline int trigger(int kq, uintptr_t ident)
{
	return change_all(kq, ident, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
}

/* The events that are there now. */
static inline int poll_events(int kq, struct kevent *events, int nevents)
{
	const struct timespec zero = { 0 };

	return kev(kq, NULL, 0, events, nevents, &zero);
}

/* Wait for events; 0 is a failure of whatever should have brought one. */
static inline int wait_events(int kq, struct kevent *events, int nevents)
{
	const struct timespec patience = { .tv_sec = PATIENCE };

	return kev(kq, NULL, 0, events, nevents, &patience);
}

/* How many events are there, given room for no more than a few. */
static inline int pending(int kq)
{
	struct kevent events[16];

	return poll_events(kq, events, ARRAY_SIZE(events));
}

static inline int kqueue_ioctl(int kq, unsigned long request, void *arg)
{
	int ret = ioctl(kq, request, arg);

	return ret < 0 ? -errno : ret;
}

/*
 * Conditions.
 */

static inline double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Whether something another task or the network does has come about, at last. */
#define EVENTUALLY(condition) ({				\
	double __end = now() + PATIENCE;			\
	bool __holds;						\
								\
	while (!(__holds = (condition)) && now() < __end)	\
		usleep(500);					\
	__holds;						\
})

/* Whether a task sleeps in a system call: this one, or any but futex(2). */
static inline bool asleep_in(pid_t tid, long nr)
{
	char path[64], line[64] = "";
	char *end;
	long seen;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, line, sizeof(line) - 1) < 0)
		line[0] = '\0';
	close(fd);
	seen = strtol(line, &end, 10);	/* or the word "running" */
	if (end == line || seen < 0)
		return false;
	return nr < 0 ? seen != SYS_futex : seen == nr;
}

/*
 * A thread in kevent(), known to be asleep there.
 */
struct waiter {
	int kq;
	const struct timespec *timeout;
	struct kevent *list;		/* where the events go if not here: */
	struct kevent events[8];
	int nevents;			/* and how many, if not all of these */
	const struct kevent *changes;
	int nchanges;

	int result;			/* as from kev() */
	atomic_int tid;
	atomic_bool done;
	pthread_t thread;
};

static inline void *waiter_main(void *arg)
{
	struct waiter *w = arg;

	w->tid = gettid();
	w->result = kev(w->kq, w->changes, w->nchanges,
			w->list ? w->list : w->events, w->nevents, w->timeout);
	w->done = true;
	return NULL;
}

/* Starts one, and gives whether it went to sleep, as it should. */
static inline bool waiter_sleeps(struct waiter *w)
{
	if (!w->nevents)
		w->nevents = ARRAY_SIZE(w->events);
	if (pthread_create(&w->thread, NULL, waiter_main, w))
		return false;
	return EVENTUALLY(w->done || (w->tid && asleep_in(w->tid, SYS_ioctl))) &&
	       !w->done;
}

/* Its result, once it has one; -ETIME where it sleeps on. */
static inline int waiter_result(struct waiter *w)
{
	if (!EVENTUALLY(w->done))
		return -ETIME;
	pthread_join(w->thread, NULL);
	return w->result;
}

/*
 * Processes. ASSERT and EXPECT are for the test's own process (and are two
 * statements each: a loop's body needs braces around one); a child's verdict is
 * its exit status, which is not 0 where a CHILD_CHECK has failed.
 */

#define CHILD_CHECK(condition) do {					\
	if (!(condition)) {						\
		fprintf(stderr, "# %s:%d: in a child: not so: %s (errno %d)\n", \
			__FILE__, __LINE__, #condition, errno);		\
		_exit(1);						\
	}								\
} while (0)

/* Exit status, or minus the signal that killed it. */
static inline int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Run a function in a child. It may return, or fail a CHILD_CHECK. */
static inline int in_child(void (*body)(void *), void *arg)
{
	pid_t pid = fork();

	if (!pid) {
		body(arg);
		_exit(0);
	}
	return pid < 0 ? -errno : reap(pid);
}

/*
 * Files of one line: module parameters, cgroups.
 */

static inline int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static inline int write_number(const char *path, unsigned long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", value);
	return write_file(path, text);
}

static inline long read_number(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	return len < 0 ? -EIO : strtol(text, NULL, 10);
}

/*
 * Modules: 0 or -errno.
 */

static inline int load_module(const char *path, const char *parameters)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret = syscall(SYS_finit_module, fd, parameters, 0) ? -errno : 0;

	close(fd);
	return ret;
}

static inline int unload_module(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

/* KQUEUE_KO names it. */
static inline int load_kqueue(void)
{
	return load_module(getenv("KQUEUE_KO"), "");
}

static inline int unload_kqueue(void)
{
	return unload_module("kqueue");
}

/* The number the next descriptor will have: unchanged where none has leaked. */
static inline int next_fd(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

#endif /* KQTEST_H */
