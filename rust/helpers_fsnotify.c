// SPDX-License-Identifier: GPL-2.0
/*
 * Marks of fsnotify, which the kernel's bindings do not have, and what is to be
 * known of inodes and mounts. See helpers_fsnotify.h and wrap/fsnotify.rs.
 */
#include <linux/delay.h>
#include <linux/fprobe.h>
#include <linux/fsnotify.h>
#include <linux/mnt_namespace.h>
#include <linux/mount.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

/* Which namespace a mount is in. */
#include <../fs/mount.h>

#include "helpers_fsnotify.h"

struct kq_mark {
	struct fsnotify_mark	mark;
	void			*owner;
	struct work_struct	put;
};

static struct fsnotify_group *kq_group;
/* Puts marks that were destroyed. */
static struct workqueue_struct *kq_mark_wq;
/* Marks that are not freed yet. */
static atomic_t kq_marks = ATOMIC_INIT(0);

/* In wrap/fsnotify.rs. */
void kq_fs_event(void *owner, const struct kq_fs_event *event);
void kq_mark_freeing(void *owner);
void kq_mark_freed(void *owner);

static struct kq_mark *kq_mark_of(struct fsnotify_mark *mark)
{
	return container_of(mark, struct kq_mark, mark);
}

static void kq_tell(struct fsnotify_mark *mark, struct kq_fs_event *ev)
{
	/* It is called if any of several marks wants the event. */
	if (mark && ev->mask & mark->mask & ALL_FSNOTIFY_EVENTS)
		kq_fs_event(kq_mark_of(mark)->owner, ev);
}

/*
 * A directory that is removed is told nothing itself while it is open. Its
 * superblock is.
 */
static void kq_tell_victim(const void *data, int data_type,
			   struct kq_fs_event *ev)
{
	struct inode *inode = fsnotify_data_inode(data, data_type);
	struct fsnotify_mark *mark;

	/* Nearly all have none. */
	if (!inode || !rcu_access_pointer(inode->i_fsnotify_marks))
		return;
	mark = fsnotify_find_mark(inode, FSNOTIFY_OBJ_TYPE_INODE, kq_group);
	if (!mark)
		return;
	ev->role = KQ_FS_ROLE_VICTIM;
	kq_fs_event(kq_mark_of(mark)->owner, ev);
	fsnotify_put_mark(mark);
}

static int kq_handle_event(struct fsnotify_group *group, u32 mask,
			   const void *data, int data_type, struct inode *dir,
			   const struct qstr *name, u32 cookie,
			   struct fsnotify_iter_info *iter)
{
	struct kq_fs_event ev = { .mask = mask };
	struct fsnotify_mark *mark = fsnotify_iter_inode_mark(iter);

	if (mask & FSNOTIFY_MNT_EVENTS) {
		ev.role = KQ_FS_ROLE_MOUNTS;
		ev.mount = fsnotify_data_mnt_id(data, data_type);
		kq_tell(fsnotify_iter_mark(iter, FSNOTIFY_ITER_TYPE_MNTNS), &ev);
	} else if (mask & FS_RENAME) {
		struct dentry *moved = fsnotify_data_dentry(data, data_type);
		struct inode *target = fsnotify_data_rename_target(data, data_type);

		ev.same_dir = d_inode(moved->d_parent) == dir;
		ev.target_is_dir = target && S_ISDIR(target->i_mode);
		ev.role = KQ_FS_ROLE_OLD_DIR;
		kq_tell(mark, &ev);
		/* Of one directory the mark comes twice. */
		ev.role = KQ_FS_ROLE_NEW_DIR;
		if (!ev.same_dir)
			kq_tell(fsnotify_iter_mark(iter, FSNOTIFY_ITER_TYPE_INODE2),
				&ev);
	} else {
		ev.role = KQ_FS_ROLE_SELF;
		kq_tell(mark, &ev);
		if (fsnotify_iter_sb_mark(iter) && mask & FS_DELETE &&
		    mask & FS_ISDIR)
			kq_tell_victim(data, data_type, &ev);
	}
	return 0;
}

