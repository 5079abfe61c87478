// SPDX-License-Identifier: GPL-2.0
/*
 * A kqueue as a descriptor: making one, what it is and what it is not to the
 * other calls, and the ioctls beside kevent.
 */
#include "kqtest.h"
#include "net.h"

#include <stddef.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* The ABI is for ever. */
/* What programs that were compiled have in them. */
#define IS(name, value)	_Static_assert((name) == (value), #name)

IS(EVFILT_READ, -1);
IS(EVFILT_WRITE, -2);
IS(EVFILT_AIO, -3);
IS(EVFILT_VNODE, -4);
IS(EVFILT_PROC, -5);
IS(EVFILT_SIGNAL, -6);
IS(EVFILT_TIMER, -7);
IS(EVFILT_DEVICE, -8);
IS(EVFILT_EXCEPT, -9);
IS(EVFILT_USER, -10);
IS(EVFILT_EMPTY, -11);
IS(EVFILT_PROCDESC, -12);
IS(EVFILT_FS, -13);

IS(EV_ADD, 0x0001);
IS(EV_DELETE, 0x0002);
IS(EV_ENABLE, 0x0004);
IS(EV_DISABLE, 0x0008);
IS(EV_ONESHOT, 0x0010);
IS(EV_CLEAR, 0x0020);
IS(EV_RECEIPT, 0x0040);
IS(EV_DISPATCH, 0x0080);
IS(EV_UDATA_SPECIFIC, 0x0100);
IS(EV_KEEPUDATA, 0x0200);
IS(EV_SYSFLAGS, 0xf000);
IS(EV_FLAG1, 0x2000);
IS(EV_ERROR, 0x4000);
IS(EV_EOF, 0x8000);

IS(NOTE_LOWAT, 0x1);
IS(NOTE_EOF, 0x2);
IS(NOTE_OOB, 0x4);
IS(NOTE_FILE_POLL, 0x8);
IS(NOTE_DELETE, 0x1);
IS(NOTE_WRITE, 0x2);
IS(NOTE_EXTEND, 0x4);
IS(NOTE_ATTRIB, 0x8);
IS(NOTE_LINK, 0x10);
IS(NOTE_RENAME, 0x20);
IS(NOTE_REVOKE, 0x40);
IS(NOTE_TRUNCATE, 0x80);
IS(NOTE_OPEN, 0x100);
IS(NOTE_CLOSE, 0x200);
IS(NOTE_CLOSE_WRITE, 0x400);
IS(NOTE_READ, 0x800);
IS(NOTE_EXIT, 0x80000000);
IS(NOTE_FORK, 0x40000000);
IS(NOTE_EXEC, 0x20000000);
IS(NOTE_REAP, 0x10000000);
IS(NOTE_PCTRLMASK, 0xf0000000);
IS(NOTE_PDATAMASK, 0x000fffff);
IS(NOTE_TRACK, 0x1);
IS(NOTE_TRACKERR, 0x2);
IS(NOTE_CHILD, 0x4);
IS(NOTE_SECONDS, 0x1);
IS(NOTE_MSECONDS, 0x2);
IS(NOTE_USECONDS, 0x4);
IS(NOTE_NSECONDS, 0x8);
IS(NOTE_ABSTIME, 0x10);
IS(NOTE_FFNOP, 0);
IS(NOTE_FFAND, 0x40000000);
IS(NOTE_FFOR, 0x80000000);
IS(NOTE_FFCOPY, 0xc0000000);
IS(NOTE_FFCTRLMASK, 0xc0000000);
IS(NOTE_FFLAGSMASK, 0x00ffffff);
IS(NOTE_TRIGGER, 0x01000000);

_Static_assert(sizeof(void *) != 8 || sizeof(struct kevent) == 32, "kevent");
_Static_assert(sizeof(struct kqueue_kevent) == 40, "kqueue_kevent");
_Static_assert(sizeof(struct kqueue_create) == 24, "kqueue_create");
_Static_assert(sizeof(void *) != 8 || sizeof(struct kfilter_mapping) == 24,
	       "kfilter_mapping");

FIXTURE(core) {
	int kq;
};

FIXTURE_SETUP(core)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(core)
{
	close(self->kq);
}

/* Make one event pending, of the kind that goes away when it is delivered. */
static int make_pending(int kq, uintptr_t ident)
{
	return change_all(kq, ident, EVFILT_USER, EV_ADD | EV_CLEAR,
			  NOTE_TRIGGER, 0, NULL);
}

