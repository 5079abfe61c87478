// SPDX-License-Identifier: GPL-2.0
/*
 * EVFILT_USER: events that exist only because the program says so.
 */
#include "kqtest.h"

/* As add with every bit of fflags that is not a trigger. */
#define ALL_FFLAGS	(~0U & ~NOTE_TRIGGER)

/* Addresses to give as udata. */
static char one, other;

FIXTURE(user) {
	int kq;
	struct kevent ev[8];
};

FIXTURE_SETUP(user)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(user)
{
	close(self->kq);
}

static int add(int kq, uintptr_t ident, int flags, unsigned int fflags,
	       int64_t data, void *udata)
{
	return change_all(kq, ident, EVFILT_USER, EV_ADD | flags, fflags, data,
			  udata);
}

/* A change that does not add. */
static int touch(int kq, uintptr_t ident, int flags, unsigned int fflags,
		 int64_t data, void *udata)
{
	return change_all(kq, ident, EVFILT_USER, flags, fflags, data, udata);
}

TEST_F(user, is_not_reported_before_it_is_triggered)
{
	ASSERT_EQ(0, add(self->kq, 1, 0, ALL_FFLAGS, 0, NULL));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(user, add_stores_the_low_24_bits_of_fflags)
{
	ASSERT_EQ(0, add(self->kq, 1, 0, ALL_FFLAGS, 0, NULL));
	ASSERT_EQ(0, trigger(self->kq, 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 2));
	EXPECT_EQ(1, self->ev[0].ident);
	EXPECT_EQ(EVFILT_USER, self->ev[0].filter);
	EXPECT_EQ(NOTE_FFLAGSMASK, self->ev[0].fflags);
	EXPECT_EQ(0, self->ev[0].data);
	EXPECT_EQ(NULL, self->ev[0].udata);
}

TEST_F(user, change_without_add_keeps_data_and_udata)
{
	ASSERT_EQ(0, add(self->kq, 1, 0, 0, 5, &one));
	ASSERT_EQ(0, touch(self->kq, 1, 0, NOTE_TRIGGER | NOTE_FFNOP, 123,
			   &other));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 2));
	EXPECT_EQ(5, self->ev[0].data);
	EXPECT_EQ((void *)&one, self->ev[0].udata);
}

TEST_F(user, add_on_an_existing_one_replaces_data_and_udata)
{
	ASSERT_EQ(0, add(self->kq, 1, 0, ALL_FFLAGS, 5, &one));
	ASSERT_EQ(0, add(self->kq, 1, 0, NOTE_TRIGGER | NOTE_FFNOP, 123,
			 &other));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 2));
	EXPECT_EQ(NOTE_FFLAGSMASK, self->ev[0].fflags);
	EXPECT_EQ(123, self->ev[0].data);
	EXPECT_EQ((void *)&other, self->ev[0].udata);
}

TEST_F(user, keepudata_keeps_udata)
{
	ASSERT_EQ(0, add(self->kq, 1, 0, 0, 0, &one));
	ASSERT_EQ(0, touch(self->kq, 1, EV_KEEPUDATA, NOTE_TRIGGER, 0,
			   &other));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 2));
	EXPECT_EQ((void *)&one, self->ev[0].udata);
}

TEST_F(user, stays_reported_until_it_is_cleared)
{
	int i;

	ASSERT_EQ(0, add(self->kq, 1, 0, NOTE_TRIGGER, 0, NULL));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(1, pending(self->kq));
	}
}

TEST_F(user, can_be_triggered_as_it_is_added)
{
	ASSERT_EQ(0, add(self->kq, 2, 0, NOTE_TRIGGER, 654, &other));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 2));
	EXPECT_EQ(2, self->ev[0].ident);
	EXPECT_EQ(0, self->ev[0].fflags);
	EXPECT_EQ(654, self->ev[0].data);
	EXPECT_EQ((void *)&other, self->ev[0].udata);
}

