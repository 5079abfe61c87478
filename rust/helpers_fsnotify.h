/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What helpers_fsnotify.c offers the Rust crate: marks on inodes, superblocks and
 * mount namespaces. See wrap/fsnotify.rs.
 */
#ifndef KQUEUE_HELPERS_FSNOTIFY_H
#define KQUEUE_HELPERS_FSNOTIFY_H

#include <linux/fs.h>
#include <linux/fsnotify_backend.h>

struct mnt_namespace;

enum {
	KQ_FS_ACCESS = FS_ACCESS,
	KQ_FS_MODIFY = FS_MODIFY,
	KQ_FS_ATTRIB = FS_ATTRIB,
	KQ_FS_CLOSE_WRITE = FS_CLOSE_WRITE,
	KQ_FS_CLOSE_NOWRITE = FS_CLOSE_NOWRITE,
	KQ_FS_OPEN = FS_OPEN,
	KQ_FS_CREATE = FS_CREATE,
	KQ_FS_DELETE = FS_DELETE,
	KQ_FS_MOVE_SELF = FS_MOVE_SELF,
	KQ_FS_MNT_ATTACH = FS_MNT_ATTACH,
	KQ_FS_MNT_DETACH = FS_MNT_DETACH,
	KQ_FS_RENAME = FS_RENAME,
	KQ_FS_ISDIR = FS_ISDIR,

	KQ_FS_OBJ_INODE = FSNOTIFY_OBJ_TYPE_INODE,
	KQ_FS_OBJ_SB = FSNOTIFY_OBJ_TYPE_SB,
	KQ_FS_OBJ_MNTNS = FSNOTIFY_OBJ_TYPE_MNTNS,
};

/* What the object that is told has to do with the event. */
enum {
	KQ_FS_ROLE_SELF,	/* it happened to it, or to an entry of it */
	KQ_FS_ROLE_OLD_DIR,	/* an entry was renamed, from here */
	KQ_FS_ROLE_NEW_DIR,	/* to here, from another directory */
	KQ_FS_ROLE_VICTIM,	/* it is a directory, and was removed */
	KQ_FS_ROLE_MOUNTS,	/* mounts in the namespace have changed */
};

struct kq_fs_event {
	u32	role;
	u32	mask;		/* KQ_FS_* */
	bool	same_dir;	/* a rename: of an entry to another of the same directory */
	bool	target_is_dir;	/* a rename: in place of a directory */
	u64	mount;		/* in a namespace: the id of the mount */
};

struct kq_inode_state {
	loff_t		size;
	unsigned int	nlink;
	bool		is_dir;
	bool		is_dead;	/* a directory that was removed */
};

struct kq_mark;

int kq_fsnotify_init(void);
void kq_fsnotify_exit(void);
struct kq_mark *kq_mark_new(void);
int kq_mark_add(struct kq_mark *mark, void *obj, unsigned int type, u32 mask,
		void *owner);
struct kq_mark *kq_mark_find(void *obj, unsigned int type);
void *kq_mark_owner(struct kq_mark *mark);
void kq_mark_want(struct kq_mark *mark, u32 mask);
bool kq_mark_is_attached(struct kq_mark *mark);
void kq_mark_destroy(struct kq_mark *mark);
void kq_mark_put(struct kq_mark *mark);

void kq_inode_hold(struct inode *inode);
void kq_inode_put(struct inode *inode);
void kq_inode_state(struct inode *inode, struct kq_inode_state *state);
struct super_block *kq_inode_sb(struct inode *inode);
struct inode *kq_file_inode(struct file *file);
bool kq_file_has_names(struct file *file);
bool kq_file_is_path(struct file *file);
int kq_file_may_read(struct file *file);
loff_t kq_file_pos(struct file *file);
bool kq_file_contents(struct file *file, loff_t *size);
u64 kq_file_mount_id(struct file *file);
bool kq_file_is_mounted(struct file *file);
bool kq_file_in_mnt_ns(struct file *file);
struct mnt_namespace *kq_current_mnt_ns(void);

/* The probe on lseek(2): see probe.rs. */
int kq_seek_arm(void);
void kq_seek_disarm(void);

#endif /* KQUEUE_HELPERS_FSNOTIFY_H */
