// SPDX-License-Identifier: GPL-2.0
/*
 * EVFILT_SIGNAL: every attempt to send the process a signal is counted, and what
 * the program sees of its signals is the same with and without it.
 */
#include "kqtest.h"

#include <sys/time.h>

#define SIG	SIGUSR1

FIXTURE(signals) {
	int kq;
	struct kevent ev[8];
};

FIXTURE_SETUP(signals)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(signals)
{
	close(self->kq);
}

static int watch(int kq, int sig)
{
	return change(kq, sig, EVFILT_SIGNAL, EV_ADD);
}

static atomic_int handled;

static void count(int sig)
{
	(void)sig;
	handled++;
}

static void *dispose(int sig, void (*handler)(int), int flags)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = flags }, old;

	if (sigaction(sig, &act, &old))
		return SIG_ERR;
	return old.sa_handler;
}

static void block(int how, int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	pthread_sigmask(how, &set, NULL);
}

static bool is_pending(int sig)
{
	sigset_t set;

	return !sigpending(&set) && sigismember(&set, sig);
}

TEST_F(signals, one_that_is_ignored_is_counted)
{
	dispose(SIG, SIG_IGN, 0);
	ASSERT_EQ(0, change_all(self->kq, SIG, EVFILT_SIGNAL, EV_ADD, 0, 0,
				(void *)0x51));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, kill(getpid(), SIG));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(SIG, self->ev[0].ident);
	EXPECT_EQ(EVFILT_SIGNAL, self->ev[0].filter);
	EXPECT_EQ(1, self->ev[0].data);
	EXPECT_EQ((void *)0x51, self->ev[0].udata);
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(signals, one_that_is_ignored_by_default_is_counted)
{
	ASSERT_EQ(0, watch(self->kq, SIGURG));
	ASSERT_EQ(0, kill(getpid(), SIGURG));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
}

TEST_F(signals, one_that_is_blocked_is_counted_and_stays_pending)
{
	dispose(SIG, count, 0);
	block(SIG_BLOCK, SIG);
	ASSERT_EQ(0, watch(self->kq, SIG));
	ASSERT_EQ(0, kill(getpid(), SIG));
	ASSERT_EQ(0, kill(getpid(), SIG));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(2, self->ev[0].data) TH_LOG("the second is merged, and counts");
	EXPECT_TRUE(is_pending(SIG));
	EXPECT_EQ(0, handled);
	block(SIG_UNBLOCK, SIG);
	EXPECT_EQ(1, handled);
}

TEST_F(signals, one_that_is_handled_is_counted_and_handled)
{
	dispose(SIG, count, 0);
	ASSERT_EQ(0, watch(self->kq, SIG));
	ASSERT_EQ(0, kill(getpid(), SIG));
	EXPECT_EQ(1, handled);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
}

static void *pause_main(void *arg)
{
	*(atomic_int *)arg = gettid();
	for (;;)
		pause();
	return NULL;
}

TEST_F(signals, one_to_a_thread_is_counted)
{
	atomic_int tid = 0;
	pthread_t thread;

	dispose(SIG, count, 0);
	ASSERT_EQ(0, watch(self->kq, SIG));
	ASSERT_EQ(0, pthread_create(&thread, NULL, pause_main, &tid));
	ASSERT_TRUE(EVENTUALLY(tid));
	ASSERT_EQ(0, syscall(SYS_tgkill, getpid(), tid, SIG));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
}

TEST_F(signals, another_one_is_not_counted)
{
	dispose(SIG, SIG_IGN, 0);
	dispose(SIGUSR2, SIG_IGN, 0);
	ASSERT_EQ(0, watch(self->kq, SIG));
	ASSERT_EQ(0, kill(getpid(), SIGUSR2));
	EXPECT_EQ(0, pending(self->kq));
}

static void ignore_and_signal_oneself(void *arg)
{
	(void)arg;
	dispose(SIG, SIG_IGN, 0);
	CHILD_CHECK(!kill(getpid(), SIG));
}

