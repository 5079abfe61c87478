// SPDX-License-Identifier: GPL-2.0

//! A few values on the stack.
//!
//! [`StackVec`] knows how many there are. Of [`Slots`] the user does, who may then have the number in
//! a register.

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

/// Room for `N` values, which the user knows which of are there. None is dropped.
pub(crate) struct Slots<T, const N: usize>([MaybeUninit<T>; N]);

impl<T, const N: usize> Slots<T, N> {
    /// None is there.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        // SAFETY: What need not be initialised is.
        Self(unsafe { MaybeUninit::uninit().assume_init() })
    }

    /// Puts a value in a place, which has to be one of the `N`. What was there is not dropped.
    #[inline(always)]
    pub(crate) fn put(&mut self, at: usize, value: T) -> &mut T {
        self.0[at].write(value)
    }

    /// # Safety
    ///
    /// There is a value.
    #[inline(always)]
    pub(crate) unsafe fn get(&self, at: usize) -> &T {
        // SAFETY: By this function's requirements; so in all of these.
        unsafe { self.0.get_unchecked(at).assume_init_ref() }
    }

    /// # Safety
    ///
    /// As [`Self::get`].
    #[inline(always)]
    pub(crate) unsafe fn get_mut(&mut self, at: usize) -> &mut T {
        // SAFETY: As in `get`.
        unsafe { self.0.get_unchecked_mut(at).assume_init_mut() }
    }

    /// # Safety
    ///
    /// As [`Self::get`]; it is not there after.
    #[inline(always)]
    pub(crate) unsafe fn take(&self, at: usize) -> T {
        // SAFETY: As in `get`. It is not used again.
        unsafe { self.0.get_unchecked(at).assume_init_read() }
    }

    /// The first `count`.
    ///
    /// # Safety
    ///
    /// All these are there.
    #[inline(always)]
    pub(crate) unsafe fn first(&self, count: usize) -> &[T] {
        // SAFETY: By this function's requirements.
        unsafe { slice::from_raw_parts(self.0.as_ptr().cast(), count) }
    }

    /// Copies a value to another place.
    ///
    /// # Safety
    ///
    /// As [`Self::get`], of `from`; `to` is one of the `N`.
    #[inline(always)]
    pub(crate) unsafe fn copy(&mut self, from: usize, to: usize)
    where
        T: Copy,
    {
        // SAFETY: By this function's requirements.
        unsafe { *self.0.get_unchecked_mut(to) = *self.0.get_unchecked(from) };
    }
}