static void kq_freeing_mark(struct fsnotify_mark *mark,
			    struct fsnotify_group *group)
{
	kq_mark_freeing(kq_mark_of(mark)->owner);
}

/* After a grace period: nobody is in kq_handle_event() for it. */
static void kq_free_mark(struct fsnotify_mark *mark)
{
	struct kq_mark *m = kq_mark_of(mark);

	if (m->owner)
		kq_mark_freed(m->owner);
	kfree(m);
	atomic_dec(&kq_marks);
}

static const struct fsnotify_ops kq_fsnotify_ops = {
	.handle_event = kq_handle_event,
	.freeing_mark = kq_freeing_mark,
	.free_mark = kq_free_mark,
};

int kq_fsnotify_init(void)
{
	kq_mark_wq = alloc_workqueue("kqueue_marks", WQ_UNBOUND, 0);
	if (!kq_mark_wq)
		return -ENOMEM;
	/*
	 * Duplicates: an inode whose mark fsnotify has taken away may get another
	 * before the first is put back.
	 */
	kq_group = fsnotify_alloc_group(&kq_fsnotify_ops, FSNOTIFY_GROUP_DUPS);
	if (IS_ERR(kq_group)) {
		destroy_workqueue(kq_mark_wq);
		return PTR_ERR(kq_group);
	}
	return 0;
}

/*
 * After the last mark was destroyed: waits until all are freed. A mark that a
 * fanotify listener's answer is waited for with takes as long as that.
 */
void kq_fsnotify_exit(void)
{
	destroy_workqueue(kq_mark_wq);
	for (;;) {
		fsnotify_wait_marks_destroyed();
		if (!atomic_read(&kq_marks) && !atomic_read(&kq_group->user_waits))
			break;
		msleep(1);
	}
	/* The last call of kq_free_mark() has returned. */
	fsnotify_wait_marks_destroyed();
	fsnotify_put_group(kq_group);
}

/* A mark that is on nothing yet, or NULL. The caller has a reference. May sleep. */
struct kq_mark *kq_mark_new(void)
{
	struct kq_mark *m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);

	if (m) {
		atomic_inc(&kq_marks);
		fsnotify_init_mark(&m->mark, kq_group);
	}
	return m;
}

/*
 * Puts a new mark on @obj, which the caller keeps alive; @owner is let go of by
 * kq_mark_freed(). On failure @owner stays the caller's. May sleep.
 */
int kq_mark_add(struct kq_mark *m, void *obj, unsigned int type, u32 mask,
		void *owner)
{
	int ret;

	m->mark.mask = mask;
	/* Who watches has the inode by an open file, and it goes when that does. */
	if (type == FSNOTIFY_OBJ_TYPE_INODE)
		m->mark.flags = FSNOTIFY_MARK_FLAG_NO_IREF;
	m->owner = owner;
	ret = fsnotify_add_mark(&m->mark, obj, type, 0);
	if (ret)
		m->owner = NULL;
	return ret;
}

/* A reference to the mark on @obj, or NULL. */
struct kq_mark *kq_mark_find(void *obj, unsigned int type)
{
	struct fsnotify_mark *mark = fsnotify_find_mark(obj, type, kq_group);

	return mark ? kq_mark_of(mark) : NULL;
}

void *kq_mark_owner(struct kq_mark *m)
{
	return m->owner;
}

/* Has the events of @mask told, too. */
void kq_mark_want(struct kq_mark *m, u32 mask)
{
	fsnotify_modify_mark_mask(&m->mark, mask, 0);
}

/*
 * The mark was on something. It may be taken away by itself; or all that hangs on
 * the object is, and then one that was added meanwhile goes without being told.
 */