TEST_F(signals, one_to_another_process_is_not_counted)
{
	ASSERT_EQ(0, watch(self->kq, SIG));
	ASSERT_EQ(0, in_child(ignore_and_signal_oneself, NULL));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(signals, signal_0_is_none)
{
	ASSERT_EQ(-EINVAL, watch(self->kq, 0));
	ASSERT_EQ(0, kill(getpid(), 0));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(signals, data_counts_since_the_last_read)
{
	int i;

	dispose(SIG, SIG_IGN, 0);
	ASSERT_EQ(0, watch(self->kq, SIG));
	for (i = 0; i < 5; i++)
		kill(getpid(), SIG);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(5, self->ev[0].data);
	EXPECT_EQ(EV_CLEAR, self->ev[0].flags);
	kill(getpid(), SIG);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
}

TEST_F(signals, each_kqueue_counts_for_itself)
{
	int other = kqueue();

	dispose(SIG, SIG_IGN, 0);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, watch(self->kq, SIG));
	kill(getpid(), SIG);
	ASSERT_EQ(0, watch(other, SIG));
	kill(getpid(), SIG);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(2, self->ev[0].data);
	ASSERT_EQ(1, poll_events(other, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
	close(other);
	kill(getpid(), SIG);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
}

TEST_F(signals, adding_it_again_loses_nothing)
{
	dispose(SIG, SIG_IGN, 0);
	ASSERT_EQ(0, watch(self->kq, SIG));
	kill(getpid(), SIG);
	ASSERT_EQ(0, watch(self->kq, SIG));
	kill(getpid(), SIG);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(2, self->ev[0].data);
}

TEST_F(signals, counts_while_it_is_disabled)
{
	dispose(SIG, SIG_IGN, 0);
	ASSERT_EQ(0, change(self->kq, SIG, EVFILT_SIGNAL, EV_ADD | EV_DISABLE));
	kill(getpid(), SIG);
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, change(self->kq, SIG, EVFILT_SIGNAL, EV_ENABLE));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
}

TEST_F(signals, is_no_more_once_deleted)
{
	dispose(SIG, SIG_IGN, 0);
	ASSERT_EQ(0, watch(self->kq, SIG));
	kill(getpid(), SIG);
	ASSERT_EQ(0, change(self->kq, SIG, EVFILT_SIGNAL, EV_DELETE));
	kill(getpid(), SIG);
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(-ENOENT, change(self->kq, SIG, EVFILT_SIGNAL, EV_DELETE));
	ASSERT_EQ(0, watch(self->kq, SIG));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(signals, are_1_to_64)
{
	static const uintptr_t bad[] = { 0, 65, 66, 1024, (uintptr_t)-1, INT_MAX };
	size_t i;
	int sig;

	dispose(SIG, SIG_IGN, 0);
	for (sig = 1; sig <= 64; sig++)
		ASSERT_EQ(0, watch(self->kq, sig));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, change(self->kq, bad[i], EVFILT_SIGNAL, EV_ADD));
		EXPECT_EQ(-ENOENT, change(self->kq, bad[i], EVFILT_SIGNAL, EV_DELETE));
	}
	kill(getpid(), SIG);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(SIG, self->ev[0].ident);
}

static void exit_at_once(void *arg)
{
	(void)arg;
}

TEST_F(signals, sigchld_is_counted_by_default)
{
	dispose(SIGCHLD, SIG_DFL, 0);
	ASSERT_EQ(0, watch(self->kq, SIGCHLD));
	ASSERT_EQ(0, in_child(exit_at_once, NULL));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
}

TEST_F(signals, sigchld_that_is_ignored_is_not_counted)
{
	dispose(SIGCHLD, SIG_IGN, 0);
	ASSERT_EQ(0, watch(self->kq, SIGCHLD));
	EXPECT_EQ(-ECHILD, in_child(exit_at_once, NULL));
	kill(getpid(), SIGCHLD);
	EXPECT_EQ(0, pending(self->kq));
	/* Another one is. */
	dispose(SIG, SIG_IGN, 0);
	ASSERT_EQ(0, watch(self->kq, SIG));
	kill(getpid(), SIG);
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(signals, of_a_timer_are_counted)
{
	struct itimerspec once = { .it_value.tv_nsec = 1 };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIG };
	struct itimerval soon = { .it_value.tv_usec = 1 };
	timer_t timer;

	dispose(SIG, SIG_IGN, 0);
	dispose(SIGALRM, SIG_IGN, 0);
	ASSERT_EQ(0, watch(self->kq, SIG));
	ASSERT_EQ(0, watch(self->kq, SIGALRM));
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
	ASSERT_EQ(0, timer_settime(timer, 0, &once, NULL));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(SIG, self->ev[0].ident);
	timer_delete(timer);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &soon, NULL));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(SIGALRM, self->ev[0].ident);
}

