// SPDX-License-Identifier: GPL-2.0
/*
 * EVFILT_PROC and EVFILT_PROCDESC: what processes do, and with NOTE_TRACK what
 * their children do.
 */
#include "kqtest.h"

#include <linux/sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define STATUS(code)	((code) << 8)	/* wait(2)'s, of an exit */
#ifndef PIDFD_THREAD
#define PIDFD_THREAD	O_EXCL
#endif

#define SET_UID		"/run/kqueue-set-uid"	/* this program, as root's */

#define ALICE		1001
#define BOB		(ALICE + 1)

extern char **environ;

FIXTURE(proc) {
	int kq;
	struct kevent ev[16];
};

FIXTURE_SETUP(proc)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(proc)
{
	close(self->kq);
}

static int watch(int kq, pid_t pid, unsigned int fflags)
{
	return change_all(kq, pid, EVFILT_PROC, EV_ADD, fflags, 0, NULL);
}

/*
 * A child that does what it is told, a byte at a time, and is told to exit by
 * the end of the pipe.
 */
struct child {
	pid_t pid;
	int to, from;
};

static void nothing(void *arg)
{
	(void)arg;
}

static void *thread_that_exits(void *arg)
{
	return arg;
}

static void *thread_that_stays(void *arg)
{
	char c;

	/* Until the pipe ends, which is when the process is to. */
	if (read(*(int *)arg, &c, 1) == 0)
		_exit(44);
	return NULL;
}

static void *thread_that_forks(void *arg)
{
	(void)arg;
	return (void *)(long)in_child(nothing, NULL);
}

static void execute(int from, int to)
{
	char *argv[] = { "/proc/self/exe", "--obey", NULL };

	dup2(from, STDIN_FILENO);
	dup2(to, STDOUT_FILENO);
	execve(argv[0], argv, environ);
	CHILD_CHECK(!"exec");
}

static void *thread_that_executes(void *arg)
{
	int *fds = arg;

	execute(fds[0], fds[1]);
	return NULL;
}

static void obey(int from, int to)
{
	pthread_t thread;
	pid_t pid;
	char c;

	while (read(from, &c, 1) == 1) {
		switch (c) {
		case 'f':	/* fork, and a child that is waited for */
			CHILD_CHECK(!in_child(nothing, NULL));
			break;
		case 'v':
			pid = vfork();
			if (!pid)
				_exit(7);
			CHILD_CHECK(reap(pid) == 7);
			break;
		case 'p':	/* a child that stays */
			if (!fork()) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				for (;;)
					pause();
			}
			break;
		case 't':	/* a thread comes and goes */
			CHILD_CHECK(!pthread_create(&thread, NULL,
						    thread_that_exits, NULL));
			pthread_join(thread, NULL);
			break;
		case 'F':	/* a thread forks */
			CHILD_CHECK(!pthread_create(&thread, NULL,
						    thread_that_forks, NULL));
			pthread_join(thread, NULL);
			break;
		case 'l':	/* the first thread goes, another stays */
			CHILD_CHECK(!pthread_create(&thread, NULL,
						    thread_that_stays, &from));
			CHILD_CHECK(write(to, "", 1) == 1);
			syscall(SYS_exit, 3);
			break;
		case 'x':
			execute(from, to);
			break;
		case 'e':	/* another thread than the first executes */
			CHILD_CHECK(!pthread_create(&thread, NULL,
						    thread_that_executes,
						    (int[]){ from, to }));
			for (;;)
				pause();
			break;
		case 's':	/* a program that is root's */
			dup2(from, STDIN_FILENO);
			dup2(to, STDOUT_FILENO);
			execve(SET_UID, (char *[]){ SET_UID, "--obey", NULL },
			       environ);
			CHILD_CHECK(!"exec");
			break;
		case 'k':
			raise(SIGKILL);
			break;
		case 'h':	/* has something to hide */
			prctl(PR_SET_DUMPABLE, 0);
			break;
		case 'a':
			CHILD_CHECK(!setresgid(ALICE, ALICE, ALICE));
			CHILD_CHECK(!setresuid(ALICE, ALICE, ALICE));
			prctl(PR_SET_DUMPABLE, 1);
			break;
		}
		CHILD_CHECK(write(to, "", 1) == 1);
	}
	_exit(33);
}

static bool child_start(struct child *c)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		return false;
	c->pid = fork();
	if (!c->pid) {
		close(to[1]);
		close(from[0]);
		obey(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	c->to = to[1];
	c->from = from[0];
	return c->pid > 0;
}

/* Has it do what the letter says, and waits until it has. */
static bool child_does(struct child *c, char what)
{
	return write(c->to, &what, 1) == 1 && read(c->from, &what, 1) == 1;
}

/* The same, where no answer comes. */
static bool child_dies(struct child *c, char what)
{
	return write(c->to, &what, 1) == 1 && read(c->from, &what, 1) == 0;
}

static void child_ends(struct child *c)
{
	close(c->to);
}

static int child_reap(struct child *c)
{
	close(c->from);
	return reap(c->pid);
}

/* By a letter of obey(), or by itself. */
FIXTURE(exits) {
	int kq;
	struct child c;
};

FIXTURE_VARIANT(exits) {
	char how;
	int status;
};

FIXTURE_VARIANT_ADD(exits, by_itself) {
	.status = STATUS(33),
};

FIXTURE_VARIANT_ADD(exits, by_a_signal) {
	.how = 'k', .status = SIGKILL,
};

FIXTURE_VARIANT_ADD(exits, with_its_last_thread) {
	.how = 'l', .status = STATUS(44),
};

FIXTURE_SETUP(exits)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_TRUE(child_start(&self->c));
}

FIXTURE_TEARDOWN(exits)
{
	close(self->kq);
}