/*
 * Making one.
 */

TEST_F(core, kqueue_is_not_close_on_exec)
{
	EXPECT_EQ(0, fcntl(self->kq, F_GETFD));
}

TEST_F(core, kqueue1_takes_o_cloexec)
{
	int kq = kqueue1(O_CLOEXEC);

	ASSERT_LE(0, kq);
	EXPECT_EQ(FD_CLOEXEC, fcntl(kq, F_GETFD));
	EXPECT_EQ(0, make_pending(kq, 1));
	kq = kqueue1(0);
	ASSERT_LE(0, kq);
	EXPECT_EQ(0, fcntl(kq, F_GETFD));
}

TEST_F(core, kqueue1_refuses_other_flags)
{
	int fd = next_fd();

	EXPECT_EQ(-1, kqueue1(O_APPEND));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, kqueue1(O_CLOEXEC | 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, kqueue1(-1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(fd, next_fd());
}

TEST_F(core, kqueuex_takes_kqueue_cloexec)
{
	int kq = kqueuex(KQUEUE_CLOEXEC);

	ASSERT_LE(0, kq);
	EXPECT_EQ(FD_CLOEXEC, fcntl(kq, F_GETFD));
	EXPECT_EQ(0, make_pending(kq, 1));
	kq = kqueuex(0);
	ASSERT_LE(0, kq);
	EXPECT_EQ(0, fcntl(kq, F_GETFD));
}

TEST_F(core, kqueuex_refuses_other_flags)
{
	unsigned int bit;

	for (bit = KQUEUE_CLOEXEC << 1; bit; bit <<= 1) {
		EXPECT_EQ(-1, kqueuex(bit));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, kqueuex(bit | KQUEUE_CLOEXEC));
		EXPECT_EQ(EINVAL, errno);
	}
}

TEST_F(core, every_open_makes_a_kqueue_of_its_own)
{
	int kq = kqueue();

	ASSERT_LE(0, kq);
	ASSERT_NE(self->kq, kq);
	ASSERT_EQ(0, make_pending(self->kq, 1));
	EXPECT_EQ(0, pending(kq));
	EXPECT_EQ(1, pending(self->kq));
}

static void as_nobody(void *arg)
{
	int kq;

	(void)arg;
	CHILD_CHECK(setgid(65534) == 0);
	CHILD_CHECK(setuid(65534) == 0);
	kq = kqueue();
	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(make_pending(kq, 1) == 0);
	CHILD_CHECK(pending(kq) == 1);
}

TEST_F(core, anybody_may_make_one)
{
	struct stat st;

	ASSERT_EQ(0, stat("/dev/kqueue", &st));
	EXPECT_EQ(S_IFCHR | 0666, st.st_mode);
	EXPECT_EQ(0, in_child(as_nobody, NULL));
}

TEST_F(core, many_at_once_are_separate)
{
	struct kevent ev;
	int kq[200];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kq); i++) {
		kq[i] = kqueue();
		ASSERT_LE(0, kq[i]);
		ASSERT_EQ(0, make_pending(kq[i], 1000 + i));
	}
	for (i = 0; i < ARRAY_SIZE(kq); i++) {
		ASSERT_EQ(1, poll_events(kq[i], &ev, 1));
		EXPECT_EQ(1000 + i, ev.ident);
		ASSERT_EQ(0, close(kq[i]));
	}
}

TEST_F(core, dup_is_the_same_kqueue)
{
	int copy = dup(self->kq);

	ASSERT_LE(0, copy);
	ASSERT_EQ(0, make_pending(self->kq, 1));
	EXPECT_EQ(1, pending(copy));
	EXPECT_EQ(0, pending(self->kq));
}

/*
 * Making one from another, where /dev/kqueue is out of reach.
 */

static int create(int kq, unsigned int flags, unsigned int flavour)
{
	struct kqueue_create args = { .flags = flags, .flavour = flavour };

	return kqueue_ioctl(kq, KQUEUE_IOC_CREATE, &args);
}

TEST_F(core, create_makes_another_kqueue)
{
	int kq = create(self->kq, 0, KQUEUE_FLAVOUR_OPENBSD);

	ASSERT_LE(0, kq);
	ASSERT_NE(self->kq, kq);
	EXPECT_EQ(0, fcntl(kq, F_GETFD));
	ASSERT_EQ(0, make_pending(kq, 1));
	EXPECT_EQ(0, pending(self->kq));
	/* It does not depend on the one it was made from. */
	ASSERT_EQ(0, close(self->kq));
	EXPECT_EQ(1, pending(kq));
}

