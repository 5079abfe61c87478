// SPDX-License-Identifier: GPL-2.0
/*
 * What closing does: to the knotes of what is closed, to the kqueue that is
 * closed, and, because of either, to nothing else.
 */
#include "kqtest.h"
#include "net.h"

#include <linux/close_range.h>
#include <sys/eventfd.h>

static int sys_close_range(unsigned int first, unsigned int last,
			   unsigned int flags)
{
	return syscall(SYS_close_range, first, last, flags);
}

/*
 * A descriptor goes, in every way one can, while the open file lives on: its
 * knotes go with the descriptor.
 */

FIXTURE(closing) {
	int kq, kq2;
	int r, w;	/* a pipe; r is the one that is closed */
	int copy;	/* of r, which keeps its open file */
	struct kevent ev[8];
};

FIXTURE_VARIANT(closing) {
	int (*how)(int fd, int copy);
	bool reused;	/* the number is open afterwards, as something else */
};

static int by_close(int fd, int copy)
{
	(void)copy;
	return close(fd);
}

static int by_close_range(int fd, int copy)
{
	(void)copy;
	return sys_close_range(fd, fd, 0);
}

static int by_dup2(int fd, int copy)
{
	int other = eventfd(0, 0), ret;

	(void)copy;
	ret = dup2(other, fd);
	close(other);
	return ret == fd ? 0 : -1;
}

static int by_dup3(int fd, int copy)
{
	int other = eventfd(0, 0), ret;

	(void)copy;
	ret = dup3(other, fd, O_CLOEXEC);
	close(other);
	return ret == fd ? 0 : -1;
}

/* The same open file takes the number, and yet it is another descriptor. */
static int by_dup2_of_a_dup(int fd, int copy)
{
	return dup2(copy, fd) == fd ? 0 : -1;
}

static void *close_main(void *arg)
{
	return (void *)(intptr_t)close(*(int *)arg);
}

static int by_close_in_another_thread(int fd, int copy)
{
	pthread_t thread;
	void *ret;

	(void)copy;
	if (pthread_create(&thread, NULL, close_main, &fd))
		return -1;
	pthread_join(thread, &ret);
	return (intptr_t)ret;
}

FIXTURE_VARIANT_ADD(closing, by_close) {
	.how = by_close,
};

FIXTURE_VARIANT_ADD(closing, by_close_range) {
	.how = by_close_range,
};

FIXTURE_VARIANT_ADD(closing, by_dup2) {
	.how = by_dup2,
	.reused = true,
};

FIXTURE_VARIANT_ADD(closing, by_dup3) {
	.how = by_dup3,
	.reused = true,
};

FIXTURE_VARIANT_ADD(closing, by_dup2_of_a_dup) {
	.how = by_dup2_of_a_dup,
	.reused = true,
};

FIXTURE_VARIANT_ADD(closing, by_close_in_another_thread) {
	.how = by_close_in_another_thread,
};

FIXTURE_SETUP(closing)
{
	int fds[2];

	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->kq2 = kqueue();
	ASSERT_LE(0, self->kq2);
	ASSERT_EQ(0, pipe(fds));
	self->r = fds[0];
	self->w = fds[1];
	self->copy = dup(self->r);
	ASSERT_LE(0, self->copy);
}

FIXTURE_TEARDOWN(closing)
{
	close(self->kq);
	close(self->kq2);
}

static int watch(int kq, int fd, int flags)
{
	return change(kq, fd, EVFILT_READ, EV_ADD | flags);
}

/* What deleting a knote says when there is none. */
static int no_knote(const FIXTURE_VARIANT(closing) *variant)
{
	return variant->reused ? -ENOENT : -EBADF;
}

TEST_F(closing, removes_the_knote)
{
	ASSERT_EQ(0, watch(self->kq, self->r, 0));
	ASSERT_EQ(0, variant->how(self->r, self->copy));
	EXPECT_EQ(no_knote(variant), change(self->kq, self->r, EVFILT_READ,
					    EV_DELETE));
	/* Nothing comes of it any more, though the pipe is still read. */
	ASSERT_EQ(1, write(self->w, "x", 1));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, close(self->w));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(closing, takes_back_an_event_not_yet_delivered)
{
	static const int flags[] = { 0, EV_CLEAR, EV_ONESHOT, EV_DISPATCH };
	int kq[ARRAY_SIZE(flags)];
	size_t i;

	ASSERT_EQ(1, write(self->w, "x", 1));
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		kq[i] = kqueue();
		ASSERT_LE(0, kq[i]);
		ASSERT_EQ(0, watch(kq[i], self->r, flags[i]));
	}
	ASSERT_EQ(0, variant->how(self->r, self->copy));
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		EXPECT_EQ(0, pending(kq[i]));
	}
}