TEST_F(exits, is_told_with_the_status_of_wait)
{
	struct kevent ev;
	int status;

	ASSERT_EQ(0, change_all(self->kq, self->c.pid, EVFILT_PROC, EV_ADD,
				NOTE_EXIT, 0, (void *)0x77));
	if (variant->how == 'k')
		ASSERT_TRUE(child_dies(&self->c, 'k'));
	if (variant->how == 'l') {
		ASSERT_TRUE(child_does(&self->c, 'l'));
		EXPECT_EQ(0, pending(self->kq)) TH_LOG("a thread, not the process");
	}
	child_ends(&self->c);
	ASSERT_EQ(1, wait_events(self->kq, &ev, 1));
	EXPECT_EQ(self->c.pid, ev.ident);
	EXPECT_EQ(EVFILT_PROC, ev.filter);
	EXPECT_EQ(NOTE_EXIT, ev.fflags);
	EXPECT_EQ(variant->status, ev.data);
	EXPECT_EQ((void *)0x77, ev.udata);
	EXPECT_EQ(EV_EOF | EV_ONESHOT | EV_CLEAR, ev.flags);
	/* It can be waited for at once. */
	ASSERT_EQ(self->c.pid, waitpid(self->c.pid, &status, WNOHANG));
	EXPECT_EQ(variant->status, status);
	/* And the knote is no more. */
	EXPECT_EQ(-ENOENT, change(self->kq, self->c.pid, EVFILT_PROC, EV_DELETE));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(exits, is_told_at_once_of_a_zombie)
{
	struct kevent ev;
	siginfo_t info;

	if (variant->how == 'k')
		ASSERT_TRUE(child_dies(&self->c, 'k'));
	if (variant->how == 'l')
		ASSERT_TRUE(child_does(&self->c, 'l'));
	child_ends(&self->c);
	ASSERT_EQ(0, waitid(P_PID, self->c.pid, &info, WEXITED | WNOWAIT));
	ASSERT_EQ(0, watch(self->kq, self->c.pid, NOTE_EXIT));
	ASSERT_EQ(1, poll_events(self->kq, &ev, 1));
	EXPECT_EQ(variant->status, ev.data);
	EXPECT_EQ(EV_EOF | EV_ONESHOT | EV_CLEAR, ev.flags);
	child_reap(&self->c);
}

TEST_F(exits, is_told_after_it_was_waited_for)
{
	struct kevent ev;

	ASSERT_EQ(0, watch(self->kq, self->c.pid, NOTE_EXIT));
	if (variant->how == 'k')
		ASSERT_TRUE(child_dies(&self->c, 'k'));
	if (variant->how == 'l')
		ASSERT_TRUE(child_does(&self->c, 'l'));
	child_ends(&self->c);
	child_reap(&self->c);
	ASSERT_EQ(1, poll_events(self->kq, &ev, 1));
	EXPECT_EQ(variant->status, ev.data);
}

/* A race: when the event is there, wait(2) does not block. */
TEST_F(proc, can_be_waited_for_when_its_exit_is_told)
{
	int i, status;
	pid_t pid;

	for (i = 0; i < 300; i++) {
		pid = fork();
		if (!pid)
			_exit(i & 0x7f);
		ASSERT_EQ(0, watch(self->kq, pid, NOTE_EXIT));
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
		ASSERT_EQ(pid, waitpid(pid, &status, WNOHANG));
		ASSERT_EQ(status, self->ev[0].data);
	}
}

TEST_F(proc, fork_and_exec_are_told)
{
	struct child c;

	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_FORK | NOTE_EXEC));
	ASSERT_TRUE(child_does(&c, 'f'));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_FORK, self->ev[0].fflags);
	EXPECT_EQ(EV_CLEAR, self->ev[0].flags);
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_TRUE(child_does(&c, 'v'));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_FORK, self->ev[0].fflags);
	ASSERT_TRUE(child_does(&c, 'F'));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_FORK, self->ev[0].fflags);
	ASSERT_TRUE(child_does(&c, 't'));
	EXPECT_EQ(0, pending(self->kq)) TH_LOG("a thread is no process");
	ASSERT_TRUE(child_does(&c, 'x'));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_EXEC, self->ev[0].fflags);
	ASSERT_TRUE(child_does(&c, 'f'));
	ASSERT_TRUE(child_does(&c, 'x'));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_FORK | NOTE_EXEC, self->ev[0].fflags);
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
}

TEST_F(proc, exec_by_another_thread_is_no_exit)
{
	struct child c;
	int i;

	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_EXEC | NOTE_EXIT | NOTE_REAP));
	for (i = 0; i < 20; i++) {
		ASSERT_TRUE(child_does(&c, 'e'));
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
		ASSERT_EQ(NOTE_EXEC, self->ev[0].fflags);
		ASSERT_EQ(EV_CLEAR, self->ev[0].flags);
	}
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_EXIT | NOTE_REAP, self->ev[0].fflags);
	EXPECT_EQ(STATUS(33), self->ev[0].data);
}

struct adder {
	int kq;
	pid_t pid;
	atomic_bool stop;
	atomic_int added;
};

static void *adder_main(void *arg)
{
	struct adder *a = arg;

	while (!a->stop) {
		if (watch(a->kq, a->pid, NOTE_EXIT) ||
		    change(a->kq, a->pid, EVFILT_PROC, EV_DELETE))
			return arg;
		a->added++;
	}
	return NULL;
}

/* A race: the process is registered while another of its threads executes. */
TEST_F(proc, is_not_taken_for_a_zombie_while_another_thread_executes)
{
	struct adder a = { .kq = self->kq };
	pthread_t thread;
	struct child c;
	void *bad;
	int i;

	ASSERT_TRUE(child_start(&c));
	a.pid = c.pid;
	ASSERT_EQ(0, pthread_create(&thread, NULL, adder_main, &a));
	for (i = 0; i < 40; i++) {
		ASSERT_TRUE(child_does(&c, 'e'));
	}
	a.stop = true;
	pthread_join(thread, &bad);
	EXPECT_EQ(NULL, bad);
	EXPECT_LT(0, a.added);
	EXPECT_EQ(0, pending(self->kq));
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
}

/* What one of two threads finds out of a process that exits, and is reaped. */
struct late {
	pthread_barrier_t *start;
	int kq;
	pid_t pid;
	int result;
};

static void *late_main(void *arg)
{
	struct late *l = arg;

	pthread_barrier_wait(l->start);
	l->result = watch(l->kq, l->pid, NOTE_EXIT | NOTE_REAP);
	return NULL;
}

/* A race: two kqueues come to watch a process that is being reaped. */
TEST_F(proc, that_was_registered_is_told_of_though_it_is_reaped_just_then)
{
	unsigned int told;
	pthread_barrier_t start;
	pthread_t thread[2];
	struct late late[2];
	int i, j, k, status;
	siginfo_t info;
	pid_t pid;

	pthread_barrier_init(&start, NULL, 3);
	for (i = 0; i < 300; i++) {
		pid = fork();
		if (!pid)
			_exit(1);
		if (i & 1)
			ASSERT_EQ(0, waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
		for (j = 0; j < 2; j++) {
			late[j] = (struct late){ &start, kqueue(), pid, 0 };
			ASSERT_LE(0, late[j].kq);
			ASSERT_EQ(0, pthread_create(&thread[j], NULL, late_main,
						    &late[j]));
		}
		pthread_barrier_wait(&start);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		for (j = 0; j < 2; j++) {
			pthread_join(thread[j], NULL);
			/* In one event or in two. */
			for (k = 0, told = 0; !late[j].result && !(told & NOTE_REAP);
			     k++) {
				ASSERT_GT(2, k);
				ASSERT_EQ(1, wait_events(late[j].kq, self->ev, 16));
				told |= self->ev[0].fflags;
			}
			if (late[j].result) {
				ASSERT_EQ(-ESRCH, late[j].result);
			} else {
				ASSERT_EQ(NOTE_EXIT | NOTE_REAP, told);
			}
			close(late[j].kq);
		}
	}
}

TEST_F(proc, reaped_is_told_of_a_zombie_too)
{
	siginfo_t info;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(4);
	ASSERT_EQ(0, waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	ASSERT_EQ(0, watch(self->kq, pid, NOTE_EXIT | NOTE_REAP));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_EXIT, self->ev[0].fflags);
	EXPECT_EQ(STATUS(4), self->ev[0].data);
	EXPECT_EQ(4, reap(pid));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_REAP, self->ev[0].fflags);
}

