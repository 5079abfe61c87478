// SPDX-License-Identifier: GPL-2.0

//! What the module has one of, from its load to its unload.

use core::{marker::PhantomData, ptr};
use kernel::{
    alloc::KBox,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Release},
};

/// A place for one `T`.
///
/// # Invariants
///
/// The pointer is null, or one that [`Self::set`] made of a box.
pub(crate) struct Global<T>(Atomic<*mut T>, PhantomData<T>);

// SAFETY: It gives shared references to any thread.
unsafe impl<T: Send + Sync> Sync for Global<T> {}

impl<T> Global<T> {
    /// An empty place.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(ptr::null_mut()), PhantomData)
    }

    /// Fills the place, which is empty.
    pub(crate) fn set(&self, value: Pin<KBox<T>>) {
        // SAFETY: What it points to is not moved, and goes to nobody but `take`.
        let value = unsafe { Pin::into_inner_unchecked(value) };
        // INVARIANT: Of a box.
        self.0.store(KBox::into_raw(value), Release);
    }

    /// What is there. Any context.
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: By the type invariants it is what was a box; it is not dropped while it is used,
        // as who calls `take` has to see to.
        unsafe { self.0.load(Acquire).as_ref() }
    }

    /// Empties the place.
    ///
    /// # Safety
    ///
    /// Nobody uses what [`Self::get`] returned, nor calls it now.
    pub(crate) unsafe fn take(&self) -> Option<Pin<KBox<T>>> {
        let value = self.0.load(Acquire);
        if value.is_null() {
            return None;
        }
        self.0.store(ptr::null_mut(), Release);
        // SAFETY: By the type invariants it was a box; by this function's requirements nobody else
        // has it. It was not moved since.
        Some(unsafe { Pin::new_unchecked(KBox::from_raw(value)) })
    }
}