TEST_F(core, create_can_set_close_on_exec)
{
	int kq = create(self->kq, KQUEUE_CLOEXEC, KQUEUE_FLAVOUR_OPENBSD);

	ASSERT_LE(0, kq);
	EXPECT_EQ(FD_CLOEXEC, fcntl(kq, F_GETFD));
}

TEST_F(core, create_works_from_a_created_one)
{
	int kq = create(self->kq, 0, KQUEUE_FLAVOUR_OPENBSD);
	int kq2 = create(kq, 0, KQUEUE_FLAVOUR_OPENBSD);

	ASSERT_LE(0, kq2);
	ASSERT_EQ(0, make_pending(kq2, 1));
	EXPECT_EQ(1, pending(kq2));
}

static void in_empty_root(void *arg)
{
	int kq;

	/* Any directory without a dev in it. */
	CHILD_CHECK(chroot("/proc/self/fdinfo") == 0);
	CHILD_CHECK(kqueue() < 0 && errno == ENOENT);
	kq = create(*(int *)arg, 0, KQUEUE_FLAVOUR_OPENBSD);
	CHILD_CHECK(kq >= 0);
	CHILD_CHECK(make_pending(kq, 1) == 0);
	CHILD_CHECK(pending(kq) == 1);
}

static void with_own_then_in_empty_root(void *arg)
{
	int kq = kqueue();

	(void)arg;
	CHILD_CHECK(kq >= 0);
	in_empty_root(&kq);
}

TEST_F(core, create_works_in_a_chroot_without_the_device)
{
	EXPECT_EQ(0, in_child(with_own_then_in_empty_root, NULL));
}

TEST_F(core, create_refuses_unknown_flags)
{
	int fd = next_fd();
	unsigned int bit;

	for (bit = KQUEUE_CLOEXEC << 1; bit; bit <<= 1) {
		EXPECT_EQ(-EINVAL, create(self->kq, bit, 0));
	}
	EXPECT_EQ(fd, next_fd());
}

TEST_F(core, create_refuses_what_is_reserved)
{
	struct kqueue_create args;
	int fd = next_fd();
	int bit;

	for (bit = 0; bit < 128; bit++) {
		memset(&args, 0, sizeof(args));
		args.reserved[bit / 64] = 1ULL << (bit % 64);
		EXPECT_EQ(-EINVAL, kqueue_ioctl(self->kq, KQUEUE_IOC_CREATE,
						&args));
	}
	EXPECT_EQ(fd, next_fd());
}

TEST_F(core, create_refuses_unknown_flavours)
{
	int fd = next_fd();

	EXPECT_EQ(-EINVAL, create(self->kq, 0, KQUEUE_FLAVOUR_MACOS + 1));
	EXPECT_EQ(-EINVAL, create(self->kq, 0, INT_MAX));
	EXPECT_EQ(-EINVAL, create(self->kq, 0, UINT_MAX));
	EXPECT_EQ(fd, next_fd());
}

TEST_F(core, create_with_a_bad_pointer_is_efault)
{
	int fd = next_fd();

	EXPECT_EQ(-EFAULT, kqueue_ioctl(self->kq, KQUEUE_IOC_CREATE, NULL));
	EXPECT_EQ(-EFAULT, kqueue_ioctl(self->kq, KQUEUE_IOC_CREATE,
					(void *)-8L));
	EXPECT_EQ(fd, next_fd());
}

/*
 * What it is not.
 */

TEST_F(core, kevent_on_what_is_no_kqueue_is_ebadf)
{
	struct kevent ev;
	int fds[2], sv[2], file;

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	file = open("/proc/self/exe", O_RDONLY);
	ASSERT_LE(0, file);
	EXPECT_EQ(-EBADF, poll_events(fds[0], &ev, 1));
	EXPECT_EQ(-EBADF, poll_events(fds[1], &ev, 1));
	EXPECT_EQ(-EBADF, poll_events(sv[0], &ev, 1));
	EXPECT_EQ(-EBADF, poll_events(file, &ev, 1));
}

