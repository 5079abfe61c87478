// SPDX-License-Identifier: GPL-2.0
/*
 * Kqueues that watch kqueues, and epolls in between.
 */
#include "kqtest.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>

#define DEPTH	5	/* a kqueue in a kqueue, so often */

FIXTURE(nest) {
	int kq[DEPTH + 2];
	struct kevent ev[8];
};

FIXTURE_SETUP(nest)
{
	int i;

	for (i = 0; i < DEPTH + 2; i++) {
		self->kq[i] = kqueue();
		ASSERT_LE(0, self->kq[i]);
	}
}

FIXTURE_TEARDOWN(nest)
{
	int i;

	for (i = 0; i < DEPTH + 2; i++)
		close(self->kq[i]);
}

/* outer watches inner. */
static int watch(int outer, int inner)
{
	return change(outer, inner, EVFILT_READ, EV_ADD);
}

static int add_user(int kq, uintptr_t ident)
{
	return change(kq, ident, EVFILT_USER, EV_ADD);
}

TEST_F(nest, data_is_the_number_of_pending_events)
{
	int i;

	ASSERT_EQ(0, watch(self->kq[0], self->kq[1]));
	EXPECT_EQ(0, pending(self->kq[0]));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, add_user(self->kq[1], i));
		ASSERT_EQ(0, trigger(self->kq[1], i));
	}
	ASSERT_EQ(1, wait_events(self->kq[0], self->ev, 8));
	EXPECT_EQ((uintptr_t)self->kq[1], self->ev[0].ident);
	EXPECT_EQ(EVFILT_READ, self->ev[0].filter);
	EXPECT_EQ(3, self->ev[0].data);
}

TEST_F(nest, what_was_pending_before_is_seen)
{
	ASSERT_EQ(0, add_user(self->kq[1], 1));
	ASSERT_EQ(0, trigger(self->kq[1], 1));
	ASSERT_EQ(0, watch(self->kq[0], self->kq[1]));
	EXPECT_EQ(1, pending(self->kq[0]));
}

TEST_F(nest, ends_when_the_inner_events_are_gone)
{
	ASSERT_EQ(0, watch(self->kq[0], self->kq[1]));
	ASSERT_EQ(0, add_user(self->kq[1], 1));
	ASSERT_EQ(0, trigger(self->kq[1], 1));
	ASSERT_EQ(1, wait_events(self->kq[0], self->ev, 8));
	ASSERT_EQ(0, change(self->kq[1], 1, EVFILT_USER, EV_DELETE));
	EXPECT_EQ(0, pending(self->kq[0]));
}

TEST_F(nest, only_for_reading)
{
	EXPECT_EQ(-EINVAL, change(self->kq[0], self->kq[1], EVFILT_WRITE, EV_ADD));
	EXPECT_EQ(-EINVAL, change(self->kq[0], self->kq[1], EVFILT_EXCEPT, EV_ADD));
	EXPECT_EQ(-EINVAL, change(self->kq[0], self->kq[1], EVFILT_EMPTY, EV_ADD));
}

TEST_F(nest, in_itself_is_refused)
{
	EXPECT_EQ(-EINVAL, watch(self->kq[0], self->kq[0]));
	EXPECT_EQ(-ENOENT, change(self->kq[0], self->kq[0], EVFILT_READ, EV_DELETE));
}

TEST_F(nest, in_a_ring_is_refused)
{
	ASSERT_EQ(0, watch(self->kq[0], self->kq[1]));
	EXPECT_EQ(-ELOOP, watch(self->kq[1], self->kq[0]));
	ASSERT_EQ(0, watch(self->kq[1], self->kq[2]));
	ASSERT_EQ(0, watch(self->kq[2], self->kq[3]));
	EXPECT_EQ(-ELOOP, watch(self->kq[3], self->kq[0]));
	EXPECT_EQ(-ELOOP, watch(self->kq[2], self->kq[1]));
	/* Both may watch a third. */
	EXPECT_EQ(0, watch(self->kq[0], self->kq[3]));
}

