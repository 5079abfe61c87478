// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

//! The calls as C has them, on numbers and pointers, for who has a libc, a run-time or
//! another crate to be put underneath of.

use core::ffi::CStr;

use crate::sys;
use crate::uapi::{
    Flavour, KfilterMapping, KqueueCreate, KqueueKevent, KFILTER_BYFILTER, KFILTER_BYNAME,
    KQUEUE_CLOEXEC, KQUEUE_IOC_CREATE, KQUEUE_IOC_FLAVOUR, KQUEUE_IOC_KEVENT,
};
use crate::{Errno, Kevent, Timespec, O_CLOEXEC};

/// A file that is no kqueue does not know the request. A kqueue always does.
fn as_kqueue<T>(result: Result<T, Errno>) -> Result<T, Errno> {
    result.map_err(|errno| match errno {
        Errno::ENOTTY => Errno::EBADF,
        errno => errno,
    })
}

/// kqueue1(2): the descriptor of a new kqueue. `flags` may hold [`O_CLOEXEC`].
///
/// # Errors
///
/// `EINVAL` for other flags, and what open(2) of `/dev/kqueue` fails with: `ENOENT` where
/// the module is not loaded.
pub fn kqueue1(flags: i32) -> Result<i32, Errno> {
    if flags & !O_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    sys::open(c"/dev/kqueue", flags)
}

/// kevent(2).
///
/// # Errors
///
/// As kevent(2); in particular `EINTR` when a signal was handled, which does not undo the
/// changes.
///
/// # Safety
///
/// Where `nchanges` is positive, `changelist` has so many [`Kevent`]; where `nevents` is,
/// `eventlist` can be written to for as many, and nobody else uses it meanwhile. Both may
/// be the same. `timeout` is null or points to a [`Timespec`].
pub unsafe fn kevent(
    kq: i32,
    changelist: *const Kevent,
    nchanges: i32,
    eventlist: *mut Kevent,
    nevents: i32,
    timeout: *const Timespec,
) -> Result<i32, Errno> {
    let argument = KqueueKevent {
        changelist: changelist as u64,
        eventlist: eventlist as u64,
        nchanges,
        nevents,
        timeout: timeout as u64,
        flags: 0,
    };

    // SAFETY: The request reads a `KqueueKevent`, and the caller has promised what that
    // points to. Its number is this device's and no other's.
    as_kqueue(unsafe { sys::ioctl(kq, KQUEUE_IOC_KEVENT, &raw const argument as usize) })
}

/// Makes a kqueue from the kqueue `kq`, where `/dev/kqueue` is out of reach.
pub(crate) fn create(kq: i32, flags: i32, flavour: Flavour) -> Result<i32, Errno> {
    let argument = KqueueCreate {
        flags: match flags {
            0 => 0,
            O_CLOEXEC => KQUEUE_CLOEXEC,
            _ => return Err(Errno::EINVAL),
        },
        flavour: flavour as u32,
        reserved: [0; 2],
    };

    // SAFETY: The request reads a `KqueueCreate`.
    as_kqueue(unsafe { sys::ioctl(kq, KQUEUE_IOC_CREATE, &raw const argument as usize) })
}

/// Gives the kqueue `kq`, which watches nothing, a flavour.
pub(crate) fn set_flavour(kq: i32, flavour: Flavour) -> Result<(), Errno> {
    let argument = flavour as u32;

    // SAFETY: The request reads an `u32`.
    as_kqueue(unsafe { sys::ioctl(kq, KQUEUE_IOC_FLAVOUR, &raw const argument as usize) })?;
    Ok(())
}

/// KFILTER_BYNAME, asked of the kqueue `kq`.
pub(crate) fn filter_by_name(kq: i32, name: &CStr) -> Result<i16, Errno> {
    let mut mapping = KfilterMapping {
        name: name.as_ptr() as *mut u8,
        len: 0,
        filter: 0,
    };

    // SAFETY: The request reads a name that ends with a NUL from where the mapping says,
    // and writes to the mapping.
    as_kqueue(unsafe { sys::ioctl(kq, KFILTER_BYNAME, &raw mut mapping as usize) })?;
    i16::try_from(mapping.filter).map_err(|_| Errno::EINVAL)
}

/// KFILTER_BYFILTER, asked of the kqueue `kq`.
pub(crate) fn filter_name(kq: i32, filter: i16, buffer: &mut [u8]) -> Result<&CStr, Errno> {
    let mut mapping = KfilterMapping {
        name: buffer.as_mut_ptr(),
        len: buffer.len(),
        filter: filter.into(),
    };

    // SAFETY: The request writes no more than `len` bytes to where the mapping says.
    as_kqueue(unsafe { sys::ioctl(kq, KFILTER_BYFILTER, &raw mut mapping as usize) })?;
    CStr::from_bytes_until_nul(buffer).map_err(|_| Errno::EINVAL)
}
