// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

//! What crosses into the kernel: `<linux/kqueue.h>` in Rust.

use core::ffi::c_void;
use core::fmt;
use core::ptr;

use crate::Errno;

macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $value:expr;)*) => {
        $($(#[$doc])* pub const $name: $type = $value;)*
    };
}

// The numbers are this system's. A program uses the names.
constants! {
    /// A descriptor can be read from.
    EVFILT_READ: i16 = -1;
    /// A descriptor can be written to.
    EVFILT_WRITE: i16 = -2;
    /// Reserved: nothing can be watched with it.
    EVFILT_AIO: i16 = -3;
    /// Something was done to a file.
    EVFILT_VNODE: i16 = -4;
    /// Something has happened to a process, known by its number.
    EVFILT_PROC: i16 = -5;
    /// A signal was sent to this process.
    EVFILT_SIGNAL: i16 = -6;
    /// A time has passed.
    EVFILT_TIMER: i16 = -7;
    /// Reserved: nothing can be watched with it.
    EVFILT_DEVICE: i16 = -8;
    /// Something is exceptional about a descriptor.
    EVFILT_EXCEPT: i16 = -9;
    /// The program has said so itself.
    EVFILT_USER: i16 = -10;
    /// All that was written to a socket has been taken.
    EVFILT_EMPTY: i16 = -11;
    /// Something has happened to a process, known by a descriptor.
    EVFILT_PROCDESC: i16 = -12;
    /// Something was mounted or unmounted.
    EVFILT_FS: i16 = -13;
    /// How many filters there are.
    EVFILT_SYSCOUNT: i16 = 13;
}

constants! {
    /// Adds what is to be watched, or changes what is there.
    EV_ADD: u16 = 0x0001;
    /// Watches no more.
    EV_DELETE: u16 = 0x0002;
    /// Lets it be delivered.
    EV_ENABLE: u16 = 0x0004;
    /// Keeps it from being delivered.
    EV_DISABLE: u16 = 0x0008;
    /// Ends when it is delivered.
    EV_ONESHOT: u16 = 0x0010;
    /// Begins anew when it is delivered.
    EV_CLEAR: u16 = 0x0020;
    /// Answers this change though it succeeds.
    EV_RECEIPT: u16 = 0x0040;
    /// Is disabled when it is delivered.
    EV_DISPATCH: u16 = 0x0080;
    /// Has `udata` as a part of what it is known by.
    EV_UDATA_SPECIFIC: u16 = 0x0100;
    /// Leaves `udata` as it is.
    EV_KEEPUDATA: u16 = 0x0200;
    /// What has a meaning in events only: ignored in a change.
    EV_SYSFLAGS: u16 = 0xf000;
    /// The filter's own.
    EV_FLAG1: u16 = 0x2000;
    /// In an event: this answers a change. See [`Kevent::answer`].
    EV_ERROR: u16 = 0x4000;
    /// In an event: the condition has come to its end.
    EV_EOF: u16 = 0x8000;
}

// EVFILT_READ, EVFILT_WRITE, EVFILT_EXCEPT.
constants! {
    /// `data` is a low-water mark.
    NOTE_LOWAT: u32 = 0x0000_0001;
    /// The end of a regular file is to be reported.
    NOTE_EOF: u32 = 0x0000_0002;
    /// Out-of-band data.
    NOTE_OOB: u32 = 0x0000_0004;
    /// A regular file is always ready.
    NOTE_FILE_POLL: u32 = 0x0000_0008;
}

// EVFILT_VNODE.
constants! {
    /// A name of the file was removed.
    NOTE_DELETE: u32 = 0x0000_0001;
    /// It was written to.
    NOTE_WRITE: u32 = 0x0000_0002;
    /// It has grown.
    NOTE_EXTEND: u32 = 0x0000_0004;
    /// Its attributes have changed.
    NOTE_ATTRIB: u32 = 0x0000_0008;
    /// Its number of links has changed.
    NOTE_LINK: u32 = 0x0000_0010;
    /// It was renamed.
    NOTE_RENAME: u32 = 0x0000_0020;
    /// Its file system was unmounted.
    NOTE_REVOKE: u32 = 0x0000_0040;
    /// It has shrunk.
    NOTE_TRUNCATE: u32 = 0x0000_0080;
    /// It was opened.
    NOTE_OPEN: u32 = 0x0000_0100;
    /// It was closed, having been open for reading only.
    NOTE_CLOSE: u32 = 0x0000_0200;
    /// It was closed, having been open for writing.
    NOTE_CLOSE_WRITE: u32 = 0x0000_0400;
    /// It was read from.
    NOTE_READ: u32 = 0x0000_0800;
}

// EVFILT_FS.
constants! {
    /// Something was mounted.
    VQ_MOUNT: u32 = 0x0000_0008;
    /// Something was unmounted.
    VQ_UNMOUNT: u32 = 0x0000_0010;
}

// EVFILT_PROC, EVFILT_PROCDESC.
constants! {
    /// The process has ended; `data` is its status.
    NOTE_EXIT: u32 = 0x8000_0000;
    /// It has made another.
    NOTE_FORK: u32 = 0x4000_0000;
    /// It has executed a program.
    NOTE_EXEC: u32 = 0x2000_0000;
    /// It was waited for.
    NOTE_REAP: u32 = 0x1000_0000;
    /// With NOTE_EXIT, in a kqueue that is as macOS's: `data` is to be the status.
    NOTE_EXITSTATUS: u32 = 0x0400_0000;
    /// Those of these that say what has happened.
    NOTE_PCTRLMASK: u32 = 0xf000_0000;
    /// Those that do not.
    NOTE_PDATAMASK: u32 = 0x000f_ffff;
    /// Its children are to be watched too.
    NOTE_TRACK: u32 = 0x0000_0001;
    /// A child could not be watched.
    NOTE_TRACKERR: u32 = 0x0000_0002;
    /// The first of a child; `data` is its parent's number.
    NOTE_CHILD: u32 = 0x0000_0004;
}

// EVFILT_TIMER.
constants! {
    /// `data` is in seconds.
    NOTE_SECONDS: u32 = 0x0000_0001;
    /// `data` is in milliseconds, as it is without any of these.
    NOTE_MSECONDS: u32 = 0x0000_0002;
    /// `data` is in microseconds.
    NOTE_USECONDS: u32 = 0x0000_0004;
    /// `data` is in nanoseconds.
    NOTE_NSECONDS: u32 = 0x0000_0008;
    /// `data` is a time of day.
    NOTE_ABSTIME: u32 = 0x0000_0010;
}

// EVFILT_USER.
constants! {
    /// The flags that are there stay.
    NOTE_FFNOP: u32 = 0x0000_0000;
    /// Those that the change has too stay.
    NOTE_FFAND: u32 = 0x4000_0000;
    /// Those of the change are added.
    NOTE_FFOR: u32 = 0x8000_0000;
    /// Those of the change take their place.
    NOTE_FFCOPY: u32 = 0xc000_0000;
    /// Where it is said which of these four.
    NOTE_FFCTRLMASK: u32 = 0xc000_0000;
    /// The program's own.
    NOTE_FFLAGSMASK: u32 = 0x00ff_ffff;
    /// It has happened.
    NOTE_TRIGGER: u32 = 0x0100_0000;
}

constants! {
    /// In [`KqueueCreate::flags`]: close it on exec.
    KQUEUE_CLOEXEC: u32 = 0x0000_0001;
    /// No filter's name is longer, its NUL included.
    KFILTER_MAXNAME: usize = 32;
}

/// Whose reading of a point a kqueue takes where the BSDs differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Flavour {
    /// OpenBSD's: what a kqueue is unless it is told otherwise.
    #[default]
    OpenBsd = 0,
    /// FreeBSD's.
    FreeBsd = 1,
    /// NetBSD's.
    NetBsd = 2,
    /// macOS's.
    MacOs = 3,
}

