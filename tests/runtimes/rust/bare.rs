// SPDX-License-Identifier: GPL-2.0

//! A program with a kqueue, and with neither the standard library nor libc. It exits
//! with 0 where all is as it should be, and with the line where it is not otherwise.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;
use core::ptr::null_mut;
use core::time::Duration;

use linux_kqueue::{
    Errno, Kevent, EVFILT_TIMER, EVFILT_USER, EV_ADD, EV_DELETE, EV_ONESHOT, EV_RECEIPT,
    NOTE_TRIGGER,
};

global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {}",
    sym start,
);

fn exit(status: u32) -> ! {
    // SAFETY: exit_group(2), which does not return.
    unsafe {
        asm!("syscall", in("rax") 231, in("rdi") status, options(noreturn, nostack));
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    exit(info.location().map_or(255, |location| location.line()));
}

extern "C" fn start() -> ! {
    let kq = linux_kqueue::kqueue().unwrap();
    let mut events = [Kevent::ZERO; 2];
    let user = |flags, fflags| Kevent::new(3, EVFILT_USER, flags, fflags, 0, null_mut());

    assert!(kq.kevent(&[], &mut events, Some(Duration::ZERO)) == Ok(0));
    kq.change(&[user(EV_ADD | EV_ONESHOT, 0), user(0, NOTE_TRIGGER)])
        .unwrap();
    assert!(kq.kevent(&[], &mut events, None) == Ok(1));
    assert!(events[0].ident == 3 && events[0].filter == EVFILT_USER);

    // It has gone; the timer is there, and has nothing to tell before its time.
    let timer = Kevent::new(
        4,
        EVFILT_TIMER,
        EV_ADD | EV_ONESHOT | EV_RECEIPT,
        0,
        10,
        null_mut(),
    );
    assert!(kq.kevent(&[user(EV_DELETE, 0), timer], &mut events, None) == Ok(2));
    assert!(events[0].answer() == Some(Err(Errno::ENOENT)));
    assert!(events[1].answer() == Some(Ok(())));
    assert!(kq.kevent(&[], &mut events, None) == Ok(1));
    assert!(events[0].ident == 4 && events[0].data == 1);
    drop(kq);
    exit(0);
}
