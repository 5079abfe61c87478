// SPDX-License-Identifier: GPL-2.0
/*
 * What the Rust crate cannot name: macros, inline functions, and structures the
 * kernel's bindings leave opaque. See helpers.h.
 */
#include <linux/anon_inodes.h>
#include <linux/compat.h>
#include <linux/fault-inject-usercopy.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fprobe.h>
#include <linux/ftrace.h>
#include <linux/major.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pipe_fs_i.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/security.h>
#include <linux/tracepoint.h>
#include <linux/tty.h>
#include <linux/uaccess.h>
#include <net/af_unix.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <trace/events/sched.h>

#include "helpers.h"

/* ---- Locks ---- */

void kq_spin_lock_init(spinlock_t *lock, const char *name,
		       struct lock_class_key *key)
{
#ifdef CONFIG_DEBUG_SPINLOCK
	__raw_spin_lock_init(spinlock_check(lock), name, key, LD_WAIT_CONFIG);
#else
	spin_lock_init(lock);
#endif
}

unsigned long kq_spin_lock_irqsave(spinlock_t *lock)
	__acquires(lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void kq_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
	__releases(lock)
{
	spin_unlock_irqrestore(lock, flags);
}

bool kq_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	return spin_trylock_irqsave(lock, *flags);
}

void kq_spin_assert_held(spinlock_t *lock)
{
	lockdep_assert_held(lock);
}

/* ---- Wait queues and polling ---- */

void kq_init_waitqueue_head(struct wait_queue_head *wq, const char *name,
			    struct lock_class_key *key)
{
	__init_waitqueue_head(wq, name, key);
}

void kq_wake_up_one(struct wait_queue_head *wq)
{
	wake_up_interruptible(wq);
}

void kq_wake_up_all(struct wait_queue_head *wq)
{
	wake_up_interruptible_all(wq);
}

void kq_wake_up_poll(struct wait_queue_head *wq, unsigned int events)
{
	wake_up_poll(wq, (__force __poll_t)events);
}

/* As wake_up_poll(), of all that are exclusive. */
void kq_wake_up_all_poll(struct wait_queue_head *wq, unsigned int events)
{
	__wake_up(wq, TASK_NORMAL, 0, poll_to_key((__force __poll_t)events));
}

void kq_poll_wait(struct file *file, struct wait_queue_head *wq,
		  struct poll_table_struct *pt)
{
	poll_wait(file, wq, pt);
}

unsigned int kq_vfs_poll(struct file *file, struct poll_table_struct *pt)
{
	return (__force unsigned int)vfs_poll(file, pt);
}

void kq_init_wait_func(struct wait_queue_entry *wait, wait_queue_func_t func)
{
	init_waitqueue_func_entry(wait, func);
	INIT_LIST_HEAD(&wait->entry);
}

bool kq_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

/*
 * Whether a signal is pending that the task will act on. One that is ignored also
 * wakes a thread, if it was sent while another one had it blocked: that is dropped
 * here, as it would be on the way to user space. And what was pending may have
 * been taken by another thread.
 */
bool kq_interrupted(void)
{
	struct sighand_struct *sighand = current->sighand;
	kernel_siginfo_t info;
	enum pid_type type;
	sigset_t keep;
	int sig;

	if (likely(!signal_pending(current)))
		return false;
	/* A tracer is to be told of every one. */
	if (current->ptrace)
		return true;
	spin_lock_irq(&sighand->siglock);
	keep = current->blocked;
	for (sig = 1; sig <= _NSIG; sig++) {
		__sighandler_t handler = sighand->action[sig - 1].sa.sa_handler;

		if (handler != SIG_IGN &&
		    !(handler == SIG_DFL && sig_kernel_ignore(sig)))
			sigaddset(&keep, sig);
	}
	while (dequeue_signal(&keep, &info, &type))
		;
	spin_unlock_irq(&sighand->siglock);
	return signal_pending(current);
}

/*
 * Whether the caller is a program of x86-64's x32 ABI, whose system calls are taken for
 * 32-bit ones.
 */
bool kq_in_x32_syscall(void)
{
#ifdef CONFIG_X86_X32_ABI
	return in_x32_syscall();
#else
	return false;
#endif
}

void kq_cond_resched(void)
{
	cond_resched();
}

/* For a worker: it may not sleep for long, and grace periods of tasks wait for it. */
void kq_cond_resched_tasks(void)
{
	cond_resched_tasks_rcu_qs();
}