/// A change to a kqueue, or an event from it: `struct kevent`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Kevent {
    /// What is watched: a descriptor, a process, a number of the program's own.
    pub ident: usize,
    /// For what: `EVFILT_*`.
    pub filter: i16,
    /// `EV_*`.
    pub flags: u16,
    /// The filter's flags, `NOTE_*`.
    pub fflags: u32,
    /// The filter's value; an error number where `flags` has [`EV_ERROR`].
    pub data: i64,
    /// The program's own, returned as it was given.
    pub udata: *mut c_void,
}

// SAFETY: Nothing here follows `udata`. Whoever does needs `unsafe` for it, and has to
// know then what it points to and who else uses that.
unsafe impl Send for Kevent {}
// SAFETY: As above.
unsafe impl Sync for Kevent {}

impl Kevent {
    /// What `EV_SET` makes.
    pub const fn new(
        ident: usize,
        filter: i16,
        flags: u16,
        fflags: u32,
        data: i64,
        udata: *mut c_void,
    ) -> Self {
        Self {
            ident,
            filter,
            flags,
            fflags,
            data,
            udata,
        }
    }

    /// All zero, to fill an event list with before it is given to the kernel.
    pub const ZERO: Self = Self::new(0, 0, 0, 0, 0, ptr::null_mut());

