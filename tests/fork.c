// SPDX-License-Identifier: GPL-2.0
/*
 * Whose a kqueue is: the file table's that made it. What fork, exec, clone,
 * unshare and the passing of descriptors make of that.
 */
#include "kqtest.h"
#include "net.h"

#include <linux/sched.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

extern char **environ;

FIXTURE(owner) {
	int kq;
	int r, w;	/* a pipe */
	struct kevent ev[8];
};

FIXTURE_SETUP(owner)
{
	int fds[2];

	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, pipe(fds));
	self->r = fds[0];
	self->w = fds[1];
}

FIXTURE_TEARDOWN(owner)
{
	close(self->kq);
}

static int watch(int kq, int fd)
{
	return change(kq, fd, EVFILT_READ, EV_ADD);
}

/* Whether a kqueue does what it should: of this process, one says. */
static bool works(int kq)
{
	return change_all(kq, 4711, EVFILT_USER, EV_ADD | EV_ONESHOT,
			  NOTE_TRIGGER, 0, NULL) == 0 && pending(kq) >= 1;
}

/* Whether nothing at all can be done with it. */
static bool is_anothers(int kq)
{
	struct kqueue_create create = {};
	struct kfilter_mapping byname = { .name = "EVFILT_READ" };
	char name[KFILTER_MAXNAME];
	struct kfilter_mapping byfilter = {
		.name = name, .len = sizeof(name), .filter = EVFILT_READ,
	};
	struct kqueue_kevent args = {};
	const int ret[] = {
		pending(kq), trigger(kq, 1), change(kq, 0, EVFILT_READ, EV_ADD),
		kqueue_ioctl(kq, KQUEUE_IOC_KEVENT, &args),
		kqueue_ioctl(kq, KQUEUE_IOC_CREATE, &create),
		kqueue_ioctl(kq, KFILTER_BYNAME, &byname),
		kqueue_ioctl(kq, KFILTER_BYFILTER, &byfilter),
	};
	bool all = true;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ret); i++) {
		if (ret[i] == -EBADF)
			continue;
		fprintf(stderr, "# of the calls, number %zu gave %d\n", i,
			ret[i]);
		all = false;
	}
	return all;
}

static bool is_closed(int fd)
{
	return fcntl(fd, F_GETFD) == -1 && errno == EBADF;
}

/*
 * What this program does when a test has it executed anew, with the numbers of
 * a kqueue and another descriptor.
 */

static void exec_expects_closed(int kq, int fd)
{
	(void)fd;
	CHILD_CHECK(is_closed(kq));
	CHILD_CHECK(close(kq) == -1 && errno == EBADF);
	kq = kqueue();
	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(works(kq));
}

/* User event 1, triggered, and the descriptor, readable with 3 bytes. */
static void exec_expects_events(int kq, int fd)
{
	struct kevent ev[8];

	CHILD_CHECK(poll_events(kq, ev, 8) == 2);
	CHILD_CHECK(ev[0].ident == 1 && ev[0].filter == EVFILT_USER);
	CHILD_CHECK(ev[0].udata == (void *)0x1234);
	CHILD_CHECK((int)ev[1].ident == fd && ev[1].filter == EVFILT_READ);
	CHILD_CHECK(ev[1].data == 3);
	CHILD_CHECK(works(kq));
	CHILD_CHECK(change(kq, fd, EVFILT_READ, EV_DELETE) == 0);
	CHILD_CHECK(change(kq, 1, EVFILT_USER, EV_DELETE) == 0);
	CHILD_CHECK(pending(kq) == 0);
}

/* The kqueue, and not the descriptor it watched. */
static void exec_expects_no_knote(int kq, int fd)
{
	CHILD_CHECK(is_closed(fd));
	CHILD_CHECK(pending(kq) == 0);
	CHILD_CHECK(change(kq, fd, EVFILT_READ, EV_DELETE) == -EBADF);
	CHILD_CHECK(dup2(eventfd(1, 0), fd) == fd);
	CHILD_CHECK(pending(kq) == 0);
	CHILD_CHECK(change(kq, fd, EVFILT_READ, EV_DELETE) == -ENOENT);
	CHILD_CHECK(works(kq));
}

static void exec_expects_anothers(int kq, int fd)
{
	(void)fd;
	CHILD_CHECK(is_anothers(kq));
}

