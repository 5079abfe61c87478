// SPDX-License-Identifier: GPL-2.0
/*
 * Every flag of a change with every filter. A source is a row of the table: what
 * is watched, how it is brought about, and what becomes of it when it was
 * reported. A test is about one flag, and is run with each source.
 */
#include "kqtest.h"
#include "net.h"

#include <sys/eventfd.h>
#include <sys/mount.h>
#include <termios.h>

/* What KQUEUE_AS_FREEBSD makes of kqueue(): udata is replaced by every change. */
int kqueue_as_freebsd(void);

static char one, other;

/* What is watched, made for one test. */
struct object {
	int kq;
	uintptr_t ident;
	int64_t data;		/* of EV_ADD */
	int fd[2];		/* what the source needs; closed after the test */
	pid_t pid;
	bool specific;		/* added with EV_UDATA_SPECIFIC, as &one and as &other */
};

/* A change that is refused. */
struct bad {
	bool own;		/* the source's own ident, not this: */
	uintptr_t ident;
	unsigned int fflags;
	int64_t data;
	int error;		/* 0 ends a list of these */
};

/* When an event was delivered that was asked for without any flag: */
enum after {
	LEVEL,			/* it comes again as long as the condition holds */
	EDGE,			/* the filter sets EV_CLEAR */
	REPEATS,		/* so too, and it happens again by itself */
	ONCE,			/* the filter sets EV_ONESHOT */
};

FIXTURE_VARIANT(flags) {
	int filter;
	unsigned int fflags;
	/* Makes the object, at rest. */
	bool (*setup)(struct object *o);
	/* Brings the event about; when it returns it has happened. */
	bool (*fire)(struct object *o);
	/* Ends the condition, where that can be done. */
	bool (*rest)(struct object *o);
	void (*cleanup)(struct object *o);
	enum after after;
	bool single;		/* can be fired only once */
	bool restless;		/* may hold before it is fired */
	bool restarts;		/* EV_ADD of what is there begins it anew */
	unsigned int meaningless; /* fflags that the filter does not know */
	const struct bad *bad;
	int (*wrong)(void);	/* a descriptor the filter is not for: EINVAL */
};

#define SOURCE	FIXTURE_VARIANT(flags)

FIXTURE(flags) {
	struct object o;
	struct kevent ev[8];
};

static bool nothing(struct object *o)
{
	(void)o;
	return true;
}

/* Until a file's poll says so: what the other side did may take its time. */
static bool polls(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, PATIENCE * 1000) == 1 && (p.revents & events);
}

/*
 * Files. What is watched is fd[0], what does something to it fd[1].
 */

static bool use(struct object *o, int fd, int peer)
{
	o->fd[0] = fd;
	o->fd[1] = peer;
	o->ident = fd;
	return fd >= 0 && peer >= 0;
}

static bool peer_writes(struct object *o)
{
	return write(o->fd[1], "xyz", 3) == 3 && polls(o->fd[0], POLLIN);
}

static bool peer_reads(struct object *o)
{
	return drain(o->fd[1]) > 0 && polls(o->fd[0], POLLOUT);
}

static bool is_drained(struct object *o)
{
	return drain(o->fd[0]) > 0;
}

static bool is_filled(struct object *o)
{
	return fill(o->fd[0]) > 0;
}

static bool pipe_reader(struct object *o)
{
	int fds[2];

	return !pipe(fds) && use(o, fds[0], fds[1]);
}

static bool pipe_writer(struct object *o)
{
	int fds[2];

	return !pipe(fds) && use(o, fds[1], fds[0]) && is_filled(o);
}

static bool unix_socket(struct object *o)
{
	int sv[2];

	return !unix_pair(sv) && use(o, sv[0], sv[1]);
}

static bool full_unix_socket(struct object *o)
{
	return unix_socket(o) && is_filled(o);
}

static bool tcp_socket(struct object *o)
{
	int sv[2];

	return !tcp_pair(sv) && use(o, sv[0], sv[1]);
}

static bool udp_socket(struct object *o)
{
	int sv[2];

	return !udp_pair(sv) && use(o, sv[0], sv[1]);
}

/* Its peer is a socket that has its address and never connects. */
static bool listening_socket(struct object *o)
{
	struct sockaddr_un addr;
	socklen_t len;
	int s = unix_listen(SOCK_STREAM, &addr, &len, 8);

	return use(o, s, socket(AF_UNIX, SOCK_STREAM, 0)) && !set_nonblocking(s);
}

static bool is_connected_to(struct object *o)
{
	struct sockaddr_un addr;
	socklen_t len = sizeof(addr);
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	return !getsockname(o->fd[0], (struct sockaddr *)&addr, &len) &&
	       !connect(s, (struct sockaddr *)&addr, len);
}

static bool accepts_all(struct object *o)
{
	int n = 0;

	while (accept(o->fd[0], NULL, NULL) >= 0)
		n++;
	return n > 0;
}