bool kq_mark_is_attached(struct kq_mark *m)
{
	/* It stays as long as the mark. */
	struct fsnotify_mark_connector *conn = m->mark.connector;
	bool attached;

	spin_lock(&conn->lock);
	attached = m->mark.flags & FSNOTIFY_MARK_FLAG_ATTACHED &&
		   conn->type != FSNOTIFY_OBJ_TYPE_DETACHED;
	spin_unlock(&conn->lock);
	return attached;
}

static void kq_mark_put_work(struct work_struct *work)
{
	kq_mark_put(container_of(work, struct kq_mark, put));
}

/*
 * May sleep. Takes over the caller's reference, which is the one that kq_mark_new()
 * gave. With it an inode may go that another group's mark, taken away meanwhile, has
 * held: the last iput() takes as long as the file system likes. So a work puts it,
 * one for each mark, that none waits for another's file system.
 */
void kq_mark_destroy(struct kq_mark *m)
{
	fsnotify_destroy_mark(&m->mark, kq_group);
	INIT_WORK(&m->put, kq_mark_put_work);
	queue_work(kq_mark_wq, &m->put);
}

void kq_mark_put(struct kq_mark *m)
{
	fsnotify_put_mark(&m->mark);
}

/*
 * Holds an inode that somebody has open, and its superblock, which would else be
 * shut down with the inode in use once that one is through. It is not s_umount that
 * is held: the last iput() may wait until the file system is thawed, which takes that.
 */
void kq_inode_hold(struct inode *inode)
{
	atomic_inc(&inode->i_sb->s_active);
	ihold(inode);
}

/* May sleep, and be long: with these the file or the file system may go. */
void kq_inode_put(struct inode *inode)
{
	struct super_block *sb = inode->i_sb;

	iput(inode);
	deactivate_super(sb);
}

void kq_inode_state(struct inode *inode, struct kq_inode_state *state)
{
	state->size = i_size_read(inode);
	state->nlink = READ_ONCE(inode->i_nlink);
	state->is_dir = S_ISDIR(inode->i_mode);
	state->is_dead = IS_DEADDIR(inode);
}

struct super_block *kq_inode_sb(struct inode *inode)
{
	return inode->i_sb;
}

struct inode *kq_file_inode(struct file *file)
{
	return file_inode(file);
}

/* Whether the file was opened on a mount that programs see, not the kernel's own. */
bool kq_file_has_names(struct file *file)
{
	return !(file->f_path.mnt->mnt_flags & MNT_INTERNAL);
}

bool kq_file_is_path(struct file *file)
{
	return file->f_mode & FMODE_PATH;
}

/* May sleep. */
int kq_file_may_read(struct file *file)
{
	return inode_permission(file_mnt_idmap(file), file_inode(file), MAY_READ);
}

loff_t kq_file_pos(struct file *file)
{
	return READ_ONCE(file->f_pos);
}

/*
 * Whether the file is a directory, and the size of what reading it reads. May
 * sleep: overlayfs may look that up.
 */
bool kq_file_contents(struct file *file, loff_t *size)
{
	struct dentry *dentry = file->f_path.dentry;
	struct inode *inode = file_inode(file);

	if (S_ISREG(inode->i_mode) && dentry->d_flags & DCACHE_OP_REAL)
		inode = d_real_inode(dentry) ?: inode;
	*size = i_size_read(inode);
	return S_ISDIR(inode->i_mode);
}

/* That of the file's mount, as fsnotify tells it. */
u64 kq_file_mount_id(struct file *file)
{
	return real_mount(file->f_path.mnt)->mnt_id_unique;
}

/* Whether the file's mount is in a namespace. */
bool kq_file_is_mounted(struct file *file)
{
	return READ_ONCE(real_mount(file->f_path.mnt)->mnt_ns);
}

/* Whether that is the current task's. */
bool kq_file_in_mnt_ns(struct file *file)
{
	return READ_ONCE(real_mount(file->f_path.mnt)->mnt_ns) ==
	       current->nsproxy->mnt_ns;
}

