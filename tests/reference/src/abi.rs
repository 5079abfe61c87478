// SPDX-License-Identifier: GPL-2.0

//! The interface, written down a second time: a number that differs from the header's is found.

pub const EVFILT_READ: i16 = -1;
pub const EVFILT_WRITE: i16 = -2;
pub const EVFILT_AIO: i16 = -3;
pub const EVFILT_VNODE: i16 = -4;
pub const EVFILT_PROC: i16 = -5;
pub const EVFILT_SIGNAL: i16 = -6;
pub const EVFILT_TIMER: i16 = -7;
pub const EVFILT_DEVICE: i16 = -8;
pub const EVFILT_USER: i16 = -10;

pub const EV_ADD: u16 = 0x0001;
pub const EV_DELETE: u16 = 0x0002;
pub const EV_ENABLE: u16 = 0x0004;
pub const EV_DISABLE: u16 = 0x0008;
pub const EV_ONESHOT: u16 = 0x0010;
pub const EV_CLEAR: u16 = 0x0020;
pub const EV_RECEIPT: u16 = 0x0040;
pub const EV_DISPATCH: u16 = 0x0080;
pub const EV_UDATA_SPECIFIC: u16 = 0x0100;
pub const EV_KEEPUDATA: u16 = 0x0200;
pub const EV_SYSFLAGS: u16 = 0xf000;
pub const EV_ERROR: u16 = 0x4000;
pub const EV_EOF: u16 = 0x8000;

pub const NOTE_LOWAT: u32 = 0x1;
pub const NOTE_EOF: u32 = 0x2;
pub const NOTE_FILE_POLL: u32 = 0x8;

pub const NOTE_DELETE: u32 = 0x1;
pub const NOTE_WRITE: u32 = 0x2;
pub const NOTE_EXTEND: u32 = 0x4;
pub const NOTE_ATTRIB: u32 = 0x8;
pub const NOTE_LINK: u32 = 0x10;
pub const NOTE_TRUNCATE: u32 = 0x80;
pub const NOTE_OPEN: u32 = 0x100;
pub const NOTE_CLOSE_WRITE: u32 = 0x400;
pub const NOTE_READ: u32 = 0x800;

pub const NOTE_EXIT: u32 = 0x8000_0000;
pub const NOTE_REAP: u32 = 0x1000_0000;
pub const NOTE_EXITSTATUS: u32 = 0x0400_0000;

pub const NOTE_SECONDS: u32 = 0x1;
pub const NOTE_MSECONDS: u32 = 0x2;
pub const NOTE_USECONDS: u32 = 0x4;
pub const NOTE_NSECONDS: u32 = 0x8;
pub const NOTE_ABSTIME: u32 = 0x10;

pub const NOTE_FFAND: u32 = 0x4000_0000;
pub const NOTE_FFOR: u32 = 0x8000_0000;
pub const NOTE_FFCOPY: u32 = 0xc000_0000;
pub const NOTE_FFCTRLMASK: u32 = 0xc000_0000;
pub const NOTE_FFLAGSMASK: u32 = 0x00ff_ffff;
pub const NOTE_TRIGGER: u32 = 0x0100_0000;

/// `struct kevent` of a 64-bit program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Kevent {
    pub ident: u64,
    pub filter: i16,
    pub flags: u16,
    pub fflags: u32,
    pub data: i64,
    pub udata: u64,
}

impl Kevent {
    pub fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }
}

/// Whose reading a kqueue takes where the BSDs differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Openbsd,
    Freebsd,
    Netbsd,
    Macos,
}
