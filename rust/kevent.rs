// SPDX-License-Identifier: GPL-2.0

//! kevent(2): changes, then events.

use crate::{
    bindings,
    queue::Kqueue,
    scan::EventList,
    stack_vec::StackVec,
    uapi::*,
    wrap::{
        uaccess,
        waitqueue::{interrupted, Woken},
    },
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{hrtimer::HrTimerExpires, Instant, Monotonic, NSEC_PER_SEC},
};

/// Changes read at once. They are on the stack.
const BATCH: usize = MOST / 2;

/// When to give up waiting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// At once.
    Now,
    /// At this monotonic time, in nanoseconds.
    Time(i64),
    Never,
}

impl Until {
    /// From the timeout at user address `addr`, 0 for none. `EFAULT`; `EINVAL` where it is not a
    /// time.
    fn read(addr: usize) -> Result<Self> {
        if addr == 0 {
            return Ok(Self::Never);
        }
        let ts: Timespec = uaccess::read_words(addr)?;
        if ts.tv_sec < 0 || !(0..NSEC_PER_SEC).contains(&ts.tv_nsec) {
            return Err(EINVAL);
        }
        if ts.tv_sec == 0 && ts.tv_nsec == 0 {
            return Ok(Self::Now);
        }
        // What does not fit is some 292 years from now.
        let now = Instant::<Monotonic>::now().as_nanos();
        Ok(ts
            .tv_sec
            .checked_mul(NSEC_PER_SEC)
            .and_then(|ns| ns.checked_add(ts.tv_nsec)?.checked_add(now))
            .map_or(Self::Never, Self::Time))
    }
}

/// kevent(2) on `kq`. Returns the number of events stored, or an errno as kevent(2) has it.
/// Process context, may sleep.
pub(crate) fn kevent(kq: &Arc<Kqueue>, args: &KqueueKevent, layout: Layout) -> Result<usize> {
    let (Ok(nchanges), Ok(nevents)) = (
        usize::try_from(args.nchanges),
        usize::try_from(args.nevents),
    ) else {
        return Err(EINVAL);
    };
    if args.flags != 0 {
        return Err(EINVAL);
    }
    let until = Until::read(args.timeout as usize)?;
    let mut list = EventList {
        addr: args.eventlist as usize,
        room: nevents,
        layout,
    };

    let errors = change(kq, args.changelist as usize, nchanges, &mut list)?;
    if errors != 0 {
        return Ok(errors);
    }
    if nevents == 0 {
        return Ok(0);
    }
    wait(kq, list, until)
}

/// Applies the changes, and returns how many `EV_ERROR` events were stored.
fn change(kq: &Arc<Kqueue>, addr: usize, count: usize, list: &mut EventList) -> Result<usize> {
    let mut batch = StackVec::<Kevent, BATCH>::new();
    let (mut done, mut errors) = (0, 0);

    while done < count {
        let n = BATCH.min(count - done);
        while batch.len() < n && batch.push(Kevent::default()).is_ok() {}
        let changes = batch.get_mut(..n).ok_or(EINVAL)?;
        let at = addr.wrapping_add(done * list.layout.size());
        list.layout.read(at, changes)?;
        for kev in changes {
            let result = kq.register(kev);
            if result.is_ok() && kev.flags & EV_RECEIPT == 0 {
                continue;
            }
            if list.room == 0 {
                result?;
                continue;
            }
            kev.flags = EV_ERROR;
            kev.data = result.map_or_else(|e| -i64::from(e.to_errno()), |()| 0);
            list.store(core::slice::from_ref(kev))?;
            list.advance(1);
            errors += 1;
        }
        done += n;
        if done < count {
            // A list may be as long as memory: its caller can be killed, and others can run.
            // SAFETY: No requirement but that one may sleep.
            unsafe { bindings::kq_cond_resched() };
            // SAFETY: No requirement.
            if unsafe { bindings::kq_fatal_signal_pending() } {
                return Err(EINTR);
            }
        }
    }
    Ok(errors)
}

/// Waits for events and stores them. `EINTR`, `EBADF`, `EFAULT`.
fn wait(kq: &Kqueue, list: EventList, until: Until) -> Result<usize> {
    kq.settle();
    let count = kq.scan(list)?;
    if count != 0 || until == Until::Now {
        return Ok(count);
    }
    sleep(kq, list, until)
}

/// The same, when none were there.
#[inline(never)]
fn sleep(kq: &Kqueue, list: EventList, until: Until) -> Result<usize> {
    let time = match until {
        Until::Time(time) => Some(time),
        Until::Now | Until::Never => None,
    };
    loop {
        // After the scan: who was woken for an event looks for it before anything else.
        if interrupted() {
            return Err(EINTR);
        }
        let woken = kq.waiters().sleep_unless(time, || kq.is_ready());
        let count = kq.scan(list)?;
        if count != 0 || woken == Woken::TimedOut {
            return Ok(count);
        }
    }
}
