// SPDX-License-Identifier: GPL-2.0

//! `EVFILT_READ` and `EVFILT_WRITE` on files that can be polled, and on those that are always
//! ready. Regular files and directories are in `regfile.rs`.
//!
//! What tells a change is the same for all: the file's wait queues. What the condition is, and how
//! many bytes there are, each kind of file says in its own way: a [`Kind`].

use super::{regfile, Filter, Filterops, Found, Request, Scratch};
use crate::{
    bindings, device,
    knote::Knote,
    uapi::*,
    wrap::{
        files::{fionread, may_fionread, FileKind},
        pipe::Pipe,
        poll::{poll_directly, poll_now, PollHook},
        socket::{Readable, Socket, SocketState},
        tty::Tty,
    },
};
use core::marker::PhantomData;
use kernel::{fs::File, prelude::*};

const POLLIN: u32 = bindings::KQ_POLLIN | bindings::KQ_POLLRDNORM;
const POLLOUT: u32 = bindings::KQ_POLLOUT | bindings::KQ_POLLWRNORM;
const POLLERR: u32 = bindings::KQ_POLLERR;
const POLLHUP: u32 = bindings::KQ_POLLHUP;
const POLLRDHUP: u32 = bindings::KQ_POLLRDHUP;
pub(super) const POLLPRI: u32 = bindings::KQ_POLLPRI;

/// A condition of a kind of file that its wait queues tell of.
pub(super) trait Kind: 'static {
    /// Poll events that may change the condition.
    const POLL_EVENTS: u32;

    /// Whether it does not hold where the file's poll says nothing of these, an error or the end.
    const POLL_TELLS: bool;

    /// Whether it holds. Process context, may sleep.
    ///
    /// # Safety
    ///
    /// The file is of the kind.
    unsafe fn found(file: &File, request: &Request, scratch: Option<Scratch>) -> Option<Found>;
}

/// The filter for a [`Kind`].
pub(super) struct OnFile<K: Kind>(PhantomData<K>);

impl<K: Kind> Filter for OnFile<K> {
    type Hook = PollHook;

    const EVALUATED: bool = true;
    const PLAIN: bool = true;
    const POLL_EVENTS: u32 = K::POLL_EVENTS | POLLERR | POLLHUP;

    fn attach(kn: &Knote, hook: &PollHook) -> Result<bool> {
        let file = kn.file().ok_or(EBADF)?;
        // SAFETY: The core calls `attach` once, with the knote's own hook, and `detach` before the
        // knote goes. The knote holds the file as long as it lives.
        let poll = unsafe { hook.attach(kn, file, Self::POLL_EVENTS) }?;
        if K::POLL_TELLS && poll & Self::POLL_EVENTS == 0 {
            return Ok(false);
        }
        // SAFETY: The knote was made for this kind of file, and a file remains what it is.
        Ok(unsafe { K::found(file, &kn.request(), None) }.is_some())
    }

    fn detach(_kn: &Knote, hook: &PollHook) {
        // SAFETY: The core calls `detach` once, after `attach`.
        unsafe { hook.detach() };
    }

    fn event(
        kn: &Knote,
        _hook: &PollHook,
        request: &Request,
        scratch: Option<Scratch>,
    ) -> Option<Found> {
        // SAFETY: As in `attach`.
        unsafe { K::found(kn.file()?, request, scratch) }
    }
}

/// The low-water mark that a request sets, else `default`.
fn low_water(request: &Request, default: i64) -> i64 {
    if request.sfflags & NOTE_LOWAT != 0 {
        request.sdata
    } else {
        default
    }
}

/// kqfilter for `EVFILT_READ`.
pub(super) fn read(file: &File) -> Result<&'static Filterops> {
    if Socket::of(file).is_some() {
        Ok(Filterops::of::<OnFile<SocketRead>>())
    } else if Pipe::of(file).is_some() {
        Ok(Filterops::of::<OnFile<PipeRead>>())
    } else if device::is_one(file) {
        Ok(super::nested::OPS)
    } else if file.can_poll() {
        Ok(Filterops::of::<OnFile<PollRead>>())
    } else {
        Ok(no_poll(file, regfile::READ))
    }
}

