// SPDX-License-Identifier: GPL-2.0
/*
 * EVFILT_VNODE: what happens to files and directories.
 */
#include "kqtest.h"
#include "fs.h"

#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/xattr.h>

/* All but those that merely looking at a file brings. */
#define NOTE_CHANGES	(NOTE_DELETE | NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB | \
			 NOTE_LINK | NOTE_RENAME | NOTE_REVOKE | NOTE_TRUNCATE)
#define NOTE_ALL	(NOTE_CHANGES | NOTE_OPEN | NOTE_CLOSE | \
			 NOTE_CLOSE_WRITE | NOTE_READ)

/* The current directory is the root of a file system of the test's own. */
FIXTURE(vnode) {
	int kq;
	struct kevent ev[8];
};

FIXTURE_VARIANT(vnode) {
	enum fs fs;
};

FIXTURE_VARIANT_ADD(vnode, tmpfs) { .fs = TMPFS };
FIXTURE_VARIANT_ADD(vnode, ext4) { .fs = EXT4 };
FIXTURE_VARIANT_ADD(vnode, overlayfs) { .fs = OVERLAY };

FIXTURE_SETUP(vnode)
{
	FS_ENTER(variant->fs);
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(vnode)
{
	close(self->kq);
}

static int watch(int kq, int fd, int flags, unsigned int notes)
{
	return change_all(kq, fd, EVFILT_VNODE, EV_ADD | flags, notes, 0, NULL);
}

/* What the one event that there is says; 0 if there is none, ~0 if more. */
static unsigned int notes(int kq)
{
	struct kevent ev[2];
	int n = poll_events(kq, ev, 2);

	if (n == 1 && ev[0].filter == EVFILT_VNODE && !(ev[0].flags & EV_ERROR))
		return ev[0].fflags;
	return n ? ~0 : 0;
}

static int make_file(const char *path)
{
	return open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
}

static int append(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	int ret = write(fd, "hello", 5) == 5 ? 0 : -errno;

	close(fd);
	return ret;
}

/* A new file, watched for all changes, with EV_CLEAR. */
static int make_watched(int kq, const char *path)
{
	int fd = make_file(path);
	int ret = fd < 0 ? -errno : watch(kq, fd, EV_CLEAR, NOTE_CHANGES);

	return ret ? ret : fd;
}

/* A new directory, likewise. */
static int make_watched_dir(int kq, const char *path)
{
	int fd = mkdir(path, 0755) ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = fd < 0 ? -errno : watch(kq, fd, EV_CLEAR, NOTE_CHANGES);

	return ret ? ret : fd;
}

/*
 * Files.
 */

TEST_F(vnode, write_is_reported_and_extend_where_the_file_grows)
{
	int fd = make_watched(self->kq, "file");

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, append("file"));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(fd, self->ev[0].ident);
	EXPECT_EQ(EVFILT_VNODE, self->ev[0].filter);
	EXPECT_EQ(EV_CLEAR, self->ev[0].flags);
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, self->ev[0].fflags);
	EXPECT_EQ(0, self->ev[0].data);
	/* Over what is there. By the descriptor that is watched, too. */
	ASSERT_EQ(3, pwrite(fd, "HEL", 3, 0));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	ASSERT_EQ(5, pwrite(fd, "world", 5, 3));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
}

TEST_F(vnode, truncation_is_truncate_where_the_file_shrinks)
{
	int fd = make_watched(self->kq, "file");
	int other;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, truncate("file", 10000));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
	ASSERT_EQ(0, ftruncate(fd, 100));
	EXPECT_EQ(NOTE_WRITE | NOTE_TRUNCATE, notes(self->kq));
	other = open("file", O_WRONLY | O_TRUNC);
	ASSERT_LE(0, other);
	EXPECT_EQ(NOTE_WRITE | NOTE_TRUNCATE, notes(self->kq));
	ASSERT_EQ(0, close(other));
	EXPECT_EQ(0, notes(self->kq));
}

TEST_F(vnode, fallocate_is_extend)
{
	int fd = make_watched(self->kq, "file");

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fallocate(fd, 0, 0, 4096));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
}

TEST_F(vnode, change_of_mode_owner_times_or_attributes_is_attrib)
{
	int fd = make_watched(self->kq, "file");

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, chmod("file", 0600));
	EXPECT_EQ(NOTE_ATTRIB, notes(self->kq));
	ASSERT_EQ(0, fchown(fd, 1, 1));
	EXPECT_EQ(NOTE_ATTRIB, notes(self->kq));
	ASSERT_EQ(0, utimensat(AT_FDCWD, "file", NULL, 0));
	EXPECT_EQ(NOTE_ATTRIB, notes(self->kq));
	ASSERT_EQ(0, setxattr("file", "trusted.kqueue", "x", 1, 0));
	EXPECT_EQ(NOTE_ATTRIB, notes(self->kq));
}

TEST_F(vnode, another_name_is_link_and_its_removal_delete)
{
	int fd = make_watched(self->kq, "file");

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, link("file", "other"));
	EXPECT_EQ(NOTE_LINK, notes(self->kq));
	ASSERT_EQ(0, unlink("other"));
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, notes(self->kq));
	ASSERT_EQ(0, unlink("file"));
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, notes(self->kq));
	EXPECT_EQ(0, notes(self->kq));
}

TEST_F(vnode, delete_alone_can_be_asked_for)
{
	int fd = make_file("file");

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_DELETE));
	ASSERT_EQ(0, append("file"));
	ASSERT_EQ(0, link("file", "other"));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, unlink("file"));
	EXPECT_EQ(NOTE_DELETE, notes(self->kq));
}

TEST_F(vnode, rename_is_reported_and_the_file_followed)
{
	int fd = make_watched(self->kq, "file");
	int other;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, mkdir("dir", 0755));
	ASSERT_EQ(0, rename("file", "renamed"));
	EXPECT_EQ(NOTE_RENAME, notes(self->kq));
	ASSERT_EQ(0, rename("renamed", "dir/again"));
	EXPECT_EQ(NOTE_RENAME, notes(self->kq));
	/* What has the name now is another. */
	other = make_file("file");
	ASSERT_LE(0, other);
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, append("dir/again"));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
}

