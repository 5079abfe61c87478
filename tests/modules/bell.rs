// SPDX-License-Identifier: GPL-2.0

//! `EVFILT_BELL`: a filter for kqueue, in Rust, whose knotes are on a list.
//!
//! A change without `EV_ADD` rings the bell: all knotes are told its `data`, which their events add
//! up. One may begin with something in `data` that is told at once.

use kernel::prelude::*;
use kqueue::{
    event::{Kevent, EV_ADD, EV_CLEAR},
    Filter, Knlist, KnlistEntry, Knote, KnoteState, Registration,
};

module! {
    type: BellModule,
    name: "bell",
    authors: ["The kqueue for Linux authors"],
    description: "A filter for kqueue, in Rust, with a list",
    license: "GPL",
}

kernel::sync::global_lock! {
    // SAFETY: Initialised before the filter is registered.
    unsafe(uninit) static BELLS: SpinLock<Knlist> = Knlist::new();
}

/// The filter.
struct Bell;

impl Filter for Bell {
    type Hook = KnlistEntry;

    const EVALUATED: bool = false;
    const FLAGS: u16 = EV_CLEAR;

    fn attach(kn: &Knote, entry: &KnlistEntry) -> Result<bool> {
        let mut rings = false;
        kn.update(&mut |st| {
            st.data = st.sdata;
            rings = st.data != 0;
        });
        // SAFETY: The entry is the knote's, and on no list yet; `detach` takes it off.
        unsafe { BELLS.lock().add(entry, kn) };
        Ok(rings)
    }

    fn detach(_kn: &Knote, entry: &KnlistEntry) {
        // SAFETY: `attach` has put it there.
        unsafe { BELLS.lock().remove(entry) };
    }

    fn note(_kn: &Knote, _entry: &KnlistEntry, st: &mut KnoteState, hint: u64) -> bool {
        st.data = st.data.saturating_add(hint as i64);
        st.data != 0
    }

    fn prepare(_kn: &Knote, _entry: &KnlistEntry, kev: &Kevent) -> Result {
        if kev.flags & EV_ADD == 0 {
            BELLS.lock().note(kev.data as u64);
        }
        Ok(())
    }

    fn peek(_kn: &Knote, _entry: &KnlistEntry, st: &KnoteState) -> bool {
        st.data != 0
    }

    fn process(_kn: &Knote, _entry: &KnlistEntry, st: &mut KnoteState, kev: &mut Kevent) -> bool {
        kev.data = core::mem::take(&mut st.data);
        kev.data != 0
    }

    fn unprocess(_kn: &Knote, _entry: &KnlistEntry, st: &mut KnoteState, kev: &Kevent) {
        st.data = st.data.saturating_add(kev.data);
    }
}

struct BellModule {
    _filter: Registration,
}

impl kernel::Module for BellModule {
    fn init(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: Once, before anybody uses it.
        unsafe { BELLS.init() };
        Ok(Self {
            _filter: Registration::new::<Bell>(module, c"EVFILT_BELL", false)?,
        })
    }
}
