// SPDX-License-Identifier: GPL-2.0

//! `EVFILT_TIMER`.
//!
//! A periodic timer is not started again when it expires but when its event is delivered, and then
//! counts the periods that have passed. So a period may be short at no cost.

use super::{Filter, Filterops};
use crate::{
    bindings,
    knote::{Knote, KnoteState},
    uapi::*,
    wrap::hrtimer::{Clock, Expires, Timer},
};
use core::ptr;
use kernel::{
    alloc::{flags::GFP_KERNEL_ACCOUNT, KBox},
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        SetOnce,
    },
    time::NSEC_PER_SEC,
};

/// The operators.
pub(crate) const OPS: &Filterops = Filterops::of::<TimerFilter>();

struct TimerFilter;

/// When a timer expires.
struct Schedule {
    clock: Clock,
    /// The first time, in nanoseconds of the clock.
    first: i64,
    /// In nanoseconds; 0 for a timer that expires once.
    period: i64,
}

impl Schedule {
    /// What is asked for, from now on. `EINVAL` for a time that is negative or too long, for more
    /// than one unit, and for flags that say nothing about a time.
    fn of(fflags: u32, data: i64, flags: u16) -> Result<Self> {
        const UNITS: u32 = NOTE_SECONDS | NOTE_MSECONDS | NOTE_USECONDS | NOTE_NSECONDS;

        if fflags & !(UNITS | NOTE_ABSTIME) != 0 {
            return Err(EINVAL);
        }
        let unit = match fflags & UNITS {
            NOTE_SECONDS => NSEC_PER_SEC,
            0 | NOTE_MSECONDS => 1_000_000,
            NOTE_USECONDS => 1_000,
            NOTE_NSECONDS => 1,
            _ => return Err(EINVAL),
        };
        if data < 0 {
            return Err(EINVAL);
        }
        let time = data.max(1).checked_mul(unit).ok_or(EINVAL)?;
        if fflags & NOTE_ABSTIME != 0 {
            return Ok(Self {
                clock: Clock::Realtime,
                first: time,
                period: 0,
            });
        }
        Ok(Self {
            clock: Clock::Monotonic,
            first: Clock::Monotonic.now().checked_add(time).ok_or(EINVAL)?,
            period: if flags & EV_ONESHOT != 0 { 0 } else { time },
        })
    }
}

/// A timer, and what it counts.
///
/// All fields but the timers are used under the queue lock only.
#[pin_data]
struct Alarm {
    /// Of the clock that was first asked for.
    #[pin]
    timer: Timer<Alarm>,
    /// Of the other one, if that was asked for, too: see `prepare`.
    other: SetOnce<Pin<KBox<Timer<Alarm>>>>,
    kn: *const Knote,
    /// The clock that goes now.
    on_realtime: Atomic<bool>,
    /// When it expires, or has expired, if `pending`.
    next: Atomic<i64>,
    period: Atomic<i64>,
    /// To expire at `next`: what calls when it is not, is of before.
    armed: Atomic<bool>,
    /// Expired, and not delivered yet.
    pending: Atomic<bool>,
    /// Counts the starts by a change, and which of these the latest delivery was of.
    starts: Atomic<u32>,
    delivered: Atomic<u32>,
    /// Not to be started any more.
    dead: Atomic<bool>,
}

// SAFETY: `kn` is a knote, which may be shared with any thread.
unsafe impl Send for Alarm {}
// SAFETY: As above; the other fields are `Sync`.
unsafe impl Sync for Alarm {}

/// kn_hook: made by `attach`.
#[derive(Default)]
pub(super) struct Hook(SetOnce<Pin<KBox<Alarm>>>);