TEST_F(signals, wake_a_thread_that_waits_for_one_that_is_ignored)
{
	struct waiter w = { .kq = self->kq };

	dispose(SIG, SIG_IGN, 0);
	ASSERT_EQ(0, watch(self->kq, SIG));
	ASSERT_TRUE(waiter_sleeps(&w));
	kill(getpid(), SIG);
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_EQ(SIG, w.events[0].ident);
	EXPECT_EQ(1, w.events[0].data);
}

TEST_F(signals, are_not_lost_to_a_bad_event_list)
{
	dispose(SIG, SIG_IGN, 0);
	ASSERT_EQ(0, watch(self->kq, SIG));
	kill(getpid(), SIG);
	kill(getpid(), SIG);
	ASSERT_EQ(-EFAULT, poll_events(self->kq, (struct kevent *)8, 8));
	kill(getpid(), SIG);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(3, self->ev[0].data);
}

/*
 * What a program sees of its signals.
 */

static int order[8], ordered;

static void note_order(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	order[ordered++] = info->si_value.sival_int;
}

TEST_F(signals, are_delivered_in_the_same_order_with_their_values)
{
	struct sigaction act = { .sa_sigaction = note_order, .sa_flags = SA_SIGINFO };
	union sigval value;
	int i;

	ASSERT_EQ(0, sigaction(SIGRTMIN, &act, NULL));
	ASSERT_EQ(0, watch(self->kq, SIGRTMIN));
	block(SIG_BLOCK, SIGRTMIN);
	for (i = 0; i < 5; i++) {
		value.sival_int = i;
		ASSERT_EQ(0, sigqueue(getpid(), SIGRTMIN, value));
	}
	block(SIG_UNBLOCK, SIGRTMIN);
	ASSERT_EQ(5, ordered);
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(i, order[i]);
	}
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(5, self->ev[0].data);
}

TEST_F(signals, mask_and_disposition_stay)
{
	sigset_t before = { 0 }, after = { 0 };
	struct sigaction act;

	dispose(SIG, count, SA_NODEFER);
	block(SIG_BLOCK, SIGUSR2);
	ASSERT_EQ(0, pthread_sigmask(SIG_SETMASK, NULL, &before));
	ASSERT_EQ(0, watch(self->kq, SIG));
	kill(getpid(), SIG);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	ASSERT_EQ(0, pthread_sigmask(SIG_SETMASK, NULL, &after));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	ASSERT_EQ(0, sigaction(SIG, NULL, &act));
	EXPECT_EQ((void *)count, (void *)act.sa_handler);
	EXPECT_TRUE(act.sa_flags & SA_NODEFER);
}

struct reader {
	int fd;
	atomic_int tid;
	ssize_t result;
	int error;
};

static void *reader_main(void *arg)
{
	struct reader *r = arg;
	char c;

	r->tid = gettid();
	r->result = read(r->fd, &c, 1);
	r->error = errno;
	return NULL;
}

TEST_F(signals, restart_a_call_or_interrupt_it_as_ever)
{
	static const int flags[] = { 0, SA_RESTART };
	struct reader r = { 0 };
	pthread_t thread;
	int i, fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, watch(self->kq, SIG));
	for (i = 0; i < 2; i++) {
		handled = 0;
		dispose(SIG, count, flags[i]);
		r = (struct reader){ .fd = fds[0] };
		ASSERT_EQ(0, pthread_create(&thread, NULL, reader_main, &r));
		ASSERT_TRUE(EVENTUALLY(r.tid && asleep_in(r.tid, SYS_read)));
		ASSERT_EQ(0, syscall(SYS_tgkill, getpid(), r.tid, SIG));
		ASSERT_TRUE(EVENTUALLY(handled));
		if (flags[i])
			ASSERT_EQ(1, write(fds[1], "x", 1));
		ASSERT_EQ(0, pthread_join(thread, NULL));
		EXPECT_EQ(flags[i] ? 1 : -1, r.result);
		if (!flags[i])
			EXPECT_EQ(EINTR, r.error);
	}
}

TEST_F(signals, that_interrupt_the_wait_are_there_afterwards)
{
	const struct timespec patience = { .tv_sec = PATIENCE };
	struct waiter w = { .kq = self->kq, .timeout = &patience };
	int n;

	dispose(SIG, count, 0);
	ASSERT_EQ(0, watch(self->kq, SIG));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, syscall(SYS_tgkill, getpid(), w.tid, SIG));
	n = waiter_result(&w);
	EXPECT_TRUE(n == 1 || n == -EINTR);
	/* Read by one of the two, and once. */
	EXPECT_EQ(n == 1 ? 0 : 1, pending(self->kq));
	EXPECT_EQ(1, handled);
}

