// SPDX-License-Identifier: GPL-2.0
/*
 * EVFILT_READ and EVFILT_WRITE on whatever else can be polled, on what cannot,
 * and on what is no descriptor at all.
 */
#include "kqtest.h"
#include "uring.h"
#include "fs.h"
#include "net.h"

#include <linux/perf_event.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <termios.h>

FIXTURE(files) {
	int kq;
	struct kevent ev[8];
};

FIXTURE_SETUP(files)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(files)
{
	close(self->kq);
}

static int watch(int kq, int fd, int filter)
{
	return change(kq, fd, filter, EV_ADD);
}

/*
 * Files that are counters, lists and the like: ready is all they can say, so
 * data is 1, unless FIONREAD knows better.
 */

TEST_F(files, eventfd_is_readable_once_it_is_not_0)
{
	int fd = eventfd(0, 0);
	eventfd_t value;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, EVFILT_READ));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, eventfd_write(fd, 5));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(fd, self->ev[0].ident);
	EXPECT_EQ(1, self->ev[0].data);
	EXPECT_EQ(0, self->ev[0].flags & (EV_EOF | EV_ERROR));
	ASSERT_EQ(0, eventfd_read(fd, &value));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(files, eventfd_is_writable_until_it_is_full)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	eventfd_t value;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, EVFILT_WRITE));
	EXPECT_EQ(1, pending(self->kq));
	ASSERT_EQ(0, eventfd_write(fd, UINT64_MAX - 1));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, eventfd_read(fd, &value));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(files, eventfd_with_clear_is_reported_once_a_write)
{
	int fd = eventfd(0, 0);
	int i;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, change(self->kq, fd, EVFILT_READ, EV_ADD | EV_CLEAR));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, eventfd_write(fd, 1));
		EXPECT_EQ(1, pending(self->kq));
		EXPECT_EQ(0, pending(self->kq));
	}
}

TEST_F(files, eventfd_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };
	int fd = eventfd(0, 0);

	ASSERT_EQ(0, watch(self->kq, fd, EVFILT_READ));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, eventfd_write(fd, 1));
	EXPECT_EQ(1, waiter_result(&w));
}

TEST_F(files, timerfd_is_readable_when_it_has_expired)
{
	const struct itimerspec soon = { .it_value.tv_nsec = 1000000 };
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	uint64_t count;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, EVFILT_READ));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, timerfd_settime(fd, 0, &soon, NULL));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
	ASSERT_EQ(sizeof(count), read(fd, &count, sizeof(count)));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(files, signalfd_is_readable_while_a_signal_is_pending)
{
	struct signalfd_siginfo info;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	fd = signalfd(-1, &set, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, EVFILT_READ));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
	ASSERT_EQ(sizeof(info), read(fd, &info, sizeof(info)));
	EXPECT_EQ(0, pending(self->kq));
}

/*
 * What a signalfd is asked about is who asks, and what it is told by goes with that
 * process, while the file and the registration stay. Other readers are to look then.
 */
TEST_F(files, signalfd_outlives_the_process_that_registered_it)
{
	sigset_t set;
	pid_t pid;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	fd = signalfd(-1, &set, 0);
	ASSERT_LE(0, fd);
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (!pid) {
		CHILD_CHECK(!watch(self->kq, fd, EVFILT_READ));
		CHILD_CHECK(!pending(self->kq));
		_exit(0);
	}
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	ASSERT_EQ(0, reap(pid));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(fd, self->ev[0].ident);
	EXPECT_EQ(1, self->ev[0].data);
	EXPECT_EQ(0, change(self->kq, fd, EVFILT_READ, EV_DELETE));
	EXPECT_EQ(0, pending(self->kq));
	/* As with epoll, nobody else tells of the signals of this one. */
	close(fd);
}