TEST_F(closing, removes_it_in_every_kqueue_of_the_process)
{
	ASSERT_EQ(0, watch(self->kq, self->r, 0));
	ASSERT_EQ(0, watch(self->kq2, self->r, 0));
	ASSERT_EQ(0, variant->how(self->r, self->copy));
	ASSERT_EQ(1, write(self->w, "x", 1));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(0, pending(self->kq2));
}

TEST_F(closing, removes_all_knotes_of_the_descriptor)
{
	int sv[2], copy;

	/* On something that has them all. */
	ASSERT_EQ(0, tcp_pair(sv));
	copy = dup(sv[0]);
	ASSERT_LE(0, copy);
	ASSERT_EQ(0, watch(self->kq, sv[0], 0));
	ASSERT_EQ(0, change(self->kq, sv[0], EVFILT_WRITE, EV_ADD));
	ASSERT_EQ(0, change(self->kq, sv[0], EVFILT_EMPTY, EV_ADD));
	ASSERT_EQ(0, change_all(self->kq, sv[0], EVFILT_EXCEPT, EV_ADD,
				NOTE_OOB, 0, NULL));
	ASSERT_EQ(2, pending(self->kq));
	ASSERT_EQ(0, variant->how(sv[0], copy));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(no_knote(variant), change(self->kq, sv[0], EVFILT_EXCEPT,
					    EV_DELETE));
}