TEST_F(user, can_be_added_triggered_and_reported_in_one_call)
{
	const struct timespec zero = { 0 };

	EV_SET(&self->ev[0], 3, EVFILT_USER, EV_ADD | EV_CLEAR,
	       NOTE_TRIGGER | 0x42, 9, &one);
	ASSERT_EQ(1, kev(self->kq, self->ev, 1, self->ev, 8, &zero));
	EXPECT_EQ(3, self->ev[0].ident);
	EXPECT_EQ(0x42, self->ev[0].fflags);
	EXPECT_EQ(9, self->ev[0].data);
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(user, several_are_reported_as_they_were_triggered_and_keep_their_own)
{
	ASSERT_EQ(0, add(self->kq, 1, 0, ALL_FFLAGS, 123, &one));
	ASSERT_EQ(0, trigger(self->kq, 1));
	ASSERT_EQ(0, add(self->kq, 2, 0, NOTE_TRIGGER, 654, &other));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 2));
	EXPECT_EQ(1, self->ev[0].ident);
	EXPECT_EQ(NOTE_FFLAGSMASK, self->ev[0].fflags);
	EXPECT_EQ(123, self->ev[0].data);
	EXPECT_EQ((void *)&one, self->ev[0].udata);
	EXPECT_EQ(2, self->ev[1].ident);
	EXPECT_EQ(0, self->ev[1].fflags);
	EXPECT_EQ(654, self->ev[1].data);
	EXPECT_EQ((void *)&other, self->ev[1].udata);
}

TEST_F(user, first_reported_is_first_again)
{
	ASSERT_EQ(0, add(self->kq, 1, 0, NOTE_TRIGGER, 0, NULL));
	/* A level-triggered one that was reported waits at the tail... */
	ASSERT_EQ(1, pending(self->kq));
	/* ...and one that comes after it waits behind it. */
	ASSERT_EQ(0, add(self->kq, 2, 0, NOTE_TRIGGER, 0, NULL));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].ident);
	EXPECT_EQ(2, self->ev[1].ident);
}

TEST_F(user, ev_clear_in_a_change_clears_the_event_and_no_other)
{
	ASSERT_EQ(0, add(self->kq, 1, 0, NOTE_TRIGGER | 0x11, 123, &one));
	ASSERT_EQ(0, add(self->kq, 2, 0, NOTE_TRIGGER, 654, &other));
	ASSERT_EQ(2, pending(self->kq));
	ASSERT_EQ(0, touch(self->kq, 1, EV_CLEAR, 0, 0, NULL));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 2));
	EXPECT_EQ(2, self->ev[0].ident);
	EXPECT_EQ(0, self->ev[0].fflags);
	EXPECT_EQ(654, self->ev[0].data);
	EXPECT_EQ((void *)&other, self->ev[0].udata);
}

TEST_F(user, ev_clear_in_a_change_clears_data_but_not_fflags_and_udata)
{
	ASSERT_EQ(0, add(self->kq, 1, 0, NOTE_TRIGGER | 0x11, 123, &one));
	ASSERT_EQ(0, touch(self->kq, 1, EV_CLEAR, 0, 0, NULL));
	ASSERT_EQ(0, trigger(self->kq, 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 2));
	EXPECT_EQ(0, self->ev[0].data);
	EXPECT_EQ(0x11, self->ev[0].fflags);
	EXPECT_EQ((void *)&one, self->ev[0].udata);
}