TEST_F(proc, exit_that_is_asked_for_afterwards_is_told)
{
	siginfo_t info;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(4);
	ASSERT_EQ(0, watch(self->kq, pid, NOTE_FORK | NOTE_REAP));
	ASSERT_EQ(0, waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, watch(self->kq, pid, NOTE_EXIT | NOTE_REAP));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_EXIT, self->ev[0].fflags);
	EXPECT_EQ(STATUS(4), self->ev[0].data);
	ASSERT_EQ(0, watch(self->kq, pid, NOTE_EXIT | NOTE_REAP));
	EXPECT_EQ(0, pending(self->kq)) TH_LOG("it is told once");
	EXPECT_EQ(4, reap(pid));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(proc, what_is_not_asked_for_is_not_told_but_its_end_is)
{
	struct child c;

	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_EXEC));
	ASSERT_TRUE(child_does(&c, 'f'));
	EXPECT_EQ(0, pending(self->kq));
	child_ends(&c);
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
	EXPECT_EQ(0, self->ev[0].fflags);
	EXPECT_EQ(0, self->ev[0].data);
	EXPECT_EQ(EV_EOF | EV_ONESHOT | EV_CLEAR, self->ev[0].flags);
	EXPECT_EQ(33, child_reap(&c));
}

TEST_F(proc, what_is_asked_for_can_be_changed)
{
	struct child c;

	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_EXEC));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_FORK));
	ASSERT_TRUE(child_does(&c, 'x'));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_TRUE(child_does(&c, 'f'));
	EXPECT_EQ(1, pending(self->kq));
	ASSERT_EQ(0, change(self->kq, c.pid, EVFILT_PROC, EV_DELETE));
	ASSERT_TRUE(child_does(&c, 'f'));
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(proc, events_are_kept_while_it_is_disabled)
{
	struct child c;

	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, change_all(self->kq, c.pid, EVFILT_PROC, EV_ADD | EV_DISABLE,
				NOTE_FORK | NOTE_EXIT, 0, NULL));
	ASSERT_TRUE(child_does(&c, 'f'));
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, change(self->kq, c.pid, EVFILT_PROC, EV_ENABLE));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_FORK | NOTE_EXIT, self->ev[0].fflags);
	EXPECT_EQ(STATUS(33), self->ev[0].data);
}

TEST_F(proc, events_are_not_lost_to_a_bad_event_list)
{
	struct child c;

	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_FORK | NOTE_EXIT));
	ASSERT_TRUE(child_does(&c, 'f'));
	ASSERT_EQ(-EFAULT, poll_events(self->kq, (struct kevent *)8, 8));
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
	ASSERT_EQ(-EFAULT, poll_events(self->kq, (struct kevent *)8, 8));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_FORK | NOTE_EXIT, self->ev[0].fflags);
	EXPECT_EQ(STATUS(33), self->ev[0].data);
	EXPECT_EQ(EV_EOF | EV_ONESHOT | EV_CLEAR, self->ev[0].flags);
}

TEST_F(proc, reap_comes_after_exit)
{
	struct child c;

	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_EXIT | NOTE_REAP));
	child_ends(&c);
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_EXIT, self->ev[0].fflags);
	EXPECT_EQ(STATUS(33), self->ev[0].data);
	EXPECT_EQ(EV_CLEAR, self->ev[0].flags) TH_LOG("not its last event");
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(33, child_reap(&c));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_REAP, self->ev[0].fflags);
	EXPECT_EQ(EV_EOF | EV_ONESHOT | EV_CLEAR, self->ev[0].flags);
	EXPECT_EQ(-ENOENT, change(self->kq, c.pid, EVFILT_PROC, EV_DELETE));
}

TEST_F(proc, reap_and_exit_that_were_not_read_are_one)
{
	struct child c;

	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_EXIT | NOTE_REAP));
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_EXIT | NOTE_REAP, self->ev[0].fflags);
	EXPECT_EQ(STATUS(33), self->ev[0].data);
	EXPECT_EQ(EV_EOF | EV_ONESHOT | EV_CLEAR, self->ev[0].flags);
}

TEST_F(proc, of_a_child_that_nobody_waits_for_is_told)
{
	struct child c;

	signal(SIGCHLD, SIG_IGN);
	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_EXIT));
	child_ends(&c);
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
	EXPECT_EQ(STATUS(33), self->ev[0].data);
}

TEST_F(proc, of_oneself_is_told)
{
	ASSERT_EQ(0, watch(self->kq, getpid(), NOTE_FORK));
	ASSERT_EQ(0, in_child(nothing, NULL));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_FORK, self->ev[0].fflags);
}

TEST_F(proc, each_kqueue_is_told)
{
	int other = kqueue();
	struct child c;

	ASSERT_LE(0, other);
	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_FORK | NOTE_EXIT));
	ASSERT_EQ(0, watch(other, c.pid, NOTE_EXIT));
	ASSERT_TRUE(child_does(&c, 'f'));
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, pending(other));
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(1, pending(other));
	close(other);
}

TEST_F(proc, that_does_not_exist_is_esrch)
{
	static const uintptr_t bad[] = { 0, 0x3ffffff, INT_MAX, (uintptr_t)INT_MAX + 1,
					 (uintptr_t)-1 };
	struct child c;
	size_t i;

	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_FORK));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-ESRCH, change_all(self->kq, bad[i], EVFILT_PROC, EV_ADD,
					     NOTE_EXIT, 0, NULL));
		EXPECT_EQ(-ENOENT, change(self->kq, bad[i], EVFILT_PROC, EV_ENABLE));
	}
	ASSERT_TRUE(child_does(&c, 'f'));
	EXPECT_EQ(1, pending(self->kq)) TH_LOG("what is registered goes on");
	child_ends(&c);
	child_reap(&c);
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
	EXPECT_EQ(-ESRCH, watch(self->kq, c.pid, NOTE_EXIT));
}

static void *tell_tid(void *arg)
{
	*(atomic_int *)arg = gettid();
	for (;;)
		pause();
	return NULL;
}

TEST_F(proc, a_thread_is_none)
{
	atomic_int tid = 0;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, tell_tid, &tid));
	ASSERT_TRUE(EVENTUALLY(tid));
	EXPECT_EQ(-ESRCH, watch(self->kq, tid, NOTE_EXIT));
	pthread_cancel(thread);
	pthread_join(thread, NULL);
}

TEST_F(proc, macos_tells_the_status_if_asked_for)
{
	unsigned int flavour = KQUEUE_FLAVOUR_MACOS;
	pid_t pid;
	int i;

	ASSERT_EQ(0, kqueue_ioctl(self->kq, KQUEUE_IOC_FLAVOUR, &flavour));
	for (i = 0; i < 2; i++) {
		unsigned int fflags = NOTE_EXIT | (i ? NOTE_EXITSTATUS : 0);

		pid = fork();
		if (!pid)
			_exit(5);
		ASSERT_EQ(0, watch(self->kq, pid, fflags));
		ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
		EXPECT_EQ(fflags, self->ev[0].fflags);
		EXPECT_EQ(i ? STATUS(5) : 0, self->ev[0].data);
		EXPECT_EQ(5, reap(pid));
	}
}

/*
 * NOTE_TRACK
 */

