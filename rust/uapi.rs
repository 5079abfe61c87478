// SPDX-License-Identifier: GPL-2.0

//! The ABI in Rust's types: the flags as they stand in `struct kevent`, and the structures as
//! values that can be copied from and to the user.

use crate::{bindings, wrap::uaccess};
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

/// What a system call returns: a number, or a negative errno.
///
/// # Invariants
///
/// One that is negative is an errno.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer(isize);

impl Answer {
    #[inline(always)]
    pub(crate) fn of(number: usize) -> Self {
        // INVARIANT: The number is not negative.
        Self((number & isize::MAX as usize) as isize)
    }

    pub(crate) fn value(self) -> isize {
        self.0
    }
}

impl From<Error> for Answer {
    fn from(e: Error) -> Self {
        // INVARIANT: It is.
        Self(e.to_errno() as isize)
    }
}

impl From<Result<usize>> for Answer {
    fn from(result: Result<usize>) -> Self {
        match result {
            Ok(number) => Self::of(number),
            Err(e) => e.into(),
        }
    }
}

/// `EV_*` in the width of `kevent.flags`.
macro_rules! ev {
    ($($name:ident),* $(,)?) => {
        $(
            #[doc = concat!("`", stringify!($name), "` of kevent(2).")]
            pub const $name: u16 = bindings::$name as u16;
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
    EV_FLAG1,
    EV_ERROR,
    EV_EOF,
);

/// `NOTE_*` and the like in the width of `kevent.fflags`.
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
    NOTE_EOF,
    NOTE_OOB,
    NOTE_FILE_POLL,
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
    NOTE_DELETE,
    NOTE_WRITE,
    NOTE_EXTEND,
    NOTE_ATTRIB,
    NOTE_LINK,
    NOTE_RENAME,
    NOTE_REVOKE,
    NOTE_TRUNCATE,
    NOTE_OPEN,
    NOTE_CLOSE,
    NOTE_CLOSE_WRITE,
    NOTE_READ,
    VQ_MOUNT,
    VQ_UNMOUNT,
    NOTE_EXIT,
    NOTE_FORK,
    NOTE_EXEC,
    NOTE_REAP,
    NOTE_EXITSTATUS,
    NOTE_TRACK,
    NOTE_TRACKERR,
    NOTE_CHILD,
);

/// `EVFILT_PROC`, the filter that makes knotes itself.
pub(crate) const EVFILT_PROC: i16 = bindings::EVFILT_PROC as i16;

/// `struct kevent`: a change to a kqueue, or an event from it.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Kevent {
    /// What is watched.
    pub ident: usize,
    /// `EVFILT_*`.
    pub filter: i16,
    /// `EV_*`.
    pub flags: u16,
    /// `NOTE_*`.
    pub fflags: u32,
    /// The filter's value.
    pub data: i64,
    /// The program's own.
    pub udata: usize,
}

static_assert!(size_of::<Kevent>() == size_of::<bindings::kevent>());
static_assert!(
    core::mem::offset_of!(Kevent, udata) == core::mem::offset_of!(bindings::kevent, udata)
);

// SAFETY: Integers without padding between them: any bytes make one.
unsafe impl FromBytes for Kevent {}
// SAFETY: As above; all bytes are initialised.
unsafe impl AsBytes for Kevent {}

/// `struct kevent` of a 32-bit program. Its `data` is aligned as on i386, to 4 bytes.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Kevent32 {
    ident: u32,
    filter: i16,
    flags: u16,
    fflags: u32,
    data: [u32; 2],
    udata: u32,
}

// SAFETY: Integers without padding between them: any bytes make one.
unsafe impl FromBytes for Kevent32 {}
// SAFETY: As above; all bytes are initialised.
unsafe impl AsBytes for Kevent32 {}

impl From<&Kevent32> for Kevent {
    fn from(kev: &Kevent32) -> Self {
        let [low, high] = kev.data;
        Self {
            ident: kev.ident as usize,
            filter: kev.filter,
            flags: kev.flags,
            fflags: kev.fflags,
            data: (u64::from(high) << 32 | u64::from(low)) as i64,
            udata: kev.udata as usize,
        }
    }
}

impl From<&Kevent> for Kevent32 {
    /// Of what is wider only the part that the program can have given.
    fn from(kev: &Kevent) -> Self {
        Self {
            ident: kev.ident as u32,
            filter: kev.filter,
            flags: kev.flags,
            fflags: kev.fflags,
            data: [kev.data as u32, (kev.data >> 32) as u32],
            udata: kev.udata as u32,
        }
    }
}

/// How a program lays out `struct kevent`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Native,
    Compat,
}

impl Layout {
    /// Bytes from one to the next.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Native => size_of::<Kevent>(),
            Self::Compat => size_of::<Kevent32>(),
        }
    }

    /// Where in it `data` is.
    pub(crate) fn data_offset(self) -> usize {
        match self {
            Self::Native => core::mem::offset_of!(Kevent, data),
            Self::Compat => core::mem::offset_of!(Kevent32, data),
        }
    }

    /// Reads one at `addr`. `EFAULT`. May sleep.
    #[inline]
    pub(crate) fn read_one(self, addr: usize) -> Result<Kevent> {
        match self {
            Self::Native => uaccess::read_four_words(addr),
            Self::Compat => uaccess::read::<Kevent32>(addr).map(|kev| (&kev).into()),
        }
    }

    /// Writes the array at `addr`. `EFAULT`, with part of it written. May sleep.
    #[inline]
    pub(crate) fn write(self, addr: usize, from: &[Kevent]) -> Result {
        match self {
            Self::Native => uaccess::write_array_of_fours(addr, from),
            Self::Compat => Self::write32(addr, from),
        }
    }

    /// Writes one at `addr`. `EFAULT`, with part of it written. May sleep.
    #[inline]
    pub(crate) fn write_one(self, addr: usize, from: &Kevent) -> Result {
        match self {
            Self::Native => uaccess::write_four_words(addr, from),
            Self::Compat => Self::write32(addr, core::slice::from_ref(from)),
        }
    }

    #[cold]
    #[inline(never)]
    fn write32(addr: usize, from: &[Kevent]) -> Result {
        let mut buf = [Kevent32::default(); MOST];
        let buf = buf.get_mut(..from.len()).ok_or(EINVAL)?;
        for (to, from) in buf.iter_mut().zip(from) {
            *to = from.into();
        }
        uaccess::write_array(addr, buf)
    }
}

/// Kevents that are copied at once.
pub(crate) const MOST: usize = 16;

// SAFETY: Integers without padding between them.
unsafe impl FromBytes for KqueueKevent {}
// SAFETY: Integers without padding between them.
unsafe impl FromBytes for KqueueCreate {}
// SAFETY: A pointer, which is never followed, and integers. The padding at the end is not looked
// at, and any bytes may be in it.
unsafe impl FromBytes for KfilterMapping {}

/// `struct kfilter_mapping` of a 32-bit program.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct KfilterMapping32 {
    pub(crate) name: u32,
    pub(crate) len: u32,
    pub(crate) filter: i32,
}

// SAFETY: Integers without padding between them.
unsafe impl FromBytes for KfilterMapping32 {}