TEST_F(nest, what_is_refused_leaves_nothing)
{
	int i;

	for (i = 0; i < DEPTH; i++) {
		ASSERT_EQ(0, watch(self->kq[i], self->kq[i + 1]));
	}
	/* A ring, too deep, itself, and for writing. */
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(-ELOOP, watch(self->kq[1], self->kq[0]));
		ASSERT_EQ(-ELOOP, watch(self->kq[DEPTH], self->kq[DEPTH + 1]));
		ASSERT_EQ(-EINVAL, watch(self->kq[1], self->kq[1]));
		ASSERT_EQ(-EINVAL, change(self->kq[1], self->kq[2], EVFILT_WRITE, EV_ADD));
	}
	EXPECT_EQ(-ENOENT, change(self->kq[1], self->kq[0], EVFILT_READ, EV_DELETE));
	EXPECT_EQ(-ENOENT, change(self->kq[DEPTH], self->kq[DEPTH + 1], EVFILT_READ,
				  EV_DELETE));
	EXPECT_EQ(-ENOENT, change(self->kq[1], self->kq[2], EVFILT_WRITE, EV_DELETE));
	/* What is there goes on, */
	ASSERT_EQ(0, add_user(self->kq[DEPTH], 1));
	ASSERT_EQ(0, trigger(self->kq[DEPTH], 1));
	EXPECT_EQ(1, wait_events(self->kq[0], self->ev, 8));
	/* and what stood in the way does not any more. */
	ASSERT_EQ(0, change(self->kq[0], self->kq[1], EVFILT_READ, EV_DELETE));
	EXPECT_EQ(0, watch(self->kq[DEPTH], self->kq[DEPTH + 1]));
	EXPECT_EQ(-ELOOP, watch(self->kq[0], self->kq[1]));
	ASSERT_EQ(0, change(self->kq[DEPTH], self->kq[DEPTH + 1], EVFILT_READ, EV_DELETE));
	EXPECT_EQ(0, watch(self->kq[0], self->kq[1]));
}

TEST_F(nest, a_ring_that_was_opened_can_be_closed_elsewhere)
{
	ASSERT_EQ(0, watch(self->kq[0], self->kq[1]));
	ASSERT_EQ(0, change(self->kq[0], self->kq[1], EVFILT_READ, EV_DELETE));
	EXPECT_EQ(0, watch(self->kq[1], self->kq[0]));
}

TEST_F(nest, by_closing_a_ring_is_opened_too)
{
	ASSERT_EQ(0, watch(self->kq[0], self->kq[1]));
	ASSERT_EQ(0, watch(self->kq[1], self->kq[2]));
	ASSERT_EQ(0, close(self->kq[1]));
	EXPECT_EQ(0, watch(self->kq[2], self->kq[0]));
	self->kq[1] = kqueue();
}

TEST_F(nest, as_deep_as_allowed)
{
	int i;

	for (i = 0; i < DEPTH; i++) {
		ASSERT_EQ(0, watch(self->kq[i], self->kq[i + 1]));
	}
	ASSERT_EQ(0, add_user(self->kq[DEPTH], 1));
	ASSERT_EQ(0, trigger(self->kq[DEPTH], 1));
	EXPECT_EQ(1, wait_events(self->kq[0], self->ev, 8));
}

TEST_F(nest, deeper_is_refused_at_the_bottom)
{
	int i;

	for (i = 0; i < DEPTH; i++) {
		ASSERT_EQ(0, watch(self->kq[i], self->kq[i + 1]));
	}
	EXPECT_EQ(-ELOOP, watch(self->kq[DEPTH], self->kq[DEPTH + 1]));
}

TEST_F(nest, deeper_is_refused_at_the_top)
{
	int i;

	for (i = 0; i < DEPTH; i++) {
		ASSERT_EQ(0, watch(self->kq[i], self->kq[i + 1]));
	}
	EXPECT_EQ(-ELOOP, watch(self->kq[DEPTH + 1], self->kq[0]));
}

TEST_F(nest, deeper_is_refused_in_the_middle)
{
	int i;

	for (i = 0; i < DEPTH + 1; i++) {
		if (i != 2) {
			ASSERT_EQ(0, watch(self->kq[i], self->kq[i + 1]));
		}
	}
	EXPECT_EQ(-ELOOP, watch(self->kq[2], self->kq[3]));
}

TEST_F(nest, wakes_who_sleeps_at_the_top)
{
	struct waiter w = { .kq = self->kq[0] };
	int i;

	for (i = 0; i < DEPTH; i++) {
		ASSERT_EQ(0, watch(self->kq[i], self->kq[i + 1]));
	}
	ASSERT_EQ(0, add_user(self->kq[DEPTH], 1));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, trigger(self->kq[DEPTH], 1));
	EXPECT_EQ(1, waiter_result(&w));
}

TEST_F(nest, in_an_epoll_in_a_kqueue)
{
	struct epoll_event ee = { .events = EPOLLIN };
	int ep = epoll_create1(0);

	ASSERT_LE(0, ep);
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->kq[1], &ee));
	ASSERT_EQ(0, watch(self->kq[0], ep));
	EXPECT_EQ(0, pending(self->kq[0]));
	ASSERT_EQ(0, add_user(self->kq[1], 1));
	ASSERT_EQ(0, trigger(self->kq[1], 1));
	EXPECT_EQ(1, wait_events(self->kq[0], self->ev, 8));
	close(ep);
}

/*
 * epoll does not see through a kqueue, nor a kqueue through epoll: a ring of both
 * can be made. It must not hang, and an event must go round it at most once.
 */
