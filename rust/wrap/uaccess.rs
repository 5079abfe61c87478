// SPDX-License-Identifier: GPL-2.0

//! Copying arrays of plain structures from and to the user's memory.

use crate::bindings;
use core::{mem::MaybeUninit, ptr, slice};
use kernel::{
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

/// Reads a `T`, which consists of five words, at `addr` to where it is to be. `EFAULT`. May sleep.
#[inline]
pub(crate) fn read_five_words<T: FromBytes>(addr: usize, to: &mut MaybeUninit<T>) -> Result<&T> {
    const { assert!(size_of::<T>() == 5 * size_of::<u64>() && align_of::<T>() == 8) };
    // SAFETY: There is room for five words. The address is checked as any of a user's.
    if unsafe { bindings::kq_read_five(to.as_mut_ptr().cast(), addr) } != 0 {
        return Err(EFAULT);
    }
    // SAFETY: All of it was written, and any bytes make a `T`.
    Ok(unsafe { to.assume_init_ref() })
}

/// Reads two words at `addr`. `EFAULT`. May sleep.
#[inline]
pub(crate) fn read_pair(addr: usize) -> Result<[u64; 2]> {
    let mut pair = [0; 2];
    // SAFETY: There is room for two. The address is checked as any of a user's.
    if unsafe { bindings::kq_read_pair(pair.as_mut_ptr(), addr) } != 0 {
        return Err(EFAULT);
    }
    Ok(pair)
}

/// Reads a `T`, which consists of four words, at `addr`. `EFAULT`. May sleep.
#[inline]
pub(crate) fn read_four_words<T: FromBytes>(addr: usize) -> Result<T> {
    const { assert!(size_of::<T>() == 4 * size_of::<u64>() && align_of::<T>() == 8) };
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: There is room for four words. The address is checked as any of a user's.
    if unsafe { bindings::kq_read_four(value.as_mut_ptr().cast(), addr) } != 0 {
        return Err(EFAULT);
    }
    // SAFETY: All of it was written, and any bytes make a `T`.
    Ok(unsafe { value.assume_init() })
}

/// Writes `from`, of which each consists of four words, to the array at `addr`. `EFAULT`, with part
/// of it written. May sleep.
#[inline]
pub(crate) fn write_array_of_fours<T: AsBytes>(addr: usize, from: &[T]) -> Result {
    const { assert!(size_of::<T>() == 4 * size_of::<u64>() && align_of::<T>() == 8) };
    // SAFETY: The words of `from`, borrowed as it is; a `T` has no padding. The address is checked as
    // any of a user's.
    if unsafe { bindings::kq_write_fours(addr, from.as_ptr().cast(), from.len()) } != 0 {
        return Err(EFAULT);
    }
    Ok(())
}

/// Writes a `T`, which consists of four words, at `addr`. `EFAULT`, with part of it written. May
/// sleep.
#[inline]
pub(crate) fn write_four_words<T: AsBytes>(addr: usize, from: &T) -> Result {
    const { assert!(size_of::<T>() == 4 * size_of::<u64>() && align_of::<T>() == 8) };
    // SAFETY: The words of `from`, borrowed as it is; a `T` has no padding. The address is checked as
    // any of a user's.
    if unsafe { bindings::kq_write_four(addr, ptr::from_ref(from).cast()) } != 0 {
        return Err(EFAULT);
    }
    Ok(())
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