TEST_F(vnode, file_renamed_over_is_deleted)
{
	int old = make_watched(self->kq, "old");
	int new = make_file("new");

	ASSERT_LE(0, old);
	ASSERT_LE(0, new);
	ASSERT_EQ(0, watch(self->kq, new, EV_CLEAR, NOTE_CHANGES));
	ASSERT_EQ(0, rename("new", "old"));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(old, self->ev[0].ident);
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, self->ev[0].fflags);
	EXPECT_EQ(new, self->ev[1].ident);
	EXPECT_EQ(NOTE_RENAME, self->ev[1].fflags);
}

TEST_F(vnode, file_without_a_name_is_still_watched)
{
	int fd = make_watched(self->kq, "file");

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, unlink("file"));
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, notes(self->kq));
	ASSERT_EQ(5, write(fd, "hello", 5));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
	ASSERT_EQ(0, ftruncate(fd, 0));
	EXPECT_EQ(NOTE_WRITE | NOTE_TRUNCATE, notes(self->kq));
}

TEST_F(vnode, file_whose_other_name_goes_last_is_still_watched)
{
	int fd = make_watched(self->kq, "file");
	int i;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, link("file", "other"));
	ASSERT_EQ(0, unlink("file"));
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, notes(self->kq));
	/* The kernel is through with an inode then, and takes marks from it. */
	ASSERT_EQ(0, unlink("other"));
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, notes(self->kq));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(5, write(fd, "hello", 5));
		EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
	}
}

TEST_F(vnode, open_read_and_close_are_reported_where_asked_for)
{
	int fd = make_file("file"), other;
	char byte;

	ASSERT_LE(0, fd);
	ASSERT_EQ(1, write(fd, "x", 1));
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_ALL));
	other = open("file", O_RDONLY);
	EXPECT_EQ(NOTE_OPEN, notes(self->kq));
	ASSERT_EQ(1, read(other, &byte, 1));
	EXPECT_EQ(NOTE_READ, notes(self->kq));
	ASSERT_EQ(0, close(other));
	EXPECT_EQ(NOTE_CLOSE, notes(self->kq));
	other = open("file", O_RDWR);
	EXPECT_EQ(NOTE_OPEN, notes(self->kq));
	ASSERT_EQ(0, close(other));
	EXPECT_EQ(NOTE_CLOSE_WRITE, notes(self->kq));
	/* Only one of them. */
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_CLOSE));
	other = open("file", O_RDONLY);
	ASSERT_EQ(1, read(other, &byte, 1));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, close(other));
	EXPECT_EQ(NOTE_CLOSE, notes(self->kq));
}

TEST_F(vnode, store_through_mmap_is_not_reported)
{
	int fd = make_watched(self->kq, "file");
	char *map;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, 4096));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	memcpy(map, "hello", 5);
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, msync(map, 4096, MS_SYNC));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, munmap(map, 4096));
	EXPECT_EQ(0, notes(self->kq));
}

/*
 * Directories.
 */

TEST_F(vnode, entry_made_removed_or_renamed_is_write_of_the_directory)
{
	int dir = make_watched_dir(self->kq, "dir");
	int fd;

	ASSERT_LE(0, dir);
	fd = make_file("dir/file");
	ASSERT_LE(0, fd);
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	ASSERT_EQ(0, link("dir/file", "dir/other"));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	ASSERT_EQ(0, rename("dir/other", "dir/renamed"));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	ASSERT_EQ(0, rename("dir/renamed", "out"));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	ASSERT_EQ(0, rename("out", "dir/in"));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	ASSERT_EQ(0, symlink("file", "dir/symlink"));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	ASSERT_EQ(0, unlink("dir/file"));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	/* What happens to a file in it is not its affair. */
	ASSERT_EQ(0, append("dir/in"));
	ASSERT_EQ(0, chmod("dir/in", 0600));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, chmod("dir", 0700));
	EXPECT_EQ(NOTE_ATTRIB, notes(self->kq));
}

TEST_F(vnode, subdirectory_made_or_removed_is_link_too)
{
	int dir = make_watched_dir(self->kq, "dir");

	ASSERT_LE(0, dir);
	ASSERT_EQ(0, mkdir("dir/sub", 0755));
	EXPECT_EQ(NOTE_WRITE | NOTE_LINK, notes(self->kq));
	ASSERT_EQ(0, rename("dir/sub", "dir/renamed"));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	ASSERT_EQ(0, rmdir("dir/renamed"));
	EXPECT_EQ(NOTE_WRITE | NOTE_LINK, notes(self->kq));
	/* One less, as well. */
	ASSERT_EQ(0, mkdir("dir/one", 0755));
	ASSERT_EQ(0, mkdir("dir/two", 0755));
	EXPECT_EQ(NOTE_WRITE | NOTE_LINK, notes(self->kq));
	ASSERT_EQ(0, rename("dir/one", "dir/two"));
	EXPECT_EQ(NOTE_WRITE | NOTE_LINK, notes(self->kq));
}

TEST_F(vnode, subdirectory_moved_is_link_of_both_directories)
{
	int from = make_watched_dir(self->kq, "from");
	int to = make_watched_dir(self->kq, "to");

	ASSERT_LE(0, from);
	ASSERT_LE(0, to);
	ASSERT_EQ(0, mkdir("from/sub", 0755));
	EXPECT_EQ(NOTE_WRITE | NOTE_LINK, notes(self->kq));
	if (rename("from/sub", "to/sub"))
		SKIP(return, "directories cannot be renamed here: %s", strerror(errno));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(NOTE_WRITE | NOTE_LINK, self->ev[0].fflags);
	EXPECT_EQ(NOTE_WRITE | NOTE_LINK, self->ev[1].fflags);
}

