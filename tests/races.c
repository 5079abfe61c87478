// SPDX-License-Identifier: GPL-2.0
/*
 * Things that happen at once, over and over. RACE_ROUNDS in the environment
 * says how often; on a slow machine a test ends before that, after RACE_SECONDS.
 */
#include "kqtest.h"
#include "net.h"

#include <sys/eventfd.h>

#define ROUNDS	3000
#define ENOUGH	8	/* seconds a test is repeated at most */
#define FEW	20	/* rounds it is repeated at least */

static int number(const char *name, int otherwise)
{
	return getenv(name) ? atoi(getenv(name)) : otherwise;
}

static int rounds(void)
{
	static int n;

	if (!n)
		n = number("RACE_ROUNDS", ROUNDS);
	return n;
}

/* Whether there is to be round i; each as one of a number it costs as much as. */
static bool another(int i, int cost)
{
	static double end;

	if (!i)
		end = now() + number("RACE_SECONDS", ENOUGH);
	if (i < FEW)
		return true;
	return i < rounds() / cost && now() < end;
}

/* Nothing but a little time, to let the two meet at another point. */
static void dally(int n)
{
	for (volatile int i = n; i > 0; i--)
		;
}

/* Like EVENTUALLY, for what comes at once if all goes well. */
#define SOON(condition) ({					\
	int __n = 0;						\
								\
	while (!(condition) && __n++ < 2000)			\
		sched_yield();					\
	EVENTUALLY(condition);					\
})

/*
 * A second thread, which does one thing each round, as near as can be to when
 * the first one does its own.
 */
struct second {
	int kq;
	int fd;
	int (*what)(struct second *s);

	int result;
	atomic_int asked, done;	/* rounds */
	atomic_bool ready;	/* the first has done its own of this round */
	int lead;		/* what the first waits to meet the second */
	int firsts, seconds;	/* who was clearly first, how often */
	pthread_t thread;
};

static void *second_main(void *arg)
{
	struct second *s = arg;
	int round = 0, i;

	for (;;) {
		/* Not by a system call at first: it is the time to wake up. */
		for (i = 0; s->asked == round; i++)
			if (i > 20000)
				sched_yield();
		round = s->asked;
		if (round < 0)
			return NULL;
		if (s->ready) {
			s->lead += 16;
			s->firsts++;
		}
		s->result = s->what(s);
		s->done = round;
	}
}

static int second_start(struct second *s)
{
	return pthread_create(&s->thread, NULL, second_main, s);
}

/*
 * The first waits for as long as it takes the second to begin, as far as that
 * can be learned: more where it was done too early, less where it came too
 * late; and a little more or less every time, to meet it everywhere.
 */
static void second_go(struct second *s, int round)
{
	s->ready = false;
	s->asked = round + 1;
	dally(s->lead + round * 7 % 61);
}

/* To be called when the first is done. */
static int second_done(struct second *s)
{
	if (s->done == s->asked) {
		s->lead -= s->lead > 16 ? 16 : s->lead;
		s->seconds++;
	}
	s->ready = true;
	if (!SOON(s->done == s->asked))
		return -ETIME;
	return s->result;
}

static void second_log(struct second *s, int rounds, const char *test)
{
	fprintf(stderr, "# %s: %d rounds, one before the other in %d and %d\n",
		test, rounds, s->firsts, s->seconds);
}

static void second_end(struct second *s)
{
	s->asked = -1;
	pthread_join(s->thread, NULL);
}

FIXTURE(race) {
	int kq;
	struct kevent ev[64];
	struct second second;
};

FIXTURE_SETUP(race)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->second.kq = self->kq;
}

FIXTURE_TEARDOWN(race)
{
	close(self->kq);
}

static int add_reader(struct second *s)
{
	return change(s->kq, s->fd, EVFILT_READ, EV_ADD);
}

static int poll_kq(struct second *s)
{
	return pending(s->kq);
}

static int write_byte(struct second *s)
{
	return write(s->fd, "x", 1) == 1 ? 0 : -errno;
}

/*
 * Closing what is watched. Whoever comes first: afterwards there is no knote on
 * the descriptor and no event of it, and the next to have its number does not
 * find one.
 */

