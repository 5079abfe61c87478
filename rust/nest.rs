// SPDX-License-Identifier: GPL-2.0

//! Kqueues that watch kqueues: no rings, and no deeper than [`DEPTH`].
//!
//! Both are of one process, whose table has a list of the pairs. They are few, and looked through
//! only when one is added. A pair ends where a knote does, which must not sleep, so it is only
//! counted down then and taken off the list by a later addition.
//!
//! Who watches a kqueue is told of its events in an interrupt, a moment after they are there: see
//! [`Kqueue`]'s `poke`. Who knows of what has happened, as a program does that has waited for the
//! process whose exit is one of them, may come before that. [`Pairs::settle`] waits for it.

use crate::{
    bindings, device,
    knlist::{Knlist, KnlistEntry},
    knote::Knote,
    limits::Counter,
    queue::Kqueue,
    uapi::errno,
    wrap::task::{killed, relax},
};
use core::ptr;
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    new_mutex, new_spinlock,
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        Arc, Mutex, SpinLock,
    },
};

/// Pairs in a chain.
const DEPTH: usize = 5;

/// Pairs that a process may have, and knotes that they are of.
const MOST: usize = 4096;

/// The pairs of a process.
#[pin_data]
pub(crate) struct Pairs {
    #[pin]
    list: Mutex<KVec<Arc<Pair>>>,
    /// The knotes that kqueues are watched with. A leaf.
    #[pin]
    knotes: SpinLock<Knlist>,
    /// The number of the latest walk through them, and held during one.
    #[pin]
    turn: Mutex<u32>,
    /// Works of the process's kqueues that are queued and have not run to their end.
    on_their_way: Atomic<usize>,
}

/// One kqueue watches another.
///
/// They are told by their addresses. Each is held by the knotes that the pair is of, and the pair
/// has ended before they let go: so no living pair has an address that was used anew.
pub(crate) struct Pair {
    outer: usize,
    inner: usize,
    /// Knotes that it is of: with `EV_UDATA_SPECIFIC` there may be several.
    knotes: Counter,
}

