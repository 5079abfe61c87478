// SPDX-License-Identifier: GPL-2.0

//! Pipes and FIFOs.

use crate::bindings;
use core::marker::PhantomData;
use kernel::fs::File;

/// The pipe behind a file, which keeps it.
#[derive(Clone, Copy)]
pub(crate) struct Pipe<'a> {
    file: *mut bindings::file,
    _file: PhantomData<&'a File>,
}

impl<'a> Pipe<'a> {
    /// The pipe behind `file`, if it is one.
    pub(crate) fn of(file: &'a File) -> Option<Self> {
        let file = file.as_ptr();
        // SAFETY: The file is alive.
        unsafe { bindings::kq_file_is_pipe(file) }.then_some(Self {
            file,
            _file: PhantomData,
        })
    }

    /// Bytes in the pipe. Not in interrupts.
    pub(crate) fn bytes(self) -> i64 {
        // SAFETY: The file is alive, and a pipe's, by construction; so it has a pipe.
        i64::from(unsafe { bindings::kq_pipe_bytes(self.file) })
    }

    /// Bytes that can be written without waiting, to the page.
    pub(crate) fn room(self) -> i64 {
        // SAFETY: As in `bytes`.
        i64::from(unsafe { bindings::kq_pipe_room(self.file) })
    }
}
