// SPDX-License-Identifier: GPL-2.0
/*
 * EVFILT_TIMER. No test asks that something happens soon; that nothing happens
 * early, and how often it has happened by when, can be asked.
 */
#include "kqtest.h"

#include <poll.h>

#define TIMERS_MAX	"/sys/module/kqueue/parameters/timers_max"
#define HOUR		3600	/* longer than any test */

FIXTURE(timer) {
	int kq;
	struct kevent ev[8];
};

FIXTURE_SETUP(timer)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(timer)
{
	close(self->kq);
}

static int timer(int kq, int flags, unsigned int fflags, int64_t data)
{
	return change_all(kq, 1, EVFILT_TIMER, flags, fflags, data, NULL);
}

static int64_t realtime(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec;
}

TEST_F(timer, expires)
{
	ASSERT_EQ(0, change_all(self->kq, 7, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
				0, 10, (void *)0x77));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(7, self->ev[0].ident);
	EXPECT_EQ(EVFILT_TIMER, self->ev[0].filter);
	EXPECT_EQ(1, self->ev[0].data);
	EXPECT_EQ((void *)0x77, self->ev[0].udata);
}

TEST_F(timer, sets_clear)
{
	ASSERT_EQ(0, timer(self->kq, EV_ADD, 0, 10));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_CLEAR);
}

FIXTURE(unit) {
	int kq;
};

FIXTURE_VARIANT(unit) {
	unsigned int fflags;
	int64_t data;
	double seconds;
};

FIXTURE_VARIANT_ADD(unit, by_default_milliseconds) {
	.fflags = 0, .data = 30, .seconds = 0.030,
};

FIXTURE_VARIANT_ADD(unit, seconds) {
	.fflags = NOTE_SECONDS, .data = 1, .seconds = 1,
};

FIXTURE_VARIANT_ADD(unit, milliseconds) {
	.fflags = NOTE_MSECONDS, .data = 30, .seconds = 0.030,
};

FIXTURE_VARIANT_ADD(unit, microseconds) {
	.fflags = NOTE_USECONDS, .data = 30000, .seconds = 0.030,
};

FIXTURE_VARIANT_ADD(unit, nanoseconds) {
	.fflags = NOTE_NSECONDS, .data = 30000000, .seconds = 0.030,
};

FIXTURE_SETUP(unit)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(unit)
{
	close(self->kq);
}

TEST_F(unit, is_not_cut_short)
{
	double start = now();
	struct kevent ev;

	ASSERT_EQ(0, timer(self->kq, EV_ADD | EV_ONESHOT, variant->fflags,
			   variant->data));
	ASSERT_EQ(1, wait_events(self->kq, &ev, 1));
	EXPECT_LE(variant->seconds, now() - start);
}

TEST_F(unit, is_the_smaller_the_sooner)
{
	struct kevent ev[2];

	/* An hour in this unit or more, and what the variant says. */
	ASSERT_EQ(0, change_all(self->kq, 2, EVFILT_TIMER, EV_ADD, NOTE_SECONDS,
				HOUR, NULL));
	ASSERT_EQ(0, timer(self->kq, EV_ADD | EV_ONESHOT, variant->fflags,
			   variant->data));
	ASSERT_EQ(1, wait_events(self->kq, ev, 2));
	EXPECT_EQ(1, ev[0].ident);
}

TEST_F(unit, of_zero_is_one)
{
	double start = now();
	struct kevent ev;

	if (variant->fflags != NOTE_SECONDS)
		start -= 1;
	ASSERT_EQ(0, timer(self->kq, EV_ADD | EV_ONESHOT, variant->fflags, 0));
	ASSERT_EQ(1, wait_events(self->kq, &ev, 1));
	EXPECT_LE(1, now() - start);
}

/* As with a timeout. */
TEST_F(timer, resolution_is_finer_than_a_tick)
{
	double start, shortest = 1, tick;
	struct timespec res;
	int i;

	ASSERT_EQ(0, clock_getres(CLOCK_MONOTONIC_COARSE, &res));
	tick = res.tv_nsec / 1e9;
	for (i = 0; i < 2000 && shortest >= tick / 2; i++) {
		start = now();
		ASSERT_EQ(0, timer(self->kq, EV_ADD | EV_ONESHOT, NOTE_USECONDS,
				   100));
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
		if (now() - start < shortest)
			shortest = now() - start;
	}
	EXPECT_GT(tick / 2, shortest) TH_LOG("%d timers", i);
}

TEST_F(timer, repeats)
{
	int i;

	ASSERT_EQ(0, timer(self->kq, EV_ADD, 0, 5));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
		EXPECT_LE(1, self->ev[0].data);
	}
}