TEST_F(user, ev_clear_in_a_change_does_not_make_it_self_clearing)
{
	ASSERT_EQ(0, add(self->kq, 1, 0, 0, 0, NULL));
	ASSERT_EQ(0, touch(self->kq, 1, EV_CLEAR, 0, 0, NULL));
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(user, ev_clear_comes_after_a_trigger_in_the_same_change)
{
	ASSERT_EQ(0, add(self->kq, 1, 0, 0, 0, NULL));
	ASSERT_EQ(0, touch(self->kq, 1, EV_CLEAR, NOTE_TRIGGER, 0, NULL));
	EXPECT_EQ(0, pending(self->kq));
	/* An EV_ADD on what is there is a change like another. */
	ASSERT_EQ(0, add(self->kq, 1, EV_CLEAR, NOTE_TRIGGER, 7, NULL));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(user, deleted_one_is_not_reported)
{
	ASSERT_EQ(0, add(self->kq, 2, 0, NOTE_TRIGGER, 0, NULL));
	ASSERT_EQ(1, pending(self->kq));
	ASSERT_EQ(0, change(self->kq, 2, EVFILT_USER, EV_DELETE));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(-ENOENT, trigger(self->kq, 2));
}

TEST_F(user, self_clearing_one_is_reported_once_and_starts_anew)
{
	const struct timespec zero = { 0 };
	struct kevent *ev = self->ev;

	EV_SET(ev, 2, EVFILT_USER, EV_ADD | EV_CLEAR, 0x11, 42, &one);
	ASSERT_EQ(0, kev(self->kq, ev, 1, ev, 2, &zero));

	/* The first report has what it was added with. */
	EV_SET(ev, 2, EVFILT_USER, 0, NOTE_TRIGGER | 0x3, 24, &other);
	ASSERT_EQ(1, kev(self->kq, ev, 1, ev, 2, &zero));
	EXPECT_EQ(2, ev[0].ident);
	EXPECT_EQ(0x11, ev[0].fflags);
	EXPECT_EQ(42, ev[0].data);
	EXPECT_EQ((void *)&one, ev[0].udata);
	EXPECT_EQ(0, pending(self->kq));

	/* Delivery cleared fflags and data, and left udata. */
	EV_SET(ev, 2, EVFILT_USER, 0, NOTE_TRIGGER | 0x3, 9, &other);
	ASSERT_EQ(1, kev(self->kq, ev, 1, ev, 2, &zero));
	EXPECT_EQ(2, ev[0].ident);
	EXPECT_EQ(0, ev[0].fflags);
	EXPECT_EQ(0, ev[0].data);
	EXPECT_EQ((void *)&one, ev[0].udata);
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(user, triggers_before_delivery_make_one_event)
{
	int i;

	ASSERT_EQ(0, add(self->kq, 1, EV_CLEAR, 0, 0, NULL));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, trigger(self->kq, 1));
	}
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, pending(self->kq));
}

/* What becomes of stored fflags 0x00f0f0 by each of the four operations. */
FIXTURE(user_fflags) {
	int kq;
};

FIXTURE_VARIANT(user_fflags) {
	unsigned int change;
	unsigned int result;
};

FIXTURE_VARIANT_ADD(user_fflags, nop_ignores_them) {
	.change = NOTE_FFNOP | 0x00ffff,
	.result = 0x00f0f0,
};

FIXTURE_VARIANT_ADD(user_fflags, and_keeps_what_both_have) {
	.change = NOTE_FFAND | 0x00ff00,
	.result = 0x00f000,
};

FIXTURE_VARIANT_ADD(user_fflags, or_adds_to_them) {
	.change = NOTE_FFOR | 0x0f000f,
	.result = 0x0ff0ff,
};

FIXTURE_VARIANT_ADD(user_fflags, copy_replaces_them) {
	.change = NOTE_FFCOPY | 0x123456,
	.result = 0x123456,
};

FIXTURE_VARIANT_ADD(user_fflags, copy_takes_24_bits) {
	.change = NOTE_FFCOPY | 0x3e000000 | 0x1,
	.result = 0x1,
};

FIXTURE_VARIANT_ADD(user_fflags, or_takes_24_bits) {
	.change = NOTE_FFOR | 0x3e000000,
	.result = 0x00f0f0,
};

FIXTURE_SETUP(user_fflags)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD, 0x00f0f0, 0,
				NULL));
}

FIXTURE_TEARDOWN(user_fflags)
{
	close(self->kq);
}

TEST_F(user_fflags, by_a_change)
{
	struct kevent ev;

	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, 0, variant->change,
				0, NULL));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, trigger(self->kq, 1));
	ASSERT_EQ(1, poll_events(self->kq, &ev, 1));
	EXPECT_EQ(variant->result, ev.fflags);
}

TEST_F(user_fflags, with_the_trigger)
{
	struct kevent ev;

	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, 0,
				variant->change | NOTE_TRIGGER, 0, NULL));
	ASSERT_EQ(1, poll_events(self->kq, &ev, 1));
	EXPECT_EQ(variant->result, ev.fflags);
}

TEST_F(user_fflags, by_ev_add_on_an_existing_one)
{
	struct kevent ev;

	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD,
				variant->change | NOTE_TRIGGER, 0, NULL));
	ASSERT_EQ(1, poll_events(self->kq, &ev, 1));
	EXPECT_EQ(variant->result, ev.fflags);
}