TEST_F(files, inotify_data_is_the_bytes_there)
{
	char dir[] = "/tmp/kqueue-inotify-XXXXXX";
	char buf[4096];
	int fd = inotify_init1(IN_NONBLOCK);

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_LE(0, inotify_add_watch(fd, dir, IN_DELETE_SELF));
	ASSERT_EQ(0, watch(self->kq, fd, EVFILT_READ));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, rmdir(dir));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_LT(1, self->ev[0].data);
	EXPECT_EQ(readable_bytes(fd), self->ev[0].data);
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(files, pidfd_is_readable_when_the_process_has_ended)
{
	int fds[2], fd;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	if (!pid) {
		close(fds[1]);
		_exit(read(fds[0], &byte, 1));
	}
	fd = syscall(SYS_pidfd_open, pid, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, EVFILT_READ));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, close(fds[1]));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
	EXPECT_EQ(0, reap(pid));
}

TEST_F(files, epoll_is_readable_while_it_has_an_event)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int fd = epoll_create1(0);
	int fds[2];
	char byte;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, epoll_ctl(fd, EPOLL_CTL_ADD, fds[0], &ev));
	ASSERT_EQ(0, watch(self->kq, fd, EVFILT_READ));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(1, self->ev[0].data);
	ASSERT_EQ(1, read(fds[0], &byte, 1));
	EXPECT_EQ(0, pending(self->kq));
}

/* A ring with one completion, until it is taken. */
TEST_F(files, io_uring_is_readable_while_it_has_a_completion)
{
	const struct io_uring_sqe nothing = { .opcode = IORING_OP_NOP };
	struct uring u;
	int ret = uring_setup(&u);

	if (uring_is_missing(ret))
		SKIP(return, "io_uring: errno %d", -ret);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, watch(self->kq, u.fd, EVFILT_READ));
	EXPECT_EQ(0, pending(self->kq));
	/* There is room for submissions. */
	ASSERT_EQ(0, watch(self->kq, u.fd, EVFILT_WRITE));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(EVFILT_WRITE, self->ev[0].filter);
	ASSERT_EQ(0, change(self->kq, u.fd, EVFILT_WRITE, EV_DELETE));

	ASSERT_EQ(0, uring_submit(&u, &nothing));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(u.fd, self->ev[0].ident);
	EXPECT_EQ(1, self->ev[0].data);
	EXPECT_EQ(0, self->ev[0].flags & (EV_EOF | EV_ERROR));
	ASSERT_EQ(0, uring_result(&u));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, close(u.fd));
}

/* io_uring opens files that are in no slot of the table: no close would tell of these. */
TEST_F(files, kqueue_that_io_uring_has_opened_can_get_a_descriptor_and_lose_it)
{
	const struct io_uring_sqe poll = {
		.opcode = IORING_OP_POLL_ADD, .flags = IOSQE_FIXED_FILE, .fd = 0,
		.poll32_events = POLLIN,
	};
	const struct io_uring_sqe install = {
		.opcode = IORING_OP_FIXED_FD_INSTALL, .flags = IOSQE_FIXED_FILE, .fd = 0,
	};
	struct uring u;
	int kq, ret = uring_setup(&u);

	if (uring_is_missing(ret))
		SKIP(return, "io_uring: errno %d", -ret);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, uring_reserve(&u, 1));
	ASSERT_EQ(0, uring_open(&u, "/dev/kqueue", O_RDWR, 0));
	/* It can get one: who has polled it before is told of its events as well. */
	ASSERT_EQ(0, uring_submit(&u, &poll));
	kq = uring_do(&u, &install);
	ASSERT_LT(self->kq, kq);
	ASSERT_EQ(0, change_all(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL));
	ASSERT_EQ(0, trigger(kq, 1));
	EXPECT_EQ(POLLIN, uring_result(&u));
	EXPECT_EQ(1, poll_events(kq, self->ev, 8));
	/* Without it again, it is closed. */
	ASSERT_EQ(0, close(kq));
	EXPECT_EQ(POLLERR, uring_do(&u, &poll));
	kq = uring_do(&u, &install);
	ASSERT_LT(self->kq, kq);
	EXPECT_EQ(-EBADF, change_all(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL));
	ASSERT_EQ(0, close(kq));
	ASSERT_EQ(0, close(u.fd));
}

