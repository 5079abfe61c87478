// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

//! What the standard library's traits make of the rest.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::{Errno, Kqueue};

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        io::Error::from_raw_os_error(errno.0)
    }
}

impl AsFd for Kqueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: It is open as long as `self` is there.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl AsRawFd for Kqueue {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl IntoRawFd for Kqueue {
    fn into_raw_fd(self) -> RawFd {
        ManuallyDrop::new(self).fd
    }
}

impl From<Kqueue> for OwnedFd {
    fn from(kq: Kqueue) -> Self {
        // SAFETY: It is the kqueue's, which gives it away.
        unsafe { OwnedFd::from_raw_fd(kq.into_raw_fd()) }
    }
}

/// The descriptor of a kqueue, as one that was inherited is. With that of another file,
/// every call fails with [`Errno::EBADF`].
impl From<OwnedFd> for Kqueue {
    fn from(fd: OwnedFd) -> Self {
        Kqueue {
            fd: fd.into_raw_fd(),
        }
    }
}
