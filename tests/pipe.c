// SPDX-License-Identifier: GPL-2.0
/*
 * EVFILT_READ and EVFILT_WRITE on pipes and FIFOs.
 */
#include "kqtest.h"
#include "net.h"

#include <sys/stat.h>

FIXTURE(pipe) {
	int kq;
	int r, w;
	struct kevent ev[8];
};

FIXTURE_SETUP(pipe)
{
	int fds[2];

	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, pipe(fds));
	self->r = fds[0];
	self->w = fds[1];
}

FIXTURE_TEARDOWN(pipe)
{
	close(self->kq);
}

static bool take(int fd, int n)
{
	char buf[64];

	return read(fd, buf, n) == n;
}

TEST_F(pipe, read_of_an_empty_one_is_not_reported)
{
	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ, EV_ADD));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(pipe, read_data_is_the_bytes_there)
{
	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ, EV_ADD));
	ASSERT_EQ(5, write(self->w, "hello", 5));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(self->r, self->ev[0].ident);
	EXPECT_EQ(EVFILT_READ, self->ev[0].filter);
	EXPECT_EQ(5, self->ev[0].data);
	EXPECT_EQ(0, self->ev[0].flags & (EV_EOF | EV_ERROR));
	ASSERT_EQ(3, write(self->w, "you", 3));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(8, self->ev[0].data);
	ASSERT_TRUE(take(self->r, 6));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(2, self->ev[0].data);
	ASSERT_TRUE(take(self->r, 2));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(pipe, read_data_counts_over_many_pages)
{
	long n;

	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ, EV_ADD));
	n = fill(self->w);
	ASSERT_LT(4096, n);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(n, self->ev[0].data);
}

TEST_F(pipe, read_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ, EV_ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(4, write(self->w, "abcd", 4));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_EQ(4, w.events[0].data);
}

TEST_F(pipe, read_with_clear_is_reported_once_an_arrival)
{
	int i;

	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ,
			    EV_ADD | EV_CLEAR));
	for (i = 1; i <= 3; i++) {
		ASSERT_EQ(1, write(self->w, "x", 1));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
		EXPECT_EQ(i, self->ev[0].data);
		EXPECT_EQ(0, pending(self->kq));
	}
	ASSERT_TRUE(take(self->r, 1));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(pipe, read_lowat_is_reported_from_the_mark_on)
{
	ASSERT_EQ(0, change_all(self->kq, self->r, EVFILT_READ, EV_ADD,
				NOTE_LOWAT, 4, NULL));
	ASSERT_EQ(3, write(self->w, "abc", 3));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(1, write(self->w, "d", 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(4, self->ev[0].data);
}

TEST_F(pipe, read_of_what_was_taken_meanwhile_is_not_reported)
{
	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ,
			    EV_ADD | EV_CLEAR));
	ASSERT_EQ(1, write(self->w, "x", 1));
	ASSERT_TRUE(take(self->r, 1));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(pipe, read_end_is_reported_with_what_was_not_read)
{
	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ, EV_ADD));
	ASSERT_EQ(3, write(self->w, "abc", 3));
	ASSERT_EQ(0, close(self->w));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(3, self->ev[0].data);
	ASSERT_TRUE(take(self->r, 3));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
	EXPECT_EQ(0, self->ev[0].data);
}

TEST_F(pipe, read_end_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ,
			    EV_ADD | EV_CLEAR));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, close(self->w));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_TRUE(w.events[0].flags & EV_EOF);
}

TEST_F(pipe, read_end_comes_with_the_last_writer)
{
	int copy = dup(self->w);

	ASSERT_LE(0, copy);
	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ, EV_ADD));
	ASSERT_EQ(0, close(self->w));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, close(copy));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(pipe, write_data_is_the_room)
{
	ASSERT_EQ(0, change(self->kq, self->w, EVFILT_WRITE, EV_ADD));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(self->w, self->ev[0].ident);
	EXPECT_EQ(EVFILT_WRITE, self->ev[0].filter);
	EXPECT_EQ(0, self->ev[0].flags & EV_EOF);
	EXPECT_EQ(fcntl(self->w, F_GETPIPE_SZ), self->ev[0].data);
}

TEST_F(pipe, write_data_can_be_written)
{
	static char buf[1 << 20];
	int i;

	/* However the pipe keeps what is in it: half pages, scraps. */
	ASSERT_EQ(0, set_nonblocking(self->w));
	ASSERT_EQ(0, change(self->kq, self->w, EVFILT_WRITE, EV_ADD));
	for (i = 1; i < 5000; i = i * 3 + 1) {
		ASSERT_EQ(i, write(self->w, buf, i));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
		ASSERT_LT(0, self->ev[0].data);
		ASSERT_GE((int64_t)sizeof(buf), self->ev[0].data);
		EXPECT_EQ(self->ev[0].data,
			  write(self->w, buf, self->ev[0].data));
		ASSERT_LT(0, drain(self->r));
	}
}