/* A buffer of samples, one for each page that is touched. */
TEST_F(files, perf_event_is_readable_when_there_are_samples)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_PAGE_FAULTS,
		.sample_type = PERF_SAMPLE_IP,
		.sample_period = 1,
		.wakeup_events = 1,
	};
	const size_t page = sysconf(_SC_PAGESIZE);
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	volatile char *touched;
	void *ring;

	if (fd < 0)
		SKIP(return, "perf_event_open: errno %d", errno);
	ring = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, ring);
	ASSERT_EQ(0, watch(self->kq, fd, EVFILT_READ));
	/* What was faulted in until now is told; then it is quiet. */
	ASSERT_TRUE(EVENTUALLY(pending(self->kq) == 0));
	touched = mmap(NULL, page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)touched);
	*touched = 1;
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(fd, self->ev[0].ident);
	EXPECT_EQ(1, self->ev[0].data);
	ASSERT_EQ(0, close(fd));
}

/* The kernel's log: what is written to it can be read. */
TEST_F(files, device_is_as_its_poll_says)
{
	static const char line[] = "kqueue: a line for a test\n";
	int fd = open("/dev/kmsg", O_RDWR | O_NONBLOCK);

	if (fd < 0)
		SKIP(return, "/dev/kmsg: errno %d", errno);
	ASSERT_EQ(0, watch(self->kq, fd, EVFILT_READ));
	ASSERT_TRUE(EVENTUALLY(lseek(fd, 0, SEEK_END) == 0 &&
			       pending(self->kq) == 0));
	ASSERT_EQ(sizeof(line) - 1, write(fd, line, sizeof(line) - 1));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(fd, self->ev[0].ident);
	EXPECT_EQ(1, self->ev[0].data);
	ASSERT_EQ(0, close(fd));
}

/*
 * Files without a poll of their own, neither regular nor directories.
 */

TEST_F(files, dev_null_is_always_ready_with_data_0)
{
	static const char *const path[] = { "/dev/null", "/dev/zero" };
	size_t i;
	int fd, n;

	for (i = 0; i < ARRAY_SIZE(path); i++) {
		fd = open(path[i], O_RDWR);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, watch(self->kq, fd, EVFILT_READ));
		ASSERT_EQ(0, watch(self->kq, fd, EVFILT_WRITE));
		for (n = 0; n < 3; n++) {
			ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
			EXPECT_EQ(0, self->ev[0].data);
			EXPECT_EQ(0, self->ev[1].data);
			EXPECT_EQ(0, self->ev[0].flags & EV_EOF);
			EXPECT_EQ(0, self->ev[1].flags & EV_EOF);
		}
		ASSERT_EQ(0, close(fd));
	}
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(files, block_device_is_always_ready_with_data_0)
{
	char path[] = "/tmp/kqueue-block-XXXXXX", device[64];
	int image, fd, n;

	image = mkstemp(path);
	ASSERT_LE(0, image);
	ASSERT_EQ(0, ftruncate(image, 1 << 20));
	fd = fs_loop(path, device, sizeof(device));
	unlink(path);
	if (fd < 0)
		SKIP(return, "no loop device: %d", fd);
	ASSERT_EQ(0, watch(self->kq, fd, EVFILT_READ));
	ASSERT_EQ(0, watch(self->kq, fd, EVFILT_WRITE));
	for (n = 0; n < 3; n++) {
		ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
		EXPECT_EQ(0, self->ev[0].data);
		EXPECT_EQ(0, self->ev[1].data);
		EXPECT_EQ(0, self->ev[0].flags & EV_EOF);
		EXPECT_EQ(0, self->ev[1].flags & EV_EOF);
	}
	/* At its end, too. */
	ASSERT_LT(0, lseek(fd, 0, SEEK_END));
	EXPECT_EQ(2, pending(self->kq));
	ASSERT_EQ(0, close(fd));
	close(image);
}

TEST_F(files, dev_null_with_clear_is_reported_once)
{
	int fd = open("/dev/null", O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, change(self->kq, fd, EVFILT_READ, EV_ADD | EV_CLEAR));
	EXPECT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, pending(self->kq));
}

