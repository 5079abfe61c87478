// SPDX-License-Identifier: GPL-2.0
/*
 * EVFILT_FS: mounts and unmounts, in a mount namespace of the test's own.
 */
#include "kqtest.h"

#include <sys/mount.h>
#include <sys/stat.h>

FIXTURE(fs) {
	int kq;
	char dir[32];	/* to mount on */
	struct kevent ev[8];
};

/* 0, or -errno: this thread's mounts are its own. */
static int enter_namespace(void)
{
	if (unshare(CLONE_NEWNS) || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	return 0;
}

FIXTURE_SETUP(fs)
{
	strcpy(self->dir, "/tmp/kqueue-fs-XXXXXX");
	if (enter_namespace() == -EPERM)
		SKIP(return, "not allowed to make a mount namespace");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	self->kq = kqueue();
	ASSERT_LE(0, self->kq);
}

FIXTURE_TEARDOWN(fs)
{
	close(self->kq);
	umount2(self->dir, MNT_DETACH);
	rmdir(self->dir);
}

static int watch(int kq, uintptr_t ident, int flags, unsigned int fflags)
{
	return change_all(kq, ident, EVFILT_FS, EV_ADD | flags, fflags, 0, NULL);
}

static int mount_on(const char *dir)
{
	return mount("kqueue", dir, "tmpfs", 0, NULL) ? -errno : 0;
}

/* What the one event that there is says; 0 if there is none, ~0 if more. */
static unsigned int notes(int kq)
{
	struct kevent ev[2];
	int n = poll_events(kq, ev, 2);

	if (n == 1 && ev[0].filter == EVFILT_FS && !(ev[0].flags & EV_ERROR))
		return ev[0].fflags;
	return n ? ~0 : 0;
}

TEST_F(fs, mount_and_unmount_are_reported)
{
	ASSERT_EQ(0, watch(self->kq, 0, 0, VQ_MOUNT | VQ_UNMOUNT));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, mount_on(self->dir));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(0, self->ev[0].ident);
	EXPECT_EQ(EVFILT_FS, self->ev[0].filter);
	EXPECT_EQ(EV_CLEAR, self->ev[0].flags);
	EXPECT_EQ(VQ_MOUNT, self->ev[0].fflags);
	EXPECT_EQ(0, self->ev[0].data);
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, umount2(self->dir, 0));
	EXPECT_EQ(VQ_UNMOUNT, notes(self->kq));
}

TEST_F(fs, what_has_happened_is_kept_until_it_is_delivered)
{
	ASSERT_EQ(0, watch(self->kq, 0, 0, VQ_MOUNT | VQ_UNMOUNT));
	ASSERT_EQ(0, mount_on(self->dir));
	ASSERT_EQ(0, umount2(self->dir, MNT_DETACH));
	EXPECT_EQ(VQ_MOUNT | VQ_UNMOUNT, notes(self->kq));
	EXPECT_EQ(0, notes(self->kq));
}

TEST_F(fs, only_what_is_asked_for_is_reported)
{
	ASSERT_EQ(0, watch(self->kq, 0, 0, VQ_UNMOUNT));
	ASSERT_EQ(0, mount_on(self->dir));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, umount2(self->dir, 0));
	EXPECT_EQ(VQ_UNMOUNT, notes(self->kq));
	/* Adding it again asks for something else. */
	ASSERT_EQ(0, watch(self->kq, 0, 0, VQ_MOUNT));
	ASSERT_EQ(0, mount_on(self->dir));
	EXPECT_EQ(VQ_MOUNT, notes(self->kq));
	ASSERT_EQ(0, umount2(self->dir, 0));
	EXPECT_EQ(0, notes(self->kq));
}

TEST_F(fs, without_fflags_all_is_reported)
{
	ASSERT_EQ(0, watch(self->kq, 0, 0, 0));
	ASSERT_EQ(0, mount_on(self->dir));
	EXPECT_EQ(VQ_MOUNT, notes(self->kq));
	ASSERT_EQ(0, umount2(self->dir, 0));
	EXPECT_EQ(VQ_UNMOUNT, notes(self->kq));
}

