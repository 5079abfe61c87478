// SPDX-License-Identifier: GPL-2.0

//! `EVFILT_USER`: events that the program triggers itself. As in OpenBSD, and in the other flavours
//! as in FreeBSD and NetBSD.

use super::{Filter, Filterops};
use crate::{
    bindings,
    knote::{Knote, KnoteState},
    uapi::*,
};
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

/// The operators.
pub(crate) const OPS: &Filterops = Filterops::of::<User>();

struct User;

/// Whether the event has been triggered; changed under the kqueue's lock only.
struct Triggered(Atomic<bool>);

impl Default for Triggered {
    fn default() -> Self {
        Self(Atomic::new(false))
    }
}

impl Triggered {
    fn get(&self) -> bool {
        self.0.load(Relaxed)
    }

    fn set(&self, to: bool) {
        self.0.store(to, Relaxed);
    }
}

impl Filter for User {
    type Hook = Triggered;

    const EVALUATED: bool = false;

    fn attach(kn: &Knote, hook: &Triggered) -> Result<bool> {
        // SAFETY: No requirement: reads a module parameter.
        let max = unsafe { bindings::kq_param_user_events_max() };
        kn.table().user_events().charge(max as usize)?;
        kn.with_state(|st| {
            hook.set(st.sfflags & NOTE_TRIGGER != 0);
            st.fflags = st.sfflags & NOTE_FFLAGSMASK;
            st.data = st.sdata;
            st.sfflags = st.fflags;
        });
        Ok(hook.get())
    }

    fn detach(kn: &Knote, _hook: &Triggered) {
        kn.table().user_events().uncharge();
    }

    fn touch(kn: &Knote, hook: &Triggered, st: &mut KnoteState, kev: &Kevent) {
        if kev.fflags & NOTE_TRIGGER != 0 {
            hook.set(true);
        }
        let fflags = kev.fflags & NOTE_FFLAGSMASK;
        match kev.fflags & NOTE_FFCTRLMASK {
            NOTE_FFAND => st.fflags &= fflags,
            NOTE_FFOR => st.fflags |= fflags,
            NOTE_FFCOPY => st.fflags = fflags,
            _ => {}
        }
        let flavour = kn.kqueue().flavour();
        if kev.flags & EV_ADD != 0 || flavour.change_replaces() {
            st.data = kev.data;
        }
        if kev.flags & EV_CLEAR != 0 {
            hook.set(false);
            if flavour.clears_user_event() {
                st.data = 0;
            }
        }
        // What is asked for now, to be seen in fdinfo.
        st.sfflags = st.fflags;
        st.sdata = st.data;
    }

    fn peek(_kn: &Knote, hook: &Triggered, _st: &KnoteState) -> bool {
        hook.get()
    }

    fn process(kn: &Knote, hook: &Triggered, st: &mut KnoteState, kev: &mut Kevent) -> bool {
        if !hook.get() {
            return false;
        }
        kev.fflags = st.fflags;
        kev.data = st.data;
        if st.flags & EV_CLEAR != 0 {
            hook.set(false);
            if kn.kqueue().flavour().clears_user_event() {
                st.fflags = 0;
                st.data = 0;
            }
        }
        true
    }

    fn unprocess(kn: &Knote, hook: &Triggered, st: &mut KnoteState, kev: &Kevent) {
        // By the flags it was taken with, not those it has now.
        if kev.flags & EV_CLEAR == 0 {
            return;
        }
        hook.set(true);
        if kn.kqueue().flavour().clears_user_event() {
            // Another thread may have triggered it anew: then it is as if both had come before.
            if st.data == 0 {
                st.data = kev.data;
            }
            st.fflags |= kev.fflags;
        }
    }
}