static bool pty(struct object *o, bool watch_master)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	struct termios tio;
	char name[64];

	if (master < 0 || grantpt(master) || unlockpt(master) ||
	    ptsname_r(master, name, sizeof(name)))
		return false;
	slave = open(name, O_RDWR | O_NOCTTY);
	if (slave < 0 || tcgetattr(slave, &tio))
		return false;
	cfmakeraw(&tio);
	return !tcsetattr(slave, TCSANOW, &tio) &&
	       use(o, watch_master ? master : slave, watch_master ? slave : master);
}

static bool pty_master(struct object *o)
{
	return pty(o, true);
}

static bool pty_slave(struct object *o)
{
	return pty(o, false);
}

static bool output_is_stopped(struct object *o)
{
	return !tcflow(o->fd[0], TCOOFF);
}

static bool output_goes_on(struct object *o)
{
	return !tcflow(o->fd[0], TCOON) && polls(o->fd[0], POLLOUT);
}

static bool stopped_pty_slave(struct object *o)
{
	return pty(o, false) && output_is_stopped(o);
}

static bool pty_in_packet_mode(struct object *o)
{
	int on = 1;

	return pty(o, true) && !ioctl(o->fd[0], TIOCPKT, &on);
}

static bool peer_is_flushed(struct object *o)
{
	return !tcflush(o->fd[1], TCOFLUSH) && polls(o->fd[0], POLLPRI);
}

static bool control_byte_is_read(struct object *o)
{
	char byte;

	return read(o->fd[0], &byte, 1) == 1;
}

static bool peer_sends_out_of_band(struct object *o)
{
	return send(o->fd[1], "!", 1, MSG_OOB) == 1 && polls(o->fd[0], POLLPRI);
}

static bool out_of_band_is_read(struct object *o)
{
	char byte;

	return recv(o->fd[0], &byte, 1, MSG_OOB) == 1;
}

static bool writes_to_peer(struct object *o)
{
	return write(o->fd[0], "xyz", 3) == 3;
}

static bool unix_socket_with_unread(struct object *o)
{
	return unix_socket(o) && writes_to_peer(o);
}

static bool eventfd_of_0(struct object *o)
{
	int fd = eventfd(0, EFD_NONBLOCK);

	return use(o, fd, dup(fd));
}

static bool eventfd_is_written(struct object *o)
{
	return !eventfd_write(o->fd[1], 1);
}

static bool eventfd_is_read(struct object *o)
{
	eventfd_t value;

	return !eventfd_read(o->fd[1], &value);
}

static bool eventfd_is_filled(struct object *o)
{
	return !eventfd_write(o->fd[1], UINT64_MAX - 1);
}

static bool full_eventfd(struct object *o)
{
	return eventfd_of_0(o) && eventfd_is_filled(o);
}

static bool dev_null(struct object *o)
{
	int fd = open("/dev/null", O_RDWR);

	return use(o, fd, dup(fd));
}

/* A file that has no name any more, opened twice. */
static bool file(struct object *o)
{
	char path[] = "/tmp/kqueue-flags-XXXXXX";
	int fd = mkstemp(path);
	int appender = open(path, O_WRONLY | O_APPEND);

	return !unlink(path) && use(o, fd, appender);
}

static bool file_is_appended_to(struct object *o)
{
	return write(o->fd[1], "xyz", 3) == 3;
}

static bool kqueue_with_user_event(struct object *o)
{
	int kq = kqueue();

	return use(o, kq, dup(kq)) && !change(kq, 1, EVFILT_USER, EV_ADD);
}

static bool inner_is_triggered(struct object *o)
{
	return !trigger(o->fd[1], 1);
}

static bool inner_is_cleared(struct object *o)
{
	return !change(o->fd[1], 1, EVFILT_USER, EV_CLEAR);
}

static int an_eventfd(void)
{
	return eventfd(0, 0);
}

static const struct bad bad_descriptor[] = {
	{ .ident = UINTPTR_MAX, .error = EBADF },
	{ .ident = INT_MAX, .error = EBADF },
	{ .ident = 1UL << 31, .error = EBADF },
	{ }
};

/*
 * User events. What changes one is a change to it: that is to alter nothing but
 * what it is for.
 */

static bool user_event(struct object *o)
{
	o->ident = 7;
	return true;
}

static bool change_user_event(struct object *o, int flags, unsigned int fflags)
{
	void *const udata[] = { &one, &other };
	int i, ret;

	flags |= o->specific ? EV_UDATA_SPECIFIC : EV_KEEPUDATA;
	for (i = 0; i < (o->specific ? 2 : 1); i++) {
		ret = change_all(o->kq, o->ident, EVFILT_USER, flags, fflags, 0,
				 udata[i]);
		/* It may have been deleted by now, as it should. */
		if (ret && ret != -ENOENT)
			return false;
	}
	return true;
}

