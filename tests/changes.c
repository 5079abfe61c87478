// SPDX-License-Identifier: GPL-2.0
/*
 * The change list and the flags of a change, and what the event list makes of
 * them. User events stand for all others here: they do what they are told.
 */
#include "kqtest.h"

static const struct timespec zero;
static char one, other;

FIXTURE(changes) {
	int kq;
	struct kevent ch[32];
	struct kevent ev[32];
};

FIXTURE_SETUP(changes)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(changes)
{
	close(self->kq);
}

static void set(struct kevent *kevp, uintptr_t ident, int flags,
		unsigned int fflags)
{
	EV_SET(kevp, ident, EVFILT_USER, flags, fflags, 0, NULL);
}

/* A user event that has been triggered. */
static int add_ready(int kq, uintptr_t ident, int flags)
{
	return change_all(kq, ident, EVFILT_USER, EV_ADD | flags, NOTE_TRIGGER,
			  0, NULL);
}

static int user(int kq, uintptr_t ident, int flags)
{
	return change(kq, ident, EVFILT_USER, flags);
}

/*
 * Lists.
 */

TEST_F(changes, nothing_to_do_gives_nothing)
{
	EXPECT_EQ(0, kev(self->kq, NULL, 0, NULL, 0, NULL));
	EXPECT_EQ(0, kev(self->kq, NULL, 0, NULL, 0, &zero));
	EXPECT_EQ(0, kev(self->kq, NULL, 0, self->ev, 8, &zero));
}

TEST_F(changes, are_applied_in_order)
{
	set(&self->ch[0], 1, EV_ADD, 0x01);
	set(&self->ch[1], 1, 0, NOTE_FFOR | 0xf0);
	set(&self->ch[2], 1, 0, NOTE_FFAND | 0x3f);
	set(&self->ch[3], 1, 0, NOTE_FFOR | 0x80 | NOTE_TRIGGER);
	ASSERT_EQ(1, kev(self->kq, self->ch, 4, self->ev, 8, &zero));
	EXPECT_EQ(0xb1, self->ev[0].fflags);
}

TEST_F(changes, are_all_applied_before_any_event_is_read)
{
	/* What the first starts, the last ends. */
	set(&self->ch[0], 1, EV_ADD, NOTE_TRIGGER);
	set(&self->ch[1], 2, EV_ADD, NOTE_TRIGGER);
	set(&self->ch[2], 1, EV_DELETE, 0);
	ASSERT_EQ(1, kev(self->kq, self->ch, 3, self->ev, 8, &zero));
	EXPECT_EQ(2, self->ev[0].ident);
}

TEST_F(changes, may_be_many_and_so_may_the_events)
{
	static struct kevent list[1000];
	int i, n = ARRAY_SIZE(list);

	for (i = 0; i < n; i++)
		EV_SET(&list[i], i, EVFILT_USER, EV_ADD, NOTE_TRIGGER, i, NULL);
	ASSERT_EQ(n, kev(self->kq, list, n, list, n, &zero));
	for (i = 0; i < n; i++) {
		ASSERT_EQ(i, list[i].ident);
		ASSERT_EQ(i, list[i].data);
	}
}

TEST_F(changes, are_not_written_to)
{
	struct kevent before[3];

	memset(self->ch, 0x5a, sizeof(self->ch));
	set(&self->ch[0], 1, EV_ADD | EV_RECEIPT | EV_SYSFLAGS, NOTE_TRIGGER);
	set(&self->ch[1], 9, EV_DELETE, 0);
	set(&self->ch[2], 2, EV_ADD, NOTE_TRIGGER);
	memcpy(before, self->ch, sizeof(before));
	ASSERT_EQ(2, kev(self->kq, self->ch, 3, self->ev, 8, &zero));
	EXPECT_EQ(0, memcmp(before, self->ch, sizeof(before)));
}

TEST_F(changes, same_array_may_serve_both_lists)
{
	int i, n = ARRAY_SIZE(self->ch);

	/* The later half triggers, the earlier half gets the events. */
	for (i = 0; i < n / 2; i++) {
		set(&self->ch[i], i, EV_ADD, 0);
		set(&self->ch[n / 2 + i], n / 2 - 1 - i, 0, NOTE_TRIGGER);
	}
	ASSERT_EQ(n / 2, kev(self->kq, self->ch, n, self->ch, n, &zero));
	for (i = 0; i < n / 2; i++) {
		EXPECT_EQ(n / 2 - 1 - i, self->ch[i].ident);
	}
}

