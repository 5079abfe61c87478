// SPDX-License-Identifier: GPL-2.0

//! The `libc` crate of Linux, with what the `libc` crate of a BSD has of a kqueue.

#![no_std]
#![allow(non_camel_case_types)]

pub use libc::*;
pub use linux_kqueue::uapi::*;

use linux_kqueue::{raw, Errno};

/// `struct kevent` and `kevent()`: C and Rust both tell them apart.
pub type kevent = linux_kqueue::Kevent;

/// A result as C has it.
///
/// # Safety
///
/// None but that the call it comes from was one to C.
unsafe fn in_c(result: Result<i32, Errno>) -> c_int {
    match result {
        Ok(value) => value,
        Err(errno) => {
            // SAFETY: It is this thread's own.
            unsafe { *__errno_location() = errno.0 };
            -1
        }
    }
}

/// kqueue(2).
///
/// # Safety
///
/// None is needed. The BSDs' is declared as all of C is.
pub unsafe fn kqueue() -> c_int {
    // SAFETY: See there.
    unsafe { in_c(raw::kqueue1(0)) }
}

/// kevent(2).
///
/// # Safety
///
/// As [`raw::kevent`].
pub unsafe fn kevent(
    kq: c_int,
    changelist: *const kevent,
    nchanges: c_int,
    eventlist: *mut kevent,
    nevents: c_int,
    timeout: *const timespec,
) -> c_int {
    // SAFETY: The caller's promise. On these machines both kinds of timespec are one.
    unsafe {
        in_c(raw::kevent(
            kq,
            changelist,
            nchanges,
            eventlist,
            nevents,
            timeout.cast(),
        ))
    }
}