TEST_F(vnode, directory_removed_while_open_is_deleted)
{
	int dir = make_watched_dir(self->kq, "dir");
	int i;

	ASSERT_LE(0, dir);
	ASSERT_EQ(0, rmdir("dir"));
	EXPECT_EQ(NOTE_DELETE, notes(self->kq));
	EXPECT_EQ(0, notes(self->kq));
	/* Once. */
	ASSERT_EQ(0, fchmod(dir, 0700));
	EXPECT_EQ(NOTE_ATTRIB, notes(self->kq));
	/* And again, with nobody watching a directory between. */
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, close(dir));
		dir = make_watched_dir(self->kq, "dir");
		ASSERT_LE(0, dir);
		ASSERT_EQ(0, rmdir("dir"));
		EXPECT_EQ(NOTE_DELETE, notes(self->kq));
	}
}

TEST_F(vnode, directory_renamed_is_followed_and_renamed_over_is_deleted)
{
	int dir = make_watched_dir(self->kq, "dir");
	int over = make_watched_dir(self->kq, "over");

	ASSERT_LE(0, dir);
	ASSERT_LE(0, over);
	ASSERT_EQ(0, rename("dir", "over"));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(over, self->ev[0].ident);
	EXPECT_EQ(NOTE_DELETE, self->ev[0].fflags);
	EXPECT_EQ(dir, self->ev[1].ident);
	EXPECT_EQ(NOTE_RENAME, self->ev[1].fflags);
	ASSERT_EQ(0, mkdir("over/sub", 0755));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(dir, self->ev[0].ident);
	EXPECT_EQ(NOTE_WRITE | NOTE_LINK, self->ev[0].fflags);
}

TEST_F(vnode, reading_a_directory_is_read)
{
	int dir = make_watched_dir(self->kq, "dir");
	char buf[1024];

	ASSERT_LE(0, dir);
	ASSERT_EQ(0, watch(self->kq, dir, EV_CLEAR, NOTE_READ | NOTE_OPEN));
	ASSERT_LT(0, syscall(SYS_getdents64, dir, buf, sizeof(buf)));
	EXPECT_EQ(NOTE_READ, notes(self->kq));
}

/*
 * The knote.
 */

TEST_F(vnode, what_has_happened_is_kept_until_it_is_delivered)
{
	int fd = make_watched(self->kq, "file");

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, append("file"));
	ASSERT_EQ(0, chmod("file", 0600));
	ASSERT_EQ(0, rename("file", "renamed"));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB | NOTE_RENAME,
		  notes(self->kq));
	EXPECT_EQ(0, notes(self->kq));
}

TEST_F(vnode, without_clear_it_stays)
{
	int fd = make_file("file");

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, 0, NOTE_CHANGES));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
	ASSERT_EQ(0, chmod("file", 0600));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB, notes(self->kq));
}

TEST_F(vnode, only_what_is_asked_for_is_reported)
{
	int fd = make_file("file");

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_ATTRIB));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, chmod("file", 0600));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(NOTE_ATTRIB, notes(self->kq));
	/* Nothing at all may be asked for, and what there is not. */
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, 0));
	ASSERT_EQ(0, chmod("file", 0644));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, 0x80000000 | NOTE_ATTRIB));
	ASSERT_EQ(0, chmod("file", 0600));
	EXPECT_EQ(NOTE_ATTRIB, notes(self->kq));
}

TEST_F(vnode, adding_again_replaces_what_is_asked_for)
{
	int fd = make_file("file");
	char byte;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_ATTRIB));
	ASSERT_EQ(0, chmod("file", 0600));
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_WRITE | NOTE_READ));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, chmod("file", 0644));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, append("file"));
	ASSERT_EQ(1, pread(fd, &byte, 1, 0));
	EXPECT_EQ(NOTE_WRITE | NOTE_READ, notes(self->kq));
	/* A change without EV_ADD does not. */
	ASSERT_EQ(0, change(self->kq, fd, EVFILT_VNODE, EV_ENABLE));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
}

TEST_F(vnode, disabled_it_still_collects)
{
	int fd = make_watched(self->kq, "file");

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, change(self->kq, fd, EVFILT_VNODE, EV_DISABLE));
	ASSERT_EQ(0, append("file"));
	ASSERT_EQ(0, chmod("file", 0600));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, change(self->kq, fd, EVFILT_VNODE, EV_ENABLE));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB, notes(self->kq));
	EXPECT_EQ(0, notes(self->kq));
}

TEST_F(vnode, oneshot_and_dispatch_are_delivered_once)
{
	int fd = make_file("file");

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, EV_DISPATCH | EV_CLEAR, NOTE_WRITE));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, change(self->kq, fd, EVFILT_VNODE, EV_ENABLE));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	ASSERT_EQ(0, watch(self->kq, fd, EV_ONESHOT, NOTE_WRITE));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	EXPECT_EQ(-ENOENT, change(self->kq, fd, EVFILT_VNODE, EV_DELETE));
}

TEST_F(vnode, event_that_cannot_be_stored_is_not_lost)
{
	const struct timespec zero = { 0 };
	int fd = make_watched(self->kq, "file");

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(-EFAULT, kev(self->kq, NULL, 0, (void *)8, 1, &zero));
	ASSERT_EQ(0, chmod("file", 0600));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB, notes(self->kq));
	EXPECT_EQ(0, notes(self->kq));
}

TEST_F(vnode, ends_a_wait)
{
	struct waiter w = { .kq = self->kq };
	int fd = make_watched(self->kq, "file");

	ASSERT_LE(0, fd);
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, unlink("file"));
	EXPECT_EQ(1, waiter_result(&w));
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, w.events[0].fflags);
}

