// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to a knote while its event is being stored. A thread is held in
 * the middle of that: its event list is on a page that is not there until we say
 * so (userfaultfd).
 */
#include "kqtest.h"

#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/eventfd.h>

FIXTURE(flux) {
	int kq, fd, uffd;
	struct kevent *page;
	size_t size;
	pthread_t thread;
	int result;
	struct kevent ev[8];
};

FIXTURE_SETUP(flux)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->fd = eventfd(1, 0);
	ASSERT_LE(0, self->fd);
	self->uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	ASSERT_LE(0, self->uffd);
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_API, &api));
	self->size = sysconf(_SC_PAGESIZE);
	self->page = mmap(NULL, self->size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);
	reg.range.start = (uintptr_t)self->page;
	reg.range.len = self->size;
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_REGISTER, &reg));
}

FIXTURE_TEARDOWN(flux)
{
	close(self->kq);
}

static void *deliver(void *arg)
{
	FIXTURE_DATA(flux) *self = arg;

	self->result = poll_events(self->kq, self->page, 8);
	return NULL;
}

/* Whether a thread has an event in hand now. */
static bool begins(FIXTURE_DATA(flux) *self)
{
	struct pollfd pfd = { .fd = self->uffd, .events = POLLIN };

	return !pthread_create(&self->thread, NULL, deliver, self) &&
	       poll(&pfd, 1, PATIENCE * 1000) == 1 && pfd.revents == POLLIN;
}

/* Lets it go on, and gives what it returns. */
static int ends(FIXTURE_DATA(flux) *self)
{
	struct uffdio_zeropage zero = {
		.range.start = (uintptr_t)self->page,
		.range.len = self->size,
	};

	if (ioctl(self->uffd, UFFDIO_ZEROPAGE, &zero))
		return -errno;
	pthread_join(self->thread, NULL);
	return self->result;
}

static int watch(int kq, int fd, int flags)
{
	return change(kq, fd, EVFILT_READ, EV_ADD | flags);
}

TEST_F(flux, is_delivered_once_let)
{
	ASSERT_EQ(0, watch(self->kq, self->fd, 0));
	ASSERT_TRUE(begins(self));
	ASSERT_EQ(1, ends(self));
	EXPECT_EQ((uintptr_t)self->fd, self->page->ident);
}

TEST_F(flux, deleted_it_is_not_delivered)
{
	ASSERT_EQ(0, watch(self->kq, self->fd, 0));
	ASSERT_TRUE(begins(self));
	ASSERT_EQ(0, change(self->kq, self->fd, EVFILT_READ, EV_DELETE));
	EXPECT_EQ(0, ends(self));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(flux, closed_it_is_not_delivered)
{
	ASSERT_EQ(0, watch(self->kq, self->fd, 0));
	ASSERT_TRUE(begins(self));
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(0, ends(self));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(flux, what_is_behind_a_deleted_one_moves_up)
{
	int other = eventfd(1, 0);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, watch(self->kq, self->fd, 0));
	ASSERT_EQ(0, watch(self->kq, other, EV_CLEAR));
	ASSERT_TRUE(begins(self));
	ASSERT_EQ(0, change(self->kq, self->fd, EVFILT_READ, EV_DELETE));
	ASSERT_EQ(1, ends(self));
	EXPECT_EQ((uintptr_t)other, self->page->ident);
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(flux, disabled_it_is_delivered_when_enabled)
{
	ASSERT_EQ(0, watch(self->kq, self->fd, EV_CLEAR));
	ASSERT_TRUE(begins(self));
	ASSERT_EQ(0, change(self->kq, self->fd, EVFILT_READ, EV_DISABLE));
	EXPECT_EQ(0, ends(self));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, change(self->kq, self->fd, EVFILT_READ, EV_ENABLE));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(flux, user_event_disabled_is_delivered_when_enabled)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR,
				NOTE_TRIGGER | 5, 7, NULL));
	ASSERT_TRUE(begins(self));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_DISABLE));
	EXPECT_EQ(0, ends(self));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ENABLE));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(5, self->ev[0].fflags);
	EXPECT_EQ(7, self->ev[0].data);
}

TEST_F(flux, user_event_changed_to_stay_is_not_forgotten)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR,
				NOTE_TRIGGER, 0, NULL));
	ASSERT_TRUE(begins(self));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD | EV_DISABLE));
	EXPECT_EQ(0, ends(self));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ENABLE));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(flux, triggered_again_it_is_delivered_again)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR,
				NOTE_TRIGGER, 0, NULL));
	ASSERT_TRUE(begins(self));
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, ends(self));
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(flux, oneshot_added_anew_stays)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD | EV_ONESHOT,
				NOTE_TRIGGER, 0, NULL));
	ASSERT_TRUE(begins(self));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR));
	EXPECT_EQ(1, ends(self));
	EXPECT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_DELETE));
}

TEST_F(flux, dispatched_and_added_anew_is_enabled)
{
	ASSERT_EQ(0, watch(self->kq, self->fd, EV_DISPATCH));
	ASSERT_TRUE(begins(self));
	ASSERT_EQ(0, watch(self->kq, self->fd, EV_DISPATCH));
	EXPECT_EQ(1, ends(self));
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(flux, timer_added_anew_expires_anew)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
				NOTE_SECONDS | NOTE_ABSTIME, 1, NULL));
	ASSERT_TRUE(begins(self));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
				0, 20, NULL));
	EXPECT_EQ(1, ends(self));
	EXPECT_EQ(1, wait_events(self->kq, self->ev, 8));
}

TEST_F(flux, nobody_else_delivers_it)
{
	ASSERT_EQ(0, watch(self->kq, self->fd, EV_ONESHOT));
	ASSERT_TRUE(begins(self));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(1, ends(self));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(flux, closing_the_kqueue_does_not_wait_for_it)
{
	ASSERT_EQ(0, watch(self->kq, self->fd, 0));
	ASSERT_TRUE(begins(self));
	ASSERT_EQ(0, close(self->kq));
	EXPECT_GE(0, ends(self));
	self->kq = -1;
}

TEST_HARNESS_MAIN
