// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

//! A program in Rust and its kqueues, where the module is loaded.

use std::ffi::c_void;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::ptr::null_mut;
use std::sync::Barrier;
use std::time::Duration;
use std::{fs, process, thread};

use linux_kqueue::*;

/// For what comes, however busy the machine is.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(120));
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

fn change(ident: impl TryInto<usize>, filter: i16, flags: u16) -> Kevent {
    Kevent::new(
        ident.try_into().ok().unwrap(),
        filter,
        flags,
        0,
        0,
        null_mut(),
    )
}

/// The one event that comes.
fn one(kq: &Kqueue) -> Kevent {
    let mut events = [Kevent::ZERO; 2];
    assert_eq!(kq.kevent(&[], &mut events, PATIENCE), Ok(1));
    events[0]
}

/// None is there.
fn assert_none(kq: &Kqueue) {
    assert_eq!(kq.kevent(&[], &mut [Kevent::ZERO], AT_ONCE), Ok(0));
}

#[test]
fn tells_of_bytes_to_read() {
    let kq = kqueue().unwrap();
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let mark = &raw const kq as *mut c_void;

    let watch = Kevent {
        udata: mark,
        ..change(near.as_raw_fd(), EVFILT_READ, EV_ADD)
    };
    kq.change(&[watch]).unwrap();
    assert_none(&kq);

    far.write_all(b"hello").unwrap();
    let event = one(&kq);
    assert_eq!(event.ident, near.as_raw_fd() as usize);
    assert_eq!(event.filter, EVFILT_READ);
    assert_eq!(event.data, 5);
    assert_eq!(event.udata, mark);
    assert_eq!(event.answer(), None);

    near.read_exact(&mut [0; 5]).unwrap();
    assert_none(&kq);

    drop(far);
    assert_eq!(one(&kq).flags & EV_EOF, EV_EOF);
}

#[test]
fn changes_and_events_go_through_one_call() {
    let kq = kqueue().unwrap();
    let (_near, far) = UnixStream::pair().unwrap();
    let mut events = [Kevent::ZERO; 8];

    let watch = change(far.as_raw_fd(), EVFILT_WRITE, EV_ADD);
    assert_eq!(kevent(&kq, &[watch], &mut events, PATIENCE), Ok(1));
    assert_eq!(events[0].ident, far.as_raw_fd() as usize);
    assert_eq!(events[0].filter, EVFILT_WRITE);
    assert_eq!(events[1..], [Kevent::ZERO; 7]);
}

#[test]
fn no_timeout_waits_and_zero_does_not() {
    let kq = kqueue().unwrap();
    let timer = Kevent {
        fflags: NOTE_MSECONDS,
        data: 20,
        ..change(7usize, EVFILT_TIMER, EV_ADD | EV_ONESHOT)
    };
    let mut events = [Kevent::ZERO];

    assert_none(&kq);
    // What is longer than there are numbers is for ever too.
    for timeout in [None, Some(Duration::MAX)] {
        assert_eq!(kq.kevent(&[timer], &mut events, timeout), Ok(1));
        assert_eq!((events[0].ident, events[0].data), (7, 1));
    }
    assert_none(&kq);
}

#[test]
fn another_thread_triggers_a_user_event() {
    let kq = kqueue().unwrap();
    let trigger = Kevent {
        fflags: NOTE_TRIGGER | NOTE_FFOR | 0xabc,
        ..change(1usize, EVFILT_USER, 0)
    };

    kq.change(&[change(1usize, EVFILT_USER, EV_ADD | EV_CLEAR)])
        .unwrap();
    assert_none(&kq);
    thread::scope(|scope| {
        scope.spawn(|| kq.change(&[trigger]).unwrap());
        assert_eq!(one(&kq).fflags, 0xabc);
    });
    assert_none(&kq);
}

