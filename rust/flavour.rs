// SPDX-License-Identifier: GPL-2.0

//! Flavours: whose reading of a point a kqueue takes, where the BSDs differ.

use crate::{bindings, uapi::*};
use kernel::prelude::*;

/// A flavour, as `kqueue_create.flavour` has it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Flavour {
    Openbsd = bindings::KQUEUE_FLAVOUR_OPENBSD as u32,
    Freebsd = bindings::KQUEUE_FLAVOUR_FREEBSD as u32,
    Netbsd = bindings::KQUEUE_FLAVOUR_NETBSD as u32,
    Macos = bindings::KQUEUE_FLAVOUR_MACOS as u32,
}

impl Flavour {
    /// `EINVAL` for a number that is none.
    pub(crate) fn from_abi(flavour: u32) -> Result<Self> {
        match flavour as i32 {
            bindings::KQUEUE_FLAVOUR_OPENBSD => Ok(Self::Openbsd),
            bindings::KQUEUE_FLAVOUR_FREEBSD => Ok(Self::Freebsd),
            bindings::KQUEUE_FLAVOUR_NETBSD => Ok(Self::Netbsd),
            bindings::KQUEUE_FLAVOUR_MACOS => Ok(Self::Macos),
            _ => Err(EINVAL),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Openbsd => "openbsd",
            Self::Freebsd => "freebsd",
            Self::Netbsd => "netbsd",
            Self::Macos => "macos",
        }
    }

    /// A change without `EV_ADD` replaces udata, and the data of a user event.
    pub(crate) fn change_replaces(self) -> bool {
        self != Self::Openbsd
    }

    /// The notes that ask `EVFILT_READ` to report a regular file that is read to its end.
    pub(crate) fn notes_at_eof(self) -> u32 {
        match self {
            // NOTE_FILE_POLL means nothing else there.
            Self::Openbsd => NOTE_EOF | NOTE_FILE_POLL,
            Self::Freebsd => NOTE_FILE_POLL,
            Self::Netbsd | Self::Macos => 0,
        }
    }

    /// `EVFILT_WRITE` is for regular files and directories, too.
    pub(crate) fn files_can_be_written(self) -> bool {
        self != Self::Netbsd
    }

    /// `NOTE_EXIT` comes with the status, without `NOTE_EXITSTATUS`.
    pub(crate) fn tells_exit_status(self) -> bool {
        self != Self::Macos
    }

    /// What is cleared of a user event is all of it, and not only that it was triggered.
    pub(crate) fn clears_user_event(self) -> bool {
        self == Self::Openbsd
    }
}