TEST_F(fs, ident_is_any_number)
{
	ASSERT_EQ(0, watch(self->kq, 0, 0, 0));
	ASSERT_EQ(0, watch(self->kq, (uintptr_t)-1, 0, VQ_MOUNT));
	ASSERT_EQ(0, mount_on(self->dir));
	ASSERT_EQ(2, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(0, self->ev[0].ident);
	EXPECT_EQ((uintptr_t)-1, self->ev[1].ident);
	ASSERT_EQ(0, change(self->kq, 0, EVFILT_FS, EV_DELETE));
	EXPECT_EQ(-ENOENT, change(self->kq, 0, EVFILT_FS, EV_DELETE));
	ASSERT_EQ(0, umount2(self->dir, 0));
	EXPECT_EQ(0, notes(self->kq));
}

TEST_F(fs, bind_mount_is_a_mount_and_a_move_is_both)
{
	char to[] = "/tmp/kqueue-to-XXXXXX";

	ASSERT_NE(NULL, mkdtemp(to));
	ASSERT_EQ(0, watch(self->kq, 0, 0, 0));
	ASSERT_EQ(0, mount("/dev", self->dir, NULL, MS_BIND, NULL));
	EXPECT_EQ(VQ_MOUNT, notes(self->kq));
	ASSERT_EQ(0, mount(self->dir, to, NULL, MS_MOVE, NULL));
	EXPECT_EQ(VQ_MOUNT | VQ_UNMOUNT, notes(self->kq));
	ASSERT_EQ(0, mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, umount2(to, 0));
	EXPECT_EQ(VQ_UNMOUNT, notes(self->kq));
	rmdir(to);
}

TEST_F(fs, mount_that_failed_is_not_reported)
{
	ASSERT_EQ(0, watch(self->kq, 0, 0, 0));
	EXPECT_EQ(-1, mount("kqueue", self->dir, "no such", 0, NULL));
	EXPECT_EQ(-1, umount2(self->dir, 0));
	EXPECT_EQ(0, notes(self->kq));
}

static void mounts_elsewhere(void *arg)
{
	CHILD_CHECK(!enter_namespace());
	CHILD_CHECK(!mount_on(arg));
	CHILD_CHECK(!umount2(arg, 0));
	/* And the namespace goes, with all that is mounted in it. */
	CHILD_CHECK(!mount_on(arg));
}

TEST_F(fs, mounts_in_another_namespace_are_not_reported)
{
	ASSERT_EQ(0, watch(self->kq, 0, 0, 0));
	EXPECT_EQ(0, in_child(mounts_elsewhere, self->dir));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, mount_on(self->dir));
	EXPECT_EQ(VQ_MOUNT, notes(self->kq));
}

TEST_F(fs, mount_that_is_propagated_here_is_reported)
{
	int fds[2];
	char byte;
	pid_t pid;

	/* What is mounted under it is mounted in copies of the namespace, too. */
	ASSERT_EQ(0, mount_on(self->dir));
	ASSERT_EQ(0, mount(NULL, self->dir, NULL, MS_SHARED, NULL));
	ASSERT_EQ(0, chdir(self->dir));
	ASSERT_EQ(0, mkdir("sub", 0755));
	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	if (!pid) {
		close(fds[1]);
		CHILD_CHECK(!unshare(CLONE_NEWNS));
		CHILD_CHECK(!read(fds[0], &byte, 1));
		CHILD_CHECK(!chdir(self->dir));
		CHILD_CHECK(!mount_on("sub"));
		CHILD_CHECK(!umount2("sub", 0));
		_exit(0);
	}
	ASSERT_EQ(0, watch(self->kq, 0, 0, 0));
	ASSERT_EQ(0, close(fds[1]));
	EXPECT_EQ(0, reap(pid));
	EXPECT_EQ(VQ_MOUNT | VQ_UNMOUNT, notes(self->kq));
	ASSERT_EQ(0, chdir("/"));
}