/// kqfilter for `EVFILT_WRITE`.
pub(super) fn write(file: &File) -> Result<&'static Filterops> {
    if Socket::of(file).is_some() {
        Ok(Filterops::of::<OnFile<SocketWrite>>())
    } else if Pipe::of(file).is_some() {
        Ok(Filterops::of::<OnFile<PipeWrite>>())
    } else if Tty::of(file).is_some() {
        Ok(Filterops::of::<OnFile<TtyWrite>>())
    } else if device::is_one(file) {
        Err(EINVAL)
    } else if file.can_poll() {
        Ok(Filterops::of::<OnFile<PollWrite>>())
    } else {
        Ok(no_poll(file, regfile::WRITE))
    }
}

/// kqfilter for what has no poll: `on_files` is for regular files and directories. All else is a device
/// that is always ready, as seltrue_kqfilter has it.
fn no_poll(file: &File, on_files: &'static Filterops) -> &'static Filterops {
    if file.is_plain() {
        on_files
    } else {
        Filterops::of::<OnFile<Always>>()
    }
}

struct SocketRead;

impl Kind for SocketRead {
    const POLL_EVENTS: u32 = POLLIN | POLLRDHUP;
    // A socket may have an error that its protocol's poll does not tell.
    const POLL_TELLS: bool = false;

    // Whether there is something to read is the protocol's to say; what its counters mean, some
    // protocols see in their own way.
    unsafe fn found(file: &File, request: &Request, _scratch: Option<Scratch>) -> Option<Found> {
        // SAFETY: By this function's requirements it is a socket's.
        if let Some(data) = unsafe { Socket::plain_bytes(file) } {
            return (data > 0 && data >= low_water(request, 0)).then_some(Found {
                data,
                ..Found::default()
            });
        }
        // SAFETY: As above.
        unsafe { Self::found_in_full(file, request) }
    }
}

impl SocketRead {
    /// Where there is more to say than how many bytes there are.
    ///
    /// # Safety
    ///
    /// The file is a socket's.
    #[inline(never)]
    unsafe fn found_in_full(file: &File, request: &Request) -> Option<Found> {
        let socket = Socket::of(file)?;
        socket.settle();
        let st = socket.state()?;
        let poll = poll_now(file, OnFile::<Self>::POLL_EVENTS);
        let mut active = poll & POLLIN != 0;
        let eof = poll & POLLRDHUP != 0 || (poll & POLLHUP != 0 && !st.is_unconnected());
        let error = error(&st, eof);
        if st.is_listening() {
            // Not every protocol counts its connections there.
            let least = i64::from(active && !eof);
            return (active || eof).then(|| Found {
                data: st.backlog().max(least),
                fflags: error,
                eof,
            });
        }
        // After the end and the error were seen: what came before them is counted.
        let data = match st.readable() {
            Some(Readable { bytes, all: true }) => {
                if st.is_stream() {
                    active &= bytes > 0 && bytes >= low_water(request, 0);
                }
                bytes
            }
            // What is readable has at least a byte, unless it is the end.
            Some(Readable { bytes, all: false }) => bytes.max(i64::from(active && !eof)),
            None => i64::from(active),
        };
        (active || eof || error != 0).then_some(Found {
            data,
            fflags: error,
            eof,
        })
    }
}

/// The error of a socket whose state was seen first, and then perhaps its end, which may have come
/// in between.
fn error(st: &SocketState<'_>, eof: bool) -> u32 {
    if eof {
        st.error_of_end()
    } else {
        st.error()
    }
}

struct SocketWrite;

impl Kind for SocketWrite {
    const POLL_EVENTS: u32 = POLLOUT;
    const POLL_TELLS: bool = false;

    unsafe fn found(file: &File, request: &Request, _scratch: Option<Scratch>) -> Option<Found> {
        let st = Socket::of(file)?.state()?;
        // Asking is also what makes a full socket tell when it has room.
        let poll = poll_now(file, OnFile::<Self>::POLL_EVENTS);
        let mut active = poll & POLLOUT != 0 && !st.is_unconnected();
        let eof = st.write_shut() || (poll & POLLHUP != 0 && !st.is_unconnected());
        let error = error(&st, eof);
        if active && request.sfflags & NOTE_LOWAT != 0 && st.room() < request.sdata {
            st.want_space();
            active = st.room() >= request.sdata;
        }
        (active || eof || error != 0).then(|| Found {
            data: st.room(),
            fflags: error,
            eof,
        })
    }
}

struct PipeRead;

impl Kind for PipeRead {
    const POLL_EVENTS: u32 = POLLIN;
    const POLL_TELLS: bool = true;

    unsafe fn found(file: &File, request: &Request, _scratch: Option<Scratch>) -> Option<Found> {
        // SAFETY: By this function's requirements it is one.
        let pipe = unsafe { Pipe::of_pipe(file) };
        let (poll, data) = pipe.poll_in();
        // POLLERR: this is a pipe's other end, and there is no reader.
        let eof = poll & (POLLHUP | POLLERR) != 0;
        if poll & POLLIN == 0 && !eof {
            return None;
        }
        (eof || data >= low_water(request, 0)).then_some(Found {
            data,
            fflags: 0,
            eof,
        })
    }
}

struct PipeWrite;

impl Kind for PipeWrite {
    const POLL_EVENTS: u32 = POLLOUT;
    const POLL_TELLS: bool = true;

    // No low-water mark: a pipe tells when it is no longer full, and of no room beyond that.
    unsafe fn found(file: &File, _request: &Request, _scratch: Option<Scratch>) -> Option<Found> {
        let pipe = Pipe::of(file)?;
        let poll = poll_now(file, OnFile::<Self>::POLL_EVENTS);
        let eof = poll & POLLERR != 0;
        (poll & POLLOUT != 0 || eof).then(|| Found {
            data: pipe.room(),
            fflags: 0,
            eof,
        })
    }
}

struct TtyWrite;

impl Kind for TtyWrite {
    const POLL_EVENTS: u32 = POLLOUT;
    const POLL_TELLS: bool = true;

    unsafe fn found(file: &File, _request: &Request, _scratch: Option<Scratch>) -> Option<Found> {
        let poll = poll_now(file, OnFile::<Self>::POLL_EVENTS);
        let eof = poll & (POLLHUP | POLLERR) != 0;
        (poll & POLLOUT != 0 || eof).then(|| Found {
            data: Tty::of(file).map_or(0, Tty::room),
            fflags: 0,
            eof,
        })
    }
}

/// Any other file: its own poll says it.
struct PollRead;

impl Kind for PollRead {
    const POLL_EVENTS: u32 = POLLIN | POLLRDHUP;
    const POLL_TELLS: bool = true;

    unsafe fn found(file: &File, request: &Request, scratch: Option<Scratch>) -> Option<Found> {
        match scratch {
            // The count can be had only where an event is to be written.
            Some(scratch) if may_fionread(file) => Self::found_and_counted(file, request, scratch),
            _ => Self::found_by_poll(file),
        }
    }
}

impl PollRead {
    #[inline(always)]
    fn found_by_poll(file: &File) -> Option<Found> {
        let poll = poll_directly(file, OnFile::<Self>::POLL_EVENTS);
        let eof = poll & (POLLHUP | POLLRDHUP) != 0;
        let active = poll & (POLLIN | POLLERR) != 0;
        (active || eof).then_some(Found {
            data: i64::from(active),
            fflags: 0,
            eof,
        })
    }

    #[inline(never)]
    fn found_and_counted(file: &File, request: &Request, scratch: Scratch) -> Option<Found> {
        let poll = poll_directly(file, OnFile::<Self>::POLL_EVENTS);
        let eof = poll & (POLLHUP | POLLRDHUP) != 0;
        let active = poll & (POLLIN | POLLERR) != 0;
        if !active && !eof {
            return None;
        }
        let bytes = fionread(file, scratch.addr());
        if let Some(bytes) = bytes {
            if !eof && bytes < low_water(request, 0) {
                return None;
            }
        }
        Some(Found {
            data: bytes.unwrap_or(i64::from(active)),
            fflags: 0,
            eof,
        })
    }
}

struct PollWrite;

impl Kind for PollWrite {
    const POLL_EVENTS: u32 = POLLOUT;
    const POLL_TELLS: bool = true;

    unsafe fn found(file: &File, _request: &Request, _scratch: Option<Scratch>) -> Option<Found> {
        let poll = poll_now(file, OnFile::<Self>::POLL_EVENTS);
        let eof = poll & POLLHUP != 0;
        let active = poll & (POLLOUT | POLLERR) != 0;
        (active || eof).then_some(Found {
            data: i64::from(active),
            fflags: 0,
            eof,
        })
    }
}

/// seltrue: nothing tells, and nothing needs to.
struct Always;

impl Kind for Always {
    const POLL_EVENTS: u32 = 0;
    const POLL_TELLS: bool = false;

    unsafe fn found(_file: &File, _request: &Request, _scratch: Option<Scratch>) -> Option<Found> {
        Some(Found::default())
    }
}
