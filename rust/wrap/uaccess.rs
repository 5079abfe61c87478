// SPDX-License-Identifier: GPL-2.0

//! Copying arrays of plain structures from and to the user's memory.

use crate::bindings;
use core::{mem::MaybeUninit, slice};
use kernel::{
    error::to_result,
    prelude::*,
    transmute::{AsBytes, FromBytes},
    uaccess::{UserPtr, UserSlice},
};

/// Reads one `T` at `addr`. `EFAULT`. May sleep.
pub(crate) fn read<T: FromBytes>(addr: usize) -> Result<T> {
    UserSlice::new(UserPtr::from_addr(addr), size_of::<T>())
        .reader()
        .read()
}

/// Writes one `T` at `addr`. `EFAULT`. May sleep.
pub(crate) fn write<T: AsBytes>(addr: usize, value: &T) -> Result {
    UserSlice::new(UserPtr::from_addr(addr), size_of::<T>())
        .writer()
        .write(value)
}

/// Reads one `T`, which consists of whole words, at `addr`. `EFAULT`. May sleep.
pub(crate) fn read_words<T: FromBytes>(addr: usize) -> Result<T> {
    const { assert!(size_of::<T>() % 8 == 0 && align_of::<T>() == 8) };
    let mut value = MaybeUninit::<T>::uninit();
    let words = size_of::<T>() / size_of::<u64>();
    // SAFETY: There is room for so many words. The address is checked as any of a user's.
    if unsafe { bindings::kq_read_words(value.as_mut_ptr().cast(), addr, words) } != 0 {
        return Err(EFAULT);
    }
    // SAFETY: All of it was written, and any bytes make a `T`.
    Ok(unsafe { value.assume_init() })
}

/// Fills `to`, of which each consists of whole words, from the array at `addr`. `EFAULT`. May sleep.
pub(crate) fn read_array_of_words<T: FromBytes + AsBytes>(addr: usize, to: &mut [T]) -> Result {
    const { assert!(size_of::<T>() % 8 == 0 && align_of::<T>() == 8) };
    let words = size_of_val(to) / size_of::<u64>();
    // SAFETY: The words of `to`, borrowed as it is; a `T` may hold any bytes. The address is checked
    // as any of a user's.
    to_result(unsafe { bindings::kq_read_words(to.as_mut_ptr().cast(), addr, words) })
}

/// Writes `from`, of which each consists of whole words, to the array at `addr`. `EFAULT`, with part
/// of it written. May sleep.
pub(crate) fn write_array_of_words<T: AsBytes>(addr: usize, from: &[T]) -> Result {
    const { assert!(size_of::<T>() % 8 == 0 && align_of::<T>() == 8) };
    let words = size_of_val(from) / size_of::<u64>();
    // SAFETY: The words of `from`, borrowed as it is; a `T` has no padding. The address is checked as
    // any of a user's.
    to_result(unsafe { bindings::kq_write_words(addr, from.as_ptr().cast(), words) })
}

/// Fills `to` from the array at `addr`. `EFAULT`. May sleep.
pub(crate) fn read_array<T: FromBytes + AsBytes>(addr: usize, to: &mut [T]) -> Result {
    let len = size_of_val(to);
    // SAFETY: The bytes of `to`, borrowed as it is; a `T` has no padding and may hold any bytes.
    let bytes = unsafe { slice::from_raw_parts_mut(to.as_mut_ptr().cast::<u8>(), len) };
    UserSlice::new(UserPtr::from_addr(addr), len)
        .reader()
        .read_slice(bytes)
}

/// Writes `from` to the array at `addr`. `EFAULT`, with part of it written. May sleep.
pub(crate) fn write_array<T: AsBytes>(addr: usize, from: &[T]) -> Result {
    let len = size_of_val(from);
    // SAFETY: The bytes of `from`, borrowed as it is; a `T` has no padding.
    let bytes = unsafe { slice::from_raw_parts(from.as_ptr().cast::<u8>(), len) };
    UserSlice::new(UserPtr::from_addr(addr), len)
        .writer()
        .write_slice(bytes)
}
