// SPDX-License-Identifier: GPL-2.0
/*
 * Users who mean harm: who want all there is, or a CPU to themselves. Those who
 * want to read what is not theirs are in curious.c, and who want to watch the
 * processes of others in proc.c.
 */
#include "kqtest.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define TIMERS_MAX	"/sys/module/kqueue/parameters/timers_max"

/* Nobody else here has these. */
#define SOMEBODY	61244
#define ANYBODY		61245

static const struct timespec zero;

static void become(uid_t uid)
{
	CHILD_CHECK(setresgid(uid, uid, uid) == 0);
	CHILD_CHECK(setresuid(uid, uid, uid) == 0);
}

/* What the tests and the processes they make both see. */
static atomic_int *shared_int(void)
{
	atomic_int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return shared == MAP_FAILED ? NULL : shared;
}

/*
 * Wanting all there is.
 */

#define LIMIT	40

FIXTURE(greedy) {
	long before;
};

FIXTURE_VARIANT(greedy) {
	const char *limit;
	int filter;
	unsigned int fflags;
	bool of_user;	/* and not of a process */
};

FIXTURE_VARIANT_ADD(greedy, for_user_events) {
	.limit = USER_EVENTS_MAX, .filter = EVFILT_USER, .fflags = NOTE_TRIGGER,
};

FIXTURE_VARIANT_ADD(greedy, for_timers) {
	.limit = TIMERS_MAX, .filter = EVFILT_TIMER, .fflags = NOTE_ABSTIME,
};

FIXTURE_VARIANT_ADD(greedy, for_watches) {
	.limit = WATCHES_MAX, .filter = EVFILT_USER, .fflags = NOTE_TRIGGER,
	.of_user = true,
};

FIXTURE_SETUP(greedy)
{
	self->before = read_number(variant->limit);
	ASSERT_LT(0, self->before);
	ASSERT_EQ(0, write_number(variant->limit, LIMIT));
}

FIXTURE_TEARDOWN(greedy)
{
	write_number(variant->limit, self->before);
}

/* Takes what there is in kqueue after kqueue, and says how much that was. */
static int take_all(const FIXTURE_VARIANT(greedy) *variant)
{
	int kq = -1, taken = 0, ret = 0;

	while (!ret && taken < 10 * LIMIT) {
		if (taken % 15 == 0)
			kq = kqueue();
		CHILD_CHECK(kq >= 0);
		ret = change_all(kq, taken, variant->filter, EV_ADD,
				 variant->fflags, 0, NULL);
		if (!ret)
			taken++;
	}
	CHILD_CHECK(ret == -ENOMEM);
	return taken;
}

struct demand {
	const FIXTURE_VARIANT(greedy) *variant;
	uid_t uid;
	int gets;
};

static void demand(void *arg)
{
	struct demand *d = arg, more = *d;
	int kq;

	become(d->uid);
	kq = kqueue();
	CHILD_CHECK(take_all(d->variant) == d->gets);
	/* It is refused in whatever way it is asked for, and again. */
	CHILD_CHECK(change_all(kq, 1, d->variant->filter, EV_ADD,
			       d->variant->fflags, 0, NULL) == -ENOMEM);
	/* Children do not help where it is the user's. */
	if (d->gets) {
		more.gets = d->variant->of_user ? 0 : LIMIT;
		more.uid = d->uid;
		if (d->variant->of_user)
			CHILD_CHECK(in_child(demand, &more) == 0);
	}
	/* Others have what they had. */
	if (d->uid == SOMEBODY && d->gets)
		CHILD_CHECK(kill(getppid(), 0) == -1 && errno == EPERM);
}

TEST_F(greedy, process_gets_the_limit_and_not_more)
{
	struct demand d = { .variant = variant, .uid = SOMEBODY, .gets = LIMIT };

	EXPECT_EQ(0, in_child(demand, &d));
	/* And as much again, once the one before has ended. */
	EXPECT_EQ(0, in_child(demand, &d));
}