bool kq_seq_has_overflowed(struct seq_file *m)
{
	return seq_has_overflowed(m);
}

/* ---- The user's memory ---- */

/*
 * What is copied here is a few words: the general functions take longer to find out
 * how than to copy.
 * What fails copies for a test is asked as they ask it.
 */

int kq_read_pair(u64 to[2], unsigned long from)
{
	const u64 __user *src = (const u64 __user *)from;

	might_fault();
	if (should_fail_usercopy() ||
	    !user_read_access_begin(src, 2 * sizeof(*src)))
		return -EFAULT;
	unsafe_get_user(to[0], &src[0], fault);
	unsafe_get_user(to[1], &src[1], fault);
	user_read_access_end();
	return 0;
fault:
	user_read_access_end();
	return -EFAULT;
}

int kq_write_fours(unsigned long to, const void *from, size_t count)
{
	u64 __user *dst = (u64 __user *)to;
	const u64 *src = from;

	might_fault();
	if (should_fail_usercopy() ||
	    !user_write_access_begin(dst, count * 4 * sizeof(*dst)))
		return -EFAULT;
	for (; count; count--, dst += 4, src += 4) {
		unsafe_put_user(src[0], &dst[0], fault);
		unsafe_put_user(src[1], &dst[1], fault);
		unsafe_put_user(src[2], &dst[2], fault);
		unsafe_put_user(src[3], &dst[3], fault);
	}
	user_write_access_end();
	return 0;
fault:
	user_write_access_end();
	return -EFAULT;
}

int kq_read_four(u64 to[4], unsigned long from)
{
	const u64 __user *src = (const u64 __user *)from;

	might_fault();
	if (should_fail_usercopy() ||
	    !user_read_access_begin(src, 4 * sizeof(*src)))
		return -EFAULT;
	unsafe_get_user(to[0], &src[0], fault);
	unsafe_get_user(to[1], &src[1], fault);
	unsafe_get_user(to[2], &src[2], fault);
	unsafe_get_user(to[3], &src[3], fault);
	user_read_access_end();
	return 0;
fault:
	user_read_access_end();
	return -EFAULT;
}

int kq_read_five(u64 to[5], unsigned long from)
{
	const u64 __user *src = (const u64 __user *)from;

	might_fault();
	if (should_fail_usercopy() ||
	    !user_read_access_begin(src, 5 * sizeof(*src)))
		return -EFAULT;
	unsafe_get_user(to[0], &src[0], fault);
	unsafe_get_user(to[1], &src[1], fault);
	unsafe_get_user(to[2], &src[2], fault);
	unsafe_get_user(to[3], &src[3], fault);
	unsafe_get_user(to[4], &src[4], fault);
	user_read_access_end();
	return 0;
fault:
	user_read_access_end();
	return -EFAULT;
}

int kq_write_four(unsigned long to, const u64 from[4])
{
	u64 __user *dst = (u64 __user *)to;

	might_fault();
	if (should_fail_usercopy() ||
	    !user_write_access_begin(dst, 4 * sizeof(*dst)))
		return -EFAULT;
	unsafe_put_user(from[0], &dst[0], fault);
	unsafe_put_user(from[1], &dst[1], fault);
	unsafe_put_user(from[2], &dst[2], fault);
	unsafe_put_user(from[3], &dst[3], fault);
	user_write_access_end();
	return 0;
fault:
	user_write_access_end();
	return -EFAULT;
}

/* ---- Deferred work ---- */

void kq_init_irq_work(struct irq_work *work, void (*func)(struct irq_work *))
{
	init_irq_work(work, func);
}

bool kq_irq_work_is_busy(struct irq_work *work)
{
	return irq_work_is_busy(work);
}

void kq_init_work(struct work_struct *work, void (*func)(struct work_struct *))
{
	INIT_WORK(work, func);
}

/*
 * Works run on any CPU: on one that a realtime task keeps, they would not come to
 * run.
 */

void kq_queue_work(struct work_struct *work)
{
	queue_work(system_dfl_wq, work);
}

void kq_init_delayed_work(struct delayed_work *work,
			  void (*func)(struct work_struct *))
{
	INIT_DELAYED_WORK(work, func);
}

void kq_mod_delayed_work(struct delayed_work *work, unsigned int msecs)
{
	mod_delayed_work(system_dfl_wq, work, msecs_to_jiffies(msecs));
}