/* That four user events can be added, which is as many as there may be. */
static void exec_expects_room_for_four(int kq, int fd)
{
	int i;

	(void)fd;
	CHILD_CHECK(is_closed(kq));
	kq = kqueue();
	CHILD_CHECK(kq >= 0);
	for (i = 0; i < 4; i++)
		CHILD_CHECK(change(kq, i, EVFILT_USER, EV_ADD) == 0);
	CHILD_CHECK(change(kq, i, EVFILT_USER, EV_ADD) == -ENOMEM);
}

static const struct {
	const char *name;
	void (*check)(int kq, int fd);
} expectations[] = {
	{ "closed", exec_expects_closed },
	{ "events", exec_expects_events },
	{ "no-knote", exec_expects_no_knote },
	{ "anothers", exec_expects_anothers },
	{ "room-for-four", exec_expects_room_for_four },
};

static int expect_main(char **argv)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(expectations); i++)
		if (!strcmp(argv[0], expectations[i].name)) {
			expectations[i].check(atoi(argv[1]), atoi(argv[2]));
			return 0;
		}
	return 2;
}

struct args {
	char kq[16], fd[16];
	char *argv[6];
};

static char **exec_args(struct args *args, const char *name, int kq, int fd)
{
	snprintf(args->kq, sizeof(args->kq), "%d", kq);
	snprintf(args->fd, sizeof(args->fd), "%d", fd);
	args->argv[0] = "fork";
	args->argv[1] = "--expect";
	args->argv[2] = (char *)name;
	args->argv[3] = args->kq;
	args->argv[4] = args->fd;
	args->argv[5] = NULL;
	return args->argv;
}

static void exec_self(const char *name, int kq, int fd)
{
	struct args args;

	execve("/proc/self/exe", exec_args(&args, name, kq, fd), environ);
	CHILD_CHECK(!"executed");
}

/*
 * Fork, in all of its forms: the child does not have the descriptor.
 */

/* Which has to hold right away: these are a child's first system calls. */
static void child_without(void *arg)
{
	int kq = *(int *)arg;

	CHILD_CHECK(close(kq) == -1 && errno == EBADF);
	CHILD_CHECK(is_closed(kq));
	CHILD_CHECK(pending(kq) == -EBADF);
}

TEST_F(owner, fork_child_does_not_have_it)
{
	EXPECT_EQ(0, in_child(child_without, &self->kq));
	EXPECT_TRUE(works(self->kq));
}

static void child_reuses_number(void *arg)
{
	/* The lowest that is free is the one that is given. */
	while (is_closed(*(int *)arg))
		CHILD_CHECK(open("/dev/null", O_RDONLY) <= *(int *)arg);
	CHILD_CHECK(pending(*(int *)arg) == -EBADF);
}

TEST_F(owner, fork_child_has_its_number_free)
{
	EXPECT_EQ(0, in_child(child_reuses_number, &self->kq));
	EXPECT_TRUE(works(self->kq));
}

static void child_without_range(void *arg)
{
	int *kq = arg;

	for (int i = 0; i < 20; i++)
		CHILD_CHECK(close(kq[i]) == -1 && errno == EBADF);
	CHILD_CHECK(close(kq[20]) == 0);
}

TEST_F(owner, fork_child_has_none_of_many_and_all_else)
{
	int kq[21], i;

	/* Dups and close-on-exec ones among them; the last is none. */
	for (i = 0; i < 20; i++) {
		kq[i] = i % 3 ? kqueue1(i % 3 == 1 ? 0 : O_CLOEXEC) :
			dup(self->kq);
		ASSERT_LE(0, kq[i]);
	}
	kq[20] = dup(STDERR_FILENO);
	EXPECT_EQ(0, in_child(child_without_range, kq));
	for (i = 0; i < 20; i++) {
		EXPECT_TRUE(works(kq[i]));
	}
}

static void child_with_own(void *arg)
{
	int kq = kqueue();

	(void)arg;
	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(works(kq));
	/* Whose child, in turn, does not have it. */
	CHILD_CHECK(in_child(child_without, &kq) == 0);
	CHILD_CHECK(works(kq));
}

TEST_F(owner, fork_child_can_make_its_own)
{
	EXPECT_EQ(0, in_child(child_with_own, NULL));
	EXPECT_TRUE(works(self->kq));
}

static void child_forks(void *arg)
{
	CHILD_CHECK(in_child(child_without, arg) == 0);
}

TEST_F(owner, fork_grandchild_does_not_have_it)
{
	EXPECT_EQ(0, in_child(child_forks, &self->kq));
}

