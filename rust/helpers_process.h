/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What helpers_process.c offers the Rust crate: processes and what is told of
 * them.
 */
#ifndef KQUEUE_HELPERS_PROCESS_H
#define KQUEUE_HELPERS_PROCESS_H

#include <linux/types.h>

struct file;
struct pid;
struct pid_namespace;
struct task_struct;
struct wait_queue_entry;

/* Processes, by their struct pid. */
enum kq_pid_state {
	KQ_PID_RUNS,
	KQ_PID_EXITED,		/* and can be waited for */
	KQ_PID_REAPED,
};

/* Whether one may be watched, and why. */
enum kq_pid_access {
	KQ_PID_GONE,		/* reaped */
	KQ_PID_DENIED,
	KQ_PID_ALLOWED_BY_IDS,
	KQ_PID_ALLOWED,		/* whatever its ids */
};

struct kq_pid_ids {
	unsigned int	uid;	/* of the kernel's own */
	unsigned int	gid;
};

struct pid *kq_pid_get(struct pid *pid);
struct pid *kq_pid_current(void);
struct pid *kq_pid_of_task(struct task_struct *task);
struct pid *kq_pid_of_file(struct file *file);
bool kq_pid_is_process(struct pid *pid);
enum kq_pid_state kq_pid_state(struct pid *pid, int *status);
enum kq_pid_access kq_pid_may_watch(struct pid *pid, struct kq_pid_ids *ids);
bool kq_pid_has_ids(struct pid *pid, const struct kq_pid_ids *ids);
void *kq_pid_lookup(unsigned int nr, struct pid_namespace *ns);
void kq_pid_add_wait(struct pid *pid, struct wait_queue_entry *wait);
void kq_pid_remove_wait(struct pid *pid, struct wait_queue_entry *wait);

/* The tracepoints: see probe.rs. */
enum kq_trace {
	KQ_TRACE_SIGNAL,
	KQ_TRACE_EXEC,
	KQ_TRACES,
};

void kq_trace_init(void);
int kq_trace_arm(enum kq_trace trace);
void kq_trace_disarm(enum kq_trace trace);

#endif /* KQUEUE_HELPERS_PROCESS_H */