TEST_F(race, close_against_add)
{
	struct second *s = &self->second;
	int fds[2], i, ret;

	s->what = add_reader;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1); i++) {
		ASSERT_EQ(0, pipe(fds));
		ASSERT_EQ(1, write(fds[1], "x", 1));
		s->fd = fds[0];
		second_go(s, i);
		ASSERT_EQ(0, close(fds[0]));
		ret = second_done(s);
		ASSERT_TRUE(ret == 0 || ret == -EBADF) TH_LOG("%d", ret);
		ASSERT_EQ(0, pending(self->kq)) TH_LOG("round %d", i);
		ASSERT_EQ(fds[0], fcntl(fds[1], F_DUPFD, fds[0]));
		ASSERT_EQ(-ENOENT, change(self->kq, fds[0], EVFILT_READ,
					  EV_DELETE));
		ASSERT_EQ(0, close(fds[0]));
		ASSERT_EQ(0, close(fds[1]));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

TEST_F(race, close_against_scan)
{
	struct second *s = &self->second;
	int fds[2], copy, i, ret;

	s->what = poll_kq;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1); i++) {
		ASSERT_EQ(0, pipe(fds));
		copy = dup(fds[0]);
		ASSERT_EQ(1, write(fds[1], "x", 1));
		ASSERT_EQ(0, change(self->kq, fds[0], EVFILT_READ, EV_ADD));
		second_go(s, i);
		ASSERT_EQ(0, close(fds[0]));
		ret = second_done(s);
		ASSERT_TRUE(ret == 0 || ret == 1) TH_LOG("%d", ret);
		ASSERT_EQ(0, pending(self->kq)) TH_LOG("round %d", i);
		ASSERT_EQ(0, close(copy));
		ASSERT_EQ(0, close(fds[1]));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

/*
 * The closer has many knotes to end, while another ends some of them: those it
 * delivers for the last time.
 */
TEST_F(race, close_against_delivery_of_many_oneshot_events)
{
	const int flags = EV_ADD | EV_ONESHOT | EV_UDATA_SPECIFIC;
	struct second *s = &self->second;
	int fds[2], copy, i, n;

	s->what = poll_kq;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 10); i++) {
		ASSERT_EQ(0, pipe(fds));
		copy = dup(fds[0]);
		for (n = 1; n <= 200; n++) {
			ASSERT_EQ(0, change_all(self->kq, fds[0], EVFILT_READ,
						flags, 0, 0,
						(void *)(uintptr_t)n));
		}
		ASSERT_EQ(1, write(fds[1], "x", 1));
		second_go(s, i);
		ASSERT_EQ(0, close(fds[0]));
		ASSERT_LE(0, second_done(s));
		ASSERT_EQ(0, pending(self->kq)) TH_LOG("round %d", i);
		ASSERT_EQ(0, close(copy));
		ASSERT_EQ(0, close(fds[1]));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

TEST_F(race, dup2_against_activation)
{
	struct second *s = &self->second;
	int idle = eventfd(0, 0), fds[2], copy, i;

	s->what = write_byte;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1); i++) {
		ASSERT_EQ(0, pipe(fds));
		/* So that the pipe does not lose its reader. */
		copy = dup(fds[0]);
		ASSERT_EQ(0, change(self->kq, fds[0], EVFILT_READ,
				    EV_ADD | (i % 2 ? EV_CLEAR : 0)));
		s->fd = fds[1];
		second_go(s, i);
		ASSERT_EQ(fds[0], dup2(idle, fds[0]));
		ASSERT_EQ(0, second_done(s));
		ASSERT_EQ(0, pending(self->kq)) TH_LOG("round %d", i);
		ASSERT_EQ(-ENOENT, change(self->kq, fds[0], EVFILT_READ,
					  EV_DELETE));
		ASSERT_EQ(0, close(fds[0]));
		ASSERT_EQ(0, close(fds[1]));
		ASSERT_EQ(0, close(copy));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

TEST_F(race, close_against_activation_and_a_waiting_thread)
{
	struct second *s = &self->second;
	struct waiter w = { .kq = self->kq };
	int fds[2], copy, i;

	/* The thread sleeps through all of it, and is woken by its own event. */
	ASSERT_EQ(0, change(self->kq, 99, EVFILT_USER, EV_ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	s->what = write_byte;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1) && !w.done; i++) {
		ASSERT_EQ(0, pipe(fds));
		copy = dup(fds[0]);
		ASSERT_EQ(0, change(self->kq, fds[0], EVFILT_READ,
				    EV_ADD | EV_DISABLE));
		s->fd = fds[1];
		second_go(s, i);
		ASSERT_EQ(0, close(fds[0]));
		ASSERT_EQ(0, second_done(s));
		ASSERT_EQ(0, close(fds[1]));
		ASSERT_EQ(0, close(copy));
	}
	second_end(s);
	EXPECT_FALSE(w.done);
	ASSERT_EQ(0, trigger(self->kq, 99));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_EQ(99, w.events[0].ident);
	TH_LOG("%d rounds", i);
}

/*
 * Closing the kqueue.
 */

static int use_until_closed(struct second *s)
{
	struct kevent ev[4];
	int i, ret = 0;

	for (i = 0; ret >= 0; i++) {
		ret = change_all(s->kq, i % 8, EVFILT_USER, EV_ADD,
				 NOTE_TRIGGER, 0, NULL);
		if (ret == 0)
			ret = poll_events(s->kq, ev, 4);
		if (ret >= 0)
			ret = change(s->kq, i % 8, EVFILT_USER, EV_DELETE);
	}
	return ret;
}

TEST_F(race, closing_the_kqueue_against_its_use)
{
	struct second *s = &self->second;
	int i;

	s->what = use_until_closed;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 2); i++) {
		s->kq = kqueue();
		ASSERT_LE(0, s->kq);
		second_go(s, i);
		ASSERT_EQ(0, close(s->kq));
		ASSERT_EQ(-EBADF, second_done(s));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

static int wait_for_any(struct second *s)
{
	struct kevent ev;

	return kev(s->kq, NULL, 0, &ev, 1, NULL);
}

TEST_F(race, closing_the_kqueue_against_a_wait)
{
	struct second *s = &self->second;
	int i;

	s->what = wait_for_any;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 2); i++) {
		s->kq = kqueue();
		ASSERT_LE(0, s->kq);
		second_go(s, i);
		ASSERT_EQ(0, close(s->kq));
		ASSERT_EQ(-EBADF, second_done(s));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

TEST_F(race, closing_the_kqueue_against_activation)
{
	struct second *s = &self->second;
	int fds[2], kq, i;
	char byte;

	ASSERT_EQ(0, pipe(fds));
	s->what = write_byte;
	s->fd = fds[1];
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1); i++) {
		kq = kqueue();
		ASSERT_LE(0, kq);
		ASSERT_EQ(0, change(kq, fds[0], EVFILT_READ, EV_ADD));
		second_go(s, i);
		ASSERT_EQ(0, close(kq));
		ASSERT_EQ(0, second_done(s));
		ASSERT_EQ(1, read(fds[0], &byte, 1));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

/*
 * Changes against each other, and against events. None is lost, none twice.
 */

static int delete_user(struct second *s)
{
	return change(s->kq, 1, EVFILT_USER, EV_DELETE);
}

TEST_F(race, add_against_delete_of_a_user_event)
{
	struct second *s = &self->second;
	long limit = read_number(USER_EVENTS_MAX);
	int i, ret;

	s->what = delete_user;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1); i++) {
		second_go(s, i);
		ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD,
					NOTE_TRIGGER, 0, NULL));
		ret = second_done(s);
		ASSERT_TRUE(ret == 0 || ret == -ENOENT) TH_LOG("%d", ret);
		/* It is there, or it is not: one of the two. */
		ASSERT_EQ(ret ? 1 : 0, pending(self->kq));
		ASSERT_EQ(ret ? 0 : -ENOENT, delete_user(s));
	}
	second_end(s);
	second_log(s, i, _metadata->name);

	/* What was counted was counted right: now there is none. */
	for (i = 0; i < limit; i++) {
		ASSERT_EQ(0, change(self->kq, i, EVFILT_USER, EV_ADD));
	}
	EXPECT_EQ(-ENOMEM, change(self->kq, i, EVFILT_USER, EV_ADD));
}

