// SPDX-License-Identifier: GPL-2.0
/*
 * Waiting: for how long, and what ends it.
 */
#include "kqtest.h"

FIXTURE(timeouts) {
	int kq;
	struct kevent ev[8];
};

FIXTURE_SETUP(timeouts)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(timeouts)
{
	close(self->kq);
}

TEST_F(timeouts, none_waits_until_there_is_an_event)
{
	struct waiter w = { .kq = self->kq, .timeout = NULL };

	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, waiter_result(&w));
}

TEST_F(timeouts, none_does_not_wait_where_there_is_an_event)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER,
				0, NULL));
	EXPECT_EQ(1, kev(self->kq, NULL, 0, self->ev, 8, NULL));
}

TEST_F(timeouts, zero_polls)
{
	const struct timespec zero = {};

	EXPECT_EQ(0, kev(self->kq, NULL, 0, self->ev, 8, &zero));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER,
				0, NULL));
	EXPECT_EQ(1, kev(self->kq, NULL, 0, self->ev, 8, &zero));
}

TEST_F(timeouts, passed_without_an_event_gives_none)
{
	/* Never early, however coarse the clock: late is for others to say. */
	static const struct timespec ts[] = {
		{ .tv_nsec = 1 },
		{ .tv_nsec = 999999 },
		{ .tv_nsec = 20000000 },
		{ .tv_sec = 1, .tv_nsec = 1 },
	};
	double start;
	size_t i;

	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD));
	for (i = 0; i < ARRAY_SIZE(ts); i++) {
		start = now();
		EXPECT_EQ(0, kev(self->kq, NULL, 0, self->ev, 8, &ts[i]));
		EXPECT_LE(ts[i].tv_sec + ts[i].tv_nsec / 1e9, now() - start);
	}
}

/* The shortest of many waits, and a tick, in seconds. */
TEST_F(timeouts, resolution_is_finer_than_a_tick)
{
	const struct timespec ts = { .tv_nsec = 100000 };
	double start, shortest = 1, tick;
	struct timespec res;
	int i;

	ASSERT_EQ(0, clock_getres(CLOCK_MONOTONIC_COARSE, &res));
	tick = res.tv_nsec / 1e9;
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD));
	for (i = 0; i < 2000 && shortest >= tick / 2; i++) {
		start = now();
		ASSERT_EQ(0, kev(self->kq, NULL, 0, self->ev, 8, &ts));
		if (now() - start < shortest)
			shortest = now() - start;
	}
	EXPECT_GT(tick / 2, shortest) TH_LOG("%d waits", i);
}

TEST_F(timeouts, event_before_it_passes_ends_the_wait)
{
	const struct timespec ts = { .tv_sec = 1000, .tv_nsec = 999999999 };
	struct waiter w = { .kq = self->kq, .timeout = &ts };

	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, waiter_result(&w));
}

/* Times that in nanoseconds, or in ticks, are more than fits. */
TEST_F(timeouts, the_longest_waits)
{
	static const struct timespec ts[] = {
		{ .tv_sec = LONG_MAX, .tv_nsec = 999999999 },
		{ .tv_sec = LONG_MAX },
#if LONG_MAX > INT_MAX
		{ .tv_sec = LONG_MAX / 1000000000 },
		{ .tv_sec = LONG_MAX / 1000000000 + 1 },
		{ .tv_sec = UINT_MAX },
#endif
		{ .tv_sec = INT_MAX },
	};
	size_t i;

	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR));
	for (i = 0; i < ARRAY_SIZE(ts); i++) {
		struct waiter w = { .kq = self->kq, .timeout = &ts[i] };

		ASSERT_TRUE(waiter_sleeps(&w));
		ASSERT_EQ(0, trigger(self->kq, 1));
		EXPECT_EQ(1, waiter_result(&w));
	}
}

static const struct timespec invalid[] = {
	{ .tv_sec = -1 },
	{ .tv_sec = -1, .tv_nsec = 999999999 },
	{ .tv_sec = LONG_MIN },
	{ .tv_nsec = -1 },
	{ .tv_nsec = 1000000000 },
	{ .tv_sec = 1, .tv_nsec = -1 },
	{ .tv_nsec = LONG_MAX },
	{ .tv_nsec = LONG_MIN },
};

