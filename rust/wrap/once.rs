// SPDX-License-Identifier: GPL-2.0

//! `READ_ONCE()` and `WRITE_ONCE()` of atomic fields, where a call would cost more than the rest of
//! what is done.

use kernel::sync::atomic::{Atomic, AtomicType};

/// What `load(Relaxed)` and `store(Relaxed)` do, which are calls in the `kernel` crate.
pub(crate) trait Once {
    type Value;

    /// Reads the value.
    fn read(&self) -> Self::Value;

    /// Writes the value.
    fn write(&self, value: Self::Value);
}

impl<T: AtomicType> Once for Atomic<T> {
    type Value = T;

    #[inline(always)]
    fn read(&self) -> T {
        // SAFETY: The pointer is valid and aligned. A volatile read of what is no larger than a word
        // is what atomic_read() is; no data race by the kernel's memory model.
        unsafe { self.as_ptr().read_volatile() }
    }

    #[inline(always)]
    fn write(&self, value: T) {
        // SAFETY: As in `read`, of a write.
        unsafe { self.as_ptr().write_volatile(value) }
    }
}