static bool user_event_is_triggered(struct object *o)
{
	return change_user_event(o, 0, NOTE_TRIGGER);
}

static bool user_event_is_cleared(struct object *o)
{
	return change_user_event(o, EV_CLEAR, 0);
}

/*
 * Timers. One expires at a time that is soon, once; or over and over, by itself.
 */

static int64_t milliseconds(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static bool time_of_day(struct object *o)
{
	o->ident = 7;
	o->data = milliseconds(CLOCK_REALTIME) + 20;
	return true;
}

static bool time_has_come(struct object *o)
{
	return EVENTUALLY(milliseconds(CLOCK_REALTIME) > o->data);
}

static bool period(struct object *o)
{
	o->ident = 7;
	o->data = 1;
	return true;
}

static bool period_is_over(struct object *o)
{
	const int64_t end = milliseconds(CLOCK_MONOTONIC) + 2 * o->data;

	return EVENTUALLY(milliseconds(CLOCK_MONOTONIC) > end);
}

static const struct bad bad_timer[] = {
	{ .own = true, .data = -1, .error = EINVAL },
	{ .own = true, .data = INT64_MAX, .fflags = NOTE_SECONDS, .error = EINVAL },
	{ .own = true, .data = INT64_MAX, .fflags = NOTE_SECONDS | NOTE_ABSTIME,
	  .error = EINVAL },
	{ .own = true, .data = 1, .fflags = NOTE_SECONDS | NOTE_MSECONDS,
	  .error = EINVAL },
	{ .own = true, .data = 1, .fflags = 0x20, .error = EINVAL },
	{ .own = true, .data = 1, .fflags = 0x80000000 | NOTE_NSECONDS,
	  .error = EINVAL },
	{ .ident = 8, .data = -1, .error = EINVAL },
	{ }
};

/*
 * Processes: a child that forks when it gets a byte by fd[1], and answers; and
 * exits when that is closed.
 */

static bool child(struct object *o)
{
	pid_t pid;
	char byte;
	int sv[2];

	if (unix_pair(sv))
		return false;
	o->fd[1] = sv[0];
	o->pid = fork();
	if (!o->pid) {
		close(sv[0]);
		while (read(sv[1], &byte, 1) == 1) {
			pid = fork();
			if (!pid)
				_exit(0);
			reap(pid);
			CHILD_CHECK(write(sv[1], &byte, 1) == 1);
		}
		_exit(3);
	}
	close(sv[1]);
	o->ident = o->pid;
	return o->pid > 0;
}

static bool child_by_pidfd(struct object *o)
{
	if (!child(o))
		return false;
	o->fd[0] = syscall(SYS_pidfd_open, o->pid, 0);
	o->ident = o->fd[0];
	return o->fd[0] >= 0;
}

static bool child_forks(struct object *o)
{
	char byte = 'f';

	return write(o->fd[1], &byte, 1) == 1 && read(o->fd[1], &byte, 1) == 1;
}

static bool child_exits(struct object *o)
{
	siginfo_t info;

	close(o->fd[1]);
	o->fd[1] = -1;
	return !waitid(P_PID, o->pid, &info, WEXITED | WNOWAIT);
}

static void child_is_reaped(struct object *o)
{
	close(o->fd[1]);
	o->fd[1] = -1;
	reap(o->pid);
}

static const struct bad bad_pid[] = {
	{ .ident = 0, .error = ESRCH },
	{ .ident = INT_MAX, .error = ESRCH },
	{ .ident = 1UL << 31, .error = ESRCH },
	{ .ident = UINTPTR_MAX, .error = ESRCH },
	{ }
};

/*
 * Signals.
 */

static bool ignored_signal(struct object *o)
{
	o->ident = SIGUSR1;
	return signal(SIGUSR1, SIG_IGN) != SIG_ERR;
}

static bool signal_is_sent(struct object *o)
{
	return !kill(getpid(), o->ident);
}

static const struct bad bad_signal[] = {
	{ .ident = 0, .error = EINVAL },
	{ .ident = 65, .error = EINVAL },
	{ .ident = 1UL << 31, .error = EINVAL },
	{ .ident = UINTPTR_MAX, .error = EINVAL },
	{ }
};

/*
 * Mounts, in a mount namespace of the test's own.
 */

static bool mount_namespace(struct object *o)
{
	o->ident = 0;
	return !unshare(CLONE_NEWNS) &&
	       !mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static bool is_mounted(struct object *o)
{
	(void)o;
	return !mount("kqueue", "/tmp", "tmpfs", 0, NULL);
}

/*
 * The table.
 */

FIXTURE_VARIANT_ADD(flags, read_pipe) {
	.filter = EVFILT_READ, .setup = pipe_reader,
	.fire = peer_writes, .rest = is_drained,
	.meaningless = 0xfffffff0, .bad = bad_descriptor,
};

FIXTURE_VARIANT_ADD(flags, read_unix_socket) {
	.filter = EVFILT_READ, .setup = unix_socket,
	.fire = peer_writes, .rest = is_drained,
	.meaningless = 0xfffffff0, .bad = bad_descriptor,
};

FIXTURE_VARIANT_ADD(flags, read_tcp_socket) {
	.filter = EVFILT_READ, .setup = tcp_socket,
	.fire = peer_writes, .rest = is_drained,
	.meaningless = 0xfffffff0, .bad = bad_descriptor,
};

FIXTURE_VARIANT_ADD(flags, read_udp_socket) {
	.filter = EVFILT_READ, .setup = udp_socket,
	.fire = peer_writes, .rest = is_drained,
	.meaningless = 0xfffffff0, .bad = bad_descriptor,
};

FIXTURE_VARIANT_ADD(flags, read_listening_socket) {
	.filter = EVFILT_READ, .setup = listening_socket,
	.fire = is_connected_to, .rest = accepts_all,
	.meaningless = 0xfffffff0, .bad = bad_descriptor,
};

FIXTURE_VARIANT_ADD(flags, read_pty_master) {
	.filter = EVFILT_READ, .setup = pty_master,
	.fire = peer_writes, .rest = is_drained,
	.meaningless = 0xfffffff0, .bad = bad_descriptor,
};

FIXTURE_VARIANT_ADD(flags, read_tty) {
	.filter = EVFILT_READ, .setup = pty_slave,
	.fire = peer_writes, .rest = is_drained,
	.meaningless = 0xfffffff0, .bad = bad_descriptor,
};

FIXTURE_VARIANT_ADD(flags, read_eventfd) {
	.filter = EVFILT_READ, .setup = eventfd_of_0,
	.fire = eventfd_is_written, .rest = eventfd_is_read,
	.meaningless = 0xfffffff0, .bad = bad_descriptor,
};

FIXTURE_VARIANT_ADD(flags, read_kqueue) {
	.filter = EVFILT_READ, .setup = kqueue_with_user_event,
	.fire = inner_is_triggered, .rest = inner_is_cleared,
	.meaningless = 0xfffffff0, .bad = bad_descriptor,
};

FIXTURE_VARIANT_ADD(flags, read_file) {
	.filter = EVFILT_READ, .setup = file,
	.fire = file_is_appended_to, .rest = is_drained,
	.meaningless = 0xfffffff0, .bad = bad_descriptor,
};

FIXTURE_VARIANT_ADD(flags, read_dev_null) {
	.filter = EVFILT_READ, .setup = dev_null,
	.fire = nothing, .single = true, .restless = true,
	.meaningless = 0xfffffff0, .bad = bad_descriptor,
};

FIXTURE_VARIANT_ADD(flags, write_pipe) {
	.filter = EVFILT_WRITE, .setup = pipe_writer,
	.fire = peer_reads, .rest = is_filled,
	.meaningless = 0xfffffff0, .bad = bad_descriptor, .wrong = kqueue,
};

FIXTURE_VARIANT_ADD(flags, write_unix_socket) {
	.filter = EVFILT_WRITE, .setup = full_unix_socket,
	.fire = peer_reads, .rest = is_filled,
	.meaningless = 0xfffffff0, .bad = bad_descriptor, .wrong = kqueue,
};

FIXTURE_VARIANT_ADD(flags, write_tty) {
	.filter = EVFILT_WRITE, .setup = stopped_pty_slave,
	.fire = output_goes_on, .rest = output_is_stopped,
	.meaningless = 0xfffffff0, .bad = bad_descriptor, .wrong = kqueue,
};

FIXTURE_VARIANT_ADD(flags, write_eventfd) {
	.filter = EVFILT_WRITE, .setup = full_eventfd,
	.fire = eventfd_is_read, .rest = eventfd_is_filled,
	.meaningless = 0xfffffff0, .bad = bad_descriptor, .wrong = kqueue,
};

FIXTURE_VARIANT_ADD(flags, write_file) {
	.filter = EVFILT_WRITE, .setup = file,
	.fire = nothing, .single = true, .restless = true,
	.meaningless = 0xfffffff0, .bad = bad_descriptor, .wrong = kqueue,
};

FIXTURE_VARIANT_ADD(flags, write_dev_null) {
	.filter = EVFILT_WRITE, .setup = dev_null,
	.fire = nothing, .single = true, .restless = true,
	.meaningless = 0xfffffff0, .bad = bad_descriptor, .wrong = kqueue,
};

FIXTURE_VARIANT_ADD(flags, except_socket) {
	.filter = EVFILT_EXCEPT, .fflags = NOTE_OOB, .setup = tcp_socket,
	.fire = peer_sends_out_of_band, .rest = out_of_band_is_read,
	.meaningless = 0xfffffff0, .bad = bad_descriptor, .wrong = an_eventfd,
};

FIXTURE_VARIANT_ADD(flags, except_pty) {
	.filter = EVFILT_EXCEPT, .fflags = NOTE_OOB, .setup = pty_in_packet_mode,
	.fire = peer_is_flushed, .rest = control_byte_is_read,
	.meaningless = 0xfffffff0, .bad = bad_descriptor, .wrong = an_eventfd,
};

FIXTURE_VARIANT_ADD(flags, empty_socket) {
	.filter = EVFILT_EMPTY, .setup = unix_socket_with_unread,
	.fire = peer_reads, .rest = writes_to_peer,
	.meaningless = 0xffffffff, .bad = bad_descriptor, .wrong = an_eventfd,
};

FIXTURE_VARIANT_ADD(flags, vnode) {
	.filter = EVFILT_VNODE, .fflags = NOTE_WRITE, .setup = file,
	.fire = file_is_appended_to,
	.meaningless = 0xfffff000, .bad = bad_descriptor, .wrong = an_eventfd,
};

FIXTURE_VARIANT_ADD(flags, fs) {
	.filter = EVFILT_FS, .fflags = VQ_MOUNT, .setup = mount_namespace,
	.fire = is_mounted, .after = EDGE,
	.meaningless = 0xffffffe7,
};

FIXTURE_VARIANT_ADD(flags, user) {
	.filter = EVFILT_USER, .setup = user_event,
	.fire = user_event_is_triggered, .rest = user_event_is_cleared,
	.meaningless = 0x3e000000,
};

FIXTURE_VARIANT_ADD(flags, timer_at_a_time) {
	.filter = EVFILT_TIMER, .fflags = NOTE_ABSTIME | NOTE_MSECONDS,
	.setup = time_of_day, .fire = time_has_come,
	.after = EDGE, .single = true, .restless = true, .restarts = true,
	.bad = bad_timer,
};

FIXTURE_VARIANT_ADD(flags, timer_with_a_period) {
	.filter = EVFILT_TIMER,
	.setup = period, .fire = period_is_over,
	.after = REPEATS, .restless = true, .restarts = true,
	.bad = bad_timer,
};

FIXTURE_VARIANT_ADD(flags, proc_exit) {
	.filter = EVFILT_PROC, .fflags = NOTE_EXIT, .setup = child,
	.fire = child_exits, .cleanup = child_is_reaped,
	.after = ONCE, .single = true, .restarts = true,
	.meaningless = 0x0bf00000, .bad = bad_pid,
};

FIXTURE_VARIANT_ADD(flags, proc_fork) {
	.filter = EVFILT_PROC, .fflags = NOTE_FORK, .setup = child,
	.fire = child_forks, .cleanup = child_is_reaped,
	.after = EDGE,
	.meaningless = 0x0bf00000, .bad = bad_pid,
};

FIXTURE_VARIANT_ADD(flags, procdesc_exit) {
	.filter = EVFILT_PROCDESC, .fflags = NOTE_EXIT, .setup = child_by_pidfd,
	.fire = child_exits, .cleanup = child_is_reaped,
	.after = ONCE, .single = true, .restarts = true,
	.meaningless = 0x0bf00000, .bad = bad_descriptor, .wrong = an_eventfd,
};

FIXTURE_VARIANT_ADD(flags, procdesc_fork) {
	.filter = EVFILT_PROCDESC, .fflags = NOTE_FORK, .setup = child_by_pidfd,
	.fire = child_forks, .cleanup = child_is_reaped,
	.after = EDGE,
	.meaningless = 0x0bf00000, .bad = bad_descriptor, .wrong = an_eventfd,
};

FIXTURE_VARIANT_ADD(flags, signal) {
	.filter = EVFILT_SIGNAL, .setup = ignored_signal, .fire = signal_is_sent,
	.after = EDGE,
	.meaningless = 0xffffffff, .bad = bad_signal,
};

/*
 * What the tests have in common.
 */

FIXTURE_SETUP(flags)
{
	self->o = (struct object) { .fd = { -1, -1 } };
	self->o.kq = kqueue();
	ASSERT_LE(0, self->o.kq);
	ASSERT_TRUE(variant->setup(&self->o));
}

FIXTURE_TEARDOWN(flags)
{
	if (variant->cleanup)
		variant->cleanup(&self->o);
	close(self->o.fd[0]);
	close(self->o.fd[1]);
	close(self->o.kq);
}

static int add_as(const SOURCE *s, const struct object *o, int flags, void *udata)
{
	return change_all(o->kq, o->ident, s->filter, EV_ADD | flags, s->fflags,
			  o->data, udata);
}

static int add(const SOURCE *s, const struct object *o, int flags)
{
	return add_as(s, o, flags, &one);
}

/* A change to what is there. */
static int touch(const SOURCE *s, const struct object *o, int flags)
{
	return change_all(o->kq, o->ident, s->filter, flags, 0, 0, &one);
}

/* Once more, after it was reported; false where that cannot be. */
static bool fire_again(const SOURCE *s, struct object *o)
{
	return !s->single && (!s->rest || s->rest(o)) && s->fire(o);
}

/* Whether it comes again though it was reported, fired again or not. */
static bool comes_again(const SOURCE *s, struct object *o)
{
	bool fired = fire_again(s, o);

	return fired || s->after == LEVEL || s->after == REPEATS;
}

static bool is_its_event(const SOURCE *s, const struct object *o,
			 const struct kevent *ev, int flags)
{
	flags |= s->after == EDGE || s->after == REPEATS ? EV_CLEAR :
		 s->after == ONCE ? EV_ONESHOT : 0;
	return ev->ident == o->ident && ev->filter == s->filter &&
	       (ev->flags & flags) == flags &&
	       !(ev->flags & (EV_ERROR | EV_ADD | EV_DELETE | EV_ENABLE | EV_DISABLE));
}

/* Reported, once in a call, with the flags it was added with. */
#define REPORTED(with) do {						\
	ASSERT_EQ(1, wait_events(self->o.kq, self->ev, 8));		\
	EXPECT_TRUE(is_its_event(variant, &self->o, self->ev, with))	\
		TH_LOG("ident %lu filter %d flags %#x",			\
		       (unsigned long)self->ev->ident, self->ev->filter, \
		       self->ev->flags);				\
	EXPECT_EQ((void *)&one, self->ev->udata);			\
} while (0)

#define NOT_REPORTED()	EXPECT_EQ(0, pending(self->o.kq))

#define FIRE()		ASSERT_TRUE(variant->fire(&self->o))

#define GONE()		EXPECT_EQ(-ENOENT, touch(variant, &self->o, EV_DELETE))

/*
 * The tests.
 */

TEST_F(flags, without_any_it_is_reported_as_long_as_it_holds)
{
	ASSERT_EQ(0, add(variant, &self->o, 0));
	if (!variant->restless) {
		NOT_REPORTED();
	}
	FIRE();
	REPORTED(0);
	switch (variant->after) {
	case LEVEL:
		REPORTED(0);
		if (variant->rest) {
			ASSERT_TRUE(variant->rest(&self->o));
			NOT_REPORTED();
		}
		break;
	case EDGE:
		NOT_REPORTED();
		break;
	case REPEATS:
		REPORTED(0);
		break;
	case ONCE:
		NOT_REPORTED();
		GONE();
	}
}

TEST_F(flags, deleted_it_is_not_reported)
{
	ASSERT_EQ(0, add(variant, &self->o, 0));
	FIRE();
	ASSERT_EQ(0, touch(variant, &self->o, EV_DELETE));
	NOT_REPORTED();
	GONE();
}

TEST_F(flags, oneshot_is_deleted_when_delivered)
{
	ASSERT_EQ(0, add(variant, &self->o, EV_ONESHOT));
	FIRE();
	REPORTED(EV_ONESHOT);
	NOT_REPORTED();
	GONE();
	fire_again(variant, &self->o);
	NOT_REPORTED();
	/* It can be added again. */
	ASSERT_EQ(0, add(variant, &self->o, EV_ONESHOT));
	EXPECT_EQ(0, touch(variant, &self->o, EV_DELETE));
}

TEST_F(flags, oneshot_disabled_is_kept_until_it_is_delivered)
{
	ASSERT_EQ(0, add(variant, &self->o, EV_ONESHOT | EV_DISABLE));
	FIRE();
	NOT_REPORTED();
	ASSERT_EQ(0, touch(variant, &self->o, EV_ENABLE));
	REPORTED(EV_ONESHOT);
	NOT_REPORTED();
	GONE();
}

TEST_F(flags, clear_is_reported_once_each_time)
{
	ASSERT_EQ(0, add(variant, &self->o, EV_CLEAR));
	FIRE();
	REPORTED(EV_CLEAR);
	if (variant->after != REPEATS) {
		NOT_REPORTED();
	}
	if (fire_again(variant, &self->o)) {
		REPORTED(EV_CLEAR);
		if (variant->after != REPEATS) {
			NOT_REPORTED();
		}
	}
	/* What has come and gone is not reported. */
	if (variant->rest) {
		ASSERT_TRUE(fire_again(variant, &self->o));
		ASSERT_TRUE(variant->rest(&self->o));
		NOT_REPORTED();
	}
}

TEST_F(flags, dispatch_is_disabled_when_delivered)
{
	ASSERT_EQ(0, add(variant, &self->o, EV_DISPATCH));
	FIRE();
	REPORTED(EV_DISPATCH);
	NOT_REPORTED();
	if (variant->after == ONCE) {
		GONE();
		return;
	}
	if (comes_again(variant, &self->o)) {
		NOT_REPORTED();
		ASSERT_EQ(0, touch(variant, &self->o, EV_ENABLE));
		REPORTED(EV_DISPATCH);
	} else {
		ASSERT_EQ(0, touch(variant, &self->o, EV_ENABLE));
	}
	NOT_REPORTED();
}

TEST_F(flags, dispatch_added_again_is_enabled)
{
	ASSERT_EQ(0, add(variant, &self->o, EV_DISPATCH));
	FIRE();
	REPORTED(EV_DISPATCH);
	ASSERT_EQ(0, add(variant, &self->o, EV_DISPATCH));
	if (comes_again(variant, &self->o) || variant->restarts) {
		REPORTED(EV_DISPATCH);
	}
	NOT_REPORTED();
}

TEST_F(flags, disabled_it_is_delivered_when_enabled)
{
	ASSERT_EQ(0, add(variant, &self->o, EV_DISABLE));
	FIRE();
	NOT_REPORTED();
	ASSERT_EQ(0, touch(variant, &self->o, EV_ENABLE));
	REPORTED(0);
}

TEST_F(flags, disable_holds_back_what_has_happened)
{
	ASSERT_EQ(0, add(variant, &self->o, 0));
	FIRE();
	ASSERT_EQ(0, touch(variant, &self->o, EV_DISABLE));
	NOT_REPORTED();
	ASSERT_EQ(0, touch(variant, &self->o, EV_ENABLE));
	REPORTED(0);
	if (variant->rest) {
		ASSERT_TRUE(fire_again(variant, &self->o));
		ASSERT_EQ(0, touch(variant, &self->o, EV_DISABLE));
		ASSERT_TRUE(variant->rest(&self->o));
		ASSERT_EQ(0, touch(variant, &self->o, EV_ENABLE));
		NOT_REPORTED();
	}
}

TEST_F(flags, disable_with_add_disables_and_add_enables)
{
	ASSERT_EQ(0, add(variant, &self->o, 0));
	ASSERT_EQ(0, add(variant, &self->o, EV_DISABLE));
	FIRE();
	NOT_REPORTED();
	ASSERT_EQ(0, add(variant, &self->o, 0));
	fire_again(variant, &self->o);
	REPORTED(0);
}

TEST_F(flags, receipt_answers_and_takes_no_event)
{
	struct kevent ch;
	int i;

	/* With no timeout, it does not wait either. */
	EV_SET(&ch, self->o.ident, variant->filter, EV_ADD | EV_RECEIPT,
	       variant->fflags, self->o.data, &one);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(1, kev(self->o.kq, &ch, 1, self->ev, 8, NULL));
		EXPECT_EQ(self->o.ident, self->ev[0].ident);
		EXPECT_EQ(variant->filter, self->ev[0].filter);
		EXPECT_TRUE(self->ev[0].flags & EV_ERROR);
		EXPECT_EQ(0, self->ev[0].data);
		EXPECT_EQ((void *)&one, self->ev[0].udata);
		/* Then, to what has an event to give. */
		if (!i) {
			FIRE();
		}
		ch.flags = EV_ENABLE | EV_RECEIPT;
	}
	REPORTED(0);
	ch.flags = EV_DELETE | EV_RECEIPT;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(1, kev(self->o.kq, &ch, 1, self->ev, 8, NULL));
		EXPECT_TRUE(self->ev[0].flags & EV_ERROR);
		EXPECT_EQ(i || variant->after == ONCE ? ENOENT : 0,
			  self->ev[0].data);
	}
}

