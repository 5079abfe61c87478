// SPDX-License-Identifier: GPL-2.0

//! Modules: this one, and those that use it.

use crate::bindings;
use kernel::prelude::*;

/// `THIS_MODULE`, which the `kernel` crate of each version has in a place of its own.
pub(crate) const fn this_module() -> *mut bindings::module {
    &raw mut bindings::__this_module
}

/// Takes a reference to a module, unless it is not yet, or not any more, at work. Any context.
///
/// # Safety
///
/// `module` is null, for the kernel itself, or has not been freed.
pub(crate) unsafe fn get_live(module: *mut bindings::module) -> bool {
    // SAFETY: By this function's requirements.
    unsafe { bindings::kq_module_get_live(module) }
}

/// Takes one more reference. Any context.
///
/// # Safety
///
/// The caller has one.
pub(crate) unsafe fn get(module: *mut bindings::module) {
    // SAFETY: By this function's requirements.
    unsafe { bindings::kq_module_get(module) };
}

/// Drops a reference. Any context.
///
/// # Safety
///
/// The caller has one, and uses the module no more.
pub(crate) unsafe fn put(module: *mut bindings::module) {
    // SAFETY: By this function's requirements; of null nothing is dropped.
    unsafe { bindings::module_put(module) };
}

/// While this is there, `kq_module_going` is called for each module that goes, after its own exit.
pub(crate) struct Watch(());

impl Watch {
    /// `ENOMEM` and the like. May sleep.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: No requirement; `drop` takes it back.
        kernel::error::to_result(unsafe { bindings::kq_module_watch() })?;
        Ok(Self(()))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: `new` has registered it.
        unsafe { bindings::kq_module_unwatch() };
    }
}