/*
 * Terminals.
 */

FIXTURE(pty) {
	int kq;
	int master, slave;
	struct kevent ev[8];
};

FIXTURE_SETUP(pty)
{
	struct termios tio;
	char name[64];

	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->master = posix_openpt(O_RDWR | O_NOCTTY);
	ASSERT_LE(0, self->master);
	ASSERT_EQ(0, grantpt(self->master));
	ASSERT_EQ(0, unlockpt(self->master));
	ASSERT_EQ(0, ptsname_r(self->master, name, sizeof(name)));
	self->slave = open(name, O_RDWR | O_NOCTTY);
	ASSERT_LE(0, self->slave);
	ASSERT_EQ(0, tcgetattr(self->slave, &tio));
	cfmakeraw(&tio);
	ASSERT_EQ(0, tcsetattr(self->slave, TCSANOW, &tio));
}

FIXTURE_TEARDOWN(pty)
{
	close(self->kq);
}

TEST_F(pty, master_reads_what_the_slave_writes)
{
	char buf[16];

	ASSERT_EQ(0, watch(self->kq, self->master, EVFILT_READ));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(5, write(self->slave, "hello", 5));
	ASSERT_TRUE(EVENTUALLY(poll_events(self->kq, self->ev, 8) == 1 &&
			       self->ev[0].data == 5));
	EXPECT_EQ(0, self->ev[0].flags & EV_EOF);
	ASSERT_EQ(5, read(self->master, buf, sizeof(buf)));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(pty, slave_reads_what_the_master_writes)
{
	char buf[16];

	ASSERT_EQ(0, watch(self->kq, self->slave, EVFILT_READ));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(3, write(self->master, "you", 3));
	ASSERT_TRUE(EVENTUALLY(poll_events(self->kq, self->ev, 8) == 1 &&
			       self->ev[0].data == 3));
	ASSERT_EQ(3, read(self->slave, buf, sizeof(buf)));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(pty, slave_in_line_mode_is_readable_by_the_line)
{
	struct termios tio;

	ASSERT_EQ(0, tcgetattr(self->slave, &tio));
	tio.c_lflag |= ICANON;
	tio.c_iflag &= ~ICRNL;
	ASSERT_EQ(0, tcsetattr(self->slave, TCSANOW, &tio));
	ASSERT_EQ(0, watch(self->kq, self->slave, EVFILT_READ));
	ASSERT_EQ(3, write(self->master, "ab\n", 3));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(3, self->ev[0].data);
}

TEST_F(pty, read_ends_a_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, watch(self->kq, self->master, EVFILT_READ));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(5, write(self->slave, "hello", 5));
	EXPECT_EQ(1, waiter_result(&w));
}

TEST_F(pty, both_sides_are_writable)
{
	ASSERT_EQ(0, watch(self->kq, self->master, EVFILT_WRITE));
	ASSERT_EQ(0, watch(self->kq, self->slave, EVFILT_WRITE));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(0, self->ev[0].flags & EV_EOF);
	EXPECT_EQ(0, self->ev[1].flags & EV_EOF);
}

TEST_F(pty, master_sees_the_end_when_the_slave_is_closed)
{
	ASSERT_EQ(0, watch(self->kq, self->master, EVFILT_READ));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, close(self->slave));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
}

TEST_F(pty, slave_sees_the_end_when_the_master_is_closed)
{
	ASSERT_EQ(0, watch(self->kq, self->slave, EVFILT_READ));
	ASSERT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, close(self->master));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_TRUE(self->ev[0].flags & EV_EOF);
}

