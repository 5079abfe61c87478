// SPDX-License-Identifier: GPL-2.0

//! A knote: one registration on one kqueue.
//!
//! # Life
//!
//! The change lock's holder makes it ([`Knote::new`]), hooks it to its object, and puts it in the
//! kqueue's index, and in its process's if it is on a descriptor. Whoever takes it out of the
//! kqueue's index, which one party alone can, ends it: `EV_DELETE`, the delivery of an
//! `EV_ONESHOT` event, the close of its descriptor, the close of the kqueue. See
//! [`Kqueue::end`](crate::queue::Kqueue::end).
//!
//! # Status
//!
//! | status | meaning |
//! | --- | --- |
//! | `ACTIVE` | the condition has come to hold since it was last looked at |
//! | `QUEUED` | on the ready list |
//! | `DISABLED` | by `EV_DISABLE`, or delivered with `EV_DISPATCH`: not to be queued |
//! | `INFLUX` | a scan has it in hand, or it is being made: whoever has it queues it when done |
//! | `TOUCHED` | in flux, and added anew since: `EV_ONESHOT` and `EV_DISPATCH` are for what comes next |
//! | `PARKED` | the right to queue the knote is left with it: neither queued, in flux nor dropped |
//! | `ORPHAN` | has left its key to another, and said so here |
//! | `DROPPED` | out of the index, or about to be let go: never queued, never delivered |
//!
//! `QUEUED` excludes those after it. A knote that is active, and neither disabled, in flux nor
//! dropped, is queued.

