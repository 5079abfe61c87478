// SPDX-License-Identifier: GPL-2.0

//! knlist: the knotes on one object, to be told what happens to it.
//!
//! A list has no lock of its own: it is part of what some lock guards, and so in the hands of that
//! lock's holder. An entry is part of a knote's hook.

use crate::knote::Knote;
use core::{
    cell::{Cell, UnsafeCell},
    ptr,
};
use kernel::sync::{Arc, ArcBorrow};

/// What an entry has while it is on a list.
#[derive(Clone, Copy)]
struct Links {
    next: *const KnlistEntry,
    prev: *const KnlistEntry,
    /// Null while it is on none, and in a [`Place`].
    kn: *const Knote,
    /// The latest turn that it has had its part in; see [`Knlist::next_of_turn`].
    turn: u32,
}

/// A knote's place on a [`Knlist`]: kn_selnext.
///
/// # Invariants
///
/// While the entry is on a list its links are used by that list's methods alone, and `kn` is the
/// knote that the entry is part of.
pub struct KnlistEntry(UnsafeCell<Links>);

// SAFETY: What is in it is used under the lock of the list.
unsafe impl Send for KnlistEntry {}
// SAFETY: As above.
unsafe impl Sync for KnlistEntry {}

impl Default for KnlistEntry {
    fn default() -> Self {
        Self(UnsafeCell::new(Links {
            next: ptr::null(),
            prev: ptr::null(),
            kn: ptr::null(),
            turn: 0,
        }))
    }
}

/// How far a walk through a list has come whose lock is dropped now and then: an entry without a
/// knote, in front of the one that is next. Lists that are walked so are not walked otherwise.
///
/// # Invariants
///
/// The entry is linked if and only if `left` is not zero. Both are used under the lock of the list.
#[derive(Default)]
pub(crate) struct Place {
    entry: KnlistEntry,
    /// Knotes that are still to be told, if none goes meanwhile.
    left: Cell<usize>,
}

/// A list of knotes.
///
/// # Invariants
///
/// `first` begins, and `last` ends, a list of entries that are linked by `next` and `prev` and end
/// in null. All of them are alive, and their knotes are and have a reference: an entry is taken off
/// before its knote is let go, or its [`Place`]. `len` of them have a knote.
///
/// Its layout is that of the first fields of C's `struct knlist`, and all bits zero are an empty list.
#[repr(C)]
pub struct Knlist {
    first: *const KnlistEntry,
    last: *const KnlistEntry,
    len: usize,
}

// SAFETY: Its knotes may be used from any thread.
unsafe impl Send for Knlist {}

impl Default for Knlist {
    fn default() -> Self {
        Self::new()
    }
}

impl Knlist {
    /// An empty list.
    pub const fn new() -> Self {
        Self {
            first: ptr::null(),
            last: ptr::null(),
            len: 0,
        }
    }

    /// How many knotes are on the list.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no knote is on the list.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// knlist_add: puts a knote at the end of the list.
    ///
    /// # Safety
    ///
    /// `entry` is part of `kn`, which does not move, and is on no list. It is taken off this one
    /// before the last reference to `kn` goes.
    pub unsafe fn add(&mut self, entry: &KnlistEntry, kn: &Knote) {
        // SAFETY: The entry is on no list, so nobody else uses its links.
        unsafe { (*entry.0.get()).kn = kn };
        self.link_last(entry);
        self.len += 1;
    }

    /// knlist_remove: takes an entry off, if it is on. Whether it was.
    ///
    /// # Safety
    ///
    /// `entry` is on this list or on none, and nobody puts it on one at the same time.
    pub unsafe fn remove(&mut self, entry: &KnlistEntry) -> bool {
        let links = entry.0.get();
        // SAFETY: By this function's requirements nobody else uses the links.
        if unsafe { (*links).kn }.is_null() {
            return false;
        }
        self.unlink(entry);
        self.len -= 1;
        // SAFETY: As above.
        unsafe { (*links).kn = ptr::null() };
        true
    }

    /// Links an entry that is not linked.
    fn link_last(&mut self, entry: &KnlistEntry) {
        let links = entry.0.get();
        // SAFETY: `self` is borrowed exclusively, and with it the links of all its entries; the new
        // one is not linked anywhere.
        unsafe {
            (*links).next = ptr::null();
            (*links).prev = self.last;
        }
        // SAFETY: By the type invariants the last entry is alive, if there is one.
        match unsafe { self.last.as_ref() } {
            None => self.first = entry,
            // SAFETY: As above, of the links.
            Some(last) => unsafe { (*last.0.get()).next = entry },
        }
        // INVARIANT: The caller sees to it that the entry stays.
        self.last = entry;
    }

    /// Links an entry that is not linked in front of one that is.
    fn link_before(&mut self, entry: &KnlistEntry, next: &KnlistEntry) {
        // SAFETY: `self` is borrowed exclusively, and with it the links of all its entries.
        let prev = unsafe { core::mem::replace(&mut (*next.0.get()).prev, entry) };
        // SAFETY: As above; the new one is not linked anywhere.
        unsafe {
            (*entry.0.get()).next = next;
            (*entry.0.get()).prev = prev;
        }
        // SAFETY: By the type invariants the entry before is alive, if there is one.
        match unsafe { prev.as_ref() } {
            None => self.first = entry,
            // SAFETY: As above, of the links.
            Some(prev) => unsafe { (*prev.0.get()).next = entry },
        }
    }