TEST_F(pty, except_reports_a_change_of_state_in_packet_mode)
{
	int on = 1;
	char byte;

	ASSERT_EQ(0, ioctl(self->master, TIOCPKT, &on));
	ASSERT_EQ(0, change_all(self->kq, self->master, EVFILT_EXCEPT, EV_ADD,
				NOTE_OOB, 0, NULL));
	EXPECT_EQ(0, pending(self->kq));
	ASSERT_EQ(0, tcflush(self->slave, TCOFLUSH));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(self->master, self->ev[0].ident);
	EXPECT_EQ(EVFILT_EXCEPT, self->ev[0].filter);
	EXPECT_EQ(NOTE_OOB, self->ev[0].fflags);
	ASSERT_EQ(1, read(self->master, &byte, 1));
	EXPECT_EQ(TIOCPKT_FLUSHWRITE, byte);
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(pty, except_wakes_for_a_stop_and_a_start_in_packet_mode)
{
	static const struct {
		int action;
		char told;
	} steps[] = { { TCOOFF, TIOCPKT_STOP }, { TCOON, TIOCPKT_START } };
	int on = 1;
	size_t i;

	ASSERT_EQ(0, ioctl(self->master, TIOCPKT, &on));
	ASSERT_EQ(0, change_all(self->kq, self->master, EVFILT_EXCEPT, EV_ADD,
				NOTE_OOB, 0, NULL));
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		struct waiter w = { .kq = self->kq };
		char byte;

		ASSERT_TRUE(waiter_sleeps(&w));
		ASSERT_EQ(0, tcflow(self->slave, steps[i].action));
		ASSERT_EQ(1, waiter_result(&w));
		EXPECT_EQ(EVFILT_EXCEPT, w.events[0].filter);
		EXPECT_EQ(NOTE_OOB, w.events[0].fflags);
		ASSERT_EQ(1, read(self->master, &byte, 1));
		EXPECT_EQ(steps[i].told, byte);
		EXPECT_EQ(0, pending(self->kq));
	}
}

TEST_F(pty, except_does_not_report_ordinary_data)
{
	int on = 1;

	ASSERT_EQ(0, ioctl(self->master, TIOCPKT, &on));
	ASSERT_EQ(0, change_all(self->kq, self->master, EVFILT_EXCEPT, EV_ADD,
				NOTE_OOB, 0, NULL));
	ASSERT_EQ(0, watch(self->kq, self->master, EVFILT_READ));
	ASSERT_EQ(5, write(self->slave, "hello", 5));
	ASSERT_EQ(1, wait_events(self->kq, self->ev, 8));
	EXPECT_EQ(EVFILT_READ, self->ev[0].filter);
}

/*
 * Where a filter does not apply.
 */

TEST_F(files, except_and_empty_are_for_what_can_have_them)
{
	int fds[2], event, null;

	ASSERT_EQ(0, pipe(fds));
	event = eventfd(0, 0);
	null = open("/dev/null", O_RDWR);
	EXPECT_EQ(-EINVAL, watch(self->kq, fds[0], EVFILT_EXCEPT));
	EXPECT_EQ(-EINVAL, watch(self->kq, fds[0], EVFILT_EMPTY));
	EXPECT_EQ(-EINVAL, watch(self->kq, fds[1], EVFILT_EMPTY));
	EXPECT_EQ(-EINVAL, watch(self->kq, event, EVFILT_EXCEPT));
	EXPECT_EQ(-EINVAL, watch(self->kq, event, EVFILT_EMPTY));
	EXPECT_EQ(-EINVAL, watch(self->kq, null, EVFILT_EXCEPT));
	EXPECT_EQ(-EINVAL, watch(self->kq, null, EVFILT_EMPTY));
	/* And nothing was added. */
	EXPECT_EQ(-ENOENT, change(self->kq, fds[0], EVFILT_EXCEPT,
				  EV_DELETE));
}

TEST_F(files, kqueue_can_only_be_read)
{
	int kq = kqueue();

	ASSERT_LE(0, kq);
	EXPECT_EQ(-EINVAL, watch(self->kq, kq, EVFILT_WRITE));
	EXPECT_EQ(-EINVAL, watch(self->kq, kq, EVFILT_EXCEPT));
	EXPECT_EQ(-EINVAL, watch(self->kq, kq, EVFILT_EMPTY));
}

