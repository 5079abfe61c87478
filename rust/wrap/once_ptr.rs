// SPDX-License-Identifier: GPL-2.0

//! `SetOnce` of a box or an `Arc`, in a single word.

use super::once::Once;
use core::{marker::PhantomData, ptr};
use kernel::{
    ffi::c_void,
    sync::atomic::{Atomic, Full, Relaxed},
    types::ForeignOwnable,
};

/// Room for a `P`, which is put in its place once.
///
/// # Invariants
///
/// It is null, or what `P::into_foreign` made, and owned; then it does not change any more.
pub(crate) struct OncePtr<P: ForeignOwnable>(Atomic<*mut c_void>, PhantomData<P>);

// SAFETY: It owns a `P`.
unsafe impl<P: ForeignOwnable + Send> Send for OncePtr<P> {}
// SAFETY: It lends a `P` to any thread, and takes one from any.
unsafe impl<P: ForeignOwnable + Send + Sync> Sync for OncePtr<P> {}

impl<P: ForeignOwnable> Default for OncePtr<P> {
    fn default() -> Self {
        // INVARIANT: Null.
        Self(Atomic::new(ptr::null_mut()), PhantomData)
    }
}

impl<P: ForeignOwnable> OncePtr<P> {
    /// Puts a value in, if none is there; else it is dropped.
    pub(crate) fn populate(&self, value: P) {
        let value = value.into_foreign();
        // INVARIANT: A value that is given up; only where there was null.
        if self.0.cmpxchg(ptr::null_mut(), value, Full).is_err() {
            // SAFETY: Nobody else has got it.
            drop(unsafe { P::from_foreign(value) });
        }
    }

    /// The value, once there is one.
    // READ_ONCE() orders what follows by the address, as it does for rcu_dereference().
    #[inline(always)]
    pub(crate) fn as_ref(&self) -> Option<P::Borrowed<'_>> {
        let value = self.0.read();
        // SAFETY: By the type invariants it is there as long as this.
        (!value.is_null()).then(|| unsafe { P::borrow(value) })
    }
}

impl<P: ForeignOwnable> Drop for OncePtr<P> {
    fn drop(&mut self) {
        let value = self.0.load(Relaxed);
        if !value.is_null() {
            // SAFETY: By the type invariants; it is not used after.
            drop(unsafe { P::from_foreign(value) });
        }
    }
}