TEST_F(fs, knote_stays_with_the_namespace_it_was_added_in)
{
	int n, i;

	ASSERT_EQ(0, watch(self->kq, 1, 0, 0));
	ASSERT_EQ(0, enter_namespace());
	/* Nobody is in the first one any more, and it goes. */
	ASSERT_EQ(0, mount_on(self->dir));
	ASSERT_EQ(0, watch(self->kq, 2, 0, VQ_UNMOUNT));
	while ((n = poll_events(self->kq, self->ev, 8)) > 0) {
		for (i = 0; i < n; i++)
			EXPECT_NE(VQ_MOUNT, self->ev[i].fflags & VQ_MOUNT);
	}
	ASSERT_EQ(0, umount2(self->dir, 0));
	ASSERT_EQ(1, poll_events(self->kq, self->ev, 8));
	EXPECT_EQ(2, self->ev[0].ident);
	EXPECT_EQ(VQ_UNMOUNT, self->ev[0].fflags);
	ASSERT_EQ(0, change(self->kq, 1, EVFILT_FS, EV_DELETE));
}

TEST_F(fs, ends_a_wait)
{
	struct waiter w = { .kq = self->kq };

	ASSERT_EQ(0, watch(self->kq, 0, 0, 0));
	ASSERT_TRUE(waiter_sleeps(&w));
	ASSERT_EQ(0, mount_on(self->dir));
	EXPECT_EQ(1, waiter_result(&w));
	EXPECT_EQ(VQ_MOUNT, w.events[0].fflags);
}

TEST_F(fs, disabled_it_still_collects)
{
	ASSERT_EQ(0, watch(self->kq, 0, EV_DISABLE, 0));
	ASSERT_EQ(0, mount_on(self->dir));
	EXPECT_EQ(0, notes(self->kq));
	ASSERT_EQ(0, change(self->kq, 0, EVFILT_FS, EV_ENABLE));
	EXPECT_EQ(VQ_MOUNT, notes(self->kq));
}

TEST_F(fs, event_that_cannot_be_stored_is_not_lost)
{
	const struct timespec zero = { 0 };

	ASSERT_EQ(0, watch(self->kq, 0, 0, 0));
	ASSERT_EQ(0, mount_on(self->dir));
	EXPECT_EQ(-EFAULT, kev(self->kq, NULL, 0, (void *)8, 1, &zero));
	ASSERT_EQ(0, umount2(self->dir, 0));
	EXPECT_EQ(VQ_MOUNT | VQ_UNMOUNT, notes(self->kq));
}

/* Watching, mounting, and the end of namespaces, all at once. */

static void comes_and_goes(void *arg)
{
	struct kevent ev[4];
	int i, kq;

	for (i = 0; i < 50; i++) {
		CHILD_CHECK(!enter_namespace());
		kq = kqueue();
		CHILD_CHECK(kq >= 0 && !watch(kq, 0, 0, 0) && !watch(kq, 1, 0, 0));
		CHILD_CHECK(!mount_on(arg));
		CHILD_CHECK(poll_events(kq, ev, 4) == 2);
		if (i % 2)
			CHILD_CHECK(!close(kq));
	}
}

TEST_F(fs, watching_while_namespaces_come_and_go)
{
	pid_t pid[4];
	size_t i;

	ASSERT_EQ(0, watch(self->kq, 0, 0, 0));
	for (i = 0; i < ARRAY_SIZE(pid); i++) {
		pid[i] = fork();
		if (!pid[i]) {
			comes_and_goes(self->dir);
			_exit(0);
		}
	}
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, mount_on(self->dir));
		EXPECT_EQ(VQ_MOUNT, notes(self->kq));
		ASSERT_EQ(0, umount2(self->dir, 0));
		EXPECT_EQ(VQ_UNMOUNT, notes(self->kq));
	}
	for (i = 0; i < ARRAY_SIZE(pid); i++) {
		EXPECT_EQ(0, reap(pid[i]));
	}
}

TEST_HARNESS_MAIN
