/* SPDX-License-Identifier: GPL-2.0 */
/*
 * File systems to test on, each in a mount namespace of the test's own: what is
 * mounted there goes with the test.
 */
#ifndef FS_H
#define FS_H

#include "kqtest.h"

#include <linux/loop.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum fs { TMPFS, EXT4, OVERLAY };

/* A file that was on the overlay's lower layer when that was mounted. */
#define LOWER_FILE	"lower"

static inline void fs_put(unsigned char *at, int bytes, unsigned long value)
{
	while (bytes--) {
		*at++ = value;
		value >>= 8;
	}
}

/*
 * The smallest ext4 there is: 4 MB in blocks of 1 KB, one group, no journal, and
 * nothing in it. Blocks: 1 superblock, 2 group descriptor, 3 bitmap of blocks, 4
 * of inodes, 5 to 36 128 inodes of 256 bytes, 37 the root directory.
 */
static inline int fs_make_ext4(const char *path)
{
	enum { BLOCK = 1024, BLOCKS = 4096, INODES = 128, USED = 37 };
	static unsigned char image[38 * BLOCK];
	unsigned char *sb = image + BLOCK, *group = image + 2 * BLOCK;
	unsigned char *root = image + 5 * BLOCK + 256, *dir = image + USED * BLOCK;
	int fd, i, ret = 0;

	memset(image, 0, sizeof(image));
	fs_put(sb + 0, 4, INODES);
	fs_put(sb + 4, 4, BLOCKS);
	fs_put(sb + 12, 4, BLOCKS - 1 - USED);	/* free blocks */
	fs_put(sb + 16, 4, INODES - 10);	/* free inodes */
	fs_put(sb + 20, 4, 1);			/* first data block */
	fs_put(sb + 32, 4, 8 * BLOCK);		/* blocks, clusters, inodes a group */
	fs_put(sb + 36, 4, 8 * BLOCK);
	fs_put(sb + 40, 4, INODES);
	fs_put(sb + 54, 2, 0xffff);		/* mounts until it is to be checked */
	fs_put(sb + 56, 2, 0xef53);
	fs_put(sb + 58, 2, 1);			/* clean */
	fs_put(sb + 60, 2, 1);			/* errors: go on */
	fs_put(sb + 76, 4, 1);			/* revision */
	fs_put(sb + 84, 4, 11);			/* first inode that is not reserved */
	fs_put(sb + 88, 2, 256);
	fs_put(sb + 96, 4, 0x42);		/* extents, types in directories */
	fs_put(sb + 100, 4, 0x43);		/* sparse, large files, large inodes */
	fs_put(sb + 348, 2, 32);
	fs_put(sb + 350, 2, 32);
	fs_put(group + 0, 4, 3);
	fs_put(group + 4, 4, 4);
	fs_put(group + 8, 4, 5);
	fs_put(group + 12, 2, BLOCKS - 1 - USED);
	fs_put(group + 14, 2, INODES - 10);
	fs_put(group + 16, 2, 1);		/* directories */
	/* What is used, and what is not there. The first bit is block 1's. */
	for (i = 0; i < 8 * BLOCK; i++) {
		if (i < USED || i >= BLOCKS - 1)
			image[3 * BLOCK + i / 8] |= 1 << i % 8;
		if (i < 10 || i >= INODES)
			image[4 * BLOCK + i / 8] |= 1 << i % 8;
	}
	fs_put(root + 0, 2, S_IFDIR | 0755);
	fs_put(root + 4, 4, BLOCK);
	fs_put(root + 26, 2, 2);		/* links */
	fs_put(root + 28, 4, BLOCK / 512);
	fs_put(root + 40, 4, USED);
	fs_put(root + 128, 2, 32);
	fs_put(dir + 0, 4, 2);
	fs_put(dir + 4, 2, 12);
	memcpy(dir + 6, "\1\2.", 3);
	fs_put(dir + 12, 4, 2);
	fs_put(dir + 16, 2, BLOCK - 12);
	memcpy(dir + 18, "\2\2..", 4);

	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, image, sizeof(image)) != sizeof(image) ||
	    ftruncate(fd, BLOCKS * BLOCK))
		ret = -errno;
	close(fd);
	return ret;
}