static int delete_reader(struct second *s)
{
	return change(s->kq, s->fd, EVFILT_READ, EV_DELETE);
}

TEST_F(race, add_against_delete_of_a_reader)
{
	struct second *s = &self->second;
	int fds[2], i, ret;

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	s->what = delete_reader;
	s->fd = fds[0];
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1); i++) {
		second_go(s, i);
		ASSERT_EQ(0, add_reader(s));
		ret = second_done(s);
		ASSERT_TRUE(ret == 0 || ret == -ENOENT) TH_LOG("%d", ret);
		ASSERT_EQ(ret ? 1 : 0, pending(self->kq));
		ASSERT_EQ(ret ? 0 : -ENOENT, delete_reader(s));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

static int add_same(struct second *s)
{
	return change(s->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR);
}

TEST_F(race, add_against_add_makes_one)
{
	struct second *s = &self->second;
	int i;

	s->what = add_same;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1); i++) {
		second_go(s, i);
		ASSERT_EQ(0, add_same(s));
		ASSERT_EQ(0, second_done(s));
		ASSERT_EQ(0, trigger(self->kq, 1));
		ASSERT_EQ(1, pending(self->kq));
		ASSERT_EQ(0, delete_user(s));
		ASSERT_EQ(-ENOENT, delete_user(s));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

static int add_exit(struct second *s)
{
	return change_all(s->kq, s->fd, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
}

/* Whichever comes first: it is told, perhaps twice, and nothing is left. */
TEST_F(race, add_of_a_process_against_its_last_event)
{
	struct second *s = &self->second;
	siginfo_t info;
	int i, n, ret;

	s->what = add_exit;
	s->fd = fork();
	if (!s->fd)
		_exit(0);
	ASSERT_LT(0, s->fd);
	ASSERT_EQ(0, waitid(P_PID, s->fd, &info, WEXITED | WNOWAIT));
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1); i++) {
		ASSERT_EQ(0, add_exit(s));
		second_go(s, i);
		n = poll_events(self->kq, self->ev, 1);
		ret = second_done(s);
		ASSERT_TRUE(!ret || ret == -ESRCH);
		ASSERT_EQ(1, n);
		ASSERT_EQ(NOTE_EXIT, self->ev[0].fflags);
		n = poll_events(self->kq, self->ev, 1);
		ASSERT_LE(0, n);
		if (n)
			ASSERT_EQ(NOTE_EXIT, self->ev[0].fflags);
		ASSERT_EQ(-ENOENT, change(self->kq, s->fd, EVFILT_PROC, EV_DELETE))
			TH_LOG("round %d", i);
	}
	second_end(s);
	reap(s->fd);
	second_log(s, i, _metadata->name);
}

