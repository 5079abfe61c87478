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

/// A socket that has its protocol's part, and a look at the fields that decide what can be read
/// and written. They may change at once, with a wake-up following.
///
/// # Invariants
///
/// `sock` has its `sk`.
pub(crate) struct SocketState<'a> {
    sock: *mut bindings::socket,
    raw: bindings::kq_sock_state,
    _file: PhantomData<&'a File>,
}

/// What can be read from a socket.
pub(crate) struct Readable {
    /// Bytes that are known of, of a datagram socket those of the next one.
    pub(crate) bytes: i64,
    /// These are all. Else there may be more, if the socket is readable.
    pub(crate) all: bool,
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

    /// The bytes that can be read, if that is all there is to say of the socket behind `file`; else
    /// nothing is said.
    ///
    /// # Safety
    ///
    /// It is one, as [`Self::of`] says.
    #[inline(always)]
    pub(crate) unsafe fn plain_bytes(file: &File) -> Option<i64> {
        // SAFETY: By this function's requirements; `file` is alive.
        let bytes = unsafe { bindings::kq_sock_plain_bytes(file.as_ptr()) };
        (bytes >= 0).then_some(i64::from(bytes))
    }

    /// Lets what is coming in at this moment come in: an end that is half known is not seen after
    /// that.
    pub(crate) fn settle(self) {
        // SAFETY: The file, and so the socket, is alive.
        unsafe { bindings::kq_sock_settle(self.sock) };
    }

    /// The state now; `None` for a socket without a protocol.
    pub(crate) fn state(self) -> Option<SocketState<'a>> {
        let mut raw = bindings::kq_sock_state::default();
        // SAFETY: The file, and so the socket, is alive.
        let found = unsafe { bindings::kq_sock_state(self.sock, &mut raw) };
        // INVARIANT: It has its `sk`, and keeps it until the file is released.
        found.then_some(SocketState {
            sock: self.sock,
            raw,
            _file: PhantomData,
        })
    }
}

impl SocketState<'_> {
    /// Connections that wait to be accepted, as far as the protocol counts them there.
    pub(crate) fn backlog(&self) -> i64 {
        // SAFETY: The file, and so the socket, is alive; it has its `sk` by the type invariants.
        i64::from(unsafe { bindings::kq_sock_backlog(self.sock) })
    }

    /// What a read would return; `None` where the protocol does not say. May sleep.
    pub(crate) fn readable(&self) -> Option<Readable> {
        let mut all = false;
        // SAFETY: As in `backlog`.
        let bytes = unsafe { bindings::kq_sock_inq(self.sock, &mut all) };
        (bytes >= 0).then_some(Readable {
            bytes: i64::from(bytes),
            all,
        })
    }

    /// Bytes sent and not yet gone. May sleep.
    pub(crate) fn unsent(&self) -> i64 {
        // SAFETY: As in `backlog`.
        i64::from(unsafe { bindings::kq_sock_outq(self.sock) })
    }

    /// Room in the send buffer, in bytes.
    pub(crate) fn room(&self) -> i64 {
        // SAFETY: As in `backlog`.
        i64::from(unsafe { bindings::kq_sock_room(self.sock) })
    }

    /// Asks for a wake-up when the send buffer shrinks. The caller then looks again: what
    /// happened before is not told.
    pub(crate) fn want_space(&self) {
        // SAFETY: As in `backlog`.
        unsafe { bindings::kq_sock_want_space(self.sock) };
    }

    /// A byte stream, which a low-water mark means something for.
    pub(crate) fn is_stream(&self) -> bool {
        self.raw.type_ == bindings::KQ_SOCK_STREAM as i32
    }

    /// Of a type whose peers are connected, and not connected now. Not said of a sequence of
    /// packets in general: SCTP has such without a connection.
    pub(crate) fn is_unconnected(&self) -> bool {
        let connects = self.is_stream()
            || (self.raw.type_ == bindings::KQ_SOCK_SEQPACKET as i32
                && self.raw.family == bindings::KQ_AF_UNIX as i32);
        connects && self.raw.state == bindings::KQ_TCP_CLOSE as i32
    }

    /// Listening for connections that are accepted. A one-to-many socket of SCTP's listens too, and
    /// is itself where the messages arrive.
    pub(crate) fn is_listening(&self) -> bool {
        let one_to_many = self.raw.type_ == bindings::KQ_SOCK_SEQPACKET as i32
            && (self.raw.family == bindings::KQ_AF_INET as i32
                || self.raw.family == bindings::KQ_AF_INET6 as i32);
        self.raw.state == bindings::KQ_TCP_LISTEN as i32 && !one_to_many
    }

    /// Nothing more can be sent.
    pub(crate) fn write_shut(&self) -> bool {
        self.raw.shutdown & bindings::KQ_SEND_SHUTDOWN as i32 != 0
    }

    /// The pending error, a positive errno, or 0. Looking does not take it.
    pub(crate) fn error(&self) -> u32 {
        self.raw.error.unsigned_abs()
    }

    /// The error that goes with the end, where the caller has seen that after this was made: what is
    /// pending now.
    pub(crate) fn error_of_end(&self) -> u32 {
        // SAFETY: As in `backlog`.
        unsafe { bindings::kq_sock_error(self.sock) }.unsigned_abs()
    }
}
