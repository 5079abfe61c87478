// SPDX-License-Identifier: GPL-2.0

//! Kqueues that watch kqueues: no rings, and no deeper than [`DEPTH`].
//!
//! Both are of one process, whose table has a list of the pairs. They are few, and looked through
//! only when one is added. A pair ends where a knote does, which must not sleep, so it is only
//! counted down then and taken off the list by a later addition.

use crate::{bindings, limits::Counter, queue::Kqueue, uapi::errno};
use core::ptr;
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT, new_mutex, prelude::*, rbtree::RBTree, sync::Arc, sync::Mutex,
};

/// Pairs in a chain.
const DEPTH: usize = 5;

/// Pairs that a process may have.
const MOST: usize = 4096;

/// The pairs of a process.
#[pin_data]
pub(crate) struct Pairs {
    #[pin]
    list: Mutex<KVec<Arc<Pair>>>,
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
        })
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
            pair.knotes.charge(usize::MAX)?;
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
        pair.knotes.charge(usize::MAX)?;
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