/* In a kqueue where other changes replace it. */
TEST_F(flags, keepudata_keeps_udata)
{
	ASSERT_EQ(0, close(self->o.kq));
	self->o.kq = kqueue_as_freebsd();
	ASSERT_LE(0, self->o.kq);
	ASSERT_EQ(0, add(variant, &self->o, 0));
	ASSERT_EQ(0, change_all(self->o.kq, self->o.ident, variant->filter,
				EV_DISABLE | EV_KEEPUDATA, 0, 0, &other));
	FIRE();
	ASSERT_EQ(0, change_all(self->o.kq, self->o.ident, variant->filter,
				EV_ENABLE | EV_KEEPUDATA, 0, 0, &other));
	REPORTED(0);
}

TEST_F(flags, without_keepudata_it_is_replaced_where_the_flavour_says_so)
{
	ASSERT_EQ(0, close(self->o.kq));
	self->o.kq = kqueue_as_freebsd();
	ASSERT_LE(0, self->o.kq);
	ASSERT_EQ(0, add_as(variant, &self->o, 0, &other));
	ASSERT_EQ(0, touch(variant, &self->o, EV_ENABLE));
	FIRE();
	REPORTED(0);
}

TEST_F(flags, keepudata_with_add_is_refused)
{
	EXPECT_EQ(-EINVAL, add(variant, &self->o, EV_KEEPUDATA));
	GONE();
	/* Of what is there, it leaves all. */
	ASSERT_EQ(0, add(variant, &self->o, 0));
	EXPECT_EQ(-EINVAL, add_as(variant, &self->o, EV_KEEPUDATA | EV_DISABLE |
				  EV_DISPATCH, &other));
	FIRE();
	REPORTED(0);
	EXPECT_FALSE(self->ev[0].flags & EV_DISPATCH);
}