static void be_greedy_and_wait(const FIXTURE_VARIANT(greedy) *variant,
			       atomic_int *stage)
{
	become(SOMEBODY);
	CHILD_CHECK(take_all(variant) == LIMIT);
	*stage = 1;
	pause();
}

TEST_F(greedy, process_takes_nothing_from_others)
{
	struct demand d = { .variant = variant, .uid = ANYBODY, .gets = LIMIT };
	atomic_int *stage = shared_int();
	pid_t pid;
	int kq;

	ASSERT_NE(NULL, stage);
	pid = fork();
	if (!pid) {
		be_greedy_and_wait(variant, stage);
		_exit(0);
	}
	ASSERT_TRUE(EVENTUALLY(*stage == 1));
	EXPECT_EQ(0, in_child(demand, &d));
	kq = kqueue();
	ASSERT_LE(0, kq);
	EXPECT_EQ(0, change_all(kq, 1, variant->filter, EV_ADD, variant->fflags,
				0, NULL));
	EXPECT_EQ(1, pending(kq));
	kill(pid, SIGKILL);
	EXPECT_EQ(-SIGKILL, reap(pid));
}

static void raise_limit(void *arg)
{
	become(SOMEBODY);
	CHILD_CHECK(write_number(arg, 1 << 30) == -EACCES);
}

TEST_F(greedy, process_cannot_raise_the_limit)
{
	EXPECT_EQ(0, in_child(raise_limit, (char *)variant->limit));
	EXPECT_EQ(LIMIT, read_number(variant->limit));
}

/*
 * Wanting a CPU to themselves. Who wants it and who looks on are on the same
 * one.
 */

static int one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

/* An array of changes that goes on for longer than anybody waits, of which only
 * the first part is in memory.
 */
#define PART	(2 << 20)
#define PARTS	128
#define ENDLESS	((int)((size_t)PART * PARTS / sizeof(struct kevent)))

static struct kevent *endless(const struct kevent *pattern, int len)
{
	int fd = memfd_create("changes", MFD_CLOEXEC), i;
	struct kevent *list;
	char *map;