static void child_closes_everything(void *arg)
{
	int *fds = arg;

	CHILD_CHECK(close(fds[0]) == 0);
	CHILD_CHECK(dup2(STDERR_FILENO, fds[1]) == fds[1]);
	syscall(SYS_close_range, 3, ~0U, 0);
}

TEST_F(owner, fork_child_closing_what_is_watched_leaves_the_knote)
{
	int fds[2] = { self->r, self->w };

	ASSERT_EQ(0, watch(self->kq, self->r));
	ASSERT_EQ(0, in_child(child_closes_everything, fds));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(1, write(self->w, "x", 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(self->r, self->ev[0].ident);
}

static void child_writes(void *arg)
{
	CHILD_CHECK(write(*(int *)arg, "abc", 3) == 3);
}

TEST_F(owner, fork_child_can_bring_about_the_parents_event)
{
	ASSERT_EQ(0, watch(self->kq, self->r));
	ASSERT_EQ(0, in_child(child_writes, &self->w));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(3, self->ev[0].data);
}

TEST_F(owner, fork_while_a_thread_waits_leaves_it_waiting)
{
	struct waiter w = { .kq = self->kq };
	int i;

	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, in_child(child_without, &self->kq));
	}
	EXPECT_FALSE(w.done);
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, waiter_result(&w));
}

TEST_F(owner, vfork_child_does_not_have_it)
{
	pid_t pid = vfork();

	if (!pid)
		_exit(close(self->kq) == -1 && errno == EBADF ? 0 : 1);
	EXPECT_EQ(0, reap(pid));
	EXPECT_TRUE(works(self->kq));
}

TEST_F(owner, posix_spawn_child_does_not_have_it)
{
	struct args args;
	pid_t pid;

	ASSERT_EQ(0, posix_spawn(&pid, "/proc/self/exe", NULL, NULL,
				 exec_args(&args, "closed", self->kq, 0),
				 environ));
	EXPECT_EQ(0, reap(pid));
	EXPECT_TRUE(works(self->kq));
}

static void child_executes(void *arg)
{
	exec_self("closed", *(int *)arg, 0);
}

TEST_F(owner, forked_and_executed_program_does_not_have_it)
{
	EXPECT_EQ(0, in_child(child_executes, &self->kq));
	EXPECT_TRUE(works(self->kq));
}

static pid_t raw_clone(unsigned long flags)
{
	return syscall(SYS_clone, flags, 0, 0, 0, 0);
}

TEST_F(owner, cloned_child_with_its_own_table_does_not_have_it)
{
	pid_t pid = raw_clone(SIGCHLD);

	if (!pid) {
		child_without(&self->kq);
		_exit(0);
	}
	EXPECT_EQ(0, reap(pid));
	EXPECT_TRUE(works(self->kq));
}

/*
 * Sharing the table.
 */

static void *thread_main(void *arg)
{
	int kq = *(int *)arg;

	return (void *)(uintptr_t)(works(kq) && trigger(kq, 1) == 0);
}

TEST_F(owner, threads_share_it)
{
	pthread_t thread;
	void *ok;

	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD));
	ASSERT_EQ(0, pthread_create(&thread, NULL, thread_main, &self->kq));
	ASSERT_EQ(0, pthread_join(thread, &ok));
	EXPECT_NE(NULL, ok);
	EXPECT_EQ(1, pending(self->kq));
}

static void *making_thread_main(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)kqueue();
}

TEST_F(owner, one_a_thread_made_outlives_the_thread)
{
	pthread_t thread;
	void *kq;

	ASSERT_EQ(0, pthread_create(&thread, NULL, making_thread_main, NULL));
	ASSERT_EQ(0, pthread_join(thread, &kq));
	EXPECT_TRUE(works((intptr_t)kq));
}

TEST_F(owner, child_that_shares_the_table_shares_it)
{
	pid_t pid;

	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD));
	pid = raw_clone(CLONE_FILES | SIGCHLD);
	if (!pid) {
		CHILD_CHECK(works(self->kq));
		CHILD_CHECK(trigger(self->kq, 1) == 0);
		_exit(0);
	}
	ASSERT_EQ(0, reap(pid));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].ident);
}

TEST_F(owner, child_that_shares_the_table_closes_for_both)
{
	pid_t pid;

	ASSERT_EQ(0, watch(self->kq, self->r));
	pid = raw_clone(CLONE_FILES | SIGCHLD);
	if (!pid) {
		CHILD_CHECK(close(self->r) == 0);
		_exit(0);
	}
	ASSERT_EQ(0, reap(pid));
	EXPECT_EQ(-EBADF, change(self->kq, self->r, EVFILT_READ, EV_DELETE));
}