impl Pairs {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_mutex!(KVec::new(), "kqueue_pairs"),
            knotes <- new_spinlock!(Knlist::new(), "kqueue_nested"),
            turn <- new_mutex!(0, "kqueue_settle"),
            on_their_way: Atomic::new(0),
        })
    }

    /// From now on [`Self::settle`] knows of this knote. `ENOMEM` where there are too many, which
    /// takes `EV_UDATA_SPECIFIC`. Any context but interrupts.
    ///
    /// # Safety
    ///
    /// As [`Knlist::add`]; it is taken off with [`Self::remove_knote`]. The knote watches a kqueue.
    pub(crate) unsafe fn add_knote(&self, entry: &KnlistEntry, kn: &Knote) -> Result {
        let mut knotes = self.knotes.lock();
        if knotes.len() >= MOST {
            return Err(ENOMEM);
        }
        // SAFETY: By this function's requirements.
        unsafe { knotes.add(entry, kn) };
        kn.kqueue().nests().add();
        Ok(())
    }

    /// The knote goes. Any context but interrupts.
    ///
    /// # Safety
    ///
    /// [`Self::add_knote`] has succeeded with it, and this was not called.
    pub(crate) unsafe fn remove_knote(&self, entry: &KnlistEntry, kn: &Knote) {
        kn.kqueue().nests().uncharge();
        // SAFETY: By this function's requirements.
        unsafe { self.knotes.lock().remove(entry) };
    }

    /// A kqueue's work is queued. Before it is; any context.
    pub(crate) fn tell(&self) {
        self.on_their_way.fetch_add(1, Relaxed);
    }

    /// It has run, or was not queued. Any context.
    pub(crate) fn told(&self) {
        self.on_their_way.fetch_sub(1, Release);
    }

    /// Waits until those of the process's kqueues that watch others know what has happened in these
    /// before, or the task is to die. May sleep.
    /// Whether there was anything on its way.
    pub(crate) fn settle(&self) -> bool {
        // Nearly always there is not, and no lock is taken. A work that tells a kqueue which is
        // itself watched has queued that one's before it is not counted any more.
        if self.on_their_way.load(Acquire) == 0 {
            return false;
        }
        let mut turn = self.turn.lock();
        // Who is told tells who watches him: one step up for each time.
        for _ in 0..DEPTH {
            let mut deeper = false;
            // An entry that is new has 0.
            *turn = turn.wrapping_add(1).max(1);
            // Those that are added meanwhile come behind these.
            let mut left = self.knotes.lock().len();
            while left != 0 && !killed() {
                // A statement of its own: the lock is not held for what follows.
                let next = self.knotes.lock().next_of_turn(*turn);
                let Some(kn) = next else { break };
                if let Some(inner) = kn.file().and_then(device::used_kqueue) {
                    inner.wait_until_told();
                    deeper |= inner.nests().get() != 0;
                }
                left -= 1;
                relax();
            }
            if !deeper || self.on_their_way.load(Acquire) == 0 {
                break;
            }
        }
        true
    }

    /// `outer` is to watch `inner`. `EINVAL`: they are one. `ELOOP`: `inner` watches `outer`, be it
    /// through others, or the chain that they are in gets too long. `ENOMEM`, also where there are
    /// too many. May sleep.
    pub(crate) fn add(&self, outer: &Kqueue, inner: &Kqueue) -> Result<Arc<Pair>> {
        let outer = ptr::from_ref(outer) as usize;
        let inner = ptr::from_ref(inner) as usize;
        if outer == inner {
            return Err(EINVAL);
        }
        let mut list = self.list.lock();
        // Knotes are counted up under this lock only, so what is at 0 stays there.
        list.retain(|pair| pair.knotes.get() != 0);
        let same = list
            .iter()
            .find(|pair| (pair.outer, pair.inner) == (outer, inner));
        if let Some(pair) = same {
            // It may have ended since; then it is one again, and not off the list.
            pair.knotes.add();
            return Ok(pair.clone());
        }
        if list.len() >= MOST {
            return Err(ENOMEM);
        }
        let above = height(&list, outer, Some(inner), |pair| (pair.inner, pair.outer))?;
        let below = height(&list, inner, None, |pair| (pair.outer, pair.inner))?;
        if above + 1 + below > DEPTH {
            return Err(errno(bindings::ELOOP));
        }
        let pair = Arc::new(
            Pair {
                outer,
                inner,
                knotes: Counter::new(),
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        pair.knotes.add();
        list.push(pair.clone(), GFP_KERNEL_ACCOUNT)?;
        Ok(pair)
    }
}

impl Pair {
    /// A knote that the pair is of ends. Any context.
    pub(crate) fn end(&self) {
        self.knotes.uncharge();
    }
}

/// How many steps lead away from `start`, at the most, where `step` says from where to where a pair
/// leads. `ELOOP` where they lead to `forbidden`.
// There are no rings, so this ends; and chains are short, so it does soon.
fn height(
    pairs: &[Arc<Pair>],
    start: usize,
    forbidden: Option<usize>,
    step: impl Fn(&Pair) -> (usize, usize),
) -> Result<usize> {
    let mut reached = RBTree::new();
    reached.try_create_and_insert(start, (), GFP_KERNEL_ACCOUNT)?;
    for height in 0..=DEPTH {
        let mut next = RBTree::new();
        for pair in pairs {
            let (from, to) = step(pair);
            if reached.get(&from).is_some() {
                if Some(to) == forbidden {
                    return Err(errno(bindings::ELOOP));
                }
                if next.get(&to).is_none() {
                    next.try_create_and_insert(to, (), GFP_KERNEL_ACCOUNT)?;
                }
            }
        }
        if next.iter().next().is_none() {
            return Ok(height);
        }
        reached = next;
    }
    Err(errno(bindings::ELOOP))
}
