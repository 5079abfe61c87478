// SPDX-License-Identifier: GPL-2.0
/*
 * EVFILT_READ, EVFILT_WRITE, EVFILT_EXCEPT and EVFILT_EMPTY on sockets.
 */
#include "kqtest.h"
#include "net.h"

#include <linux/bpf.h>
#include <linux/if_alg.h>
#include <linux/tls.h>
#include <linux/vm_sockets.h>

#define ADD		EV_ADD
#define ADD_CLEAR	(EV_ADD | EV_CLEAR)

/*
 * Connected streams, on the loopback and local ones.
 */

FIXTURE(stream) {
	int kq;
	int sv[2];
	struct kevent ev[8];
};

FIXTURE_VARIANT(stream) {
	int (*pair)(int sv[2]);
};

FIXTURE_VARIANT_ADD(stream, tcp) {
	.pair = tcp_pair,
};

FIXTURE_VARIANT_ADD(stream, unix) {
	.pair = unix_pair,
};

FIXTURE_SETUP(stream)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, variant->pair(self->sv));
}

FIXTURE_TEARDOWN(stream)
{
	close(self->kq);
}

/* Send, and be sure it has arrived. */
static bool sent(const int sv[2], const char *text)
{
	int n = strlen(text), before = readable_bytes(sv[0]);

	return send(sv[1], text, n, 0) == n &&
		EVENTUALLY(readable_bytes(sv[0]) == before + n);
}

static bool received(int fd, int n)
{
	char buf[64];

	return recv(fd, buf, n, MSG_DONTWAIT) == n;
}

TEST_F(stream, read_of_an_idle_one_is_not_reported)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(stream, read_data_is_the_bytes_there)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_TRUE(sent(self->sv, "hello"));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(self->sv[0], self->ev[0].ident);
	EXPECT_EQ(EVFILT_READ, self->ev[0].filter);
	EXPECT_EQ(0, self->ev[0].flags & (EV_EOF | EV_ERROR));
	EXPECT_EQ(0, self->ev[0].fflags);
	EXPECT_EQ(5, self->ev[0].data);

	ASSERT_TRUE(sent(self->sv, "you"));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(8, self->ev[0].data);

	ASSERT_TRUE(received(self->sv[0], 6));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(2, self->ev[0].data);
}

TEST_F(stream, read_is_reported_while_data_stays_and_not_after)
{
	int i;

	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_TRUE(sent(self->sv, "abc"));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(1, pending(self->kq));
	}
	ASSERT_TRUE(received(self->sv[0], 3));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_TRUE(sent(self->sv, "d"));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(stream, read_of_what_was_there_before_is_reported)
{
	ASSERT_TRUE(sent(self->sv, "abc"));
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD_CLEAR));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(3, self->ev[0].data);
}

TEST_F(stream, read_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_TRUE(sent(self->sv, "abc"));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_EQ(3, w.events[0].data);
}

TEST_F(stream, read_with_clear_is_reported_once_an_arrival)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD_CLEAR));
	ASSERT_TRUE(sent(self->sv, "a"));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
	EXPECT_EQ(0, pending(self->kq));
	/* What was not read counts again with what comes. */
	ASSERT_TRUE(sent(self->sv, "bc"));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(3, self->ev[0].data);
	EXPECT_EQ(0, pending(self->kq));
	/* Reading is no arrival. */
	ASSERT_TRUE(received(self->sv[0], 1));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(stream, read_with_clear_is_not_reported_for_the_other_direction)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD_CLEAR));
	ASSERT_TRUE(sent(self->sv, "a"));
	ASSERT_EQ(1, pending(self->kq));
	/* The other end takes what it is sent: there is more room to write. */
	fill(self->sv[0]);
	ASSERT_LT(0, drain(self->sv[1]));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(stream, read_of_what_was_taken_meanwhile_is_not_reported)
{
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ,
				    i ? ADD_CLEAR : ADD));
		ASSERT_TRUE(sent(self->sv, "abc"));
		ASSERT_TRUE(received(self->sv[0], 3));
		EXPECT_EQ(0, pending(self->kq));
		ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ,
				    EV_DELETE));
	}
}

TEST_F(stream, read_disabled_is_reported_when_enabled)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ,
			    ADD | EV_DISABLE));
	ASSERT_TRUE(sent(self->sv, "abc"));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, EV_ENABLE));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(stream, read_deleted_is_not_reported)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_TRUE(sent(self->sv, "abc"));
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, EV_DELETE));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_TRUE(sent(self->sv, "abc"));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(stream, read_and_write_are_two_events)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_WRITE, ADD));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(EVFILT_WRITE, self->ev[0].filter);
	ASSERT_TRUE(sent(self->sv, "abc"));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
	EXPECT_NE(self->ev[0].filter, self->ev[1].filter);
}

TEST_F(stream, read_in_two_kqueues_is_reported_in_both)
{
	int kq = kqueue();

	ASSERT_LE(0, kq);
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD_CLEAR));
	ASSERT_EQ(0, change(kq, self->sv[0], EVFILT_READ, ADD_CLEAR));
	ASSERT_TRUE(sent(self->sv, "abc"));
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(1, pending(kq));
}

/*
 * Low-water marks.
 */

static int add_lowat(int kq, int fd, int filter, int64_t lowat)
{
	return change_all(kq, fd, filter, EV_ADD, NOTE_LOWAT, lowat, NULL);
}