TEST_F(user_fflags, while_disabled)
{
	struct kevent ev;

	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_DISABLE));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, 0,
				variant->change | NOTE_TRIGGER, 0, NULL));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ENABLE));
	ASSERT_EQ(1, poll_events(self->kq, &ev, 1));
	EXPECT_EQ(variant->result, ev.fflags);
}

TEST_F(user, operations_on_fflags_add_up)
{
	ASSERT_EQ(0, add(self->kq, 1, 0, 0, 0, &one));
	ASSERT_EQ(0, touch(self->kq, 1, 0, NOTE_FFCOPY | 0x00aa00, 0, NULL));
	ASSERT_EQ(0, touch(self->kq, 1, 0, NOTE_FFOR | 0xff00ff, 0, NULL));
	ASSERT_EQ(0, touch(self->kq, 1, 0,
			   NOTE_TRIGGER | NOTE_FFAND | 0x0ffff0, 0, NULL));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 2));
	EXPECT_EQ(0x0faaf0, self->ev[0].fflags);
	EXPECT_EQ(0, self->ev[0].data);
	EXPECT_EQ((void *)&one, self->ev[0].udata);
}

TEST_F(user, all_bits_of_ident_data_and_udata_count)
{
	void *far = (void *)(uintptr_t)0xfedcba9876543210;
	static const uintptr_t ident[] = {
		0, 1, 0x80000000UL, UINTPTR_MAX - 1, UINTPTR_MAX,
#if LONG_MAX > INT_MAX
		0x100000001UL,
#endif
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ident); i++) {
		ASSERT_EQ(0, add(self->kq, ident[i], 0, NOTE_TRIGGER,
				 INT64_MIN + (int64_t)i, far));
	}
	ASSERT_EQ(ARRAY_SIZE(ident), poll_events(self->kq, self->ev, 8));
	for (i = 0; i < ARRAY_SIZE(ident); i++) {
		EXPECT_EQ(ident[i], self->ev[i].ident);
		EXPECT_EQ(INT64_MIN + (int64_t)i, self->ev[i].data);
		EXPECT_EQ(far, self->ev[i].udata);
	}
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_DELETE));
	EXPECT_EQ(ARRAY_SIZE(ident) - 1, pending(self->kq));
}

TEST_F(user, disabled_one_can_be_triggered_and_is_reported_when_enabled)
{
	ASSERT_EQ(0, add(self->kq, 1, EV_DISABLE | EV_CLEAR, 0x5, 8, &one));
	ASSERT_EQ(0, trigger(self->kq, 1));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ENABLE));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 1));
	EXPECT_EQ(0x5, self->ev[0].fflags);
	EXPECT_EQ(8, self->ev[0].data);
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(user, kqueues_have_their_own)
{
	int kq = kqueue();

	ASSERT_LE(0, kq);
	ASSERT_EQ(0, add(self->kq, 1, 0, 0, 0, NULL));
	EXPECT_EQ(-ENOENT, trigger(kq, 1));
	ASSERT_EQ(0, add(kq, 1, 0, NOTE_TRIGGER, 0, NULL));
	EXPECT_EQ(1, pending(kq));
	EXPECT_EQ(0, pending(self->kq));
}

/*
 * Threads.
 */

TEST_F(user, trigger_ends_another_threads_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, add(self->kq, 1, EV_CLEAR, 0x7, 3, &one));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, trigger(self->kq, 1));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_EQ(1, w.events[0].ident);
	EXPECT_EQ(0x7, w.events[0].fflags);
	EXPECT_EQ(3, w.events[0].data);
	EXPECT_EQ((void *)&one, w.events[0].udata);
}

static int has_ended(struct waiter *w, int count)
{
	int i, ended = 0;

	for (i = 0; i < count; i++)
		ended += w[i].done;
	return ended;
}

static bool others_sleep(struct waiter *w, int count)
{
	int i;

	for (i = 0; i < count; i++)
		if (!w[i].done && !asleep_in(w[i].tid, SYS_ioctl))
			return false;
	return true;
}

#define SLEEPERS	6