TEST_F(core, kevent_on_what_is_not_open_is_ebadf)
{
	struct kevent ev;

	ASSERT_EQ(0, close(self->kq));
	EXPECT_EQ(-EBADF, poll_events(self->kq, &ev, 1));
	EXPECT_EQ(-EBADF, poll_events(-1, &ev, 1));
	EXPECT_EQ(-EBADF, poll_events(INT_MAX, &ev, 1));
	EXPECT_EQ(-EBADF, poll_events(INT_MIN, &ev, 1));
}

TEST_F(core, read_and_write_fail)
{
	char buf[64] = {};
	struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };

	ASSERT_EQ(0, make_pending(self->kq, 1));
#define FAILS(call) do {						\
	EXPECT_EQ(-1, call);						\
	EXPECT_TRUE(errno == ENXIO || errno == EINVAL || errno == ESPIPE) \
		TH_LOG("errno %d", errno);				\
} while (0)
	FAILS(read(self->kq, buf, sizeof(buf)));
	FAILS(write(self->kq, buf, sizeof(buf)));
	FAILS(pread(self->kq, buf, sizeof(buf), 0));
	FAILS(pwrite(self->kq, buf, sizeof(buf), 0));
	FAILS(readv(self->kq, &iov, 1));
	FAILS(writev(self->kq, &iov, 1));
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(core, splice_and_sendfile_fail)
{
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	FAILS(splice(self->kq, NULL, fds[1], NULL, 1, 0));
	FAILS(splice(fds[0], NULL, self->kq, NULL, 1, 0));
	FAILS(sendfile(fds[1], self->kq, NULL, 1));
}

TEST_F(core, it_has_no_position_and_no_length)
{
	EXPECT_GE(0, lseek(self->kq, 0, SEEK_SET));
	EXPECT_GE(0, lseek(self->kq, 0, SEEK_CUR));
	EXPECT_EQ(-1, ftruncate(self->kq, 1));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(core, mmap_fails)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->kq,
				   0));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE, self->kq, 0));
	EXPECT_EQ(ENXIO, errno);
}

TEST_F(core, unknown_ioctl_is_enotty)
{
	static const unsigned long request[] = {
		0, 0xffffffff, FIONREAD, TCGETS,
		_IO(KQUEUE_IOC_MAGIC, 0),
		_IO(KQUEUE_IOC_MAGIC, 255),
		_IOW(KQUEUE_IOC_MAGIC, 4, struct kqueue_kevent),
		/* Its own numbers, with another size or direction. */
		_IOW(KQUEUE_IOC_MAGIC, 0, char),
		_IOR(KQUEUE_IOC_MAGIC, 0, struct kqueue_kevent),
		_IOWR(KQUEUE_IOC_MAGIC, 2, int),
	};
	char buf[256] = {};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(request); i++) {
		EXPECT_EQ(-ENOTTY, kqueue_ioctl(self->kq, request[i], buf))
			TH_LOG("request %#lx", request[i]);
	}
}

/* A program may be newer than the module, and know more fields. */
TEST_F(core, longer_arguments_are_taken_where_the_rest_is_0)
{
	union {
		struct kqueue_kevent kevent;
		struct kqueue_create create;
		char bytes[256];
	} args = {};
	const unsigned long kevent = _IOW(KQUEUE_IOC_MAGIC, 0, args);
	const unsigned long create = _IOW(KQUEUE_IOC_MAGIC, 1, args);
	int fd;

	EXPECT_EQ(0, kqueue_ioctl(self->kq, kevent, &args));
	fd = kqueue_ioctl(self->kq, create, &args);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, make_pending(fd, 1));
	fd = next_fd();
	args.bytes[255] = 1;
	EXPECT_EQ(-E2BIG, kqueue_ioctl(self->kq, kevent, &args));
	EXPECT_EQ(-E2BIG, kqueue_ioctl(self->kq, create, &args));
	EXPECT_EQ(fd, next_fd());
}

TEST_F(core, kevent_refuses_unknown_flags)
{
	struct kqueue_kevent args = {};
	int bit;

	ASSERT_EQ(0, make_pending(self->kq, 1));
	for (bit = 0; bit < 64; bit++) {
		args.flags = 1ULL << bit;
		EXPECT_EQ(-EINVAL, kqueue_ioctl(self->kq, KQUEUE_IOC_KEVENT,
						&args));
	}
	args.flags = 0;
	EXPECT_EQ(0, kqueue_ioctl(self->kq, KQUEUE_IOC_KEVENT, &args));
	EXPECT_EQ(1, pending(self->kq));
}