#define MANY_KQUEUES	100
#define MANY_CHILDREN	400

static pid_t fork_many(int from, int to)
{
	pid_t pid = fork();
	char c;
	int i;

	if (pid)
		return pid;
	setpgid(0, 0);
	if (read(from, &c, 1) != 1)
		_exit(1);
	for (i = 0; i < MANY_CHILDREN; i++) {
		pid = fork();
		if (!pid)
			for (;;)
				pause();
		if (pid < 0)
			_exit(1);
	}
	if (write(to, "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static atomic_int begun;

static int begin_and_poll(struct second *s)
{
	begun++;
	return pending(s->kq);
}

/*
 * A kqueue that has been given many children to track has its table grow at the next call,
 * while it is closed. What it has of knotes is given back, which their limit tells: nobody
 * else has this user's.
 */
TEST_F(race, close_against_a_table_that_catches_up)
{
	const int flags = EV_ADD | EV_DISABLE;
	long max = read_number(WATCHES_MAX);
	struct second *s = &self->second;
	int kqs[MANY_KQUEUES], go[2], come[2], i, ret;
	pid_t pid;
	char c;

	ASSERT_EQ(0, setresuid(4343, -1, -1));
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(come));
	pid = fork_many(go[0], come[1]);
	ASSERT_LT(0, pid);
	for (i = 0; i < MANY_KQUEUES; i++) {
		kqs[i] = kqueue();
		ASSERT_LE(0, kqs[i]);
		ASSERT_EQ(0, change_all(kqs[i], pid, EVFILT_PROC, flags, NOTE_TRACK | NOTE_EXIT,
					0, NULL));
	}
	ASSERT_EQ(1, write(go[1], "x", 1));
	ASSERT_EQ(1, read(come[0], &c, 1));
	s->what = begin_and_poll;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; i < MANY_KQUEUES; i++) {
		s->kq = kqs[i];
		second_go(s, i);
		/* The close takes long, and is to begin soon after the other. */
		while (begun == i)
			;
		dally(i % 50 * 500);
		ASSERT_EQ(0, close(kqs[i]));
		ret = second_done(s);
		ASSERT_TRUE(ret >= 0 || ret == -EBADF) TH_LOG("%d", ret);
	}
	second_end(s);
	ASSERT_EQ(0, kill(-pid, SIGKILL));
	ASSERT_EQ(-SIGKILL, reap(pid));
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, write_number(WATCHES_MAX, 8));
	for (i = 0; i < 8; i++) {
		EXPECT_EQ(0, change(self->kq, i, EVFILT_USER, EV_ADD));
	}
	EXPECT_EQ(-ENOMEM, change(self->kq, i, EVFILT_USER, EV_ADD));
	ASSERT_EQ(0, write_number(WATCHES_MAX, max));
	second_log(s, MANY_KQUEUES, _metadata->name);
}

