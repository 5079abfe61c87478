// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

//! kqueue(2) and kevent(2) on Linux, for programs in Rust.
//!
//! The kqueue module has to be loaded: there is a `/dev/kqueue` then. The names are those
//! of the manual pages, which say what everything does; what is said here is how it is
//! called from Rust.
//!
//! Wait until there is something to read, for five seconds at most:
//!
//! ```no_run
//! use linux_kqueue::{Kevent, EVFILT_READ, EV_ADD};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), linux_kqueue::Errno> {
//! let kq = linux_kqueue::kqueue()?;
//! let change = Kevent::new(0, EVFILT_READ, EV_ADD, 0, 0, std::ptr::null_mut());
//! let mut events = [Kevent::ZERO];
//!
//! match kq.kevent(&[change], &mut events, Some(Duration::from_secs(5)))? {
//!     0 => println!("nothing came"),
//!     _ => println!("{} bytes to read", events[0].data),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Neither the standard library nor libc is needed: the crate makes its system calls
//! itself, on x86_64, where it is tested, and on aarch64. With the feature `std` a
//! [`Kqueue`] is a descriptor as the standard library knows them, and an [`Errno`] becomes
//! a `std::io::Error`.
//!
//! # Descriptors
//!
//! What is watched is named by its number, not borrowed. That is no hole: a kqueue reads
//! nothing from a descriptor, and the kernel stops watching it when it is closed, at
//! once, so that no event is ever told of the next one that has its number.
//!
//! # fork
//!
//! A child does not have its parent's kqueues: their numbers are free there. A [`Kqueue`]
//! that a child of fork(2) has in its memory is none, and dropping it might close what
//! got the number since: give it to `core::mem::forget`.

#![no_std]

#[cfg(feature = "std")]
extern crate std;

mod errno;
pub mod raw;
#[cfg(feature = "std")]
mod standard;
mod sys;
pub mod uapi;

use core::ffi::CStr;
use core::time::Duration;

pub use errno::Errno;
pub use uapi::*;

/// The result of a call that may fail with an error number.
pub type Result<T> = core::result::Result<T, Errno>;

/// In the flags of [`kqueue1`]: close it on exec. What open(2) has by this name.
pub const O_CLOEXEC: i32 = 0o2_000_000;

/// A kqueue, which is closed when it is dropped.
#[derive(Debug)]
pub struct Kqueue {
    /// The descriptor, which nobody else closes.
    fd: i32,
}

/// kqueue(2): a new kqueue. It stays open on exec.
///
/// # Errors
///
/// What open(2) of `/dev/kqueue` fails with: [`Errno::ENOENT`] where the module is not
/// loaded.
pub fn kqueue() -> Result<Kqueue> {
    kqueue1(0)
}

/// kqueue1(2): `flags` may hold [`O_CLOEXEC`].
///
/// # Errors
///
/// As [`kqueue`]; [`Errno::EINVAL`] for other flags.
pub fn kqueue1(flags: i32) -> Result<Kqueue> {
    // Nobody else knows this number.
    Ok(Kqueue {
        fd: raw::kqueue1(flags)?,
    })
}

/// kqueue1(2), as the program was written for: where the BSDs differ, the kqueue is as
/// `flavour` says.
///
/// # Errors
///
/// As [`kqueue1`].
pub fn kqueue_as(flavour: Flavour, flags: i32) -> Result<Kqueue> {
    let kq = kqueue1(flags)?;

    if flavour != Flavour::default() {
        raw::set_flavour(kq.fd, flavour)?;
    }
    Ok(kq)
}

/// kevent(2): [`Kqueue::kevent`] by its name.
///
/// # Errors
///
/// As that.
pub fn kevent(
    kq: &Kqueue,
    changelist: &[Kevent],
    eventlist: &mut [Kevent],
    timeout: Option<Duration>,
) -> Result<usize> {
    kq.kevent(changelist, eventlist, timeout)
}

impl Kqueue {
    /// kevent(2): applies the changes, in order, then waits for events.
    ///
    /// Returns how many at the beginning of `eventlist` were stored. With `timeout` it
    /// waits for no longer, and without one for ever; with an empty `eventlist` not at
    /// all.
    ///
    /// # Errors
    ///
    /// As kevent(2): that of a change there was no room to answer in `eventlist`;
    /// [`Errno::EINTR`], with the changes applied, when a signal was handled;
    /// [`Errno::EINVAL`] where a list is longer than an `int` can say.
    pub fn kevent(
        &self,
        changelist: &[Kevent],
        eventlist: &mut [Kevent],
        timeout: Option<Duration>,
    ) -> Result<usize> {
        let nchanges = i32::try_from(changelist.len()).map_err(|_| Errno::EINVAL)?;
        let nevents = i32::try_from(eventlist.len()).map_err(|_| Errno::EINVAL)?;
        let timeout = timeout.map(|time| Timespec {
            // Who waits for longer than there are numbers waits for ever.
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let timeout = match &timeout {
            Some(time) => &raw const *time,
            None => core::ptr::null(),
        };

        // SAFETY: Both lists are as long as is said, and the one that is written to is
        // nobody else's during the call. Every pattern of bits is a `Kevent`.
        let stored = unsafe {
            raw::kevent(
                self.fd,
                changelist.as_ptr(),
                nchanges,
                eventlist.as_mut_ptr(),
                nevents,
                timeout,
            )?
        };
        // Not negative, and not above `nevents`.
        Ok(stored as usize)
    }

    /// Applies changes, and collects no events.
    ///
    /// # Errors
    ///
    /// That of the first change that fails. Those after it are not applied.
    pub fn change(&self, changelist: &[Kevent]) -> Result<()> {
        self.kevent(changelist, &mut [], None)?;
        Ok(())
    }

    /// A new kqueue, made from this one: for where `/dev/kqueue` is out of reach, as it
    /// may be after chroot(2). `flags` may hold [`O_CLOEXEC`].
    ///
    /// # Errors
    ///
    /// [`Errno::EINVAL`] for other flags; [`Errno::EMFILE`] and the like.
    pub fn another(&self, flavour: Flavour, flags: i32) -> Result<Kqueue> {
        // Nobody else knows this number.
        Ok(Kqueue {
            fd: raw::create(self.fd, flags, flavour)?,
        })
    }

    /// KFILTER_BYNAME: the number of the filter of that name, such as `c"EVFILT_READ"`.
    ///
    /// # Errors
    ///
    /// [`Errno::ENOENT`] where there is none.
    pub fn filter_by_name(&self, name: &CStr) -> Result<i16> {
        raw::filter_by_name(self.fd, name)
    }

    /// KFILTER_BYFILTER: the name of the filter of that number, written to `buffer`, of
    /// which [`KFILTER_MAXNAME`] bytes are always enough.
    ///
    /// # Errors
    ///
    /// [`Errno::ENOENT`] where there is none.
    pub fn filter_name<'a>(&self, filter: i16, buffer: &'a mut [u8]) -> Result<&'a CStr> {
        raw::filter_name(self.fd, filter, buffer)
    }

    /// The number of its descriptor, which stays the kqueue's.
    pub fn fd(&self) -> i32 {
        self.fd
    }
}

impl Drop for Kqueue {
    fn drop(&mut self) {
        // SAFETY: It is the kqueue's, which is used no more.
        unsafe { sys::close(self.fd) };
    }
}