/* There until the task itself leaves it. */
struct mnt_namespace *kq_current_mnt_ns(void)
{
	return current->nsproxy->mnt_ns;
}

/* ---- lseek(2) ---- */

/* In probe.rs. */
void kq_probe_seek(unsigned int fd);

/*
 * It tells nobody. It may bring a file's offset back from the end, where
 * EVFILT_READ waits; the task itself looks, when it has.
 */
static int kq_lseek_entry(struct fprobe *fp, unsigned long ip,
			  unsigned long ret_ip, struct ftrace_regs *fregs,
			  void *data)
{
	kq_probe_seek(ftrace_regs_get_argument(fregs, 0));
	return 0;
}

static struct fprobe kq_lseek_fprobe = { .entry_handler = kq_lseek_entry };

#ifdef CONFIG_X86_64
/* A system call has its arguments in the registers of its ABI. */
static int kq_lseek64_entry(struct fprobe *fp, unsigned long ip,
			    unsigned long ret_ip, struct ftrace_regs *fregs,
			    void *data)
{
	struct pt_regs *regs = (struct pt_regs *)ftrace_regs_get_argument(fregs, 0);

	kq_probe_seek(regs->di);
	return 0;
}

static int kq_lseek32_entry(struct fprobe *fp, unsigned long ip,
			    unsigned long ret_ip, struct ftrace_regs *fregs,
			    void *data)
{
	struct pt_regs *regs = (struct pt_regs *)ftrace_regs_get_argument(fregs, 0);

	kq_probe_seek(regs->bx);
	return 0;
}

static struct fprobe kq_llseek_fprobe = { .entry_handler = kq_lseek32_entry };
static struct fprobe kq_lseek64_fprobe = { .entry_handler = kq_lseek64_entry };
static struct fprobe kq_lseek32_fprobe = { .entry_handler = kq_lseek32_entry };
static struct fprobe kq_compat_fprobe = { .entry_handler = kq_lseek32_entry };
#endif

static struct kq_seek_probe {
	struct fprobe	*fprobe;
	const char	*symbol;
	bool		instead;	/* only without the first one */
	bool		armed;
} kq_seek_probes[] = {
	{ &kq_lseek_fprobe,	"ksys_lseek" },
#ifdef CONFIG_X86_64
	{ &kq_llseek_fprobe,	"__ia32_sys_llseek" },
	/* Some compilers put it into these, which alone call it. */
	{ &kq_lseek64_fprobe,	"__x64_sys_lseek",		.instead = true },
	{ &kq_lseek32_fprobe,	"__ia32_sys_lseek",		.instead = true },
	{ &kq_compat_fprobe,	"__ia32_compat_sys_lseek",	.instead = true },
#endif
};

void kq_seek_disarm(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(kq_seek_probes); i++) {
		if (kq_seek_probes[i].armed)
			unregister_fprobe(kq_seek_probes[i].fprobe);
		kq_seek_probes[i].armed = false;
	}
}

/*
 * Milliseconds, and may sleep. Serialised by probe.rs, as is the next. -ENOMEM, and
 * none is armed. What a kernel does not have it does without: a knote is then told at
 * the next change.
 */
int kq_seek_arm(void)
{
	int i, ret;

	for (i = 0; i < ARRAY_SIZE(kq_seek_probes); i++) {
		struct kq_seek_probe *probe = &kq_seek_probes[i];

		if (probe->instead && kq_seek_probes[0].armed)
			continue;
		ret = register_fprobe_syms(probe->fprobe, &probe->symbol, 1);
		probe->armed = !ret;
		if (ret == -ENOMEM) {
			kq_seek_disarm();
			return ret;
		}
		if (ret)
			pr_info_once("kqueue: %s cannot be probed in this kernel: %d\n",
				     probe->symbol, ret);
	}
	return 0;
}