TEST_F(vnode, deleted_or_closed_it_reports_no_more)
{
	int fd = make_watched(self->kq, "file");

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, change(self->kq, fd, EVFILT_VNODE, EV_DELETE));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_CHANGES));
	ASSERT_EQ(0, append("file"));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(0, notes(self->kq));
	/* And what is watched anew does not report what came before. */
	fd = open("file", O_RDONLY);
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_CHANGES));
	EXPECT_EQ(0, notes(self->kq));
}

TEST_F(vnode, size_that_changed_while_nobody_watched_is_not_counted)
{
	int fd = make_watched(self->kq, "file");
	int i;

	/* The second may find what the first has left behind, or not. */
	for (i = 0; i < 20; i++) {
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, change(self->kq, fd, EVFILT_VNODE, EV_DELETE));
		ASSERT_EQ(0, append("file"));
		ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_CHANGES));
		ASSERT_EQ(1, pwrite(fd, "x", 1, 0));
		EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	}
}

/*
 * Several watch.
 */

TEST_F(vnode, each_knote_on_a_file_is_told)
{
	int fd = make_watched(self->kq, "file");
	int again = open("file", O_RDONLY);
	int other = kqueue();
	int i, mine;

	ASSERT_LE(0, fd);
	ASSERT_LE(0, again);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, watch(self->kq, again, EV_CLEAR, NOTE_ATTRIB | NOTE_DELETE));
	ASSERT_EQ(0, watch(other, fd, EV_CLEAR, NOTE_CHANGES));
	ASSERT_EQ(0, change_all(other, fd, EVFILT_VNODE,
				EV_ADD | EV_CLEAR | EV_UDATA_SPECIFIC, NOTE_WRITE, 0,
				self));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
	EXPECT_EQ(2, pending(other));
	ASSERT_EQ(0, unlink("file"));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
	mine = self->ev[0].ident == (uintptr_t)fd ? 0 : 1;
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, self->ev[mine].fflags);
	EXPECT_EQ(NOTE_DELETE, self->ev[!mine].fflags);
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, notes(other));
	/* The others stay when one goes. */
	ASSERT_EQ(0, close(fd));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, fchmod(again, 0600 + i));
		EXPECT_EQ(NOTE_ATTRIB, notes(self->kq));
	}
	EXPECT_EQ(0, pending(other));
}

static void watches_in_a_child(void *unused)
{
	int kq = kqueue();
	int fd = open("file", O_RDONLY);

	CHILD_CHECK(!watch(kq, fd, EV_CLEAR, NOTE_CHANGES));
	CHILD_CHECK(!append("file"));
	CHILD_CHECK(notes(kq) == (NOTE_WRITE | NOTE_EXTEND));
	CHILD_CHECK(!chmod("file", 0600));
	CHILD_CHECK(notes(kq) == NOTE_ATTRIB);
	(void)unused;
}

TEST_F(vnode, processes_do_not_disturb_each_other)
{
	int fd = make_watched(self->kq, "file");

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, in_child(watches_in_a_child, NULL));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB, notes(self->kq));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
}

/* The events inotify has, as one mask. */
static unsigned int inotify_mask(int fd)
{
	char buf[4096] __attribute__((aligned(8)));
	ssize_t len = read(fd, buf, sizeof(buf)), at;
	unsigned int mask = 0;

	for (at = 0; at < len; ) {
		struct inotify_event *ev = (void *)(buf + at);

		mask |= ev->mask;
		at += sizeof(*ev) + ev->len;
	}
	return mask;
}

TEST_F(vnode, inotify_on_the_same_file_is_not_disturbed)
{
	int before = inotify_init1(IN_NONBLOCK), after = inotify_init1(IN_NONBLOCK);
	int fd = make_file("file");

	ASSERT_LE(0, inotify_add_watch(before, "file", IN_ALL_EVENTS));
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_CHANGES));
	ASSERT_LE(0, inotify_add_watch(after, "file", IN_MODIFY | IN_DELETE_SELF));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
	EXPECT_EQ(IN_OPEN | IN_MODIFY | IN_CLOSE_WRITE, inotify_mask(before));
	EXPECT_EQ(IN_MODIFY, inotify_mask(after));
	ASSERT_EQ(0, close(before));
	ASSERT_EQ(0, chmod("file", 0600));
	EXPECT_EQ(NOTE_ATTRIB, notes(self->kq));
	EXPECT_EQ(0, inotify_mask(after));
	/* We keep no file from going. */
	ASSERT_EQ(0, unlink("file"));
	EXPECT_EQ(0, inotify_mask(after));
	ASSERT_EQ(0, close(fd));
	EXPECT_TRUE(EVENTUALLY(inotify_mask(after) & IN_DELETE_SELF));
}

/*
 * What can be watched.
 */

TEST_F(vnode, path_descriptor_can_be_watched)
{
	int made = make_file("file"), fd, dir;

	ASSERT_LE(0, made);
	ASSERT_EQ(0, mkdir("dir", 0755));
	fd = open("file", O_PATH);
	dir = open("dir", O_PATH);
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_CHANGES));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
	ASSERT_EQ(0, unlink("file"));
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, notes(self->kq));
	ASSERT_EQ(0, watch(self->kq, dir, EV_CLEAR, NOTE_CHANGES));
	ASSERT_EQ(0, rmdir("dir"));
	EXPECT_EQ(NOTE_DELETE, notes(self->kq));
	/* Closing it ends the knote as that of any other. */
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(5, write(made, "hello", 5));
	EXPECT_EQ(0, notes(self->kq));
	/* Other filters have no use for one. */
	EXPECT_EQ(-EBADF, change(self->kq, dir, EVFILT_READ, EV_ADD));
}

