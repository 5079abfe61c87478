// SPDX-License-Identifier: GPL-2.0

//! This module itself.

use crate::bindings;

/// `THIS_MODULE`, which the `kernel` crate of each version has in a place of its own.
pub(crate) const fn this_module() -> *mut bindings::module {
    &raw mut bindings::__this_module
}