TEST_F(stream, read_lowat_is_reported_from_the_mark_on)
{
	ASSERT_EQ(0, add_lowat(self->kq, self->sv[0], EVFILT_READ, 4));
	ASSERT_TRUE(sent(self->sv, "abc"));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_TRUE(sent(self->sv, "d"));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(4, self->ev[0].data);
	ASSERT_TRUE(received(self->sv[0], 1));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(stream, read_lowat_is_the_registrations_and_not_the_sockets)
{
	int kq = kqueue();

	ASSERT_LE(0, kq);
	ASSERT_EQ(0, add_lowat(self->kq, self->sv[0], EVFILT_READ, 4));
	ASSERT_EQ(0, change(kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_TRUE(sent(self->sv, "abc"));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(1, pending(kq));
	EXPECT_EQ(1, get_option(self->sv[0], SO_RCVLOWAT));
}

TEST_F(stream, read_lowat_can_be_changed)
{
	ASSERT_EQ(0, add_lowat(self->kq, self->sv[0], EVFILT_READ, 4));
	ASSERT_TRUE(sent(self->sv, "abc"));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, add_lowat(self->kq, self->sv[0], EVFILT_READ, 3));
	EXPECT_EQ(1, pending(self->kq));
	ASSERT_EQ(0, add_lowat(self->kq, self->sv[0], EVFILT_READ, 5));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(stream, read_lowat_does_not_hold_back_the_end)
{
	ASSERT_EQ(0, add_lowat(self->kq, self->sv[0], EVFILT_READ, 100));
	ASSERT_TRUE(sent(self->sv, "abc"));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, close(self->sv[1]));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(3, self->ev[0].data);
}

TEST_F(stream, write_lowat_is_reported_where_there_is_that_much_room)
{
	ASSERT_EQ(0, add_lowat(self->kq, self->sv[0], EVFILT_WRITE, 1 << 30));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, add_lowat(self->kq, self->sv[0], EVFILT_WRITE, 1));
	EXPECT_EQ(1, pending(self->kq));
}

/*
 * Writing.
 */

TEST_F(stream, write_data_is_the_room)
{
	int64_t room;

	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_WRITE, ADD));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(self->sv[0], self->ev[0].ident);
	EXPECT_EQ(0, self->ev[0].flags & EV_EOF);
	room = self->ev[0].data;
	EXPECT_LT(0, room);
	EXPECT_GE(get_option(self->sv[0], SO_SNDBUF), room);
}

/* Until it is full, with nothing on its way that could make room. */
static bool fill_up(int kq, int fd)
{
	return EVENTUALLY(fill(fd) == 0 && pending(kq) == 0);
}

TEST_F(stream, write_is_not_reported_while_it_is_full)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_WRITE, ADD));
	ASSERT_EQ(1, pending(self->kq));
	ASSERT_TRUE(fill_up(self->kq, self->sv[0]));
	EXPECT_TRUE(EVENTUALLY((drain(self->sv[1]), pending(self->kq) == 1)));
}

TEST_F(stream, write_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_WRITE, ADD));
	ASSERT_TRUE(fill_up(self->kq, self->sv[0]));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_TRUE(EVENTUALLY((drain(self->sv[1]), w.done)));
	EXPECT_EQ(1, waiter_result(&w));
	EXPECT_LT(0, w.events[0].data);
}

TEST_F(stream, write_with_clear_is_reported_once)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_WRITE, ADD_CLEAR));
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(stream, write_with_clear_is_reported_when_room_is_made)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_WRITE, ADD_CLEAR));
	ASSERT_EQ(1, pending(self->kq));
	ASSERT_TRUE(fill_up(self->kq, self->sv[0]));
	EXPECT_TRUE(EVENTUALLY((drain(self->sv[1]), pending(self->kq) == 1)));
}

/*
 * The end.
 */

TEST_F(stream, read_end_is_reported_with_what_was_not_read)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_TRUE(sent(self->sv, "abc"));
	ASSERT_EQ(0, shutdown(self->sv[1], SHUT_WR));
	ASSERT_TRUE(EVENTUALLY(poll_events(self->kq, self->ev, 8) == 1 &&
			       self->ev[0].flags & EV_EOF));
	EXPECT_EQ(3, self->ev[0].data);
	EXPECT_EQ(0, self->ev[0].fflags);
	ASSERT_TRUE(received(self->sv[0], 3));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(0, self->ev[0].data);
}

TEST_F(stream, read_end_is_reported_when_the_other_side_is_closed)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_EQ(0, close(self->sv[1]));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(0, self->ev[0].data);
	EXPECT_EQ(0, self->ev[0].fflags);
}

TEST_F(stream, read_end_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD_CLEAR));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, close(self->sv[1]));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_TRUE(w.events[0].flags & EV_EOF);
}

TEST_F(stream, read_end_with_clear_is_reported_once)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD_CLEAR));
	ASSERT_EQ(0, shutdown(self->sv[1], SHUT_WR));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(stream, read_end_of_one_direction_leaves_the_other_writable)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_EQ(0, shutdown(self->sv[1], SHUT_WR));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, EV_DELETE));
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_WRITE, ADD));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_FALSE(self->ev[0].flags & EV_EOF);
	EXPECT_LT(0, self->ev[0].data);
}

TEST_F(stream, read_end_is_reported_when_this_side_shuts_reading_down)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_EQ(0, shutdown(self->sv[0], SHUT_RD));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(0, self->ev[0].fflags);
}

TEST_F(stream, write_end_is_reported_when_this_side_shuts_writing_down)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_WRITE, ADD));
	ASSERT_EQ(0, shutdown(self->sv[0], SHUT_WR));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(0, self->ev[0].fflags);
}

TEST_F(stream, write_end_is_reported_when_nobody_can_read_any_more)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_WRITE, ADD));
	ASSERT_TRUE(fill_up(self->kq, self->sv[0]));
	ASSERT_TRUE(waiter_sleeps(&w));
	/* What it was sent was not read, and is never going to be. */
	ASSERT_EQ(0, close(self->sv[1]));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_TRUE(w.events[0].flags & EV_EOF);
	EXPECT_EQ(ECONNRESET, w.events[0].fflags);
}