TEST_F(vnode, symbolic_link_and_fifo_can_be_watched)
{
	int link, fifo;

	ASSERT_EQ(0, symlink("nowhere", "symlink"));
	ASSERT_EQ(0, mkfifo("fifo", 0644));
	link = open("symlink", O_PATH | O_NOFOLLOW);
	fifo = open("fifo", O_RDWR);
	ASSERT_LE(0, link);
	ASSERT_LE(0, fifo);
	ASSERT_EQ(0, watch(self->kq, link, EV_CLEAR, NOTE_CHANGES));
	ASSERT_EQ(0, rename("symlink", "renamed"));
	EXPECT_EQ(NOTE_RENAME, notes(self->kq));
	ASSERT_EQ(0, unlink("renamed"));
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, notes(self->kq));
	ASSERT_EQ(0, watch(self->kq, fifo, EV_CLEAR, NOTE_CHANGES));
	ASSERT_EQ(1, write(fifo, "x", 1));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
	ASSERT_EQ(0, unlink("fifo"));
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, notes(self->kq));
}

TEST_F(vnode, what_is_in_no_file_system_is_einval)
{
	int fds[2], sv[2], event = eventfd(0, 0);
	int memfd = syscall(SYS_memfd_create, "kqueue", 0);
	size_t i;

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));

	const int fd[] = { fds[0], sv[0], event, memfd, self->kq };

	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		EXPECT_EQ(-EINVAL, watch(self->kq, fd[i], 0, NOTE_CHANGES))
			TH_LOG("descriptor %zu", i);
		EXPECT_EQ(-ENOENT, change(self->kq, fd[i], EVFILT_VNODE, EV_DELETE));
	}
	EXPECT_EQ(-EBADF, watch(self->kq, 1000, 0, NOTE_CHANGES));
}

static void watches_as_somebody(void *arg)
{
	int hidden = *(int *)arg, kq, shown;

	CHILD_CHECK(!setgid(65534) && !setuid(65534));
	kq = kqueue();
	CHILD_CHECK(watch(kq, hidden, 0, NOTE_CHANGES) == -EACCES);
	CHILD_CHECK(change(kq, hidden, EVFILT_VNODE, EV_DELETE) == -ENOENT);
	shown = open("shown", O_PATH);
	CHILD_CHECK(!watch(kq, shown, 0, NOTE_CHANGES));
}

TEST_F(vnode, path_descriptor_of_a_file_that_must_not_be_read_is_eacces)
{
	int hidden, shown = make_file("shown");

	ASSERT_LE(0, shown);
	ASSERT_EQ(0, close(make_file("hidden")));
	ASSERT_EQ(0, chmod("hidden", 0600));
	hidden = open("hidden", O_PATH);
	EXPECT_EQ(0, in_child(watches_as_somebody, &hidden));
}

/* Whoever does something to a file tells all of them. */
enum { MOST = 1024 };

static int watch_once_more(int kq, int fd, uintptr_t which)
{
	return change_all(kq, fd, EVFILT_VNODE,
			  EV_ADD | EV_CLEAR | EV_UDATA_SPECIFIC, NOTE_WRITE, 0,
			  (void *)which);
}

static void watches_as_another_user(void *arg)
{
	int kq;

	CHILD_CHECK(!setgid(65534) && !setuid(65534));
	kq = kqueue();
	CHILD_CHECK(!watch_once_more(kq, *(int *)arg, 0));
}

TEST_F(vnode, user_has_1024_knotes_on_a_file_and_all_are_told)
{
	static struct kevent ev[MOST + 1];
	int fd = make_file("file"), other = make_file("other"), i;

	ASSERT_LE(0, fd);
	for (i = 0; i < MOST; i++) {
		ASSERT_EQ(0, watch_once_more(self->kq, fd, i));
	}
	EXPECT_EQ(-ENOMEM, watch_once_more(self->kq, fd, MOST));
	/* Another file, or another user, has nothing to do with it. */
	EXPECT_EQ(0, watch_once_more(self->kq, other, 0));
	EXPECT_EQ(0, in_child(watches_as_another_user, &fd));
	ASSERT_EQ(0, append("file"));
	EXPECT_EQ(MOST, poll_events(self->kq, ev, MOST + 1));
	for (i = 0; i < MOST; i++) {
		ASSERT_EQ(NOTE_WRITE, ev[i].fflags);
		ASSERT_EQ(i, (uintptr_t)ev[i].udata);
	}
	/* One that goes makes room. */
	ASSERT_EQ(0, change_all(self->kq, fd, EVFILT_VNODE,
				EV_DELETE | EV_UDATA_SPECIFIC, 0, 0, (void *)1));
	EXPECT_EQ(0, watch_once_more(self->kq, fd, MOST));
	EXPECT_EQ(-ENOMEM, watch_once_more(self->kq, fd, 1));
	ASSERT_EQ(0, close(fd));
	fd = open("file", O_RDWR);
	EXPECT_EQ(0, watch_once_more(self->kq, fd, 0));
}

struct coming_and_going {
	int kq, fd;
	atomic_bool stop;
};

static void *comes_and_goes(void *arg)
{
	struct coming_and_going *it = arg;
	intptr_t ret = 0;
	int i;

	for (i = 0; !it->stop && !ret; i = (i + 1) % (MOST / 2)) {
		ret = watch_once_more(it->kq, it->fd, i);
		if (!ret && i % 3)
			ret = change_all(it->kq, it->fd, EVFILT_VNODE,
					 EV_DELETE | EV_UDATA_SPECIFIC, 0, 0,
					 (void *)(uintptr_t)i);
	}
	return (void *)ret;
}

static void *writes(void *arg)
{
	struct coming_and_going *it = arg;
	intptr_t ret = 0;

	while (!it->stop && !ret)
		ret = pwrite(it->fd, "x", 1, 0) != 1;
	return (void *)ret;
}

TEST_F(vnode, knotes_that_come_and_go_while_many_are_told_hide_no_other)
{
	static struct kevent ev[MOST];
	struct coming_and_going it = {
		.kq = kqueue(), .fd = make_file("file"),
	};
	pthread_t threads[2];
	void *ret;
	int i;

	ASSERT_LE(0, it.fd);
	for (i = 0; i < MOST / 2; i++) {
		ASSERT_EQ(0, watch_once_more(self->kq, it.fd, i));
	}
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, comes_and_goes, &it));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, writes, &it));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(1, pwrite(it.fd, "x", 1, 0));
		EXPECT_EQ(MOST / 2, poll_events(self->kq, ev, MOST));
	}
	it.stop = true;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &ret));
		EXPECT_EQ(NULL, ret);
	}
	ASSERT_EQ(0, close(it.kq));
}