TEST_F(changes, same_array_may_serve_both_lists_when_they_fail)
{
	int i, n = ARRAY_SIZE(self->ch);

	/*
	 * Every other one fails: its error takes the place of a change that
	 * was read before.
	 */
	for (i = 0; i < n; i++)
		set(&self->ch[i], i, i % 2 ? EV_DELETE : EV_ADD, 0);
	ASSERT_EQ(n / 2, kev(self->kq, self->ch, n, self->ch, n, &zero));
	for (i = 0; i < n / 2; i++) {
		EXPECT_EQ(2 * i + 1, self->ch[i].ident);
		EXPECT_EQ(ENOENT, self->ch[i].data);
		EXPECT_EQ(0, trigger(self->kq, 2 * i));
	}
}

/*
 * Errors.
 */

TEST_F(changes, error_comes_as_an_event_where_there_is_room)
{
	EV_SET(&self->ch[0], 5, EVFILT_USER, EV_DELETE, 0x77, 66, &one);
	memset(self->ev, 0xff, sizeof(self->ev));
	ASSERT_EQ(1, kev(self->kq, self->ch, 1, self->ev, 8, NULL));
	EXPECT_EQ(5, self->ev[0].ident);
	EXPECT_EQ(EVFILT_USER, self->ev[0].filter);
	EXPECT_TRUE(self->ev[0].flags & EV_ERROR);
	EXPECT_FALSE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(ENOENT, self->ev[0].data);
	EXPECT_EQ((void *)&one, self->ev[0].udata);
	/* And nothing is written behind it. */
	EXPECT_EQ((uintptr_t)-1, self->ev[1].ident);
}

TEST_F(changes, error_without_room_is_the_calls)
{
	set(&self->ch[0], 5, EV_DELETE, 0);
	EXPECT_EQ(-ENOENT, kev(self->kq, self->ch, 1, NULL, 0, NULL));
}

TEST_F(changes, after_an_error_event_the_rest_is_applied)
{
	set(&self->ch[0], 1, EV_ADD, 0);
	set(&self->ch[1], 5, EV_DELETE, 0);
	set(&self->ch[2], 2, EV_ADD, 0);
	ASSERT_EQ(1, kev(self->kq, self->ch, 3, self->ev, 1, &zero));
	EXPECT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(0, trigger(self->kq, 2));
}

TEST_F(changes, when_the_call_fails_those_before_stay_and_the_rest_do_not)
{
	set(&self->ch[0], 1, EV_ADD, 0);
	set(&self->ch[1], 5, EV_DELETE, 0);
	set(&self->ch[2], 2, EV_ADD, 0);
	ASSERT_EQ(-ENOENT, kev(self->kq, self->ch, 3, NULL, 0, NULL));
	EXPECT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(-ENOENT, trigger(self->kq, 2));
}

TEST_F(changes, error_that_finds_the_list_full_is_the_calls)
{
	set(&self->ch[0], 5, EV_DELETE, 0);
	EV_SET(&self->ch[1], 6, 0, EV_ADD, 0, 0, NULL);
	set(&self->ch[2], 2, EV_ADD, 0);
	EXPECT_EQ(-EINVAL, kev(self->kq, self->ch, 3, self->ev, 1, &zero));
	EXPECT_EQ(-ENOENT, trigger(self->kq, 2));
}

TEST_F(changes, several_errors_come_in_their_order)
{
	set(&self->ch[0], 5, EV_DELETE, 0);
	set(&self->ch[1], 1, EV_ADD, 0);
	EV_SET(&self->ch[2], 6, 0, EV_ADD, 0, 0, NULL);
	EV_SET(&self->ch[3], 7, EVFILT_READ, EV_ADD, 0, 0, &other);
	self->ch[3].ident = (uintptr_t)-1;
	ASSERT_EQ(3, kev(self->kq, self->ch, 4, self->ev, 8, NULL));
	EXPECT_EQ(5, self->ev[0].ident);
	EXPECT_EQ(ENOENT, self->ev[0].data);
	EXPECT_EQ(6, self->ev[1].ident);
	EXPECT_EQ(0, self->ev[1].filter);
	EXPECT_EQ(EINVAL, self->ev[1].data);
	EXPECT_EQ((uintptr_t)-1, self->ev[2].ident);
	EXPECT_EQ(EVFILT_READ, self->ev[2].filter);
	EXPECT_EQ(EBADF, self->ev[2].data);
	EXPECT_EQ((void *)&other, self->ev[2].udata);
}

