// SPDX-License-Identifier: GPL-2.0
/*
 * Processes, for the Rust crate: inline functions, macros, and fields of
 * structures that the kernel's bindings leave opaque. See helpers_process.h.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/pid.h>
#include <linux/sched/exec_state.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/tracepoint.h>
#include <linux/uidgid.h>
#include <linux/wait.h>
#include <trace/events/sched.h>
#include <trace/events/signal.h>

#include "helpers_process.h"

/* ---- Processes ---- */

struct pid *kq_pid_get(struct pid *pid)
{
	return get_pid(pid);
}

struct pid *kq_pid_current(void)
{
	return task_tgid(current);
}

/* Of a task that cannot lose its signal_struct while this runs. */
struct pid *kq_pid_of_task(struct task_struct *task)
{
	return task_tgid(task);
}

/* The pid that a pidfd is of, which the file holds; NULL for another file. */
struct pid *kq_pid_of_file(struct file *file)
{
	struct inode *inode = file_inode(file);

	if (inode->i_sb->s_magic != PID_FS_MAGIC || !S_ISREG(inode->i_mode))
		return NULL;
	return inode->i_private;
}

/* Whether it is a process's: not one thread's only, and not reaped yet. */
bool kq_pid_is_process(struct pid *pid)
{
	bool ret;

	rcu_read_lock();
	ret = pid_task(pid, PIDTYPE_TGID);
	rcu_read_unlock();
	return ret;
}

/*
 * As pidfd_poll() sees it, but for a leader whose pid another thread is taking over
 * by exec: that is on its way out of a group that lives on, and stops being its
 * leader before it stops being in it. The status is the one that wait(2) reports: of
 * the whole group where it was made to exit, else of the leader.
 */
enum kq_pid_state kq_pid_state(struct pid *pid, int *status)
{
	enum kq_pid_state state = KQ_PID_RUNS;
	struct task_struct *task;

	rcu_read_lock();
	task = pid_task(pid, PIDTYPE_PID);
	if (!task) {
		state = KQ_PID_REAPED;
	} else if (READ_ONCE(task->exit_state) && thread_group_leader(task) &&
		   thread_group_empty(task)) {
		struct signal_struct *signal = task->signal;

		/* It was set before the state. */
		smp_rmb();
		*status = signal->flags & SIGNAL_GROUP_EXIT ?
			  signal->group_exit_code : task->exit_code;
		state = KQ_PID_EXITED;
	}
	rcu_read_unlock();
	return state;
}

static bool kq_has_ids(const struct cred *cred, kuid_t uid, kgid_t gid)
{
	return uid_eq(uid, cred->euid) && uid_eq(uid, cred->suid) &&
	       uid_eq(uid, cred->uid) && gid_eq(gid, cred->egid) &&
	       gid_eq(gid, cred->sgid) && gid_eq(gid, cred->gid);
}

/*
 * Whether the current task may know what the process does: as the kernel decides
 * who may look into another one with ptrace(2), by its real ids and those of the
 * other, and by whether that has something to hide. ptrace_may_access() itself is
 * not for modules.
 */
enum kq_pid_access kq_pid_may_watch(struct pid *pid, struct kq_pid_ids *ids)
{
	enum kq_pid_access access = KQ_PID_GONE;
	const struct cred *cred = current_cred(), *tcred;
	struct task_exec_state *exec_state;
	struct task_struct *task;

	ids->uid = __kuid_val(cred->uid);
	ids->gid = __kgid_val(cred->gid);
	rcu_read_lock();
	task = pid_task(pid, PIDTYPE_TGID);
	if (!task)
		goto out;
	if (same_thread_group(task, current)) {
		/* Oneself always; one's children as they would be if named. */
		exec_state = rcu_dereference(task->exec_state);
		access = ns_capable_noaudit(exec_state->user_ns, CAP_SYS_PTRACE) ?
			 KQ_PID_ALLOWED : KQ_PID_ALLOWED_BY_IDS;
		goto out;
	}
	access = KQ_PID_DENIED;
	tcred = __task_cred(task);
	if (!kq_has_ids(tcred, cred->uid, cred->gid) &&
	    !ns_capable_noaudit(tcred->user_ns, CAP_SYS_PTRACE))
		goto out;
	/* What commit_creds() makes it hide, it hides before it has the ids. */
	smp_rmb();
	exec_state = rcu_dereference(task->exec_state);
	if (ns_capable_noaudit(exec_state->user_ns, CAP_SYS_PTRACE))
		access = KQ_PID_ALLOWED;
	else if (READ_ONCE(exec_state->dumpable) == TASK_DUMPABLE_OWNER)
		access = KQ_PID_ALLOWED_BY_IDS;
out:
	rcu_read_unlock();
	return access;
}

