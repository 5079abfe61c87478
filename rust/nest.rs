// SPDX-License-Identifier: GPL-2.0

//! Kqueues that watch kqueues: no rings, and no deeper than [`DEPTH`].
//!
//! The pairs are in one list for the whole system. They are few, and looked through only when one
//! is added. A pair ends where a knote does, which must not sleep, so it is only marked then and
//! taken off the list by the next addition.

use crate::{bindings, queue::Kqueue, uapi::errno};
use core::ptr;
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{Acquire, Atomic, Release},
        Arc,
    },
};

/// Pairs in a chain.
const DEPTH: usize = 5;

kernel::sync::global_lock! {
    // SAFETY: Initialised by `init`, before anything else of the module runs.
    unsafe(uninit) static PAIRS: Mutex<KVec<Arc<Pair>>> = KVec::new();
}

/// One kqueue watches another.
///
/// They are told by their addresses. Each is held by the knote that the pair is of, and the pair
/// has ended before that lets go: so no living pair has an address that was used anew.
pub(crate) struct Pair {
    outer: usize,
    inner: usize,
    ended: Atomic<bool>,
}

/// Makes the list usable.
///
/// # Safety
///
/// To be called once, before anything else of this file.
pub(crate) unsafe fn init() {
    // SAFETY: By this function's requirements.
    unsafe { PAIRS.init() };
}

/// The list goes. Nothing of this file is used after.
pub(crate) fn exit() {
    drop(core::mem::take(&mut *PAIRS.lock()));
}

impl Pair {
    /// `outer` is to watch `inner`. `EINVAL`: they are one. `ELOOP`: `inner` watches `outer`, be it
    /// through others, or the chain that they are in gets too long. `ENOMEM`. May sleep.
    pub(crate) fn new(outer: &Kqueue, inner: &Kqueue) -> Result<Arc<Self>> {
        let outer = ptr::from_ref(outer) as usize;
        let inner = ptr::from_ref(inner) as usize;
        if outer == inner {
            return Err(EINVAL);
        }
        let mut pairs = PAIRS.lock();
        pairs.retain(|pair| !pair.ended.load(Acquire));

        let above = height(&pairs, outer, Some(inner), |pair| (pair.inner, pair.outer))?;
        let below = height(&pairs, inner, None, |pair| (pair.outer, pair.inner))?;
        if above + 1 + below > DEPTH {
            return Err(errno(bindings::ELOOP));
        }
        let pair = Arc::new(
            Self {
                outer,
                inner,
                ended: Atomic::new(false),
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        pairs.push(pair.clone(), GFP_KERNEL_ACCOUNT)?;
        Ok(pair)
    }

    /// The knote that the pair is of ends. Any context.
    pub(crate) fn end(&self) {
        self.ended.store(true, Release);
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
                next.try_create_and_insert(to, (), GFP_KERNEL_ACCOUNT)?;
            }
        }
        if next.iter().next().is_none() {
            return Ok(height);
        }
        reached = next;
    }
    Err(errno(bindings::ELOOP))
}
