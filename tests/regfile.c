// SPDX-License-Identifier: GPL-2.0
/*
 * EVFILT_READ and EVFILT_WRITE on regular files and directories.
 */
#include "kqtest.h"
#include "fs.h"

#include <dirent.h>
#include <linux/fs.h>

/* What <sys/event.h> makes of kqueue() for programs of other systems. */
int kqueue_as_freebsd(void);
int kqueue_as_netbsd(void);
int kqueue_as_macos(void);

/* The current directory is the root of a file system of the test's own. */
FIXTURE(regfile) {
	int kq;
	int fd;		/* "file", 10 bytes long */
	struct kevent ev[8];
};

FIXTURE_VARIANT(regfile) {
	enum fs fs;
};

FIXTURE_VARIANT_ADD(regfile, tmpfs) { .fs = TMPFS };
FIXTURE_VARIANT_ADD(regfile, ext4) { .fs = EXT4 };
FIXTURE_VARIANT_ADD(regfile, overlayfs) { .fs = OVERLAY };

FIXTURE_SETUP(regfile)
{
	FS_ENTER(variant->fs);
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->fd = open("file", O_RDWR | O_CREAT | O_EXCL, 0644);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(10, write(self->fd, "0123456789", 10));
	ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
}

FIXTURE_TEARDOWN(regfile)
{
	close(self->kq);
}

static int watch(int kq, int fd, int filter, int flags, unsigned int fflags)
{
	return change_all(kq, fd, filter, EV_ADD | flags, fflags, 0, NULL);
}

static int append(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	int ret = write(fd, "hello", 5) == 5 ? 0 : -errno;

	close(fd);
	return ret;
}

#define NOTHING	INT64_MIN

/* The data of the one event that there is. */
static int64_t data(int kq)
{
	struct kevent ev[2];
	int n = poll_events(kq, ev, 2);

	if (n == 1 && !(ev[0].flags & (EV_ERROR | EV_EOF)) && !ev[0].fflags)
		return ev[0].data;
	return n ? NOTHING + 1 : NOTHING;
}

TEST_F(regfile, data_is_the_bytes_up_to_the_end)
{
	char buf[16];

	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, 0, 0));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(self->fd, self->ev[0].ident);
	EXPECT_EQ(EVFILT_READ, self->ev[0].filter);
	EXPECT_EQ(0, self->ev[0].flags);
	EXPECT_EQ(0, self->ev[0].fflags);
	EXPECT_EQ(10, self->ev[0].data);
	ASSERT_EQ(4, read(self->fd, buf, 4));
	EXPECT_EQ(6, data(self->kq));
	ASSERT_EQ(6, read(self->fd, buf, 16));
	EXPECT_EQ(NOTHING, data(self->kq));
}

TEST_F(regfile, at_the_end_it_is_reported_when_the_file_grows)
{
	struct waiter w = { .kq = self->kq };
	char buf[16];

	ASSERT_EQ(10, read(self->fd, buf, 16));
	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, 0, 0));
	EXPECT_EQ(NOTHING, data(self->kq));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, append("file"));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_EQ(5, w.events[0].data);
	EXPECT_EQ(5, data(self->kq));
	ASSERT_EQ(5, read(self->fd, buf, 16));
	EXPECT_EQ(NOTHING, data(self->kq));
	ASSERT_EQ(0, truncate("file", 20));
	EXPECT_EQ(5, data(self->kq));
}

TEST_F(regfile, beyond_the_end_data_is_negative)
{
	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, 0, 0));
	ASSERT_EQ(100, lseek(self->fd, 100, SEEK_SET));
	EXPECT_EQ(-90, data(self->kq));
	ASSERT_EQ(10, lseek(self->fd, 10, SEEK_SET));
	EXPECT_EQ(NOTHING, data(self->kq));
	ASSERT_EQ(0, ftruncate(self->fd, 3));
	EXPECT_EQ(-7, data(self->kq));
}

TEST_F(regfile, offset_set_back_is_reported)
{
	struct waiter w = { .kq = self->kq };
	char buf[16];

	ASSERT_EQ(10, read(self->fd, buf, 16));
	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, 0, 0));
	EXPECT_EQ(NOTHING, data(self->kq));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(7, lseek(self->fd, 7, SEEK_SET));
	ASSERT_EQ(1, waiter_result(&w));
	EXPECT_EQ(3, w.events[0].data);
	EXPECT_EQ(3, data(self->kq));
	/* By a duplicate, which has the same offset. */
	ASSERT_EQ(3, read(self->fd, buf, 16));
	EXPECT_EQ(NOTHING, data(self->kq));
	ASSERT_EQ(1, lseek(dup(self->fd), 1, SEEK_SET));
	EXPECT_EQ(9, data(self->kq));
}