void kq_queue_delayed_work(struct delayed_work *work, unsigned int msecs)
{
	queue_delayed_work(system_dfl_wq, work, msecs_to_jiffies(msecs));
}

/* ---- Descriptors ---- */

/* What slot fd holds, to be compared and not used. Takes the RCU read lock. */
void *kq_files_lookup(struct files_struct *files, unsigned int fd)
{
	struct file *file;

	rcu_read_lock();
	file = files_lookup_fd_raw(files, fd);
	rcu_read_unlock();
	return file;
}

/*
 * The last user of the table is closing it: its slots keep what was in them
 * while they are closed one by one, so that they tell nothing any more.
 */
bool kq_files_dying(struct files_struct *files)
{
	return atomic_read(&files->count) == 0;
}

bool kq_file_has_poll(struct file *file)
{
	return file_can_poll(file);
}

umode_t kq_file_mode(struct file *file)
{
	return file_inode(file)->i_mode;
}

/*
 * A regular file or a directory without a poll of its own. @file may be on its way:
 * its memory is a file's, of which nothing need be set yet, or is set any more.
 */
static bool kq_is_plain(struct file *file)
{
	const struct file_operations *fops = READ_ONCE(file->f_op);
	struct inode *inode = READ_ONCE(file->f_inode);

	return inode && fops && !fops->poll &&
	       (S_ISREG(inode->i_mode) || S_ISDIR(inode->i_mode));
}

bool kq_file_is_plain(struct file *file)
{
	return kq_is_plain(file);
}

/*
 * The same of what is open at @fd. No reference is taken, which might then be the last
 * one, while somebody else closes it. Takes the RCU read lock, for which inodes and
 * modules wait that go.
 */
bool kq_fd_is_plain(unsigned int fd)
{
	struct file *file;
	bool plain;

	rcu_read_lock();
	file = files_lookup_fd_raw(current->files, fd);
	plain = file && kq_is_plain(file);
	rcu_read_unlock();
	return plain;
}

unsigned int kq_file_rdev_major(struct file *file)
{
	return imajor(file_inode(file));
}

/*
 * FIONREAD as the program itself would make it. Drivers store its answer in
 * user memory only, so the caller names four bytes there that are the program's
 * to lose: the place the event is about to be written to. May sleep.
 */
int kq_file_fionread(struct file *file, unsigned long uaddr, int *value)
{
	int ret;

	if (!file->f_op->unlocked_ioctl)
		return -ENOTTY;
	ret = security_file_ioctl(file, FIONREAD, uaddr);
	if (ret)
		return ret;
	ret = file->f_op->unlocked_ioctl(file, FIONREAD, uaddr);
	if (ret)
		return ret < 0 ? ret : -ENOTTY;
	return get_user(*value, (int __user *)uaddr) ? -EFAULT : 0;
}

/* Nobody but the caller refers to the file. */
bool kq_file_is_unshared(struct file *file)
{
	return file_count(file) == 1;
}

struct file *kq_anon_file(const char *name, const struct file_operations *fops,
			  void *priv, int flags)
{
	return anon_inode_getfile(name, fops, priv, flags);
}

/* ---- Pipes ---- */

bool kq_file_is_pipe(struct file *file)
{
	struct inode *inode = file_inode(file);

	return S_ISFIFO(inode->i_mode) && inode->i_pipe &&
	       file->private_data == inode->i_pipe;
}

/* Head and tail as they were at one moment, which both are stored for at once. */
static union pipe_index kq_pipe_index(struct pipe_inode_info *pipe)
{
	return (union pipe_index) { .head_tail = READ_ONCE(pipe->head_tail) };
}

/*
 * What pipe_poll() says of reading, and how many bytes there are. The ring may be
 * replaced (F_SETPIPE_SZ), which happens under the mutex and rd_wait's lock: either
 * keeps it in place. Lengths are read as they are; one that changes meanwhile
 * makes an event that follows. But with the end all that came before it is counted.
 * The file, which is a pipe's, is held by the caller, and so the pipe. Not in
 * interrupts.
 */