TEST_F(changes, error_events_are_returned_at_once_and_alone)
{
	ASSERT_EQ(0, add_ready(self->kq, 1, EV_CLEAR));
	set(&self->ch[0], 5, EV_DELETE, 0);
	/* There is room and there is an event: it waits for the next call. */
	ASSERT_EQ(1, kev(self->kq, self->ch, 1, self->ev, 8, NULL));
	EXPECT_EQ(5, self->ev[0].ident);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].ident);
}

TEST_F(changes, receipt_answers_a_change_that_succeeds)
{
	EV_SET(&self->ch[0], 1, EVFILT_USER, EV_ADD | EV_RECEIPT, NOTE_TRIGGER,
	       5, &one);
	/* No timeout: nothing is waited for, and no event is read. */
	ASSERT_EQ(1, kev(self->kq, self->ch, 1, self->ev, 8, NULL));
	EXPECT_EQ(1, self->ev[0].ident);
	EXPECT_EQ(EVFILT_USER, self->ev[0].filter);
	EXPECT_TRUE(self->ev[0].flags & EV_ERROR);
	EXPECT_EQ(0, self->ev[0].data);
	EXPECT_EQ((void *)&one, self->ev[0].udata);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_FALSE(self->ev[0].flags & EV_ERROR);
	EXPECT_EQ(5, self->ev[0].data);
}

TEST_F(changes, receipt_answers_a_change_that_fails)
{
	set(&self->ch[0], 5, EV_DELETE | EV_RECEIPT, 0);
	ASSERT_EQ(1, kev(self->kq, self->ch, 1, self->ev, 8, NULL));
	EXPECT_TRUE(self->ev[0].flags & EV_ERROR);
	EXPECT_EQ(ENOENT, self->ev[0].data);
}

TEST_F(changes, receipts_come_in_the_order_of_the_changes)
{
	int i;

	for (i = 0; i < 20; i++)
		set(&self->ch[i], i, EV_RECEIPT | (i % 3 ? EV_ADD : EV_DELETE),
		    0);
	ASSERT_EQ(20, kev(self->kq, self->ch, 20, self->ev, 20, NULL));
	for (i = 0; i < 20; i++) {
		EXPECT_EQ(i, self->ev[i].ident);
		EXPECT_TRUE(self->ev[i].flags & EV_ERROR);
		EXPECT_EQ(i % 3 ? 0 : ENOENT, self->ev[i].data);
	}
}

TEST_F(changes, receipt_without_an_event_list_is_no_error)
{
	EXPECT_EQ(0, user(self->kq, 1, EV_ADD | EV_RECEIPT));
	EXPECT_EQ(0, trigger(self->kq, 1));
}

/*
 * The event list.
 */

TEST_F(changes, without_room_for_events_it_returns_at_once)
{
	ASSERT_EQ(0, kev(self->kq, NULL, 0, self->ev, 0, NULL));
	ASSERT_EQ(0, add_ready(self->kq, 1, EV_CLEAR));
	EXPECT_EQ(0, kev(self->kq, NULL, 0, self->ev, 0, NULL));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(changes, events_without_room_stay_for_the_next_call)
{
	int i;

	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, add_ready(self->kq, i, EV_CLEAR));
	}
	ASSERT_EQ(4, poll_events(self->kq, self->ev, 4));
	ASSERT_EQ(5, poll_events(self->kq, self->ev + 4, 5));
	ASSERT_EQ(1, poll_events(self->kq, self->ev + 9, 8));
	EXPECT_EQ(0, pending(self->kq));
	for (i = 0; i < 10; i++) {
		EXPECT_EQ(i, self->ev[i].ident);
	}
}