use crate::{
    filetable::FileTable,
    filter::{Filterops, HookSpace, OpsRef, Request},
    index::{Key, BY_FILE, BY_KEY},
    queue::Kqueue,
    uapi::*,
    wrap::once::Once,
};
use core::cell::UnsafeCell;
use kernel::{
    alloc::Flags,
    fs::File,
    list::{impl_list_arc_safe, impl_list_item, AtomicTracker, ListArc, ListLinks, TryNewListArc},
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

/// kn_status.
pub(crate) mod status {
    pub(crate) const ACTIVE: u16 = 1 << 0;
    pub(crate) const QUEUED: u16 = 1 << 1;
    pub(crate) const DISABLED: u16 = 1 << 2;
    pub(crate) const INFLUX: u16 = 1 << 3;
    pub(crate) const DROPPED: u16 = 1 << 4;
    pub(crate) const TOUCHED: u16 = 1 << 5;
    pub(crate) const PARKED: u16 = 1 << 6;
    pub(crate) const ORPHAN: u16 = 1 << 7;
}

/// The flags of a change that a knote keeps and shows in its events.
pub(crate) const KEPT_FLAGS: u16 = EV_ONESHOT | EV_CLEAR | EV_DISPATCH | EV_UDATA_SPECIFIC;

/// What of a knote is under its kqueue's queue lock.
pub struct KnoteState {
    /// kn_status: [`status`].
    pub(crate) status: u16,
    /// kn_flags: [`KEPT_FLAGS`].
    pub(crate) flags: u16,
    /// kn_fflags: the filter's.
    pub fflags: u32,
    /// kn_sfflags: `fflags` of the latest change.
    pub sfflags: u32,
    /// When it was queued, in the kqueue's count of such, which wraps.
    pub(crate) seq: u32,
    /// kn_data: the filter's.
    pub data: i64,
    /// kn_sdata: `data` of the latest change.
    pub sdata: i64,
}

/// A knote's state, for who has its kqueue's queue lock: see
/// [`QueueState::state`](crate::queue::QueueState::state).
pub(crate) struct StateCell(UnsafeCell<KnoteState>);

// SAFETY: The queue lock's holder alone has what is in it, which is `Send`.
unsafe impl Sync for StateCell {}

impl StateCell {
    pub(crate) fn get(&self) -> *mut KnoteState {
        self.0.get()
    }
}

/// One registration.
///
/// # Invariants
///
/// - `hook` was made by `ops`.
/// - The knote is counted with `kq.user()`.
#[pin_data(PinnedDrop)]
pub struct Knote {
    /// kn_fop.
    ops: OpsRef,
    /// kn_kq.
    kq: Arc<Kqueue>,
    /// kn_fp: the file behind the descriptor, for filters on one. Held for as long as the knote
    /// lives, so that the wait queues it hangs on stay.
    file: Option<ARef<File>>,
    /// kn_id.
    ident: usize,
    /// kn_udata: constant where it is part of the identity, else changed under the change lock.
    udata: Atomic<usize>,
    /// kn_filter.
    filter: i16,
    udata_specific: bool,
    /// Not to be found by its key any more: what it watches is past, and the key another's.
    orphan: Atomic<bool>,
    /// Of the process's table when the knote was entered there; see [`FileTable::epoch`].
    epoch: u32,
    /// The latest sweep of the process's table that has looked at the knote.
    swept: Atomic<u32>,
    /// Moved from the process's table to a list of who closes the descriptor: nobody else may take
    /// it off that. Never false again; changed under the table's lock.
    taken: Atomic<bool>,
    /// Ended, and on the list of what is to be detached later by the link that it was in the kqueue's
    /// index by. Never false again; changed under the index lock.
    put_off: Atomic<bool>,
    /// In the ready list.
    #[pin]
    ready_links: ListLinks,
    /// In the kqueue's index.
    #[pin]
    key_links: ListLinks<BY_KEY>,
    #[pin]
    key_tracker: AtomicTracker<BY_KEY>,
    /// In the process's index, for filters on a descriptor.
    #[pin]
    file_links: ListLinks<BY_FILE>,
    #[pin]
    file_tracker: AtomicTracker<BY_FILE>,
    pub(crate) state: StateCell,
    /// kn_hook.
    hook: HookSpace,
}

// What it is allocated from, as caches of memory go. The kernel's debugging makes it larger.
#[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
const _: () = assert!(Knote::SIZE <= 192);

impl_list_arc_safe! {
    impl ListArcSafe<0> for Knote { untracked; }
    impl ListArcSafe<BY_KEY> for Knote { tracked_by key_tracker: AtomicTracker<BY_KEY>; }
    impl ListArcSafe<BY_FILE> for Knote { tracked_by file_tracker: AtomicTracker<BY_FILE>; }
}
impl_list_item! {
    impl ListItem<0> for Knote { using ListLinks { self.ready_links }; }
    impl ListItem<BY_KEY> for Knote { using ListLinks { self.key_links }; }
    impl ListItem<BY_FILE> for Knote { using ListLinks { self.file_links }; }
}

impl Knote {
    /// The size that a registration is accounted with.
    pub(crate) const SIZE: usize = size_of::<Self>() + size_of::<usize>();

    /// A knote in flux, in no index, hooked to nothing. `ENOMEM`, also where the user has too many
    /// already. Any context
    /// that `flags` suits.
    pub(crate) fn new(
        kq: &Arc<Kqueue>,
        ops: OpsRef,
        file: Option<ARef<File>>,
        kev: &Kevent,
        flags: Flags,
    ) -> Result<ListArc<Self>> {
        kq.user().charge_watch()?;
        let own_flags = ops.flags;
        let knote = ListArc::pin_init(
            pin_init!(Self {
                // INVARIANT: Of the same operators. Made when there is a knote that will drop it.
                hook: ops.new_hook(),
                ops,
                kq: kq.clone(),
                file,
                ident: kev.ident,
                udata: Atomic::new(kev.udata),
                filter: kev.filter,
                udata_specific: kev.flags & EV_UDATA_SPECIFIC != 0,
                orphan: Atomic::new(false),
                epoch: kq.table().epoch(),
                swept: Atomic::new(0),
                taken: Atomic::new(false),
                put_off: Atomic::new(false),
                ready_links <- ListLinks::new(),
                key_links <- ListLinks::new(),
                key_tracker <- AtomicTracker::new(),
                file_links <- ListLinks::new(),
                file_tracker <- AtomicTracker::new(),
                state: StateCell(UnsafeCell::new(KnoteState {
                    status: status::INFLUX,
                    flags: kev.flags & KEPT_FLAGS | own_flags,
                    fflags: 0,
                    sfflags: kev.fflags,
                    seq: 0,
                    data: 0,
                    sdata: kev.data,
                })),
            }? Error),
            flags,
        );
        if knote.is_err() {
            kq.user().uncharge_watch();
        }
        knote
    }

    pub(crate) fn ops(&self) -> &Filterops {
        &self.ops
    }

    /// The operators, and what keeps them.
    pub(crate) fn ops_ref(&self) -> &OpsRef {
        &self.ops
    }

    pub(crate) fn hook(&self) -> &HookSpace {
        &self.hook
    }

    /// kn_fp: what is open at descriptor [`Self::ident`], where the filter is on descriptors.
    pub fn file(&self) -> Option<&File> {
        self.file.as_deref()
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether sweep `sweep` of the process's table has looked at the knote. Under its lock.
    pub(crate) fn swept(&self, sweep: u32) -> bool {
        self.swept.load(Relaxed) == sweep
    }

    /// Sweep `sweep` has. Under the table's lock.
    pub(crate) fn set_swept(&self, sweep: u32) {
        self.swept.store(sweep, Relaxed);
    }

    /// Whether who closes the descriptor has taken the knote out of the process's table. Under its
    /// lock. Or, after a section of the kqueue's index lock, whether who has taken it came to the
    /// index before that section: who comes later finds there what the section left.
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Relaxed)
    }

    /// Who closes the descriptor has. Under the table's lock.
    pub(crate) fn set_taken(&self) {
        self.taken.store(true, Relaxed);
    }

    /// kn_id.
    pub fn ident(&self) -> usize {
        self.ident
    }

    pub(crate) fn kqueue(&self) -> &Arc<Kqueue> {
        &self.kq
    }

    /// The table of the process that has the kqueue.
    pub(crate) fn table(&self) -> &FileTable {
        self.kq.table()
    }

    /// Whether the knote's detaching was put off. Under the index lock.
    pub(crate) fn is_put_off(&self) -> bool {
        self.put_off.load(Relaxed)
    }

    /// It was. Under the index lock.
    pub(crate) fn set_put_off(&self) {
        self.put_off.store(true, Relaxed);
    }

    /// kn_filter.
    pub(crate) fn filter(&self) -> i16 {
        self.filter
    }

    /// Poll events that concern the knote.
    pub(crate) fn poll_events(&self) -> u32 {
        self.ops.poll_events
    }

    /// Whether the knote is found by this key.
    pub(crate) fn answers_to(&self, key: &Key<'_>) -> bool {
        // Another ident is what most others have.
        self.ident == key.ident && self.key() == *key && !self.is_orphan()
    }

    /// Whether the knote has left its key to another, and is there for what it has to deliver only.
    pub(crate) fn is_orphan(&self) -> bool {
        self.orphan.read()
    }

    /// Leaves the key. Under the index lock, when the knote is not in the index.
    pub(crate) fn set_orphan(&self) {
        self.orphan.store(true, Relaxed);
    }

    /// What the knote is found by.
    pub(crate) fn key(&self) -> Key<'_> {
        Key {
            file: self.file(),
            filter: self.filter,
            ident: self.ident,
            udata: self.udata_specific.then(|| self.udata.load(Relaxed)),
        }
    }

    /// Sets udata, unless it is part of the identity. Under the change lock.
    pub(crate) fn set_udata(&self, udata: usize) {
        if !self.udata_specific {
            self.udata.store(udata, Relaxed);
        }
    }

    /// An event of this knote, but for what its filter has to say. Under the queue lock, which
    /// `st` shows.
    #[inline(always)]
    pub(crate) fn event(&self, st: &KnoteState) -> Kevent {
        Kevent {
            ident: self.ident,
            filter: self.filter,
            flags: st.flags,
            fflags: 0,
            data: 0,
            udata: self.udata.read(),
        }
    }

    /// Runs `f` on the state, under the queue lock. Any context.
    // Not generic, so that it can be called from other modules.
    pub fn update(&self, f: &mut dyn FnMut(&mut KnoteState)) {
        self.with_state(f);
    }

    /// Runs `f` on the state, under the queue lock. Any context.
    pub(crate) fn with_state<R>(&self, f: impl FnOnce(&mut KnoteState) -> R) -> R {
        let mut queue = self.kq.queue().lock();
        f(queue.state(self))
    }

    /// What the latest change asks. Takes the queue lock.
    pub fn request(&self) -> Request {
        self.with_state(|st| st.request())
    }

    /// knote_activate: the condition has come to hold. Any context, also under the lock of what is
    /// watched; takes the queue lock, and that of the kqueue's sleepers.
    pub fn activate(&self) {
        self.kq.activate(self);
    }

    /// KNOTE, for one knote: something has happened to what it watches. What `hint` says is between
    /// the filter and who tells it. Context and locks as [`Self::activate`].
    pub fn note(&self, hint: u64) {
        let _ = self.kq.note(self, hint);
    }
}

impl KnoteState {
    /// What the latest change asks.
    pub fn request(&self) -> Request {
        Request {
            sfflags: self.sfflags,
            sdata: self.sdata,
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Knote {
    // The last reference may go where a descriptor is closed, with preemption off.
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: By the type invariants the operators made the hook; nobody else has the knote.
        unsafe { this.ops.drop_hook(&mut this.hook) };
        this.kq.user().uncharge_watch();
    }
}