/*
 * Unmounting. The file stays open, and can be used.
 */

TEST_F(vnode, unmounted_it_is_revoked)
{
	int fd = make_watched(self->kq, "file");
	int plain = open("file", O_RDONLY);
	char dir[PATH_MAX];

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, plain, EV_CLEAR, NOTE_ATTRIB | NOTE_WRITE));
	ASSERT_NE(NULL, getcwd(dir, sizeof(dir)));
	ASSERT_EQ(0, chdir("/"));
	EXPECT_EQ(-1, umount2(dir, 0));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, umount2(dir, MNT_DETACH));
	/* Only the one that asks for it. */
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(fd, self->ev[0].ident);
	EXPECT_EQ(NOTE_REVOKE, self->ev[0].fflags);
	EXPECT_EQ(EV_CLEAR | EV_EOF, self->ev[0].flags);
	ASSERT_EQ(5, write(fd, "hello", 5));
	EXPECT_EQ(2, pending(self->kq));
}

TEST_F(vnode, revoke_can_be_asked_for_later)
{
	int fd = make_file("file");
	char dir[PATH_MAX];

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_ATTRIB));
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_REVOKE));
	ASSERT_NE(NULL, getcwd(dir, sizeof(dir)));
	ASSERT_EQ(0, chdir("/"));
	/* Another mount than the file's is none of its business. */
	ASSERT_EQ(0, mount("kqueue", dir, "tmpfs", 0, NULL));
	ASSERT_EQ(0, umount2(dir, 0));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, umount2(dir, MNT_DETACH));
	EXPECT_EQ(NOTE_REVOKE, notes(self->kq));
}

TEST_F(vnode, revoke_is_reported_when_it_is_asked_for_again_and_once)
{
	int fd = make_file("file");
	char dir[PATH_MAX];

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_REVOKE));
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_WRITE));
	ASSERT_NE(NULL, getcwd(dir, sizeof(dir)));
	ASSERT_EQ(0, chdir("/"));
	ASSERT_EQ(0, umount2(dir, MNT_DETACH));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_REVOKE));
	EXPECT_EQ(NOTE_REVOKE, notes(self->kq));
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_REVOKE));
	EXPECT_EQ(0, notes(self->kq));
}

/* What is dropped before it is delivered was not reported. */
TEST_F(vnode, revoke_that_was_not_delivered_is_reported_when_it_is_asked_for_again)
{
	int fd = make_file("file"), i;
	char dir[PATH_MAX];

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_REVOKE));
	ASSERT_NE(NULL, getcwd(dir, sizeof(dir)));
	ASSERT_EQ(0, chdir("/"));
	ASSERT_EQ(0, umount2(dir, MNT_DETACH));
	for (i = 0; i < 2; i++) {
		/* The second time it is taken, and put back. */
		if (i)
			EXPECT_EQ(-EFAULT, poll_events(self->kq, (struct kevent *)8, 1));
		ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_WRITE));
		EXPECT_EQ(0, notes(self->kq));
		ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_REVOKE | NOTE_WRITE));
	}
	EXPECT_EQ(NOTE_REVOKE, notes(self->kq));
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_WRITE));
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_REVOKE | NOTE_WRITE));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(5, write(fd, "hello", 5));
	EXPECT_EQ(NOTE_WRITE, notes(self->kq));
}

TEST_F(vnode, mount_that_is_moved_is_not_revoked)
{
	int fd = make_watched(self->kq, "file");
	char dir[PATH_MAX], to[] = "/tmp/kqueue-moved-XXXXXX";

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, getcwd(dir, sizeof(dir)));
	ASSERT_EQ(0, chdir("/"));
	ASSERT_NE(NULL, mkdtemp(to));
	ASSERT_EQ(0, mount(dir, to, NULL, MS_MOVE, NULL));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, umount2(to, MNT_DETACH));
	EXPECT_EQ(NOTE_REVOKE, notes(self->kq));
	rmdir(to);
}

/* More than a user may have on a file: who unmounts tells those of that mount, once. */
TEST_F(vnode, any_number_can_wait_for_an_unmount_and_those_of_other_mounts_are_not_told)
{
	enum { FILES = 3, EACH = 500 };
	static struct kevent ev[FILES * EACH + 1];
	char dir[PATH_MAX], name[32];
	int i, n, fd[FILES], other;

	for (n = 0; n < FILES; n++) {
		snprintf(name, sizeof(name), "file%d", n);
		fd[n] = make_file(name);
		ASSERT_LE(0, fd[n]);
		for (i = 0; i < EACH; i++) {
			ASSERT_EQ(0, change_all(self->kq, fd[n], EVFILT_VNODE,
						EV_ADD | EV_CLEAR | EV_UDATA_SPECIFIC,
						NOTE_REVOKE, 0, (void *)(uintptr_t)i));
		}
	}
	ASSERT_EQ(0, mkdir("sub", 0755));
	ASSERT_EQ(0, mount("kqueue", "sub", "tmpfs", 0, NULL));
	other = make_file("sub/file");
	ASSERT_LE(0, other);
	ASSERT_EQ(0, watch(self->kq, other, EV_CLEAR, NOTE_REVOKE));
	ASSERT_EQ(0, umount2("sub", MNT_DETACH));
	ASSERT_EQ(1, poll_events(self->kq, ev, ARRAY_SIZE(ev)));
	EXPECT_EQ(other, ev[0].ident);
	EXPECT_EQ(NOTE_REVOKE, ev[0].fflags);
	/* When some have gone, and the namespace is watched otherwise. */
	ASSERT_EQ(0, close(fd[0]));
	ASSERT_EQ(0, change(self->kq, 0, EVFILT_FS, EV_ADD));
	ASSERT_NE(NULL, getcwd(dir, sizeof(dir)));
	ASSERT_EQ(0, chdir("/"));
	ASSERT_EQ(0, umount2(dir, MNT_DETACH));
	n = poll_events(self->kq, ev, ARRAY_SIZE(ev));
	ASSERT_EQ((FILES - 1) * EACH + 1, n);
	for (i = 0; i < n; i++) {
		if (ev[i].filter == EVFILT_FS) {
			EXPECT_EQ(VQ_UNMOUNT, ev[i].fflags);
		} else {
			ASSERT_EQ(NOTE_REVOKE, ev[i].fflags);
		}
	}
	EXPECT_EQ(0, pending(self->kq));
}