TEST_F(stream, error_is_reported_and_left_for_the_program)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	/* Unread data on the closing side makes it a reset on this one. */
	ASSERT_EQ(1, send(self->sv[0], "x", 1, 0));
	ASSERT_TRUE(EVENTUALLY(readable_bytes(self->sv[1]) == 1));
	ASSERT_EQ(0, close(self->sv[1]));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_FALSE(self->ev[0].flags & EV_ERROR);
	EXPECT_EQ(ECONNRESET, self->ev[0].fflags);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(ECONNRESET, self->ev[0].fflags);
	EXPECT_EQ(ECONNRESET, get_option(self->sv[0], SO_ERROR));
	/* The program has it now. The end stays. */
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(0, self->ev[0].fflags);
}

/*
 * EVFILT_EMPTY.
 */

TEST_F(stream, empty_is_reported_where_nothing_waits_to_be_sent)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_EMPTY, ADD));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(self->sv[0], self->ev[0].ident);
	EXPECT_EQ(EVFILT_EMPTY, self->ev[0].filter);
	EXPECT_EQ(0, self->ev[0].flags & EV_EOF);
}

TEST_F(stream, empty_is_not_reported_before_everything_is_taken)
{
	int kq = kqueue();

	ASSERT_LE(0, kq);
	ASSERT_EQ(0, change(kq, self->sv[0], EVFILT_WRITE, ADD));
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_EMPTY, ADD));
	ASSERT_TRUE(fill_up(kq, self->sv[0]));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_TRUE(EVENTUALLY((drain(self->sv[1]), pending(self->kq) == 1)));
}

TEST_F(stream, empty_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };
	int kq = kqueue();

	ASSERT_LE(0, kq);
	ASSERT_EQ(0, change(kq, self->sv[0], EVFILT_WRITE, ADD));
	ASSERT_TRUE(fill_up(kq, self->sv[0]));
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_EMPTY, ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_TRUE(EVENTUALLY((drain(self->sv[1]), w.done)));
	EXPECT_EQ(1, waiter_result(&w));
	EXPECT_EQ(EVFILT_EMPTY, w.events[0].filter);
}

/*
 * Listening.
 */

FIXTURE(listener) {
	int kq;
	int sock;
	struct sockaddr_storage addr;
	socklen_t len;
	struct kevent ev[8];
};

FIXTURE_VARIANT(listener) {
	int family, type;
};

FIXTURE_VARIANT_ADD(listener, tcp) {
	.family = AF_INET,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(listener, unix) {
	.family = AF_UNIX,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(listener, unix_seqpacket) {
	.family = AF_UNIX,
	.type = SOCK_SEQPACKET,
};

FIXTURE_SETUP(listener)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	if (variant->family == AF_INET) {
		self->sock = tcp_listen((void *)&self->addr, 10);
		self->len = sizeof(struct sockaddr_in);
	} else {
		self->sock = unix_listen(variant->type, (void *)&self->addr,
					 &self->len, 10);
	}
	ASSERT_LE(0, self->sock);
}

FIXTURE_TEARDOWN(listener)
{
	close(self->kq);
}

static int connect_to(FIXTURE_DATA(listener) *self,
		      const FIXTURE_VARIANT(listener) *variant)
{
	int s = socket(variant->family, variant->type, 0);

	return connect(s, (struct sockaddr *)&self->addr, self->len);
}

TEST_F(listener, without_connections_is_not_reported)
{
	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_READ, ADD));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(listener, read_data_is_the_connections_waiting)
{
	int i;

	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_READ, ADD));
	for (i = 1; i <= 3; i++) {
		ASSERT_EQ(0, connect_to(self, variant));
		EXPECT_TRUE(EVENTUALLY(poll_events(self->kq, self->ev, 8) == 1 &&
				       self->ev[0].data == i));
		EXPECT_FALSE(self->ev[0].flags & EV_EOF);
	}
	for (i = 2; i > 0; i--) {
		ASSERT_LE(0, accept(self->sock, NULL, NULL));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
		EXPECT_EQ(i, self->ev[0].data);
	}
	ASSERT_LE(0, accept(self->sock, NULL, NULL));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(listener, connection_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_READ, ADD_CLEAR));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, connect_to(self, variant));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_EQ(1, w.events[0].data);
}

TEST_F(listener, with_clear_every_connection_is_reported)
{
	int i;

	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_READ, ADD_CLEAR));
	for (i = 1; i <= 3; i++) {
		ASSERT_EQ(0, connect_to(self, variant));
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
		EXPECT_EQ(i, self->ev[0].data);
		EXPECT_EQ(0, pending(self->kq));
	}
}

TEST_F(listener, is_not_writable)
{
	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_WRITE, ADD));
	EXPECT_EQ(0, pending(self->kq));
}

/*
 * Connecting.
 */

FIXTURE(connecting) {
	int kq;
	int sock;
	struct kevent ev[8];
};

FIXTURE_SETUP(connecting)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->sock = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ASSERT_LE(0, self->sock);
}

FIXTURE_TEARDOWN(connecting)
{
	close(self->kq);
}

/* 0 where it is under way, or has got there. */
static int start_connect(int s, struct sockaddr_in *addr)
{
	if (!connect(s, (struct sockaddr *)addr, sizeof(*addr)))
		return 0;
	return errno == EINPROGRESS ? 0 : -errno;
}