	map = mmap(NULL, (size_t)PART * PARTS, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHILD_CHECK(fd >= 0 && map != MAP_FAILED && ftruncate(fd, PART) == 0);
	for (i = 0; i < PARTS; i++)
		CHILD_CHECK(mmap(map + (size_t)i * PART, PART,
				 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				 fd, 0) != MAP_FAILED);
	list = (struct kevent *)map;
	for (i = 0; i < PART / (int)sizeof(*list); i++)
		list[i] = pattern[i % len];
	return list;
}

static int nothing_made(int kq, struct kevent *pattern)
{
	(void)kq;
	EV_SET(&pattern[0], 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	EV_SET(&pattern[1], 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	return 2;
}

static int pipes_made(int kq, struct kevent *pattern)
{
	int fds[2];

	(void)kq;
	CHILD_CHECK(pipe(fds) == 0);
	EV_SET(&pattern[0], fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	EV_SET(&pattern[1], fds[0], EVFILT_READ, EV_DELETE, 0, 0, NULL);
	return 2;
}

static int timers_made(int kq, struct kevent *pattern)
{
	(void)kq;
	EV_SET(&pattern[0], 1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS, 1000, NULL);
	EV_SET(&pattern[1], 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	return 2;
}

/* As many kqueues as may be in one, and one more: whether it makes a ring is
 * looked for each time.
 */
#define KQUEUES	1000

static int kqueues_made(int kq, struct kevent *pattern)
{
	int i, inner = -1;

	for (i = 0; i < KQUEUES; i++) {
		inner = kqueue();
		CHILD_CHECK(inner >= 0);
		CHILD_CHECK(change(kq, inner, EVFILT_READ, EV_ADD) == 0);
	}
	EV_SET(&pattern[0], inner, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	EV_SET(&pattern[1], inner, EVFILT_READ, EV_ADD, 0, 0, NULL);
	return 2;
}

static int mistakes_made(int kq, struct kevent *pattern)
{
	(void)kq;
	EV_SET(&pattern[0], 77, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	return 1;
}

FIXTURE(endless) {
	struct rlimit files;
	atomic_int *stage;
};

FIXTURE_VARIANT(endless) {
	int (*make)(int kq, struct kevent *pattern);
	bool answered;
	int signal;
};

FIXTURE_VARIANT_ADD(endless, user_events) { .make = nothing_made, .signal = SIGKILL };
FIXTURE_VARIANT_ADD(endless, pipes) { .make = pipes_made, .signal = SIGTERM };
FIXTURE_VARIANT_ADD(endless, timers) { .make = timers_made, .signal = SIGKILL };
FIXTURE_VARIANT_ADD(endless, kqueues) { .make = kqueues_made, .signal = SIGTERM };
FIXTURE_VARIANT_ADD(endless, mistakes) {
	.make = mistakes_made, .answered = true, .signal = SIGKILL,
};

FIXTURE_SETUP(endless)
{
	struct rlimit limit;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &self->files));
	limit = self->files;
	limit.rlim_cur = limit.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	self->stage = shared_int();
	ASSERT_NE(NULL, self->stage);
	ASSERT_EQ(0, one_cpu());
}

FIXTURE_TEARDOWN(endless)
{
	setrlimit(RLIMIT_NOFILE, &self->files);
}

static void change_for_ever(const FIXTURE_VARIANT(endless) *variant,
			    atomic_int *stage)
{
	struct kevent pattern[2], *list;
	int kq;

	become(SOMEBODY);
	kq = kqueue();
	list = endless(pattern, variant->make(kq, pattern));
	*stage = 1;
	kevent(kq, list, ENDLESS, list, variant->answered ? ENDLESS : 0, &zero);
	*stage = 2;
	pause();
}

TEST_F(endless, changes_let_others_run_and_end_with_a_signal)
{
	pid_t pid;
	int i;

	pid = fork();
	if (!pid) {
		change_for_ever(variant, self->stage);
		_exit(1);
	}
	ASSERT_LT(0, pid);
	ASSERT_TRUE(EVENTUALLY(*self->stage == 1));
	/* Each of these wants the CPU from the one that changes. */
	for (i = 0; i < 50; i++)
		usleep(1000);
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
	ASSERT_EQ(0, kill(pid, variant->signal));
	EXPECT_TRUE(EVENTUALLY(waitpid(pid, NULL, WNOHANG) == pid));
	EXPECT_EQ(1, *self->stage);
}

/*
 * What one call can do to many knotes.
 */

#define KNOTES	30000

FIXTURE(crowd) {
	long user_events_max;
	atomic_int *stage;
};

FIXTURE_VARIANT(crowd) {
	bool on_descriptor;
	void (*act)(int kq, int fd);
};

static void deliver_all(int kq, int fd)
{
	struct kevent *events = calloc(1000000, sizeof(*events));

	(void)fd;
	CHILD_CHECK(events);
	CHILD_CHECK(kev(kq, NULL, 0, events, 1000000, &zero) == KNOTES);
}

static void close_kqueue(int kq, int fd)
{
	(void)fd;
	CHILD_CHECK(close(kq) == 0);
}

static void close_descriptor(int kq, int fd)
{
	CHILD_CHECK(close(fd) == 0);
	CHILD_CHECK(pending(kq) == 0);
}

static void write_to_it(int kq, int fd)
{
	CHILD_CHECK(write(fd, "\1\0\0\0\0\0\0\0", 8) == 8);
	CHILD_CHECK(pending(kq) == 16);
}

static void exit_with_it(int kq, int fd)
{
	(void)kq;
	(void)fd;
	_exit(0);
}

static void fork_with_it(int kq, int fd)
{
	pid_t pid = fork();

	(void)fd;
	if (!pid)
		_exit(close(kq) == 0 || errno != EBADF);
	CHILD_CHECK(pid > 0 && reap(pid) == 0);
}

static void show_it(int kq, int fd)
{
	char path[64], buf[65536];
	ssize_t len;
	int info;

	(void)fd;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", kq);
	info = open(path, O_RDONLY);
	CHILD_CHECK(info >= 0);
	do {
		len = read(info, buf, sizeof(buf));
		CHILD_CHECK(len >= 0);
	} while (len);
}

FIXTURE_VARIANT_ADD(crowd, delivered) { .act = deliver_all };
FIXTURE_VARIANT_ADD(crowd, closed) { .act = close_kqueue };
FIXTURE_VARIANT_ADD(crowd, exited_with) { .act = exit_with_it };
FIXTURE_VARIANT_ADD(crowd, forked_with) { .act = fork_with_it };
FIXTURE_VARIANT_ADD(crowd, shown) { .act = show_it };
FIXTURE_VARIANT_ADD(crowd, on_a_descriptor_closed) {
	.on_descriptor = true, .act = close_descriptor,
};
FIXTURE_VARIANT_ADD(crowd, on_a_descriptor_exited_with) {
	.on_descriptor = true, .act = exit_with_it,
};
FIXTURE_VARIANT_ADD(crowd, on_a_descriptor_written_to) {
	.on_descriptor = true, .act = write_to_it,
};

FIXTURE_SETUP(crowd)
{
	self->user_events_max = read_number(USER_EVENTS_MAX);
	ASSERT_LT(0, self->user_events_max);
	ASSERT_EQ(0, write_number(USER_EVENTS_MAX, 1 << 30));
	self->stage = shared_int();
	ASSERT_NE(NULL, self->stage);
	ASSERT_EQ(0, one_cpu());
}

FIXTURE_TEARDOWN(crowd)
{
	write_number(USER_EVENTS_MAX, self->user_events_max);
}

static void crowd_and_act(const FIXTURE_VARIANT(crowd) *variant,
			  atomic_int *stage)
{
	struct kevent *changes = calloc(KNOTES, sizeof(*changes));
	int kq, fd = eventfd(0, 0), i;

	become(SOMEBODY);
	kq = kqueue();
	CHILD_CHECK(changes);
	for (i = 0; i < KNOTES; i++) {
		if (variant->on_descriptor)
			EV_SET(&changes[i], fd, EVFILT_READ,
			       EV_ADD | EV_UDATA_SPECIFIC, 0, 0,
			       (uintptr_t)i);
		else
			EV_SET(&changes[i], i, EVFILT_USER, EV_ADD,
			       NOTE_TRIGGER, 0, NULL);
	}
	CHILD_CHECK(kev(kq, changes, KNOTES, NULL, 0, NULL) == 0);
	*stage = 1;
	variant->act(kq, fd);
	*stage = 2;
}

TEST_F_TIMEOUT(crowd, does_not_keep_others_from_running, 900)
{
	unsigned long looks = 0;
	double begun = 0, took;
	int status = -1;
	pid_t pid;

	pid = fork();
	if (!pid) {
		crowd_and_act(variant, self->stage);
		_exit(0);
	}
	ASSERT_LT(0, pid);
	while (waitpid(pid, &status, WNOHANG) == 0 && *self->stage < 2) {
		if (*self->stage == 0) {
			usleep(500);
			begun = now();
		} else {
			looks++;
		}
	}
	took = now() - begun;
	/* What is over as soon as that has held up nobody. */
	EXPECT_TRUE(looks > 1 || took < 0.1)
		TH_LOG("%lu looks in %.2f s", looks, took);
	if (status == -1) {
		EXPECT_EQ(0, reap(pid));
	} else {
		EXPECT_EQ(0, status);
	}
}

/*
 * What one call can do to many that are ready, and turn out to have nothing to tell.
 */

FIXTURE(idle) {
	int kq, fd;
	atomic_int *stage;
};

FIXTURE_SETUP(idle)
{
	struct kevent *changes = calloc(KNOTES, sizeof(*changes));
	int i;

	ASSERT_NE(NULL, changes);
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->fd = eventfd(0, 0);
	ASSERT_LE(0, self->fd);
	for (i = 0; i < KNOTES; i++)
		EV_SET(&changes[i], self->fd, EVFILT_READ,
		       EV_ADD | EV_UDATA_SPECIFIC, 0, 0, (uintptr_t)i);
	ASSERT_EQ(0, kev(self->kq, changes, KNOTES, NULL, 0, NULL));
	free(changes);
	self->stage = shared_int();
	ASSERT_NE(NULL, self->stage);
	ASSERT_EQ(0, one_cpu());
}

FIXTURE_TEARDOWN(idle)
{
	close(self->kq);
}

/* In another process, which shares the table: its end ends no knote. */
static void scan_in_vain(FIXTURE_DATA(idle) *self)
{
	eventfd_t value;
	struct kevent ev;

	for (;;) {
		if (eventfd_write(self->fd, 1) || eventfd_read(self->fd, &value))
			_exit(1);
		*self->stage = 1;
		if (kevent(self->kq, NULL, 0, &ev, 1, &zero))
			_exit(1);
		*self->stage = 0;
	}
}

/* As a kqueue that watches it says. */
static int64_t are_ready(int kq)
{
	int outer = kqueue(), n;
	struct kevent ev;

	if (change(outer, kq, EVFILT_READ, EV_ADD))
		return -1;
	n = poll_events(outer, &ev, 1);
	close(outer);
	return n == 1 ? ev.data : n;
}

#define KILLED	10

TEST_F_TIMEOUT(idle, scan_ends_when_its_thread_is_killed, 300)
{
	int i = 0, ended = 0;
	struct kevent ev;
	pid_t pid;

	while (i < KILLED) {
		*self->stage = 0;
		pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
		if (!pid)
			scan_in_vain(self);
		ASSERT_LT(0, pid);
		ASSERT_TRUE(EVENTUALLY(*self->stage == 1));
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(-SIGKILL, reap(pid));
		/* Elsewhere it was not in the call. */
		if (*self->stage == 1) {
			ended += are_ready(self->kq) > 0;
			i++;
		}
		/* What it has not come to is for another. */
		ASSERT_EQ(0, poll_events(self->kq, &ev, 1));
		ASSERT_EQ(0, are_ready(self->kq));
	}
	/* It may have come to the end of it just then. */
	EXPECT_LE(KILLED / 2, ended) TH_LOG("%d of %d", ended, KILLED);
	ASSERT_EQ(0, eventfd_write(self->fd, 1));
	EXPECT_EQ(1, poll_events(self->kq, &ev, 1));
}

#ifdef __x86_64__

/*
 * Calls of the x32 ABI, which any program can make where the kernel has that. Its
 * structures are not those of other programs whose addresses have 32 bits.
 */

#define X32_IOCTL	(__X32_SYSCALL_BIT | 514)

TEST(x32_call_is_enotty_and_does_nothing)
{
	static const unsigned int requests[] = {
		KQUEUE_IOC_KEVENT, KQUEUE_IOC_CREATE, KQUEUE_IOC_FLAVOUR,
	};
	bool has_x32 = syscall(__X32_SYSCALL_BIT | SYS_getpid) == getpid();
	struct kevent change[2] = {};
	union {
		struct kqueue_kevent kevent;
		char all[256];
	} *arg;
	int kq = kqueue();
	unsigned int i;

	ASSERT_LE(0, kq);
	/* Addresses that such a program can pass. */
	arg = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)arg);
	EV_SET(&change[0], 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL);
	EV_SET(&change[1], 2, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL);
	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		memset(arg, 0, sizeof(*arg));
		arg->kevent.changelist = (uintptr_t)memcpy(arg + 1, change, sizeof(change));
		arg->kevent.nchanges = 2;
		EXPECT_EQ(-1, syscall(X32_IOCTL, kq, requests[i], arg));
		EXPECT_EQ(has_x32 ? ENOTTY : ENOSYS, errno) TH_LOG("%u", i);
	}
	EXPECT_EQ(0, pending(kq));
	ASSERT_EQ(0, kqueue_ioctl(kq, KQUEUE_IOC_KEVENT, arg));
	EXPECT_EQ(2, pending(kq));
}

#endif

TEST_HARNESS_MAIN