TEST_F(closing, removes_a_disabled_one_too)
{
	ASSERT_EQ(0, watch(self->kq, self->r, EV_DISABLE));
	ASSERT_EQ(1, write(self->w, "x", 1));
	ASSERT_EQ(0, variant->how(self->r, self->copy));
	EXPECT_EQ(no_knote(variant), change(self->kq, self->r, EVFILT_READ,
					    EV_ENABLE));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(closing, leaves_the_knote_of_a_dup)
{
	ASSERT_EQ(0, watch(self->kq, self->copy, 0));
	ASSERT_EQ(0, watch(self->kq, self->r, 0));
	ASSERT_EQ(0, variant->how(self->r, self->copy));
	ASSERT_EQ(1, write(self->w, "x", 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(self->copy, self->ev[0].ident);
}

TEST_F(closing, leaves_other_descriptors_and_events)
{
	int other = eventfd(1, 0);

	ASSERT_EQ(0, watch(self->kq, other, 0));
	ASSERT_EQ(0, watch(self->kq, self->r, 0));
	/* Its ident is a number of the program's own, not a descriptor. */
	ASSERT_EQ(0, change_all(self->kq, self->r, EVFILT_USER, EV_ADD,
				NOTE_TRIGGER, 0, NULL));
	ASSERT_EQ(0, variant->how(self->r, self->copy));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(other, self->ev[0].ident);
	EXPECT_EQ(EVFILT_USER, self->ev[1].filter);
}

TEST_F(closing, lets_the_number_be_watched_anew)
{
	int fd = self->r;

	ASSERT_EQ(0, watch(self->kq, fd, 0));
	ASSERT_EQ(1, write(self->w, "x", 1));
	ASSERT_EQ(0, variant->how(fd, self->copy));
	ASSERT_EQ(fd, dup2(eventfd(0, 0), fd));
	/* The old one is ready, the new one is not. */
	ASSERT_EQ(0, watch(self->kq, fd, 0));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, eventfd_write(fd, 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(fd, self->ev[0].ident);
}

TEST_F(closing, is_not_seen_by_a_thread_that_waits)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, watch(self->kq, self->r, 0));
	ASSERT_EQ(0, change(self->kq, 99, EVFILT_USER, EV_ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, variant->how(self->r, self->copy));
	ASSERT_EQ(1, write(self->w, "x", 1));
	ASSERT_EQ(0, trigger(self->kq, 99));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_EQ(99, w.events[0].ident);
}

static void hold(void *arg)
{
	char byte;

	/* Until the parent has done. */
	if (read(*(int *)arg, &byte, 1) < 0)
		_exit(1);
}

TEST_F(closing, removes_the_knote_though_a_child_has_the_file_open)
{
	int fds[2];
	pid_t pid;

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, watch(self->kq, self->r, 0));
	pid = fork();
	if (!pid) {
		close(fds[1]);
		hold(&fds[0]);
		_exit(0);
	}
	ASSERT_EQ(0, variant->how(self->r, self->copy));
	ASSERT_EQ(1, write(self->w, "x", 1));
	EXPECT_EQ(0, pending(self->kq));
	close(fds[1]);
	EXPECT_EQ(0, reap(pid));
}

/*
 * What looks like closing.
 */

FIXTURE(descriptor) {
	int kq;
	int r, w;
	struct kevent ev[8];
};

FIXTURE_SETUP(descriptor)
{
	int fds[2];

	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, pipe(fds));
	self->r = fds[0];
	self->w = fds[1];
}

FIXTURE_TEARDOWN(descriptor)
{
	close(self->kq);
}

TEST_F(descriptor, dup2_onto_itself_removes_nothing)
{
	ASSERT_EQ(0, watch(self->kq, self->r, 0));
	ASSERT_EQ(self->r, dup2(self->r, self->r));
	ASSERT_EQ(1, write(self->w, "x", 1));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(descriptor, closing_a_dup_removes_nothing)
{
	int copy = dup(self->r);

	ASSERT_EQ(0, watch(self->kq, self->r, 0));
	ASSERT_EQ(0, close(copy));
	copy = fcntl(self->r, F_DUPFD, 100);
	ASSERT_EQ(0, close(copy));
	ASSERT_EQ(1, write(self->w, "x", 1));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(descriptor, close_range_that_only_marks_removes_nothing)
{
	ASSERT_EQ(0, watch(self->kq, self->r, 0));
	ASSERT_EQ(0, sys_close_range(self->r, self->r, CLOSE_RANGE_CLOEXEC));
	ASSERT_EQ(1, write(self->w, "x", 1));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(descriptor, failed_close_and_dup2_remove_nothing)
{
	ASSERT_EQ(0, watch(self->kq, self->r, 0));
	EXPECT_EQ(-1, dup2(-1, self->r));
	EXPECT_EQ(-1, dup2(999, self->r));
	EXPECT_EQ(-1, dup3(self->w, self->r, ~0));
	ASSERT_EQ(1, write(self->w, "x", 1));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(descriptor, close_range_removes_the_knotes_of_all_it_closes)
{
	int base = 500, i;

	for (i = 0; i < 50; i++) {
		ASSERT_EQ(base + i, fcntl(eventfd(1, 0), F_DUPFD, base + i));
		ASSERT_EQ(0, watch(self->kq, base + i, EV_CLEAR));
	}
	ASSERT_EQ(0, sys_close_range(base, base + 47, 0));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(base + 48, self->ev[0].ident);
	EXPECT_EQ(base + 49, self->ev[1].ident);
}

TEST_F(descriptor, reused_over_and_over_never_gives_an_event_of_the_old)
{
	int i, fds[2];

	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, pipe(fds));
		ASSERT_EQ(0, change_all(self->kq, fds[0], EVFILT_READ, EV_ADD,
					0, 0, (void *)(uintptr_t)i));
		ASSERT_EQ(0, pending(self->kq));
		ASSERT_EQ(1, write(fds[1], "x", 1));
		if (i % 3 == 0) {
			ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
			EXPECT_EQ((void *)(uintptr_t)i, self->ev[0].udata);
		}
		ASSERT_EQ(0, close(fds[0]));
		ASSERT_EQ(0, close(fds[1]));
		ASSERT_EQ(0, pending(self->kq));
	}
}

/*
 * The close itself is as without a kqueue: the other side sees it at once. The
 * reads here are not repeated; what is not there is EAGAIN, and a failure.
 */

/*
 * Thousands of knotes on one open file, by two descriptors of it: those of one
 * go, all of them, and none of the other's.
 */
#define MANY	3000

FIXTURE(many) {
	int kq, fd, copy;
	struct kevent ev[2 * MANY + 8];
};

FIXTURE_SETUP(many)
{
	int i;

	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->fd = eventfd(0, 0);
	ASSERT_LE(0, self->fd);
	self->copy = dup(self->fd);
	ASSERT_LE(0, self->copy);
	for (i = 1; i <= MANY; i++) {
		ASSERT_EQ(0, change_all(self->kq, self->fd, EVFILT_READ,
					EV_ADD | EV_UDATA_SPECIFIC, 0, 0,
					(void *)(uintptr_t)i));
		ASSERT_EQ(0, change_all(self->kq, self->copy, EVFILT_READ,
					EV_ADD | EV_UDATA_SPECIFIC, 0, 0,
					(void *)(uintptr_t)i));
	}
}

FIXTURE_TEARDOWN(many)
{
	close(self->kq);
}

/* How many of the events that are there are of a descriptor. */
static int events_of(struct kevent *ev, int n, int fd)
{
	int i, count = 0;

	for (i = 0; i < n; i++)
		count += ev[i].ident == (uintptr_t)fd;
	return count;
}

TEST_F(many, on_one_descriptor_go_with_it)
{
	int n, copy = self->copy;

	ASSERT_EQ(0, close(self->copy));
	ASSERT_EQ(0, eventfd_write(self->fd, 1));
	n = poll_events(self->kq, self->ev, 2 * MANY + 8);
	EXPECT_EQ(MANY, n);
	EXPECT_EQ(MANY, events_of(self->ev, n, self->fd));
	EXPECT_EQ(0, events_of(self->ev, n, copy));
}

TEST_F(many, go_when_their_file_is_put_over_itself)
{
	int n;

	ASSERT_EQ(self->copy, dup2(self->fd, self->copy));
	/* What is registered now is on the new one. */
	ASSERT_EQ(0, change(self->kq, self->copy, EVFILT_READ, EV_ADD));
	ASSERT_EQ(0, eventfd_write(self->fd, 1));
	n = poll_events(self->kq, self->ev, 2 * MANY + 8);
	EXPECT_EQ(MANY + 1, n);
	EXPECT_EQ(MANY, events_of(self->ev, n, self->fd));
	EXPECT_EQ(1, events_of(self->ev, n, self->copy));
}

TEST_F(many, go_with_the_kqueue)
{
	ASSERT_EQ(0, close(self->kq));
	self->kq = kqueue();
	ASSERT_EQ(0, change(self->kq, self->fd, EVFILT_READ, EV_ADD));
	ASSERT_EQ(0, eventfd_write(self->fd, 1));
	EXPECT_EQ(1, pending(self->kq));
}

FIXTURE(peer) {
	int kq;
	struct kevent ev[8];
};

FIXTURE_SETUP(peer)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(peer)
{
	close(self->kq);
}

TEST_F(peer, of_a_pipe_reads_the_end_at_once)
{
	int fds[2];
	char byte;

	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	ASSERT_EQ(0, change(self->kq, fds[1], EVFILT_WRITE, EV_ADD));
	ASSERT_EQ(1, pending(self->kq));
	ASSERT_EQ(-1, read(fds[0], &byte, 1));
	ASSERT_EQ(0, close(fds[1]));
	EXPECT_EQ(0, read(fds[0], &byte, 1));
}

TEST_F(peer, of_a_pipe_is_told_that_nobody_reads_at_once)
{
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	ASSERT_EQ(0, watch(self->kq, fds[0], 0));
	ASSERT_EQ(0, close(fds[0]));
	EXPECT_EQ(-1, write(fds[1], "x", 1));
	EXPECT_EQ(EPIPE, errno);
}

TEST_F(peer, of_a_unix_socket_reads_the_end_at_once)
{
	int sv[2];
	char byte;

	ASSERT_EQ(0, unix_pair(sv));
	ASSERT_EQ(0, watch(self->kq, sv[0], EV_CLEAR));
	ASSERT_EQ(0, change(self->kq, sv[0], EVFILT_WRITE, EV_ADD));
	ASSERT_EQ(0, close(sv[0]));
	EXPECT_EQ(0, recv(sv[1], &byte, 1, MSG_DONTWAIT));
}

TEST_F(peer, of_a_tcp_socket_reads_the_end)
{
	int sv[2];
	char byte;

	ASSERT_EQ(0, tcp_pair(sv));
	ASSERT_EQ(0, watch(self->kq, sv[0], 0));
	ASSERT_EQ(0, close(sv[0]));
	EXPECT_TRUE(EVENTUALLY(recv(sv[1], &byte, 1, MSG_DONTWAIT) == 0));
}

TEST_F(peer, can_have_the_port_at_once)
{
	struct sockaddr_in addr;
	int s, other;

	s = inet_bound(SOCK_DGRAM, &addr);
	ASSERT_LE(0, s);
	ASSERT_EQ(0, watch(self->kq, s, 0));
	ASSERT_EQ(0, close(s));
	other = socket(AF_INET, SOCK_DGRAM, 0);
	EXPECT_EQ(0, bind(other, (struct sockaddr *)&addr, sizeof(addr)));
}

TEST_F(peer, in_the_same_kqueue_is_told)
{
	int fds[2];

	/* The closing of one knote's file is the event of another's. */
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, watch(self->kq, fds[0], 0));
	ASSERT_EQ(0, change(self->kq, fds[1], EVFILT_WRITE, EV_ADD));
	ASSERT_EQ(1, pending(self->kq));
	ASSERT_EQ(0, close(fds[1]));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(fds[0], self->ev[0].ident);
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
}

TEST_F(peer, is_told_when_the_kqueue_is_closed_first)
{
	int fds[2];
	char byte;

	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	ASSERT_EQ(0, change(self->kq, fds[1], EVFILT_WRITE, EV_ADD));
	ASSERT_EQ(0, close(self->kq));
	ASSERT_EQ(0, close(fds[1]));
	EXPECT_EQ(0, read(fds[0], &byte, 1));
}

/*
 * Closing a kqueue. The limit of user events shows whether its knotes are
 * gone: while they are there, no more can be added.
 */

FIXTURE(kqueue) {
	int kq, other;
	long limit;
	struct kevent ev[8];
};

FIXTURE_SETUP(kqueue)
{
	int i;

	self->limit = read_number(USER_EVENTS_MAX);
	ASSERT_LT(0, self->limit);
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->other = kqueue();
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 4));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, change(self->kq, i, EVFILT_USER, EV_ADD));
	}
	ASSERT_EQ(-ENOMEM, change(self->other, 0, EVFILT_USER, EV_ADD));
}