TEST_F(regfile, offset_of_another_open_file_does_not_count)
{
	int other = open("file", O_RDONLY);
	char buf[16];

	ASSERT_LE(0, other);
	ASSERT_EQ(10, read(self->fd, buf, 16));
	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, 0, 0));
	ASSERT_EQ(0, lseek(other, 0, SEEK_SET));
	EXPECT_EQ(NOTHING, data(self->kq));
	ASSERT_EQ(0, watch(self->kq, other, EVFILT_READ, 0, 0));
	EXPECT_EQ(10, data(self->kq));
}

TEST_F(regfile, writing_moves_the_offset_to_the_end)
{
	ASSERT_EQ(10, lseek(self->fd, 0, SEEK_END));
	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, 0, 0));
	ASSERT_EQ(5, write(self->fd, "hello", 5));
	EXPECT_EQ(NOTHING, data(self->kq));
	ASSERT_EQ(5, pwrite(self->fd, "hello", 5, 15));
	EXPECT_EQ(5, data(self->kq));
}

TEST_F(regfile, with_clear_it_is_reported_once_each_time_it_grows)
{
	int i;

	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, EV_CLEAR, 0));
	EXPECT_EQ(10, data(self->kq));
	EXPECT_EQ(NOTHING, data(self->kq));
	for (i = 1; i < 4; i++) {
		ASSERT_EQ(0, append("file"));
		EXPECT_EQ(10 + 5 * i, data(self->kq));
		EXPECT_EQ(NOTHING, data(self->kq));
	}
	/* It does not grow. */
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	EXPECT_EQ(NOTHING, data(self->kq));
}

TEST_F(regfile, file_without_a_name_is_still_followed)
{
	char buf[16];
	int other = open("file", O_WRONLY | O_APPEND);

	ASSERT_LE(0, other);
	ASSERT_EQ(10, read(self->fd, buf, 16));
	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, 0, 0));
	ASSERT_EQ(0, link("file", "name"));
	ASSERT_EQ(0, unlink("file"));
	ASSERT_EQ(0, unlink("name"));
	EXPECT_EQ(NOTHING, data(self->kq));
	ASSERT_EQ(5, write(other, "hello", 5));
	EXPECT_EQ(5, data(self->kq));
}

TEST_F(regfile, file_poll_is_always_active)
{
	char buf[16];
	int i;

	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, 0, NOTE_FILE_POLL));
	EXPECT_EQ(10, data(self->kq));
	ASSERT_EQ(10, read(self->fd, buf, 16));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, data(self->kq));
	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, 0, 0));
	EXPECT_EQ(NOTHING, data(self->kq));
}

TEST_F(regfile, write_is_always_active_with_data_0)
{
	int i;

	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_WRITE, 0, 0));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
		EXPECT_EQ(EVFILT_WRITE, self->ev[0].filter);
		EXPECT_EQ(0, self->ev[0].flags);
		EXPECT_EQ(0, self->ev[0].fflags);
		EXPECT_EQ(0, self->ev[0].data);
	}
	/* For a file that was opened to be read, too, as it says nothing. */
	ASSERT_EQ(0, change(self->kq, self->fd, EVFILT_WRITE, EV_DELETE));
	EXPECT_EQ(NOTHING, data(self->kq));
}

TEST_F(regfile, read_write_and_vnode_are_three_knotes)
{
	int i;

	ASSERT_EQ(10, lseek(self->fd, 10, SEEK_SET));
	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, 0, 0));
	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_WRITE, EV_CLEAR, 0));
	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_VNODE, EV_CLEAR,
			   NOTE_WRITE | NOTE_EXTEND));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(EVFILT_WRITE, self->ev[0].filter);
	ASSERT_EQ(0, append("file"));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
	for (i = 0; i < 2; i++) {
		if (self->ev[i].filter == EVFILT_READ) {
			EXPECT_EQ(5, self->ev[i].data);
		} else {
			EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, self->ev[i].fflags);
		}
	}
	/* One of them goes. */
	ASSERT_EQ(0, change(self->kq, self->fd, EVFILT_VNODE, EV_DELETE));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(10, data(self->kq));
	/* Then all. */
	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(NOTHING, data(self->kq));
}