TEST_F(changes, no_more_is_written_than_there_is_room_for)
{
	int i;

	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, add_ready(self->kq, i, 0));
	}
	for (i = 1; i < 10; i++) {
		memset(self->ev, 0xff, sizeof(self->ev));
		ASSERT_EQ(i, poll_events(self->kq, self->ev, i));
		EXPECT_NE((uintptr_t)-1, self->ev[i - 1].ident);
		EXPECT_EQ((uintptr_t)-1, self->ev[i].ident);
	}
}

TEST_F(changes, first_activated_is_first_delivered)
{
	static const int order[] = { 3, 1, 4, 0, 2 };
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, user(self->kq, i, EV_ADD | EV_CLEAR));
	}
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, trigger(self->kq, order[i]));
	}
	/* A second trigger does not change its place. */
	ASSERT_EQ(0, trigger(self->kq, 3));
	ASSERT_EQ(5, poll_events(self->kq, self->ev, 8));
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(order[i], self->ev[i].ident);
	}
}

TEST_F(changes, with_room_for_one_every_ready_event_has_its_turn)
{
	bool seen[32] = {};
	int i, round, n = 32;

	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, add_ready(self->kq, i, 0));
	}
	for (round = 0; round < 3; round++) {
		memset(seen, 0, sizeof(seen));
		for (i = 0; i < n; i++) {
			ASSERT_EQ(1, poll_events(self->kq, self->ev, 1));
			ASSERT_GT(n, self->ev[0].ident);
			EXPECT_FALSE(seen[self->ev[0].ident]);
			seen[self->ev[0].ident] = true;
		}
	}
}

TEST_F(changes, one_call_gives_an_event_once)
{
	/* Level-triggered ones go back to the tail: not into the same list. */
	ASSERT_EQ(0, add_ready(self->kq, 1, 0));
	ASSERT_EQ(0, add_ready(self->kq, 2, 0));
	EXPECT_EQ(2, poll_events(self->kq, self->ev, 32));
	EXPECT_EQ(2, poll_events(self->kq, self->ev, 32));
}

TEST_F(changes, event_carries_its_properties_and_not_the_actions)
{
	static const int property[] = {
		0, EV_CLEAR, EV_DISPATCH, EV_ONESHOT,
	};
	const int actions = EV_ADD | EV_DELETE | EV_ENABLE | EV_DISABLE;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(property); i++) {
		ASSERT_EQ(0, add_ready(self->kq, 1, EV_ENABLE | property[i]));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
		EXPECT_EQ(property[i], self->ev[0].flags & property[i]);
		EXPECT_EQ(0, self->ev[0].flags & actions);
		EXPECT_EQ(0, self->ev[0].flags & EV_SYSFLAGS);
		user(self->kq, 1, EV_DELETE);
	}
}

/*
 * Flags of a change.
 */

TEST_F(changes, without_ev_add_what_is_not_there_is_enoent)
{
	static const int flags[] = {
		0, EV_DELETE, EV_ENABLE, EV_DISABLE, EV_CLEAR, EV_ONESHOT,
		EV_DISPATCH,
	};
	int fds[2];
	size_t i;

	ASSERT_EQ(0, pipe(fds));
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		EXPECT_EQ(-ENOENT, user(self->kq, 1, flags[i]));
		EXPECT_EQ(-ENOENT, change(self->kq, fds[0], EVFILT_READ,
					  flags[i]));
	}
}

TEST_F(changes, identity_is_filter_and_ident)
{
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	ASSERT_EQ(0, change(self->kq, fds[0], EVFILT_READ, EV_ADD));
	EXPECT_EQ(-ENOENT, change(self->kq, fds[1], EVFILT_READ, EV_DELETE));
	EXPECT_EQ(-ENOENT, change(self->kq, fds[0], EVFILT_WRITE, EV_DELETE));
	EXPECT_EQ(-ENOENT, change(self->kq, fds[0], EVFILT_USER, EV_DELETE));
	ASSERT_EQ(0, add_ready(self->kq, fds[0], 0));
	EXPECT_EQ(2, pending(self->kq));
	ASSERT_EQ(0, change(self->kq, fds[0], EVFILT_READ, EV_DELETE));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(EVFILT_USER, self->ev[0].filter);
}