unsigned int kq_pipe_poll_in(struct file *file, s64 *bytes)
{
	struct pipe_inode_info *pipe = file->private_data;
	unsigned int i, used, poll = 0, sum = 0;
	union pipe_index idx;

	if (file->f_mode & FMODE_READ && !READ_ONCE(pipe->writers) &&
	    file->f_pipe != READ_ONCE(pipe->w_counter))
		poll |= KQ_POLLHUP;
	if (file->f_mode & FMODE_WRITE && !READ_ONCE(pipe->readers))
		poll |= KQ_POLLERR;
	/* Who writes and closes has written first. */
	smp_rmb();

	spin_lock_irq(&pipe->rd_wait.lock);
	idx = kq_pipe_index(pipe);
	used = min(pipe_occupancy(idx.head, idx.tail), pipe->ring_size);
	for (i = 0; i < used; i++)
		sum += READ_ONCE(pipe_buf(pipe, idx.tail + i)->len);
	spin_unlock_irq(&pipe->rd_wait.lock);
	*bytes = sum;
	if (used && file->f_mode & FMODE_READ)
		poll |= KQ_POLLIN;
	return poll;
}

unsigned int kq_pipe_room(struct file *file)
{
	struct pipe_inode_info *pipe = file_inode(file)->i_pipe;
	union pipe_index idx = kq_pipe_index(pipe);
	unsigned int used = pipe_occupancy(idx.head, idx.tail);
	unsigned int usage = READ_ONCE(pipe->max_usage);

	return used < usage ? (usage - used) * PAGE_SIZE : 0;
}

/* ---- Terminals ---- */

/*
 * The file's device number is one of the terminal layer's. That others do not use
 * these cannot be relied on, but a terminal's private data points back.
 */
bool kq_file_is_tty(struct file *file)
{
	struct tty_file_private *priv = file->private_data;

	return priv && priv->file == file;
}

/* The terminal stays while its file is open, hung up or not. */
unsigned int kq_tty_room(struct file *file)
{
	struct tty_file_private *priv = file->private_data;

	return tty_write_room(priv->tty);
}

/* ---- Sockets ---- */

struct socket *kq_sock_from_file(struct file *file)
{
	return sock_from_file(file);
}

/* False where the socket has lost its protocol's part. */
bool kq_sock_state(struct socket *sock, struct kq_sock_state *st)
{
	struct sock *sk = READ_ONCE(sock->sk);

	if (!sk)
		return false;
	st->family = sk->sk_family;
	st->type = sk->sk_type;
	st->state = smp_load_acquire(&sk->sk_state);
	st->shutdown = READ_ONCE(sk->sk_shutdown);
	st->error = READ_ONCE(sk->sk_err);
	return true;
}

/*
 * The error now. One that ends a connection is stored before the end is; so after the
 * end was seen, here is what has ended it.
 */
int kq_sock_error(struct socket *sock)
{
	smp_rmb();
	return READ_ONCE(sock->sk->sk_err);
}

/* Connections that accept(2) would return. */
unsigned int kq_sock_backlog(struct socket *sock)
{
	struct sock *sk = sock->sk;

	if (sk->sk_family == AF_UNIX)
		return skb_queue_len_lockless(&sk->sk_receive_queue);
	return READ_ONCE(sk->sk_ack_backlog);
}

/*
 * What a read of a Unix stream would return. The kernel's own count keeps an
 * out-of-band byte that a read has passed over, for good; and the buffer of one that
 * was taken stays in the queue, empty. How much of a buffer was read is not told to
 * modules. So it is the lesser of two: that count, and what was put in the buffers
 * that are there.
 */
static int kq_unix_inq(struct sock *sk)
{
#if IS_ENABLED(CONFIG_AF_UNIX_OOB)
	const struct sk_buff *skb, *oob = NULL;
	int count, put = 0;

	spin_lock(&sk->sk_receive_queue.lock);
	/* One that waits is no part of what is read, unless it is to be. */
	if (!sock_flag(sk, SOCK_URGINLINE))
		oob = READ_ONCE(unix_sk(sk)->oob_skb);
	count = READ_ONCE(unix_sk(sk)->inq_len) - !!oob;
	skb_queue_walk(&sk->sk_receive_queue, skb) {
		if (skb != oob)
			put += skb->len;
		/* There may be thousands, of a byte each. */
		if (put >= count)
			break;
	}
	spin_unlock(&sk->sk_receive_queue.lock);
	return min(count, put);
#else
	return READ_ONCE(unix_sk(sk)->inq_len);
#endif
}

/* Where another protocol is on top of TCP, as TLS may be, it has its own poll. */
static bool kq_sock_has_tcp_poll(struct socket *sock)
{
#ifdef CONFIG_INET
	return READ_ONCE(sock->ops)->poll == tcp_poll;
#else
	return false;
#endif
}

