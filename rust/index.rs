// SPDX-License-Identifier: GPL-2.0

//! The index of a kqueue's knotes.
//!
//! A hash table by what a knote watches: the open file, for filters on a descriptor, else filter
//! and ident. So the close of a descriptor, which is told as a file, finds its knotes in one
//! chain, and a registration finds the one it means in the same.
//!
//! The table grows by linear hashing: each insertion splits at most one chain, so nobody holds the
//! lock for long however many knotes there are. Memory for it is allocated before the lock is
//! taken.

use crate::knote::Knote;
use kernel::{
    alloc::{flags::GFP_KERNEL_ACCOUNT, KVVec},
    fs::File,
    prelude::*,
    sync::{Arc, SpinLock},
};

/// A chain of knotes, linked by their `next`.
pub(crate) type Chain = Option<Arc<Knote>>;

/// Chains before the first split.
const FIRST: usize = 8;
/// Segments: the first of [`FIRST`] chains, each further one as large as all before it.
const SEGMENTS: usize = 28;

/// What identifies a knote in its kqueue.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    /// The file behind the descriptor `ident`, for filters on one.
    pub(crate) file: Option<&'a File>,
    pub(crate) filter: i16,
    pub(crate) ident: usize,
    /// With `EV_UDATA_SPECIFIC`.
    pub(crate) udata: Option<usize>,
}

impl Key<'_> {
    fn file_ptr(&self) -> *const crate::bindings::file {
        self.file.map_or(core::ptr::null(), |file| file.as_ptr())
    }

    fn hash(&self) -> usize {
        match self.file {
            Some(file) => hash_file(file.as_ptr()),
            None => mix(self.ident ^ (self.filter as usize).rotate_right(16)),
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.ident == other.ident
            && self.filter == other.filter
            && self.udata == other.udata
            && self.file_ptr() == other.file_ptr()
    }
}

fn hash_file(file: *const crate::bindings::file) -> usize {
    mix(file as usize)
}

/// The logarithm of a number that is not 0; what `ilog2` panics for, this does not care about.
fn log2(value: usize) -> usize {
    (usize::BITS - 1).saturating_sub(value.leading_zeros()) as usize
}