TEST_F(changes, udata_specific_makes_udata_part_of_the_identity)
{
	const int flags = EV_ADD | EV_UDATA_SPECIFIC;

	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, flags, 0x1, 10,
				&one));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, flags, 0x2, 20,
				&other));
	ASSERT_EQ(0, pending(self->kq));

	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_UDATA_SPECIFIC,
				NOTE_TRIGGER, 0, &other));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ((void *)&other, self->ev[0].udata);
	EXPECT_EQ(20, self->ev[0].data);
	EXPECT_EQ(0x2, self->ev[0].fflags);

	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_UDATA_SPECIFIC,
				NOTE_TRIGGER, 0, &one));
	EXPECT_EQ(2, pending(self->kq));

	ASSERT_EQ(-ENOENT, change_all(self->kq, 1, EVFILT_USER,
				      EV_UDATA_SPECIFIC | EV_DELETE, 0, 0,
				      self));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER,
				EV_UDATA_SPECIFIC | EV_DELETE, 0, 0, &other));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ((void *)&one, self->ev[0].udata);
}

TEST_F(changes, udata_specific_works_on_a_descriptor)
{
	const int flags = EV_ADD | EV_UDATA_SPECIFIC;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, change_all(self->kq, fds[0], EVFILT_READ, flags, 0, 0,
				&one));
	ASSERT_EQ(0, change_all(self->kq, fds[0], EVFILT_READ, flags, 0, 0,
				&other));
	ASSERT_EQ(2, write(fds[1], "xx", 2));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
	EXPECT_NE(self->ev[0].udata, self->ev[1].udata);
	EXPECT_EQ(2, self->ev[0].data);
	EXPECT_EQ(2, self->ev[1].data);
	/* Closing takes both. */
	ASSERT_EQ(0, close(fds[0]));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(changes, add_with_delete_is_einval_and_adds_nothing)
{
	EXPECT_EQ(-EINVAL, user(self->kq, 1, EV_ADD | EV_DELETE));
	EXPECT_EQ(-ENOENT, trigger(self->kq, 1));
	/* Nor does it delete. */
	ASSERT_EQ(0, user(self->kq, 1, EV_ADD));
	EXPECT_EQ(-EINVAL, user(self->kq, 1, EV_ADD | EV_DELETE));
	EXPECT_EQ(0, trigger(self->kq, 1));
}

TEST_F(changes, added_disabled_it_waits_for_enable)
{
	ASSERT_EQ(0, add_ready(self->kq, 1, EV_DISABLE));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, user(self->kq, 1, EV_ENABLE));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(changes, disable_takes_back_an_event_not_yet_delivered)
{
	ASSERT_EQ(0, add_ready(self->kq, 1, EV_CLEAR));
	ASSERT_EQ(0, user(self->kq, 1, EV_DISABLE));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, user(self->kq, 1, EV_ENABLE));
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(changes, enable_delivers_only_what_holds)
{
	ASSERT_EQ(0, user(self->kq, 1, EV_ADD | EV_DISABLE));
	ASSERT_EQ(0, user(self->kq, 1, EV_ENABLE));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(changes, enable_and_disable_twice_is_as_once)
{
	ASSERT_EQ(0, add_ready(self->kq, 1, 0));
	ASSERT_EQ(0, user(self->kq, 1, EV_DISABLE));
	ASSERT_EQ(0, user(self->kq, 1, EV_DISABLE));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, user(self->kq, 1, EV_ENABLE));
	ASSERT_EQ(0, user(self->kq, 1, EV_ENABLE));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(changes, disable_with_enable_is_enable)
{
	ASSERT_EQ(0, add_ready(self->kq, 1, EV_DISABLE | EV_ENABLE));
	EXPECT_EQ(1, pending(self->kq));
	ASSERT_EQ(0, user(self->kq, 1, EV_DISABLE));
	ASSERT_EQ(0, user(self->kq, 1, EV_DISABLE | EV_ENABLE));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(changes, added_again_it_is_enabled)
{
	ASSERT_EQ(0, add_ready(self->kq, 1, EV_DISABLE));
	ASSERT_EQ(0, user(self->kq, 1, EV_ADD));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(changes, added_again_with_disable_it_is_disabled)
{
	ASSERT_EQ(0, add_ready(self->kq, 1, 0));
	ASSERT_EQ(0, user(self->kq, 1, EV_ADD | EV_DISABLE));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, user(self->kq, 1, EV_ADD | EV_DISABLE));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(changes, other_changes_leave_it_disabled)
{
	ASSERT_EQ(0, user(self->kq, 1, EV_ADD | EV_DISABLE));
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(changes, oneshot_is_deleted_when_delivered)
{
	ASSERT_EQ(0, add_ready(self->kq, 1, EV_ONESHOT));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(-ENOENT, user(self->kq, 1, EV_DELETE));
}

TEST_F(changes, oneshot_on_a_descriptor_is_deleted_when_delivered)
{
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, change(self->kq, fds[0], EVFILT_READ,
			    EV_ADD | EV_ONESHOT));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(3, write(fds[1], "xyz", 3));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(3, self->ev[0].data);
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(-ENOENT, change(self->kq, fds[0], EVFILT_READ, EV_DELETE));
	/* It can be added again. */
	ASSERT_EQ(0, change(self->kq, fds[0], EVFILT_READ,
			    EV_ADD | EV_ONESHOT));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(changes, oneshot_that_does_not_fit_stays)
{
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, add_ready(self->kq, i, EV_ONESHOT));
	}
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 2));
	EXPECT_EQ(3, pending(self->kq));
}