/* The namespace goes, and all that is mounted in it, with the last process there. */
static void goes_with_its_namespace(void *unused)
{
	int home = open("/proc/self/ns/mnt", O_RDONLY), kq = kqueue(), fd;
	struct kevent ev;

	CHILD_CHECK(home >= 0 && !unshare(CLONE_NEWNS));
	fd = open("file", O_RDWR | O_CREAT, 0644);
	CHILD_CHECK(!watch(kq, fd, EV_CLEAR, NOTE_REVOKE));
	CHILD_CHECK(notes(kq) == 0);
	CHILD_CHECK(!setns(home, CLONE_NEWNS));
	CHILD_CHECK(wait_events(kq, &ev, 1) == 1 && ev.fflags == NOTE_REVOKE);
	(void)unused;
}

TEST_F(vnode, revoked_when_its_namespace_goes)
{
	EXPECT_EQ(0, in_child(goes_with_its_namespace, NULL));
}

TEST_F(vnode, closed_it_can_be_unmounted)
{
	char dir[PATH_MAX];
	int i, fd, sub;

	ASSERT_NE(NULL, getcwd(dir, sizeof(dir)));
	fd = make_watched(self->kq, "file");
	sub = make_watched_dir(self->kq, "sub");
	ASSERT_LE(0, fd);
	ASSERT_LE(0, sub);
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, close(fd));
		fd = open("file", O_RDWR);
		ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_CHANGES));
	}
	ASSERT_EQ(0, chdir("/"));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, close(sub));
	/* At once: what is put off does not keep it. */
	EXPECT_EQ(0, umount2(dir, 0));
	EXPECT_EQ(0, notes(self->kq));
}

/*
 * On overlayfs a file is copied when it is first written to.
 */

FIXTURE(overlay) {
	int kq;
};

FIXTURE_SETUP(overlay)
{
	FS_ENTER(OVERLAY);
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(overlay)
{
	close(self->kq);
}

TEST_F(overlay, file_of_the_lower_layer_is_followed_when_it_is_copied_up)
{
	int fd = open(LOWER_FILE, O_RDONLY);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_CHANGES));
	ASSERT_EQ(0, append(LOWER_FILE));
	EXPECT_EQ(NOTE_WRITE | NOTE_EXTEND, notes(self->kq));
	ASSERT_EQ(0, chmod(LOWER_FILE, 0600));
	EXPECT_EQ(NOTE_ATTRIB, notes(self->kq));
	ASSERT_EQ(0, unlink(LOWER_FILE));
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, notes(self->kq));
}

/*
 * All at once. Nothing is asserted but that it goes well, and works after.
 */

static atomic_bool stop;

struct racer {
	int (*once)(int kq, unsigned int round);
	int kq, failed;
	unsigned int rounds;
	pthread_t thread;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	while (!stop && !r->failed)
		r->failed = r->once(r->kq, r->rounds++);
	return NULL;
}

static int once_watch_and_close(int kq, unsigned int round)
{
	int fd = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	int ret;

	if (fd < 0)
		return -errno;
	ret = watch(kq, fd, round % 2 ? EV_CLEAR : 0, NOTE_ALL);
	if (round % 3 == 0)
		change(kq, fd, EVFILT_VNODE, EV_DELETE);
	close(fd);
	return ret == -EBADF ? 0 : ret;
}

static int once_watch_dir(int kq, unsigned int round)
{
	int fd, ret;

	mkdir("dir", 0755);
	fd = open("dir", O_RDONLY | O_CLOEXEC);
	ret = fd < 0 ? 0 : watch(kq, fd, EV_CLEAR, NOTE_CHANGES);
	rmdir("dir");
	if (fd >= 0)
		close(fd);
	(void)round;
	return ret == -EBADF ? 0 : ret;
}

static int once_write_and_unlink(int kq, unsigned int round)
{
	int fd = open("file", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (fd >= 0 && write(fd, "hello", 5) != 5)
		return -errno;
	link("file", "other");
	unlink("file");
	rename("other", "file");
	if (round % 4 == 0)
		unlink("file");
	close(fd);
	(void)kq;
	return 0;
}

static int once_take(int kq, unsigned int round)
{
	struct kevent ev[4];
	int n = poll_events(kq, ev, 4);

	(void)round;
	return n < 0 ? n : 0;
}

static int once_kqueue(int kq, unsigned int round)
{
	int mine = kqueue(), fd, ret;

	if (mine < 0)
		return -errno;
	fd = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	ret = fd < 0 ? -errno : watch(mine, fd, EV_CLEAR, NOTE_ALL);
	close(mine);
	if (fd >= 0)
		close(fd);
	(void)kq;
	(void)round;
	return ret;
}

TEST_F(vnode, watching_closing_writing_and_unlinking_at_once)
{
	struct racer racers[] = {
		{ .once = once_watch_and_close }, { .once = once_watch_dir },
		{ .once = once_write_and_unlink }, { .once = once_take },
		{ .once = once_kqueue },
	};
	double end = now() + 2;
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		racers[i].kq = self->kq;
		ASSERT_EQ(0, pthread_create(&racers[i].thread, NULL, race, &racers[i]));
	}
	while (now() < end)
		usleep(10000);
	stop = true;
	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		ASSERT_EQ(0, pthread_join(racers[i].thread, NULL));
		EXPECT_EQ(0, racers[i].failed)
			TH_LOG("racer %zu", i);
		EXPECT_LT(0, racers[i].rounds);
	}
	while (pending(self->kq) > 0)
		;
	fd = make_watched(self->kq, "after");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, unlink("after"));
	EXPECT_EQ(NOTE_DELETE | NOTE_LINK, notes(self->kq));
}

