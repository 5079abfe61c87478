/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What helpers.c offers the Rust crate. Everything here stands for a macro, an
 * inline function, or a field of a structure that the kernel's bindings leave
 * opaque; decisions are taken in Rust.
 */
#ifndef KQUEUE_HELPERS_H
#define KQUEUE_HELPERS_H

#include <linux/types.h>
#include <linux/fs.h>
#include <linux/irq_work.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "helpers_process.h"
#include "helpers_kapi.h"

#include "../include/uapi/linux/kqueue.h"
#include "helpers_fsnotify.h"

enum {
	KQ_POLLIN = (__force int)EPOLLIN,
	KQ_POLLRDNORM = (__force int)EPOLLRDNORM,
	KQ_POLLPRI = (__force int)EPOLLPRI,
	KQ_POLLOUT = (__force int)EPOLLOUT,
	KQ_POLLWRNORM = (__force int)EPOLLWRNORM,
	KQ_POLLERR = (__force int)EPOLLERR,
	KQ_POLLHUP = (__force int)EPOLLHUP,
	KQ_POLLRDHUP = (__force int)EPOLLRDHUP,
	KQ_POLLFREE = (__force int)POLLFREE,
};

/* Locks. */
void kq_spin_lock_init(spinlock_t *lock, const char *name,
		       struct lock_class_key *key);
unsigned long kq_spin_lock_irqsave(spinlock_t *lock);
void kq_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
bool kq_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);
void kq_spin_assert_held(spinlock_t *lock);

/* Wait queues and polling. */
void kq_init_waitqueue_head(struct wait_queue_head *wq, const char *name,
			    struct lock_class_key *key);
void kq_wake_up_one(struct wait_queue_head *wq);
void kq_wake_up_all(struct wait_queue_head *wq);
void kq_wake_up_poll(struct wait_queue_head *wq, unsigned int events);
void kq_wake_up_all_poll(struct wait_queue_head *wq, unsigned int events);
void kq_poll_wait(struct file *file, struct wait_queue_head *wq,
		  struct poll_table_struct *pt);
unsigned int kq_vfs_poll(struct file *file, struct poll_table_struct *pt);
void kq_init_wait_func(struct wait_queue_entry *wait, wait_queue_func_t func);
bool kq_fatal_signal_pending(void);
bool kq_interrupted(void);
void kq_cond_resched(void);
bool kq_in_x32_syscall(void);
void kq_cond_resched_tasks(void);
bool kq_seq_has_overflowed(struct seq_file *m);

/* The user's memory, in words. */
int kq_read_pair(u64 to[2], unsigned long from);
int kq_read_four(u64 to[4], unsigned long from);
int kq_read_five(u64 to[5], unsigned long from);
int kq_write_four(unsigned long to, const u64 from[4]);
int kq_write_fours(unsigned long to, const void *from, size_t count);

/* Deferred work. */
bool kq_irq_work_is_busy(struct irq_work *work);
void kq_init_irq_work(struct irq_work *work, void (*func)(struct irq_work *));
void kq_init_work(struct work_struct *work, void (*func)(struct work_struct *));
void kq_queue_work(struct work_struct *work);
void kq_init_delayed_work(struct delayed_work *work,
			  void (*func)(struct work_struct *));
void kq_mod_delayed_work(struct delayed_work *work, unsigned int msecs);
void kq_queue_delayed_work(struct delayed_work *work, unsigned int msecs);

/* Descriptors. */
void *kq_files_lookup(struct files_struct *files, unsigned int fd);
bool kq_files_dying(struct files_struct *files);
bool kq_file_has_poll(struct file *file);
bool kq_file_is_unshared(struct file *file);
umode_t kq_file_mode(struct file *file);
bool kq_file_is_plain(struct file *file);
bool kq_fd_is_plain(unsigned int fd);
unsigned int kq_file_rdev_major(struct file *file);
int kq_file_fionread(struct file *file, unsigned long uaddr, int *value);

/* A new file with the given operations, as anon_inode_getfile() makes it. */
struct file *kq_anon_file(const char *name, const struct file_operations *fops,
			  void *priv, int flags);

/* Pipes. */
bool kq_file_is_pipe(struct file *file);
unsigned int kq_pipe_poll_in(struct file *file, s64 *bytes);
unsigned int kq_pipe_room(struct file *file);

/* Terminals. */
bool kq_file_is_tty(struct file *file);
unsigned int kq_tty_room(struct file *file);

/* Sockets. */
struct socket *kq_sock_from_file(struct file *file);
struct kq_sock_state {
	int		family;
	int		type;
	int		state;
	int		shutdown;
	int		error;
};
enum {
	KQ_SOCK_STREAM = SOCK_STREAM,
	KQ_SOCK_SEQPACKET = SOCK_SEQPACKET,
	KQ_AF_UNIX = AF_UNIX,
	KQ_AF_INET = AF_INET,
	KQ_AF_INET6 = AF_INET6,
	KQ_TCP_CLOSE = 7,
	KQ_TCP_LISTEN = 10,
	KQ_RCV_SHUTDOWN = 1,
	KQ_SEND_SHUTDOWN = 2,
};
bool kq_sock_state(struct socket *sock, struct kq_sock_state *st);
int kq_sock_error(struct socket *sock);
unsigned int kq_sock_backlog(struct socket *sock);
void kq_sock_settle(struct socket *sock);
int kq_sock_inq(struct socket *sock, bool *all);
int kq_sock_plain_bytes(struct file *file);
int kq_sock_outq(struct socket *sock);
int kq_sock_room(struct socket *sock);
void kq_sock_want_space(struct socket *sock);
void kq_sock_connected(struct file *file);

/* The probes: see probe.rs, which the kq_probe_*() callbacks belong to. */
int kq_probe_init(void);
int kq_probe_arm(void);
void kq_probe_disarm(void);
void kq_probe_exit(void);

/* Limits: module parameters, writable at run time. */
unsigned int kq_param_user_events_max(void);
unsigned int kq_param_timers_max(void);
unsigned long kq_param_watches_max(void);
void kq_param_init(unsigned long watch_size);

#endif /* KQUEUE_HELPERS_H */
