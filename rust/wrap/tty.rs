// SPDX-License-Identifier: GPL-2.0

//! Terminals, pseudo-terminals among them.

use super::files::FileKind;
use crate::bindings;
use core::marker::PhantomData;
use kernel::fs::File;

/// The terminal behind a file.
#[derive(Clone, Copy)]
pub(crate) struct Tty<'a> {
    file: *mut bindings::file,
    _file: PhantomData<&'a File>,
}

impl<'a> Tty<'a> {
    /// The terminal behind `file`, if its device number is one of the terminal layer's: consoles
    /// and `/dev/tty`, `/dev/ptmx`, and the slaves of pseudo-terminals. Others, such as USB's, are
    /// files that can be polled, no more.
    pub(crate) fn of(file: &'a File) -> Option<Self> {
        if file.file_type() != bindings::S_IFCHR {
            return None;
        }
        let major = file.rdev_major();
        let slaves = bindings::UNIX98_PTY_SLAVE_MAJOR
            ..bindings::UNIX98_PTY_SLAVE_MAJOR + bindings::UNIX98_PTY_MAJOR_COUNT;
        let numbered = major == bindings::TTY_MAJOR
            || major == bindings::TTYAUX_MAJOR
            || slaves.contains(&major);
        // SAFETY: The file is alive. If it is not the terminal layer's for all its number, its
        // private data is null, or else some structure of two pointers at the least.
        let ours = numbered && unsafe { bindings::kq_file_is_tty(file.as_ptr()) };
        ours.then_some(Self {
            file: file.as_ptr(),
            _file: PhantomData,
        })
    }

    /// Room in the write buffer, in bytes.
    pub(crate) fn room(self) -> i64 {
        // SAFETY: The file is alive and, by construction, one that the terminal layer opened.
        i64::from(unsafe { bindings::kq_tty_room(self.file) })
    }
}
