// SPDX-License-Identifier: GPL-2.0

//! Copying arrays of plain structures from and to the user's memory.

use core::slice;
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
