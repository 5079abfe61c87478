// SPDX-License-Identifier: GPL-2.0
/*
 * On the debug kernel: of a call under test the first allocation fails, then the
 * second, and so on until none is left; and likewise its copies from and to the
 * program. Only those count that have a function of the module's on the stack. Each
 * time the call succeeds, or fails with the error there is for that; what it was
 * called with goes on working; and the same call succeeds when nothing fails.
 *
 * What is left in memory is looked for at the end of the machine's run.
 */
#include "kqtest.h"
#include "net.h"

#include <sys/un.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#define FAULT	"/sys/kernel/debug/"
#define TRACING	"/sys/kernel/tracing"
#define PROBE	4242	/* a user event that shows that a kqueue works */
#define MANY	300	/* more knotes than a close looks at by itself */

static const struct timespec zero;

/* What a call is about, made anew for every fault. */
struct scene {
	int kq;
	int fd, other;		/* what is watched, and its other end */
	pid_t child;
	char path[64];
	struct kevent change;
	int result;		/* of something that the call did besides */
};

/*
 * Faults.
 */

static int set(const char *attribute, const char *name, unsigned long value)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), FAULT "%s/%s", attribute, name);
	snprintf(text, sizeof(text), "%#lx", value);
	return write_file(path, text);
}

static int set_word(const char *attribute, const char *name, const char *word)
{
	char path[128];

	snprintf(path, sizeof(path), FAULT "%s/%s", attribute, name);
	return write_file(path, word);
}

/* Where a function of the kernel begins, or a section of the module. */
static unsigned long address_of(const char *name)
{
	unsigned long address = 0;
	char line[256], symbol[128], type;
	FILE *f = fopen("/proc/kallsyms", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx %c %127s", &address, &type, symbol) == 3 &&
		    !strcmp(symbol, name))
			break;
		else
			address = 0;
	if (f)
		fclose(f);
	return address;
}

static unsigned long module_text(void)
{
	unsigned long address = 0;
	FILE *f = fopen("/sys/module/kqueue/sections/.text", "r");

	if (f) {
		if (fscanf(f, "%lx", &address) != 1)
			address = 0;
		fclose(f);
	}
	return address;
}

enum fault { ALLOCATION, COPY };

/*
 * From now on what can fail is what has a function between these on its stack. No
 * stack is looked at for what is not to fail, and then nothing is found there. Nor
 * does what a checker needs to remember where it was called from: that is less each
 * time, and the next fault would be one further than it should.
 */
static int choose(enum fault fault, unsigned long start, unsigned long end)
{
	static const char *const attributes[] = { "failslab", "fail_page_alloc",
						  "fail_usercopy" };
	unsigned long depot = address_of("stack_depot_save_flags");
	int i, ret = 0;

	if (!start || !depot)
		return -ENOENT;
	for (i = 0; i < 3 && !ret; i++) {
		const char *at = attributes[i];

		ret = set(at, "require-start", start) ?: set(at, "require-end", end) ?:
		      set(at, "reject-start", depot) ?: set(at, "reject-end", depot + 0x400) ?:
		      set(at, "stacktrace-depth", (i == 2) == (fault == COPY) ? 32 : 0) ?:
		      set(at, "verbose", 0);
	}
	/* Those that may sleep too, and single pages. */
	return ret ?: set_word("failslab", "ignore-gfp-wait", "N") ?:
	       set_word("fail_page_alloc", "ignore-gfp-wait", "N") ?:
	       set_word("fail_page_alloc", "ignore-gfp-highmem", "N") ?:
	       set("fail_page_alloc", "min-order", 0);
}

static int fail_nth = -1;

static bool arm(int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", n);

	return pwrite(fail_nth, text, len, 0) == len;
}

/* Whether it has come so far. */
static bool disarm(void)
{
	char text[16] = "";

	if (pread(fail_nth, text, sizeof(text) - 1, 0) < 1)
		return false;
	arm(0);
	return atoi(text) == 0;
}

/*
 * What is watched.
 */

static int none(struct scene *s)
{
	(void)s;
	return 0;
}