/* Whether one who was allowed by these ids would be again. */
bool kq_pid_has_ids(struct pid *pid, const struct kq_pid_ids *ids)
{
	struct task_struct *task;
	bool ret = false;

	rcu_read_lock();
	task = pid_task(pid, PIDTYPE_TGID);
	if (task && kq_has_ids(__task_cred(task), KUIDT_INIT(ids->uid),
			       KGIDT_INIT(ids->gid))) {
		smp_rmb();
		ret = READ_ONCE(rcu_dereference(task->exec_state)->dumpable) ==
		      TASK_DUMPABLE_OWNER;
	}
	rcu_read_unlock();
	return ret;
}

/* The pid of a number in a namespace, to be compared and not used. */
void *kq_pid_lookup(unsigned int nr, struct pid_namespace *ns)
{
	struct pid *pid;

	rcu_read_lock();
	pid = find_pid_ns(nr, ns);
	if (pid && !pid_task(pid, PIDTYPE_TGID))
		pid = NULL;
	rcu_read_unlock();
	return pid;
}

void kq_pid_add_wait(struct pid *pid, struct wait_queue_entry *wait)
{
	add_wait_queue(&pid->wait_pidfd, wait);
}

void kq_pid_remove_wait(struct pid *pid, struct wait_queue_entry *wait)
{
	remove_wait_queue(&pid->wait_pidfd, wait);
}

/* ---- Tracepoints ---- */

/* In probe.rs. */
void kq_probe_signal(struct pid *pid, int sig, bool ignored);
void kq_probe_exec(struct pid *pid);

/* Under the siglock of the task, which keeps its handlers as they are. */
static void kq_signal_probe(void *data, int sig, struct kernel_siginfo *info,
			    struct task_struct *task, int group, int result)
{
	struct k_sigaction *ka;

	if (sig < 1 || sig > _NSIG)
		return;
	ka = &task->sighand->action[sig - 1];
	kq_probe_signal(task_tgid(task), sig, ka->sa.sa_handler == SIG_IGN);
}

static void kq_exec_probe(void *data, struct task_struct *task, pid_t old_pid,
			  struct linux_binprm *bprm)
{
	kq_probe_exec(task_tgid(task));
}

static struct kq_tracepoint {
	const char		*name;
	void			*probe;
	struct tracepoint	*tp;
} kq_tracepoints[KQ_TRACES] = {
	[KQ_TRACE_SIGNAL] = { "signal_generate", kq_signal_probe },
	[KQ_TRACE_EXEC] = { "sched_process_exec", kq_exec_probe },
};

static void kq_trace_find(struct tracepoint *tp, void *priv)
{
	int i;

	for (i = 0; i < KQ_TRACES; i++)
		if (!strcmp(tp->name, kq_tracepoints[i].name))
			kq_tracepoints[i].tp = tp;
}

/* Finds them, once. What is missing is said. */
void kq_trace_init(void)
{
	int i;

	/* The compiler checks the probes' signatures. */
	check_trace_callback_type_signal_generate(kq_signal_probe);
	check_trace_callback_type_sched_process_exec(kq_exec_probe);

	for_each_kernel_tracepoint(kq_trace_find, NULL);
	for (i = 0; i < KQ_TRACES; i++)
		if (!kq_tracepoints[i].tp)
			pr_warn("kqueue: no tracepoint %s in this kernel: %s is not supported\n",
				kq_tracepoints[i].name,
				i == KQ_TRACE_SIGNAL ? "EVFILT_SIGNAL" : "EVFILT_PROC");
}

/* Milliseconds, and may sleep. Serialised by probe.rs, as is the next. */
int kq_trace_arm(enum kq_trace trace)
{
	struct kq_tracepoint *it = &kq_tracepoints[trace];

	if (!it->tp)
		return -EOPNOTSUPP;
	return tracepoint_probe_register(it->tp, it->probe, NULL);
}

void kq_trace_disarm(enum kq_trace trace)
{
	struct kq_tracepoint *it = &kq_tracepoints[trace];

	tracepoint_probe_unregister(it->tp, it->probe, NULL);
}