#[test]
fn an_event_that_is_delivered_once_goes_to_one_thread() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 100;
    let kq = kqueue().unwrap();
    let ready = Barrier::new(THREADS);

    for i in 0..ROUNDS {
        let user = Kevent {
            fflags: NOTE_TRIGGER,
            ..change(i, EVFILT_USER, EV_ADD | EV_ONESHOT)
        };
        kq.change(&[user]).unwrap();
    }
    let mut seen: Vec<usize> = thread::scope(|scope| {
        let takers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let (mut seen, mut event) = (Vec::new(), [Kevent::ZERO]);
                    ready.wait();
                    while kq.kevent(&[], &mut event, AT_ONCE) == Ok(1) {
                        seen.push(event[0].ident);
                    }
                    seen
                })
            })
            .collect();
        takers
            .into_iter()
            .flat_map(|taker| taker.join().unwrap())
            .collect()
    });
    seen.sort_unstable();
    assert_eq!(seen, (0..ROUNDS).collect::<Vec<_>>());
}

#[test]
fn a_change_is_answered_where_there_is_room() {
    let kq = kqueue().unwrap();
    let mut events = [Kevent::ZERO; 2];
    let add = change(1usize, EVFILT_USER, EV_ADD | EV_RECEIPT);
    let missing = change(2usize, EVFILT_USER, EV_DELETE);

    assert_eq!(kq.kevent(&[add, missing], &mut events, PATIENCE), Ok(2));
    assert_eq!(events[0].answer(), Some(Ok(())));
    assert_eq!(events[1].answer(), Some(Err(Errno::ENOENT)));

    assert_eq!(kq.change(&[missing]), Err(Errno::ENOENT));
    assert_eq!(kq.change(&[add]), Ok(()));
}

#[test]
fn a_closed_descriptor_is_watched_no_more() {
    let kq = kqueue().unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    let fd = near.as_raw_fd();
    // What keeps the socket open.
    let _other = near.try_clone().unwrap();

    kq.change(&[change(fd, EVFILT_READ, EV_ADD)]).unwrap();
    far.write_all(b"hello").unwrap();
    drop(near);
    assert_none(&kq);
}

#[test]
fn dropping_a_kqueue_closes_it() {
    let (outer, inner) = (kqueue().unwrap(), kqueue().unwrap());
    let fd = inner.fd();

    outer.change(&[change(fd, EVFILT_READ, EV_ADD)]).unwrap();
    drop(inner);
    // Unless another thread of this program has its number by now, it is free.
    let gone = outer.change(&[change(fd, EVFILT_READ, EV_DELETE)]);
    assert!(
        matches!(gone, Err(Errno::EBADF | Errno::ENOENT)),
        "{gone:?}"
    );
}

/// Whether it is to be closed on exec, as the kernel tells.
fn close_on_exec(kq: &Kqueue) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", kq.fd())).unwrap();
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .unwrap();
    i32::from_str_radix(flags.trim(), 8).unwrap() & O_CLOEXEC != 0
}

#[test]
fn flags_say_whether_exec_closes_it() {
    let plain = kqueue().unwrap();
    assert!(!close_on_exec(&plain));
    assert!(close_on_exec(&kqueue1(O_CLOEXEC).unwrap()));
    assert!(!close_on_exec(&plain.another(Flavour::OpenBsd, 0).unwrap()));
    assert!(close_on_exec(
        &plain.another(Flavour::OpenBsd, O_CLOEXEC).unwrap()
    ));

    assert_eq!(kqueue1(1).unwrap_err(), Errno::EINVAL);
    assert_eq!(
        plain.another(Flavour::OpenBsd, 1).unwrap_err(),
        Errno::EINVAL
    );
}