static void maker_ends_first(void *arg)
{
	int *fds = arg, gone[2];
	int kq = kqueue();
	char byte;

	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(change(kq, 1, EVFILT_USER, EV_ADD) == 0);
	CHILD_CHECK(pipe(gone) == 0);
	if (!raw_clone(CLONE_FILES)) {
		/* The one that made it ends; then this one is its only owner. */
		while (getppid() == *(pid_t *)(fds + 2))
			usleep(500);
		byte = trigger(kq, 1) == 0 && pending(kq) == 1 ? 'y' : 'n';
		if (write(fds[1], &byte, 1) != 1)
			_exit(1);
		_exit(0);
	}
}

TEST_F(owner, it_lives_on_in_a_sharer_when_its_maker_has_ended)
{
	int fds[3];
	char byte = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	if (!pid) {
		fds[2] = getpid();
		maker_ends_first(fds);
		_exit(0);
	}
	ASSERT_EQ(0, reap(pid));
	ASSERT_EQ(1, read(fds[0], &byte, 1));
	EXPECT_EQ('y', byte);
}

/*
 * Leaving a shared table: the copy is another one.
 */

struct leaver {
	int kq, r;
	bool left, anothers, closed;
};

static void *leave_main(void *arg)
{
	struct leaver *l = arg;

	l->left = unshare(CLONE_FILES) == 0;
	l->anothers = is_anothers(l->kq);
	/* In its own table it may close what it likes. */
	close(l->kq);
	l->closed = close(l->r) == 0;
	return NULL;
}