/* Each has room for one, and does not come back. */
TEST_F(user, as_many_threads_are_woken_as_there_are_events)
{
	struct waiter w[SLEEPERS] = {};
	struct kevent ch[SLEEPERS];
	int i;

	for (i = 0; i < SLEEPERS; i++) {
		w[i].kq = self->kq;
		w[i].nevents = 1;
		ASSERT_TRUE(waiter_sleeps(&w[i]));
	}
	/* Two at first, and the rest in one call. */
	for (i = 0; i < SLEEPERS; i++)
		EV_SET(&ch[i], i, EVFILT_USER, EV_ADD | EV_ONESHOT,
		       NOTE_TRIGGER, 0, NULL);
	ASSERT_EQ(0, kev(self->kq, ch, 2, NULL, 0, NULL));
	ASSERT_TRUE(EVENTUALLY(has_ended(w, SLEEPERS) == 2 && others_sleep(w, SLEEPERS)));
	EXPECT_EQ(2, has_ended(w, SLEEPERS));
	ASSERT_EQ(0, kev(self->kq, ch + 2, SLEEPERS - 2, NULL, 0, NULL));
	for (i = 0; i < SLEEPERS; i++) {
		ASSERT_EQ(1, waiter_result(&w[i]));
	}
}

/* One that stays is for all who wait, also for those with room for more. */
TEST_F(user, one_that_stays_wakes_all_threads_that_wait)
{
	struct waiter w[SLEEPERS] = {};
	int i;

	for (i = 0; i < SLEEPERS; i++) {
		w[i].kq = self->kq;
		ASSERT_TRUE(waiter_sleeps(&w[i]));
	}
	ASSERT_EQ(0, add(self->kq, 1, 0, NOTE_TRIGGER, 0, NULL));
	for (i = 0; i < SLEEPERS; i++) {
		ASSERT_EQ(1, waiter_result(&w[i]));
	}
}

TEST_F(user, event_added_by_another_thread_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, add(self->kq, 1, 0, NOTE_TRIGGER, 0, NULL));
	ASSERT_EQ(1, waiter_result(&w));
}

TEST_F(user, enabling_in_another_thread_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, add(self->kq, 1, EV_DISABLE, NOTE_TRIGGER, 0, NULL));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ENABLE));
	ASSERT_EQ(1, waiter_result(&w));
}

#define TRIGGER_THREADS	4
#define TRIGGERS	300

struct triggerer {
	int kq;
	int ident;
	atomic_int seen;	/* by the thread that reads the events */
	atomic_int error;
	pthread_t thread;
};

static void *trigger_main(void *arg)
{
	struct triggerer *t = arg;
	int i;

	for (i = 0; i < TRIGGERS && !t->error; i++) {
		t->error = trigger(t->kq, t->ident);
		while (t->seen == i)
			sched_yield();
	}
	return NULL;
}

TEST_F(user, threads_trigger_at_once_and_every_trigger_counts)
{
	struct triggerer t[TRIGGER_THREADS] = {};
	int i, n, total = 0;

	for (i = 0; i < TRIGGER_THREADS; i++) {
		t[i].kq = self->kq;
		t[i].ident = i;
		ASSERT_EQ(0, add(self->kq, i, EV_CLEAR, 0, 0, &t[i]));
	}
	for (i = 0; i < TRIGGER_THREADS; i++) {
		ASSERT_EQ(0, pthread_create(&t[i].thread, NULL, trigger_main,
					    &t[i]));
	}

	/* A thread triggers again only when its event was seen. */
	while (total < TRIGGER_THREADS * TRIGGERS) {
		n = wait_events(self->kq, self->ev, 8);
		ASSERT_LT(0, n);
		for (i = 0; i < n; i++)
			((struct triggerer *)self->ev[i].udata)->seen++;
		total += n;
	}
	for (i = 0; i < TRIGGER_THREADS; i++) {
		pthread_join(t[i].thread, NULL);
		EXPECT_EQ(TRIGGERS, t[i].seen);
		EXPECT_EQ(0, t[i].error);
	}
	EXPECT_EQ(0, pending(self->kq));
}

static void *trigger_same_main(void *arg)
{
	int i, error = 0;

	for (i = 0; i < TRIGGERS && !error; i++)
		error = trigger(*(int *)arg, 1);
	return (void *)(intptr_t)error;
}

