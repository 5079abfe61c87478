// SPDX-License-Identifier: GPL-2.0

//! The ABI in Rust's types: the flags as they stand in `struct kevent`, and the structures as
//! values that can be copied from and to the user.

use crate::bindings;
use kernel::{
    prelude::*,
    transmute::{AsBytes, FromBytes},
};

pub(crate) use crate::bindings::{
    kfilter_mapping as KfilterMapping, kqueue_create as KqueueCreate, kqueue_kevent as KqueueKevent,
};

/// An errno that the `kernel` crate has no constant for: `errno(bindings::EOPNOTSUPP)`.
pub(crate) fn errno(positive: u32) -> Error {
    Error::from_errno(-(positive as i32))
}

/// `EV_*` in the width of `kevent.flags`.
macro_rules! ev {
    ($($name:ident),* $(,)?) => {
        $(
            #[doc = concat!("`", stringify!($name), "` of kevent(2).")]
            pub(crate) const $name: u16 = bindings::$name as u16;
        )*
    };
}
ev!(
    EV_ADD,
    EV_DELETE,
    EV_ENABLE,
    EV_DISABLE,
    EV_ONESHOT,
    EV_CLEAR,
    EV_RECEIPT,
    EV_DISPATCH,
    EV_UDATA_SPECIFIC,
    EV_KEEPUDATA,
    EV_SYSFLAGS,
    EV_ERROR,
    EV_EOF,
);

/// `NOTE_*` in the width of `kevent.fflags`.
macro_rules! note {
    ($($name:ident),* $(,)?) => {
        $(
            #[doc = concat!("`", stringify!($name), "` of kevent(2).")]
            pub(crate) const $name: u32 = bindings::$name as u32;
        )*
    };
}
note!(
    NOTE_LOWAT,
    NOTE_OOB,
    NOTE_SECONDS,
    NOTE_MSECONDS,
    NOTE_USECONDS,
    NOTE_NSECONDS,
    NOTE_ABSTIME,
    NOTE_FFAND,
    NOTE_FFOR,
    NOTE_FFCOPY,
    NOTE_FFCTRLMASK,
    NOTE_FFLAGSMASK,
    NOTE_TRIGGER,
);

/// `struct kevent`: a change to a kqueue, or an event from it.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Kevent {
    pub(crate) ident: usize,
    pub(crate) filter: i16,
    pub(crate) flags: u16,
    pub(crate) fflags: u32,
    pub(crate) data: i64,
    pub(crate) udata: usize,
}

static_assert!(size_of::<Kevent>() == size_of::<bindings::kevent>());
static_assert!(
    core::mem::offset_of!(Kevent, udata) == core::mem::offset_of!(bindings::kevent, udata)
);

// SAFETY: Integers without padding between them: any bytes make one.
unsafe impl FromBytes for Kevent {}
// SAFETY: As above; all bytes are initialised.
unsafe impl AsBytes for Kevent {}

/// `struct __kernel_timespec`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Timespec {
    pub(crate) tv_sec: i64,
    pub(crate) tv_nsec: i64,
}

// SAFETY: Integers without padding between them.
unsafe impl FromBytes for Timespec {}

// SAFETY: Integers without padding between them.
unsafe impl FromBytes for KqueueKevent {}
// SAFETY: Integers without padding between them.
unsafe impl FromBytes for KqueueCreate {}
// SAFETY: A pointer, which is never followed, and integers. The padding at the end is not looked
// at, and any bytes may be in it.
unsafe impl FromBytes for KfilterMapping {}