TEST_F(owner, thread_that_leaves_the_table_leaves_it)
{
	struct leaver l = { .kq = self->kq, .r = self->r };
	pthread_t thread;

	ASSERT_EQ(0, watch(self->kq, self->r));
	ASSERT_EQ(0, pthread_create(&thread, NULL, leave_main, &l));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_TRUE(l.left);
	EXPECT_TRUE(l.anothers);
	EXPECT_TRUE(l.closed);
	ASSERT_EQ(1, write(self->w, "x", 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(self->r, self->ev[0].ident);
	EXPECT_TRUE(works(self->kq));
}

TEST_F(owner, sharer_that_executes_leaves_it_and_takes_no_knote_along)
{
	pid_t pid;

	ASSERT_EQ(0, fcntl(self->r, F_SETFD, FD_CLOEXEC));
	ASSERT_EQ(0, watch(self->kq, self->r));
	pid = raw_clone(CLONE_FILES | SIGCHLD);
	if (!pid)
		exec_self("anothers", self->kq, 0);
	ASSERT_EQ(0, reap(pid));
	/* What exec closed it closed in its own table. */
	ASSERT_EQ(1, write(self->w, "x", 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(self->r, self->ev[0].ident);
}

/*
 * Exec: the same process, with what is not close-on-exec. Each in a child,
 * which is then another program.
 */

static void exec_with_events(void *arg)
{
	int kq = kqueue(), fds[2];

	(void)arg;
	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(pipe(fds) == 0);
	CHILD_CHECK(change_all(kq, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0,
			       (void *)0x1234) == 0);
	CHILD_CHECK(watch(kq, fds[0]) == 0);
	CHILD_CHECK(write(fds[1], "abc", 3) == 3);
	exec_self("events", kq, fds[0]);
}

TEST(exec_keeps_it_and_its_knotes)
{
	EXPECT_EQ(0, in_child(exec_with_events, NULL));
}

static void exec_with_cloexec_kqueue(void *arg)
{
	int kq = kqueue1(O_CLOEXEC);

	(void)arg;
	CHILD_CHECK(kq >= 0);
	exec_self("closed", kq, 0);
}

TEST(exec_closes_one_that_is_close_on_exec)
{
	EXPECT_EQ(0, in_child(exec_with_cloexec_kqueue, NULL));
}

static void exec_with_four_events(void *arg)
{
	int kq = kqueue1(O_CLOEXEC), i;

	(void)arg;
	CHILD_CHECK(kq >= 0);
	for (i = 0; i < 4; i++)
		CHILD_CHECK(change(kq, i, EVFILT_USER, EV_ADD) == 0);
	exec_self("room-for-four", kq, 0);
}

FIXTURE(exec_limit) {
	long limit;
};

FIXTURE_SETUP(exec_limit)
{
	self->limit = read_number(USER_EVENTS_MAX);
	ASSERT_LT(0, self->limit);
	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 4));
}

FIXTURE_TEARDOWN(exec_limit)
{
	write_number(USER_EVENTS_MAX, self->limit);
}

TEST_F(exec_limit, closing_at_exec_gives_its_user_events_back)
{
	EXPECT_EQ(0, in_child(exec_with_four_events, NULL));
}

static void exec_with_cloexec_pipe(void *arg)
{
	int kq = kqueue(), fds[2], copy;

	(void)arg;
	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(pipe(fds) == 0);
	/* The open file stays, readable: it is the descriptor that goes. */
	copy = dup(fds[0]);
	CHILD_CHECK(copy >= 0);
	CHILD_CHECK(fcntl(fds[0], F_SETFD, FD_CLOEXEC) == 0);
	CHILD_CHECK(watch(kq, fds[0]) == 0);
	CHILD_CHECK(write(fds[1], "abc", 3) == 3);
	exec_self("no-knote", kq, fds[0]);
}

TEST(exec_removes_the_knotes_of_what_it_closes)
{
	EXPECT_EQ(0, in_child(exec_with_cloexec_pipe, NULL));
}

static void *sleep_main(void *arg)
{
	struct kevent ev;

	kevent(*(int *)arg, NULL, 0, &ev, 1, NULL);
	return NULL;
}

static void exec_with_threads(void *arg)
{
	int kq = kqueue(), i;
	pthread_t thread;

	(void)arg;
	CHILD_CHECK(kq >= 0);
	for (i = 0; i < 4; i++)
		CHILD_CHECK(pthread_create(&thread, NULL, sleep_main,
					   &kq) == 0);
	/* With threads that wait on it, or are about to. */
	exec_with_events(NULL);
}

TEST(exec_keeps_it_though_threads_were_waiting)
{
	EXPECT_EQ(0, in_child(exec_with_threads, NULL));
}

static void exec_that_fails(void *arg)
{
	int kq = kqueue(), fds[2];

	(void)arg;
	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(pipe2(fds, O_CLOEXEC) == 0);
	CHILD_CHECK(watch(kq, fds[0]) == 0);
	CHILD_CHECK(write(fds[1], "abc", 3) == 3);
	CHILD_CHECK(execl("/nonexistent", "nonexistent", NULL) == -1);
	CHILD_CHECK(execl("/dev/null", "null", NULL) == -1);
	CHILD_CHECK(pending(kq) == 1);
}

TEST(exec_that_fails_changes_nothing)
{
	EXPECT_EQ(0, in_child(exec_that_fails, NULL));
}

static void change_ids(void *arg)
{
	int kq = kqueue();

	(void)arg;
	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	CHILD_CHECK(works(kq));
}

TEST(changing_ids_keeps_it)
{
	EXPECT_EQ(0, in_child(change_ids, NULL));
}

/*
 * Passing it on.
 */

static int receive_fd(int sock)
{
	union {
		struct cmsghdr hdr;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {};
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	int fd = -1;

	if (recvmsg(sock, &msg, 0) != 1)
		return -errno;
	if (control.hdr.cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(&control.hdr), sizeof(fd));
	return fd;
}

FIXTURE(passing) {
	int kq, other;
	int sv[2];
	long limit;
	struct kevent ev[8];
};

FIXTURE_SETUP(passing)
{
	int i;

	self->limit = read_number(USER_EVENTS_MAX);
	ASSERT_LT(0, self->limit);
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->other = kqueue();
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, unix_pair(self->sv));
	/* All that there may be, so that it shows when it has ended. */
	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 4));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, change(self->kq, i, EVFILT_USER, EV_ADD));
	}
}

FIXTURE_TEARDOWN(passing)
{
	write_number(USER_EVENTS_MAX, self->limit);
	close(self->kq);
	close(self->other);
}

static bool has_ended(FIXTURE_DATA(passing) *self)
{
	int ret = change(self->other, 99, EVFILT_USER, EV_ADD);

	if (!ret)
		change(self->other, 99, EVFILT_USER, EV_DELETE);
	return ret != -ENOMEM;
}

static void child_receives(void *arg)
{
	int kq = receive_fd(*(int *)arg);

	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(is_anothers(kq));
	/* Closing what it was given is all it can do, and harms nobody. */
	CHILD_CHECK(close(kq) == 0);
}

