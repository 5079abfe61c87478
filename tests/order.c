// SPDX-License-Identifier: GPL-2.0
/*
 * Many descriptors at once: all of them, in order, and each its turn.
 */
#include "kqtest.h"

#include <sys/eventfd.h>

#define MANY	200

FIXTURE(order) {
	int kq;
	int fd[MANY];
	struct kevent ev[MANY + 8];
};

FIXTURE_SETUP(order)
{
	int i;

	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	for (i = 0; i < MANY; i++) {
		self->fd[i] = eventfd(0, 0);
		ASSERT_LE(0, self->fd[i]);
	}
}

FIXTURE_TEARDOWN(order)
{
	close(self->kq);
}

static int watch(int kq, int fd, int flags, int number)
{
	return change_all(kq, fd, EVFILT_READ, EV_ADD | flags, 0, 0,
			  (void *)(uintptr_t)number);
}

static uintptr_t number(const struct kevent *event)
{
	return (uintptr_t)event->udata;
}

TEST_F(order, one_call_gives_all_that_are_ready)
{
	bool seen[MANY] = {};
	int i;

	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(0, watch(self->kq, self->fd[i], 0, i));
		ASSERT_EQ(0, eventfd_write(self->fd[i], 1));
	}
	ASSERT_EQ(MANY, poll_events(self->kq, self->ev, MANY + 8));
	for (i = 0; i < MANY; i++) {
		ASSERT_GT(MANY, number(&self->ev[i]));
		EXPECT_EQ(self->fd[number(&self->ev[i])], self->ev[i].ident);
		EXPECT_FALSE(seen[number(&self->ev[i])]);
		seen[number(&self->ev[i])] = true;
	}
}

TEST_F(order, one_call_gives_only_those_that_are_ready)
{
	int i;

	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(0, watch(self->kq, self->fd[i], 0, i));
	}
	for (i = 3; i < MANY; i += 7) {
		ASSERT_EQ(0, eventfd_write(self->fd[i], 1));
	}
	ASSERT_EQ((MANY - 3 + 6) / 7, poll_events(self->kq, self->ev, MANY));
	for (i = 3; i < MANY; i += 7) {
		EXPECT_EQ(i, number(&self->ev[i / 7]));
	}
}

TEST_F(order, is_that_of_becoming_ready)
{
	int i;

	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(0, watch(self->kq, self->fd[i], EV_CLEAR, i));
	}
	/* A walk that comes by all of them, and not in a row. */
	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(0, eventfd_write(self->fd[i * 77 % MANY], 1));
	}
	ASSERT_EQ(MANY, poll_events(self->kq, self->ev, MANY));
	for (i = 0; i < MANY; i++) {
		EXPECT_EQ(i * 77 % MANY, number(&self->ev[i]));
	}
}

TEST_F(order, in_portions_is_the_same)
{
	int i, n, got = 0;

	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(0, watch(self->kq, self->fd[i], EV_CLEAR, i));
		ASSERT_EQ(0, eventfd_write(self->fd[i], 1));
	}
	for (i = 1; got < MANY; i = i % 13 + 1) {
		n = poll_events(self->kq, self->ev + got, i);
		ASSERT_EQ(i < MANY - got ? i : MANY - got, n);
		got += n;
	}
	for (i = 0; i < MANY; i++) {
		EXPECT_EQ(i, number(&self->ev[i]));
	}
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(order, with_room_for_one_each_has_its_turn)
{
	int turns[7] = {};
	int i, j;

	for (i = 0; i < 7; i++) {
		ASSERT_EQ(0, watch(self->kq, self->fd[i], 0, i));
		ASSERT_EQ(0, eventfd_write(self->fd[i], 1));
	}
	for (i = 0; i < 7 * 5; i++) {
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 1));
		ASSERT_GT(7, number(&self->ev[0]));
		turns[number(&self->ev[0])]++;
		for (j = 0; j < 7 && i % 7 == 6; j++) {
			EXPECT_EQ(i / 7 + 1, turns[j]);
		}
	}
}

TEST_F(order, newcomer_is_not_starved_by_those_always_ready)
{
	int i, others;

	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, watch(self->kq, self->fd[i], 0, i));
		ASSERT_EQ(0, eventfd_write(self->fd[i], 1));
	}
	ASSERT_EQ(10, poll_events(self->kq, self->ev, 10));
	ASSERT_EQ(0, watch(self->kq, self->fd[50], EV_CLEAR, 50));
	ASSERT_EQ(0, eventfd_write(self->fd[50], 1));
	for (others = 0; others <= 50; others++) {
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 1));
		if (number(&self->ev[0]) == 50)
			break;
	}
	EXPECT_GE(50, others);
}

TEST_F(order, what_is_ready_no_longer_does_not_take_a_place)
{
	eventfd_t value;
	int i;

	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(0, watch(self->kq, self->fd[i], 0, i));
		ASSERT_EQ(0, eventfd_write(self->fd[i], 1));
	}
	/* All but the last: their places are before its. */
	for (i = 0; i < MANY - 1; i++) {
		ASSERT_EQ(0, eventfd_read(self->fd[i], &value));
	}
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 1));
	EXPECT_EQ(MANY - 1, number(&self->ev[0]));
}

TEST_F(order, deleting_all_but_one_leaves_that)
{
	int i;

	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(0, watch(self->kq, self->fd[i], 0, i));
		ASSERT_EQ(0, eventfd_write(self->fd[i], 1));
	}
	for (i = 0; i < MANY; i++) {
		if (i == 100)
			continue;
		ASSERT_EQ(0, change(self->kq, self->fd[i], EVFILT_READ,
				    EV_DELETE));
	}
	ASSERT_EQ(1, poll_events(self->kq, self->ev, MANY));
	EXPECT_EQ(100, number(&self->ev[0]));
}

TEST_F(order, one_descriptor_in_many_kqueues_is_reported_in_all)
{
	int kq[50];
	int i;

	for (i = 0; i < 50; i++) {
		kq[i] = kqueue();
		ASSERT_LE(0, kq[i]);
		ASSERT_EQ(0, watch(kq[i], self->fd[0], EV_CLEAR, i));
	}
	ASSERT_EQ(0, eventfd_write(self->fd[0], 1));
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(1, poll_events(kq[i], self->ev, 8));
		EXPECT_EQ(i, number(&self->ev[0]));
		EXPECT_EQ(0, pending(kq[i]));
	}
}

TEST_HARNESS_MAIN