/* Whatever else happens to the file all the time. */
static int once_chmod_and_read(int kq, unsigned int round)
{
	int fd = open("busy", O_RDONLY | O_CLOEXEC);
	char c;

	if (fd < 0)
		return 0;
	fchmod(fd, round % 2 ? 0600 : 0644);
	if (pread(fd, &c, 1, 0) < 0)
		return -errno;
	close(fd);
	(void)kq;
	return 0;
}

static int once_write(int kq, unsigned int round)
{
	int fd = open("busy", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (pwrite(fd, "x", 1, 0) != 1)
		return -errno;
	close(fd);
	(void)kq;
	(void)round;
	return 0;
}

/* What the events that there are say, together. */
static unsigned int all_notes(int kq)
{
	struct kevent ev[8];
	unsigned int all = 0;
	int n, i;

	while ((n = poll_events(kq, ev, 8)) > 0)
		for (i = 0; i < n; i++)
			all |= ev[i].fflags;
	return all;
}

TEST_F_TIMEOUT(vnode, what_a_file_is_told_at_the_same_time_hides_nothing, 600)
{
	struct racer racers[] = {
		{ .once = once_chmod_and_read }, { .once = once_write },
	};
	int round, fd;
	size_t i;

	stop = false;
	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		ASSERT_EQ(0, pthread_create(&racers[i].thread, NULL, race, &racers[i]));
	}
	for (round = 0; round < 1000 && !_metadata->exit_code; round++) {
		fd = make_file("busy");
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_ALL));
		ASSERT_EQ(0, append("busy"));
		EXPECT_EQ(NOTE_EXTEND, all_notes(self->kq) & NOTE_EXTEND);
		ASSERT_EQ(0, ftruncate(fd, 2));
		EXPECT_EQ(NOTE_TRUNCATE, all_notes(self->kq) & NOTE_TRUNCATE);
		ASSERT_EQ(0, link("busy", "other"));
		EXPECT_EQ(NOTE_LINK, all_notes(self->kq) & NOTE_LINK);
		ASSERT_EQ(0, unlink("busy"));
		EXPECT_EQ(NOTE_DELETE, all_notes(self->kq) & NOTE_DELETE);
		ASSERT_EQ(0, unlink("other"));
		EXPECT_EQ(NOTE_DELETE, all_notes(self->kq) & NOTE_DELETE);
		ASSERT_EQ(0, close(fd));
	}
	stop = true;
	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		ASSERT_EQ(0, pthread_join(racers[i].thread, NULL));
		EXPECT_EQ(0, racers[i].failed);
	}
}

struct removal {
	atomic_int round, done;
};

static void *removes(void *arg)
{
	struct removal *it = arg;
	int round = 0;

	while (!stop) {
		if (it->round == round)
			continue;
		round = it->round;
		if (unlink("second"))
			return "cannot unlink";
		it->done = round;
	}
	return NULL;
}

/* It is open by the name that went first. */
TEST_F(vnode, file_that_is_watched_as_its_last_name_goes_stays_watched)
{
	struct removal it = {};
	pthread_t thread;
	int i, fd;
	void *error;
	off_t size;

	stop = false;
	ASSERT_EQ(0, pthread_create(&thread, NULL, removes, &it));
	for (i = 1; i <= 300; i++) {
		fd = make_file("first");
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, link("first", "second"));
		ASSERT_EQ(0, unlink("first"));
		it.round = i;
		/* The first knote there is, or one that comes when others have gone. */
		do {
			change(self->kq, fd, EVFILT_VNODE, EV_DELETE);
			ASSERT_EQ(0, watch(self->kq, fd, EV_CLEAR, NOTE_CHANGES));
		} while (i % 2 && it.done != i);
		while (it.done != i)
			;
		notes(self->kq);
		size = 0;
		ASSERT_TRUE(EVENTUALLY(pwrite(fd, "x", 1, size++) == 1 &&
				       notes(self->kq)));
		ASSERT_EQ(0, close(fd));
	}
	stop = true;
	ASSERT_EQ(0, pthread_join(thread, &error));
	EXPECT_EQ(NULL, error)
		TH_LOG("%s", (char *)error);
}

/* The mount's last reference goes while events of its files are under way. */
TEST_F(vnode, unmounting_while_it_is_watched)
{
	char dir[PATH_MAX];
	int i, fd, sub;

	ASSERT_NE(NULL, getcwd(dir, sizeof(dir)));
	ASSERT_EQ(0, chdir("/"));
	for (i = 0; i < 50; i++) {
		char path[PATH_MAX + 16];

		ASSERT_EQ(0, mount("kqueue", dir, "tmpfs", 0, NULL));
		snprintf(path, sizeof(path), "%s/file", dir);
		fd = make_watched(self->kq, path);
		snprintf(path, sizeof(path), "%s/sub", dir);
		sub = make_watched_dir(self->kq, path);
		ASSERT_LE(0, fd);
		ASSERT_LE(0, sub);
		ASSERT_EQ(0, umount2(dir, MNT_DETACH));
		EXPECT_EQ(2, pending(self->kq));
		ASSERT_EQ(0, unlinkat(sub, "../file", 0));
		ASSERT_EQ(0, close(fd));
		ASSERT_EQ(0, close(sub));
	}
	EXPECT_EQ(0, pending(self->kq));
}

TEST_HARNESS_MAIN