static int make_pipe(struct scene *s)
{
	int fds[2];

	if (pipe2(fds, O_NONBLOCK))
		return -errno;
	s->fd = fds[0];
	s->other = fds[1];
	return write(fds[1], "x", 1) == 1 ? 0 : -errno;
}

static int make_pipe_end(struct scene *s)
{
	int ret = make_pipe(s), fd = s->fd;

	s->fd = s->other;
	s->other = fd;
	return ret;
}

static int make_unix(struct scene *s)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv))
		return -errno;
	s->fd = sv[0];
	s->other = sv[1];
	return write(sv[1], "x", 1) == 1 ? 0 : -errno;
}

static int make_unconnected(struct scene *s)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	sprintf(addr.sun_path + 1, "inject%d", getpid());
	s->other = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(s->other, (void *)&addr, sizeof(addr)) || listen(s->other, 1))
		return -errno;
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	return change_all(s->kq, s->fd, EVFILT_WRITE, EV_ADD, 0, 0, NULL);
}

static int make_listener(struct scene *s)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	return bind(s->fd, (void *)&addr, sizeof(addr)) || listen(s->fd, 1) ? -errno : 0;
}

static int make_udp(struct scene *s)
{
	s->fd = socket(AF_INET, SOCK_DGRAM, 0);
	return s->fd < 0 ? -errno : 0;
}

static int make_eventfd(struct scene *s)
{
	s->fd = eventfd(1, 0);
	return s->fd < 0 ? -errno : 0;
}

static int make_timerfd(struct scene *s)
{
	s->fd = timerfd_create(CLOCK_MONOTONIC, 0);
	return s->fd < 0 ? -errno : 0;
}

static int make_epoll(struct scene *s)
{
	s->fd = epoll_create1(0);
	return s->fd < 0 ? -errno : 0;
}

static int make_inotify(struct scene *s)
{
	s->fd = inotify_init1(0);
	return s->fd < 0 ? -errno : 0;
}

static int make_terminal(struct scene *s)
{
	s->fd = open("/dev/ptmx", O_RDWR | O_NOCTTY);
	return s->fd < 0 ? -errno : 0;
}

static int make_null(struct scene *s)
{
	s->fd = open("/dev/null", O_RDWR);
	return s->fd < 0 ? -errno : 0;
}

