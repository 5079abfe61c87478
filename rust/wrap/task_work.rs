// SPDX-License-Identifier: GPL-2.0

//! Work that a task does itself, before it returns to user space.

use super::module::this_module;
use crate::bindings;
use core::ptr;
use kernel::{
    alloc::{flags::GFP_ATOMIC, KBox},
    prelude::*,
};

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
/// that, or is the kernel's own and never comes to it; `ENODEV` when the module goes. Any context but
/// interrupts.
///
/// The work holds the module until it has run, as the task may be long in coming to it. What is left
/// to run of the module then is a return; see [`wait`].
///
/// # Safety
///
/// `task` is a live task.
pub(crate) unsafe fn add<W: TaskWork>(task: *mut bindings::task_struct, work: W) -> Result {
    // SAFETY: By this function's requirements; the flag does not change.
    if unsafe { ptr::addr_of!((*task).flags).read_volatile() } & bindings::PF_KTHREAD != 0 {
        return Err(ESRCH);
    }
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
    // SAFETY: The module is there, as this is its code.
    if !unsafe { bindings::try_module_get(this_module()) } {
        return Err(ENODEV);
    }
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
        // SAFETY: It was taken above.
        unsafe { bindings::module_put(this_module()) };
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
    // SAFETY: `add` took it.
    unsafe { bindings::module_put(this_module()) };
}

/// Waits until no task is in this module's code for a work. To be called when the module goes; may
/// sleep.
pub(crate) fn wait() {
    // The last one has let go of the module, and may have been preempted before its return.
    // SAFETY: No requirement.
    unsafe { bindings::synchronize_rcu_tasks() };
}
