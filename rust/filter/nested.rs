// SPDX-License-Identifier: GPL-2.0

//! `EVFILT_READ` on a kqueue: there are events in it.

use super::{Filter, Filterops, Found, Request, Scratch};
use crate::{
    bindings, device, knlist::KnlistEntry, knote::Knote, nest::Pair, wrap::poll::PollHook,
};
use kernel::{
    alloc::{flags::GFP_KERNEL_ACCOUNT, KBox},
    prelude::*,
    sync::{Arc, SetOnce},
};

/// The operators.
pub(super) const OPS: &Filterops = Filterops::of::<Nested>();

struct Nested;

/// What is watched, and how it is known that this makes no ring.
struct Watch {
    poll: PollHook,
    pair: Arc<Pair>,
    /// In the list of all of the process.
    entry: KnlistEntry,
}

/// kn_hook: made by `attach`.
#[derive(Default)]
pub(super) struct Hook(SetOnce<KBox<Watch>>);

fn found(kn: &Knote) -> Option<Found> {
    let pending = device::pending(kn.file()?)?;
    (pending != 0).then_some(Found {
        data: pending as i64,
        ..Found::default()
    })
}

impl Filter for Nested {
    type Hook = Hook;

    const EVALUATED: bool = true;
    const POLL_EVENTS: u32 = bindings::KQ_POLLIN | bindings::KQ_POLLRDNORM;

    fn attach(kn: &Knote, hook: &Hook) -> Result<bool> {
        let file = kn.file().ok_or(EBADF)?;
        let inner = device::kqueue(file)?;
        let watch = KBox::new_uninit(GFP_KERNEL_ACCOUNT)?;
        let pair = kn.table().pairs().add(kn.kqueue(), inner)?;
        hook.0.populate(watch.write(Watch {
            poll: PollHook::default(),
            pair: pair.clone(),
            entry: KnlistEntry::default(),
        }));
        let watch = hook.0.as_ref().ok_or(EINVAL)?;
        // SAFETY: The core calls `attach` once, with the knote's own hook, which the box stays
        // with, and `detach` before the knote goes. The knote holds the file as long as it lives.
        if let Err(e) = unsafe { watch.poll.attach(kn, file, Self::POLL_EVENTS) } {
            pair.end();
            return Err(e);
        }
        // SAFETY: As above; the file is a kqueue.
        if let Err(e) = unsafe { kn.table().pairs().add_knote(&watch.entry, kn) } {
            // SAFETY: It is attached.
            unsafe { watch.poll.detach() };
            pair.end();
            return Err(e);
        }
        Ok(found(kn).is_some())
    }

    fn detach(kn: &Knote, hook: &Hook) {
        if let Some(watch) = hook.0.as_ref() {
            // SAFETY: The core calls `detach` once, after `attach`.
            unsafe { kn.table().pairs().remove_knote(&watch.entry, kn) };
            // SAFETY: The core calls `detach` once, after `attach`.
            unsafe { watch.poll.detach() };
            watch.pair.end();
        }
    }

    fn event(
        kn: &Knote,
        _hook: &Hook,
        _request: &Request,
        _scratch: Option<Scratch>,
    ) -> Option<Found> {
        found(kn)
    }
}