TEST_F(connecting, not_at_all_a_tcp_socket_is_neither_readable_nor_writable)
{
	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_WRITE, ADD));
	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_READ, ADD));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(connecting, not_at_all_a_unix_socket_is_neither_readable_nor_writable)
{
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	ASSERT_LE(0, s);
	ASSERT_EQ(0, change(self->kq, s, EVFILT_WRITE, ADD));
	ASSERT_EQ(0, change(self->kq, s, EVFILT_READ, ADD));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(connecting, makes_it_writable)
{
	struct sockaddr_in addr;

	ASSERT_LE(0, tcp_listen(&addr, 1));
	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_WRITE, ADD));
	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_READ, ADD));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, start_connect(self->sock, &addr));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(EVFILT_WRITE, self->ev[0].filter);
	EXPECT_FALSE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(0, self->ev[0].fflags);
	EXPECT_LT(0, self->ev[0].data);
}

TEST_F(connecting, makes_a_unix_socket_writable)
{
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un addr;
	socklen_t len;

	ASSERT_LE(0, unix_listen(SOCK_STREAM, &addr, &len, 1));
	ASSERT_EQ(0, change(self->kq, s, EVFILT_WRITE, ADD));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, connect(s, (struct sockaddr *)&addr, len));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_FALSE(self->ev[0].flags & EV_EOF);
}

TEST_F(connecting, ends_a_wait_for_writing)
{
	struct waiter w = { .kq = self->kq };
	struct sockaddr_in addr;

	ASSERT_LE(0, tcp_listen(&addr, 1));
	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_WRITE, ADD_CLEAR));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, start_connect(self->sock, &addr));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_FALSE(w.events[0].flags & EV_EOF);
}

TEST_F(connecting, of_a_unix_socket_ends_a_wait_for_writing)
{
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	struct waiter w = { .kq = self->kq };
	struct sockaddr_un addr;
	socklen_t len;

	/* Though the caller of connect(2) is all that is ever told there. */
	ASSERT_LE(0, unix_listen(SOCK_STREAM, &addr, &len, 1));
	ASSERT_EQ(0, change(self->kq, s, EVFILT_WRITE, EV_ADD | EV_CLEAR));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, connect(s, (struct sockaddr *)&addr, len));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_FALSE(w.events[0].flags & EV_EOF);
}

struct connecting_thread {
	int sock;
	struct sockaddr_un addr;
	socklen_t len;
	atomic_int tid;
	int result;
};

static void *connect_main(void *arg)
{
	struct connecting_thread *t = arg;

	t->tid = gettid();
	t->result = connect(t->sock, (struct sockaddr *)&t->addr, t->len);
	return NULL;
}

/* The connect waits for room with the listener; who watches comes after it began. */
TEST_F(connecting, of_a_unix_socket_that_waits_is_seen_when_it_is_done)
{
	struct connecting_thread t = {
		.sock = socket(AF_UNIX, SOCK_STREAM, 0),
	};
	int server, other, first;
	pthread_t thread;

	server = unix_listen(SOCK_STREAM, &t.addr, &t.len, 0);
	ASSERT_LE(0, server);
	/* Fill the backlog, until the next would have to wait. */
	do {
		first = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		ASSERT_LE(0, first);
		other = connect(first, (struct sockaddr *)&t.addr, t.len);
	} while (!other);
	ASSERT_EQ(EAGAIN, errno);

	ASSERT_EQ(0, pthread_create(&thread, NULL, connect_main, &t));
	ASSERT_TRUE(EVENTUALLY(t.tid && asleep_in(t.tid, -1)));
	ASSERT_EQ(0, change(self->kq, t.sock, EVFILT_WRITE, EV_ADD));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_LE(0, accept(server, NULL, NULL));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	ASSERT_EQ(0, t.result);
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(connecting, under_way_it_is_not_writable_and_then_it_is)
{
	struct sockaddr_in addr;
	struct pollfd p = { .events = POLLIN };
	int server, first;

	/* One may wait, and does: the next knocks until that is let in. */
	server = tcp_listen(&addr, 0);
	ASSERT_LE(0, server);
	first = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_EQ(0, connect(first, (struct sockaddr *)&addr, sizeof(addr)));
	p.fd = server;
	ASSERT_EQ(1, poll(&p, 1, PATIENCE * 1000));
	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_WRITE, ADD));
	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_READ, ADD));
	ASSERT_EQ(0, start_connect(self->sock, &addr));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_LE(0, accept(server, NULL, NULL));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(EVFILT_WRITE, self->ev[0].filter);
	EXPECT_FALSE(self->ev[0].flags & EV_EOF);
}

TEST_F(connecting, in_vain_is_reported_with_the_error)
{
	struct sockaddr_in addr;

	ASSERT_EQ(0, closed_port(SOCK_STREAM, &addr));
	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_WRITE, ADD));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, start_connect(self->sock, &addr));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_FALSE(self->ev[0].flags & EV_ERROR);
	EXPECT_EQ(ECONNREFUSED, self->ev[0].fflags);
	/* It is the program's to take. */
	EXPECT_EQ(ECONNREFUSED, get_option(self->sock, SO_ERROR));
}

TEST_F(connecting, in_vain_is_reported_to_a_reader_too)
{
	struct sockaddr_in addr;

	ASSERT_EQ(0, closed_port(SOCK_STREAM, &addr));
	ASSERT_EQ(0, change(self->kq, self->sock, EVFILT_READ, ADD));
	ASSERT_EQ(0, start_connect(self->sock, &addr));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(ECONNREFUSED, self->ev[0].fflags);
}

/*
 * TCP's own.
 */

FIXTURE(tcp) {
	int kq;
	int sv[2];
	struct kevent ev[8];
};

FIXTURE_SETUP(tcp)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, tcp_pair(self->sv));
}

FIXTURE_TEARDOWN(tcp)
{
	close(self->kq);
}

TEST_F(tcp, reset_is_reported_to_reader_and_writer)
{
	int i;

	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	reset_connection(self->sv[1]);
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_WRITE, ADD));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
	for (i = 0; i < 2; i++) {
		EXPECT_TRUE(self->ev[i].flags & EV_EOF);
		EXPECT_EQ(ECONNRESET, self->ev[i].fflags);
	}
}