static int make_file(struct scene *s)
{
	sprintf(s->path, "/tmp/inject-%d", getpid());
	s->fd = open(s->path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	return s->fd < 0 || write(s->fd, "x", 1) != 1 ? -errno : 0;
}

static int make_directory(struct scene *s)
{
	sprintf(s->path, "/tmp/inject-%d", getpid());
	if (mkdir(s->path, 0700))
		return -errno;
	s->fd = open(s->path, O_RDONLY | O_DIRECTORY);
	return s->fd < 0 ? -errno : 0;
}

static int make_kqueue(struct scene *s)
{
	s->fd = kqueue();
	return s->fd < 0 ? -errno : 0;
}

static int make_child(struct scene *s)
{
	s->child = fork();
	if (!s->child) {
		for (;;)
			pause();
	}
	s->fd = pidfd_open(s->child, 0);
	return s->fd < 0 ? -errno : 0;
}

/*
 * Changes. The first thing in a list that is not there is a filter of 0.
 */

struct what {
	const char *name;
	int (*make)(struct scene *s);
	int filter;
	unsigned int flags;
	unsigned int fflags;
	int64_t data;
};

static const struct what whats[] = {
	{ "read_pipe", make_pipe, .filter = EVFILT_READ },
	{ "write_pipe", make_pipe_end, .filter = EVFILT_WRITE },
	{ "read_unix", make_unix, .filter = EVFILT_READ },
	{ "write_unix", make_unix, .filter = EVFILT_WRITE },
	{ "except_unix", make_unix, .filter = EVFILT_EXCEPT, .fflags = NOTE_OOB },
	{ "empty_unix", make_unix, .filter = EVFILT_EMPTY },
	{ "read_listener", make_listener, .filter = EVFILT_READ },
	{ "read_udp", make_udp, .filter = EVFILT_READ },
	{ "write_udp", make_udp, .filter = EVFILT_WRITE, .flags = EV_CLEAR },
	{ "read_eventfd", make_eventfd, .filter = EVFILT_READ, .flags = EV_DISPATCH },
	{ "read_timerfd", make_timerfd, .filter = EVFILT_READ },
	{ "read_epoll", make_epoll, .filter = EVFILT_READ },
	{ "read_inotify", make_inotify, .filter = EVFILT_READ },
	{ "read_terminal", make_terminal, .filter = EVFILT_READ },
	{ "except_terminal", make_terminal, .filter = EVFILT_EXCEPT, .fflags = NOTE_OOB },
	{ "read_null", make_null, .filter = EVFILT_READ },
	{ "read_file", make_file, .filter = EVFILT_READ, .fflags = NOTE_EOF },
	{ "read_directory", make_directory, .filter = EVFILT_READ },
	{ "write_file", make_file, .filter = EVFILT_WRITE },
	{ "read_kqueue", make_kqueue, .filter = EVFILT_READ },
	{ "vnode_file", make_file, .filter = EVFILT_VNODE, .flags = EV_CLEAR,
	  .fflags = NOTE_WRITE | NOTE_DELETE },
	{ "vnode_file_open", make_file, .filter = EVFILT_VNODE, .flags = EV_CLEAR,
	  .fflags = NOTE_OPEN | NOTE_READ },
	{ "vnode_file_revoke", make_file, .filter = EVFILT_VNODE, .flags = EV_CLEAR,
	  .fflags = NOTE_REVOKE },
	{ "vnode_directory", make_directory, .filter = EVFILT_VNODE, .flags = EV_CLEAR,
	  .fflags = NOTE_WRITE | NOTE_DELETE },
	{ "procdesc", make_child, .filter = EVFILT_PROCDESC, .fflags = NOTE_EXIT | NOTE_FORK },
	{ "proc", make_child, .filter = EVFILT_PROC, .fflags = NOTE_EXIT | NOTE_FORK },
	{ "proc_track", make_child, .filter = EVFILT_PROC, .fflags = NOTE_TRACK | NOTE_REAP },
	{ "signal", none, .filter = EVFILT_SIGNAL },
	{ "timer", none, .filter = EVFILT_TIMER, .data = 1000 },
	{ "timer_abstime", none, .filter = EVFILT_TIMER,
	  .fflags = NOTE_ABSTIME | NOTE_SECONDS, .data = 1L << 31 },
	{ "user", none, .filter = EVFILT_USER, .flags = EV_CLEAR },
	{ "fs", none, .filter = EVFILT_FS },
};

static void draw(struct scene *s, const struct what *what, int flags)
{
	uintptr_t ident = what->filter == EVFILT_PROC ? (uintptr_t)s->child :
			  what->make == none ? 10 : (uintptr_t)s->fd;

	EV_SET(&s->change, ident, what->filter, flags | what->flags, what->fflags,
	       what->data, NULL);
}

static int call_change(struct scene *s)
{
	return kev(s->kq, &s->change, 1, NULL, 0, NULL);
}

/*
 * The other calls under test.
 */

static int call_open(struct scene *s)
{
	s->fd = open("/dev/kqueue", O_RDWR);
	return s->fd < 0 ? -errno : 0;
}

static int call_create(struct scene *s)
{
	struct kqueue_create create = { .flavour = KQUEUE_FLAVOUR_MACOS };

	s->fd = ioctl(s->kq, KQUEUE_IOC_CREATE, &create);
	return s->fd < 0 ? -errno : 0;
}

static int call_flavour(struct scene *s)
{
	__u32 flavour = KQUEUE_FLAVOUR_NETBSD;

	return kqueue_ioctl(s->fd, KQUEUE_IOC_FLAVOUR, &flavour);
}

static int call_by_name(struct scene *s)
{
	struct kfilter_mapping m = { .name = "EVFILT_READ" };

	return kqueue_ioctl(s->kq, KFILTER_BYNAME, &m);
}

static int call_by_filter(struct scene *s)
{
	char name[KFILTER_MAXNAME];
	struct kfilter_mapping m = { name, sizeof(name), EVFILT_READ };

	return kqueue_ioctl(s->kq, KFILTER_BYFILTER, &m);
}

/* Any number of them is as good. */
static int add_user_events(struct scene *s, int n)
{
	struct kevent ch[300];
	int i;

	for (i = 0; i < n; i++)
		EV_SET(&ch[i], i, EVFILT_USER, EV_ADD, 0, 0, NULL);
	return kev(s->kq, ch, n, NULL, 0, NULL);
}

static int call_changes(struct scene *s)
{
	return add_user_events(s, 40);
}

/* So many that the table of knotes grows several times. */
static int call_grow(struct scene *s)
{
	return add_user_events(s, 300);
}

static int make_events(struct scene *s)
{
	int i, ret = 0;

	for (i = 0; i < 40 && !ret; i++)
		ret = change_all(s->kq, i, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER, 0,
				 NULL);
	return ret;
}

static int call_events(struct scene *s)
{
	struct kevent ev[40];
	int n = kev(s->kq, NULL, 0, ev, 40, &zero);

	if (n > 0)
		s->result += n;
	return n;
}

/* Each of them once, whatever has failed. */
static int check_events(struct scene *s)
{
	struct kevent ev[64];
	int n = poll_events(s->kq, ev, 64);

	return n < 0 ? n : s->result + n == 40 ? 0 : -ENOMSG;
}

static int call_error_event(struct scene *s)
{
	struct kevent ch, ev;
	int n;

	EV_SET(&ch, 77, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	n = kev(s->kq, &ch, 1, &ev, 1, &zero);
	return n < 0 ? n : n == 1 && ev.data == ENOENT ? 0 : -ENOMSG;
}

static int call_wait(struct scene *s)
{
	struct timespec soon = { .tv_nsec = 1000 };
	struct kevent ev;

	return kev(s->kq, NULL, 0, &ev, 1, &soon);
}

static int make_terminal_input(struct scene *s)
{
	int one = 0;

	s->other = open("/dev/ptmx", O_RDWR | O_NOCTTY);
	ioctl(s->other, TIOCSPTLCK, &one);
	s->fd = ioctl(s->other, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	if (s->fd < 0 || write(s->other, "line\n", 5) != 5)
		return -errno;
	return change(s->kq, s->fd, EVFILT_READ, EV_ADD);
}

/* FIONREAD answers into the event list. */
static int call_event(struct scene *s)
{
	struct kevent ev;
	int n = kev(s->kq, NULL, 0, &ev, 1, &zero);

	return n < 0 ? n : n == 1 ? 0 : -ENOMSG;
}

/* A child has no kqueue, or one that is of no use. */
static int call_fork(struct scene *s)
{
	pid_t pid = fork();

	if (!pid)
		_exit(kev(s->kq, NULL, 0, NULL, 0, NULL) == -EBADF ? 0 : 1);
	s->result = pid < 0 ? -errno : reap(pid);
	return 0;
}

static int check_result(struct scene *s)
{
	return s->result;
}

static int make_tracked(struct scene *s)
{
	return change_all(s->kq, getpid(), EVFILT_PROC, EV_ADD,
			  NOTE_TRACK | NOTE_EXIT, 0, NULL);
}

/* A child is told of, or that one was missed is. */
static int check_tracked(struct scene *s)
{
	struct kevent ev[4];
	int i, n, told = 0;

	if (s->result)
		return s->result;
	n = poll_events(s->kq, ev, 4);
	for (i = 0; i < n; i++)
		if (ev[i].fflags & NOTE_CHILD || (ev[i].ident == (uintptr_t)getpid() &&
						  ev[i].fflags & NOTE_TRACKERR))
			told++;
	return told ? 0 : -ENOMSG;
}

static int make_many(struct scene *s)
{
	int i, ret = make_pipe(s);

	for (i = 0; i < MANY && !ret; i++)
		ret = change_all(s->kq, s->fd, EVFILT_READ, EV_ADD | EV_UDATA_SPECIFIC, 0,
				 0, (void *)(uintptr_t)i);
	return ret;
}

static int call_close(struct scene *s)
{
	int ret = close(s->fd) ? -errno : 0;

	s->fd = -1;
	return ret;
}

static int call_dup2(struct scene *s)
{
	return dup2(s->other, s->fd) < 0 ? -errno : 0;
}

/* Nothing is left of what was on it. */
static int check_closed(struct scene *s)
{
	int n = pending(s->kq);

	return n > 0 ? -ENOTEMPTY : n;
}

static int call_close_kqueue(struct scene *s)
{
	int ret = close(s->kq) ? -errno : 0;

	s->kq = -1;
	return ret;
}

static int check_another(struct scene *s)
{
	s->kq = kqueue();
	return s->kq < 0 ? -errno : 0;
}

static int call_connect(struct scene *s)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	sprintf(addr.sun_path + 1, "inject%d", getpid());
	return connect(s->fd, (void *)&addr, sizeof(addr)) ? -errno : 0;
}

static int make_read_file(struct scene *s)
{
	int ret = make_file(s);

	return ret ?: change(s->kq, s->fd, EVFILT_READ, EV_ADD);
}

static int call_lseek(struct scene *s)
{
	return lseek(s->fd, 0, SEEK_SET) ? -errno : 0;
}

static int check_one(struct scene *s)
{
	struct kevent ev;
	int n = wait_events(s->kq, &ev, 1);

	return n < 0 ? n : n == 1 && ev.ident == (uintptr_t)s->fd ? 0 : -ENOMSG;
}

static int make_vnode_file(struct scene *s)
{
	int ret = make_file(s);

	return ret ?: change_all(s->kq, s->fd, EVFILT_VNODE, EV_ADD | EV_CLEAR,
				 NOTE_DELETE | NOTE_WRITE, 0, NULL);
}

static int call_unlink(struct scene *s)
{
	return unlink(s->path) ? -errno : 0;
}

static int call_write(struct scene *s)
{
	return write(s->fd, "x", 1) == 1 ? 0 : -errno;
}

static int call_fdinfo(struct scene *s)
{
	char path[64], text[8192];
	int fd, n;

	sprintf(path, "/proc/self/fdinfo/%d", s->kq);
	fd = open(path, O_RDONLY);
	n = fd < 0 ? -errno : read(fd, text, sizeof(text));
	if (n < 0)
		n = -errno;
	close(fd);
	return n < 0 ? n : 0;
}

static int call_epoll_add(struct scene *s)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(s->fd, EPOLL_CTL_ADD, s->kq, &event) ? -errno : 0;
}

static int call_poll(struct scene *s)
{
	struct pollfd p = { .fd = s->kq, .events = POLLIN };

	return poll(&p, 1, 0) < 0 ? -errno : 0;
}

static int make_timer(struct scene *s)
{
	return change_all(s->kq, 1, EVFILT_TIMER, EV_ADD, NOTE_MSECONDS, 1, NULL);
}

/* If it is not set, it goes on as before. */
static int call_other_clock(struct scene *s)
{
	int ret = change_all(s->kq, 1, EVFILT_TIMER, EV_ADD, NOTE_ABSTIME | NOTE_SECONDS,
			     1L << 31, NULL);
	struct kevent ev;

	return ret && wait_events(s->kq, &ev, 1) != 1 ? -ENOMSG : ret;
}

struct call {
	const char *name;
	int (*make)(struct scene *s);
	int (*call)(struct scene *s);
	int (*check)(struct scene *s);
	int least[2];		/* of allocations, and of copies, that it makes */
	int stride;		/* not every one is tried, for there are so many */
	bool once;		/* not to be done again */
	bool later;		/* without memory, it is told at the next change */
};

static const struct call calls[] = {
	{ "open", none, call_open, .least = { 2, 0 } },
	{ "create", none, call_create, .least = { 3, 1 } },
	{ "flavour", make_kqueue, call_flavour, .least = { 0, 1 } },
	{ "by_name", none, call_by_name, .least = { 0, 2 } },
	{ "by_filter", none, call_by_filter, .least = { 0, 2 } },
	{ "changes", none, call_changes, .least = { 40, 2 } },
	{ "grow", none, call_grow, .least = { 300, 2 }, .stride = 37 },
	{ "events", make_events, call_events, check_events, .least = { 0, 3 }, .once = true },
	{ "error_event", none, call_error_event, .least = { 0, 2 } },
	{ "wait", none, call_wait, .least = { 0, 2 } },
	{ "terminal_event", make_terminal_input, call_event, .least = { 0, 2 } },
	{ "fork", none, call_fork, check_result, .least = { 1, 0 }, .once = true },
	{ "fork_tracked", make_tracked, call_fork, check_tracked, .least = { 2, 0 },
	  .once = true },
	{ "close", make_many, call_close, check_closed, .least = { 1, 0 }, .once = true },
	{ "dup2", make_many, call_dup2, check_closed, .least = { 1, 0 }, .once = true },
	{ "close_kqueue", make_many, call_close_kqueue, check_another, .once = true },
	{ "connect", make_unconnected, call_connect, check_one, .least = { 1, 0 },
	  .once = true, .later = true },
	{ "lseek", make_read_file, call_lseek, check_one, .least = { 1, 0 }, .once = true,
	  .later = true },
	{ "unlink", make_vnode_file, call_unlink, check_one, .once = true },
	{ "write", make_vnode_file, call_write, check_one, .once = true },
	{ "other_clock", make_timer, call_other_clock, .least = { 1, 2 } },
	{ "fdinfo", make_events, call_fdinfo, .once = false },
	{ "epoll_add", make_epoll, call_epoll_add, .once = true },
	{ "poll", none, call_poll, .once = false },
};

/*
 * The loop.
 */

FIXTURE(inject) {
	int fd;
};

FIXTURE_VARIANT(inject) {
	enum fault fault;
};

FIXTURE_VARIANT_ADD(inject, allocations) {
	.fault = ALLOCATION,
};

FIXTURE_VARIANT_ADD(inject, copies) {
	.fault = COPY,
};

FIXTURE_SETUP(inject)
{
	unsigned long text = module_text();

	if (access(FAULT "failslab", F_OK))
		SKIP(return, "this kernel injects no faults");
	ASSERT_EQ(0, choose(variant->fault, text, text + (1UL << 20)));
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR);
	ASSERT_LE(0, fail_nth);
}