TEST_F(timer, counts_expirations_since_the_last_read)
{
	double start = now(), end;
	int64_t sum = 0;
	int i;

	ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_MSECONDS, 2));
	for (i = 0; i < 20; i++) {
		/* Let some pass; how many does not matter. */
		usleep(i * 1000);
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
		sum += self->ev[0].data;
		end = now();
	}
	/* Never more than there were; and all but those since the last read. */
	EXPECT_LE(sum, (int64_t)((end - start) / 0.002));
	EXPECT_LE(i * (i - 1) / 2 / 2, sum);
}

TEST_F(timer, with_a_short_period_does_not_hold_a_cpu)
{
	int i;

	ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_NSECONDS, 1));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
		EXPECT_LE(1, self->ev[0].data);
	}
}

TEST_F(timer, with_oneshot_is_deleted)
{
	ASSERT_EQ(0, timer(self->kq, EV_ADD | EV_ONESHOT, 0, 1));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(-ENOENT, timer(self->kq, EV_DELETE, 0, 0));
}

TEST_F(timer, at_a_time_past_expires_at_once)
{
	ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_SECONDS | NOTE_ABSTIME,
			   realtime() - HOUR));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
}

TEST_F(timer, at_a_time_expires_then)
{
	int64_t then = realtime() + 2;

	ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_SECONDS | NOTE_ABSTIME, then));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_LE(then, realtime());
}

TEST_F(timer, at_a_time_expires_once)
{
	ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_SECONDS | NOTE_ABSTIME,
			   realtime() - HOUR));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(0, pending(self->kq));
	/* It is still there, to be set anew. */
	EXPECT_EQ(0, timer(self->kq, EV_DELETE, 0, 0));
}

/* Whoever sets the clock: a time of day comes sooner, a span of time does not. */
TEST_F(timer, at_a_time_goes_by_the_clock_and_others_do_not)
{
	struct timespec begun, set, back;
	double start;
	int n, ret;

	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_TIMER, EV_ADD,
				NOTE_SECONDS | NOTE_ABSTIME, realtime() + HOUR,
				NULL));
	ASSERT_EQ(0, change_all(self->kq, 2, EVFILT_TIMER, EV_ADD, NOTE_SECONDS,
				HOUR, NULL));
	ASSERT_EQ(0, pending(self->kq));
	start = now();
	ASSERT_EQ(0, clock_gettime(CLOCK_REALTIME, &begun));
	set = begun;
	set.tv_sec += 2 * HOUR;
	ret = clock_settime(CLOCK_REALTIME, &set);
	n = ret ? 0 : wait_events(self->kq, self->ev, 8);
	back = begun;
	back.tv_sec += now() - start;
	clock_settime(CLOCK_REALTIME, &back);
	if (ret)
		SKIP(return, "the clock cannot be set");
	ASSERT_EQ(1, n);
	EXPECT_EQ(1, self->ev[0].ident);
	EXPECT_EQ(1, self->ev[0].data);
	/* It has expired for good. */
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(timer, added_anew_starts_anew)
{
	ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_SECONDS, HOUR));
	ASSERT_EQ(0, timer(self->kq, EV_ADD | EV_ONESHOT, 0, 5));
	EXPECT_EQ(1, wait_events(self->kq, self->ev, 8));
}

TEST_F(timer, added_anew_drops_what_was_pending)
{
	struct pollfd pfd = { .fd = self->kq, .events = POLLIN };

	ASSERT_EQ(0, timer(self->kq, EV_ADD, 0, 1));
	ASSERT_EQ(1, poll(&pfd, 1, PATIENCE * 1000));
	ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_SECONDS, HOUR));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(0, poll(&pfd, 1, 0));
}

TEST_F(timer, added_anew_may_go_by_the_other_clock)
{
	int64_t then;
	int i;

	ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_SECONDS, HOUR));
	for (i = 0; i < 3; i++) {
		then = realtime() + 1;
		ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_SECONDS | NOTE_ABSTIME, then));
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
		EXPECT_LE(then, realtime());
		EXPECT_EQ(1, self->ev[0].data);
		ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_MSECONDS, 1));
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
		EXPECT_EQ(1, wait_events(self->kq, self->ev, 8));
	}
}

