// SPDX-License-Identifier: GPL-2.0

//! `EVFILT_TALLY`: a filter for kqueue, in Rust.
//!
//! A knote is a tally that the program keeps: `EV_ADD` begins one, with a goal in `data`; a change
//! without it puts `data` on the tally, or, with [`NOTE_TAKE`] in `fflags`, takes it away. An event
//! is there while the goal is reached: its `data` is the tally, and its `fflags` how often it has been
//! changed since the last event. With `EV_CLEAR` the tally begins anew when it is delivered. With
//! [`NOTE_ONCE`] its first event is its last. A change that takes away more than there is fails with
//! `EDOM`.

use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};
use kqueue::{
    event::{Kevent, EV_ADD, EV_CLEAR, EV_ONESHOT},
    Filter, Knote, KnoteState, Registration,
};

module! {
    type: TallyModule,
    name: "tally",
    authors: ["The kqueue for Linux authors"],
    description: "A filter for kqueue, in Rust",
    license: "GPL",
}

/// Take `data` away.
const NOTE_TAKE: u32 = 1;

/// With `EV_ADD`: one event, and no more.
const NOTE_ONCE: u32 = 2;

/// The filter.
struct Tally;

/// What a knote has of the filter's. Changed under the kqueue's lock.
struct Hook {
    tally: Atomic<i64>,
    changes: Atomic<u32>,
}

impl Default for Hook {
    fn default() -> Self {
        Self {
            tally: Atomic::new(0),
            changes: Atomic::new(0),
        }
    }
}

/// What a change makes of the tally.
fn changed(tally: i64, kev: &Kevent) -> Result<i64> {
    let after = if kev.fflags & NOTE_TAKE != 0 {
        tally.checked_sub(kev.data)
    } else {
        tally.checked_add(kev.data)
    };
    after.filter(|after| *after >= 0).ok_or(EDOM)
}

impl Filter for Tally {
    type Hook = Hook;

    // `peek` and `process` say all there is to say, from what is in the knote.
    const EVALUATED: bool = false;

    fn attach(kn: &Knote, _hook: &Hook) -> Result<bool> {
        let goal = kn.request().sdata;
        if goal < 0 {
            return Err(EINVAL);
        }
        Ok(goal == 0)
    }

    fn detach(_kn: &Knote, _hook: &Hook) {}

    // Changes come one at a time, so what is allowed here is still allowed in `touch`, but for what a
    // delivery has cleared.
    fn prepare(_kn: &Knote, hook: &Hook, kev: &Kevent) -> Result {
        if kev.flags & EV_ADD != 0 {
            return if kev.data < 0 { Err(EINVAL) } else { Ok(()) };
        }
        changed(hook.tally.load(Relaxed), kev).map(|_| ())
    }

    fn touch(_kn: &Knote, hook: &Hook, st: &mut KnoteState, kev: &Kevent) {
        if kev.flags & EV_ADD != 0 {
            st.sfflags = kev.fflags;
            st.sdata = kev.data;
            hook.tally.store(0, Relaxed);
            hook.changes.store(0, Relaxed);
            return;
        }
        let after = changed(hook.tally.load(Relaxed), kev).unwrap_or(0);
        hook.tally.store(after, Relaxed);
        hook.changes.store(hook.changes.load(Relaxed) + 1, Relaxed);
    }

    fn peek(_kn: &Knote, hook: &Hook, st: &KnoteState) -> bool {
        hook.tally.load(Relaxed) >= st.sdata
    }

    fn process(kn: &Knote, hook: &Hook, st: &mut KnoteState, kev: &mut Kevent) -> bool {
        if !Self::peek(kn, hook, st) {
            return false;
        }
        kev.data = hook.tally.load(Relaxed);
        kev.fflags = hook.changes.load(Relaxed);
        hook.changes.store(0, Relaxed);
        if st.sfflags & NOTE_ONCE != 0 {
            kev.flags |= EV_ONESHOT;
        }
        if kev.flags & EV_CLEAR != 0 {
            hook.tally.store(0, Relaxed);
        }
        true
    }

    fn unprocess(_kn: &Knote, hook: &Hook, _st: &mut KnoteState, kev: &Kevent) {
        hook.changes
            .store(hook.changes.load(Relaxed) + kev.fflags, Relaxed);
        if kev.flags & EV_CLEAR != 0 {
            let now = hook.tally.load(Relaxed);
            hook.tally.store(now.saturating_add(kev.data), Relaxed);
        }
    }
}

struct TallyModule {
    _filter: Registration,
}

impl kernel::Module for TallyModule {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _filter: Registration::new::<Tally>(module, c"EVFILT_TALLY", false)?,
        })
    }
}
