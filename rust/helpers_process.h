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
struct task_struct;
struct wait_queue_entry;

/* Processes, by their struct pid. */
enum kq_pid_state {
	KQ_PID_RUNS,
	KQ_PID_EXITED,		/* and can be waited for */
	KQ_PID_REAPED,
};

struct pid *kq_pid_get(struct pid *pid);
struct pid *kq_pid_current(void);
struct pid *kq_pid_of_task(struct task_struct *task);
struct pid *kq_pid_of_file(struct file *file);
bool kq_pid_is_process(struct pid *pid);
enum kq_pid_state kq_pid_state(struct pid *pid, int *status);
bool kq_pid_may_watch(struct pid *pid);
void kq_pid_add_wait(struct pid *pid, struct wait_queue_entry *wait);
void kq_pid_remove_wait(struct pid *pid, struct wait_queue_entry *wait);

/* The tracepoints: see probe.rs. */
enum kq_trace {
	KQ_TRACE_SIGNAL,
	KQ_TRACE_EXEC,
	KQ_TRACES,
};

void kq_trace_init(void);
bool kq_trace_present(enum kq_trace trace);
int kq_trace_arm(enum kq_trace trace);
void kq_trace_disarm(enum kq_trace trace);

#endif /* KQUEUE_HELPERS_PROCESS_H */