FIXTURE_TEARDOWN(inject)
{
	close(fail_nth);
}

static int begin(struct scene *s, int (*make)(struct scene *s))
{
	*s = (struct scene){ .fd = -1, .other = -1 };
	s->kq = kqueue();
	return s->kq < 0 ? -errno : make(s);
}

static void end(struct scene *s)
{
	close(s->kq);
	close(s->fd);
	close(s->other);
	if (s->child > 0) {
		kill(s->child, SIGKILL);
		reap(s->child);
	}
	if (s->path[0]) {
		unlink(s->path);
		rmdir(s->path);
	}
}

/* A kqueue works. */
static int works(int kq)
{
	struct kevent ev[64];
	int i, n, ret;

	ret = change_all(kq, PROBE, EVFILT_USER, EV_ADD | EV_ONESHOT, NOTE_TRIGGER, 0, NULL);
	if (ret)
		return ret;
	n = poll_events(kq, ev, 64);
	for (i = 0; i < n; i++)
		if (ev[i].filter == EVFILT_USER && ev[i].ident == PROBE)
			return 0;
	return -ENOMSG;
}

static bool expected(enum fault fault, int ret)
{
	return ret >= 0 || ret == (fault == COPY ? -EFAULT : -ENOMEM);
}

TEST_F_TIMEOUT(inject, into_changes, 900)
{
	static const int flags[] = { EV_ADD, EV_ADD | EV_DISABLE, EV_DELETE };
	struct scene s;
	bool reached;
	size_t i, k;
	int n, ret;

	for (i = 0; i < ARRAY_SIZE(whats); i++) {
		const struct what *what = &whats[i];

		/* Added, changed, deleted. */
		for (k = 0; k < ARRAY_SIZE(flags); k++) {
			for (n = 1; ; n++) {
				ASSERT_GT(100, n);
				ASSERT_EQ(0, begin(&s, what->make))
					TH_LOG("%s", what->name);
				draw(&s, what, EV_ADD);
				if (k) {
					ASSERT_EQ(0, call_change(&s))
						TH_LOG("%s", what->name);
				}
				draw(&s, what, flags[k]);
				arm(n);
				ret = call_change(&s);
				reached = disarm();
				EXPECT_TRUE(expected(variant->fault, ret) && (reached || !ret))
					TH_LOG("%s, flags %#x, fault %d: %d", what->name,
					       flags[k], n, ret);
				EXPECT_EQ(0, works(s.kq))
					TH_LOG("%s, flags %#x, fault %d", what->name,
					       flags[k], n);
				/* It is there, or it is not, and can be. */
				if (ret) {
					EXPECT_EQ(0, call_change(&s))
						TH_LOG("%s, flags %#x, fault %d, again",
						       what->name, flags[k], n);
				}
				s.change.flags = EV_DELETE;
				ret = call_change(&s);
				EXPECT_EQ(flags[k] == EV_DELETE ? -ENOENT : 0, ret)
					TH_LOG("%s, flags %#x, fault %d, deleted",
					       what->name, flags[k], n);
				end(&s);
				if (!reached)
					break;
			}
			/* At the least the knote, and what is said of it. */
			if (variant->fault == COPY || k == 0) {
				EXPECT_LT(1, n)
					TH_LOG("%s, flags %#x: nothing fails", what->name,
					       flags[k]);
			}
			TH_LOG("%s, flags %#x: %d faults", what->name, flags[k], n - 1);
		}
	}
}