TEST_F(files, epoll_and_kqueue_can_watch_each_other_and_neither_hangs)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int fd = epoll_create1(0);
	int fds[2];
	char byte;

	/* Ready because the other is, they may stay so; that is all. */
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, watch(self->kq, fd, EVFILT_READ));
	ASSERT_EQ(0, epoll_ctl(fd, EPOLL_CTL_ADD, self->kq, &ev));
	ASSERT_EQ(0, epoll_ctl(fd, EPOLL_CTL_ADD, fds[0], &ev));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	EXPECT_LE(1, epoll_wait(fd, &ev, 1, PATIENCE * 1000));
	EXPECT_EQ(1, wait_events(self->kq, self->ev, 8));
	ASSERT_EQ(1, read(fds[0], &byte, 1));
	EXPECT_GE(1, pending(self->kq));
	EXPECT_GE(1, epoll_wait(fd, &ev, 1, 0));
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(0, pending(self->kq));
}

static const int fd_filters[] = {
	EVFILT_READ, EVFILT_WRITE, EVFILT_EXCEPT, EVFILT_EMPTY,
};

TEST_F(files, what_is_not_open_is_ebadf)
{
	int fd = dup(0);
	size_t i;

	ASSERT_EQ(0, close(fd));
	for (i = 0; i < ARRAY_SIZE(fd_filters); i++) {
		EXPECT_EQ(-EBADF, change(self->kq, fd, fd_filters[i], EV_ADD));
		EXPECT_EQ(-EBADF, change(self->kq, fd, fd_filters[i],
					 EV_DELETE));
		EXPECT_EQ(-EBADF, change(self->kq, fd, fd_filters[i], 0));
		EXPECT_EQ(-EBADF, change(self->kq, -1, fd_filters[i], EV_ADD));
		EXPECT_EQ(-EBADF, change(self->kq, INT_MAX, fd_filters[i],
					 EV_ADD));
	}
}

TEST_F(files, ident_beyond_an_int_is_ebadf)
{
	int fds[2];
	size_t i;

	ASSERT_EQ(0, pipe(fds));
	for (i = 0; i < ARRAY_SIZE(fd_filters); i++) {
#if LONG_MAX > INT_MAX
		/* Its lower half is a good descriptor. */
		EXPECT_EQ(-EBADF, change(self->kq, fds[0] | 1UL << 32,
					 fd_filters[i], EV_ADD));
		EXPECT_EQ(-EBADF, change(self->kq, fds[0] | 1UL << 63,
					 fd_filters[i], EV_ADD));
#endif
		EXPECT_EQ(-EBADF, change(self->kq, 1UL << 31, fd_filters[i],
					 EV_ADD));
		EXPECT_EQ(-EBADF, change(self->kq, UINTPTR_MAX, fd_filters[i],
					 EV_ADD));
	}
	ASSERT_EQ(0, watch(self->kq, fds[0], EVFILT_READ));
#if LONG_MAX > INT_MAX
	/* Nor is the knote of that one found by it. */
	EXPECT_EQ(-EBADF, change(self->kq, fds[0] | 1UL << 32, EVFILT_READ,
				 EV_DELETE));
#endif
	EXPECT_EQ(0, change(self->kq, fds[0], EVFILT_READ, EV_DELETE));
}

TEST_F(files, opened_for_its_path_only_is_ebadf)
{
	int fd = open("/dev/null", O_PATH);
	size_t i;

	ASSERT_LE(0, fd);
	for (i = 0; i < ARRAY_SIZE(fd_filters); i++) {
		EXPECT_EQ(-EBADF, watch(self->kq, fd, fd_filters[i]));
	}
}

TEST_F(files, failed_add_holds_nothing_of_the_file)
{
	int fds[2];
	char byte;

	/* Were the file held, its reader would not see the end. */
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(-EINVAL, watch(self->kq, fds[1], EVFILT_EMPTY));
	ASSERT_EQ(-EINVAL, change(self->kq, fds[1], EVFILT_WRITE,
				  EV_ADD | EV_DELETE));
	ASSERT_EQ(0, close(fds[1]));
	EXPECT_EQ(0, read(fds[0], &byte, 1));
}

TEST_HARNESS_MAIN
