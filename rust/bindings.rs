// SPDX-License-Identifier: GPL-2.0

//! Our own bindings: the ABI of `include/uapi/linux/kqueue.h` and the helpers of
//! `rust/helpers.h`, next to the kernel's.

#![allow(
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unused_imports,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]

pub(crate) use kernel::bindings::*;
use kernel::ffi;

type __kernel_size_t = usize;

include!(concat!(env!("KQUEUE_OBJ"), "/rust/bindings_generated.rs"));