/*
 * poll, select and epoll.
 */

static int poll_kq(int kq)
{
	struct pollfd p = { .fd = kq, .events = POLLIN | POLLRDNORM | POLLPRI |
			    POLLOUT | POLLWRNORM | POLLRDBAND | POLLWRBAND };

	if (poll(&p, 1, 0) < 0)
		return -errno;
	return p.revents;
}

TEST_F(core, poll_says_readable_while_an_event_is_pending)
{
	EXPECT_EQ(0, poll_kq(self->kq));
	ASSERT_EQ(0, make_pending(self->kq, 1));
	EXPECT_EQ(POLLIN | POLLRDNORM, poll_kq(self->kq));
	EXPECT_EQ(POLLIN | POLLRDNORM, poll_kq(self->kq));
	ASSERT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, poll_kq(self->kq));
}

TEST_F(core, poll_goes_on_while_a_level_triggered_event_lasts)
{
	ASSERT_EQ(0, change_all(self->kq, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER,
				0, NULL));
	ASSERT_EQ(1, pending(self->kq));
	EXPECT_EQ(POLLIN | POLLRDNORM, poll_kq(self->kq));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_CLEAR));
	EXPECT_EQ(0, pending(self->kq));
	EXPECT_EQ(0, poll_kq(self->kq));
}

TEST_F(core, poll_does_not_count_disabled_and_deleted_events)
{
	ASSERT_EQ(0, make_pending(self->kq, 1));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_DISABLE));
	EXPECT_EQ(0, poll_kq(self->kq));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ENABLE));
	EXPECT_EQ(POLLIN | POLLRDNORM, poll_kq(self->kq));
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_DELETE));
	EXPECT_EQ(0, poll_kq(self->kq));
}

TEST_F(core, select_says_readable_and_never_writable)
{
	struct timeval zero = {};
	fd_set in, out, except;
	int i;

	for (i = 0; i < 2; i++) {
		FD_ZERO(&in);
		FD_ZERO(&out);
		FD_ZERO(&except);
		FD_SET(self->kq, &in);
		FD_SET(self->kq, &out);
		FD_SET(self->kq, &except);
		EXPECT_EQ(i, select(self->kq + 1, &in, &out, &except, &zero));
		EXPECT_EQ(i, FD_ISSET(self->kq, &in));
		EXPECT_FALSE(FD_ISSET(self->kq, &out));
		EXPECT_FALSE(FD_ISSET(self->kq, &except));
		ASSERT_EQ(0, make_pending(self->kq, 1));
	}
}

TEST_F(core, epoll_says_readable_while_an_event_is_pending)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLPRI };
	int epfd = epoll_create1(0);

	ASSERT_LE(0, epfd);
	ASSERT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_ADD, self->kq, &ev));
	EXPECT_EQ(0, epoll_wait(epfd, &ev, 1, 0));
	ASSERT_EQ(0, make_pending(self->kq, 1));
	ASSERT_EQ(1, epoll_wait(epfd, &ev, 1, 0));
	EXPECT_EQ(EPOLLIN, ev.events);
	ASSERT_EQ(1, epoll_wait(epfd, &ev, 1, 0));
	ASSERT_EQ(1, pending(self->kq));
	EXPECT_EQ(0, epoll_wait(epfd, &ev, 1, 0));
	/* And again, now that epoll has seen it idle. */
	ASSERT_EQ(0, make_pending(self->kq, 2));
	EXPECT_EQ(1, epoll_wait(epfd, &ev, 1, 0));
}

TEST_F(core, epoll_edge_comes_with_every_new_event)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int epfd = epoll_create1(0);
	int i;

	ASSERT_LE(0, epfd);
	ASSERT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_ADD, self->kq, &ev));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, make_pending(self->kq, i));
		EXPECT_EQ(1, epoll_wait(epfd, &ev, 1, 0));
		EXPECT_EQ(0, epoll_wait(epfd, &ev, 1, 0));
		ASSERT_EQ(1, pending(self->kq));
	}
}

TEST_F(core, closing_it_takes_it_out_of_an_epoll_set)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int epfd = epoll_create1(0);

	ASSERT_LE(0, epfd);
	ASSERT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_ADD, self->kq, &ev));
	ASSERT_EQ(0, make_pending(self->kq, 1));
	ASSERT_EQ(0, close(self->kq));
	EXPECT_EQ(0, epoll_wait(epfd, &ev, 1, 0));
}