static int copy_set_uid(void)
{
	char buf[65536];
	int from, to, ret = -1;
	ssize_t n;

	from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	to = open(SET_UID, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	if (from < 0 || to < 0)
		return -errno;
	while ((n = read(from, buf, sizeof(buf))) > 0)
		if (write(to, buf, n) != n)
			break;
	if (!n)
		ret = fchmod(to, 04755);
	close(from);
	close(to);
	return ret;
}

static void become(uid_t uid)
{
	CHILD_CHECK(!setresgid(uid, uid, uid));
	CHILD_CHECK(!setresuid(uid, uid, uid));
	prctl(PR_SET_DUMPABLE, 1);
}

/* alice follows what becomes root's. */
static void track_a_set_uid_program(void *arg)
{
	struct kevent ev;
	struct child c;
	int kq;

	(void)arg;
	become(ALICE);
	CHILD_CHECK(child_start(&c));
	kq = kqueue();
	CHILD_CHECK(!watch(kq, c.pid, NOTE_TRACK | NOTE_EXIT));
	CHILD_CHECK(child_does(&c, 's'));
	CHILD_CHECK(child_does(&c, 'f'));
	CHILD_CHECK(poll_events(kq, &ev, 1) == 1);
	CHILD_CHECK(ev.ident == (uintptr_t)c.pid && ev.fflags == NOTE_TRACKERR);
	CHILD_CHECK(!pending(kq));
	child_ends(&c);
	CHILD_CHECK(child_reap(&c) == 33);
	/* That one was registered before. */
	CHILD_CHECK(pending(kq) == 1);
}

/* alice follows what is her own, until that has something to hide. */
static void track_ones_own(void *arg)
{
	struct kevent ev[4];
	struct child c;
	pid_t child;
	int kq;

	(void)arg;
	become(ALICE);
	CHILD_CHECK(child_start(&c));
	kq = kqueue();
	CHILD_CHECK(!watch(kq, c.pid, NOTE_TRACK | NOTE_EXIT));
	CHILD_CHECK(child_does(&c, 'v'));
	CHILD_CHECK(poll_events(kq, ev, 4) == 1);
	child = ev[0].ident;
	CHILD_CHECK(child != c.pid && ev[0].fflags == NOTE_CHILD && ev[0].data == c.pid);
	CHILD_CHECK(poll_events(kq, ev, 4) == 1);
	CHILD_CHECK(ev[0].ident == (uintptr_t)child && ev[0].fflags == NOTE_EXIT &&
		    ev[0].data == STATUS(7));
	CHILD_CHECK(child_does(&c, 'h'));
	CHILD_CHECK(child_does(&c, 'f'));
	CHILD_CHECK(poll_events(kq, ev, 4) == 1);
	CHILD_CHECK(ev[0].ident == (uintptr_t)c.pid && ev[0].fflags == NOTE_TRACKERR);
	child_ends(&c);
	CHILD_CHECK(child_reap(&c) == 33);
}

TEST_F(proc, track_follows_a_user_s_own_processes_that_hide_nothing)
{
	EXPECT_EQ(0, in_child(track_ones_own, NULL));
}

TEST_F(proc, track_follows_a_child_with_its_parent_and_its_status)
{
	struct child c;
	pid_t child;

	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, change_all(self->kq, c.pid, EVFILT_PROC, EV_ADD,
				NOTE_TRACK | NOTE_EXIT | NOTE_FORK, 0, (void *)0x7a));
	ASSERT_TRUE(child_does(&c, 'v'));
	/* Two of the child, who has exited, and that its parent has forked. */
	ASSERT_EQ(2, wait_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_CHILD, self->ev[0].fflags);
	EXPECT_EQ(c.pid, self->ev[0].data);
	EXPECT_EQ((void *)0x7a, self->ev[0].udata);
	EXPECT_EQ(EVFILT_PROC, self->ev[0].filter);
	child = self->ev[0].ident;
	EXPECT_NE(c.pid, child);
	EXPECT_EQ(c.pid, self->ev[1].ident);
	EXPECT_EQ(NOTE_FORK, self->ev[1].fflags);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(child, self->ev[0].ident);
	EXPECT_EQ(NOTE_EXIT, self->ev[0].fflags);
	EXPECT_EQ(STATUS(7), self->ev[0].data);
	EXPECT_EQ(0, pending(self->kq));
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(c.pid, self->ev[0].ident);
}

TEST_F(proc, track_follows_what_posix_spawn_makes)
{
	char *argv[] = { "/proc/self/exe", "--exit", NULL };
	pid_t pid;

	ASSERT_EQ(0, watch(self->kq, getpid(), NOTE_TRACK | NOTE_EXEC | NOTE_EXIT));
	ASSERT_EQ(0, posix_spawn(&pid, argv[0], NULL, NULL, argv, environ));
	EXPECT_EQ(9, reap(pid));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
	EXPECT_EQ(pid, self->ev[0].ident);
	EXPECT_EQ(NOTE_CHILD | NOTE_EXEC, self->ev[0].fflags);
	EXPECT_EQ(getpid(), self->ev[0].data);
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
	EXPECT_EQ(pid, self->ev[0].ident);
	EXPECT_EQ(NOTE_EXIT, self->ev[0].fflags);
	EXPECT_EQ(STATUS(9), self->ev[0].data);
}

TEST_F(proc, track_does_not_follow_threads)
{
	struct child c;

	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_TRACK | NOTE_EXIT));
	ASSERT_TRUE(child_does(&c, 't'));
	EXPECT_EQ(0, pending(self->kq));
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(proc, track_that_is_deleted_leaves_children_tracked)
{
	struct child c;
	pid_t child;

	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_TRACK | NOTE_EXIT));
	ASSERT_TRUE(child_does(&c, 'p'));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_CHILD, self->ev[0].fflags);
	child = self->ev[0].ident;
	ASSERT_EQ(0, change(self->kq, c.pid, EVFILT_PROC, EV_DELETE));
	/* Children that are to come are not. */
	ASSERT_TRUE(child_does(&c, 'f'));
	EXPECT_EQ(0, pending(self->kq));
	kill(child, SIGKILL);
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
	EXPECT_EQ(child, self->ev[0].ident);
	EXPECT_EQ(SIGKILL, self->ev[0].data);
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
}

TEST_F(proc, trackerr_is_told_of_a_program_that_the_watcher_may_not_watch)
{
	ASSERT_EQ(0, copy_set_uid());
	EXPECT_EQ(0, in_child(track_a_set_uid_program, NULL));
	unlink(SET_UID);
}

