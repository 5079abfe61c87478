// SPDX-License-Identifier: GPL-2.0

//! Wait queues: sleeping on one, and waking who sleeps or polls.

use crate::bindings;
use core::pin::Pin;
use kernel::{fs::File, prelude::*, sync::LockClassKey, types::Opaque};

/// How a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Woken, or there was no reason to sleep: look again.
    Again,
    /// The time has come.
    TimedOut,
}

/// Whether the current task has a signal to act on, which ends a wait. Process context.
pub(crate) fn interrupted() -> bool {
    // SAFETY: No requirement but that the context is a task's.
    unsafe { bindings::kq_interrupted() }
}

/// A `wait_queue_head`.
///
/// # Invariants
///
/// The head is initialised. It is empty when it is dropped.
#[pin_data]
pub(crate) struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: The kernel's wait queues may be used from any thread; they have a lock of their own.
unsafe impl Send for WaitQueue {}
// SAFETY: As above: each method may be called from many threads at once.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// An empty queue.
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            head <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes; name and key are static. The head is
                // pinned, as its list points to itself.
                unsafe {
                    bindings::kq_init_waitqueue_head(
                        slot,
                        kernel::str::as_char_ptr_in_const_context(name),
                        key.as_ptr(),
                    )
                }
            }),
        })
    }

    /// Whether anybody is on the queue. Any context.
    ///
    /// To be asked by one who has changed what the sleepers wait for under the lock they look at
    /// it under; then either they see the change, or this sees them.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        let head = self.head.get();
        // SAFETY: The head is initialised by the type invariants. It is read as list_empty() reads
        // it, at once and not under its lock.
        unsafe {
            let list = &raw mut (*head).head;
            !core::ptr::eq((&raw const (*list).next).read_volatile(), list)
        }
    }

    /// Wakes one sleeper of [`Self::sleep_unless`]. Any context.
    #[inline]
    pub(crate) fn wake_one(&self) {
        // SAFETY: The head is initialised by the type invariants.
        unsafe { bindings::kq_wake_up_one(self.head.get()) }
    }

    /// Wakes all sleepers. Any context.
    pub(crate) fn wake_all(&self) {
        // SAFETY: The head is initialised by the type invariants.
        unsafe { bindings::kq_wake_up_all(self.head.get()) }
    }

    /// Tells those who poll of `events`. Any context, with no lock held that a poller's callback
    /// may want.
    pub(crate) fn wake_pollers(&self, events: u32) {
        // SAFETY: The head is initialised by the type invariants.
        unsafe { bindings::kq_wake_up_poll(self.head.get(), events) }
    }

    /// As [`Self::wake_pollers`], all of those that want to be woken one at a time, too.
    pub(crate) fn wake_all_pollers(&self, events: u32) {
        // SAFETY: The head is initialised by the type invariants.
        unsafe { bindings::kq_wake_up_all_poll(self.head.get(), events) }
    }

    /// Sleeps on the queue, exclusively and interruptibly, unless `ready` says that there is no
    /// need or a signal is pending.
    ///
    /// `until` is the monotonic time in nanoseconds to sleep to at most, `None` for no end. Process
    /// context, may sleep. `ready` runs as a task that is about to sleep and must not sleep itself.
    pub(crate) fn sleep_unless(&self, until: Option<i64>, ready: impl FnOnce() -> bool) -> Woken {
        let wait = Opaque::<bindings::wait_queue_entry>::uninit();
        let mut woken = Woken::Again;

        // SAFETY: `wait` is a local that is taken off the queue before this function returns; it
        // is not moved meanwhile. The head is initialised by the type invariants.
        unsafe {
            bindings::init_wait_entry(wait.get(), 0);
            bindings::prepare_to_wait_exclusive(
                self.head.get(),
                wait.get(),
                bindings::TASK_INTERRUPTIBLE as i32,
            );
        }
        if !ready() && !kernel::current!().signal_pending() {
            let mut expires = until.unwrap_or(0);
            let expires = match until {
                Some(_) => &mut expires as *mut i64,
                None => core::ptr::null_mut(),
            };
            // SAFETY: Reading a field of the current task.
            let slack = unsafe { (*kernel::task::Task::current_raw()).timer_slack_ns };
            // SAFETY: `expires` is null or points to a local. The task is in the state that
            // `prepare_to_wait_exclusive()` has set, and nothing of ours is locked.
            let ret = unsafe {
                bindings::schedule_hrtimeout_range(
                    expires,
                    slack,
                    bindings::hrtimer_mode_HRTIMER_MODE_ABS,
                )
            };
            if ret == 0 {
                woken = Woken::TimedOut;
            }
        }
        // SAFETY: `wait` was put on this queue above.
        unsafe { bindings::finish_wait(self.head.get(), wait.get()) };
        woken
    }

    /// Puts who polls `file` with `table` on the queue, if it asks for that.
    ///
    /// # Safety
    ///
    /// `table` is null or the poll table that `file`'s poll operation was called with; the queue
    /// lives as long as `file`.
    pub(crate) unsafe fn poll_wait(&self, file: &File, table: *mut bindings::poll_table_struct) {
        // SAFETY: By this function's requirements.
        unsafe { bindings::kq_poll_wait(file.as_ptr(), self.head.get(), table) }
    }
}