static int add_oob(int kq, int fd)
{
	return change_all(kq, fd, EVFILT_EXCEPT, EV_ADD, NOTE_OOB, 0, NULL);
}

TEST_F(tcp, except_reports_out_of_band_data_until_it_is_read)
{
	char byte;

	ASSERT_EQ(0, add_oob(self->kq, self->sv[0]));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(1, send(self->sv[1], "!", 1, MSG_OOB));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(self->sv[0], self->ev[0].ident);
	EXPECT_EQ(EVFILT_EXCEPT, self->ev[0].filter);
	EXPECT_EQ(NOTE_OOB, self->ev[0].fflags);
	EXPECT_FALSE(self->ev[0].flags & EV_EOF);
	ASSERT_EQ(1, recv(self->sv[0], &byte, 1, MSG_OOB));
	EXPECT_EQ('!', byte);
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(tcp, except_does_not_report_ordinary_data)
{
	ASSERT_EQ(0, add_oob(self->kq, self->sv[0]));
	ASSERT_TRUE(sent(self->sv, "abc"));
	EXPECT_EQ(0, pending(self->kq));
}

/* What is in front of the urgent mark is all that TCP counts. */
TEST_F(tcp, read_lowat_does_not_hold_back_what_is_behind_urgent_data)
{
	char many[1000] = "";

	ASSERT_EQ(0, add_lowat(self->kq, self->sv[0], EVFILT_READ, 100));
	ASSERT_TRUE(sent(self->sv, "a"));
	ASSERT_EQ(1, send(self->sv[1], "!", 1, MSG_OOB));
	ASSERT_EQ(sizeof(many), send(self->sv[1], many, sizeof(many), 0));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(EVFILT_READ, self->ev[0].filter);
	EXPECT_LE(1, self->ev[0].data);
}

TEST_F(tcp, except_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, add_oob(self->kq, self->sv[0]));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(1, send(self->sv[1], "!", 1, MSG_OOB));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_EQ(NOTE_OOB, w.events[0].fflags);
}

/*
 * Out-of-band data of Unix streams, which has its place in the queue. A kernel
 * without it, where all is set up in vain, has nothing to count wrong.
 */

FIXTURE(unix_oob) {
	int kq;
	int sv[2];
	bool there;
	struct kevent ev[8];
};

FIXTURE_SETUP(unix_oob)
{
	char byte;

	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, unix_pair(self->sv));
	self->there = send(self->sv[1], "!", 1, MSG_OOB) == 1;
	if (self->there) {
		ASSERT_EQ(1, recv(self->sv[0], &byte, 1, MSG_OOB));
	} else {
		ASSERT_EQ(EOPNOTSUPP, errno);
		TH_LOG("this kernel has no out-of-band data there");
	}
	close(self->sv[0]);
	close(self->sv[1]);
	ASSERT_EQ(0, unix_pair(self->sv));
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
}

FIXTURE_TEARDOWN(unix_oob)
{
	close(self->kq);
}

/* Nothing to read, and the end has not come. */
static bool read_is_vain(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN;
}

TEST_F(unix_oob, that_was_taken_is_nothing_to_read)
{
	char byte;

	if (!self->there)
		return;
	ASSERT_EQ(1, send(self->sv[1], "!", 1, MSG_OOB));
	ASSERT_EQ(1, recv(self->sv[0], &byte, 1, MSG_OOB));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(1, send(self->sv[1], "a", 1, 0));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
	ASSERT_TRUE(received(self->sv[0], 1));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_TRUE(read_is_vain(self->sv[0]));
}

TEST_F(unix_oob, that_waits_is_for_except_and_not_for_read)
{
	int on = 1;

	if (!self->there)
		return;
	ASSERT_EQ(0, add_oob(self->kq, self->sv[0]));
	ASSERT_EQ(1, send(self->sv[1], "!", 1, MSG_OOB));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(EVFILT_EXCEPT, self->ev[0].filter);
	EXPECT_EQ(NOTE_OOB, self->ev[0].fflags);
	/* Unless it is read like any other. */
	ASSERT_EQ(0, setsockopt(self->sv[0], SOL_SOCKET, SO_OOBINLINE, &on,
				sizeof(on)));
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_EXCEPT, EV_DELETE));
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(EVFILT_READ, self->ev[0].filter);
	EXPECT_EQ(1, self->ev[0].data);
	EXPECT_TRUE(received(self->sv[0], 1));
}

TEST_F(unix_oob, that_was_passed_over_is_not_counted)
{
	if (!self->there)
		return;
	ASSERT_EQ(1, send(self->sv[1], "a", 1, 0));
	ASSERT_EQ(1, send(self->sv[1], "b", 1, MSG_OOB));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
	ASSERT_TRUE(received(self->sv[0], 1));
	ASSERT_TRUE(read_is_vain(self->sv[0]));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, close(self->sv[1]));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(0, self->ev[0].data);
}

TEST_F(unix_oob, that_was_passed_over_is_not_counted_with_what_follows)
{
	if (!self->there)
		return;
	ASSERT_EQ(1, send(self->sv[1], "b", 1, MSG_OOB));
	ASSERT_TRUE(read_is_vain(self->sv[0]));
	ASSERT_EQ(2, send(self->sv[1], "cd", 2, 0));
	ASSERT_EQ(1, pending(self->kq));
	ASSERT_EQ(0, close(self->sv[1]));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(2, self->ev[0].data);
}

/*
 * TLS in the kernel takes records off TCP, whole. It does not say how much is
 * left of them, but that there is some.
 */

FIXTURE(ktls) {
	int kq;
	int from[2], to[2];	/* what is sent to from[1] is for to[0] */
	bool there;
	char record[8192];
	struct kevent ev[8];
};