/*
 * Bytes that a read would return, of a datagram socket those of the next one;
 * negative where the protocol does not say. These are all, or else there may be
 * more, where nobody counts, if the socket is readable. May sleep.
 */
int kq_sock_inq(struct socket *sock, bool *all)
{
	struct sock *sk = sock->sk;
	/* What BPF has sent here, or TLS has taken off TCP, is in no count that is asked here. */
	bool elsewhere = sk_is_readable(sk);
	int ret, value = 0;

	if (sk->sk_family == AF_UNIX && sk->sk_type == SOCK_STREAM) {
		value = kq_unix_inq(sk);
		*all = !elsewhere;
	} else if (sk_is_tcp(sk)) {
		/*
		 * As SIOCINQ has it, but for who is the socket's owner: he may be long, where
		 * he waits for his memory, and so is not waited for.
		 */
		local_bh_disable();
		bh_lock_sock(sk);
		value = tcp_inq(sk);
		bh_unlock_sock(sk);
		local_bh_enable();
		/* It is to the urgent mark only, and 0 before the connection is there. */
		*all = !elsewhere && kq_sock_has_tcp_poll(sock) &&
		       !READ_ONCE(tcp_sk(sk)->urg_data) && sk->sk_state != TCP_SYN_RECV;
	} else if (sk->sk_family != AF_UNIX && READ_ONCE(sk->sk_prot)->ioctl) {
		ret = READ_ONCE(sk->sk_prot)->ioctl(sk, SIOCINQ, &value);
		if (ret)
			return ret < 0 ? ret : -EOPNOTSUPP;
		*all = !elsewhere && (value > 0 || sk->sk_type != SOCK_STREAM);
	} else if (sk->sk_type == SOCK_STREAM) {
		return -EOPNOTSUPP;
	} else {
		spin_lock_bh(&sk->sk_receive_queue.lock);
		if (!skb_queue_empty(&sk->sk_receive_queue)) {
			value = skb_peek(&sk->sk_receive_queue)->len;
			*all = true;
		} else {
			/* Others may keep what there is in a place of their own. */
			*all = sk->sk_family == AF_UNIX && !elsewhere;
		}
		spin_unlock_bh(&sk->sk_receive_queue.lock);
	}
	return max(value, (int)elsewhere);
}

/*
 * Lets what a TCP socket is receiving at this moment come to its end: of a FIN, that
 * it counts as a byte is seen before that it is the end. What was left to the socket's
 * owner he may be receiving still.
 */
void kq_sock_settle(struct socket *sock)
{
	struct sock *sk = READ_ONCE(sock->sk);

	if (!sk || !sk_is_tcp(sk) || READ_ONCE(sk->sk_state) == TCP_LISTEN)
		return;
	local_bh_disable();
	bh_lock_sock(sk);
	bh_unlock_sock(sk);
	local_bh_enable();
}

/*
 * How many bytes can be read from the socket that is behind the file, if that is all
 * there is to say of it: of a stream that is connected, with nothing urgent, no
 * error and no end. What the protocol's poll would say then is known. Else -1.
 * Of a Unix stream it is the kernel's own count, where kq_unix_inq() knows better.
 */
int kq_sock_plain_bytes(struct file *file)
{
	struct socket *sock = file->private_data;
	struct sock *sk = READ_ONCE(sock->sk);
	int bytes;

	if (!sk || smp_load_acquire(&sk->sk_state) != TCP_ESTABLISHED ||
	    READ_ONCE(sk->sk_err))
		return -1;
	/* What may be elsewhere is looked for by kq_sock_inq(). */
	if (unlikely(READ_ONCE(sk->sk_prot)->sock_is_readable))
		return -1;
	if (sk->sk_family == AF_UNIX && sk->sk_type == SOCK_STREAM) {
		if (READ_ONCE(sk->sk_shutdown))
			return -1;
#if IS_ENABLED(CONFIG_AF_UNIX_OOB)
		if (READ_ONCE(unix_sk(sk)->oob_skb))
			return -1;
#endif
		if (skb_queue_empty_lockless(&sk->sk_receive_queue))
			return 0;
		return READ_ONCE(unix_sk(sk)->inq_len) ?: -1;
	}
	if (kq_sock_has_tcp_poll(sock)) {
		const struct tcp_sock *tp = tcp_sk(sk);

		bytes = READ_ONCE(tp->rcv_nxt) - READ_ONCE(tp->copied_seq);
		if (READ_ONCE(tp->urg_data))
			return -1;
		/*
		 * The end counts as one before it is the end: that is so while the lock is
		 * held, or the backlog is being received.
		 */
		smp_rmb();
		if (spin_is_locked(&sk->sk_lock.slock) | READ_ONCE(sk->sk_backlog.len))
			return -1;
		smp_rmb();
		if (READ_ONCE(sk->sk_shutdown))
			return -1;
		if (bytes > 0 && bytes >= READ_ONCE(sk->sk_rcvlowat))
			return bytes;
		return bytes ? -1 : 0;
	}
	return -1;
}