TEST_F(flags, udata_specific_makes_two_of_one)
{
	const int flags = EV_UDATA_SPECIFIC;
	const double end = now() + PATIENCE;
	bool seen[2] = {};
	int i, n;

	self->o.specific = true;
	ASSERT_EQ(0, add_as(variant, &self->o, flags, &one));
	ASSERT_EQ(0, add_as(variant, &self->o, flags, &other));
	/* Neither is the one that it would be without. */
	GONE();
	FIRE();
	/* The second may take its time, while the first comes over and over. */
	while ((!seen[0] || !seen[1]) && now() < end) {
		n = wait_events(self->o.kq, self->ev, 8);
		ASSERT_LT(0, n);
		for (i = 0; i < n; i++) {
			EXPECT_TRUE(is_its_event(variant, &self->o, &self->ev[i],
						 flags));
			seen[self->ev[i].udata == &other] = true;
		}
	}
	ASSERT_TRUE(seen[0] && seen[1]);
	n = variant->after == ONCE ? -ENOENT : 0;
	EXPECT_EQ(n, change_all(self->o.kq, self->o.ident, variant->filter,
				flags | EV_DELETE, 0, 0, &other));
	if (!n && comes_again(variant, &self->o)) {
		REPORTED(flags);
	}
	EXPECT_EQ(n, touch(variant, &self->o, flags | EV_DELETE));
	NOT_REPORTED();
}