/* What she may see of her own, and is not what she may see of what that becomes. */
static void track_a_set_uid_program_of_ones_own(void *arg)
{
	struct kevent ev;
	struct child c;
	int kq;

	(void)arg;
	become(ALICE);
	kq = kqueue();
	CHILD_CHECK(!watch(kq, getpid(), NOTE_TRACK | NOTE_EXIT));
	CHILD_CHECK(child_start(&c));
	CHILD_CHECK(poll_events(kq, &ev, 1) == 1);
	CHILD_CHECK(ev.ident == (uintptr_t)c.pid && ev.fflags == NOTE_CHILD);
	/* A child of the child is seen as long as it is hers. */
	CHILD_CHECK(child_does(&c, 'f'));
	CHILD_CHECK(poll_events(kq, &ev, 1) == 1);
	CHILD_CHECK(ev.fflags == NOTE_CHILD && ev.data == c.pid);
	CHILD_CHECK(poll_events(kq, &ev, 1) == 1 && ev.fflags & NOTE_EXIT);
	CHILD_CHECK(child_does(&c, 's'));
	CHILD_CHECK(child_does(&c, 'f'));
	CHILD_CHECK(poll_events(kq, &ev, 1) == 1);
	CHILD_CHECK(ev.ident == (uintptr_t)c.pid && ev.fflags == NOTE_TRACKERR);
	CHILD_CHECK(!pending(kq));
	child_ends(&c);
	CHILD_CHECK(child_reap(&c) == 33);
	CHILD_CHECK(pending(kq) == 1);
}

TEST_F(proc, trackerr_is_told_of_it_also_by_who_tracks_itself)
{
	ASSERT_EQ(0, copy_set_uid());
	EXPECT_EQ(0, in_child(track_a_set_uid_program_of_ones_own, NULL));
	unlink(SET_UID);
}

TEST_F(proc, trackerr_is_told_where_there_is_no_memory)
{
	long max = read_number(WATCHES_MAX);
	struct child c;

	ASSERT_TRUE(child_start(&c));
	ASSERT_EQ(0, watch(self->kq, c.pid, NOTE_TRACK | NOTE_EXIT));
	ASSERT_EQ(0, write_number(WATCHES_MAX, 1));
	EXPECT_TRUE(child_does(&c, 'v'));
	EXPECT_EQ(0, write_number(WATCHES_MAX, max));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(c.pid, self->ev[0].ident);
	EXPECT_EQ(NOTE_TRACKERR, self->ev[0].fflags);
	/* The next one is followed again. */
	ASSERT_TRUE(child_does(&c, 'v'));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_CHILD, self->ev[0].fflags);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(STATUS(7), self->ev[0].data);
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
}

/* As many as 256 knotes that track one process are served in a fork. */
TEST_F(proc, trackerr_is_told_to_those_beyond_256_on_one_process)
{
	int i, n, children = 0, errors = 0;
	struct child c;

	ASSERT_TRUE(child_start(&c));
	for (i = 0; i < 300; i++) {
		ASSERT_EQ(0, change_all(self->kq, c.pid, EVFILT_PROC,
					EV_ADD | EV_UDATA_SPECIFIC, NOTE_TRACK, 0,
					(void *)(long)i));
	}
	ASSERT_TRUE(child_does(&c, 'f'));
	while ((n = poll_events(self->kq, self->ev, 16)) > 0) {
		for (i = 0; i < n; i++) {
			children += !!(self->ev[i].fflags & NOTE_CHILD);
			errors += !!(self->ev[i].fflags & NOTE_TRACKERR);
		}
	}
	EXPECT_EQ(256, children);
	EXPECT_EQ(44, errors);
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
}

/*
 * A tree of processes, and what is read of it: each child once, with its parent,
 * and each exit once, with its status.
 */
#define TREE	1000

/* Fewer on a kernel that checks every access to memory. */
static int tree_size(void)
{
	int n = getenv("PROC_TREE") ? atoi(getenv("PROC_TREE")) : TREE;

	return n < TREE ? n : TREE;
}

struct seen {
	pid_t pid, parent;
	int status;
	int born, died;
};

struct tree {
	struct seen seen[TREE + 2];
	int count;
};

static struct seen *see(struct tree *t, pid_t pid)
{
	int i;

	for (i = t->count - 1; i >= 0; i--)
		if (t->seen[i].pid == pid && !t->seen[i].died)
			return &t->seen[i];
	if (t->count == ARRAY_SIZE(t->seen))
		return NULL;
	t->seen[t->count].pid = pid;
	return &t->seen[t->count++];
}

/* Reads until as many have exited; a number of the first thing that is wrong. */
static int follow(int kq, struct tree *t, int exits)
{
	struct kevent ev[32];
	struct seen *s;
	int i, n;

	while (exits) {
		n = wait_events(kq, ev, ARRAY_SIZE(ev));
		if (n <= 0)
			return __LINE__;
		for (i = 0; i < n; i++) {
			s = see(t, ev[i].ident);
			if (!s || ev[i].fflags & NOTE_TRACKERR)
				return __LINE__;
			if (ev[i].fflags & NOTE_CHILD) {
				if (ev[i].fflags & NOTE_EXIT || s->born++)
					return __LINE__;
				s->parent = ev[i].data;
			}
			if (ev[i].fflags & NOTE_EXIT) {
				if (s->died++)
					return __LINE__;
				s->status = ev[i].data;
				exits--;
			}
		}
	}
	return pending(kq) ? __LINE__ : 0;
}

/* Makes a child, until there are none to be made, and waits for it. */
static int fork_deep(int left)
{
	pid_t pid;
	int status;

	if (left) {
		pid = fork();
		if (!pid)
			_exit(fork_deep(left - 1));
		CHILD_CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	}
	return left % 100;
}

TEST_F_TIMEOUT(proc, track_follows_a_thousand_deep, 600)
{
	static struct tree tree;
	int i, go[2], n = tree_size();
	pid_t root;
	char c;

	ASSERT_EQ(0, pipe(go));
	root = fork();
	if (!root) {
		CHILD_CHECK(read(go[0], &c, 1) == 1);
		_exit(fork_deep(n));
	}
	ASSERT_EQ(0, watch(self->kq, root, NOTE_TRACK | NOTE_EXIT));
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(0, follow(self->kq, &tree, n + 1));
	EXPECT_EQ(n % 100, reap(root));
	ASSERT_EQ(n + 1, tree.count);
	for (i = 0; i <= n; i++) {
		struct seen *s = &tree.seen[i];

		ASSERT_EQ(1, s->died);
		if (s->pid == root) {
			ASSERT_EQ(0, s->born);
			continue;
		}
		ASSERT_EQ(1, s->born);
	}
	/* Seen in the order they were made; of the root there is its end alone. */
	EXPECT_EQ(root, tree.seen[n].pid);
	for (i = 0; i < n; i++) {
		ASSERT_EQ(i ? tree.seen[i - 1].pid : root, tree.seen[i].parent);
		ASSERT_EQ(STATUS((n - 1 - i) % 100), tree.seen[i].status);
	}
}

TEST_F_TIMEOUT(proc, track_follows_a_thousand_wide, 600)
{
	int i, go[2], count[100] = { 0 }, n = tree_size();
	static struct tree tree;
	pid_t root;
	char c;

	ASSERT_EQ(0, pipe(go));
	root = fork();
	if (!root) {
		CHILD_CHECK(read(go[0], &c, 1) == 1);
		for (i = 0; i < n; i++) {
			pid_t pid = fork();

			if (!pid)
				_exit(i % 100);
			CHILD_CHECK(pid > 0);
		}
		while (wait(NULL) > 0)
			;
		_exit(1);
	}
	ASSERT_EQ(0, watch(self->kq, root, NOTE_TRACK | NOTE_EXIT));
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(0, follow(self->kq, &tree, n + 1));
	EXPECT_EQ(1, reap(root));
	ASSERT_EQ(n + 1, tree.count);
	for (i = 0; i <= n; i++) {
		struct seen *s = &tree.seen[i];

		ASSERT_EQ(1, s->died);
		if (s->pid == root)
			continue;
		ASSERT_EQ(1, s->born);
		ASSERT_EQ(root, s->parent);
		count[s->status >> 8]++;
	}
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(n / 100, count[i]);
	}
}