TEST_F(user, threads_trigger_the_same_one_and_the_last_trigger_is_seen)
{
	pthread_t thread[TRIGGER_THREADS];
	void *error;
	int i;

	ASSERT_EQ(0, add(self->kq, 1, EV_CLEAR, 0, 0, NULL));
	for (i = 0; i < TRIGGER_THREADS; i++) {
		ASSERT_EQ(0, pthread_create(&thread[i], NULL,
					    trigger_same_main, &self->kq));
	}
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	for (i = 0; i < TRIGGER_THREADS; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], &error));
		EXPECT_EQ(NULL, error);
	}
	/* Whatever came since is one event at most, and then there is none. */
	EXPECT_GE(1, pending(self->kq));
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, pending(self->kq));
}

/*
 * The limit: user events of a process, over all of its kqueues.
 */

FIXTURE(user_limit) {
	long before;
	int kq, kq2;
};

FIXTURE_SETUP(user_limit)
{
	self->before = read_number(USER_EVENTS_MAX);
	ASSERT_LT(0, self->before);
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->kq2 = kqueue();
	ASSERT_LE(0, self->kq2);
}

FIXTURE_TEARDOWN(user_limit)
{
	write_number(USER_EVENTS_MAX, self->before);
	close(self->kq);
	close(self->kq2);
}

/* Add events from ident first on, until one fails with the error given. */
static int add_until(int kq, int first, int error)
{
	int i, ret = 0;

	for (i = first; i < first + 1000000; i++) {
		ret = add(kq, i, 0, 0, 0, NULL);
		if (ret)
			break;
	}
	return ret == error ? i - first : ret;
}

TEST_F(user_limit, is_1024_by_default)
{
	EXPECT_EQ(1024, self->before);
}

TEST_F(user_limit, past_it_add_is_enomem)
{
	EXPECT_EQ(self->before, add_until(self->kq, 0, -ENOMEM));
}

TEST_F(user_limit, deleting_one_makes_room_for_one)
{
	int n = add_until(self->kq, 0, -ENOMEM);

	ASSERT_EQ(self->before, n);
	ASSERT_EQ(0, change(self->kq, 0, EVFILT_USER, EV_DELETE));
	EXPECT_EQ(0, add(self->kq, 0, 0, 0, 0, NULL));
	EXPECT_EQ(-ENOMEM, add(self->kq, n, 0, 0, 0, NULL));
}

TEST_F(user_limit, past_it_what_is_there_goes_on_working)
{
	struct kevent ev;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_LT(0, add_until(self->kq, 0, -ENOMEM));
	/* Changing one is not adding one. */
	ASSERT_EQ(0, add(self->kq, 7, 0, NOTE_TRIGGER, 77, &one));
	ASSERT_EQ(1, poll_events(self->kq, &ev, 1));
	EXPECT_EQ(7, ev.ident);
	EXPECT_EQ(77, ev.data);
	/* Other filters have nothing to do with it. */
	EXPECT_EQ(0, change(self->kq, fds[0], EVFILT_READ, EV_ADD));
}

TEST_F(user_limit, past_it_the_error_comes_as_an_event_where_there_is_room)
{
	struct kevent ev;

	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 1));
	ASSERT_EQ(0, add(self->kq, 1, 0, 0, 0, NULL));
	EV_SET(&ev, 2, EVFILT_USER, EV_ADD, 0, 0, &one);
	ASSERT_EQ(1, kev(self->kq, &ev, 1, &ev, 1, NULL));
	EXPECT_EQ(EV_ERROR, ev.flags & EV_ERROR);
	EXPECT_EQ(ENOMEM, ev.data);
	EXPECT_EQ(2, ev.ident);
}

TEST_F(user_limit, counts_over_all_kqueues_of_the_process)
{
	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 10));
	ASSERT_EQ(0, add(self->kq, 1, 0, 0, 0, NULL));
	ASSERT_EQ(0, add(self->kq, 2, 0, 0, 0, NULL));
	EXPECT_EQ(8, add_until(self->kq2, 0, -ENOMEM));
	EXPECT_EQ(-ENOMEM, add(self->kq, 3, 0, 0, 0, NULL));
}