TEST_F(timeouts, invalid_is_einval_and_takes_no_event)
{
	size_t i;

	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR,
				NOTE_TRIGGER, 0, NULL));
	for (i = 0; i < ARRAY_SIZE(invalid); i++) {
		EXPECT_EQ(-EINVAL, kev(self->kq, NULL, 0, self->ev, 8,
				       &invalid[i]))
			TH_LOG("number %zu", i);
	}
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(timeouts, invalid_is_einval_and_applies_no_change)
{
	struct kevent ch;
	size_t i;

	EV_SET(&ch, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	for (i = 0; i < ARRAY_SIZE(invalid); i++) {
		EXPECT_EQ(-EINVAL, kev(self->kq, &ch, 1, self->ev, 8,
				       &invalid[i]));
		EXPECT_EQ(-ENOENT, trigger(self->kq, 1));
	}
}

/* Where the library has to convert the time, it is the one that reads it. */
#if LONG_MAX > INT_MAX
TEST_F(timeouts, bad_address_is_efault_and_applies_no_change)
{
	struct timespec *none = mmap(NULL, 4096, PROT_NONE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kevent ch;

	ASSERT_NE(MAP_FAILED, (void *)none);
	EV_SET(&ch, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	EXPECT_EQ(-EFAULT, kev(self->kq, &ch, 1, self->ev, 8, none));
	EXPECT_EQ(-ENOENT, trigger(self->kq, 1));
}
#endif

/*
 * Signals.
 */

static atomic_int signals;

static void count(int sig)
{
	(void)sig;
	signals++;
}

static void handle(int sig, int flags)
{
	struct sigaction sa = { .sa_handler = count, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

/* With a wait that has none, and one that has a timeout. */
FIXTURE(timeouts_signal) {
	int kq;
};

FIXTURE_VARIANT(timeouts_signal) {
	const struct timespec *timeout;
	int flags;
};

static const struct timespec long_time = { .tv_sec = 10000 };

FIXTURE_VARIANT_ADD(timeouts_signal, without_timeout) {
	.timeout = NULL,
};

FIXTURE_VARIANT_ADD(timeouts_signal, with_timeout) {
	.timeout = &long_time,
};

FIXTURE_VARIANT_ADD(timeouts_signal, with_sa_restart) {
	.timeout = NULL,
	.flags = SA_RESTART,
};

FIXTURE_VARIANT_ADD(timeouts_signal, with_timeout_and_sa_restart) {
	.timeout = &long_time,
	.flags = SA_RESTART,
};

FIXTURE_SETUP(timeouts_signal)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	handle(SIGUSR1, variant->flags);
}

FIXTURE_TEARDOWN(timeouts_signal)
{
	close(self->kq);
}

TEST_F(timeouts_signal, ends_the_wait_with_eintr)
{
	struct waiter w = { .kq = self->kq, .timeout = variant->timeout };

	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, pthread_kill(w.thread, SIGUSR1));
	EXPECT_EQ(-EINTR, waiter_result(&w));
	EXPECT_EQ(1, signals);
}

TEST_F(timeouts_signal, leaves_the_changes_of_the_call_applied)
{
	struct kevent ch[2];
	struct waiter w = {
		.kq = self->kq, .timeout = variant->timeout,
		.changes = ch, .nchanges = 2,
	};

	EV_SET(&ch[0], 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	EV_SET(&ch[1], 2, EVFILT_USER, EV_ADD, 0, 0, NULL);
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, pthread_kill(w.thread, SIGUSR1));
	ASSERT_EQ(-EINTR, waiter_result(&w));
	EXPECT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(0, trigger(self->kq, 2));
	EXPECT_EQ(2, pending(self->kq));
}

TEST_F(timeouts_signal, loses_no_event)
{
	struct waiter w = { .kq = self->kq, .timeout = variant->timeout };
	int n;

	/*
	 * The event and the signal meet in the sleeping thread: it returns
	 * either, and where it was the signal the event is still there.
	 */
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, pthread_kill(w.thread, SIGUSR1));
	ASSERT_EQ(0, trigger(self->kq, 1));
	n = waiter_result(&w);
	if (n == -EINTR)
		n = pending(self->kq);
	EXPECT_EQ(1, n);
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(timeouts, blocked_signal_does_not_end_a_wait)
{
	struct waiter w = { .kq = self->kq };
	sigset_t set;

	handle(SIGUSR1, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, pthread_kill(w.thread, SIGUSR1));
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, waiter_result(&w));
	EXPECT_EQ(0, signals);
}

TEST_F(timeouts, pending_signal_does_not_keep_a_poll_from_its_events)
{
	sigset_t set;

	handle(SIGUSR1, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));
	ASSERT_EQ(0, raise(SIGUSR1));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER,
				0, NULL));
	EXPECT_EQ(1, pending(self->kq));
}

static void killed_while_waiting(void *arg)
{
	struct kevent ev;
	int kq = kqueue();

	(void)arg;
	CHILD_CHECK(kq >= 0);
	kevent(kq, NULL, 0, &ev, 1, NULL);
	CHILD_CHECK(!"returned");
}

TEST_F(timeouts, waiting_process_can_be_killed)
{
	static const int sig[] = { SIGKILL, SIGTERM };
	size_t i;
	pid_t pid;

	for (i = 0; i < ARRAY_SIZE(sig); i++) {
		pid = fork();
		if (!pid)
			killed_while_waiting(NULL);
		ASSERT_TRUE(EVENTUALLY(asleep_in(pid, SYS_ioctl)));
		ASSERT_EQ(0, kill(pid, sig[i]));
		EXPECT_EQ(-sig[i], reap(pid));
	}
}

/*
 * A signal that is ignored is kept while the thread it would go to has it blocked,
 * and then wakes another one, on which nothing is going to happen.
 */
TEST_F(timeouts, ignored_signal_does_not_end_a_wait)
{
	struct waiter w = { .kq = self->kq };
	sigset_t chld;
	int i;

	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &chld, NULL));
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, kill(getpid(), SIGCHLD));
	}
	ASSERT_TRUE(EVENTUALLY(w.done || asleep_in(w.tid, SYS_ioctl)));
	EXPECT_FALSE(w.done);
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, waiter_result(&w));
}

TEST_HARNESS_MAIN
