// SPDX-License-Identifier: GPL-2.0

//! Hash tables of knotes.
//!
//! There are two kinds. A kqueue finds a knote by what identifies it ([`ByKey`]); a process finds
//! the knotes on an open file, in all of its kqueues, when a descriptor is closed ([`ByFile`]).
//!
//! A table grows by linear hashing: each insertion splits at most one chain, so nobody holds the
//! lock for long however many knotes there are. Memory for it is allocated before the lock is
//! taken.

use crate::{bindings, knote::Knote, wrap::once::Once};
use core::{marker::PhantomData, ptr};
use kernel::{
    alloc::{flags::GFP_KERNEL_ACCOUNT, KVVec},
    fs::File,
    list::{List, ListArc},
    prelude::*,
    sync::{atomic::Atomic, Arc, ArcBorrow, SpinLock},
};

/// The list of a knote that a [`ByKey`] table uses.
pub(crate) const BY_KEY: u64 = 1;
/// The list of a knote that a [`ByFile`] table uses.
pub(crate) const BY_FILE: u64 = 2;

/// Chains before the first split.
const FIRST: usize = 8;
/// Segments after the first [`FIRST`] chains, each as large as all before it.
const SEGMENTS: usize = 28;

/// Knotes in a chain that is not to be split.
const LONG: usize = 256;

/// Knotes in a chain, on the average, that should have had the table grow.
const TOO_LONG: usize = 8;

