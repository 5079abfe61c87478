// SPDX-License-Identifier: GPL-2.0

//! `EVFILT_SIGNAL`: signals sent to this process, whatever becomes of them.
//!
//! Nothing about a signal differs for its being counted: it is seen where it has been queued, or has
//! been found to be ignored.

use super::{Filter, Filterops};
use crate::{
    knlist::KnlistEntry,
    knote::{Knote, KnoteState},
    probe::{Armed, Kind},
    process::{Of, Process},
    uapi::*,
    wrap::{once_ptr::OncePtr, pid::Pid},
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    sync::{Arc, SetOnce},
};

/// The operators.
pub(super) const OPS: &Filterops = Filterops::of::<Signal>();

struct Signal;

/// Signals are 1 to this.
const LAST: usize = 64;

/// kn_hook.
#[derive(Default)]
struct Hook {
    /// Set by `attach`. With it, the right to have signals probed.
    process: OncePtr<Arc<Process>>,
    armed: SetOnce<Armed>,
    /// On the list of the process's signals.
    entry: KnlistEntry,
}

impl Filter for Signal {
    type Hook = Hook;

    const EVALUATED: bool = false;
    const FLAGS: u16 = EV_CLEAR;

    fn attach(kn: &Knote, hook: &Hook) -> Result<bool> {
        if !(1..=LAST).contains(&kn.ident()) {
            return Err(EINVAL);
        }
        hook.armed.populate(Armed::new(Kind::Signals)?);
        // SAFETY: The hook is part of the knote, and `detach` is called before that goes.
        let process = unsafe {
            Process::add(
                Pid::current(),
                Of::Signals,
                &hook.entry,
                kn,
                GFP_KERNEL_ACCOUNT,
            )
        }?;
        hook.process.populate(process);
        Ok(false)
    }

    fn detach(_kn: &Knote, hook: &Hook) {
        if let Some(process) = hook.process.as_ref() {
            // SAFETY: `attach` has put it there; `detach` is called once.
            unsafe { process.remove(Of::Signals, &hook.entry) };
        }
    }

    // Who shares the file table, and is another process, may register the same signal: it is this
    // process's as long as that is there.
    fn is_stale(_kn: &Knote, hook: &Hook) -> bool {
        hook.process.as_ref().is_some_and(|process| {
            process.pid().addr() != Pid::current().addr() && process.is_reaped()
        })
    }

    /// The hint is the signal's number.
    fn note(kn: &Knote, _hook: &Hook, st: &mut KnoteState, hint: u64) -> bool {
        let ours = kn.ident() as u64 == hint;
        if ours {
            st.data = st.data.saturating_add(1);
        }
        ours
    }

    fn peek(_kn: &Knote, _hook: &Hook, st: &KnoteState) -> bool {
        st.data != 0
    }

    fn process(_kn: &Knote, _hook: &Hook, st: &mut KnoteState, kev: &mut Kevent) -> bool {
        kev.data = core::mem::take(&mut st.data);
        kev.data != 0
    }

    fn unprocess(_kn: &Knote, _hook: &Hook, st: &mut KnoteState, kev: &Kevent) {
        st.data = st.data.saturating_add(kev.data);
    }
}
