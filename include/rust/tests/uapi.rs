// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR BSD-2-Clause

//! The constants are those of the header that C programs include, and all of them.

use std::collections::BTreeMap;

use linux_kqueue::*;

const HEADER: &str = include_str!("../../uapi/linux/kqueue.h");

/// What the crate calls by the same names.
fn ours() -> BTreeMap<&'static str, i64> {
    macro_rules! by_name {
        ($($name:ident)*) => { BTreeMap::from([$((stringify!($name), $name as i64)),*]) };
    }
    let mut ours = by_name! {
        EVFILT_READ EVFILT_WRITE EVFILT_AIO EVFILT_VNODE EVFILT_PROC EVFILT_SIGNAL EVFILT_TIMER
        EVFILT_DEVICE EVFILT_EXCEPT EVFILT_USER EVFILT_EMPTY EVFILT_PROCDESC EVFILT_FS
        EVFILT_SYSCOUNT
        EV_ADD EV_DELETE EV_ENABLE EV_DISABLE EV_ONESHOT EV_CLEAR EV_RECEIPT EV_DISPATCH
        EV_UDATA_SPECIFIC EV_KEEPUDATA EV_SYSFLAGS EV_FLAG1 EV_ERROR EV_EOF
        NOTE_LOWAT NOTE_EOF NOTE_OOB NOTE_FILE_POLL
        NOTE_DELETE NOTE_WRITE NOTE_EXTEND NOTE_ATTRIB NOTE_LINK NOTE_RENAME NOTE_REVOKE
        NOTE_TRUNCATE NOTE_OPEN NOTE_CLOSE NOTE_CLOSE_WRITE NOTE_READ
        VQ_MOUNT VQ_UNMOUNT
        NOTE_EXIT NOTE_FORK NOTE_EXEC NOTE_REAP NOTE_EXITSTATUS NOTE_PCTRLMASK NOTE_PDATAMASK
        NOTE_TRACK NOTE_TRACKERR NOTE_CHILD
        NOTE_SECONDS NOTE_MSECONDS NOTE_USECONDS NOTE_NSECONDS NOTE_ABSTIME
        NOTE_FFNOP NOTE_FFAND NOTE_FFOR NOTE_FFCOPY NOTE_FFCTRLMASK NOTE_FFLAGSMASK NOTE_TRIGGER
        KQUEUE_CLOEXEC KFILTER_MAXNAME
    };
    ours.extend([
        ("KQUEUE_FLAVOUR_OPENBSD", Flavour::OpenBsd as i64),
        ("KQUEUE_FLAVOUR_FREEBSD", Flavour::FreeBsd as i64),
        ("KQUEUE_FLAVOUR_NETBSD", Flavour::NetBsd as i64),
        ("KQUEUE_FLAVOUR_MACOS", Flavour::MacOs as i64),
        (
            "KQUEUE_IOC_MAGIC",
            i64::from((KQUEUE_IOC_KEVENT >> 8) & 0xff),
        ),
    ]);
    ours
}

/// The header's `#define NAME NUMBER`.
fn theirs() -> BTreeMap<&'static str, i64> {
    fn number(text: &str) -> Option<i64> {
        let text = text
            .trim_matches(|c| c == '(' || c == ')')
            .trim_end_matches('U');
        match text.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }
    HEADER
        .lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("#define")?.split_whitespace();
            Some((words.next()?, number(words.next()?)?))
        })
        .collect()
}

#[test]
fn constants_are_those_of_the_header() {
    assert_eq!(ours(), theirs());
}

#[test]
fn structures_are_as_large_as_in_the_header() {
    // The size is a part of a request's number, and these are the header's.
    let size = |request: u32| (request >> 16) & 0x3fff;

    assert_eq!(size_of::<Kevent>(), 32);
    assert_eq!(size(KQUEUE_IOC_KEVENT), 40);
    assert_eq!(size(KQUEUE_IOC_CREATE), 24);
    assert_eq!(size(KQUEUE_IOC_FLAVOUR), 4);
    assert_eq!(size(KFILTER_BYNAME), 24);
    assert_eq!(size(KFILTER_BYFILTER), 24);
}