/* Neither the clock that it went by before, nor what was pending. */
TEST_F(timer, of_one_clock_is_no_more_when_set_by_the_other)
{
	const int64_t later = realtime() + HOUR;
	int i;

	for (i = 0; i < 200; i++) {
		ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_USECONDS, 1 + i * 10));
		ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_SECONDS | NOTE_ABSTIME, later));
		/* Set after it, and for later than it was. */
		ASSERT_EQ(0, change_all(self->kq, 2, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
					NOTE_USECONDS, 1 + i * 10, NULL));
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
		EXPECT_EQ(2, self->ev[0].ident);
	}
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(timer, changed_without_add_goes_on)
{
	ASSERT_EQ(0, timer(self->kq, EV_ADD, 0, 5));
	ASSERT_EQ(0, timer(self->kq, EV_ENABLE, NOTE_SECONDS, HOUR));
	EXPECT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, wait_events(self->kq, self->ev, 8));
}

TEST_F(timer, disabled_collects)
{
	ASSERT_EQ(0, timer(self->kq, EV_ADD | EV_DISABLE, 0, 1));
	usleep(20000);
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, timer(self->kq, EV_ENABLE, 0, 0));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_LE(20, self->ev[0].data);
}

TEST_F(timer, with_dispatch_is_disabled_when_delivered)
{
	ASSERT_EQ(0, timer(self->kq, EV_ADD | EV_DISPATCH, 0, 1));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	usleep(20000);
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, timer(self->kq, EV_ENABLE, 0, 0));
	EXPECT_EQ(1, wait_events(self->kq, self->ev, 8));
}

TEST_F(timer, deleted_does_not_expire)
{
	struct pollfd pfd = { .fd = self->kq, .events = POLLIN };

	ASSERT_EQ(0, timer(self->kq, EV_ADD, 0, 1));
	ASSERT_EQ(1, poll(&pfd, 1, PATIENCE * 1000));
	ASSERT_EQ(0, timer(self->kq, EV_DELETE, 0, 0));
	usleep(10000);
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(-ENOENT, timer(self->kq, EV_DELETE, 0, 0));
}

TEST_F(timer, wakes_a_sleeper)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, timer(self->kq, EV_ADD | EV_ONESHOT, 0, 10));
	EXPECT_EQ(1, waiter_result(&w));
}

TEST_F(timer, that_could_not_be_stored_keeps_its_count)
{
	struct pollfd pfd = { .fd = self->kq, .events = POLLIN };

	ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_SECONDS | NOTE_ABSTIME,
			   realtime() - HOUR));
	ASSERT_EQ(1, poll(&pfd, 1, PATIENCE * 1000));
	EXPECT_EQ(-EFAULT, poll_events(self->kq, (void *)16, 8));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
}

FIXTURE(bad_time) {
	int kq;
};

FIXTURE_VARIANT(bad_time) {
	unsigned int fflags;
	int64_t data;
};

FIXTURE_VARIANT_ADD(bad_time, negative) {
	.data = -1,
};

FIXTURE_VARIANT_ADD(bad_time, most_negative) {
	.fflags = NOTE_NSECONDS, .data = INT64_MIN,
};

FIXTURE_VARIANT_ADD(bad_time, overflowing_seconds) {
	.fflags = NOTE_SECONDS, .data = INT64_MAX,
};

FIXTURE_VARIANT_ADD(bad_time, overflowing_milliseconds) {
	.data = INT64_MAX,
};

FIXTURE_VARIANT_ADD(bad_time, just_overflowing) {
	.fflags = NOTE_SECONDS, .data = INT64_MAX / 1000000000 + 1,
};

FIXTURE_VARIANT_ADD(bad_time, overflowing_from_now) {
	.fflags = NOTE_NSECONDS, .data = INT64_MAX,
};

FIXTURE_VARIANT_ADD(bad_time, two_units) {
	.fflags = NOTE_SECONDS | NOTE_USECONDS, .data = 1,
};

FIXTURE_VARIANT_ADD(bad_time, unknown_flag) {
	.fflags = NOTE_MSECONDS | NOTE_ABSTIME << 1, .data = 1,
};

FIXTURE_VARIANT_ADD(bad_time, all_units) {
	.fflags = NOTE_SECONDS | NOTE_MSECONDS | NOTE_USECONDS | NOTE_NSECONDS,
	.data = 1,
};

FIXTURE_VARIANT_ADD(bad_time, negative_time_of_day) {
	.fflags = NOTE_SECONDS | NOTE_ABSTIME, .data = -1,
};

FIXTURE_VARIANT_ADD(bad_time, overflowing_time_of_day) {
	.fflags = NOTE_SECONDS | NOTE_ABSTIME, .data = INT64_MAX / 1000000000 + 1,
};

FIXTURE_SETUP(bad_time)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(bad_time)
{
	close(self->kq);
}

TEST_F(bad_time, is_refused)
{
	EXPECT_EQ(-EINVAL, timer(self->kq, EV_ADD, variant->fflags, variant->data));
	EXPECT_EQ(-ENOENT, timer(self->kq, EV_DELETE, 0, 0));
}