static int write_and_close(struct second *s)
{
	int ret = write_byte(s);

	close(s->fd);
	return ret;
}

/* Who is told of the end is told of all that came before it. */
TEST_F(race, the_end_of_a_pipe_against_scan)
{
	struct second *s = &self->second;
	int fds[2], i, n;
	char c;

	s->what = write_and_close;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1); i++) {
		ASSERT_EQ(0, pipe(fds));
		s->fd = fds[1];
		ASSERT_EQ(0, change(self->kq, fds[0], EVFILT_READ, EV_ADD));
		/* It was ready, and is looked at once more. */
		ASSERT_EQ(0, write_byte(s));
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 1));
		ASSERT_EQ(1, read(fds[0], &c, 1));
		second_go(s, i);
		do {
			n = poll_events(self->kq, self->ev, 1);
			ASSERT_LE(0, n);
			if (n && self->ev[0].flags & EV_EOF)
				ASSERT_EQ(1, self->ev[0].data) TH_LOG("round %d", i);
		} while (!n || !(self->ev[0].flags & EV_EOF));
		ASSERT_EQ(0, second_done(s));
		close(fds[0]);
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

static int trigger_user(struct second *s)
{
	return trigger(s->kq, 1);
}

TEST_F(race, trigger_against_disable_and_enable)
{
	struct second *s = &self->second;
	int i;

	ASSERT_EQ(0, add_same(s));
	s->what = trigger_user;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1); i++) {
		second_go(s, i);
		ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_DISABLE));
		ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ENABLE));
		ASSERT_EQ(0, second_done(s));
		ASSERT_EQ(1, pending(self->kq)) TH_LOG("round %d", i);
		ASSERT_EQ(0, pending(self->kq));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

TEST_F(race, trigger_against_scan)
{
	struct second *s = &self->second;
	int i, first;

	ASSERT_EQ(0, add_same(s));
	s->what = trigger_user;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1); i++) {
		second_go(s, i);
		first = pending(self->kq);
		ASSERT_EQ(0, second_done(s));
		ASSERT_EQ(1, first + pending(self->kq)) TH_LOG("round %d", i);
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

TEST_F(race, trigger_against_a_delivery_that_fails)
{
	struct second *s = &self->second;
	void *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	int i, ret;

	ASSERT_NE(MAP_FAILED, none);
	ASSERT_EQ(0, add_same(s));
	s->what = trigger_user;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1); i++) {
		/* In every other round there is an event already. */
		if (i % 2) {
			ASSERT_EQ(0, trigger_user(s));
		}
		second_go(s, i);
		ret = poll_events(self->kq, none, 1);
		ASSERT_EQ(0, second_done(s));
		ASSERT_TRUE(ret == -EFAULT || (ret == 0 && i % 2 == 0))
			TH_LOG("%d", ret);
		ASSERT_EQ(1, pending(self->kq)) TH_LOG("round %d", i);
		ASSERT_EQ(0, pending(self->kq));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

TEST_F(race, trigger_against_delivery_of_a_oneshot_event)
{
	struct second *s = &self->second;
	int i, ret;

	s->what = trigger_user;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 1); i++) {
		ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER,
					EV_ADD | EV_ONESHOT, NOTE_TRIGGER, 0,
					NULL));
		second_go(s, i);
		ASSERT_EQ(1, pending(self->kq));
		ret = second_done(s);
		ASSERT_TRUE(ret == 0 || ret == -ENOENT) TH_LOG("%d", ret);
		ASSERT_EQ(0, pending(self->kq));
		ASSERT_EQ(-ENOENT, delete_user(s));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