TEST_F(regfile, directory_is_readable_until_it_is_read)
{
	DIR *dir;

	ASSERT_EQ(0, mkdir("dir", 0755));
	ASSERT_EQ(0, close(open("dir/file", O_WRONLY | O_CREAT, 0644)));
	dir = opendir("dir");
	ASSERT_NE(NULL, dir);
	ASSERT_EQ(0, watch(self->kq, dirfd(dir), EVFILT_READ, 0, 0));
	EXPECT_LT(0, data(self->kq));
	while (readdir(dir))
		;
	/* What the offset is at the end of one that is merged, only overlayfs knows. */
	if (variant->fs != OVERLAY)
		EXPECT_EQ(NOTHING, data(self->kq));
	rewinddir(dir);
	EXPECT_LT(0, data(self->kq));
	ASSERT_EQ(0, watch(self->kq, dirfd(dir), EVFILT_WRITE, EV_ONESHOT, 0));
	EXPECT_EQ(2, pending(self->kq));
}

TEST_F(regfile, path_descriptor_is_ebadf)
{
	int fd = open("file", O_PATH);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EBADF, watch(self->kq, fd, EVFILT_READ, 0, 0));
	EXPECT_EQ(-EBADF, watch(self->kq, fd, EVFILT_WRITE, 0, 0));
	EXPECT_EQ(0, pending(self->kq));
}

/* Readers follow a file that a writer appends to, and miss nothing. */

enum { LINES = 2000, READERS = 3 };

static void *follows(void *arg)
{
	int kq = kqueue(), fd = open("log", O_RDONLY);
	char buf[4096], next = 0;
	struct kevent ev;
	long total = 0;
	ssize_t len, i;

	if (watch(kq, fd, EVFILT_READ, 0, 0))
		return "cannot watch";
	while (total < LINES) {
		if (wait_events(kq, &ev, 1) != 1)
			return "no event";
		len = read(fd, buf, sizeof(buf));
		if (len <= 0 || len < ev.data)
			return "less than there is";
		for (i = 0; i < len; i++)
			if (buf[i] != next++)
				return "not what was written";
		total += len;
	}
	close(fd);
	close(kq);
	(void)arg;
	return NULL;
}

TEST_F(regfile, following_a_file_that_is_appended_to_misses_nothing)
{
	pthread_t readers[READERS];
	char next = 0;
	void *error;
	int i, fd = open("log", O_WRONLY | O_CREAT | O_APPEND, 0644);

	ASSERT_LE(0, fd);
	for (i = 0; i < READERS; i++) {
		ASSERT_EQ(0, pthread_create(&readers[i], NULL, follows, NULL));
	}
	for (i = 0; i < LINES; i++, next++) {
		ASSERT_EQ(1, write(fd, &next, 1));
	}
	for (i = 0; i < READERS; i++) {
		ASSERT_EQ(0, pthread_join(readers[i], &error));
		EXPECT_EQ(NULL, error)
			TH_LOG("%s", (char *)error);
	}
}

/*
 * On a file system that is frozen a write waits, and with it who sets the offset.
 */

FIXTURE(frozen) {
	int kq;
	int fd;
};

FIXTURE_SETUP(frozen)
{
	FS_ENTER(EXT4);
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
	self->fd = open("file", O_RDWR | O_CREAT | O_EXCL, 0644);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(10, write(self->fd, "0123456789", 10));
	ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
}

FIXTURE_TEARDOWN(frozen)
{
	close(self->kq);
}

struct mover {
	int fd;
	atomic_int tid;
	off_t result;
	pthread_t thread;
};

static void *writes_over(void *arg)
{
	struct mover *m = arg;

	m->tid = gettid();
	m->result = write(m->fd, "9876543210", 10);
	return NULL;
}

static void *sets_back(void *arg)
{
	struct mover *m = arg;

	m->tid = gettid();
	m->result = lseek(m->fd, 3, SEEK_SET);
	return NULL;
}