FIXTURE_TEARDOWN(kqueue)
{
	write_number(USER_EVENTS_MAX, self->limit);
	close(self->kq);
	close(self->other);
}

static int add_four(int kq)
{
	int i, ret = 0;

	for (i = 0; i < 4 && !ret; i++)
		ret = change(kq, i, EVFILT_USER, EV_ADD);
	return ret;
}

TEST_F(kqueue, closed_it_has_no_knotes_any_more)
{
	ASSERT_EQ(0, close(self->kq));
	EXPECT_EQ(0, add_four(self->other));
}

TEST_F(kqueue, closed_by_dup2_it_has_no_knotes_any_more)
{
	ASSERT_EQ(self->kq, dup2(STDERR_FILENO, self->kq));
	EXPECT_EQ(0, add_four(self->other));
}

TEST_F(kqueue, closed_by_close_range_it_has_no_knotes_any_more)
{
	ASSERT_EQ(0, sys_close_range(self->kq, self->kq, 0));
	EXPECT_EQ(0, add_four(self->other));
}

TEST_F(kqueue, lives_as_long_as_a_dup)
{
	int copy = dup(self->kq);

	ASSERT_LE(0, copy);
	ASSERT_EQ(0, close(self->kq));
	EXPECT_EQ(-ENOMEM, change(self->other, 0, EVFILT_USER, EV_ADD));
	ASSERT_EQ(0, trigger(copy, 3));
	ASSERT_EQ(1, poll_events(copy, self->ev, 8));
	EXPECT_EQ(3, self->ev[0].ident);
	ASSERT_EQ(0, close(copy));
	EXPECT_EQ(0, add_four(self->other));
}

