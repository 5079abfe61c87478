// SPDX-License-Identifier: GPL-2.0

//! What a socket's state is, for the filters.

use crate::bindings;
use core::marker::PhantomData;
use kernel::fs::File;

/// The socket behind a file. It has its protocol's part (`sk`) until the file is released.
#[derive(Clone, Copy)]
pub(crate) struct Socket<'a> {
    sock: *mut bindings::socket,
    _file: PhantomData<&'a File>,
}

/// A look at the fields that decide what can be read and written. They may change at once, with a
/// wake-up following.
pub(crate) struct SocketState {
    raw: bindings::kq_sock_state,
}

impl<'a> Socket<'a> {
    /// The socket behind `file`, if it is one.
    pub(crate) fn of(file: &'a File) -> Option<Self> {
        // SAFETY: `file` is alive.
        let sock = unsafe { bindings::kq_sock_from_file(file.as_ptr()) };
        (!sock.is_null()).then_some(Self {
            sock,
            _file: PhantomData,
        })
    }

    /// The state now; `None` for a socket without a protocol.
    pub(crate) fn state(self) -> Option<SocketState> {
        let mut raw = bindings::kq_sock_state::default();
        // SAFETY: The file, and so the socket, is alive.
        unsafe { bindings::kq_sock_state(self.sock, &mut raw) }.then_some(SocketState { raw })
    }

    /// Connections that wait to be accepted. Only after [`Self::state`] has said something.
    pub(crate) fn backlog(self) -> i64 {
        // SAFETY: The file, and so the socket, is alive; it keeps its protocol's part until then.
        i64::from(unsafe { bindings::kq_sock_backlog(self.sock) })
    }

    /// Bytes a read would return, of a datagram socket those of the next one; `None` where the
    /// protocol does not say. Only after [`Self::state`] has said something. May sleep.
    pub(crate) fn readable(self) -> Option<i64> {
        // SAFETY: As in `backlog`.
        let bytes = unsafe { bindings::kq_sock_inq(self.sock) };
        (bytes >= 0).then_some(i64::from(bytes))
    }

    /// Bytes sent and not yet gone. Only after [`Self::state`] has said something. May sleep.
    pub(crate) fn unsent(self) -> i64 {
        // SAFETY: As in `backlog`.
        i64::from(unsafe { bindings::kq_sock_outq(self.sock) })
    }

    /// Room in the send buffer, in bytes. Only after [`Self::state`] has said something.
    pub(crate) fn room(self) -> i64 {
        // SAFETY: As in `backlog`.
        i64::from(unsafe { bindings::kq_sock_room(self.sock) })
    }

    /// Asks for a wake-up when the send buffer shrinks. The caller then looks again: what
    /// happened before is not told.
    pub(crate) fn want_space(self) {
        // SAFETY: The file, and so the socket, is alive.
        unsafe { bindings::kq_sock_want_space(self.sock) };
    }
}

impl SocketState {
    /// Of a type whose peers are connected: a stream, or packets in sequence.
    pub(crate) fn is_connection(&self) -> bool {
        [
            bindings::KQ_SOCK_STREAM as i32,
            bindings::KQ_SOCK_SEQPACKET as i32,
        ]
        .contains(&self.raw.type_)
    }

    /// A byte stream, which a low-water mark means something for.
    pub(crate) fn is_stream(&self) -> bool {
        self.raw.type_ == bindings::KQ_SOCK_STREAM as i32
    }

    /// Connected, so that there is somebody to write to.
    pub(crate) fn is_connected(&self) -> bool {
        [
            bindings::KQ_TCP_ESTABLISHED as i32,
            bindings::KQ_TCP_CLOSE_WAIT as i32,
        ]
        .contains(&self.raw.state)
    }

    /// Listening for connections.
    pub(crate) fn is_listening(&self) -> bool {
        self.raw.state == bindings::KQ_TCP_LISTEN as i32
    }

    /// Nothing more will come in.
    pub(crate) fn read_shut(&self) -> bool {
        self.raw.shutdown & bindings::KQ_RCV_SHUTDOWN as i32 != 0
    }

    /// Nothing more can be sent.
    pub(crate) fn write_shut(&self) -> bool {
        self.raw.shutdown & bindings::KQ_SEND_SHUTDOWN as i32 != 0
    }

    /// The pending error, a positive errno, or 0. Looking does not take it.
    pub(crate) fn error(&self) -> u32 {
        self.raw.error.unsigned_abs()
    }

    /// `SO_RCVLOWAT`.
    pub(crate) fn rcvlowat(&self) -> i64 {
        i64::from(self.raw.rcvlowat)
    }
}
