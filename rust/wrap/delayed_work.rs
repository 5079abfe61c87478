// SPDX-License-Identifier: GPL-2.0

//! A function to be called some time from now, unless it is called off.

use crate::bindings;
use kernel::{prelude::*, types::Opaque};

/// A `delayed_work` that calls a function without arguments, in process context.
///
/// # Invariants
///
/// The work is initialised.
#[pin_data(PinnedDrop)]
pub(crate) struct DelayedCall {
    #[pin]
    work: Opaque<bindings::delayed_work>,
}

// SAFETY: A `delayed_work` may be used from any thread.
unsafe impl Send for DelayedCall {}
// SAFETY: And from many at once.
unsafe impl Sync for DelayedCall {}

/// What a [`DelayedCall`] calls.
pub(crate) trait Call: 'static {
    /// Runs in process context; may sleep.
    fn call();
}

impl DelayedCall {
    /// A call that is not due.
    pub(crate) fn new<C: Call>() -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes, and pinned.
                unsafe { bindings::kq_init_delayed_work(slot, Some(trampoline::<C>)) }
            }),
        })
    }

    /// Calls in `msecs` milliseconds; a call that is due already is put off to then.
    pub(crate) fn call_in(&self, msecs: u32) {
        // SAFETY: The work is initialised, and called off before it goes.
        unsafe { bindings::kq_mod_delayed_work(self.work.get(), msecs) };
    }

    /// Calls in `msecs` milliseconds, unless a call is due already, which comes when it comes. Any
    /// context.
    pub(crate) fn call_once_in(&self, msecs: u32) {
        // SAFETY: The work is initialised, and called off before it goes.
        unsafe { bindings::kq_queue_delayed_work(self.work.get(), msecs) };
    }

    /// Calls off, and waits for a call that is under way. May sleep.
    pub(crate) fn cancel(&self) {
        // SAFETY: The work is initialised.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
    }
}

#[pinned_drop]
impl PinnedDrop for DelayedCall {
    fn drop(self: Pin<&mut Self>) {
        self.cancel();
    }
}

/// # Safety
///
/// Called by the kernel for the work of a [`DelayedCall`].
unsafe extern "C" fn trampoline<C: Call>(_work: *mut bindings::work_struct) {
    C::call();
}
