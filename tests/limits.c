// SPDX-License-Identifier: GPL-2.0
/*
 * What there is only so much of: descriptors, watches, memory.
 */
#include "kqtest.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define REFCNT	"/sys/module/kqueue/refcnt"

/*
 * Descriptors.
 */

FIXTURE(descriptors) {
	int kq;
	int last;	/* the highest there may be; all are in use */
};

FIXTURE_SETUP(descriptors)
{
	struct rlimit limit;

	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = 40;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	while ((self->last = dup(STDERR_FILENO)) >= 0 && self->last < 39)
		;
	ASSERT_EQ(39, self->last);
}

FIXTURE_TEARDOWN(descriptors)
{
	close(self->kq);
}

static int create(int kq)
{
	struct kqueue_create args = {};

	return kqueue_ioctl(kq, KQUEUE_IOC_CREATE, &args);
}

TEST_F(descriptors, when_all_are_used_kqueue_is_emfile)
{
	EXPECT_EQ(-1, kqueue());
	EXPECT_EQ(EMFILE, errno);
	EXPECT_EQ(-1, kqueue1(O_CLOEXEC));
	EXPECT_EQ(EMFILE, errno);
}

TEST_F(descriptors, when_all_are_used_create_is_emfile)
{
	EXPECT_EQ(-EMFILE, create(self->kq));
}

TEST_F(descriptors, when_all_are_used_the_others_go_on_working)
{
	ASSERT_EQ(-EMFILE, create(self->kq));
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER,
				0, NULL));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(descriptors, failing_for_want_of_them_leaves_nothing_behind)
{
	long before;
	int i;

	ASSERT_EQ(0, close(self->last));
	before = read_number(REFCNT);
	ASSERT_LE(0, before);
	ASSERT_EQ(self->last, dup(STDERR_FILENO));
	for (i = 0; i < 500; i++) {
		ASSERT_EQ(-1, kqueue());
		ASSERT_EQ(-EMFILE, create(self->kq));
	}
	/* A kqueue that nobody can close would keep the module for ever. */
	ASSERT_EQ(0, close(self->last));
	EXPECT_TRUE(EVENTUALLY(read_number(REFCNT) == before));
	EXPECT_EQ(self->last, create(self->kq));
	ASSERT_EQ(0, close(self->last));
	EXPECT_EQ(self->last, kqueue());
}

/*
 * Watches of a user. Counted for one nobody else is, so that the numbers are
 * exact whatever else runs here.
 */

#define SOMEBODY	61234
#define ANYBODY		61235

FIXTURE(watches) {
	long before;
};

FIXTURE_SETUP(watches)
{
	self->before = read_number(WATCHES_MAX);
	ASSERT_LT(0, self->before);
	ASSERT_EQ(0, write_number(WATCHES_MAX, 20));
}

FIXTURE_TEARDOWN(watches)
{
	write_number(WATCHES_MAX, self->before);
}

/* A new kqueue of a user's. */
static int kqueue_of(uid_t uid)
{
	int kq;

	CHILD_CHECK(setresuid(uid, uid, 0) == 0);
	kq = kqueue();
	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(setresuid(0, 0, 0) == 0);
	return kq;
}

/* Add as many as there may be; how many that were. */
static int add_all(int kq, int first)
{
	int i, ret = 0;

	for (i = 0; i < 1000 && !ret; i++)
		ret = change(kq, first + i, EVFILT_USER, EV_ADD);
	return ret == -ENOMEM ? i - 1 : ret;
}