/// A multiplication by the golden ratio, its better half folded down.
fn mix(value: usize) -> usize {
    let product = (value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (product ^ (product >> 32)) as usize
}

/// The knotes of a kqueue, under its index lock.
///
/// # Invariants
///
/// - `buckets >= FIRST`, and the segments that hold chains `0..buckets` are there.
/// - A knote whose key hashes to `h` is in chain `slot(h)`, and nowhere else.
pub(crate) struct Index {
    first: [Chain; FIRST],
    segments: [Option<KVVec<Chain>>; SEGMENTS],
    buckets: usize,
    count: usize,
}

impl Index {
    /// An empty index.
    pub(crate) const fn new() -> Self {
        Self {
            first: [const { None }; FIRST],
            segments: [const { None }; SEGMENTS],
            buckets: FIRST,
            count: 0,
        }
    }

    /// The segment that chain `bucket` is in, counted from the second, and its place there; `None`
    /// in the first.
    fn place(bucket: usize) -> Option<(usize, usize)> {
        if bucket < FIRST {
            return None;
        }
        let size = 1 << log2(bucket);
        Some((log2(size / FIRST), bucket - size))
    }

    /// The chain that hash `hash` belongs to.
    fn slot(&self, hash: usize) -> usize {
        let mask = self.buckets.next_power_of_two() - 1;
        let slot = hash & mask;
        if slot < self.buckets {
            slot
        } else {
            slot & (mask >> 1)
        }
    }

    fn chain(&self, bucket: usize) -> &Chain {
        match Self::place(bucket) {
            None => self.first.get(bucket),
            Some((segment, at)) => self.segments.get(segment).and_then(|s| s.as_ref()?.get(at)),
        }
        .unwrap_or(&None)
    }

    fn chain_mut(&mut self, bucket: usize) -> Option<&mut Chain> {
        match Self::place(bucket) {
            None => self.first.get_mut(bucket),
            Some((segment, at)) => self.segments.get_mut(segment)?.as_mut()?.get_mut(at),
        }
    }

    fn push(&mut self, bucket: usize, kn: Arc<Knote>) {
        let rest = self.chain_mut(bucket).and_then(Option::take);
        *kn.next.access_mut(self) = rest;
        if let Some(chain) = self.chain_mut(bucket) {
            *chain = Some(kn);
        }
    }

    /// Makes sure that one more knote can be inserted. `ENOMEM`. May sleep.
    pub(crate) fn reserve(index: &SpinLock<Self>) -> Result {
        let segment = {
            let index = index.lock();
            match Self::place(index.buckets) {
                Some((segment, _)) if matches!(index.segments.get(segment), Some(None)) => segment,
                _ => return Ok(()),
            }
        };
        let size = FIRST << segment;
        let mut chains = KVVec::with_capacity(size, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..size {
            chains.push(None, GFP_KERNEL_ACCOUNT)?;
        }
        let mut index = index.lock();
        if let Some(slot @ None) = index.segments.get_mut(segment) {
            *slot = Some(chains);
        }
        // Else another was faster, and ours goes after the lock, in which it must not.
        drop(index);
        Ok(())
    }

    /// Splits the next chain in two, if there is memory for that.
    fn grow(&mut self) {
        let bucket = self.buckets;
        if self.chain_mut(bucket).is_none() {
            return;
        }
        let low = bucket - (1 << log2(bucket));
        let mut rest = self.chain_mut(low).and_then(Option::take);
        self.buckets += 1;
        while let Some(kn) = rest {
            rest = kn.next.access_mut(self).take();
            let slot = self.slot(kn.key().hash());
            self.push(slot, kn);
        }
    }

    /// Inserts a knote that is in no index. False, and nothing is done, if its like is there.
    pub(crate) fn insert(&mut self, kn: Arc<Knote>) -> bool {
        if self.find(&kn.key()).is_some() {
            return false;
        }
        if self.count >= self.buckets {
            self.grow();
        }
        let slot = self.slot(kn.key().hash());
        self.push(slot, kn);
        self.count += 1;
        true
    }

    /// The knote of a key.
    pub(crate) fn find(&self, key: &Key<'_>) -> Option<Arc<Knote>> {
        let mut chain = self.chain(self.slot(key.hash()));
        while let Some(kn) = chain {
            if kn.key() == *key {
                return Some(kn.clone());
            }
            chain = kn.next.access(self);
        }
        None
    }

    /// Takes what `take` says out of the chain of `hash`, and returns it as a chain.
    fn take_from(&mut self, hash: usize, take: impl Fn(&Knote) -> bool) -> Chain {
        let slot = self.slot(hash);
        let mut rest = self.chain_mut(slot).and_then(Option::take);
        let mut taken = None;
        while let Some(kn) = rest {
            rest = kn.next.access_mut(self).take();
            if take(&kn) {
                *kn.next.access_mut(self) = taken;
                taken = Some(kn);
                self.count -= 1;
            } else {
                self.push(slot, kn);
            }
        }
        taken
    }

    /// Takes `kn` out, if it is in. The one who gets it ends it.
    pub(crate) fn remove(&mut self, kn: &Knote) -> Option<Arc<Knote>> {
        self.take_from(kn.key().hash(), |other| core::ptr::eq(other, kn))
    }

    /// Takes out the knotes on `file` that `closed` says, and returns them as a chain.
    pub(crate) fn take_closed(
        &mut self,
        file: *const crate::bindings::file,
        closed: impl Fn(&Knote) -> bool,
    ) -> Chain {
        self.take_from(hash_file(file), |kn| {
            kn.file().is_some_and(|f| f.as_ptr().cast_const() == file) && closed(kn)
        })
    }

    /// How many chains there are.
    pub(crate) fn buckets(&self) -> usize {
        self.buckets
    }

    /// Takes out all of chain `bucket`.
    pub(crate) fn take_bucket(&mut self, bucket: usize) -> Chain {
        let taken = self.chain_mut(bucket).and_then(Option::take);
        let mut chain = &taken;
        let mut len = 0;
        while let Some(kn) = chain {
            len += 1;
            chain = kn.next.access(self);
        }
        self.count -= len;
        taken
    }

    /// The memory of an index that stays empty, to be freed where one may sleep.
    pub(crate) fn take_memory(&mut self) -> [Option<KVVec<Chain>>; SEGMENTS] {
        self.buckets = FIRST;
        core::mem::replace(&mut self.segments, [const { None }; SEGMENTS])
    }
}
