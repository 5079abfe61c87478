// SPDX-License-Identifier: GPL-2.0

//! A few values on the stack.

use core::{
    mem::MaybeUninit,
    ops::{Deref, DerefMut},
    slice,
};

/// Up to `N` values. Room that none is in was never written to.
///
/// # Invariants
///
/// `len` is not larger than `N`, and the first `len` items are initialised.
pub(crate) struct StackVec<T, const N: usize> {
    len: usize,
    items: [MaybeUninit<T>; N],
}

impl<T, const N: usize> StackVec<T, N> {
    /// None yet.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        // INVARIANT: None is.
        Self {
            len: 0,
            // Of a constant the compiler makes zeroes.
            // SAFETY: What need not be initialised is.
            items: unsafe { MaybeUninit::uninit().assume_init() },
        }
    }

    /// Puts a value behind the others; it comes back where there is no room.
    #[inline(always)]
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        match self.items.get_mut(self.len) {
            Some(place) => {
                place.write(value);
                // INVARIANT: There was room, and the item is initialised.
                self.len += 1;
                Ok(())
            }
            None => Err(value),
        }
    }

    /// Leaves the first `len`, if there are more.
    #[inline(always)]
    pub(crate) fn truncate(&mut self, len: usize)
    where
        T: Copy,
    {
        // INVARIANT: Fewer are initialised.
        self.len = self.len.min(len);
    }

    /// Takes the last one out.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.len.checked_sub(1)?;
        // INVARIANT: The item is none of those any more.
        self.len = last;
        // SAFETY: By the type invariants it was initialised, and smaller than `N`; nobody reads it
        // again.
        Some(unsafe { self.items.get_unchecked(last).assume_init_read() })
    }

    /// Takes all out, in order.
    #[inline(always)]
    pub(crate) fn drain(&mut self, mut each: impl FnMut(T)) {
        let len = core::mem::take(&mut self.len);
        // INVARIANT: None is, as far as anybody else can see.
        for item in self.items.iter().take(len) {
            // SAFETY: By the type invariants it was initialised; nobody reads it again.
            each(unsafe { item.assume_init_read() });
        }
    }
}

impl<T, const N: usize> Deref for StackVec<T, N> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: By the type invariants so many are initialised.
        unsafe { slice::from_raw_parts(self.items.as_ptr().cast(), self.len) }
    }
}

impl<T, const N: usize> DerefMut for StackVec<T, N> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: As in `deref`.
        unsafe { slice::from_raw_parts_mut(self.items.as_mut_ptr().cast(), self.len) }
    }
}

impl<T, const N: usize> Drop for StackVec<T, N> {
    #[inline(always)]
    fn drop(&mut self) {
        self.drain(drop);
    }
}