TEST_F_TIMEOUT(inject, into_calls, 900)
{
	int n, ret, stride;
	struct scene s;
	bool reached;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		const struct call *call = &calls[i];

		stride = call->stride ?: 1;
		for (n = 1; ; n += stride) {
			ASSERT_GT(2000, n);
			ASSERT_EQ(0, begin(&s, call->make)) TH_LOG("%s", call->name);
			arm(n);
			ret = call->call(&s);
			reached = disarm();
			EXPECT_TRUE(expected(variant->fault, ret) && (reached || ret >= 0))
				TH_LOG("%s, fault %d: %d", call->name, n, ret);
			if (call->check && !(call->later && reached)) {
				ret = call->check(&s);
				EXPECT_EQ(0, ret)
					TH_LOG("%s, fault %d: checked", call->name, n);
			}
			EXPECT_EQ(0, works(s.kq)) TH_LOG("%s, fault %d", call->name, n);
			if (!call->once) {
				if (call->call == call_open || call->call == call_create)
					close(s.fd);
				EXPECT_LE(0, call->call(&s))
					TH_LOG("%s, fault %d: again", call->name, n);
			}
			end(&s);
			if (!reached)
				break;
		}
		EXPECT_LE(call->least[variant->fault], n - 1)
			TH_LOG("%s: %d can fail", call->name, n - 1);
		TH_LOG("%s: %d faults", call->name, n - 1);
	}
}