TEST_F(nest, in_a_ring_with_an_epoll_goes_round_once)
{
	struct epoll_event ee = { .events = EPOLLIN };
	int ep = epoll_create1(0), ed = eventfd(0, 0);
	int i;

	ASSERT_LE(0, ep);
	ASSERT_LE(0, ed);
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->kq[0], &ee));
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, ed, &ee));
	ASSERT_EQ(0, watch(self->kq[0], ep));
	for (i = 0; i < 100; i++) {
		eventfd_t value;

		ASSERT_EQ(0, eventfd_write(ed, 1));
		ASSERT_EQ(1, wait_events(self->kq[0], self->ev, 8));
		ASSERT_LE(1, epoll_wait(ep, (struct epoll_event[4]){}, 4, 0));
		ASSERT_EQ(0, eventfd_read(ed, &value));
	}
	close(ep);
	close(ed);
}

static atomic_bool stop;

static void *exchange(void *arg)
{
	int *kq = arg;
	int i = 0;

	/* Each of two threads tries to make the ring the other one would. */
	while (!stop) {
		int ret = watch(kq[0], kq[1]);

		if (ret && ret != -ELOOP)
			return "an error that is not ELOOP";
		if (!ret && change(kq[0], kq[1], EVFILT_READ, EV_DELETE))
			return "not there to be deleted";
		trigger(kq[i++ & 1], 1);
	}
	return NULL;
}

TEST_F(nest, both_ways_by_two_threads_does_not_hang)
{
	int there[2] = { self->kq[0], self->kq[1] };
	int back[2] = { self->kq[1], self->kq[0] };
	pthread_t thread[2];
	void *ret;
	int i;

	ASSERT_EQ(0, add_user(self->kq[0], 1));
	ASSERT_EQ(0, add_user(self->kq[1], 1));
	ASSERT_EQ(0, pthread_create(&thread[0], NULL, exchange, there));
	ASSERT_EQ(0, pthread_create(&thread[1], NULL, exchange, back));
	for (i = 0; i < 2000; i++) {
		pending(self->kq[0]);
		pending(self->kq[1]);
	}
	stop = true;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], &ret));
		EXPECT_EQ(NULL, ret);
	}
}

#define INNER	99	/* in chains of three */

struct sender {
	atomic_int asked, sent;
};

static void *send_signals(void *arg)
{
	struct sender *s = arg;
	int round = 0, asked;

	for (;;) {
		while ((asked = s->asked) == round)
			sched_yield();
		if (asked < 0)
			return NULL;
		kill(getpid(), SIGUSR1);
		s->sent = ++round;
	}
}

/*
 * Whoever sends it on the other CPU, what can be known to have happened is told: to who
 * waits, and to who polls.
 */
TEST_F_TIMEOUT(nest, a_signal_that_was_taken_has_been_told_at_the_top, 300)
{
	struct timespec nothing = { 0 };
	struct kevent ev[INNER + 1];
	int inner[INNER], i, n, round;
	struct sender s = { 0 };
	struct pollfd pfd = { .fd = self->kq[0], .events = POLLIN };
	pthread_t thread;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (i = 0; i < INNER; i++) {
		inner[i] = kqueue();
		ASSERT_LE(0, inner[i]);
		ASSERT_EQ(0, watch(i % 3 ? inner[i - 1] : self->kq[0], inner[i]));
		ASSERT_EQ(0, change(inner[i], SIGUSR1, EVFILT_SIGNAL, EV_ADD));
	}
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_signals, &s));
	for (round = 1; round <= 200; round++) {
		double end = now() + PATIENCE;

		s.asked = round;
		while (sigtimedwait(&set, NULL, &nothing) != SIGUSR1)
			ASSERT_GT(end, now());
		if (round % 2) {
			ASSERT_EQ(1, poll(&pfd, 1, 0)) TH_LOG("round %d", round);
		}
		n = kev(self->kq[0], NULL, 0, ev, INNER + 1, &nothing);
		ASSERT_EQ(INNER / 3, n) TH_LOG("round %d", round);
		/* All of them are empty again, and found to be, from the bottom. */
		while (s.sent != round)
			sched_yield();
		for (i = INNER - 1; i >= 0; i--) {
			ASSERT_EQ(1, pending(inner[i])) TH_LOG("round %d, %d", round, i);
		}
		ASSERT_EQ(0, pending(self->kq[0]));
	}
	s.asked = -1;
	pthread_join(thread, NULL);
	for (i = 0; i < INNER; i++)
		close(inner[i]);
}

/* What others do to the kqueues that are waited for. */
static void *add_and_delete(void *arg)
{
	int *kq = arg;

	while (kq[2] >= 0) {
		watch(kq[0], kq[1]);
		trigger(kq[1], 1);
		change(kq[0], kq[1], EVFILT_READ, EV_DELETE);
	}
	return NULL;
}

