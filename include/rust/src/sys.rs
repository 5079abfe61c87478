// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

//! The system calls that a kqueue needs, made without libc.

use core::arch::asm;
use core::ffi::CStr;

use crate::Errno;

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!(
    "linux-kqueue makes its own system calls, and knows how on Linux on x86_64 and aarch64 only"
);

#[cfg(target_arch = "x86_64")]
mod number {
    pub const CLOSE: usize = 3;
    pub const IOCTL: usize = 16;
    pub const OPENAT: usize = 257;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const CLOSE: usize = 57;
    pub const IOCTL: usize = 29;
    pub const OPENAT: usize = 56;
}

/// What the kernel returns: a number below 0, and not below -4095, is an error's.
fn result(value: isize) -> Result<i32, Errno> {
    if value < 0 {
        Err(Errno(-value as i32))
    } else {
        Ok(value as i32)
    }
}

/// # Safety
///
/// The caller answers for what the system call does, and for what it is given.
#[cfg(target_arch = "x86_64")]
unsafe fn syscall(number: usize, args: [usize; 3]) -> Result<i32, Errno> {
    let value: isize;

    // SAFETY: The kernel leaves all registers alone but for rax, which has the result, and
    // rcx and r11, which the instruction itself uses. It does not touch the stack. For
    // the rest the caller answers.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => value,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result(value)
}

/// # Safety
///
/// The caller answers for what the system call does, and for what it is given.
#[cfg(target_arch = "aarch64")]
unsafe fn syscall(number: usize, args: [usize; 3]) -> Result<i32, Errno> {
    let value: isize;

    // SAFETY: The kernel leaves all registers alone but for x0, which has the result. It
    // does not touch the stack. For the rest the caller answers.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] as isize => value,
            in("x1") args[1],
            in("x2") args[2],
            options(nostack),
        );
    }
    result(value)
}

/// open(2) of a file that is there, for reading and writing.
pub(crate) fn open(path: &CStr, flags: i32) -> Result<i32, Errno> {
    const AT_FDCWD: isize = -100;
    const O_RDWR: i32 = 2;

    // SAFETY: `path` ends with a NUL, and is there during the call. That a descriptor is
    // made is nobody's harm.
    unsafe {
        syscall(
            number::OPENAT,
            [
                AT_FDCWD as usize,
                path.as_ptr() as usize,
                (O_RDWR | flags) as usize,
            ],
        )
    }
}

/// close(2).
///
/// # Safety
///
/// The descriptor is the caller's, who does not use it again.
pub(crate) unsafe fn close(fd: i32) {
    // SAFETY: The caller's promise. That there was an error does not mean that it were
    // open still.
    let _ = unsafe { syscall(number::CLOSE, [fd as usize, 0, 0]) };
}

/// ioctl(2).
///
/// # Safety
///
/// `argument` is what the request wants, in every file that `fd` may be.
pub(crate) unsafe fn ioctl(fd: i32, request: u32, argument: usize) -> Result<i32, Errno> {
    // SAFETY: The caller's promise.
    unsafe { syscall(number::IOCTL, [fd as usize, request as usize, argument]) }
}