/*
 * Loading, and the first kqueue after, which arms the probes.
 */

FIXTURE(inject_into) {
	int fd;
};

FIXTURE_SETUP(inject_into)
{
	if (access(FAULT "failslab", F_OK) || !getenv("KQUEUE_KO"))
		SKIP(return, "this kernel injects no faults, or KQUEUE_KO is not there");
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR);
	ASSERT_LE(0, fail_nth);
}

FIXTURE_TEARDOWN(inject_into)
{
	close(fail_nth);
}

TEST_F_TIMEOUT(inject_into, loading, 900)
{
	unsigned long start = address_of("do_one_initcall");
	int n, ret = 0, kq;
	bool reached;

	ASSERT_EQ(0, choose(ALLOCATION, start, start + 0x200));
	for (n = 1; ; n++) {
		ASSERT_TRUE(ret || EVENTUALLY(!unload_kqueue()));
		arm(n);
		ret = load_kqueue();
		reached = disarm();
		/* A word each: it takes long. */
		TH_LOG("fault %d: %d", n, ret);
		EXPECT_TRUE(!ret || (reached && ret == -ENOMEM));
		if (ret) {
			/* Unloading takes long: that it can be loaded after is seen now and then. */
			if (n % 8)
				continue;
			ret = load_kqueue();
			ASSERT_EQ(0, ret) TH_LOG("fault %d, again", n);
		}
		kq = kqueue();
		EXPECT_LE(0, kq);
		EXPECT_EQ(0, works(kq)) TH_LOG("fault %d", n);
		close(kq);
		if (!reached)
			break;
		ASSERT_GT(500, n);
	}
	EXPECT_LT(5, n);
	TH_LOG("%d faults", n - 1);
}

