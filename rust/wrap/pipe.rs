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

    /// The pipe behind `file`.
    ///
    /// # Safety
    ///
    /// It is one, as [`Self::of`] says.
    pub(crate) unsafe fn of_pipe(file: &'a File) -> Self {
        Self {
            file: file.as_ptr(),
            _file: PhantomData,
        }
    }

    /// What its poll operation says of reading, and the bytes in it. Not in interrupts.
    #[inline(always)]
    pub(crate) fn poll_in(self) -> (u32, i64) {
        let mut bytes = 0;
        // SAFETY: The file is alive, and a pipe's, by construction; so it has a pipe.
        let poll = unsafe { bindings::kq_pipe_poll_in(self.file, &mut bytes) };
        (poll, bytes)
    }

    /// Bytes that can be written without waiting, to the page.
    pub(crate) fn room(self) -> i64 {
        // SAFETY: As in `poll_in`.
        i64::from(unsafe { bindings::kq_pipe_room(self.file) })
    }
}