static int start_tls(int fd, int direction)
{
	struct tls12_crypto_info_aes_gcm_128 info = {
		.info.version = TLS_1_2_VERSION,
		.info.cipher_type = TLS_CIPHER_AES_GCM_128,
	};

	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")))
		return -errno;
	return setsockopt(fd, SOL_TLS, direction, &info, sizeof(info)) ?
		-errno : 0;
}

FIXTURE_SETUP(ktls)
{
	int ret;

	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, tcp_pair(self->from));
	ASSERT_EQ(0, tcp_pair(self->to));
	ret = start_tls(self->from[1], TLS_TX);
	self->there = ret != -ENOENT;
	if (self->there) {
		ASSERT_EQ(0, ret);
		ASSERT_EQ(0, start_tls(self->to[0], TLS_RX));
	} else {
		TH_LOG("this kernel has no TLS");
	}
}

FIXTURE_TEARDOWN(ktls)
{
	close(self->kq);
}

/* A record of so many bytes, as it goes over the wire; its length there. */
static int make_record(FIXTURE_DATA(ktls) *self, size_t n)
{
	static const char text[4096];
	unsigned char *head = (unsigned char *)self->record;
	int len;

	if (send(self->from[1], text, n, 0) != (ssize_t)n ||
	    recv(self->from[0], head, 5, MSG_WAITALL) != 5)
		return -1;
	len = head[3] << 8 | head[4];
	if (recv(self->from[0], head + 5, len, MSG_WAITALL) != len)
		return -1;
	return len + 5;
}

static bool decrypted(int fd, int n)
{
	char buf[4096];

	return recv(fd, buf, n, MSG_DONTWAIT) == n;
}

TEST_F(ktls, part_of_a_record_is_reported_while_it_stays)
{
	int len;

	if (!self->there)
		return;
	ASSERT_EQ(0, change(self->kq, self->to[0], EVFILT_READ, ADD));
	EXPECT_EQ(0, pending(self->kq));
	len = make_record(self, 4096);
	ASSERT_LT(4096, len);
	ASSERT_EQ(len, send(self->to[1], self->record, len, 0));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_LE(1, self->ev[0].data);
	ASSERT_TRUE(decrypted(self->to[0], 100));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_LE(1, self->ev[0].data);
	EXPECT_FALSE(self->ev[0].flags & EV_EOF);
	ASSERT_TRUE(decrypted(self->to[0], 3996));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(ktls, low_water_mark_is_of_no_use)
{
	int len;

	if (!self->there)
		return;
	ASSERT_EQ(0, add_lowat(self->kq, self->to[0], EVFILT_READ, 1000));
	len = make_record(self, 4096);
	ASSERT_LT(4096, len);
	ASSERT_EQ(len, send(self->to[1], self->record, len, 0));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	ASSERT_TRUE(decrypted(self->to[0], 100));
	/* Here is the beginning of the next record, and that is all TCP has. */
	len = make_record(self, 4096);
	ASSERT_LT(4096, len);
	ASSERT_EQ(20, send(self->to[1], self->record, 20, 0));
	ASSERT_TRUE(EVENTUALLY(readable_bytes(self->to[0]) == 20));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_LE(1, self->ev[0].data);
	ASSERT_TRUE(decrypted(self->to[0], 3996));
	/* Nothing of it can be read before it is there. */
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(len - 20, send(self->to[1], self->record + 20, len - 20, 0));
	EXPECT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_TRUE(decrypted(self->to[0], 4096));
}

TEST_F(ktls, end_is_reported_with_what_was_not_read)
{
	int len;

	if (!self->there)
		return;
	ASSERT_EQ(0, change(self->kq, self->to[0], EVFILT_READ, ADD));
	len = make_record(self, 4096);
	ASSERT_LT(4096, len);
	ASSERT_EQ(len, send(self->to[1], self->record, len, 0));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	ASSERT_TRUE(decrypted(self->to[0], 100));
	ASSERT_EQ(0, close(self->to[1]));
	ASSERT_TRUE(EVENTUALLY(poll_events(self->kq, self->ev, 8) == 1 &&
			       self->ev[0].flags & EV_EOF));
	EXPECT_LE(1, self->ev[0].data);
	ASSERT_TRUE(decrypted(self->to[0], 3996));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(0, self->ev[0].data);
}

/*
 * What a BPF program sends to a socket on this machine is not on TCP's queue.
 */

static int bpf(int cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

/* A map of sockets, in which all that comes is sent to be read from the first. */
static int redirecting_map(void)
{
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_SOCKMAP,
		.key_size = 4, .value_size = 4, .max_entries = 2,
	}, attr;
	int prog, fd = bpf(BPF_MAP_CREATE, &map);
	const struct bpf_insn insns[] = {
		/* r2 = map; r3 = 0; r4 = BPF_F_INGRESS */
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = BPF_REG_2,
		  .src_reg = BPF_PSEUDO_MAP_FD, .imm = fd },
		{ },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_4,
		  .imm = BPF_F_INGRESS },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_sk_redirect_map },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	if (fd < 0)
		return -errno;
	attr = (union bpf_attr) {
		.prog_type = BPF_PROG_TYPE_SK_SKB,
		.insns = (uintptr_t)insns, .insn_cnt = ARRAY_SIZE(insns),
		.license = (uintptr_t)"GPL",
	};
	prog = bpf(BPF_PROG_LOAD, &attr);
	if (prog < 0)
		return -errno;
	attr = (union bpf_attr) {
		.target_fd = fd, .attach_bpf_fd = prog,
		.attach_type = BPF_SK_SKB_STREAM_VERDICT,
	};
	return bpf(BPF_PROG_ATTACH, &attr) ? -errno : fd;
}