impl Alarm {
    fn new(kn: &Knote, clock: Clock) -> Result<Pin<KBox<Self>>> {
        let kn = ptr::from_ref(kn);
        KBox::pin_init(
            pin_init!(&this in Self {
                // SAFETY: `detach` cancels it before the knote, and so the alarm, goes, and has it
                // not started again.
                timer <- unsafe { Timer::new(this.as_ptr(), clock) },
                other: SetOnce::new(),
                kn,
                on_realtime: Atomic::new(false),
                next: Atomic::new(0),
                period: Atomic::new(0),
                armed: Atomic::new(false),
                pending: Atomic::new(false),
                starts: Atomic::new(0),
                delivered: Atomic::new(0),
                dead: Atomic::new(false),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    fn knote(&self) -> &Knote {
        // SAFETY: The alarm is part of the knote, and not used after it.
        unsafe { &*self.kn }
    }

    /// Makes sure that there is a timer of `clock`. `ENOMEM`. Under the change lock; may sleep.
    fn provide(&self, clock: Clock) -> Result {
        if self.timer(clock).is_none() {
            // SAFETY: As in `new`. If it was started, that was under the queue lock before `detach`
            // set `dead` under that, and so `detach` sees it; after that, it is not started.
            let timer = unsafe { Timer::new(ptr::from_ref(self), clock) };
            self.other
                .populate(KBox::pin_init(timer, GFP_KERNEL_ACCOUNT)?);
        }
        Ok(())
    }

    /// Stops the timers. Not under the queue lock, which their callback takes.
    fn cancel(&self) {
        self.timer.cancel();
        if let Some(other) = self.other.as_ref() {
            other.cancel();
        }
    }

    /// Starts anew, if it may; what was pending is dropped. Under the queue lock. Whether it has
    /// expired already.
    fn start(&self, schedule: &Schedule, st: &mut KnoteState) -> bool {
        st.data = 0;
        self.starts.add(1, Relaxed);
        self.armed.store(false, Relaxed);
        self.on_realtime
            .store(schedule.clock == Clock::Realtime, Relaxed);
        self.period.store(schedule.period, Relaxed);
        let expired = schedule.first <= schedule.clock.now();
        self.pending.store(expired, Relaxed);
        self.next.store(schedule.first, Relaxed);
        if !expired {
            self.resume();
        }
        expired
    }

    /// Has the clock that goes call at `next`, unless the knote goes. Under the queue lock.
    fn resume(&self) {
        let next = self.next.load(Relaxed);
        if self.dead.load(Relaxed) {
            return;
        }
        if let Some(timer) = self.timer(self.clock()) {
            self.armed.store(true, Relaxed);
            timer.start(next);
        }
    }

    /// The timer of `clock`, which is there if that was asked for.
    fn timer(&self, clock: Clock) -> Option<&Timer<Self>> {
        if self.timer.clock() == clock {
            return Some(&self.timer);
        }
        self.other.as_ref().map(|other| &**other)
    }

    fn clock(&self) -> Clock {
        if self.on_realtime.load(Relaxed) {
            Clock::Realtime
        } else {
            Clock::Monotonic
        }
    }

    /// How often it has expired since this was last asked; a periodic one is started for the next
    /// time. Under the queue lock; it is pending.
    fn count(&self) -> i64 {
        self.pending.store(false, Relaxed);
        let period = self.period.load(Relaxed);
        if period == 0 {
            return 1;
        }
        let next = self.next.load(Relaxed);
        let late = Clock::Monotonic.now().saturating_sub(next).max(0);
        let missed = late / period;
        let next = next.saturating_add((missed + 1).saturating_mul(period));
        self.next.store(next, Relaxed);
        self.resume();
        missed + 1
    }
}

impl Expires for Alarm {
    fn expired(&self, clock: Clock) {
        let kn = self.knote();
        let expired = kn.with_state(|_| {
            // This may be the call for a time of before: then the timer is not armed any more, or
            // armed with the other clock, or started again. That the clock says so is not asked: it
            // may have been set back since.
            let expired = self.armed.load(Relaxed)
                && self.clock() == clock
                && self.timer(clock).is_some_and(|timer| !timer.is_started());
            if expired {
                self.armed.store(false, Relaxed);
                self.pending.store(true, Relaxed);
            }
            expired
        });
        if expired {
            kn.activate();
        }
    }
}

impl Filter for TimerFilter {
    type Hook = Hook;

    const EVALUATED: bool = false;
    const FLAGS: u16 = EV_CLEAR;

    fn attach(kn: &Knote, hook: &Hook) -> Result<bool> {
        let (request, flags) = kn.with_state(|st| (st.request(), st.flags));
        let schedule = Schedule::of(request.sfflags, request.sdata, flags)?;
        let alarm = Alarm::new(kn, schedule.clock)?;
        // SAFETY: No requirement: reads a module parameter.
        let max = unsafe { bindings::kq_param_timers_max() };
        kn.table().timers().charge(max as usize)?;
        hook.0.populate(alarm);
        let alarm = hook.0.as_ref().ok_or(EINVAL)?;
        Ok(kn.with_state(|st| alarm.start(&schedule, st)))
    }

    fn detach(kn: &Knote, hook: &Hook) {
        if let Some(alarm) = hook.0.as_ref() {
            kn.with_state(|_| alarm.dead.store(true, Relaxed));
            alarm.cancel();
            kn.table().timers().uncharge();
        }
    }

    // The timer of before is stopped here, where one may wait for its callback. If a delivery starts
    // it again before the change, its call is not heeded: see `expired`.
    fn prepare(_kn: &Knote, hook: &Hook, kev: &Kevent) -> Result {
        if kev.flags & EV_ADD != 0 {
            let schedule = Schedule::of(kev.fflags, kev.data, kev.flags)?;
            let alarm = hook.0.as_ref().ok_or(EINVAL)?;
            alarm.provide(schedule.clock)?;
            alarm.cancel();
        }
        Ok(())
    }

    fn touch(_kn: &Knote, hook: &Hook, st: &mut KnoteState, kev: &Kevent) {
        if kev.flags & EV_ADD == 0 {
            return;
        }
        st.sfflags = kev.fflags;
        st.sdata = kev.data;
        let schedule = Schedule::of(kev.fflags, kev.data, kev.flags);
        if let (Some(alarm), Ok(schedule)) = (hook.0.as_ref(), schedule) {
            alarm.start(&schedule, st);
        }
    }

    fn peek(_kn: &Knote, hook: &Hook, st: &KnoteState) -> bool {
        st.data != 0
            || hook
                .0
                .as_ref()
                .is_some_and(|alarm| alarm.pending.load(Relaxed))
    }

    fn process(_kn: &Knote, hook: &Hook, st: &mut KnoteState, kev: &mut Kevent) -> bool {
        if let Some(alarm) = hook.0.as_ref() {
            alarm.delivered.store(alarm.starts.load(Relaxed), Relaxed);
            if alarm.pending.load(Relaxed) {
                st.data = st.data.saturating_add(alarm.count());
            }
        }
        kev.data = core::mem::take(&mut st.data);
        kev.data != 0
    }

    fn unprocess(_kn: &Knote, hook: &Hook, st: &mut KnoteState, kev: &Kevent) {
        // Unless it was started anew since, which drops what was pending.
        let same =
            |alarm: &Pin<KBox<Alarm>>| alarm.delivered.load(Relaxed) == alarm.starts.load(Relaxed);
        if hook.0.as_ref().is_some_and(same) {
            st.data = st.data.saturating_add(kev.data);
        }
    }
}