TEST_F(pipe, write_of_a_full_one_is_not_reported)
{
	ASSERT_EQ(0, change(self->kq, self->w, EVFILT_WRITE, EV_ADD));
	ASSERT_EQ(1, pending(self->kq));
	ASSERT_LT(0, fill(self->w));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_LT(0, drain(self->r));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(pipe, write_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_LT(0, fill(self->w));
	ASSERT_EQ(0, change(self->kq, self->w, EVFILT_WRITE, EV_ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_LT(0, drain(self->r));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_LT(0, w.events[0].data);
}

TEST_F(pipe, write_end_is_reported_when_the_reader_has_gone)
{
	ASSERT_EQ(0, change(self->kq, self->w, EVFILT_WRITE,
			    EV_ADD | EV_CLEAR));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_FALSE(self->ev[0].flags & EV_EOF);
	ASSERT_EQ(0, close(self->r));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
}

TEST_F(pipe, write_end_ends_a_wait_of_a_full_one)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_LT(0, fill(self->w));
	ASSERT_EQ(0, change(self->kq, self->w, EVFILT_WRITE, EV_ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, close(self->r));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_TRUE(w.events[0].flags & EV_EOF);
}

TEST_F(pipe, both_ends_can_be_watched)
{
	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ, EV_ADD));
	ASSERT_EQ(0, change(self->kq, self->w, EVFILT_WRITE, EV_ADD));
	EXPECT_EQ(1, pending(self->kq));
	ASSERT_EQ(1, write(self->w, "x", 1));
	EXPECT_EQ(2, pending(self->kq));
}

/*
 * A FIFO, whose end need not be for ever.
 */

FIXTURE(fifo) {
	int kq;
	int r;
	char dir[32];
	char path[64];
	struct kevent ev[8];
};

FIXTURE_SETUP(fifo)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	snprintf(self->dir, sizeof(self->dir), "/tmp/kqueue-fifo-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	snprintf(self->path, sizeof(self->path), "%s/fifo", self->dir);
	ASSERT_EQ(0, mkfifo(self->path, 0600));
	self->r = open(self->path, O_RDONLY | O_NONBLOCK);
	ASSERT_LE(0, self->r);
}

FIXTURE_TEARDOWN(fifo)
{
	close(self->kq);
	unlink(self->path);
	rmdir(self->dir);
}

TEST_F(fifo, read_before_the_first_writer_is_not_reported)
{
	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ, EV_ADD));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(fifo, read_data_is_the_bytes_there)
{
	int w = open(self->path, O_WRONLY);

	ASSERT_LE(0, w);
	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ, EV_ADD));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(3, write(w, "abc", 3));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(3, self->ev[0].data);
	EXPECT_FALSE(self->ev[0].flags & EV_EOF);
}

TEST_F(fifo, read_end_goes_away_when_a_writer_comes)
{
	int i, w;

	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ, EV_ADD));
	for (i = 0; i < 3; i++) {
		w = open(self->path, O_WRONLY);
		ASSERT_LE(0, w);
		EXPECT_EQ(0, pending(self->kq));
		ASSERT_EQ(3, write(w, "abc", 3));
		ASSERT_EQ(0, close(w));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
		EXPECT_TRUE(self->ev[0].flags & EV_EOF);
		EXPECT_EQ(3, self->ev[0].data);
		ASSERT_TRUE(take(self->r, 3));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
		EXPECT_TRUE(self->ev[0].flags & EV_EOF);
		EXPECT_EQ(0, self->ev[0].data);
	}
}

TEST_F(fifo, read_end_with_clear_is_reported_for_every_last_writer)
{
	int i, w;

	ASSERT_EQ(0, change(self->kq, self->r, EVFILT_READ,
			    EV_ADD | EV_CLEAR));
	for (i = 0; i < 3; i++) {
		w = open(self->path, O_WRONLY);
		ASSERT_LE(0, w);
		EXPECT_EQ(0, pending(self->kq));
		ASSERT_EQ(0, close(w));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
		EXPECT_TRUE(self->ev[0].flags & EV_EOF);
		EXPECT_EQ(0, pending(self->kq));
	}
}

TEST_F(fifo, write_end_is_reported_when_the_reader_has_gone)
{
	int w = open(self->path, O_WRONLY);

	ASSERT_LE(0, w);
	ASSERT_EQ(0, change(self->kq, w, EVFILT_WRITE, EV_ADD));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_FALSE(self->ev[0].flags & EV_EOF);
	ASSERT_EQ(0, close(self->r));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
}

TEST_F(fifo, opened_both_ways_is_read_and_written)
{
	int rw = open(self->path, O_RDWR);

	ASSERT_LE(0, rw);
	ASSERT_EQ(0, change(self->kq, rw, EVFILT_READ, EV_ADD));
	ASSERT_EQ(0, change(self->kq, rw, EVFILT_WRITE, EV_ADD));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(EVFILT_WRITE, self->ev[0].filter);
	ASSERT_EQ(1, write(rw, "x", 1));
	EXPECT_EQ(2, pending(self->kq));
}

TEST_HARNESS_MAIN