TEST_F(passing, over_a_socket_another_process_cannot_use_it)
{
	ASSERT_EQ(0, send_fd(self->sv[0], self->kq));
	EXPECT_EQ(0, in_child(child_receives, &self->sv[1]));
	EXPECT_FALSE(has_ended(self));
	EXPECT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, pending(self->kq));
}

static void child_takes(void *arg)
{
	int *pid_and_kq = arg, pidfd, kq;

	pidfd = syscall(SYS_pidfd_open, pid_and_kq[0], 0);
	CHILD_CHECK(pidfd >= 0);
	kq = syscall(SYS_pidfd_getfd, pidfd, pid_and_kq[1], 0);
	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(is_anothers(kq));
	CHILD_CHECK(close(kq) == 0);
}

TEST_F(passing, through_pidfd_getfd_another_process_cannot_use_it)
{
	int pid_and_kq[2] = { getpid(), self->kq };

	EXPECT_EQ(0, in_child(child_takes, pid_and_kq));
	EXPECT_FALSE(has_ended(self));
	EXPECT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(passing, to_itself_a_process_gets_another_descriptor_of_it)
{
	int kq;

	ASSERT_EQ(0, send_fd(self->sv[0], self->kq));
	kq = receive_fd(self->sv[1]);
	ASSERT_LE(0, kq);
	ASSERT_NE(self->kq, kq);
	ASSERT_EQ(0, trigger(kq, 1));
	EXPECT_EQ(1, pending(self->kq));
	/* As after dup(): either may go first. */
	ASSERT_EQ(0, close(self->kq));
	EXPECT_FALSE(has_ended(self));
	EXPECT_EQ(1, pending(kq));
	ASSERT_EQ(0, close(kq));
	EXPECT_TRUE(has_ended(self));
}

TEST_F(passing, does_not_keep_it_alive_on_the_way)
{
	int kq;

	ASSERT_EQ(0, send_fd(self->sv[0], self->kq));
	ASSERT_EQ(0, close(self->kq));
	EXPECT_TRUE(has_ended(self));
	/* What arrives is dead, to the one that made it too. */
	kq = receive_fd(self->sv[1]);
	ASSERT_LE(0, kq);
	EXPECT_TRUE(is_anothers(kq));
	EXPECT_EQ(0, close(kq));
}

/* Though its process has no kqueue any more. */
TEST_F(passing, what_arrives_dead_is_not_had_by_a_child)
{
	int kq;

	ASSERT_EQ(0, send_fd(self->sv[0], self->kq));
	ASSERT_EQ(0, close(self->kq));
	ASSERT_EQ(0, close(self->other));
	kq = receive_fd(self->sv[1]);
	ASSERT_LE(0, kq);
	EXPECT_EQ(0, in_child(child_without, &kq));
	EXPECT_EQ(0, close(kq));
}

TEST_F(passing, does_not_keep_the_watched_file_open)
{
	int fds[2];
	char byte;

	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	ASSERT_EQ(0, change(self->kq, fds[1], EVFILT_WRITE, EV_ADD));
	ASSERT_EQ(0, send_fd(self->sv[0], self->kq));
	ASSERT_EQ(0, close(self->kq));
	ASSERT_EQ(0, close(fds[1]));
	EXPECT_EQ(0, read(fds[0], &byte, 1));
}

struct holder {
	int sock, ready;
};

static void child_holds(void *arg)
{
	struct holder *h = arg;
	int kq = receive_fd(h->sock);
	char byte;

	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(write(h->ready, "x", 1) == 1);
	/* Until the parent has seen what it wanted to see. */
	CHILD_CHECK(read(h->sock, &byte, 1) == 1);
	CHILD_CHECK(is_anothers(kq));
}

TEST_F(passing, to_another_process_does_not_keep_it_alive)
{
	struct holder h = { .sock = self->sv[1] };
	int fds[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(fds));
	h.ready = fds[1];
	ASSERT_EQ(0, send_fd(self->sv[0], self->kq));
	pid = fork();
	if (!pid) {
		child_holds(&h);
		_exit(0);
	}
	ASSERT_EQ(1, read(fds[0], &byte, 1));
	EXPECT_FALSE(has_ended(self));
	ASSERT_EQ(0, close(self->kq));
	EXPECT_TRUE(has_ended(self));
	ASSERT_EQ(1, write(self->sv[0], "x", 1));
	EXPECT_EQ(0, reap(pid));
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "--expect"))
		return expect_main(argv + 2);
	return test_harness_run(argc, argv);
}