TEST_F(changes, oneshot_disabled_is_kept)
{
	ASSERT_EQ(0, add_ready(self->kq, 1, EV_ONESHOT | EV_DISABLE));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, user(self->kq, 1, EV_ENABLE));
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(changes, dispatch_is_disabled_when_delivered)
{
	ASSERT_EQ(0, add_ready(self->kq, 1, EV_DISPATCH));
	ASSERT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, pending(self->kq));
	/* It is still there, and what it tells still holds. */
	ASSERT_EQ(0, user(self->kq, 1, EV_ENABLE));
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(changes, dispatch_collects_while_it_is_disabled)
{
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, change(self->kq, fds[0], EVFILT_READ,
			    EV_ADD | EV_DISPATCH));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	ASSERT_EQ(1, pending(self->kq));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, change(self->kq, fds[0], EVFILT_READ, EV_ENABLE));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(2, self->ev[0].data);
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(changes, dispatch_with_clear_delivers_what_is_new_when_enabled)
{
	ASSERT_EQ(0, add_ready(self->kq, 1, EV_DISPATCH | EV_CLEAR));
	ASSERT_EQ(1, pending(self->kq));
	ASSERT_EQ(0, user(self->kq, 1, EV_ENABLE));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, pending(self->kq));
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, user(self->kq, 1, EV_ENABLE));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(changes, dispatch_added_again_is_enabled)
{
	ASSERT_EQ(0, add_ready(self->kq, 1, EV_DISPATCH));
	ASSERT_EQ(1, pending(self->kq));
	ASSERT_EQ(0, user(self->kq, 1, EV_ADD | EV_DISPATCH));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(changes, system_flags_are_dropped_on_input)
{
	ASSERT_EQ(0, add_ready(self->kq, 1, EV_SYSFLAGS));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(0, self->ev[0].flags & EV_SYSFLAGS);
	/* Alone, they are no flags at all. */
	EXPECT_EQ(-ENOENT, user(self->kq, 2, EV_SYSFLAGS));
}

/*
 * Filters there are none of.
 */

TEST_F(changes, unknown_filter_is_einval)
{
	static const int filter[] = {
		0, 1, 2, -EVFILT_SYSCOUNT - 1, -EVFILT_SYSCOUNT - 2, -100,
		SHRT_MIN, SHRT_MIN + 1, SHRT_MAX,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(filter); i++) {
		EXPECT_EQ(-EINVAL, change(self->kq, 1, filter[i], EV_ADD));
		EXPECT_EQ(-EINVAL, change(self->kq, 1, filter[i], EV_DELETE));
		EXPECT_EQ(-EINVAL, change(self->kq, 1, filter[i], 0));
	}
}

TEST_F(changes, reserved_filters_cannot_be_added)
{
	EXPECT_EQ(-EINVAL, change(self->kq, 1, EVFILT_AIO, EV_ADD));
	EXPECT_EQ(-EINVAL, change(self->kq, 1, EVFILT_DEVICE, EV_ADD));
	/* So there are none. */
	EXPECT_NE(0, change(self->kq, 1, EVFILT_AIO, EV_DELETE));
	EXPECT_NE(0, change(self->kq, 1, EVFILT_DEVICE, EV_DELETE));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_HARNESS_MAIN