/// Knotes in a chain, on the average, with which a table takes no more before it has grown.
const OVERLONG: usize = 64;

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
    fn file_ptr(&self) -> *const bindings::file {
        self.file.map_or(ptr::null(), |file| file.as_ptr())
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

/// What a table is by.
pub(crate) trait Kind {
    /// Whether many knotes may have one hash by their nature.
    const CROWDS: bool;

    /// The hash of a knote, which does not change while it is in the table.
    fn hash(kn: &Knote) -> usize;

    /// Whether a knote was moved from the table to another list by the same link, for good. Under the
    /// table's lock.
    fn is_taken(kn: &Knote) -> bool;
}

/// By [`Key`].
pub(crate) struct ByKey;

impl Kind for ByKey {
    const CROWDS: bool = false;

    // An orphan is not sought. Its key may be that of many.
    fn hash(kn: &Knote) -> usize {
        if kn.is_orphan() {
            return mix(ptr::from_ref(kn) as usize);
        }
        hash_key(&kn.key())
    }

    fn is_taken(kn: &Knote) -> bool {
        kn.is_put_off()
    }
}

/// By [`Knote::file`]; all knotes on a file are in one chain.
pub(crate) struct ByFile;

impl Kind for ByFile {
    const CROWDS: bool = true;

    fn hash(kn: &Knote) -> usize {
        hash_file(kn.key().file_ptr())
    }

    fn is_taken(kn: &Knote) -> bool {
        kn.is_taken()
    }
}

/// What hashes begin with, so that a program cannot choose idents that all have one.
static SEED: Atomic<usize> = Atomic::new(0);

/// Chooses the seed. Before there is a table.
pub(crate) fn init() {
    // SAFETY: No requirement.
    SEED.write(unsafe { bindings::get_random_u64() } as usize);
}

fn hash_key(key: &Key<'_>) -> usize {
    mix(
        mix(SEED.read() ^ key.ident ^ (key.filter as usize).rotate_right(16))
            ^ key.udata.unwrap_or(0),
    )
}

fn hash_file(file: *const bindings::file) -> usize {
    mix(file as usize)
}

/// The logarithm of a number that is not 0; of 0 it is 0.
#[inline(always)]
const fn log2(value: usize) -> usize {
    ((value | 1).leading_zeros() ^ (usize::BITS - 1)) as usize
}

/// A multiplication by the golden ratio, its better half folded down.
fn mix(value: usize) -> usize {
    let product = (value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (product ^ (product >> 32)) as usize
}

/// A hash table of knotes, linked by their list `ID`.
///
/// # Invariants
///
/// - `buckets >= FIRST`, and the segments that hold chains `0..buckets` are there.
/// - A knote that hashes to `h` is in chain `slot(h)`, and nowhere else; but one that is taken is in
///   no chain.
pub(crate) struct Index<K: Kind, const ID: u64>
where
    Knote: kernel::list::ListItem<ID>,
{
    first: [List<Knote, ID>; FIRST],
    segments: [Option<KVVec<List<Knote, ID>>>; SEGMENTS],
    buckets: usize,
    count: usize,
    /// Counts what is inserted.
    inserted: u32,
    /// Nothing is inserted any more.
    closed: bool,
    _kind: PhantomData<fn() -> K>,
}

/// The memory of a table, to be freed where one may sleep.
pub(crate) type Memory<const ID: u64> = [Option<KVVec<List<Knote, ID>>>; SEGMENTS];

impl<K: Kind, const ID: u64> Index<K, ID>
where
    Knote: kernel::list::ListItem<ID>,
{
    /// An empty table.
    pub(crate) const fn new() -> Self {
        Self {
            first: [const { List::new() }; FIRST],
            segments: [const { None }; SEGMENTS],
            buckets: FIRST,
            count: 0,
            inserted: 0,
            closed: false,
            _kind: PhantomData,
        }
    }

    /// How many chains there are.
    pub(crate) fn buckets(&self) -> usize {
        self.buckets
    }

    /// The segment that chain `bucket` is in, and its place there; `None` for the first ones.
    fn place(bucket: usize) -> Option<(usize, usize)> {
        if bucket < FIRST {
            return None;
        }
        let log = log2(bucket);
        Some((log.wrapping_sub(log2(FIRST)), bucket ^ (1 << log)))
    }

    /// The chain that hash `hash` belongs to.
    fn slot(&self, hash: usize) -> usize {
        // Of the next power of two.
        let mask = usize::MAX >> (self.buckets.wrapping_sub(1) | 1).leading_zeros();
        let slot = hash & mask;
        if slot < self.buckets {
            slot
        } else {
            slot & (mask >> 1)
        }
    }

    fn list(&self, bucket: usize) -> Option<&List<Knote, ID>> {
        match Self::place(bucket) {
            None => self.first.get(bucket),
            Some((segment, at)) => self.segments.get(segment)?.as_ref()?.get(at),
        }
    }

    fn list_mut(&mut self, bucket: usize) -> Option<&mut List<Knote, ID>> {
        match Self::place(bucket) {
            None => self.first.get_mut(bucket),
            Some((segment, at)) => self.segments.get_mut(segment)?.as_mut()?.get_mut(at),
        }
    }

    /// The segment that the table lacks to grow by one more knote, if it is to grow.
    #[inline]
    fn missing(&self) -> Option<usize> {
        if self.count < self.buckets {
            return None;
        }
        let (segment, _) = Self::place(self.buckets)?;
        matches!(self.segments.get(segment), Some(None)).then_some(segment)
    }

    /// Makes sure that the table can grow by one more knote. `ENOMEM`; `EBADF` if it is closed. May
    /// sleep.
    pub(crate) fn reserve(index: &SpinLock<Self>) -> Result {
        // A statement of its own, so that the lock is not held for what follows.
        let missing = index.lock().missing();
        match missing {
            Some(segment) => Self::supply(index, segment),
            None => Ok(()),
        }
    }

    /// Gives the table a segment. Errors and context as [`Self::reserve`].
    #[cold]
    #[inline(never)]
    fn supply(index: &SpinLock<Self>, segment: usize) -> Result {
        let size = FIRST << segment;
        let mut chains = KVVec::with_capacity(size, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..size {
            chains.push(List::new(), GFP_KERNEL_ACCOUNT)?;
        }
        let mut index = index.lock();
        if index.closed {
            return Err(EBADF);
        }
        if let Some(slot @ None) = index.segments.get_mut(segment) {
            *slot = Some(chains);
        }
        // Else another was faster. Ours is freed after the lock, which was declared later.
        Ok(())
    }

    /// Inserts a knote, after the table has got what memory it lacks. Errors and context as
    /// [`Self::reserve`].
    pub(crate) fn insert_reserving(index: &SpinLock<Self>, kn: ListArc<Knote, ID>) -> Result {
        loop {
            let segment = {
                let mut index = index.lock();
                match index.missing() {
                    Some(segment) => segment,
                    None => {
                        let refused = index.insert(kn);
                        // What comes back is dropped after the lock.
                        drop(index);
                        return refused.map_err(|_| EBADF);
                    }
                }
            };
            Self::supply(index, segment)?;
        }
    }

    /// Splits the next chain in two, if there is memory for that, and it is not one that many
    /// knotes on one file are in: that would take long, and make it no shorter.
    fn grow(&mut self) {
        let bucket = self.buckets;
        if self.list(bucket).is_none() {
            return;
        }
        let low = bucket - (1 << log2(bucket));
        if K::CROWDS
            && self
                .list(low)
                .is_some_and(|chain| chain.iter().nth(LONG).is_some())
        {
            return;
        }
        let mut rest = match self.list_mut(low) {
            Some(chain) => core::mem::take(chain),
            None => return,
        };
        self.buckets += 1;
        while let Some(kn) = rest.pop_front() {
            let slot = self.slot(K::hash(&kn));
            if let Some(chain) = self.list_mut(slot) {
                chain.push_back(kn);
            }
        }
    }

    /// Inserts a knote. It comes back from a table that is closed.
    pub(crate) fn insert(&mut self, kn: ListArc<Knote, ID>) -> Result<(), ListArc<Knote, ID>> {
        if self.closed {
            return Err(kn);
        }
        // Twice, as there may have been no memory to grow with before.
        for _ in 0..2 {
            if self.count >= self.buckets {
                self.grow();
            }
        }
        let slot = self.slot(K::hash(&kn));
        match self.list_mut(slot) {
            Some(chain) => {
                chain.push_back(kn);
                self.count += 1;
                self.inserted = self.inserted.wrapping_add(1);
                Ok(())
            }
            None => Err(kn),
        }
    }

    /// Takes `kn` out, if it is in; it is in no other table of this kind. Who gets it of a kqueue's
    /// table ends it.
    pub(crate) fn remove(&mut self, kn: &Knote) -> Option<ListArc<Knote, ID>> {
        if K::is_taken(kn) {
            return None;
        }
        let slot = self.slot(K::hash(kn));
        // SAFETY: Whatever list `ID` of a knote is in is a chain of the one table that it may be in,
        // or a list that it was moved to when it was taken, which it is not. By the type invariants
        // the chain is this one.
        let item = unsafe { self.list_mut(slot)?.remove(kn) }?;
        self.count -= 1;
        Some(item)
    }

    /// Closes the table: nothing is inserted any more.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// A knote of chain `bucket`, taken out.
    pub(crate) fn take_one(&mut self, bucket: usize) -> Option<ListArc<Knote, ID>> {
        let item = self.list_mut(bucket)?.pop_front()?;
        self.count -= 1;
        Some(item)
    }

    /// The knotes of chain `bucket`.
    pub(crate) fn bucket(&self, bucket: usize) -> impl Iterator<Item = ArcBorrow<'_, Knote>> {
        self.list(bucket).into_iter().flatten()
    }

    /// How many knotes there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The memory of a table that is closed and empty.
    pub(crate) fn take_memory(&mut self) -> Memory<ID> {
        self.buckets = FIRST;
        core::mem::replace(&mut self.segments, [const { None }; SEGMENTS])
    }
}

/// A knote that was not inserted, and the one that has its key; none where the table is closed.
pub(crate) type Refused = (ListArc<Knote, BY_KEY>, Option<Arc<Knote>>);

/// What [`Index::look_up`] found.
pub(crate) struct Sought {
    /// The knote of the key.
    pub(crate) found: Option<Arc<Knote>>,
    /// Another one after each insertion.
    pub(crate) time: u32,
    /// The table is closed.
    pub(crate) closed: bool,
    /// To insert one more the table needs memory: see [`Index::reserve`].
    pub(crate) short: bool,
}

impl Index<ByKey, BY_KEY> {
    /// Has a knote leave its key to another, if it is in the table. From a table that is closed it
    /// comes back, to be ended.
    pub(crate) fn orphan(&mut self, kn: &Knote) -> Option<ListArc<Knote, BY_KEY>> {
        let item = self.remove(kn)?;
        kn.set_orphan();
        self.insert(item).err()
    }

    /// Whether the chains are so long that none should be searched any more.
    pub(crate) fn is_overfull(&self) -> bool {
        self.count / OVERLONG >= self.buckets
    }

    /// Whether they are longer than they should ever get.
    pub(crate) fn is_long(&self) -> bool {
        self.count / TOO_LONG >= self.buckets
    }

    /// Whether the table should have more chains, and could not grow by itself.
    pub(crate) fn is_crowded(&self) -> bool {
        !self.closed && self.count > self.buckets && self.list(self.buckets).is_none()
    }

    /// Lets the table grow by what it could not where there was no memory to be had. A part at a
    /// time; false if there is more to do.
    pub(crate) fn catch_up(&mut self) -> bool {
        for _ in 0..64 {
            // Who has closed it goes through the chains that there were then.
            if self.closed || self.count <= self.buckets || self.list(self.buckets).is_none() {
                return true;
            }
            self.grow();
        }
        false
    }

    /// Inserts a knote, unless there is one with its key. Not looked for is it where there was none
    /// at [`Sought::time`] `absent`, and nothing was inserted since.
    pub(crate) fn insert_new(
        &mut self,
        kn: ListArc<Knote, BY_KEY>,
        absent: Option<u32>,
    ) -> Result<(), Refused> {
        if absent != Some(self.inserted) {
            if let Some(other) = self.find(&kn.key()) {
                return Err((kn, Some(other)));
            }
        }
        self.insert(kn).map_err(|kn| (kn, None))
    }

    /// What there is to say of a key.
    #[inline]
    pub(crate) fn look_up(&self, key: &Key<'_>) -> Sought {
        let found = self.find(key);
        Sought {
            found,
            short: self.missing().is_some(),
            time: self.inserted,
            closed: self.closed,
        }
    }

    /// The knote of a key.
    fn find(&self, key: &Key<'_>) -> Option<Arc<Knote>> {
        let chain = self.list(self.slot(hash_key(key)))?;
        let found = chain.iter().find(|kn| kn.answers_to(key))?;
        Some(found.into())
    }
}

impl Index<ByFile, BY_FILE> {
    /// Takes out the knotes on `file` that `closed` says, among the first `max` of their chain.
    /// False if there may be more.
    pub(crate) fn take_closed(
        &mut self,
        file: *const bindings::file,
        max: usize,
        closed: impl Fn(&Knote) -> bool,
        taken: &mut List<Knote, BY_FILE>,
    ) -> bool {
        let slot = self.slot(hash_file(file));
        let (mut count, mut done) = (0, false);
        if let Some(chain) = self.list_mut(slot) {
            let mut at = chain.cursor_front();
            for _ in 0..max {
                let Some(next) = at.peek_next() else {
                    done = true;
                    break;
                };
                if next.key().file_ptr() == file && closed(&next) {
                    next.set_taken();
                    taken.push_back(next.remove());
                    count += 1;
                } else {
                    at.move_next();
                }
            }
        }
        self.count -= count;
        done
    }

    /// The same, a part at a time: each call looks at `max` more, and turns the chain by as many.
    /// `sweep` is the number of the sweep; there is one at a time.
    pub(crate) fn sweep_closed(
        &mut self,
        file: *const bindings::file,
        max: usize,
        sweep: u32,
        closed: impl Fn(&Knote) -> bool,
        taken: &mut List<Knote, BY_FILE>,
    ) -> bool {
        for _ in 0..max {
            let slot = self.slot(hash_file(file));
            let Some(chain) = self.list_mut(slot) else {
                return true;
            };
            // What was inserted since the beginning is behind what was looked at, or between.
            if chain.iter().next().is_none_or(|kn| kn.swept(sweep)) {
                return true;
            }
            let Some(kn) = chain.pop_front() else {
                return true;
            };
            if kn.key().file_ptr() == file && closed(&kn) {
                kn.set_taken();
                self.count -= 1;
                taken.push_back(kn);
            } else {
                kn.set_swept(sweep);
                chain.push_back(kn);
            }
        }
        false
    }
}