#define SENT	10000

struct sender {
	pid_t pid;
	int sig;
	int count;
	atomic_bool stop;
};

static void *sender_main(void *arg)
{
	struct sender *s = arg;
	int i;

	for (i = 0; i < s->count && !s->stop; i++)
		kill(s->pid, s->sig);
	return NULL;
}

FIXTURE(many) {
	int kq;
};

FIXTURE_VARIANT(many) {
	void (*handler)(int);
	bool blocked;
};

FIXTURE_VARIANT_ADD(many, ignored) {
	.handler = SIG_IGN,
};

FIXTURE_VARIANT_ADD(many, handled) {
	.handler = count,
};

FIXTURE_VARIANT_ADD(many, blocked) {
	.handler = count, .blocked = true,
};

FIXTURE_SETUP(many)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(many)
{
	close(self->kq);
}

TEST_F(many, all_are_counted_while_another_thread_reads)
{
	struct sender s = { .pid = getpid(), .sig = SIG, .count = SENT };
	int64_t total = 0;
	struct kevent ev;
	pthread_t thread;
	int n;

	dispose(SIG, variant->handler, 0);
	if (variant->blocked)
		block(SIG_BLOCK, SIG);
	ASSERT_EQ(0, watch(self->kq, SIG));
	ASSERT_EQ(0, pthread_create(&thread, NULL, sender_main, &s));
	while (total < SENT) {
		n = wait_events(self->kq, &ev, 1);
		if (n == -EINTR)
			continue;
		ASSERT_EQ(1, n);
		total += ev.data;
	}
	EXPECT_EQ(SENT, total);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, pending(self->kq));
}

/* As many as 1024 knotes are on one process's signals, or on what it does. */
TEST_F(signals, beyond_1024_on_one_process_are_refused)
{
	long i;

	dispose(SIG, SIG_IGN, 0);
	for (i = 0; i < 1024; i++) {
		ASSERT_EQ(0, change_all(self->kq, SIG, EVFILT_SIGNAL,
					EV_ADD | EV_UDATA_SPECIFIC, 0, 0, (void *)i));
	}
	EXPECT_EQ(-ENOMEM, watch(self->kq, SIG));
	kill(getpid(), SIG);
	for (i = 0; i < 1024 / 8; i++) {
		ASSERT_EQ(8, poll_events(self->kq, self->ev, 8));
	}
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, change_all(self->kq, SIG, EVFILT_SIGNAL,
				EV_DELETE | EV_UDATA_SPECIFIC, 0, 0, (void *)7));
	EXPECT_EQ(0, watch(self->kq, SIG));
}

static int share_files(void *arg)
{
	dispose(SIG, SIG_IGN, 0);
	if (watch(*(int *)arg, SIG))
		return 1;
	kill(getpid(), SIG);
	return 0;
}

TEST_F(signals, are_this_processs_where_another_that_shared_its_files_is_gone)
{
	static char stack[65536];
	pid_t pid;

	pid = clone(share_files, stack + sizeof(stack), CLONE_FILES | SIGCHLD,
		    &self->kq);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, reap(pid));
	dispose(SIG, SIG_IGN, 0);
	ASSERT_EQ(0, watch(self->kq, SIG));
	/* That of the other one is not lost. */
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
	kill(getpid(), SIG);
	kill(getpid(), SIG);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(2, self->ev[0].data);
}

/* A race: the knote comes and goes while signals come. */
TEST_F(signals, come_while_the_watch_is_added_and_deleted)
{
	struct sender s = { .pid = getpid(), .sig = SIG, .count = INT_MAX };
	pthread_t thread;
	int i;

	dispose(SIG, SIG_IGN, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, sender_main, &s));
	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(0, watch(self->kq, SIG));
		poll_events(self->kq, self->ev, 8);
		ASSERT_EQ(0, change(self->kq, SIG, EVFILT_SIGNAL, EV_DELETE));
		ASSERT_EQ(0, pending(self->kq));
	}
	s.stop = true;
	pthread_join(thread, NULL);
	ASSERT_EQ(0, watch(self->kq, SIG));
	kill(getpid(), SIG);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
}

TEST_HARNESS_MAIN