/*
 * A loop device of the file, in @device. It goes when it is not mounted any more. The
 * descriptor that is returned is for reading: what is open for writing some kernels do
 * not mount.
 */
static inline int fs_loop(const char *path, char *device, size_t size)
{
	struct loop_config config = { .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int control, fd, nr, ret;

	if (access("/dev/loop-control", F_OK)) {
		pid_t pid = fork();

		if (!pid) {
			execl("/sbin/modprobe", "modprobe", "-q", "loop", NULL);
			_exit(1);
		}
		reap(pid);
	}
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		return -errno;
	config.fd = open(path, O_RDWR | O_CLOEXEC);
	do {
		/* Another may have been faster. */
		nr = ioctl(control, LOOP_CTL_GET_FREE);
		snprintf(device, size, "/dev/loop%d", nr);
		fd = open(device, O_RDWR | O_CLOEXEC);
		ret = ioctl(fd, LOOP_CONFIGURE, &config) ? -errno : fd;
		if (ret < 0)
			close(fd);
	} while (ret == -EBUSY);
	if (ret >= 0) {
		ret = open(device, O_RDONLY | O_CLOEXEC);
		if (ret < 0)
			ret = -errno;
		close(fd);
	}
	close(config.fd);
	close(control);
	return ret;
}

/*
 * Mounts a file system of its own at @dir, which is made, in a namespace of the
 * test's own. 0, or -errno, and what failed in @why.
 */
static inline int fs_mount(enum fs fs, char *dir, size_t size, const char **why)
{
	char base[] = "/tmp/kqueue-fs-XXXXXX";
	char path[128], device[64], options[512];
	int fd, ret;

	*why = "a mount namespace";
	if (unshare(CLONE_NEWNS) || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	*why = "tmpfs";
	if (!mkdtemp(base) || mount("kqueue", base, "tmpfs", 0, NULL))
		return -errno;
	snprintf(dir, size, "%s/fs", base);
	if (mkdir(dir, 0755))
		return -errno;
	switch (fs) {
	case TMPFS:
		return mount("kqueue", dir, "tmpfs", 0, NULL) ? -errno : 0;
	case EXT4:
		*why = "ext4 on a loop device";
		snprintf(path, sizeof(path), "%s/image", base);
		ret = fs_make_ext4(path);
		fd = ret ? ret : fs_loop(path, device, sizeof(device));
		if (fd < 0)
			return fd;
		ret = mount(device, dir, "ext4", 0, NULL) ? -errno : 0;
		close(fd);
		return ret;
	case OVERLAY:
		*why = "overlayfs";
		snprintf(path, sizeof(path), "%s/lower", base);
		if (mkdir(path, 0755))
			return -errno;
		snprintf(path, sizeof(path), "%s/upper", base);
		if (mkdir(path, 0755))
			return -errno;
		snprintf(path, sizeof(path), "%s/work", base);
		if (mkdir(path, 0755))
			return -errno;
		snprintf(path, sizeof(path), "%s/lower/" LOWER_FILE, base);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0 || write(fd, "lower", 5) != 5)
			return -errno;
		close(fd);
		snprintf(options, sizeof(options),
			 "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work",
			 base, base, base);
		return mount("kqueue", dir, "overlay", 0, options) ? -errno : 0;
	}
	return -EINVAL;
}

/*
 * For a FIXTURE_SETUP: the test is in the directory, or is skipped. FS_REQUIRED in
 * the environment says that all file systems are there, and none is to be skipped.
 */
#define FS_ENTER(fs) do {						\
	const char *__why;						\
	char __dir[64];							\
	int __ret = fs_mount(fs, __dir, sizeof(__dir), &__why);		\
									\
	if (!getenv("FS_REQUIRED") &&					\
	    (__ret == -EPERM || __ret == -ENODEV || __ret == -ENOENT))	\
		SKIP(return, "there is no %s: %s", __why, strerror(-__ret)); \
	ASSERT_EQ(0, __ret) {						\
		TH_LOG("%s", __why);					\
	}								\
	ASSERT_EQ(0, chdir(__dir));					\
} while (0)

#endif /* FS_H */
