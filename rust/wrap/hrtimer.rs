// SPDX-License-Identifier: GPL-2.0

//! A timer that calls its owner back in interrupt context.
//!
//! The `kernel` crate's timers are of one clock for each type, and can be moved forward from their
//! callback only. This one counts what it missed when somebody asks: a short period costs an
//! interrupt a question, not one a period.

use crate::bindings;
use core::ptr;
use kernel::{prelude::*, types::Opaque};

/// Which clock a timer goes by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_REALTIME`, and its being set.
    Realtime,
}

impl Clock {
    fn id(self) -> bindings::clockid_t {
        match self {
            Self::Monotonic => bindings::CLOCK_MONOTONIC as bindings::clockid_t,
            Self::Realtime => bindings::CLOCK_REALTIME as bindings::clockid_t,
        }
    }

    /// The time now, in nanoseconds.
    pub(crate) fn now(self) -> i64 {
        // SAFETY: No requirements.
        unsafe {
            match self {
                Self::Monotonic => bindings::ktime_get(),
                Self::Realtime => {
                    bindings::ktime_get_with_offset(bindings::tk_offsets_TK_OFFS_REAL)
                }
            }
        }
    }
}

/// What has a [`Timer`].
pub(crate) trait Expires: Sync {
    /// The time of a timer of `clock` has come. Interrupt context, interrupts off (on PREEMPT_RT a
    /// thread), no lock held.
    fn expired(&self, clock: Clock);
}

/// An `hrtimer`, and whom it calls.
///
/// # Invariants
///
/// - The timer is initialised with [`expired`] as its function.
/// - While it is started or its callback runs, `owner` is alive: see [`Timer::new`].
#[pin_data]
#[repr(C)]
pub(crate) struct Timer<T: Expires> {
    #[pin]
    timer: Opaque<bindings::hrtimer>,
    owner: *const T,
    clock: Clock,
}

// SAFETY: An hrtimer may be used from any thread; `owner` is only shared.
unsafe impl<T: Expires> Send for Timer<T> {}
// SAFETY: As above; the kernel locks its timers.
unsafe impl<T: Expires> Sync for Timer<T> {}

impl<T: Expires> Timer<T> {
    /// A timer of `clock` that is not started.
    ///
    /// # Safety
    ///
    /// `owner` stays alive until [`Self::cancel`] has returned for the last start.
    pub(crate) unsafe fn new(owner: *const T, clock: Clock) -> impl PinInit<Self> {
        pin_init!(Self {
            timer <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes, and pinned.
                unsafe {
                    bindings::hrtimer_setup(
                        slot,
                        Some(expired::<T>),
                        clock.id(),
                        bindings::hrtimer_mode_HRTIMER_MODE_ABS,
                    )
                }
            }),
            owner,
            clock,
        })
    }

    /// Which clock it goes by.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Starts the timer, anew if it is started. `at` is a time of its clock, in nanoseconds. Any
    /// context.
    pub(crate) fn start(&self, at: i64) {
        // SAFETY: The timer is initialised.
        unsafe {
            bindings::hrtimer_start_range_ns(
                self.timer.get(),
                at,
                0,
                bindings::hrtimer_mode_HRTIMER_MODE_ABS,
            )
        };
    }

    /// Whether the timer is started, and its callback not yet called. Under the lock that it is
    /// started under.
    pub(crate) fn is_started(&self) -> bool {
        // SAFETY: The timer is initialised. The field changes under the caller's lock, and from
        // set to not just before the callback, which takes that.
        unsafe { ptr::addr_of!((*self.timer.get()).is_queued).read_volatile() }
    }

    /// Stops the timer, and waits for its callback. No lock may be held that the callback takes;
    /// not in interrupts.
    pub(crate) fn cancel(&self) {
        // SAFETY: The timer is initialised.
        unsafe { bindings::hrtimer_cancel(self.timer.get()) };
    }
}

/// # Safety
///
/// Called by the kernel for the `hrtimer` of a [`Timer`].
unsafe extern "C" fn expired<T: Expires>(
    timer: *mut bindings::hrtimer,
) -> bindings::hrtimer_restart {
    // SAFETY: The hrtimer is the first field of a `Timer<T>`, whose owner is alive while this runs.
    let timer = unsafe { &*timer.cast::<Timer<T>>() };
    // SAFETY: As above.
    unsafe { &*timer.owner }.expired(timer.clock);
    // SAFETY: An enumeration of C, `HRTIMER_NORESTART` being its first. Bindgen makes it a plain
    // number in some kernels, and a type around one in others.
    unsafe { core::mem::transmute::<core::ffi::c_uint, bindings::hrtimer_restart>(0) }
}
