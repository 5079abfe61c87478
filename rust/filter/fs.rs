// SPDX-License-Identifier: GPL-2.0

//! `EVFILT_FS`: file systems are mounted and unmounted, in the mount namespace that the caller of
//! `EV_ADD` is in.

use super::{Filter, Filterops};
use crate::{
    knote::{Knote, KnoteState},
    uapi::*,
    watched::{hint, Watch},
};
use kernel::{alloc::KBox, prelude::*, sync::SetOnce};

/// The operators.
pub(super) const OPS: &Filterops = Filterops::of::<Fs>();

struct Fs;

/// kn_hook.
#[derive(Default)]
pub(super) struct Hook(SetOnce<KBox<Watch>>);

/// The events that are asked for: without any, all. As in macOS; FreeBSD then reports none.
fn asked(st: &KnoteState) -> u32 {
    match st.sfflags {
        0 => VQ_MOUNT | VQ_UNMOUNT,
        asked => asked,
    }
}

impl Filter for Fs {
    type Hook = Hook;

    const EVALUATED: bool = false;
    const FLAGS: u16 = EV_CLEAR;

    fn attach(kn: &Knote, hook: &Hook) -> Result<bool> {
        // SAFETY: `detach` ends the watch before the knote goes.
        let watch = unsafe { Watch::on_mounts(kn) }?;
        hook.0.populate(watch);
        Ok(false)
    }

    fn detach(_kn: &Knote, hook: &Hook) {
        if let Some(watch) = hook.0.as_ref() {
            watch.end();
        }
    }

    fn note(_kn: &Knote, _hook: &Hook, st: &mut KnoteState, hint: u64) -> bool {
        let mut notes = 0;
        if hint & hint::MOUNTED != 0 {
            notes |= VQ_MOUNT;
        }
        if hint & hint::UNMOUNTED != 0 {
            notes |= VQ_UNMOUNT;
        }
        notes &= asked(st);
        st.fflags |= notes;
        notes != 0
    }

    fn touch(_kn: &Knote, _hook: &Hook, st: &mut KnoteState, kev: &Kevent) {
        if kev.flags & EV_ADD != 0 {
            st.sfflags = kev.fflags;
            st.sdata = kev.data;
            st.fflags &= asked(st);
        }
    }

    fn peek(_kn: &Knote, _hook: &Hook, st: &KnoteState) -> bool {
        st.fflags != 0
    }

    fn process(_kn: &Knote, _hook: &Hook, st: &mut KnoteState, kev: &mut Kevent) -> bool {
        kev.fflags = core::mem::take(&mut st.fflags);
        kev.fflags != 0
    }

    fn unprocess(_kn: &Knote, _hook: &Hook, st: &mut KnoteState, kev: &Kevent) {
        st.fflags |= kev.fflags & asked(st);
    }
}