static int put_in_map(int map, int key, int sock)
{
	union bpf_attr attr = {
		.map_fd = map, .key = (uintptr_t)&key,
		.value = (uintptr_t)&sock,
	};

	return bpf(BPF_MAP_UPDATE_ELEM, &attr) ? -errno : 0;
}

TEST_F(tcp, what_bpf_redirects_is_reported_while_it_stays)
{
	int map = redirecting_map(), from[2];

	/* A kernel without BPF redirects nothing. */
	if (map == -ENOSYS) {
		TH_LOG("this kernel has no bpf(2)");
		return;
	}
	ASSERT_LE(0, map);
	ASSERT_EQ(0, tcp_pair(from));
	ASSERT_EQ(0, put_in_map(map, 0, self->sv[0]));
	ASSERT_EQ(0, put_in_map(map, 1, from[0]));
	/* Nor does a low-water mark hold it back. */
	ASSERT_EQ(0, add_lowat(self->kq, self->sv[0], EVFILT_READ, 100));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(5, send(from[1], "hello", 5, 0));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_LE(1, self->ev[0].data);
	EXPECT_FALSE(self->ev[0].flags & EV_EOF);
	ASSERT_TRUE(received(self->sv[0], 5));
	EXPECT_EQ(0, pending(self->kq));
}

/*
 * Datagrams.
 */

static int unix_dgram_pair(int sv[2])
{
	return socketpair(AF_UNIX, SOCK_DGRAM, 0, sv);
}

FIXTURE(datagram) {
	int kq;
	int sv[2];
	struct kevent ev[8];
};

FIXTURE_VARIANT(datagram) {
	int (*pair)(int sv[2]);
};

FIXTURE_VARIANT_ADD(datagram, udp) {
	.pair = udp_pair,
};

FIXTURE_VARIANT_ADD(datagram, unix) {
	.pair = unix_dgram_pair,
};

FIXTURE_SETUP(datagram)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, variant->pair(self->sv));
}

FIXTURE_TEARDOWN(datagram)
{
	close(self->kq);
}

TEST_F(datagram, read_data_is_the_size_of_the_next_one)
{
	char buf[64] = {};

	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(10, send(self->sv[1], buf, 10, 0));
	ASSERT_EQ(20, send(self->sv[1], buf, 20, 0));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(10, self->ev[0].data);
	ASSERT_EQ(10, recv(self->sv[0], buf, sizeof(buf), 0));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(20, self->ev[0].data);
	ASSERT_EQ(20, recv(self->sv[0], buf, sizeof(buf), 0));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(datagram, of_length_0_is_reported)
{
	char buf[64];

	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_EQ(0, send(self->sv[1], "", 0, 0));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(0, self->ev[0].data);
	EXPECT_FALSE(self->ev[0].flags & EV_EOF);
	ASSERT_EQ(0, recv(self->sv[0], buf, sizeof(buf), 0));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(datagram, with_clear_every_one_is_reported)
{
	int i;

	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD_CLEAR));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(4, send(self->sv[1], "abcd", 4, 0));
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
		EXPECT_EQ(4, self->ev[0].data);
		EXPECT_EQ(0, pending(self->kq));
	}
}

TEST_F(datagram, read_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(4, send(self->sv[1], "abcd", 4, 0));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_EQ(4, w.events[0].data);
}

TEST_F(datagram, write_data_is_the_room)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_WRITE, ADD));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_FALSE(self->ev[0].flags & EV_EOF);
	EXPECT_LT(0, self->ev[0].data);
}

TEST_F(datagram, empty_is_reported_where_nothing_waits_to_be_sent)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_EMPTY, ADD));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(datagram, read_end_is_reported_when_this_side_shuts_reading_down)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_EQ(0, shutdown(self->sv[0], SHUT_RD));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
}

FIXTURE(udp) {
	int kq;
	struct kevent ev[8];
};

FIXTURE_SETUP(udp)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(udp)
{
	close(self->kq);
}

TEST_F(udp, unconnected_is_writable)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	ASSERT_LE(0, s);
	ASSERT_EQ(0, change(self->kq, s, EVFILT_WRITE, ADD));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(udp, refusal_is_reported_and_left_for_the_program)
{
	struct sockaddr_in addr;
	int s = inet_bound(SOCK_DGRAM, &addr);

	ASSERT_LE(0, s);
	ASSERT_EQ(0, closed_port(SOCK_DGRAM, &addr));
	ASSERT_EQ(0, connect(s, (struct sockaddr *)&addr, sizeof(addr)));
	ASSERT_EQ(0, change(self->kq, s, EVFILT_READ, ADD));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(1, send(s, "x", 1, 0));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(ECONNREFUSED, self->ev[0].fflags);
	EXPECT_EQ(ECONNREFUSED, get_option(s, SO_ERROR));
	/* That was all: the socket goes on. */
	EXPECT_EQ(0, pending(self->kq));
}

FIXTURE(seqpacket) {
	int kq;
	int sv[2];
	struct kevent ev[8];
};

FIXTURE_SETUP(seqpacket)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, self->sv));
}

FIXTURE_TEARDOWN(seqpacket)
{
	close(self->kq);
}