TEST_F(kqueue, moved_to_another_number_it_is_the_same)
{
	ASSERT_EQ(300, dup2(self->kq, 300));
	ASSERT_EQ(0, close(self->kq));
	EXPECT_EQ(0, trigger(300, 3));
	EXPECT_EQ(1, pending(300));
	ASSERT_EQ(300, dup2(self->other, 300));
	EXPECT_EQ(0, add_four(self->other));
}

TEST_F(kqueue, closed_under_a_waiting_thread_ends_its_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, close(self->kq));
	EXPECT_EQ(-EBADF, waiter_result(&w));
	EXPECT_EQ(0, add_four(self->other));
}

TEST_F(kqueue, closed_under_several_waiting_threads_ends_every_wait)
{
	struct waiter w[3] = {};
	int i;

	for (i = 0; i < 3; i++) {
		w[i].kq = self->kq;
		ASSERT_TRUE(waiter_sleeps(&w[i]));
	}
	ASSERT_EQ(0, close(self->kq));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(-EBADF, waiter_result(&w[i]));
	}
}

TEST_F(kqueue, closed_it_does_not_hold_the_watched_file)
{
	int fds[2];
	char byte;

	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	ASSERT_EQ(0, change(self->kq, fds[1], EVFILT_WRITE, EV_ADD));
	ASSERT_EQ(0, close(self->kq));
	ASSERT_EQ(0, close(fds[1]));
	EXPECT_EQ(0, read(fds[0], &byte, 1));
}

TEST_F(kqueue, closed_first_the_descriptors_it_watched_are_open)
{
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, watch(self->kq, fds[0], 0));
	ASSERT_EQ(0, close(self->kq));
	EXPECT_EQ(1, write(fds[1], "x", 1));
	ASSERT_EQ(0, watch(self->other, fds[0], 0));
	EXPECT_EQ(1, pending(self->other));
}

TEST_HARNESS_MAIN