#define BATCH	16

static int delete_last(struct second *s)
{
	return change(s->kq, BATCH, EVFILT_USER, EV_DELETE);
}

/* Whoever gets the event, the other one is told that there is none: one of many, so that it takes. */
TEST_F(race, delete_against_delivery_of_a_oneshot_event)
{
	struct second *s = &self->second;
	int i, k, n, ret, told;

	s->what = delete_last;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 4); i++) {
		for (k = 1; k <= BATCH; k++) {
			ASSERT_EQ(0, change_all(self->kq, k, EVFILT_USER, EV_ADD | EV_ONESHOT,
						NOTE_TRIGGER, 0, NULL));
		}
		second_go(s, i);
		n = poll_events(self->kq, self->ev, 64);
		ret = second_done(s);
		ASSERT_TRUE(ret == 0 || ret == -ENOENT) TH_LOG("%d", ret);
		ASSERT_LE(BATCH - 1, n);
		told = 0;
		for (k = 0; k < n; k++)
			told += self->ev[k].ident == BATCH;
		ASSERT_EQ(1, told + !ret) TH_LOG("round %d: told %d, deleted: %d", i, told, ret);
		ASSERT_EQ(0, pending(self->kq));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

/* Writing against reading, where a missed edge would be missed for ever. */
static int write_some(struct second *s)
{
	int i, ret = 0;

	for (i = 0; i < 10 && !ret; i++) {
		ret = write_byte(s);
		dally(i * 31 % 200);
	}
	return ret;
}

FIXTURE(edge) {
	int kq;
	int fds[2];
	struct second second;
};

FIXTURE_VARIANT(edge) {
	int (*pair)(int fds[2]);
};

FIXTURE_VARIANT_ADD(edge, pipe) {
	.pair = pipe,
};

FIXTURE_VARIANT_ADD(edge, unix) {
	.pair = unix_pair,
};

FIXTURE_VARIANT_ADD(edge, tcp) {
	.pair = tcp_pair,
};

FIXTURE_SETUP(edge)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, variant->pair(self->fds));
	ASSERT_EQ(0, set_nonblocking(self->fds[0]));
	ASSERT_EQ(0, change(self->kq, self->fds[0], EVFILT_READ,
			    EV_ADD | EV_CLEAR));
}

FIXTURE_TEARDOWN(edge)
{
	close(self->kq);
}

