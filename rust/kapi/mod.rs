// SPDX-License-Identifier: GPL-2.0

//! kqueue(9): what other modules call, in C. `include/linux/kqueue.h` is what they include, and
//! `Documentation/kqueue.9` the manual page. Those in Rust use the crate; see the end of `kqueue.rs`.
//!
//! A filter in C is an implementation of [`Filter`](crate::filter::Filter) in `knote.rs`. A list of
//! knotes whose lock is the module's is in `knlist.rs`.

use crate::{
    bindings, device,
    filter::Filterops,
    kfilter::{self, NewFilter},
    uapi::Kevent,
    wrap::{files, module},
};
use core::{mem::offset_of, ptr};
use kernel::{
    error::from_result,
    ffi::{c_char, c_int},
    prelude::*,
};

mod knlist;
mod knote;

/// The operators that C gives, at their full size: those that an older module does not know are
/// null. `EINVAL`: one that has to be there is not, as f_attach does if it `attaches`; `E2BIG`: it has
/// one that we do not know.
///
/// # Safety
///
/// `ops` is null, or points to a `struct filterops` of the size that it says.
unsafe fn full_ops(ops: *const bindings::filterops, attaches: bool) -> Result<bindings::filterops> {
    /// The size of the first version, in which all after `f_event` may be left out.
    const LEAST: usize = offset_of!(bindings::filterops, f_touch);
    const FULL: usize = size_of::<bindings::filterops>();

    if ops.is_null() {
        return Err(EINVAL);
    }
    // SAFETY: By this function's requirements; the size is in all versions.
    let size = unsafe { (*ops).f_size };
    if !(LEAST..=4096).contains(&size) || size % size_of::<usize>() != 0 {
        return Err(EINVAL);
    }
    let mut full = bindings::filterops::default();
    // SAFETY: By this function's requirements there are so many bytes, and `full` has room for as
    // many of them. Any bytes of a table that is valid C are a valid part of ours, as zero is.
    unsafe {
        ptr::copy_nonoverlapping(
            ops.cast::<u8>(),
            (&raw mut full).cast::<u8>(),
            size.min(FULL),
        )
    };
    for at in FULL..size {
        // SAFETY: As above.
        if unsafe { *ops.cast::<u8>().add(at) } != 0 {
            return Err(E2BIG);
        }
    }
    if (attaches && full.f_attach.is_none()) || full.f_detach.is_none() || full.f_event.is_none() {
        return Err(EINVAL);
    }
    full.f_size = FULL;
    Ok(full)
}

/// # Safety
///
/// As [`full_ops`], and as [`kfilter::register`].
unsafe fn register(
    name: Option<&CStr>,
    number: Option<i32>,
    ops: *const bindings::filterops,
    module: *mut bindings::module,
) -> Result<i32> {
    // SAFETY: By this function's requirements.
    let c_ops = unsafe { full_ops(ops, true) }?;
    // SAFETY: As above.
    unsafe {
        kfilter::register(NewFilter {
            name,
            number,
            ops: Filterops::of::<knote::InC>(),
            c_ops,
            is_fd: c_ops.f_isfd != 0,
            module,
        })
    }
}

/// # Safety
///
/// As kqueue(9) says.
#[no_mangle]
unsafe extern "C" fn __kqueue_add_filteropts(
    filt: c_int,
    ops: *const bindings::filterops,
    owner: *mut bindings::module,
) -> c_int {
    // SAFETY: By this function's requirements.
    from_result(|| unsafe { register(None, Some(filt), ops, owner) }.map(|_| 0))
}

/// # Safety
///
/// As kqueue(9) says.
#[no_mangle]
unsafe extern "C" fn kqueue_del_filteropts(filt: c_int) -> c_int {
    from_result(|| kfilter::unregister(filt).map(|()| 0))
}

/// # Safety
///
/// As kqueue(9) says.
#[no_mangle]
unsafe extern "C" fn __kfilter_register(
    name: *const c_char,
    ops: *const bindings::filterops,
    retfilter: *mut c_int,
    owner: *mut bindings::module,
) -> c_int {
    from_result(|| {
        if name.is_null() {
            return Err(EINVAL);
        }
        // SAFETY: By this function's requirements it is a string.
        let name = unsafe { CStr::from_char_ptr(name) };
        // SAFETY: By this function's requirements.
        let number = unsafe { register(Some(name), None, ops, owner) }?;
        // SAFETY: By this function's requirements it is null or may be written to.
        if let Some(retfilter) = unsafe { retfilter.as_mut() } {
            *retfilter = number;
        }
        Ok(0)
    })
}

/// # Safety
///
/// As kqueue(9) says.
#[no_mangle]
unsafe extern "C" fn kfilter_unregister(name: *const c_char) -> c_int {
    from_result(|| {
        if name.is_null() {
            return Err(EINVAL);
        }
        // SAFETY: By this function's requirements it is a string.
        kfilter::unregister_name(unsafe { CStr::from_char_ptr(name) }).map(|()| 0)
    })
}

/// # Safety
///
/// As kqueue(9) says.
#[no_mangle]
unsafe extern "C" fn kqfd_register(
    fd: c_int,
    kev: *const bindings::kevent,
    td: *mut bindings::task_struct,
    waitok: c_int,
) -> c_int {
    from_result(|| {
        // A change may wait for a file's poll operation, and for other changes.
        if waitok == 0 {
            return Err(EAGAIN);
        }
        // The descriptor is the process's, and only that may use its kqueue.
        if !td.is_null() && !ptr::eq(td, kernel::task::Task::current_raw()) {
            return Err(EINVAL);
        }
        // SAFETY: By this function's requirements there is a `struct kevent`, whose layout is ours.
        let kev = unsafe { kev.cast::<Kevent>().as_ref() }.ok_or(EINVAL)?;
        let file = files::fget(usize::try_from(fd).map_err(|_| EBADF)?)?;
        device::kqueue(&file)?.register(kev)?;
        Ok(0)
    })
}

/// A module is gone, and what it has registered must go with it.
///
/// # Safety
///
/// Called by the kernel for a module that has ended, or has failed to begin.
#[no_mangle]
unsafe extern "C" fn kq_module_going(module: *mut bindings::module) {
    if kfilter::forget_module(module) != 0 {
        misuse(c"a module is gone whose filters are registered");
    }
}

/// # Safety
///
/// As kqueue(9) says.
#[no_mangle]
unsafe extern "C" fn knote_activate(kn: *mut bindings::knote) {
    // SAFETY: By this function's requirements.
    unsafe { knote::CKnote::of_c(kn) }.core().activate();
}

/// What modules do is seen, while this is there.
pub(crate) struct Interface {
    _watch: module::Watch,
}

impl Interface {
    /// `ENOMEM`. At load, before any other module can come.
    pub(crate) fn new() -> Result<Self> {
        // What it has calls for nothing else.
        let watch = module::Watch::new()?;
        knlist::init()?;
        Ok(Self { _watch: watch })
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        // SAFETY: Modules that use this one hold it.
        unsafe { knlist::exit() };
        kfilter::exit();
    }
}

/// A module has done what it must not: tells so, and where.
fn misuse(what: &CStr) {
    // SAFETY: A string.
    unsafe { bindings::kq_misuse(what.as_char_ptr()) };
}