static void *fork_many(void *arg)
{
	int i;

	for (i = 0; i < (long)arg; i++)
		if (in_child(nothing, NULL))
			return arg;
	return NULL;
}

/* A race: threads fork at once. */
TEST_F(proc, track_follows_what_threads_fork_at_once)
{
	static struct tree tree;
	pthread_t thread[4];
	int i, go[2];
	pid_t root;
	void *bad;
	char c;

	ASSERT_EQ(0, pipe(go));
	root = fork();
	if (!root) {
		CHILD_CHECK(read(go[0], &c, 1) == 1);
		for (i = 0; i < 4; i++)
			CHILD_CHECK(!pthread_create(&thread[i], NULL, fork_many,
						    (void *)100L));
		for (i = 0; i < 4; i++) {
			pthread_join(thread[i], &bad);
			CHILD_CHECK(!bad);
		}
		_exit(0);
	}
	ASSERT_EQ(0, watch(self->kq, root, NOTE_TRACK | NOTE_EXIT));
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(0, follow(self->kq, &tree, 400 + 1));
	EXPECT_EQ(0, reap(root));
	for (i = 0; i < tree.count; i++) {
		ASSERT_EQ(tree.seen[i].pid != root, tree.seen[i].born);
		ASSERT_EQ(tree.seen[i].pid == root ? 0 : root,
			  tree.seen[i].parent);
	}
}

/* A race: the kqueue goes while what it watches forks and exits. */
TEST_F(proc, track_ends_with_its_kqueue)
{
	int i, n, kq;
	pid_t root;

	for (i = 0; i < 20; i++) {
		kq = kqueue();
		ASSERT_LE(0, kq);
		root = fork();
		if (!root) {
			fork_many((void *)30L);
			_exit(0);
		}
		n = watch(kq, root, NOTE_TRACK | NOTE_EXIT | NOTE_FORK);
		ASSERT_EQ(0, n);
		if (i & 1)
			ASSERT_LE(1, wait_events(kq, self->ev, 16));
		close(kq);
		ASSERT_EQ(0, reap(root));
	}
}

/* Asks for a certain pid. */
static pid_t fork_as(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&pid,
		.set_tid_size = 1,
	};

	return syscall(SYS_clone3, &args, sizeof(args));
}

TEST_F(proc, a_pid_that_is_used_again_is_another_process)
{
	int go[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(go));
	pid = fork();
	if (!pid)
		_exit(1);
	ASSERT_EQ(0, change_all(self->kq, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0,
				(void *)1));
	EXPECT_EQ(1, reap(pid));
	if (!fork_as(pid)) {
		CHILD_CHECK(read(go[0], &c, 1) == 1);
		_exit(2);
	}
	ASSERT_EQ(0, change_all(self->kq, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0,
				(void *)2));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ((void *)1, self->ev[0].udata);
	EXPECT_EQ(STATUS(1), self->ev[0].data);
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
	EXPECT_EQ((void *)2, self->ev[0].udata);
	EXPECT_EQ(STATUS(2), self->ev[0].data);
	EXPECT_EQ(2, reap(pid));
}

TEST_F(proc, track_is_not_confused_by_a_pid_that_is_used_again)
{
	int i, status;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(1);
	ASSERT_EQ(0, change_all(self->kq, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0,
				(void *)1));
	EXPECT_EQ(1, reap(pid));
	ASSERT_EQ(0, change_all(self->kq, getpid(), EVFILT_PROC, EV_ADD,
				NOTE_TRACK | NOTE_EXIT, 0, (void *)2));
	if (!fork_as(pid))
		_exit(2);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	/* The old one's end, the new one's birth, and its end. */
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 1));
		EXPECT_EQ(pid, self->ev[0].ident);
		EXPECT_EQ((void *)(i ? 2L : 1L), self->ev[0].udata);
		EXPECT_EQ(i == 1 ? NOTE_CHILD : NOTE_EXIT, self->ev[0].fflags);
		EXPECT_EQ(i == 1 ? getpid() : STATUS(i ? 2 : 1), self->ev[0].data);
	}
	EXPECT_EQ(0, pending(self->kq));
}

/*
 * Who may watch whom. The child that is watched is another one's.
 */

struct attempt {
	uid_t uid;
	pid_t pid;
	int filter;
	int expected;
	bool in_user_namespace;
};

static void attempt(void *arg)
{
	struct attempt *a = arg;
	uintptr_t ident = a->pid;
	int kq;

	if (a->filter == EVFILT_PROCDESC)
		ident = syscall(SYS_pidfd_open, a->pid, 0);
	if (a->uid)
		become(a->uid);
	if (a->in_user_namespace)
		CHILD_CHECK(!unshare(CLONE_NEWUSER));
	kq = kqueue();
	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(change_all(kq, ident, a->filter, EV_ADD, NOTE_EXIT, 0, NULL) ==
		    a->expected);
	/* Nothing is left of a failure, and the kqueue goes on. */
	CHILD_CHECK(change(kq, ident, a->filter, EV_DELETE) ==
		    (a->expected ? -ENOENT : 0));
	CHILD_CHECK(!change(kq, 1, EVFILT_USER, EV_ADD));
}

FIXTURE(may) {
	struct child c;
};

FIXTURE_VARIANT(may) {
	int filter;
};

FIXTURE_VARIANT_ADD(may, by_pid) {
	.filter = EVFILT_PROC,
};

FIXTURE_VARIANT_ADD(may, by_pidfd) {
	.filter = EVFILT_PROCDESC,
};

FIXTURE_SETUP(may)
{
	ASSERT_TRUE(child_start(&self->c));
}

FIXTURE_TEARDOWN(may)
{
	child_ends(&self->c);
	child_reap(&self->c);
}

TEST_F(may, the_same_user_and_root_watch)
{
	struct attempt a = { .pid = self->c.pid, .filter = variant->filter };

	ASSERT_TRUE(child_does(&self->c, 'a'));
	a.uid = ALICE;
	EXPECT_EQ(0, in_child(attempt, &a));
	a.uid = 0;
	EXPECT_EQ(0, in_child(attempt, &a));
}

TEST_F(may, another_user_not_watch)
{
	struct attempt a = { .pid = self->c.pid, .filter = variant->filter };

	/* root's, for a start. */
	a.uid = ALICE;
	a.expected = -EACCES;
	EXPECT_EQ(0, in_child(attempt, &a));
	ASSERT_TRUE(child_does(&self->c, 'a'));
	a.uid = BOB;
	EXPECT_EQ(0, in_child(attempt, &a));
}

TEST_F(may, root_of_a_user_namespace_not_watch_those_outside)
{
	struct attempt a = { .pid = self->c.pid, .filter = variant->filter };

	ASSERT_TRUE(child_does(&self->c, 'a'));
	a.uid = BOB;
	a.in_user_namespace = true;
	a.expected = -EACCES;
	EXPECT_EQ(0, in_child(attempt, &a));
}