/* Bytes not yet taken by the other side or the device. May sleep. */
int kq_sock_outq(struct socket *sock)
{
	struct sock *sk = sock->sk;
	int value = 0;

	if (sk->sk_type == SOCK_STREAM && sk->sk_family != AF_UNIX &&
	    READ_ONCE(sk->sk_prot)->ioctl &&
	    !READ_ONCE(sk->sk_prot)->ioctl(sk, SIOCOUTQ, &value))
		return value;
	/*
	 * sock_wfree() keeps one back of each buffer while it tells of the room,
	 * and nobody tells when that goes. No buffer is as small as a few of these.
	 */
	value = sk_wmem_alloc_get(sk);
	return value < SKB_TRUESIZE(1) ? 0 : value;
}

int kq_sock_room(struct socket *sock)
{
	struct sock *sk = sock->sk;

	if (sk->sk_type == SOCK_STREAM && sk->sk_family != AF_UNIX)
		return max(sk_stream_wspace(sk), 0);
	return sock_wspace(sk);
}

/* Ask to be told when the send buffer shrinks, as a writer that waits does. */
void kq_sock_want_space(struct socket *sock)
{
	set_bit(SOCK_NOSPACE, &sock->flags);
	/* Pairs with the barrier in tcp_check_space(): the caller looks again. */
	smp_mb__after_atomic();
}

/* ---- Probes ---- */

/* In wrap/poll.rs. */
int kq_poll_wake(struct wait_queue_entry *wait, unsigned int mode, int flags,
		 void *key);
/* In probe.rs. */
void kq_probe_flush(struct file *file, struct files_struct *files);
void kq_probe_dup2(struct files_struct *files, struct file *file,
		   unsigned int fd);
void kq_probe_connect(struct file *file, bool watched);
void kq_probe_fork(struct task_struct *parent, struct task_struct *child);

/* The file that the probe is tried with, and whether it was seen. */
static const struct file_operations kq_test_fops;
static struct file *kq_test_file;
static bool kq_test_seen;

/*
 * Called for every close in the system. So this is not an fprobe, which looks in a
 * table first who wants to know: it takes more instructions than what is done here.
 */
static void notrace kq_flush_entry(unsigned long ip, unsigned long parent_ip,
				   struct ftrace_ops *ops,
				   struct ftrace_regs *fregs)
{
	struct files_struct *files =
		(struct files_struct *)ftrace_regs_get_argument(fregs, 1);
	struct file *file = (struct file *)ftrace_regs_get_argument(fregs, 0);

	preempt_disable_notrace();
	if (likely(files))
		kq_probe_flush(file, files);
	else if (file == READ_ONCE(kq_test_file))
		kq_test_seen = true;
	preempt_enable_notrace();
}

static int kq_dup2_entry(struct fprobe *fp, unsigned long ip,
			 unsigned long ret_ip, struct ftrace_regs *fregs,
			 void *data)
{
	kq_probe_dup2((struct files_struct *)ftrace_regs_get_argument(fregs, 0),
		      (struct file *)ftrace_regs_get_argument(fregs, 1),
		      ftrace_regs_get_argument(fregs, 2));
	return 0;
}

/*
 * connect(2) of a Unix stream socket tells its listener, and on the connecting
 * side nobody, as who connects is not waiting there. A knote may be. A probe on
 * the function's return would burden every task with a shadow stack, so the task
 * itself looks, on its way back from the call.
 */
static int kq_connect_entry(struct fprobe *fp, unsigned long ip,
			    unsigned long ret_ip, struct ftrace_regs *fregs,
			    void *data)
{
	struct socket *sock = (struct socket *)ftrace_regs_get_argument(fregs, 0);

	if (sock->file)
		kq_probe_connect(sock->file, waitqueue_active(&sock->wq.wait));
	return 0;
}

