// SPDX-License-Identifier: GPL-2.0

//! `EVFILT_EXCEPT`: out-of-band data on a socket, a packet-mode change on a pseudo-terminal
//! (OpenBSD). `EVFILT_EMPTY`: all that was sent is gone (FreeBSD). Both are for these files only.

use super::{
    file::{Kind, OnFile, POLLPRI},
    Filterops, Found, Request, Scratch,
};
use crate::{
    bindings,
    uapi::NOTE_OOB,
    wrap::{poll::poll_now, socket::Socket, tty::Tty},
};
use kernel::{fs::File, prelude::*};

/// kqfilter for `EVFILT_EXCEPT`.
pub(super) fn except(file: &File) -> Result<&'static Filterops> {
    if Socket::of(file).is_some() {
        Ok(Filterops::of::<OnFile<OutOfBand>>())
    } else if Tty::of(file).is_some() {
        Ok(Filterops::of::<OnFile<PacketMode>>())
    } else {
        Err(EINVAL)
    }
}

/// kqfilter for `EVFILT_EMPTY`.
pub(super) fn empty(file: &File) -> Result<&'static Filterops> {
    if Socket::of(file).is_some() {
        Ok(Filterops::of::<OnFile<SendQueueEmpty>>())
    } else {
        Err(EINVAL)
    }
}

struct OutOfBand;

impl Kind for OutOfBand {
    const POLL_EVENTS: u32 = POLLPRI;
    const POLL_TELLS: bool = true;

    unsafe fn found(file: &File, request: &Request, _scratch: Option<Scratch>) -> Option<Found> {
        let poll = poll_now(file, POLLPRI);
        let eof = poll & bindings::KQ_POLLHUP != 0 && Socket::of(file).is_none();
        let oob = poll & POLLPRI != 0 && request.sfflags & NOTE_OOB != 0;
        (oob || eof).then_some(Found {
            data: i64::from(oob),
            fflags: if oob { NOTE_OOB } else { 0 },
            eof,
        })
    }
}

/// The same on a terminal.
struct PacketMode;

impl Kind for PacketMode {
    // That output is stopped or started, its other side is told as input.
    const POLL_EVENTS: u32 = POLLPRI | bindings::KQ_POLLIN;
    const POLL_TELLS: bool = true;

    unsafe fn found(file: &File, request: &Request, scratch: Option<Scratch>) -> Option<Found> {
        // SAFETY: It is for files of any kind.
        unsafe { OutOfBand::found(file, request, scratch) }
    }
}

struct SendQueueEmpty;

impl Kind for SendQueueEmpty {
    const POLL_EVENTS: u32 = bindings::KQ_POLLOUT | bindings::KQ_POLLWRNORM;
    const POLL_TELLS: bool = false;

    unsafe fn found(file: &File, _request: &Request, _scratch: Option<Scratch>) -> Option<Found> {
        let st = Socket::of(file)?.state()?;
        if st.unsent() != 0 {
            // Only a writer that waits is told of what the peer has taken. Ask, and look again:
            // what it took before we asked is not told.
            st.want_space();
            if st.unsent() != 0 {
                return None;
            }
        }
        Some(Found {
            data: 0,
            fflags: st.error(),
            eof: st.write_shut(),
        })
    }
}