struct sleeper {
	int kq;
	int result;
	atomic_int tid;
	atomic_bool done;
	pthread_t thread;
	unsigned int events;	/* what an epoll is for */
};

static void *poll_main(void *arg)
{
	struct sleeper *s = arg;
	struct pollfd p = { .fd = s->kq, .events = POLLIN };

	s->tid = gettid();
	s->result = poll(&p, 1, PATIENCE * 1000);
	s->done = true;
	return NULL;
}

static void *select_main(void *arg)
{
	struct sleeper *s = arg;
	struct timeval tv = { .tv_sec = PATIENCE };
	fd_set in;

	FD_ZERO(&in);
	FD_SET(s->kq, &in);
	s->tid = gettid();
	s->result = select(s->kq + 1, &in, NULL, NULL, &tv);
	s->done = true;
	return NULL;
}

static void *epoll_main(void *arg)
{
	struct sleeper *s = arg;
	struct epoll_event ev = { .events = EPOLLIN };
	int epfd = epoll_create1(0);

	epoll_ctl(epfd, EPOLL_CTL_ADD, s->kq, &ev);
	s->tid = gettid();
	s->result = epoll_wait(epfd, &ev, 1, PATIENCE * 1000);
	s->done = true;
	close(epfd);
	return NULL;
}

FIXTURE(core_sleep) {
	int kq;
};

FIXTURE_VARIANT(core_sleep) {
	void *(*main)(void *arg);
};

FIXTURE_VARIANT_ADD(core_sleep, in_poll) {
	.main = poll_main,
};

FIXTURE_VARIANT_ADD(core_sleep, in_select) {
	.main = select_main,
};

FIXTURE_VARIANT_ADD(core_sleep, in_epoll_wait) {
	.main = epoll_main,
};

FIXTURE_SETUP(core_sleep)
{
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(core_sleep)
{
	close(self->kq);
}

TEST_F(core_sleep, ends_with_an_event)
{
	struct sleeper s = { .kq = self->kq };
	int fds[2];

	/* One of a descriptor, so that the wake-up passes through two files. */
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, change(self->kq, fds[0], EVFILT_READ, EV_ADD));
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, variant->main, &s));
	ASSERT_TRUE(EVENTUALLY(s.done || (s.tid && asleep_in(s.tid, -1))));
	ASSERT_FALSE(s.done);
	ASSERT_EQ(1, write(fds[1], "x", 1));
	ASSERT_EQ(0, pthread_join(s.thread, NULL));
	EXPECT_EQ(1, s.result);
	EXPECT_EQ(1, pending(self->kq));
}

TEST_F(core_sleep, is_not_for_ever_though_a_thread_waits_in_kevent_too)
{
	struct sleeper s = { .kq = self->kq };
	struct waiter w = { .kq = self->kq };

	/* Level-triggered, so that the one leaves it to the other. */
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_USER, EV_ADD));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, variant->main, &s));
	ASSERT_TRUE(EVENTUALLY(s.done || (s.tid && asleep_in(s.tid, -1))));
	ASSERT_EQ(0, trigger(self->kq, 1));
	EXPECT_EQ(1, waiter_result(&w));
	ASSERT_EQ(0, pthread_join(s.thread, NULL));
	EXPECT_EQ(1, s.result);
}

/* Who asks for nothing is told of errors. */
static void *poll_for_nothing(void *arg)
{
	struct sleeper *s = arg;
	struct pollfd p = { .fd = s->kq };

	s->tid = gettid();
	s->result = poll(&p, 1, -1);
	s->done = true;
	return NULL;
}

static void *epoll_as_told(void *arg)
{
	struct sleeper *s = arg;
	struct epoll_event ev = { .events = s->events };
	int epfd = epoll_create1(0);

	epoll_ctl(epfd, EPOLL_CTL_ADD, s->kq, &ev);
	s->tid = gettid();
	s->result = epoll_wait(epfd, &ev, 1, -1) == 1 ? (int)ev.events : -EIO;
	s->done = true;
	close(epfd);
	return NULL;
}

