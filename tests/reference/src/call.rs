// SPDX-License-Identifier: GPL-2.0

//! What a program does, and what it gets to see of it. The model and the kernel are both given the
//! one, and asked for the other.

use crate::abi::{Flavour, Kevent};

/// A call. All descriptors do not block, and no call waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Kqueue(Flavour),
    /// With a timeout of 0. `writable` is whether there is memory at the event list.
    Kevent {
        kq: i32,
        changes: Vec<Kevent>,
        room: usize,
        writable: bool,
    },
    Pipe,
    /// A pair of stream sockets.
    Socketpair,
    /// Opens file number so for reading and writing, and makes it where there is none.
    Open(u8),
    Dup(i32),
    Dup2(i32, i32),
    Close(i32),
    Read(i32, usize),
    Write(i32, usize),
    Shutdown(i32, How),
    /// To so far from the beginning.
    Seek(i32, u64),
    Truncate(i32, u64),
    Chmod(i32),
    Unlink(u8),
    /// Sends it to this process, where it is ignored, blocked, or caught.
    Kill(u8),
    /// A child, which does nothing. Its pid is the answer.
    Spawn,
    /// The child ends; it can be waited for after.
    End(i32, End),
    Wait(i32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Read,
    Write,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Exit(u8),
    Signal(u8),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What the call returned: a number of bytes, a descriptor, a status, 0.
    Value(i64),
    Two(i32, i32),
    Events(Vec<Kevent>),
    Errno(i32),
}

/// What is to come of it.
#[derive(Clone, Debug)]
pub enum Expected {
    Exactly(Answer),
    /// Of these events the data of some are only known to be at least what is given here.
    Events(Vec<(Kevent, Exact)>),
}

/// Whether it is known what an event's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exact {
    Yes,
    AtLeast,
}

impl Expected {
    pub fn matches(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Exactly(expected), _) => expected == answer,
            (Self::Events(expected), Answer::Events(events)) => {
                expected.len() == events.len()
                    && expected.iter().zip(events).all(|((want, exact), got)| {
                        let data = match exact {
                            Exact::Yes => want.data,
                            Exact::AtLeast => want.data.max(got.data),
                        };
                        Kevent { data, ..*want } == *got
                    })
            }
            _ => false,
        }
    }
}
