// SPDX-License-Identifier: GPL-2.0

//! The current task.

use crate::bindings;

/// Whether it is to die, and nobody will look at what comes of a call. Process context.
pub(crate) fn killed() -> bool {
    // SAFETY: No requirement but that the context is a task's.
    unsafe { bindings::kq_fatal_signal_pending() }
}

/// Whether it is one of the kernel's own, which has no program. Process context.
pub(crate) fn is_kernel_thread() -> bool {
    // SAFETY: Reading a field of the current task, which that alone changes.
    let flags = unsafe { (*kernel::task::Task::current_raw()).flags };
    flags & bindings::PF_KTHREAD != 0
}

/// Lets others run, in what takes long. May sleep.
pub(crate) fn relax() {
    // SAFETY: No requirement but that one may sleep.
    unsafe { bindings::kq_cond_resched() };
}

/// The same in a worker, which may have no end of work.
pub(crate) fn relax_in_worker() {
    // SAFETY: No requirement but that one may sleep.
    unsafe { bindings::kq_cond_resched_tasks() };
}

/// Sleeps for a jiffy, or until the task is to die.
pub(crate) fn nap() {
    // SAFETY: No requirement but that one may sleep.
    unsafe { bindings::schedule_timeout_killable(1) };
}