/* The file is open still, on its way to somebody. */
TEST_F(core, closing_it_wakes_who_polls_for_nothing)
{
	struct sleeper s[2] = { { .kq = self->kq }, { .kq = self->kq } };
	int i, sv[2];

	ASSERT_EQ(0, unix_pair(sv));
	ASSERT_EQ(0, send_fd(sv[0], self->kq));
	ASSERT_EQ(0, pthread_create(&s[0].thread, NULL, poll_for_nothing, &s[0]));
	ASSERT_EQ(0, pthread_create(&s[1].thread, NULL, epoll_as_told, &s[1]));
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(EVENTUALLY(s[i].tid && asleep_in(s[i].tid, -1)));
	}
	ASSERT_EQ(0, close(self->kq));
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(EVENTUALLY(s[i].done)) TH_LOG("%d sleeps on", i);
		ASSERT_EQ(0, pthread_join(s[i].thread, NULL));
	}
	EXPECT_EQ(1, s[0].result);
	EXPECT_EQ(EPOLLERR, s[1].result);
	close(sv[0]);
	close(sv[1]);
}

/* The end is for all of those, of whom an event wakes one. */
TEST_F(core, closing_it_wakes_all_who_poll_exclusively)
{
	struct sleeper s[3] = { };
	int i, sv[2];

	ASSERT_EQ(0, unix_pair(sv));
	ASSERT_EQ(0, send_fd(sv[0], self->kq));
	for (i = 0; i < 3; i++) {
		s[i].kq = self->kq;
		s[i].events = EPOLLIN | EPOLLEXCLUSIVE;
		ASSERT_EQ(0, pthread_create(&s[i].thread, NULL, epoll_as_told, &s[i]));
		ASSERT_TRUE(EVENTUALLY(s[i].tid && asleep_in(s[i].tid, -1)));
	}
	ASSERT_EQ(0, close(self->kq));
	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(EVENTUALLY(s[i].done)) TH_LOG("%d sleeps on", i);
		ASSERT_EQ(0, pthread_join(s[i].thread, NULL));
		EXPECT_EQ(EPOLLERR, s[i].result);
	}
	close(sv[0]);
	close(sv[1]);
}

/*
 * Filters' names and numbers.
 */

static const struct {
	char name[24];
	int filter;
} filters[] = {
	{ "EVFILT_READ", EVFILT_READ },
	{ "EVFILT_WRITE", EVFILT_WRITE },
	{ "EVFILT_AIO", EVFILT_AIO },
	{ "EVFILT_VNODE", EVFILT_VNODE },
	{ "EVFILT_PROC", EVFILT_PROC },
	{ "EVFILT_SIGNAL", EVFILT_SIGNAL },
	{ "EVFILT_TIMER", EVFILT_TIMER },
	{ "EVFILT_DEVICE", EVFILT_DEVICE },
	{ "EVFILT_EXCEPT", EVFILT_EXCEPT },
	{ "EVFILT_USER", EVFILT_USER },
	{ "EVFILT_EMPTY", EVFILT_EMPTY },
	{ "EVFILT_PROCDESC", EVFILT_PROCDESC },
	{ "EVFILT_FS", EVFILT_FS },
};

_Static_assert(ARRAY_SIZE(filters) == EVFILT_SYSCOUNT, "a filter has no name");

/* The filter's number, which is negative, or the errno, which is positive. */
static int byname(int kq, const char *name)
{
	struct kfilter_mapping map = { .name = (char *)name, .filter = 12345 };
	int error = -kqueue_ioctl(kq, KFILTER_BYNAME, &map);

	return error ? error : map.filter;
}

static int byfilter(int kq, int filter, char *name, size_t len)
{
	struct kfilter_mapping map = {
		.name = name, .len = len, .filter = filter,
	};

	return kqueue_ioctl(kq, KFILTER_BYFILTER, &map);
}

TEST_F(core, kfilter_byname_knows_all_system_filters)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(filters); i++) {
		EXPECT_EQ(filters[i].filter, byname(self->kq, filters[i].name))
			TH_LOG("%s", filters[i].name);
	}
}

TEST_F(core, kfilter_byfilter_knows_all_system_filters)
{
	char name[KFILTER_MAXNAME];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(filters); i++) {
		memset(name, '#', sizeof(name));
		EXPECT_EQ(0, byfilter(self->kq, filters[i].filter, name,
				      sizeof(name)));
		EXPECT_STREQ(filters[i].name, name);
	}
}

TEST_F(core, kfilter_byname_of_an_unknown_name_is_enoent)
{
	static const char *const name[] = {
		"", "EVFILT_", "EVFILT_REA", "EVFILT_READX", "evfilt_read",
		"READ", " EVFILT_READ", "EVFILT_READ\n",
		"a-name-of-thirty-one-characters",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(name); i++) {
		EXPECT_EQ(ENOENT, byname(self->kq, name[i]))
			TH_LOG("name %zu", i);
	}
}