static void past_the_limit(void *arg)
{
	int kq = kqueue_of(SOMEBODY), fds[2];
	struct kevent ev;

	(void)arg;
	CHILD_CHECK(add_all(kq, 0) == 20);
	/* The error says the same where it comes as an event. */
	EV_SET(&ev, 20, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHILD_CHECK(kev(kq, &ev, 1, &ev, 1, NULL) == 1);
	CHILD_CHECK(ev.flags & EV_ERROR && ev.data == ENOMEM);
	/* Descriptors are watched, too. */
	CHILD_CHECK(pipe(fds) == 0);
	CHILD_CHECK(change(kq, fds[0], EVFILT_READ, EV_ADD) == -ENOMEM);
	/* What is there goes on working. */
	CHILD_CHECK(trigger(kq, 19) == 0);
	CHILD_CHECK(pending(kq) == 1);
	/* One less makes room for one. */
	CHILD_CHECK(change(kq, 0, EVFILT_USER, EV_DELETE) == 0);
	CHILD_CHECK(change(kq, fds[0], EVFILT_READ, EV_ADD) == 0);
	CHILD_CHECK(change(kq, 0, EVFILT_USER, EV_ADD) == -ENOMEM);
	/* So does closing what is watched. */
	CHILD_CHECK(close(fds[0]) == 0);
	CHILD_CHECK(change(kq, 0, EVFILT_USER, EV_ADD) == 0);
}

TEST_F(watches, past_the_limit_add_is_enomem)
{
	EXPECT_EQ(0, in_child(past_the_limit, NULL));
}

static void over_kqueues(void *arg)
{
	int kq[2] = { kqueue_of(SOMEBODY), kqueue_of(SOMEBODY) };
	int i;

	(void)arg;
	for (i = 0; i < 8; i++)
		CHILD_CHECK(change(kq[0], i, EVFILT_USER, EV_ADD) == 0);
	CHILD_CHECK(add_all(kq[1], 0) == 12);
	/* A closed one gives its watches back. */
	CHILD_CHECK(close(kq[0]) == 0);
	CHILD_CHECK(add_all(kq[1], 100) == 8);
}

TEST_F(watches, are_counted_over_all_kqueues_of_the_user)
{
	EXPECT_EQ(0, in_child(over_kqueues, NULL));
}

static void has_room_for(void *arg)
{
	int *uid_and_room = arg;

	CHILD_CHECK(add_all(kqueue_of(uid_and_room[0]), 0) == uid_and_room[1]);
}

static void over_processes(void *arg)
{
	int room[2];

	(void)arg;
	CHILD_CHECK(add_all(kqueue_of(SOMEBODY), 0) == 20);
	room[0] = SOMEBODY;
	room[1] = 0;
	CHILD_CHECK(in_child(has_room_for, room) == 0);
	room[0] = ANYBODY;
	room[1] = 20;
	CHILD_CHECK(in_child(has_room_for, room) == 0);
}

TEST_F(watches, are_counted_over_the_users_processes_and_nobody_elses)
{
	EXPECT_EQ(0, in_child(over_processes, NULL));
}

static void changed_meanwhile(void *arg)
{
	int kq = kqueue_of(SOMEBODY);

	(void)arg;
	CHILD_CHECK(add_all(kq, 0) == 20);
	CHILD_CHECK(write_number(WATCHES_MAX, 25) == 0);
	CHILD_CHECK(add_all(kq, 100) == 5);
	CHILD_CHECK(write_number(WATCHES_MAX, 1) == 0);
	CHILD_CHECK(change(kq, 200, EVFILT_USER, EV_ADD) == -ENOMEM);
	CHILD_CHECK(trigger(kq, 100) == 0);
	CHILD_CHECK(pending(kq) == 1);
}

TEST_F(watches, limit_can_be_changed_at_any_time)
{
	EXPECT_EQ(0, in_child(changed_meanwhile, NULL));
}

TEST_F(watches, limit_is_by_default_a_small_part_of_memory)
{
	long memory = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);

	/* 4 % of low memory, at what a knote takes: some hundreds of bytes. */
	EXPECT_LT(memory / 25 / 2048, self->before);
	EXPECT_GT(memory / 25 / 64, self->before);
}

/*
 * Memory of a control group.
 */

#define CGROUPS	"/sys/fs/cgroup"

FIXTURE(memory) {
	long user_events_max;
	char dir[64];
	atomic_int *stage;	/* shared with the child */
};

static int cgroup_write(FIXTURE_DATA(memory) *self, const char *file,
			const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", self->dir, file);
	return write_file(path, text);
}

static long cgroup_read(FIXTURE_DATA(memory) *self, const char *file)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", self->dir, file);
	return read_number(path);
}

FIXTURE_SETUP(memory)
{
	self->user_events_max = read_number(USER_EVENTS_MAX);
	ASSERT_LT(0, self->user_events_max);
	snprintf(self->dir, sizeof(self->dir), CGROUPS "/kqueue-test-%d",
		 getpid());
	if (write_file(CGROUPS "/cgroup.subtree_control", "+memory")) {
		self->dir[0] = '\0';
		SKIP(return, "no memory controller at " CGROUPS);
	}
	ASSERT_EQ(0, mkdir(self->dir, 0755));
	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 1 << 30));
	self->stage = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->stage);
	*self->stage = 0;
}

FIXTURE_TEARDOWN(memory)
{
	write_number(USER_EVENTS_MAX, self->user_events_max);
	if (self->dir[0]) {
		cgroup_write(self, "cgroup.kill", "1");
		EVENTUALLY(rmdir(self->dir) == 0);
	}
}

/* Enter the group, alone, with a kqueue. */
static int enter(FIXTURE_DATA(memory) *self)
{
	int kq = kqueue();

	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(cgroup_write(self, "cgroup.procs", "0") == 0);
	return kq;
}

#define ADDED	20000

static void add_and_wait(FIXTURE_DATA(memory) *self)
{
	int kq = enter(self), i;

	*self->stage = 1;
	while (*self->stage == 1)
		usleep(500);
	for (i = 0; i < ADDED; i++)
		CHILD_CHECK(change(kq, i, EVFILT_USER, EV_ADD) == 0);
	*self->stage = 3;
	while (*self->stage == 3)
		usleep(500);
}

