// SPDX-License-Identifier: GPL-2.0

//! Work that a task does itself, before it returns to user space.

use crate::bindings;
use core::ptr;
use kernel::{
    alloc::{flags::GFP_ATOMIC, KBox},
    prelude::*,
    sync::atomic::{Acquire, Atomic, Relaxed, Release},
};

/// Works that are queued or running, in whatever task. They are code of this module, so it waits
/// for them before it goes: see [`wait`].
static PENDING: Atomic<i32> = Atomic::new(0);

/// What a task is to do.
pub(crate) trait TaskWork: Send + 'static {
    /// Runs in the task's context; may sleep.
    fn run(self);
}

/// A work on its way. `head` is the first field.
#[repr(C)]
struct Work<W> {
    head: bindings::callback_head,
    work: W,
}

/// Has `task` do `work` before its next user instruction. `ENOMEM`; `ESRCH` for a task that is past
/// that. Any context but interrupts.
///
/// # Safety
///
/// `task` is a live task.
pub(crate) unsafe fn add<W: TaskWork>(task: *mut bindings::task_struct, work: W) -> Result {
    let work = KBox::new(
        Work {
            head: bindings::callback_head {
                next: ptr::null_mut(),
                func: Some(trampoline::<W>),
            },
            work,
        },
        GFP_ATOMIC,
    )?;
    PENDING.fetch_add(1, Relaxed);
    let work = KBox::into_raw(work);
    // SAFETY: By this function's requirements; the work is on the heap until it has run.
    let ret = unsafe {
        bindings::task_work_add(
            task,
            work.cast(),
            bindings::task_work_notify_mode_TWA_RESUME,
        )
    };
    if ret != 0 {
        // SAFETY: It was not queued, so it is still ours.
        drop(unsafe { KBox::from_raw(work) });
        PENDING.fetch_sub(1, Release);
        return Err(ESRCH);
    }
    Ok(())
}

/// # Safety
///
/// Called by the kernel with the head of a [`Work`] that [`add`] queued.
unsafe extern "C" fn trampoline<W: TaskWork>(head: *mut bindings::callback_head) {
    // SAFETY: `add` made it so, and the kernel is through with it.
    let work = unsafe { KBox::from_raw(head.cast::<Work<W>>()) };
    KBox::into_inner(work).work.run();
    PENDING.fetch_sub(1, Release);
}

/// Waits until no work is queued or running, and no task is in this module's code for one. To be
/// called when none is added any more; may sleep.
pub(crate) fn wait() {
    while PENDING.load(Acquire) != 0 {
        // SAFETY: No requirement. Short: a task that has such a work is on its way to user space.
        unsafe { bindings::msleep(1) };
    }
    // The last one has counted itself off, and may have been preempted before its return.
    // SAFETY: No requirement.
    unsafe { bindings::synchronize_rcu_tasks() };
}