/*
 * Calls the knotes on a socket's wait queue, and nobody else there, with what a
 * connection means. The file, which the caller holds, is a socket's.
 */
void kq_sock_connected(struct file *file)
{
	struct wait_queue_head *wq = &sock_from_file(file)->wq.wait;
	struct wait_queue_entry *wait;
	unsigned long flags;

	spin_lock_irqsave(&wq->lock, flags);
	list_for_each_entry(wait, &wq->head, entry)
		if (wait->func == kq_poll_wake)
			kq_poll_wake(wait, TASK_NORMAL, 0,
				     poll_to_key(EPOLLOUT | EPOLLWRNORM));
	spin_unlock_irqrestore(&wq->lock, flags);
}

/*
 * Whether a close is seen: the probe may be there and not be called, where
 * tracing of functions is off (the sysctl kernel.ftrace_enabled).
 */
static int kq_probe_test(void)
{
	struct file *file;

	file = anon_inode_getfile("[kqueue_test]", &kq_test_fops, NULL, O_RDONLY);
	if (IS_ERR(file))
		return PTR_ERR(file);
	kq_test_seen = false;
	WRITE_ONCE(kq_test_file, file);
	/*
	 * The file is in no table, and the probe is for none. Its end is not left
	 * to the task, which may find the module gone, where it failed to load.
	 */
	get_file(file);
	filp_close(file, NULL);
	__fput_sync(file);
	WRITE_ONCE(kq_test_file, NULL);
	return kq_test_seen ? 0 : -EOPNOTSUPP;
}

static void kq_fork_probe(void *data, struct task_struct *parent,
			  struct task_struct *child)
{
	kq_probe_fork(parent, child);
}

/* What it calls closes nothing: it is not called from within itself. */
static struct ftrace_ops kq_flush_ops = {
	.func = kq_flush_entry,
	.flags = FTRACE_OPS_FL_SAVE_ARGS,
};

static struct fprobe kq_dup2_fprobe = { .entry_handler = kq_dup2_entry };
static struct fprobe kq_connect_fprobe = { .entry_handler = kq_connect_entry };
static struct tracepoint *kq_tp_fork;

/* Does nothing: it is registered so that ftrace says where a function begins. */
static int kq_sought_entry(struct fprobe *fp, unsigned long ip,
			   unsigned long ret_ip, struct ftrace_regs *fregs,
			   void *data)
{
	return 0;
}

static struct fprobe kq_sought_fprobe = { .entry_handler = kq_sought_entry };

/*
 * The functions that are probed. Every close ends in filp_flush(), which calls
 * locks_remove_posix() unless the descriptor is an O_PATH one: one of them has to
 * be there. The others a kernel may do without, at a small loss. What is there is
 * found out at load, and from then on needed.
 */
static struct kq_probe {
	struct fprobe	*fprobe;	/* or else kq_flush_ops */
	const char	*symbol;
	unsigned long	ip;		/* of kq_flush_ops: where the symbol is */
	bool		present;
	bool		armed;
} kq_probes[] = {
	{ .symbol = "filp_flush" },
	{ .symbol = "locks_remove_posix" },
	{ .symbol = "do_dup2", .fprobe = &kq_dup2_fprobe },
	{ .symbol = "unix_stream_connect", .fprobe = &kq_connect_fprobe },
};

static int kq_find_ip(struct kq_probe *probe)
{
	int ret = register_fprobe_syms(&kq_sought_fprobe, &probe->symbol, 1);

	if (ret)
		return ret;
	probe->ip = kq_sought_fprobe.hlist_array->array[0].addr;
	unregister_fprobe(&kq_sought_fprobe);
	return 0;
}

/*
 * Not ftrace_set_filter(), which takes a name: where there is no memory for it, that
 * says that all is well, and what has no filter is called by each function there is.
 */
static int kq_register(struct kq_probe *probe)
{
	int ret;

	if (probe->fprobe)
		return register_fprobe_syms(probe->fprobe, &probe->symbol, 1);
	ret = probe->ip ? 0 : kq_find_ip(probe);
	ret = ret ?: ftrace_set_filter_ip(&kq_flush_ops, probe->ip, false, true);
	return ret ?: register_ftrace_function(&kq_flush_ops);
}

static void kq_unregister(struct kq_probe *probe)
{
	if (probe->fprobe)
		unregister_fprobe(probe->fprobe);
	else
		unregister_ftrace_function(&kq_flush_ops);
}

