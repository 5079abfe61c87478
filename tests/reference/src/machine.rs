// SPDX-License-Identifier: GPL-2.0

//! Calls, made for real.

use libc::{c_int, pid_t, sigval, timespec};
use reference::{
    abi::{Flavour, Kevent},
    call::{Answer, Call, End, How},
    generate::SIGNALS,
    world::FIRST,
};
use std::{ffi::CString, io, mem, ptr};

#[link(name = "kqueue", kind = "static")]
extern "C" {
    fn kqueue() -> c_int;
    fn kqueue_as_freebsd() -> c_int;
    fn kqueue_as_netbsd() -> c_int;
    fn kqueue_as_macos() -> c_int;
    fn kevent(
        kq: c_int,
        changes: *const Kevent,
        nchanges: c_int,
        events: *mut Kevent,
        nevents: c_int,
        timeout: *const timespec,
    ) -> c_int;
}

extern "C" {
    fn sigqueue(pid: pid_t, signal: c_int, value: sigval) -> c_int;
}

/// Nobody has memory there.
const NOWHERE: *mut Kevent = 16 as *mut Kevent;

/// What tells a child to exit, and with what.
const EXIT: c_int = 40;

extern "C" fn caught(_signal: c_int) {}

fn check(result: c_int) -> c_int {
    assert!(result >= 0, "{}", io::Error::last_os_error());
    result
}