TEST_F_TIMEOUT(nest, who_waits_at_the_top_against_who_adds_and_deletes, 300)
{
	static int kq[2][3];
	pthread_t thread[2];
	int i;

	ASSERT_EQ(0, watch(self->kq[0], self->kq[1]));
	ASSERT_EQ(0, add_user(self->kq[1], 1));
	ASSERT_EQ(0, trigger(self->kq[1], 1));
	for (i = 0; i < 2; i++) {
		kq[i][0] = self->kq[i];
		kq[i][1] = self->kq[2 + i];
		kq[i][2] = 0;
		ASSERT_EQ(0, change(kq[i][1], 1, EVFILT_USER, EV_ADD | EV_CLEAR));
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, add_and_delete, kq[i]));
	}
	for (i = 0; i < 5000; i++)
		ASSERT_LE(1, pending(self->kq[0]));
	for (i = 0; i < 2; i++) {
		kq[i][2] = -1;
		pthread_join(thread[i], NULL);
	}
}

/* With EV_UDATA_SPECIFIC there may be many of one pair, but not any number. */
TEST_F_TIMEOUT(nest, there_is_a_limit_to_the_knotes_of_a_pair, 300)
{
	struct kevent ev;
	int i, ret = 0;

	for (i = 0; i < 10000 && !ret; i++) {
		EV_SET(&ev, self->kq[1], EVFILT_READ, EV_ADD | EV_UDATA_SPECIFIC, 0, 0,
		       (void *)(uintptr_t)(i + 1));
		ret = kev(self->kq[0], &ev, 1, NULL, 0, NULL);
	}
	EXPECT_EQ(-ENOMEM, ret);
	EXPECT_EQ(4096 + 1, i);
	/* One less, and there is room. */
	ev.udata = (void *)1;
	ev.flags = EV_DELETE | EV_UDATA_SPECIFIC;
	EXPECT_EQ(0, kev(self->kq[0], &ev, 1, NULL, 0, NULL));
	EXPECT_EQ(0, watch(self->kq[2], self->kq[1]));
}

#define DUPS	100	/* in each of so many epolls: */
#define EPOLLS	10

struct writer {
	int cpu, fd;
	atomic_bool stop;
	atomic_long rounds;
};

static bool run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

static void *write_on(void *arg)
{
	struct writer *w = arg;

	if (!run_on(w->cpu))
		return "cannot be put on a CPU";
	while (!w->stop) {
		if (eventfd_write(w->fd, 1))
			return "cannot write";
		w->rounds++;
	}
	return NULL;
}

/*
 * To tell a thousand who poll takes longer than it takes to make the next event. Whoever
 * made the first is not kept telling of those that others make.
 */
TEST_F_TIMEOUT(nest, who_makes_an_event_does_not_tell_of_all_that_follow, 300)
{
	struct epoll_event ee = { .events = EPOLLIN };
	struct writer w = { .cpu = 1 };
	int dups[DUPS], ep[EPOLLS], i, n;
	pthread_t thread;
	void *ret;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one CPU does not overtake itself");
	w.fd = eventfd(0, EFD_NONBLOCK);
	ASSERT_LE(0, w.fd);
	ASSERT_EQ(0, change(self->kq[0], w.fd, EVFILT_READ, EV_ADD | EV_CLEAR));
	for (i = 0; i < DUPS; i++) {
		dups[i] = dup(self->kq[0]);
		ASSERT_LE(0, dups[i]);
	}
	for (n = 0; n < EPOLLS; n++) {
		ep[n] = epoll_create1(0);
		ASSERT_LE(0, ep[n]);
		for (i = 0; i < DUPS; i++) {
			ASSERT_EQ(0, epoll_ctl(ep[n], EPOLL_CTL_ADD, dups[i], &ee));
		}
	}
	ASSERT_TRUE(run_on(0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_on, &w));
	for (n = 0; n < 20; n++) {
		double end = now() + PATIENCE;
		long rounds = w.rounds;

		/* As long as it takes the other one to get some way too. */
		for (i = 0; i < 1000 || (w.rounds - rounds < 200 && now() < end); i++) {
			ASSERT_EQ(0, eventfd_write(w.fd, 1));
			ASSERT_LE(0, poll_events(self->kq[0], self->ev, 1));
		}
		ASSERT_LE(200, w.rounds - rounds) TH_LOG("in %d rounds here", i);
	}
	w.stop = true;
	ASSERT_EQ(0, pthread_join(thread, &ret));
	EXPECT_EQ(NULL, ret);
	for (n = 0; n < EPOLLS; n++)
		close(ep[n]);
	for (i = 0; i < DUPS; i++)
		close(dups[i]);
	close(w.fd);
}

TEST_HARNESS_MAIN