/* The module as it is at first, whose allocations are to fail. */
static int load_anew(void)
{
	unsigned long text;
	int ret = EVENTUALLY(!unload_kqueue()) ? load_kqueue() : -EBUSY;

	if (ret)
		return ret;
	text = module_text();
	return choose(ALLOCATION, text, text + (1UL << 20));
}

/* How many functions of the kernel are probed, or -1. */
static int probed(void)
{
	int c, lines = 0;
	FILE *f;

	mount("tracefs", TRACING, "tracefs", 0, NULL);
	f = fopen(TRACING "/enabled_functions", "r");
	if (!f)
		return -1;
	while ((c = getc(f)) != EOF)
		lines += c == '\n';
	fclose(f);
	return lines;
}

TEST_F_TIMEOUT(inject_into, the_first_kqueue, 900)
{
	int n, kq, pipes[2];
	bool reached;

	for (n = 1; ; n++) {
		ASSERT_EQ(0, load_anew());
		arm(n);
		kq = kqueue();
		reached = disarm();
		TH_LOG("fault %d: %d", n, kq < 0 ? -errno : 0);
		EXPECT_TRUE(kq >= 0 || (reached && errno == ENOMEM));
		if (kq < 0)
			kq = kqueue();
		ASSERT_LE(0, kq) TH_LOG("fault %d, again: errno %d", n, errno);
		EXPECT_EQ(0, works(kq)) TH_LOG("fault %d", n);
		/* Closes, dup2(2) and connect(2), and no others. */
		EXPECT_EQ(3, probed()) TH_LOG("fault %d: %d functions are probed", n, probed());
		/* It sees what is closed. */
		ASSERT_EQ(0, pipe(pipes));
		EXPECT_EQ(0, change(kq, pipes[1], EVFILT_WRITE, EV_ADD));
		EXPECT_EQ(1, pending(kq));
		close(pipes[1]);
		EXPECT_EQ(0, pending(kq)) TH_LOG("fault %d", n);
		close(pipes[0]);
		close(kq);
		if (!reached)
			break;
		ASSERT_GT(500, n);
	}
	EXPECT_LT(5, n);
	TH_LOG("%d faults", n - 1);
}