/// What a call returned.
fn answer(result: i64) -> Answer {
    if result < 0 {
        Answer::Errno(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        Answer::Value(result)
    }
}

/// The process, as the model has it at the beginning. Files are made in the current directory.
pub struct Machine {
    children: Vec<pid_t>,
    names: Vec<u8>,
    buffer: Vec<u8>,
    events: Vec<Kevent>,
}

impl Machine {
    /// Sets up the process; once.
    pub fn new() -> Self {
        let [ignored, blocked, _, catch] = SIGNALS.map(c_int::from);
        // SAFETY: The handler does nothing, and so may run at any time.
        unsafe {
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
            libc::signal(ignored, libc::SIG_IGN);
            libc::signal(catch, caught as *const () as libc::sighandler_t);
            let mut set = mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, blocked);
            libc::sigprocmask(libc::SIG_BLOCK, &set, ptr::null_mut());
        }
        Self {
            children: Vec::new(),
            names: Vec::new(),
            buffer: vec![0; 1 << 17],
            events: vec![Kevent::default(); 64],
        }
    }

    /// Nothing is left of a sequence.
    pub fn reset(&mut self) {
        // SAFETY: No memory is passed; the descriptors are those of the sequence.
        unsafe {
            check(libc::syscall(libc::SYS_close_range, FIRST, c_int::MAX, 0) as c_int);
            for pid in self.children.drain(..) {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, ptr::null_mut(), 0);
            }
        }
        for name in mem::take(&mut self.names) {
            self.unlink(name);
        }
    }

    pub fn call(&mut self, call: &Call) -> Answer {
        // SAFETY: All that is passed is memory of that length, or nothing.
        answer(unsafe {
            match *call {
                Call::Kevent {
                    kq,
                    ref changes,
                    room,
                    writable,
                } => return self.kevent(kq, changes, room, writable),
                Call::Kqueue(flavour) => match flavour {
                    Flavour::Openbsd => kqueue(),
                    Flavour::Freebsd => kqueue_as_freebsd(),
                    Flavour::Netbsd => kqueue_as_netbsd(),
                    Flavour::Macos => kqueue_as_macos(),
                }
                .into(),
                Call::Pipe => {
                    let mut fds = [0; 2];
                    check(libc::pipe2(fds.as_mut_ptr(), libc::O_NONBLOCK));
                    return Answer::Two(fds[0], fds[1]);
                }
                Call::Socketpair => {
                    let mut fds = [0; 2];
                    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
                    check(libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()));
                    return Answer::Two(fds[0], fds[1]);
                }
                Call::Open(name) => {
                    if !self.names.contains(&name) {
                        self.names.push(name);
                    }
                    let path = path(name);
                    libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600).into()
                }
                Call::Dup(fd) => libc::dup(fd).into(),
                Call::Dup2(from, to) => libc::dup2(from, to).into(),
                Call::Close(fd) => libc::close(fd).into(),
                Call::Read(fd, len) => {
                    assert!(len <= self.buffer.len());
                    libc::read(fd, self.buffer.as_mut_ptr().cast(), len) as i64
                }
                Call::Write(fd, len) => {
                    assert!(len <= self.buffer.len());
                    libc::write(fd, self.buffer.as_ptr().cast(), len) as i64
                }
                Call::Shutdown(fd, how) => libc::shutdown(
                    fd,
                    match how {
                        How::Read => libc::SHUT_RD,
                        How::Write => libc::SHUT_WR,
                        How::Both => libc::SHUT_RDWR,
                    },
                )
                .into(),
                Call::Seek(fd, to) => libc::lseek(fd, to as i64, libc::SEEK_SET),
                Call::Truncate(fd, to) => libc::ftruncate(fd, to as i64).into(),
                Call::Chmod(fd) => libc::fchmod(fd, 0o600).into(),
                Call::Unlink(name) => self.unlink(name),
                Call::Kill(signal) => libc::kill(libc::getpid(), signal.into()).into(),
                Call::Spawn => self.spawn().into(),
                Call::End(pid, end) => {
                    match end {
                        End::Exit(code) => {
                            let value = sigval {
                                sival_ptr: code as usize as *mut libc::c_void,
                            };
                            check(sigqueue(pid, EXIT, value));
                        }
                        End::Signal(signal) => drop(check(libc::kill(pid, signal.into()))),
                    }
                    let mut info = mem::zeroed();
                    let how = libc::WEXITED | libc::WNOWAIT;
                    libc::waitid(libc::P_PID, pid as u32, &mut info, how).into()
                }
                Call::Wait(pid) => {
                    let mut status = 0;
                    check(libc::waitpid(pid, &mut status, 0));
                    self.children.retain(|&child| child != pid);
                    status.into()
                }
            }
        })
    }

    fn kevent(&mut self, kq: i32, changes: &[Kevent], room: usize, writable: bool) -> Answer {
        let now = timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        assert!(room <= self.events.len());
        let events = if writable {
            self.events.as_mut_ptr()
        } else {
            NOWHERE
        };
        // SAFETY: The lists are as long as is said, or nowhere.
        let n = unsafe {
            kevent(
                kq,
                changes.as_ptr(),
                changes.len() as c_int,
                events,
                room as c_int,
                &now,
            )
        };
        match usize::try_from(n) {
            Ok(n) => Answer::Events(self.events[..n].to_vec()),
            Err(_) => answer(n.into()),
        }
    }

    fn unlink(&self, name: u8) -> i64 {
        let path = path(name);
        // SAFETY: A string.
        unsafe { libc::unlink(path.as_ptr()) }.into()
    }

    /// A child that has none of our files by the time it is there.
    fn spawn(&mut self) -> pid_t {
        let mut fds = [0; 2];
        // SAFETY: There is one thread, so that the child may do what we may.
        unsafe {
            check(libc::pipe2(fds.as_mut_ptr(), 0));
            let pid = check(libc::fork());
            if pid == 0 {
                child(fds[1]);
            }
            check(libc::close(fds[1]));
            assert_eq!(0, libc::read(fds[0], self.buffer.as_mut_ptr().cast(), 1));
            check(libc::close(fds[0]));
            self.children.push(pid);
            pid
        }
    }
}

/// Waits for its end, with nothing open but `ready`, and then without that.
fn child(ready: c_int) -> ! {
    // SAFETY: What is passed is there.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let mut set = mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, EXIT);
        libc::sigprocmask(libc::SIG_BLOCK, &set, ptr::null_mut());
        libc::syscall(libc::SYS_close_range, FIRST, ready - 1, 0);
        libc::syscall(libc::SYS_close_range, ready + 1, c_int::MAX, 0);
        libc::close(ready);
        let mut info: libc::siginfo_t = mem::zeroed();
        while libc::sigwaitinfo(&set, &mut info) != EXIT {}
        libc::_exit(info.si_value().sival_ptr as c_int)
    }
}

fn path(name: u8) -> CString {
    CString::new(format!("file{name}")).expect("there is no NUL in it")
}
