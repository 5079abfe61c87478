// SPDX-License-Identifier: GPL-2.0

//! Descriptors and the tables they are in.

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    fs::{file::LocalFile, File},
    prelude::*,
    sync::aref::ARef,
    task::Task,
};

/// The identity of a file table (`struct files_struct`): who owns a kqueue.
///
/// It is compared, never followed, but for the methods that say so: a table is never kept alive
/// by us, as that would keep its descriptors open past the process's exit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilesId(usize);

impl FilesId {
    /// The current task's table.
    pub(crate) fn current() -> Self {
        // SAFETY: The current task's own `files` field, which only itself changes.
        Self::of(unsafe { (*Task::current_raw()).files })
    }

    /// The identity of the table at `files`, which need not be there any more.
    pub(crate) fn of(files: *const bindings::files_struct) -> Self {
        Self(files as usize)
    }

    /// The address, to compute a hash of.
    pub(crate) fn addr(self) -> usize {
        self.0
    }

    fn as_ptr(self) -> *mut bindings::files_struct {
        self.0 as *mut bindings::files_struct
    }

    /// Whether slot `fd` holds `file` at the moment. Any context but interrupts.
    ///
    /// # Safety
    ///
    /// The table is alive: it is the current task's, or being closed by the caller's caller.
    pub(crate) unsafe fn holds(self, fd: u32, file: &File) -> bool {
        // SAFETY: By this function's requirements. The helper compares nothing itself and takes
        // the RCU read lock for the array of slots.
        let slot = unsafe { bindings::kq_files_lookup(self.as_ptr(), fd) };
        slot.cast() == file.as_ptr()
    }

    /// Whether the last user of the table is closing all of it.
    ///
    /// # Safety
    ///
    /// As [`Self::holds`].
    pub(crate) unsafe fn is_dying(self) -> bool {
        // SAFETY: By this function's requirements.
        unsafe { bindings::kq_files_dying(self.as_ptr()) }
    }

    /// The first descriptor, from `first` on, whose file `matches` likes. Takes the table's lock;
    /// `matches` runs under it, and is given files whose last reference may be gone when the table
    /// is dying: it may compare addresses only.
    ///
    /// # Safety
    ///
    /// As [`Self::holds`].
    pub(crate) unsafe fn find<F>(self, first: u32, mut matches: F) -> Option<u32>
    where
        F: FnMut(*mut bindings::file) -> bool,
    {
        /// # Safety
        ///
        /// `data` points to an `F` that nobody else uses.
        unsafe extern "C" fn each<F: FnMut(*mut bindings::file) -> bool>(
            data: *const kernel::ffi::c_void,
            file: *mut bindings::file,
            fd: kernel::ffi::c_uint,
        ) -> kernel::ffi::c_int {
            // SAFETY: By this function's requirements.
            let matches = unsafe { &mut *data.cast_mut().cast::<F>() };
            if matches(file) {
                fd as i32 + 1
            } else {
                0
            }
        }

        // SAFETY: By this function's requirements the table is alive; `each` gets the closure it
        // is made for, which is a local that outlives the call.
        let ret = unsafe {
            bindings::iterate_fd(
                self.as_ptr(),
                first,
                Some(each::<F>),
                (&raw mut matches).cast_const().cast(),
            )
        };
        u32::try_from(ret - 1).ok()
    }
}

/// The open file behind descriptor `fd` of the current task. `EBADF` where there is none, or an
/// `O_PATH` one.
///
/// Not to be called within `fdget_pos()`, that is, from read, write or lseek of a file.
pub(crate) fn fget(fd: usize) -> Result<ARef<File>> {
    let fd = u32::try_from(fd).map_err(|_| EBADF)?;
    if fd > i32::MAX as u32 {
        return Err(EBADF);
    }
    let file = LocalFile::fget(fd)?;
    // SAFETY: We are called from ioctl, which does not hold `fdget_pos()`; so the reference may
    // be shared with other threads.
    Ok(unsafe { LocalFile::assume_no_fdget_pos(file) })
}

/// As [`fget`], of `O_PATH` ones too.
pub(crate) fn fget_raw(fd: usize) -> Result<ARef<File>> {
    let fd = u32::try_from(fd).map_err(|_| EBADF)?;
    if fd > i32::MAX as u32 {
        return Err(EBADF);
    }
    // SAFETY: No requirement: it looks in the current task's table.
    let file = NonNull::new(unsafe { bindings::fget_raw(fd) }).ok_or(EBADF)?;
    // SAFETY: The reference is ours. As in `fget`, no `fdget_pos()` is held.
    Ok(unsafe { ARef::from_raw(file.cast()) })
}

/// Whether what is open at descriptor `fd` of the current task [is plain](FileKind::is_plain). It may
/// be something else by the next moment. Any context but interrupts.
pub(crate) fn is_plain(fd: u32) -> bool {
    // SAFETY: No requirement: it looks in the current task's table.
    unsafe { bindings::kq_fd_is_plain(fd) }
}

/// Closes descriptor `fd` of the current task. Process context, may sleep.
///
/// # Safety
///
/// The task is not in a system call that has looked the descriptor up by `fdget()`.
pub(crate) unsafe fn close(fd: u32) {
    // SAFETY: By this function's requirements. The result tells that it was not open.
    unsafe { bindings::close_fd(fd) };
}

/// What kind of file `file` is, as far as filters ask.
pub(crate) trait FileKind {
    /// Whether nobody but the caller refers to the file.
    fn is_unshared(&self) -> bool;
    /// Whether the file has a poll operation.
    fn can_poll(&self) -> bool;
    /// `S_IFMT` bits of the inode's mode.
    fn file_type(&self) -> u32;
    /// Whether it is a regular file or a directory, and has no poll operation.
    fn is_plain(&self) -> bool;
    /// The device's major number.
    fn rdev_major(&self) -> u32;
}

impl FileKind for File {
    fn is_unshared(&self) -> bool {
        // SAFETY: `self` is a live file.
        unsafe { bindings::kq_file_is_unshared(self.as_ptr()) }
    }

    fn can_poll(&self) -> bool {
        // SAFETY: `self` is a live file.
        unsafe { bindings::kq_file_has_poll(self.as_ptr()) }
    }

    fn file_type(&self) -> u32 {
        // SAFETY: `self` is a live file.
        u32::from(unsafe { bindings::kq_file_mode(self.as_ptr()) }) & bindings::S_IFMT
    }

    fn is_plain(&self) -> bool {
        // SAFETY: `self` is a live file.
        unsafe { bindings::kq_file_is_plain(self.as_ptr()) }
    }

    fn rdev_major(&self) -> u32 {
        // SAFETY: `self` is a live file.
        unsafe { bindings::kq_file_rdev_major(self.as_ptr()) }
    }
}

/// Whether `file` may know `FIONREAD`.
#[inline(always)]
pub(crate) fn may_fionread(file: &File) -> bool {
    // SAFETY: `file` is a live file, and has operations.
    unsafe { (*(*file.as_ptr()).f_op).unlocked_ioctl }.is_some()
}

/// `FIONREAD` of `file`; `uaddr` are four bytes of user memory that may be written over. Process
/// context, may sleep.
pub(crate) fn fionread(file: &File, uaddr: usize) -> Option<i64> {
    let mut value = 0;
    // SAFETY: `file` is a live file, `value` a local. `uaddr` is checked as every user address is,
    // by what writes there.
    let ret = unsafe { bindings::kq_file_fionread(file.as_ptr(), uaddr, &mut value) };
    (ret == 0).then_some(i64::from(value))
}