TEST_F(may, the_same_user_not_watch_what_has_something_to_hide)
{
	struct attempt a = { .pid = self->c.pid, .filter = variant->filter };

	ASSERT_TRUE(child_does(&self->c, 'a'));
	ASSERT_TRUE(child_does(&self->c, 'h'));
	a.uid = ALICE;
	a.expected = -EACCES;
	EXPECT_EQ(0, in_child(attempt, &a));
	a.uid = 0;
	a.expected = 0;
	EXPECT_EQ(0, in_child(attempt, &a));
}

struct in_namespace {
	int ready[2], go[2];
};

/* root in a namespace of its own watches whoever is in there. */
static void watch_within_a_user_namespace(void *arg)
{
	struct in_namespace *in = arg;
	int kq, fds[2];
	pid_t pid;
	char c;

	become(ALICE);
	CHILD_CHECK(!unshare(CLONE_NEWUSER));
	CHILD_CHECK(write(in->ready[1], "", 1) == 1);
	CHILD_CHECK(read(in->go[0], &c, 1) == 1);
	become(0);
	CHILD_CHECK(!pipe(fds));
	pid = fork();
	if (!pid) {
		become(1);
		CHILD_CHECK(write(fds[1], "", 1) == 1);
		pause();
	}
	CHILD_CHECK(read(fds[0], &c, 1) == 1);
	kq = kqueue();
	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(!watch(kq, pid, NOTE_EXIT));
	kill(pid, SIGKILL);
	CHILD_CHECK(reap(pid) == -SIGKILL);
	CHILD_CHECK(pending(kq) == 1);
	/* And not who is outside. */
	CHILD_CHECK(watch(kq, getppid(), NOTE_EXIT) == -EACCES);
}

TEST_F(proc, of_a_user_namespace_are_watched_by_its_root)
{
	struct in_namespace in;
	char path[64], c;
	pid_t pid;

	ASSERT_EQ(0, pipe(in.ready));
	ASSERT_EQ(0, pipe(in.go));
	pid = fork();
	if (!pid) {
		watch_within_a_user_namespace(&in);
		_exit(0);
	}
	close(in.ready[1]);
	ASSERT_EQ(1, read(in.ready[0], &c, 1));
	snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
	ASSERT_EQ(0, write_file(path, "0 1001 2"));
	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	ASSERT_EQ(0, write_file(path, "0 1001 2"));
	ASSERT_EQ(1, write(in.go[1], "", 1));
	EXPECT_EQ(0, reap(pid));
}

/*
 * Pid namespaces: numbers are those that the watcher's own shows.
 */

static void watch_in_a_pid_namespace(void *arg)
{
	pid_t outside = *(pid_t *)arg, child;
	struct kevent ev[4];
	int kq = kqueue();

	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(getpid() == 1);
	/* What is outside is not there. */
	CHILD_CHECK(watch(kq, outside, NOTE_EXIT) == -ESRCH);
	CHILD_CHECK(!watch(kq, 1, NOTE_TRACK | NOTE_EXIT));
	child = fork();
	if (!child)
		_exit(6);
	CHILD_CHECK(child > 1 && child < 100);
	CHILD_CHECK(reap(child) == 6);
	CHILD_CHECK(poll_events(kq, ev, 4) == 1);
	CHILD_CHECK(ev[0].ident == (uintptr_t)child);
	CHILD_CHECK(ev[0].fflags == NOTE_CHILD && ev[0].data == 1);
	CHILD_CHECK(poll_events(kq, ev, 4) == 1);
	CHILD_CHECK(ev[0].data == STATUS(6));
}

static void unshare_pids(void *arg)
{
	CHILD_CHECK(!unshare(CLONE_NEWPID));
	CHILD_CHECK(!in_child(watch_in_a_pid_namespace, arg));
}

TEST_F(proc, are_numbered_as_the_watchers_namespace_has_them)
{
	/* A number that a new namespace is not going to have soon. */
	pid_t outside = fork_as(30000);

	if (!outside) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	ASSERT_EQ(30000, outside);
	EXPECT_EQ(0, in_child(unshare_pids, &outside));
	kill(outside, SIGKILL);
	EXPECT_EQ(-SIGKILL, reap(outside));
}

static void fork_two(void *arg)
{
	(void)arg;
	CHILD_CHECK(!fork_many((void *)2L));
}

static void fork_in_a_pid_namespace(void *arg)
{
	char c;

	CHILD_CHECK(read(*(int *)arg, &c, 1) == 1);
	CHILD_CHECK(!unshare(CLONE_NEWPID));
	CHILD_CHECK(!in_child(fork_two, NULL));
}

TEST_F(proc, of_a_namespace_within_are_tracked_by_the_numbers_outside)
{
	pid_t outer, inner = 0, child[2] = { 0 };
	int i, n, children = 0, exits = 0, go[2];

	ASSERT_EQ(0, pipe(go));
	outer = fork();
	if (!outer) {
		fork_in_a_pid_namespace(&go[0]);
		_exit(0);
	}
	ASSERT_EQ(0, watch(self->kq, outer, NOTE_TRACK | NOTE_EXIT));
	ASSERT_EQ(1, write(go[1], "", 1));
	while (exits < 4) {
		n = wait_events(self->kq, self->ev, 16);
		ASSERT_LE(1, n);
		for (i = 0; i < n; i++) {
			if (self->ev[i].fflags & NOTE_EXIT) {
				EXPECT_EQ(0, self->ev[i].data);
				exits++;
				continue;
			}
			ASSERT_EQ(NOTE_CHILD, self->ev[i].fflags);
			if (!inner) {
				EXPECT_EQ(outer, self->ev[i].data);
				inner = self->ev[i].ident;
				EXPECT_LT(2, inner);
				continue;
			}
			ASSERT_GT(2, children);
			EXPECT_EQ(inner, self->ev[i].data);
			child[children++] = self->ev[i].ident;
		}
	}
	EXPECT_EQ(2, children);
	EXPECT_NE(child[0], child[1]);
	EXPECT_EQ(0, reap(outer));
}

/* Asks for a certain pid outside of the new namespace's. */
static void fork_as_seen_outside(void *arg)
{
	pid_t pid = *(pid_t *)arg, tids[] = { 2, pid };
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)tids,
		.set_tid_size = 2,
	};
	pid_t child;

	/* In a namespace where the number that is asked for is nobody's. */
	child = syscall(SYS_clone3, &args, sizeof(args));
	if (!child)
		_exit(2);
	CHILD_CHECK(child == 2);
	CHILD_CHECK(reap(child) == 2);
}

static void unshare_and_fork_as(void *arg)
{
	CHILD_CHECK(!unshare(CLONE_NEWPID));
	CHILD_CHECK(!in_child(fork_as_seen_outside, arg));
}

