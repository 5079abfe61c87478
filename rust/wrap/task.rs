// SPDX-License-Identifier: GPL-2.0

//! The current task.

use crate::bindings;

/// Whether it is to die, and nobody will look at what comes of a call. Process context.
pub(crate) fn killed() -> bool {
    // SAFETY: No requirement but that the context is a task's.
    unsafe { bindings::kq_fatal_signal_pending() }
}

/// Lets others run, in what takes long. May sleep.
pub(crate) fn relax() {
    // SAFETY: No requirement but that one may sleep.
    unsafe { bindings::kq_cond_resched() };
}