static void kq_find_tracepoint(struct tracepoint *tp, void *priv)
{
	if (!strcmp(tp->name, "sched_process_fork"))
		kq_tp_fork = tp;
}

static void kq_disarm_fprobes(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(kq_probes); i++) {
		if (kq_probes[i].armed)
			kq_unregister(&kq_probes[i]);
		kq_probes[i].armed = false;
	}
}

static int kq_arm_fprobes(void)
{
	int i, ret;

	for (i = 0; i < ARRAY_SIZE(kq_probes); i++) {
		if (!kq_probes[i].present)
			continue;
		ret = kq_register(&kq_probes[i]);
		if (ret) {
			kq_disarm_fprobes();
			return ret;
		}
		kq_probes[i].armed = true;
	}
	return 0;
}

/* Arms all probes: milliseconds, and may sleep. Serialised by probe.rs. */
int kq_probe_arm(void)
{
	int ret;

	/* The compiler checks the probe's signature against the tracepoint. */
	check_trace_callback_type_sched_process_fork(kq_fork_probe);

	ret = kq_arm_fprobes();
	if (ret)
		return ret;
	ret = kq_probe_test();
	if (ret)
		goto disarm;
	ret = tracepoint_probe_register(kq_tp_fork, kq_fork_probe, NULL);
	if (!ret)
		return 0;
disarm:
	kq_disarm_fprobes();
	return ret;
}

void kq_probe_disarm(void)
{
	tracepoint_probe_unregister(kq_tp_fork, kq_fork_probe, NULL);
	kq_disarm_fprobes();
}

/* Finds what there is to probe, and tries it once, so that a load can fail. */
int kq_probe_init(void)
{
	int i, ret;

	for_each_kernel_tracepoint(kq_find_tracepoint, NULL);
	if (!kq_tp_fork) {
		pr_err("kqueue: no tracepoint sched_process_fork in this kernel\n");
		return -EOPNOTSUPP;
	}
	for (i = 0; i < ARRAY_SIZE(kq_probes); i++) {
		struct kq_probe *probe = &kq_probes[i];

		/* The first of those that serve the same. */
		if (i && probe->fprobe == probe[-1].fprobe && probe[-1].present)
			continue;
		ret = kq_register(probe);
		if (ret == -ENOMEM)
			return ret;
		if (ret) {
			pr_info("kqueue: %s cannot be probed in this kernel: %d\n",
				probe->symbol, ret);
			continue;
		}
		kq_unregister(probe);
		probe->present = true;
	}
	if (!kq_probes[0].present && !kq_probes[1].present) {
		pr_err("kqueue: no way to see a close in this kernel\n");
		return -EOPNOTSUPP;
	}
	ret = kq_probe_arm();
	if (ret) {
		pr_err("kqueue: closes are not seen: %d%s\n", ret,
		       ret == -EOPNOTSUPP ? " (is kernel.ftrace_enabled 0?)" : "");
		return ret;
	}
	kq_probe_disarm();
	return 0;
}

/* After the last disarm: nobody is in a probe when this returns. */
void kq_probe_exit(void)
{
	tracepoint_synchronize_unregister();
	synchronize_rcu_tasks();
	ftrace_free_filter(&kq_flush_ops);
}

/* ---- Limits ---- */

static unsigned int user_events_max = 1024;
module_param(user_events_max, uint, 0644);
MODULE_PARM_DESC(user_events_max, "EVFILT_USER events a process may have");

static unsigned int timers_max = 65536;
module_param(timers_max, uint, 0644);
MODULE_PARM_DESC(timers_max, "EVFILT_TIMER timers a process may have");

static unsigned long watches_max;
module_param(watches_max, ulong, 0644);
MODULE_PARM_DESC(watches_max,
		 "Registrations a user may have; by default such that they take 4% of low memory");

unsigned int kq_param_user_events_max(void)
{
	return READ_ONCE(user_events_max);
}

unsigned int kq_param_timers_max(void)
{
	return READ_ONCE(timers_max);
}

unsigned long kq_param_watches_max(void)
{
	return READ_ONCE(watches_max);
}

void kq_param_init(unsigned long watch_size)
{
	struct sysinfo si;

	if (watches_max)
		return;
	si_meminfo(&si);
	watches_max = ((si.totalram - si.totalhigh) / 25 << PAGE_SHIFT) / watch_size;
}