TEST_F(flags, add_with_delete_is_refused)
{
	EXPECT_EQ(-EINVAL, add(variant, &self->o, EV_DELETE));
	GONE();
	ASSERT_EQ(0, add(variant, &self->o, 0));
	EXPECT_EQ(-EINVAL, add_as(variant, &self->o, EV_DELETE | EV_DISABLE,
				  &other));
	FIRE();
	REPORTED(0);
}

TEST_F(flags, any_but_add_of_what_is_not_there_is_enoent)
{
	static const int flags[] = {
		0, EV_DELETE, EV_ENABLE, EV_DISABLE, EV_ONESHOT, EV_CLEAR,
		EV_DISPATCH, EV_KEEPUDATA, EV_UDATA_SPECIFIC, EV_SYSFLAGS,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		EXPECT_EQ(-ENOENT, touch(variant, &self->o, flags[i]));
	}
	FIRE();
	NOT_REPORTED();
}

TEST_F(flags, of_the_system_are_dropped_on_input)
{
	ASSERT_EQ(0, add(variant, &self->o, EV_SYSFLAGS));
	FIRE();
	REPORTED(0);
	EXPECT_FALSE(self->ev[0].flags & EV_FLAG1);
	if (variant->after != ONCE) {
		EXPECT_FALSE(self->ev[0].flags & EV_EOF);
	}
}