TEST_F(user_limit, closing_a_kqueue_gives_its_events_back)
{
	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 10));
	ASSERT_EQ(10, add_until(self->kq, 0, -ENOMEM));
	ASSERT_EQ(0, close(self->kq));
	EXPECT_EQ(10, add_until(self->kq2, 0, -ENOMEM));
}

TEST_F(user_limit, delivering_a_oneshot_event_gives_it_back)
{
	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 1));
	ASSERT_EQ(0, add(self->kq, 1, EV_ONESHOT, NOTE_TRIGGER, 0, NULL));
	ASSERT_EQ(-ENOMEM, add(self->kq, 2, 0, 0, 0, NULL));
	ASSERT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, add(self->kq, 2, 0, 0, 0, NULL));
}

TEST_F(user_limit, failed_add_takes_nothing)
{
	int i;

	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 2));
	ASSERT_EQ(0, add(self->kq, 1, 0, 0, 0, NULL));
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(-EINVAL, add(self->kq, 2, EV_DELETE, 0, 0, NULL));
	}
	ASSERT_EQ(0, add(self->kq, 2, 0, 0, 0, NULL));
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(-ENOMEM, add(self->kq, 3, 0, 0, 0, NULL));
	}
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_DELETE));
	EXPECT_EQ(0, add(self->kq, 3, 0, 0, 0, NULL));
}

TEST_F(user_limit, can_be_changed_at_any_time)
{
	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 4));
	ASSERT_EQ(4, add_until(self->kq, 0, -ENOMEM));
	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 6));
	ASSERT_EQ(2, add_until(self->kq, 4, -ENOMEM));
	/* Lowered under what is there, it only keeps new ones out. */
	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 1));
	EXPECT_EQ(-ENOMEM, add(self->kq, 6, 0, 0, 0, NULL));
	EXPECT_EQ(0, trigger(self->kq, 5));
	EXPECT_EQ(1, pending(self->kq));
}

static void add_ten(void *arg)
{
	int kq = kqueue();

	(void)arg;
	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(add_until(kq, 0, -ENOMEM) == 10);
}

/* A process that shares the descriptors adds to what there is, and what it leaves counts. */
TEST_F(user_limit, process_that_shares_the_table_shares_it)
{
	pid_t pid;

	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 10));
	ASSERT_EQ(0, add(self->kq, 0, 0, 0, 0, NULL));
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (!pid) {
		int kq = kqueue();

		CHILD_CHECK(add_until(self->kq2, 0, -ENOMEM) == 9);
		CHILD_CHECK(add(kq, 0, 0, 0, 0, NULL) == -ENOMEM);
		CHILD_CHECK(add(self->kq, 1, 0, 0, 0, NULL) == -ENOMEM);
		_exit(0);
	}
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, reap(pid));
	EXPECT_EQ(-ENOMEM, add(self->kq, 1, 0, 0, 0, NULL));
	ASSERT_EQ(0, close(self->kq2));
	EXPECT_EQ(9, add_until(self->kq, 1, -ENOMEM));
}

/* With a table of its own it has a limit of its own, from nothing on. */
TEST_F(user_limit, process_that_leaves_a_shared_table_has_its_own)
{
	pid_t pid;

	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 10));
	ASSERT_EQ(10, add_until(self->kq, 0, -ENOMEM));
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (!pid) {
		CHILD_CHECK(!unshare(CLONE_FILES));
		add_ten(NULL);
		_exit(0);
	}
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, reap(pid));
	EXPECT_EQ(-ENOMEM, add(self->kq2, 10, 0, 0, 0, NULL));
	ASSERT_EQ(0, change(self->kq, 0, EVFILT_USER, EV_DELETE));
	EXPECT_EQ(0, add(self->kq2, 10, 0, 0, 0, NULL));
}

TEST_F(user_limit, another_process_has_its_own)
{
	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 10));
	ASSERT_EQ(10, add_until(self->kq, 0, -ENOMEM));
	EXPECT_EQ(0, in_child(add_ten, NULL));
	EXPECT_EQ(-ENOMEM, add(self->kq, 10, 0, 0, 0, NULL));
}

TEST_HARNESS_MAIN