TEST_F(frozen, offset_set_by_a_descriptor_that_is_closed_meanwhile_is_reported)
{
	struct mover writer = { .fd = self->fd }, seeker = { .fd = self->fd };
	int other = dup(self->fd), dir = open(".", O_RDONLY);

	ASSERT_EQ(0, watch(self->kq, other, EVFILT_READ, EV_CLEAR, 0));
	EXPECT_EQ(10, data(self->kq));
	EXPECT_EQ(NOTHING, data(self->kq));
	ASSERT_EQ(0, ioctl(dir, FIFREEZE, 0));
	EXPECT_EQ(0, pthread_create(&writer.thread, NULL, writes_over, &writer));
	EXPECT_TRUE(EVENTUALLY(writer.tid && asleep_in(writer.tid, -1)));
	EXPECT_EQ(0, pthread_create(&seeker.thread, NULL, sets_back, &seeker));
	EXPECT_TRUE(EVENTUALLY(seeker.tid && asleep_in(seeker.tid, -1)));
	EXPECT_EQ(0, close(self->fd));
	ASSERT_EQ(0, ioctl(dir, FITHAW, 0));
	ASSERT_EQ(0, pthread_join(writer.thread, NULL));
	ASSERT_EQ(0, pthread_join(seeker.thread, NULL));
	EXPECT_EQ(10, writer.result);
	EXPECT_EQ(3, seeker.result);
	EXPECT_EQ(7, data(self->kq));
}

/*
 * At the end of a file, the BSDs differ in how an event there is asked for.
 */

FIXTURE(at_eof) {
	int kq;
	int fd;
};

FIXTURE_VARIANT(at_eof) {
	int (*make)(void);
	bool eof, poll, write;
};

FIXTURE_VARIANT_ADD(at_eof, openbsd) {
	.make = kqueue, .eof = true, .poll = true, .write = true,
};

FIXTURE_VARIANT_ADD(at_eof, freebsd) {
	.make = kqueue_as_freebsd, .poll = true, .write = true,
};

FIXTURE_VARIANT_ADD(at_eof, netbsd) {
	.make = kqueue_as_netbsd,
};

FIXTURE_VARIANT_ADD(at_eof, macos) {
	.make = kqueue_as_macos, .write = true,
};

FIXTURE_SETUP(at_eof)
{
	FS_ENTER(TMPFS);
	self->kq = variant->make();
	ASSERT_LE(0, self->kq);
	self->fd = open("file", O_RDWR | O_CREAT, 0644);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(at_eof)
{
	close(self->kq);
}

TEST_F(at_eof, nothing_is_reported_where_it_is_not_asked_for)
{
	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, 0, 0));
	EXPECT_EQ(0, pending(self->kq));
}

TEST_F(at_eof, note_eof_asks_for_it_in_openbsd)
{
	struct kevent ev;
	char buf[16];

	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, 0, NOTE_EOF));
	ASSERT_EQ(variant->eof, poll_events(self->kq, &ev, 1));
	if (variant->eof) {
		EXPECT_EQ(NOTE_EOF, ev.fflags);
		EXPECT_EQ(0, ev.data);
		EXPECT_EQ(0, ev.flags);
	}
	/* Before it, none is different. */
	ASSERT_EQ(0, append("file"));
	ASSERT_EQ(1, poll_events(self->kq, &ev, 1));
	EXPECT_EQ(0, ev.fflags);
	EXPECT_EQ(5, ev.data);
	ASSERT_EQ(5, read(self->fd, buf, 16));
	EXPECT_EQ(variant->eof, pending(self->kq));
}

TEST_F(at_eof, note_file_poll_asks_for_it_in_freebsd)
{
	struct kevent ev;

	ASSERT_EQ(0, watch(self->kq, self->fd, EVFILT_READ, 0, NOTE_FILE_POLL));
	ASSERT_EQ(variant->poll, poll_events(self->kq, &ev, 1));
	if (variant->poll) {
		EXPECT_EQ(0, ev.fflags);
		EXPECT_EQ(0, ev.data);
	}
}

TEST_F(at_eof, write_to_a_file_is_einval_in_netbsd)
{
	EXPECT_EQ(variant->write ? 0 : -EINVAL,
		  watch(self->kq, self->fd, EVFILT_WRITE, 0, 0));
	EXPECT_EQ(variant->write, pending(self->kq));
	if (!variant->write)
		EXPECT_EQ(-ENOENT, change(self->kq, self->fd, EVFILT_WRITE, EV_DELETE));
}

TEST_HARNESS_MAIN