/* It is told of every lseek(2), or it is not there. */
TEST_F_TIMEOUT(inject_into, the_first_knote_on_a_file, 900)
{
	struct scene s;
	bool reached;
	char c;
	int n, ret;

	for (n = 1; ; n++) {
		ASSERT_EQ(0, load_anew());
		ASSERT_EQ(0, begin(&s, make_file));
		arm(n);
		ret = change(s.kq, s.fd, EVFILT_READ, EV_ADD);
		reached = disarm();
		TH_LOG("fault %d: %d", n, ret);
		EXPECT_TRUE(!ret || (reached && ret == -ENOMEM));
		if (ret) {
			ASSERT_EQ(0, change(s.kq, s.fd, EVFILT_READ, EV_ADD))
				TH_LOG("fault %d, again", n);
		}
		/* It is at the end, where it was written to. */
		EXPECT_EQ(0, read(s.fd, &c, 1));
		EXPECT_EQ(0, pending(s.kq));
		ASSERT_EQ(0, lseek(s.fd, 0, SEEK_SET));
		EXPECT_EQ(1, pending(s.kq)) TH_LOG("fault %d", n);
		end(&s);
		if (!reached)
			break;
		ASSERT_GT(500, n);
	}
	EXPECT_LT(5, n);
	TH_LOG("%d faults", n - 1);
}

TEST_HARNESS_MAIN