TEST_F(core, kfilter_byfilter_of_an_unknown_number_is_enoent)
{
	static const int filter[] = {
		0, 1, 13, -EVFILT_SYSCOUNT - 1, SHRT_MAX, SHRT_MIN, INT_MAX,
		INT_MIN,
		/* What is left of these in 16 bits is EVFILT_READ. */
		0xffff, 0x1ffff, -0x10001,
	};
	char name[KFILTER_MAXNAME];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(filter); i++) {
		EXPECT_EQ(-ENOENT, byfilter(self->kq, filter[i], name,
					    sizeof(name)))
			TH_LOG("%d", filter[i]);
	}
}

TEST_F(core, kfilter_byname_of_an_over_long_name_is_enametoolong)
{
	char name[KFILTER_MAXNAME + 100];

	memset(name, 'x', sizeof(name));
	name[KFILTER_MAXNAME] = '\0';
	EXPECT_EQ(ENAMETOOLONG, byname(self->kq, name));
	name[KFILTER_MAXNAME] = 'x';
	name[sizeof(name) - 1] = '\0';
	EXPECT_EQ(ENAMETOOLONG, byname(self->kq, name));
}

TEST_F(core, kfilter_byfilter_needs_room_for_the_name)
{
	const size_t exact = sizeof("EVFILT_READ");
	char name[KFILTER_MAXNAME];
	size_t len;

	for (len = 0; len < exact; len++) {
		EXPECT_EQ(-ENAMETOOLONG, byfilter(self->kq, EVFILT_READ, name,
						  len));
	}
	memset(name, '#', sizeof(name));
	EXPECT_EQ(0, byfilter(self->kq, EVFILT_READ, name, exact));
	EXPECT_STREQ("EVFILT_READ", name);
	EXPECT_EQ('#', name[exact]);
}

TEST_F(core, kfilter_byfilter_writes_no_further_than_it_must)
{
	char name[KFILTER_MAXNAME];

	memset(name, '#', sizeof(name));
	/* A length that is a lie must not be taken for the name's. */
	EXPECT_EQ(0, byfilter(self->kq, EVFILT_READ, name, SIZE_MAX));
	EXPECT_STREQ("EVFILT_READ", name);
	EXPECT_EQ('#', name[sizeof("EVFILT_READ")]);
}

TEST_F(core, kfilter_byname_reads_no_further_than_the_name)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *name = map + page - sizeof("EVFILT_READ");

	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, mprotect(map + page, page, PROT_NONE));
	memcpy(name, "EVFILT_READ", sizeof("EVFILT_READ"));
	EXPECT_EQ(EVFILT_READ, byname(self->kq, name));
	/* Without its end, it goes on where nothing can be read. */
	memmove(name + 1, name, sizeof("EVFILT_READ") - 1);
	EXPECT_EQ(EFAULT, byname(self->kq, name + 1));
}

TEST_F(core, kfilter_bad_pointers_are_efault)
{
	char *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	ASSERT_NE(MAP_FAILED, none);
	EXPECT_EQ(EFAULT, byname(self->kq, NULL));
	EXPECT_EQ(EFAULT, byname(self->kq, none));
	EXPECT_EQ(-EFAULT, byfilter(self->kq, EVFILT_READ, NULL, 32));
	EXPECT_EQ(-EFAULT, byfilter(self->kq, EVFILT_READ, none, 32));
	EXPECT_EQ(-EFAULT, kqueue_ioctl(self->kq, KFILTER_BYNAME, NULL));
	EXPECT_EQ(-EFAULT, kqueue_ioctl(self->kq, KFILTER_BYNAME, none));
	EXPECT_EQ(-EFAULT, kqueue_ioctl(self->kq, KFILTER_BYFILTER, NULL));
	EXPECT_EQ(-EFAULT, kqueue_ioctl(self->kq, KFILTER_BYFILTER, none));
}

TEST_F(core, kfilter_number_that_cannot_be_stored_is_efault)
{
	struct kfilter_mapping *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, (void *)map);
	map->name = "EVFILT_READ";
	ASSERT_EQ(0, mprotect(map, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, kqueue_ioctl(self->kq, KFILTER_BYNAME, map));
	EXPECT_EQ(0, map->filter);
}

TEST_HARNESS_MAIN