TEST_F(bad_time, leaves_what_is_there)
{
	struct kevent ev;

	ASSERT_EQ(0, timer(self->kq, EV_ADD | EV_ONESHOT, 0, 50));
	EXPECT_EQ(-EINVAL, timer(self->kq, EV_ADD, variant->fflags, variant->data));
	EXPECT_EQ(1, wait_events(self->kq, &ev, 1));
}

TEST_F(timer, of_the_longest_time_does_not_expire)
{
	ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_NSECONDS, INT64_MAX / 2));
	usleep(10000);
	EXPECT_EQ(0, pending(self->kq));
}

static int set_parameter(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

TEST_F(timer, past_the_limit_is_refused)
{
	int i;

	ASSERT_EQ(0, set_parameter(TIMERS_MAX, "3"));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, change_all(self->kq, i, EVFILT_TIMER, EV_ADD,
					NOTE_SECONDS, HOUR, NULL));
	}
	EXPECT_EQ(-ENOMEM, change_all(self->kq, 3, EVFILT_TIMER, EV_ADD,
				      NOTE_SECONDS, HOUR, NULL));
	/* Those that are there can be set, and one that goes makes room. */
	EXPECT_EQ(0, change_all(self->kq, 0, EVFILT_TIMER, EV_ADD, 0, 1, NULL));
	EXPECT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(0, change(self->kq, 1, EVFILT_TIMER, EV_DELETE));
	EXPECT_EQ(0, change_all(self->kq, 3, EVFILT_TIMER, EV_ADD,
				NOTE_SECONDS, HOUR, NULL));
	EXPECT_EQ(0, set_parameter(TIMERS_MAX, "65536"));
}

TEST_F(timer, limit_counts_those_that_are_there)
{
	int other = kqueue();

	ASSERT_LE(0, other);
	ASSERT_EQ(0, set_parameter(TIMERS_MAX, "2"));
	EXPECT_EQ(0, change_all(other, 1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS,
				HOUR, NULL));
	EXPECT_EQ(0, timer(self->kq, EV_ADD | EV_ONESHOT, 0, 1));
	EXPECT_EQ(-ENOMEM, change_all(self->kq, 2, EVFILT_TIMER, EV_ADD,
				      NOTE_SECONDS, HOUR, NULL));
	EXPECT_EQ(-ENOENT, change(self->kq, 2, EVFILT_TIMER, EV_DELETE));
	/* What was refused for another reason took nothing. */
	EXPECT_EQ(-EINVAL, change_all(self->kq, 2, EVFILT_TIMER, EV_ADD, 0, -1,
				      NULL));
	/* One that was delivered for the last time is not there any more. */
	EXPECT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(0, change_all(self->kq, 2, EVFILT_TIMER, EV_ADD, NOTE_SECONDS,
				HOUR, NULL));
	EXPECT_EQ(-ENOMEM, change_all(self->kq, 3, EVFILT_TIMER, EV_ADD,
				      NOTE_SECONDS, HOUR, NULL));
	/* Nor are those of a kqueue that was closed. */
	EXPECT_EQ(0, close(other));
	EXPECT_EQ(0, change_all(self->kq, 3, EVFILT_TIMER, EV_ADD, NOTE_SECONDS,
				HOUR, NULL));
	/* Lowered under what is there, it only keeps new ones out. */
	EXPECT_EQ(0, set_parameter(TIMERS_MAX, "1"));
	EXPECT_EQ(0, change(self->kq, 2, EVFILT_TIMER, EV_DELETE));
	EXPECT_EQ(-ENOMEM, change_all(self->kq, 2, EVFILT_TIMER, EV_ADD,
				      NOTE_SECONDS, HOUR, NULL));
	EXPECT_EQ(0, change_all(self->kq, 3, EVFILT_TIMER, EV_ADD, 0, 1, NULL));
	EXPECT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(0, set_parameter(TIMERS_MAX, "65536"));
}

/* A timer that expires while it is set anew, deleted and made, over and over. */
TEST_F(timer, races_with_its_changes)
{
	int i;

	for (i = 0; i < 3000; i++) {
		ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_USECONDS, i % 50));
		if (i % 3 == 0) {
			ASSERT_EQ(0, timer(self->kq, EV_DELETE, 0, 0));
			ASSERT_EQ(0, pending(self->kq));
		}
		if (i % 7 == 0)
			pending(self->kq);
	}
	/* What was set last counts. */
	ASSERT_EQ(0, timer(self->kq, EV_ADD, NOTE_SECONDS, HOUR));
	usleep(1000);
	EXPECT_EQ(0, pending(self->kq));
}

TEST_HARNESS_MAIN
