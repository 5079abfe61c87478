// SPDX-License-Identifier: GPL-2.0

//! kevent(2): changes, then events.

use crate::{
    queue::Kqueue,
    scan::EventList,
    uapi::*,
    wrap::{
        task::{killed, relax},
        uaccess,
        waitqueue::{interrupted, Woken},
    },
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{hrtimer::HrTimerExpires, Instant, Monotonic, NSEC_PER_SEC},
};

/// So many changes are applied without a break.
const BREATH: usize = 8;

/// When to give up waiting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// At once.
    Now,
    /// After so many nanoseconds.
    After(i64),
    Never,
}

impl Until {
    /// From the timeout at user address `addr`, 0 for none. `EFAULT`; `EINVAL` where it is not a
    /// time.
    #[inline]
    fn read(addr: usize) -> Result<Self> {
        if addr == 0 {
            return Ok(Self::Never);
        }
        let [sec, nsec] = uaccess::read_pair(addr)?;
        let (sec, nsec) = (sec as i64, nsec as i64);
        if sec == 0 && nsec == 0 {
            return Ok(Self::Now);
        }
        if sec < 0 || !(0..NSEC_PER_SEC).contains(&nsec) {
            return Err(EINVAL);
        }
        // What does not fit is some 292 years from now.
        Ok(sec
            .checked_mul(NSEC_PER_SEC)
            .and_then(|ns| ns.checked_add(nsec))
            .map_or(Self::Never, Self::After))
    }
}

/// kevent(2) on `kq`. Returns the number of events stored, or an errno as kevent(2) has it.
/// Process context, may sleep.
pub(crate) fn kevent(kq: &Arc<Kqueue>, args: &KqueueKevent, layout: Layout) -> Answer {
    let (Ok(nchanges), Ok(nevents)) = (
        usize::try_from(args.nchanges),
        usize::try_from(args.nevents),
    ) else {
        return EINVAL.into();
    };
    if args.flags != 0 {
        return EINVAL.into();
    }
    let until = match Until::read(args.timeout as usize) {
        Ok(until) => until,
        Err(e) => return e.into(),
    };
    let addr = args.eventlist as usize;
    if nchanges != 0 {
        let list = EventList {
            addr,
            room: nevents,
            layout,
        };
        let errors = change(kq, args.changelist as usize, nchanges, list);
        if errors != Answer::of(0) {
            return errors;
        }
    }
    wait(kq, addr, nevents, layout, until)
}

/// Applies the changes, and returns how many `EV_ERROR` events were stored.
#[inline(never)]
fn change(kq: &Arc<Kqueue>, addr: usize, count: usize, mut list: EventList) -> Answer {
    let (mut at, mut left, mut errors) = (addr, count, 0_usize);

    loop {
        let mut kev = match list.layout.read_one(at) {
            Ok(kev) => kev,
            Err(e) => return e.into(),
        };
        let result = kq.register(&kev);
        if result.is_err() || kev.flags & EV_RECEIPT != 0 {
            if list.room != 0 {
                kev.flags = EV_ERROR;
                kev.data = result.map_or_else(|e| -i64::from(e.to_errno()), |()| 0);
                if let Err(e) = list.store(core::slice::from_ref(&kev)) {
                    return e.into();
                }
                list.advance(1);
                errors = errors.wrapping_add(1);
            } else if let Err(e) = result {
                return e.into();
            }
        }
        left = left.wrapping_sub(1);
        if left == 0 {
            return Answer::of(errors);
        }
        at = at.wrapping_add(list.layout.size());
        if left % BREATH == 0 {
            // A list may be as long as memory: its caller can be killed, and others can run.
            relax();
            if killed() {
                return EINTR.into();
            }
        }
    }
}

/// Waits for events and stores them. `EINTR`, `EBADF`, `EFAULT`.
#[inline]
fn wait(kq: &Kqueue, addr: usize, room: usize, layout: Layout, until: Until) -> Answer {
    if room == 0 {
        return Answer::of(0);
    }
    kq.settle();
    if until == Until::Now && kq.has_nothing() {
        return Answer::of(0);
    }
    let answer = kq.scan(addr, room, layout);
    if answer != Answer::of(0) || until == Until::Now {
        return answer;
    }
    sleep(kq, addr, room, layout, until)
}

/// The same, when none were there.
#[inline(never)]
fn sleep(kq: &Kqueue, addr: usize, room: usize, layout: Layout, until: Until) -> Answer {
    let now = || Instant::<Monotonic>::now().as_nanos();
    let time = match until {
        // As above, of what does not fit.
        Until::After(time) => now().checked_add(time),
        Until::Now | Until::Never => None,
    };
    loop {
        // After the scan: who was woken for an event looks for it before anything else.
        if interrupted() {
            return EINTR.into();
        }
        let woken = kq.waiters().sleep_unless(time, || kq.is_ready());
        let answer = kq.scan(addr, room, layout);
        if answer != Answer::of(0) || woken == Woken::TimedOut {
            return answer;
        }
    }
}