TEST_F(memory, of_knotes_is_the_control_groups)
{
	long before, with;
	pid_t pid;

	pid = fork();
	if (!pid) {
		add_and_wait(self);
		_exit(0);
	}
	ASSERT_TRUE(EVENTUALLY(*self->stage == 1));
	before = cgroup_read(self, "memory.current");
	*self->stage = 2;
	ASSERT_TRUE(EVENTUALLY(*self->stage == 3));
	with = cgroup_read(self, "memory.current");
	/* A knote is more than that, and the count is no finer. */
	EXPECT_LT(ADDED * 100, with - before);
	*self->stage = 4;
	EXPECT_EQ(0, reap(pid));
	/* It is freed after the process has gone, but then it is. */
	EXPECT_TRUE(EVENTUALLY(cgroup_read(self, "memory.current") <
			       before + (with - before) / 10))
		TH_LOG("%ld before, %ld with knotes, %ld after", before, with,
		       cgroup_read(self, "memory.current"));
}

/*
 * At the limit the kernel looks for somebody to kill, and only where there is
 * nobody the allocation fails. So this process is not to be killed. Then what
 * it needs from here on it must have already: its own page faults would wait
 * for memory for ever. All it does is kevent, and look at *stage.
 */
static void exhaust(FIXTURE_DATA(memory) *self)
{
	int kq = enter(self), i, ret;

	CHILD_CHECK(write_file("/proc/self/oom_score_adj", "-1000") == 0);
	CHILD_CHECK(mlockall(MCL_CURRENT) == 0);
	CHILD_CHECK(pending(kq) == 0);
	*self->stage = 1;
	while (*self->stage == 1)
		sched_yield();
	for (i = 0, ret = 0; i < 1000000 && !ret; i++)
		ret = change(kq, i, EVFILT_USER, EV_ADD);
	*self->stage = ret == -ENOMEM && i > 1 ? 3 : 100;
	/* What is there goes on working. */
	for (i = 0; i < 100; i++) {
		if (change_all(kq, 0, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL) ||
		    pending(kq) != 1 || change(kq, 0, EVFILT_USER, EV_CLEAR))
			*self->stage = 101;
	}
	/* And what goes gives its memory back, to be had again. */
	for (i = 1; i < 1000; i++)
		change(kq, i, EVFILT_USER, EV_DELETE);
	if (*self->stage == 3)
		*self->stage = 4;
	while (*self->stage == 4)
		sched_yield();
	/* There is more memory now. */
	CHILD_CHECK(*self->stage == 5);
	for (i = 1; i < 1000; i++)
		CHILD_CHECK(change(kq, i, EVFILT_USER, EV_ADD) == 0);
	CHILD_CHECK(trigger(kq, 999) == 0);
	CHILD_CHECK(pending(kq) == 1);
}

TEST_F(memory, exhausted_is_enomem_and_what_is_there_goes_on_working)
{
	char max[32];
	pid_t pid;
	int kq;

	pid = fork();
	if (!pid) {
		exhaust(self);
		_exit(0);
	}
	ASSERT_TRUE(EVENTUALLY(*self->stage == 1));
	snprintf(max, sizeof(max), "%ld",
		 cgroup_read(self, "memory.current") + (2L << 20));
	ASSERT_EQ(0, cgroup_write(self, "memory.max", max));
	*self->stage = 2;
	ASSERT_TRUE(EVENTUALLY(*self->stage > 3))
		TH_LOG("stage %d", *self->stage);
	EXPECT_EQ(4, *self->stage);
	/* It is that group's want and nobody else's. */
	kq = kqueue();
	EXPECT_LE(0, kq);
	EXPECT_EQ(0, change(kq, 1, EVFILT_USER, EV_ADD));
	ASSERT_EQ(0, cgroup_write(self, "memory.max", "max"));
	*self->stage = 5;
	EXPECT_EQ(0, reap(pid));
}

static void exhaust_and_be_killed(FIXTURE_DATA(memory) *self)
{
	int kq = enter(self), i;

	for (i = 0; change(kq, i, EVFILT_USER, EV_ADD) == 0; i++)
		;
	/* Or it fails first: that is for the kernel to choose. */
	CHILD_CHECK(change(kq, i, EVFILT_USER, EV_ADD) == -ENOMEM);
	_exit(0);
}

TEST_F(memory, of_a_process_killed_for_want_of_it_is_freed)
{
	long refcnt = read_number(REFCNT);
	pid_t pid;
	int ret;

	ASSERT_EQ(0, cgroup_write(self, "memory.max", "4194304"));
	pid = fork();
	if (!pid)
		exhaust_and_be_killed(self);
	ret = reap(pid);
	EXPECT_TRUE(ret == -SIGKILL || ret == 0) TH_LOG("%d", ret);
	EXPECT_TRUE(EVENTUALLY(cgroup_read(self, "memory.current") < 1 << 20))
		TH_LOG("%ld", cgroup_read(self, "memory.current"));
	EXPECT_TRUE(EVENTUALLY(read_number(REFCNT) == refcnt));
}

TEST_HARNESS_MAIN