/*
 * Not the flags, but what comes with them.
 */

TEST_F(flags, fflags_without_a_meaning_are_ignored)
{
	ASSERT_EQ(0, change_all(self->o.kq, self->o.ident, variant->filter, EV_ADD,
				variant->fflags | variant->meaningless,
				self->o.data, &one));
	FIRE();
	REPORTED(0);
	EXPECT_EQ(0, self->ev[0].fflags & variant->meaningless);
}

TEST_F(flags, change_that_is_refused_leaves_what_is_there)
{
	const struct bad *bad;
	uintptr_t ident;
	int wrong;

	/* Nor does it add anything. */
	for (bad = variant->bad; bad && bad->error; bad++) {
		ident = bad->own ? self->o.ident : bad->ident;
		EXPECT_EQ(-bad->error,
			  change_all(self->o.kq, ident, variant->filter, EV_ADD,
				     variant->fflags | bad->fflags, bad->data,
				     &other));
		EXPECT_GT(0, change(self->o.kq, ident, variant->filter, EV_DELETE));
	}
	if (variant->wrong) {
		wrong = variant->wrong();
		ASSERT_LE(0, wrong);
		EXPECT_EQ(-EINVAL, change_all(self->o.kq, wrong, variant->filter,
					      EV_ADD, variant->fflags, 0, &other));
		EXPECT_EQ(-ENOENT, change(self->o.kq, wrong, variant->filter,
					  EV_DELETE));
	}

	ASSERT_EQ(0, add(variant, &self->o, 0));
	FIRE();
	for (bad = variant->bad; bad && bad->error; bad++) {
		ident = bad->own ? self->o.ident : bad->ident;
		EXPECT_EQ(-bad->error,
			  change_all(self->o.kq, ident, variant->filter,
				     EV_ADD | EV_DISABLE,
				     variant->fflags | bad->fflags, bad->data,
				     &other));
	}
	REPORTED(0);
}

TEST_HARNESS_MAIN