TEST_F(edge, is_never_missed)
{
	struct second *s = &self->second;
	struct kevent ev;
	int i, got;

	s->what = write_some;
	s->fd = self->fds[1];
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 3); i++) {
		second_go(s, i);
		for (got = 0; got < 10; got += drain(self->fds[0])) {
			ASSERT_EQ(1, wait_events(self->kq, &ev, 1))
				TH_LOG("round %d, %d read", i, got);
		}
		ASSERT_EQ(10, got);
		ASSERT_EQ(0, second_done(s));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

/*
 * Many threads wait, and every event is for one of them.
 */

#define WAITERS	8
#define EVENTS	16
#define STOP	1000

struct pool {
	int kq;
	atomic_int total;
	atomic_int count[EVENTS];
	atomic_int error;
	pthread_t thread[WAITERS];
	int room;	/* in a waiter's list */
};

static void *pool_main(void *arg)
{
	struct kevent ev[4];
	struct pool *p = arg;
	int i, n;

	for (;;) {
		n = kev(p->kq, NULL, 0, ev, p->room, NULL);
		if (n <= 0) {
			p->error = n ? n : -ENOMSG;
			return NULL;
		}
		for (i = 0; i < n; i++) {
			if (ev[i].udata == (void *)STOP)
				return NULL;
			p->count[(uintptr_t)ev[i].udata]++;
			p->total++;
		}
	}
}

FIXTURE(waiters) {
	int kq;
	struct pool pool;
	int fds[EVENTS][2];
};

FIXTURE_VARIANT(waiters) {
	int flags;
	bool pipes;
	int room;
};

FIXTURE_VARIANT_ADD(waiters, oneshot) {
	.flags = EV_ONESHOT,
	.room = 1,
};

FIXTURE_VARIANT_ADD(waiters, clear) {
	.flags = EV_CLEAR,
	.room = 1,
};

FIXTURE_VARIANT_ADD(waiters, dispatch) {
	.flags = EV_DISPATCH,
	.room = 1,
};

FIXTURE_VARIANT_ADD(waiters, oneshot_with_room_for_4) {
	.flags = EV_ONESHOT,
	.room = 4,
};

FIXTURE_VARIANT_ADD(waiters, clear_with_room_for_4) {
	.flags = EV_CLEAR,
	.room = 4,
};

FIXTURE_VARIANT_ADD(waiters, dispatch_with_room_for_4) {
	.flags = EV_DISPATCH,
	.room = 4,
};

FIXTURE_VARIANT_ADD(waiters, oneshot_pipes) {
	.flags = EV_ONESHOT,
	.pipes = true,
	.room = 1,
};

FIXTURE_VARIANT_ADD(waiters, dispatch_pipes) {
	.flags = EV_DISPATCH,
	.pipes = true,
	.room = 4,
};

FIXTURE_SETUP(waiters)
{
	int i;

	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->pool.kq = self->kq;
	self->pool.room = variant->room;
	for (i = 0; i < EVENTS && variant->pipes; i++) {
		ASSERT_EQ(0, pipe(self->fds[i]));
		ASSERT_EQ(1, write(self->fds[i][1], "x", 1));
	}
	for (i = 0; i < WAITERS; i++) {
		ASSERT_EQ(0, pthread_create(&self->pool.thread[i], NULL,
					    pool_main, &self->pool));
	}
}

FIXTURE_TEARDOWN(waiters)
{
	close(self->kq);
}

/* All events come about, or about again, by one call. */
static int raise_all(FIXTURE_DATA(waiters) *self,
		     const FIXTURE_VARIANT(waiters) *variant)
{
	struct kevent ch[EVENTS];
	int i;

	for (i = 0; i < EVENTS; i++) {
		void *udata = (void *)(uintptr_t)i;

		if (variant->pipes)
			EV_SET(&ch[i], self->fds[i][0], EVFILT_READ,
			       EV_ADD | EV_ENABLE | variant->flags, 0, 0,
			       udata);
		else if (variant->flags == EV_CLEAR && self->pool.total)
			EV_SET(&ch[i], i, EVFILT_USER, 0, NOTE_TRIGGER, 0,
			       udata);
		else
			EV_SET(&ch[i], i, EVFILT_USER,
			       EV_ADD | EV_ENABLE | variant->flags,
			       NOTE_TRIGGER, 0, udata);
	}
	return kev(self->kq, ch, EVENTS, NULL, 0, NULL);
}

TEST_F(waiters, get_every_event_once)
{
	struct pool *p = &self->pool;
	int i, n;

	for (i = 0; another(i, 10); i++) {
		ASSERT_EQ(0, raise_all(self, variant));
		ASSERT_TRUE(SOON(p->error || p->total >= (i + 1) * EVENTS))
			TH_LOG("round %d: %d of %d", i,
			       p->total - i * EVENTS, EVENTS);
		ASSERT_EQ(0, p->error);
		for (n = 0; n < EVENTS; n++) {
			ASSERT_EQ(i + 1, p->count[n]);
		}
	}
	/* One that all threads see, as it stays. */
	ASSERT_EQ(0, change_all(self->kq, STOP, EVFILT_USER, EV_ADD,
				NOTE_TRIGGER, 0, (void *)STOP));
	for (n = 0; n < WAITERS; n++) {
		ASSERT_EQ(0, pthread_join(p->thread[n], NULL));
	}
	EXPECT_EQ(i * EVENTS, p->total);
	EXPECT_EQ(0, p->error);
	TH_LOG("%d rounds", i);
}

/*
 * Processes.
 */

static int raise_readers(int kq, int fds[4][2])
{
	int i, ret = 0;

	for (i = 0; i < 4 && !ret; i++)
		ret = change(kq, fds[i][0], EVFILT_READ,
			     EV_ADD | (i % 2 ? EV_CLEAR : 0));
	return ret;
}

static void *exiting_main(void *arg)
{
	struct kevent ev[4];
	int kq = *(int *)arg;

	/* Without end, unless the kqueue is closed. */
	while (kevent(kq, NULL, 0, ev, 4, NULL) >= 0) {
		change_all(kq, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL);
		change(kq, 1, EVFILT_USER, EV_DELETE);
	}
	return NULL;
}

/* Threads in kevent, knotes that are active, and out. */
static void exiting(int fds[4][2], int how)
{
	pthread_t thread;
	int kq = kqueue(), i;

	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(raise_readers(kq, fds) == 0);
	for (i = 0; i < 3; i++)
		CHILD_CHECK(pthread_create(&thread, NULL, exiting_main,
					   &kq) == 0);
	dally(how * 50);
	if (how % 3 == 0)
		close(kq);
	if (how % 2)
		_exit(0);
	raise(SIGKILL);
}

TEST_F(race, exit_against_activation)
{
	int fds[4][2], i, n, status;
	long before = read_number("/sys/module/kqueue/refcnt");
	pid_t pid;

	for (n = 0; n < 4; n++) {
		ASSERT_EQ(0, pipe(fds[n]));
	}
	for (i = 0; another(i, 20); i++) {
		pid = fork();
		if (!pid)
			exiting(fds, i);
		/* Activate until it has gone, and a little longer. */
		while (waitpid(pid, &status, WNOHANG) == 0) {
			for (n = 0; n < 4; n++) {
				if (write(fds[n][1], "x", 1) == 1)
					drain(fds[n][0]);
			}
		}
		ASSERT_TRUE((WIFEXITED(status) && !WEXITSTATUS(status)) ||
			    (WIFSIGNALED(status) &&
			     WTERMSIG(status) == SIGKILL));
	}
	/* All of their kqueues are gone. */
	EXPECT_TRUE(EVENTUALLY(read_number("/sys/module/kqueue/refcnt") ==
			       before));
	TH_LOG("%d rounds", i);
}

static void *busy_main(void *arg)
{
	struct second *s = arg;
	int i;

	for (i = 0; !s->done; i++) {
		s->result = change_all(s->kq, i % 16, EVFILT_USER, EV_ADD,
				       NOTE_TRIGGER, 0, NULL);
		if (s->result || pending(s->kq) < 1 ||
		    change(s->kq, i % 16, EVFILT_USER, EV_DELETE)) {
			s->result = s->result ? s->result : -ENOMSG;
			break;
		}
	}
	return NULL;
}

static void child_without(void *arg)
{
	CHILD_CHECK(close(*(int *)arg) == -1 && errno == EBADF);
}

TEST_F(race, fork_against_kevent)
{
	struct second *s = &self->second;
	int i;

	/* In the parent it goes on, whatever the children are at. */
	ASSERT_EQ(0, pthread_create(&s->thread, NULL, busy_main, s));
	for (i = 0; another(i, 20); i++) {
		ASSERT_EQ(0, in_child(child_without, &self->kq));
	}
	s->done = 1;
	ASSERT_EQ(0, pthread_join(s->thread, NULL));
	EXPECT_EQ(0, s->result);
	TH_LOG("%d rounds", i);
}

static int open_and_close(struct second *s)
{
	int kq = kqueue();

	(void)s;
	return kq < 0 ? -errno : close(kq);
}

TEST_F(race, fork_against_opening)
{
	struct second *s = &self->second;
	int i;

	/*
	 * The kqueue that is being opened while the table is copied is the
	 * parent's. Its number is the lowest free one.
	 */
	int fd = next_fd();
	pid_t pid;

	s->what = open_and_close;
	ASSERT_EQ(0, second_start(s));
	for (i = 0; another(i, 20); i++) {
		second_go(s, i);
		pid = fork();
		if (!pid) {
			CHILD_CHECK(close(fd) == -1 && errno == EBADF);
			_exit(0);
		}
		ASSERT_EQ(0, reap(pid));
		ASSERT_EQ(0, second_done(s));
	}
	second_end(s);
	second_log(s, i, _metadata->name);
}

TEST_HARNESS_MAIN