TEST_F(proc, of_a_namespace_within_are_not_confused_by_a_pid_used_again)
{
	int i, n, old = 0, born = 0, died = 0;
	pid_t pid;

	/* Beyond the numbers that the new namespace has. */
	pid = fork_as(30001);
	if (!pid)
		_exit(1);
	ASSERT_EQ(30001, pid);
	ASSERT_EQ(0, change_all(self->kq, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0,
				(void *)1));
	EXPECT_EQ(1, reap(pid));
	ASSERT_EQ(0, change_all(self->kq, getpid(), EVFILT_PROC, EV_ADD,
				NOTE_TRACK | NOTE_EXIT, 0, (void *)2));
	EXPECT_EQ(0, in_child(unshare_and_fork_as, &pid));
	while ((n = poll_events(self->kq, self->ev, 16)) > 0) {
		for (i = 0; i < n; i++) {
			if (self->ev[i].ident != (uintptr_t)pid)
				continue;
			if (self->ev[i].udata == (void *)1) {
				EXPECT_EQ(NOTE_EXIT, self->ev[i].fflags);
				EXPECT_EQ(STATUS(1), self->ev[i].data);
				old++;
			} else if (self->ev[i].fflags & NOTE_CHILD) {
				born++;
			} else {
				EXPECT_EQ(STATUS(2), self->ev[i].data);
				died++;
			}
		}
	}
	EXPECT_EQ(1, old);
	EXPECT_EQ(1, born);
	EXPECT_EQ(1, died);
}

/* There may be many of one number whose end was not read. */
TEST_F(proc, of_a_pid_used_again_and_again_each_exit_is_told)
{
	int i, n, seen = 0;
	pid_t pid = 30002;

	for (i = 0; i < 100; i++) {
		if (!fork_as(pid))
			_exit(i & 0x7f);
		ASSERT_EQ(0, change_all(self->kq, pid, EVFILT_PROC,
					EV_ADD | (i % 2 ? EV_DISPATCH : 0),
					NOTE_EXIT, 0, (void *)(long)i));
		ASSERT_EQ(i & 0x7f, reap(pid));
	}
	while ((n = poll_events(self->kq, self->ev, 16)) > 0) {
		for (i = 0; i < n; i++, seen++) {
			EXPECT_EQ((void *)(long)seen, self->ev[i].udata);
			EXPECT_EQ(STATUS(seen & 0x7f), self->ev[i].data);
		}
	}
	EXPECT_EQ(100, seen);
}

/*
 * EVFILT_PROCDESC
 */

static int watch_fd(int kq, int fd, unsigned int fflags)
{
	return change_all(kq, fd, EVFILT_PROCDESC, EV_ADD, fflags, 0, NULL);
}

static int pidfd(pid_t pid, unsigned int flags)
{
	return syscall(SYS_pidfd_open, pid, flags);
}

TEST_F(proc, by_a_pidfd_tells_the_same)
{
	struct child c;
	int fd;

	ASSERT_TRUE(child_start(&c));
	fd = pidfd(c.pid, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch_fd(self->kq, fd, NOTE_EXIT | NOTE_FORK | NOTE_EXEC));
	ASSERT_TRUE(child_does(&c, 'f'));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(fd, self->ev[0].ident);
	EXPECT_EQ(EVFILT_PROCDESC, self->ev[0].filter);
	EXPECT_EQ(NOTE_FORK, self->ev[0].fflags);
	ASSERT_TRUE(child_does(&c, 'x'));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_EXEC, self->ev[0].fflags);
	child_ends(&c);
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
	EXPECT_EQ(NOTE_EXIT, self->ev[0].fflags);
	EXPECT_EQ(STATUS(33), self->ev[0].data);
	EXPECT_EQ(EV_EOF | EV_ONESHOT | EV_CLEAR, self->ev[0].flags);
	EXPECT_EQ(33, child_reap(&c));
	EXPECT_EQ(-ESRCH, watch_fd(self->kq, fd, NOTE_EXIT));
	close(fd);
}

TEST_F(proc, by_a_pidfd_tracks_children_by_pid)
{
	struct child c;
	int fd;

	ASSERT_TRUE(child_start(&c));
	fd = pidfd(c.pid, 0);
	ASSERT_EQ(0, watch_fd(self->kq, fd, NOTE_EXIT | NOTE_TRACK));
	ASSERT_TRUE(child_does(&c, 'v'));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(EVFILT_PROC, self->ev[0].filter);
	EXPECT_EQ(NOTE_CHILD, self->ev[0].fflags);
	EXPECT_EQ(c.pid, self->ev[0].data);
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 16));
	EXPECT_EQ(STATUS(7), self->ev[0].data);
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
	close(fd);
}

TEST_F(proc, by_a_pidfd_ends_with_the_descriptor)
{
	struct child c;
	int fd, other;

	ASSERT_TRUE(child_start(&c));
	fd = pidfd(c.pid, 0);
	other = dup(fd);
	ASSERT_EQ(0, watch_fd(self->kq, fd, NOTE_EXIT));
	close(fd);
	child_ends(&c);
	EXPECT_EQ(33, child_reap(&c));
	EXPECT_EQ(0, pending(self->kq));
	close(other);
}

TEST_F(proc, by_what_is_no_pidfd_of_a_process_is_an_error)
{
	atomic_int tid = 0;
	pthread_t thread;
	int fds[2], fd;

	EXPECT_EQ(-EBADF, watch_fd(self->kq, -1, NOTE_EXIT));
	EXPECT_EQ(-EBADF, watch_fd(self->kq, next_fd(), NOTE_EXIT));
	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(-EINVAL, watch_fd(self->kq, fds[0], NOTE_EXIT));
	EXPECT_EQ(-EINVAL, watch_fd(self->kq, self->kq, NOTE_EXIT));
	EXPECT_EQ(-ENOENT, change(self->kq, fds[0], EVFILT_PROCDESC, EV_DELETE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, tell_tid, &tid));
	ASSERT_TRUE(EVENTUALLY(tid));
	fd = pidfd(tid, PIDFD_THREAD);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, watch_fd(self->kq, fd, NOTE_EXIT));
	pthread_cancel(thread);
	pthread_join(thread, NULL);
}

/* A race: a process is watched while it exits and is waited for. */
TEST_F(proc, is_watched_or_not_there_while_it_is_waited_for)
{
	int i, n, told = 0, gone = 0;
	pid_t pid;

	for (i = 0; i < 300; i++) {
		pid = fork();
		if (!pid)
			_exit(i & 0x7f);
		if (i & 1)
			sched_yield();
		if (i % 3 == 0)
			reap(pid);
		n = watch(self->kq, pid, NOTE_EXIT);
		if (n == -ESRCH) {
			gone++;
		} else {
			ASSERT_EQ(0, n);
			ASSERT_EQ(1, wait_events(self->kq, self->ev, 16));
			ASSERT_EQ(STATUS(i & 0x7f), self->ev[0].data);
			told++;
		}
		if (i % 3)
			ASSERT_EQ(i & 0x7f, reap(pid));
		ASSERT_EQ(0, pending(self->kq));
	}
	EXPECT_EQ(100, gone);
	EXPECT_EQ(200, told);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--obey")) {
		/* The letter that made it exec is answered from here. */
		if (write(STDOUT_FILENO, "", 1) != 1)
			return 1;
		obey(STDIN_FILENO, STDOUT_FILENO);
	}
	if (argc == 2 && !strcmp(argv[1], "--exit"))
		return 9;
	return test_harness_run(argc, argv);
}