    /// Unlinks an entry of this list.
    fn unlink(&mut self, entry: &KnlistEntry) {
        // SAFETY: `self` is borrowed exclusively, and with it the links of all its entries.
        let Links { next, prev, .. } = unsafe { *entry.0.get() };
        // SAFETY: By the type invariants the entry before is alive, if there is one.
        match unsafe { prev.as_ref() } {
            None => self.first = next,
            // SAFETY: As above, of the links.
            Some(prev) => unsafe { (*prev.0.get()).next = next },
        }
        // SAFETY: By the type invariants the entry behind is alive, if there is one.
        match unsafe { next.as_ref() } {
            None => self.last = prev,
            // SAFETY: As above, of the links.
            Some(next) => unsafe { (*next.0.get()).prev = prev },
        }
    }

    /// The first entry; null if there is none.
    pub(crate) fn first(&self) -> *const KnlistEntry {
        self.first
    }

    /// The knote of an entry, and the entry behind it; none of null. The list may change before that is
    /// looked at, except that the entry behind must stay.
    ///
    /// # Safety
    ///
    /// `at` is null or an entry of this list, or was until just now and is still there.
    pub(crate) unsafe fn at<'a>(
        &self,
        at: *const KnlistEntry,
    ) -> Option<(&'a Knote, *const KnlistEntry)> {
        // SAFETY: By this function's requirements.
        let entry = unsafe { at.as_ref() }?;
        // SAFETY: `self` is borrowed, and with it the links of all its entries.
        let Links { next, kn, .. } = unsafe { *entry.0.get() };
        // SAFETY: By the type invariants the knote is alive; an entry that was taken off has none.
        Some((unsafe { kn.as_ref() }?, next))
    }

    /// KNOTE: tells all knotes on the list what has happened. Under the list's lock; any context
    /// that this may be taken in.
    pub fn note(&mut self, hint: u64) {
        let mut at = self.first;
        // SAFETY: By the type invariants what `first` and the links lead to is alive.
        while let Some(entry) = unsafe { at.as_ref() } {
            // SAFETY: `self` is borrowed exclusively, and with it the links of all its entries.
            let Links { next, kn, .. } = unsafe { *entry.0.get() };
            // SAFETY: By the type invariants the knote is alive.
            unsafe { &*kn }.note(hint);
            at = next;
        }
    }

    /// As [`Self::note`], of at most `most` knotes, from `place` on: at first a new one. Whether
    /// there are more; then this is to be called again, and before that the lock may be dropped.
    /// However many knotes come meanwhile, no more are told than there were at first.
    ///
    /// # Safety
    ///
    /// One `place` is used for one list. While what was returned last is true, it neither moves nor
    /// goes.
    pub(crate) unsafe fn note_turn(&mut self, place: &Place, hint: u64, most: usize) -> bool {
        let mut left = place.left.take();
        let mut at = if left == 0 {
            left = self.len;
            self.first
        } else {
            // SAFETY: `self` is borrowed exclusively, and with it the links of all its entries.
            let next = unsafe { (*place.entry.0.get()).next };
            // INVARIANT: `left` has become zero above.
            self.unlink(&place.entry);
            next
        };
        let mut told = 0;
        // SAFETY: By the type invariants what `first` and the links lead to is alive.
        while let Some(entry) = unsafe { at.as_ref() } {
            if left == 0 {
                return false;
            }
            if told == most {
                self.link_before(&place.entry, entry);
                // INVARIANT: Linked, and `left` is not zero.
                place.left.set(left);
                return true;
            }
            // SAFETY: As above, of the links.
            let Links { next, kn, .. } = unsafe { *entry.0.get() };
            // SAFETY: By the type invariants the knote is alive. The place of another walk has none.
            if let Some(kn) = unsafe { kn.as_ref() } {
                kn.note(hint);
                told += 1;
                left -= 1;
            }
            at = next;
        }
        false
    }

    /// The next knote that has not had its part in `turn` yet. With this a holder of the lock can
    /// go through the list and drop the lock in between: those that had their part go to the end.
    /// One turn is taken at a time.
    pub(crate) fn next_of_turn(&mut self, turn: u32) -> Option<Arc<Knote>> {
        // SAFETY: By the type invariants the first entry is alive, if there is one.
        let entry = unsafe { self.first.as_ref() }?;
        let links = entry.0.get();
        // SAFETY: `self` is borrowed exclusively, and with it the links of all its entries.
        let (last, kn) = unsafe { (core::mem::replace(&mut (*links).turn, turn), (*links).kn) };
        if last == turn {
            return None;
        }
        self.unlink(entry);
        self.link_last(entry);
        // SAFETY: By the type invariants the knote has a reference; knotes are all in an `Arc`.
        Some(unsafe { ArcBorrow::from_raw(kn) }.into())
    }
}