TEST_F(seqpacket, read_data_is_the_size_of_the_one_there)
{
	char buf[64] = {};

	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(10, send(self->sv[1], buf, 10, 0));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(10, self->ev[0].data);
	ASSERT_EQ(10, recv(self->sv[0], buf, sizeof(buf), 0));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(seqpacket, end_is_reported_with_what_was_not_read)
{
	ASSERT_EQ(0, change(self->kq, self->sv[0], EVFILT_READ, ADD));
	ASSERT_EQ(3, send(self->sv[1], "abc", 3, 0));
	ASSERT_EQ(0, close(self->sv[1]));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(3, self->ev[0].data);
}

/*
 * Sockets of SCTP's that are connected to many listen to be so, and stay what
 * they are.
 */
TEST(sctp_one_to_many_read_data_is_the_size_of_the_next_one)
{
	struct sockaddr_in addr[2] = {};
	socklen_t len = sizeof(addr[0]);
	char buf[128] = {};
	struct kevent ev[2];
	int i, kq, s[2];

	loopback_up();
	for (i = 0; i < 2; i++) {
		s[i] = socket(AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP);
		ASSERT_LE(0, s[i]);
		addr[i].sin_family = AF_INET;
		addr[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		ASSERT_EQ(0, bind(s[i], (void *)&addr[i], len));
		ASSERT_EQ(0, getsockname(s[i], (void *)&addr[i], &len));
		ASSERT_EQ(0, listen(s[i], 1));
	}
	kq = kqueue();
	ASSERT_LE(0, kq);
	ASSERT_EQ(0, change(kq, s[0], EVFILT_READ, ADD));
	EXPECT_EQ(0, pending(kq));
	ASSERT_EQ(100, sendto(s[1], buf, 100, 0, (void *)&addr[0], len));
	ASSERT_EQ(20, sendto(s[1], buf, 20, 0, (void *)&addr[0], len));
	ASSERT_EQ(1, wait_events(kq, ev, 2));
	EXPECT_EQ(100, ev[0].data);
	EXPECT_FALSE(ev[0].flags & EV_EOF);
	ASSERT_EQ(100, recv(s[0], buf, sizeof(buf), 0));
	ASSERT_EQ(1, wait_events(kq, ev, 2));
	EXPECT_EQ(20, ev[0].data);
	ASSERT_EQ(20, recv(s[0], buf, sizeof(buf), 0));
	EXPECT_EQ(0, pending(kq));
	close(s[0]);
	close(s[1]);
	close(kq);
}

/*
 * Protocols that do not say how much there is.
 */

TEST(cipher_read_data_is_1)
{
	struct sockaddr_alg addr = {
		.salg_family = AF_ALG, .salg_type = "skcipher",
		.salg_name = "ecb(aes)",
	};
	int kq, op, s = socket(AF_ALG, SOCK_SEQPACKET, 0);
	union {
		struct cmsghdr hdr;
		char space[CMSG_SPACE(sizeof(__u32))];
	} control = {};
	struct iovec iov = { .iov_base = "0123456789abcdef", .iov_len = 16 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	__u32 encrypt = ALG_OP_ENCRYPT;
	struct kevent ev[2];
	char buf[16] = {};

	/* A kernel without has none that could be watched. */
	if (s < 0 && errno == EAFNOSUPPORT) {
		TH_LOG("this kernel has no AF_ALG");
		return;
	}
	ASSERT_LE(0, s);
	ASSERT_EQ(0, bind(s, (void *)&addr, sizeof(addr)));
	ASSERT_EQ(0, setsockopt(s, SOL_ALG, ALG_SET_KEY, buf, sizeof(buf)));
	op = accept(s, NULL, NULL);
	ASSERT_LE(0, op);
	control.hdr.cmsg_level = SOL_ALG;
	control.hdr.cmsg_type = ALG_SET_OP;
	control.hdr.cmsg_len = CMSG_LEN(sizeof(encrypt));
	memcpy(CMSG_DATA(&control.hdr), &encrypt, sizeof(encrypt));
	ASSERT_EQ(16, sendmsg(op, &msg, 0));
	kq = kqueue();
	ASSERT_LE(0, kq);
	ASSERT_EQ(0, change(kq, op, EVFILT_READ, ADD));
	ASSERT_EQ(1, poll_events(kq, ev, 2));
	EXPECT_EQ(1, ev[0].data);
	EXPECT_FALSE(ev[0].flags & EV_EOF);
	EXPECT_EQ(16, read(op, buf, sizeof(buf)));
	close(op);
	close(s);
	close(kq);
}

TEST(vsock_read_data_is_1)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL,
		.svm_port = VMADDR_PORT_ANY,
	};
	int listener = socket(AF_VSOCK, SOCK_STREAM, 0), client, server, kq;
	socklen_t len = sizeof(addr);
	struct kevent ev[2];
	char buf[8];

	if (listener < 0 || bind(listener, (void *)&addr, sizeof(addr)))
		SKIP(return, "no vsock within this machine");
	ASSERT_EQ(0, listen(listener, 1));
	ASSERT_EQ(0, getsockname(listener, (void *)&addr, &len));
	addr.svm_cid = VMADDR_CID_LOCAL;
	client = socket(AF_VSOCK, SOCK_STREAM, 0);
	ASSERT_EQ(0, connect(client, (void *)&addr, sizeof(addr)));
	server = accept(listener, NULL, NULL);
	ASSERT_LE(0, server);
	kq = kqueue();
	ASSERT_LE(0, kq);

	/* Nor is a low-water mark of any use. */
	ASSERT_EQ(0, change_all(kq, server, EVFILT_READ, EV_ADD, NOTE_LOWAT, 100, NULL));
	EXPECT_EQ(0, pending(kq));
	ASSERT_EQ(5, write(client, "hello", 5));
	ASSERT_EQ(1, wait_events(kq, ev, 2));
	EXPECT_EQ(1, ev[0].data);
	EXPECT_EQ(0, ev[0].flags & EV_EOF);
	ASSERT_EQ(5, read(server, buf, sizeof(buf)));
	EXPECT_EQ(0, pending(kq));
	close(client);
	ASSERT_EQ(1, wait_events(kq, ev, 2));
	EXPECT_EQ(EV_EOF, ev[0].flags & EV_EOF);
	close(server);
	close(listener);
	close(kq);
}

TEST_HARNESS_MAIN