    /// Whether this answers a change, and then, how that went. An event is no answer.
    pub fn answer(&self) -> Option<Result<(), Errno>> {
        if self.flags & EV_ERROR == 0 {
            return None;
        }
        Some(match i32::try_from(self.data) {
            Ok(0) => Ok(()),
            Ok(errno) => Err(Errno(errno)),
            // The kernel has no such error.
            Err(_) => Err(Errno::EINVAL),
        })
    }
}

impl Default for Kevent {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Debug for Kevent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kevent")
            .field("ident", &self.ident)
            .field("filter", &self.filter)
            .field("flags", &format_args!("{:#x}", self.flags))
            .field("fflags", &format_args!("{:#x}", self.fflags))
            .field("data", &self.data)
            .field("udata", &self.udata)
            .finish()
    }
}

/// `struct __kernel_timespec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Timespec {
    /// Seconds.
    pub tv_sec: i64,
    /// And nanoseconds, less than 1,000,000,000.
    pub tv_nsec: i64,
}

/// Argument of [`KQUEUE_IOC_KEVENT`]: `struct kqueue_kevent`.
#[repr(C)]
pub struct KqueueKevent {
    /// Address of an array of `nchanges` [`Kevent`].
    pub changelist: u64,
    /// Address of an array of `nevents` [`Kevent`]; may be `changelist`.
    pub eventlist: u64,
    /// Not negative.
    pub nchanges: i32,
    /// Not negative.
    pub nevents: i32,
    /// Address of a [`Timespec`], 0 to wait for ever.
    pub timeout: u64,
    /// 0.
    pub flags: u64,
}

/// Argument of [`KQUEUE_IOC_CREATE`]: `struct kqueue_create`.
#[repr(C)]
pub struct KqueueCreate {
    /// [`KQUEUE_CLOEXEC`].
    pub flags: u32,
    /// A [`Flavour`].
    pub flavour: u32,
    /// 0.
    pub reserved: [u64; 2],
}

/// Argument of [`KFILTER_BYNAME`] and [`KFILTER_BYFILTER`]: `struct kfilter_mapping`.
#[repr(C)]
pub struct KfilterMapping {
    /// The filter's name; read by BYNAME, written by BYFILTER.
    pub name: *mut u8,
    /// Size of the buffer at `name`, for BYFILTER.
    pub len: usize,
    /// The filter's number; written by BYNAME, read by BYFILTER.
    pub filter: i32,
}

const WRITE: u32 = 1;
const READ: u32 = 2;

/// A request as `_IOC` makes it.
const fn request<T>(direction: u32, number: u32) -> u32 {
    const MAGIC: u32 = 0xbb;

    (direction << 30) | ((size_of::<T>() as u32) << 16) | (MAGIC << 8) | number
}

constants! {
    /// kevent(2); the argument is a [`KqueueKevent`].
    KQUEUE_IOC_KEVENT: u32 = request::<KqueueKevent>(WRITE, 0);
    /// Makes a kqueue from another; the argument is a [`KqueueCreate`].
    KQUEUE_IOC_CREATE: u32 = request::<KqueueCreate>(WRITE, 1);
    /// Gives a kqueue that watches nothing a flavour; the argument points to it.
    KQUEUE_IOC_FLAVOUR: u32 = request::<u32>(WRITE, 4);
    /// The number of a filter that is known by name.
    KFILTER_BYNAME: u32 = request::<KfilterMapping>(READ | WRITE, 2);
    /// The name of a filter that is known by number.
    KFILTER_BYFILTER: u32 = request::<KfilterMapping>(READ | WRITE, 3);
}