#[test]
fn a_flavour_decides_what_becomes_of_udata() {
    let openbsd = kqueue().unwrap();
    let freebsd = kqueue_as(Flavour::FreeBsd, 0).unwrap();
    let netbsd = openbsd.another(Flavour::NetBsd, 0).unwrap();
    let (old, new) = (1 as *mut c_void, 2 as *mut c_void);

    for (kq, expected) in [(&openbsd, old), (&freebsd, new), (&netbsd, new)] {
        let add = Kevent {
            udata: old,
            ..change(1usize, EVFILT_USER, EV_ADD)
        };
        let trigger = Kevent {
            fflags: NOTE_TRIGGER,
            udata: new,
            ..change(1usize, EVFILT_USER, 0)
        };
        kq.change(&[add, trigger]).unwrap();
        assert_eq!(one(kq).udata, expected);
    }
}

#[test]
fn tells_of_a_process_that_ends() {
    let kq = kqueue().unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "read line; exit 3"])
        .stdin(process::Stdio::piped())
        .spawn()
        .unwrap();

    let watch = Kevent {
        fflags: NOTE_EXIT,
        ..change(child.id(), EVFILT_PROC, EV_ADD)
    };
    kq.change(&[watch]).unwrap();
    assert_none(&kq);
    drop(child.stdin.take());
    let event = one(&kq);
    assert_eq!(event.ident, child.id() as usize);
    assert_eq!(event.fflags, NOTE_EXIT);
    assert_eq!(event.data, 3 << 8);
    assert_eq!(child.wait().unwrap().code(), Some(3));

    let nobody = change(child.id(), EVFILT_PROC, EV_ADD);
    assert_eq!(kq.change(&[nobody]), Err(Errno::ESRCH));
}

#[test]
fn counts_signals() {
    // Ignored where nobody handles it.
    const SIGURG: usize = 23;
    let kq = kqueue().unwrap();

    kq.change(&[change(SIGURG, EVFILT_SIGNAL, EV_ADD)]).unwrap();
    let kill = format!("kill -URG {0} && kill -URG {0}", process::id());
    assert!(Command::new("sh")
        .args(["-c", &kill])
        .status()
        .unwrap()
        .success());
    assert_eq!(one(&kq).data, 2);
}

#[test]
fn what_is_no_kqueue_is_a_bad_descriptor() {
    let null = OwnedFd::from(fs::File::open("/dev/null").unwrap());
    let kq = Kqueue::from(null);

    assert_eq!(kq.change(&[]), Err(Errno::EBADF));
    assert_eq!(kq.another(Flavour::OpenBsd, 0).unwrap_err(), Errno::EBADF);
    assert_eq!(kq.filter_by_name(c"EVFILT_READ"), Err(Errno::EBADF));
}

#[test]
fn filters_have_names() {
    let kq = kqueue().unwrap();
    let mut buffer = [0; KFILTER_MAXNAME];

    assert_eq!(kq.filter_by_name(c"EVFILT_VNODE"), Ok(EVFILT_VNODE));
    assert_eq!(kq.filter_name(EVFILT_USER, &mut buffer), Ok(c"EVFILT_USER"));
    assert_eq!(kq.filter_by_name(c"EVFILT_NONE"), Err(Errno::ENOENT));
    assert_eq!(kq.filter_name(99, &mut buffer), Err(Errno::ENOENT));
}

#[test]
fn is_a_descriptor_of_the_standard_library() {
    let kq = kqueue().unwrap();
    let fd = kq.fd();
    assert_eq!(kq.as_fd().as_raw_fd(), fd);

    let owned = OwnedFd::from(kq);
    assert_eq!(owned.as_raw_fd(), fd);
    let raw = Kqueue::from(owned).into_raw_fd();
    // SAFETY: It was given away a line above, still open.
    let kq = Kqueue::from(unsafe { OwnedFd::from_raw_fd(raw) });
    assert_none(&kq);

    let error = io::Error::from(Errno::EBADF);
    assert_eq!(error.raw_os_error(), Some(9));
    assert_eq!(
        format!("{:?}, {:?}", Errno::ENOENT, Errno(1)),
        "ENOENT, Errno(1)"
    );
}
