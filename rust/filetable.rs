// SPDX-License-Identifier: GPL-2.0

//! A process, as far as kqueues are concerned: its file table.
//!
//! A [`FileTable`] is there while its process has a kqueue. It is found by the address of the
//! `files_struct`, on every close in the system while the probes are armed: by a hash table whose
//! readers take no lock.

use crate::{bindings, knote::Knote, limits::Counter, queue::Kqueue, wrap::files::FilesId};
use core::ptr;
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    list::{List, ListArc},
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        rcu, Arc, SpinLock,
    },
    types::Opaque,
};

/// Chains of the hash table.
const BUCKETS: usize = 256;

/// The table. A chain is read under RCU, and changed under [`TABLES`]. It owns a reference to
/// each of its members.
static HASH: [Atomic<*mut FileTable>; BUCKETS] = [const { Atomic::new(ptr::null_mut()) }; BUCKETS];

kernel::sync::global_lock! {
    // SAFETY: Initialised by `init`, before anything else of the module runs.
    unsafe(uninit) static TABLES: Mutex<()> = ();
}

/// What a process's kqueues have in common.
#[pin_data]
pub(crate) struct FileTable {
    id: FilesId,
    /// fd_kqlist. Not taken on the wake-up path; before the locks of a kqueue.
    #[pin]
    kqueues: SpinLock<List<Kqueue>>,
    /// fd_nuserevents.
    user_events: Counter,
    /// The next in the chain of the hash table.
    next: Atomic<*mut FileTable>,
    /// For the reference that the hash table owned.
    #[pin]
    rcu: Opaque<bindings::callback_head>,
}

// SAFETY: `next` and `rcu` are the only fields that are not so by themselves. They are used under
// `TABLES`, and by RCU after that.
unsafe impl Send for FileTable {}
// SAFETY: As above; `next` is atomic.
unsafe impl Sync for FileTable {}

/// Makes the table usable.
///
/// # Safety
///
/// To be called once, before anything else of this file.
pub(crate) unsafe fn init() {
    // SAFETY: By this function's requirements.
    unsafe { TABLES.init() };
}

/// Waits until nothing of the table is used any more; may sleep.
pub(crate) fn exit() {
    // SAFETY: No requirement.
    unsafe { bindings::rcu_barrier() };
}

fn bucket(id: FilesId) -> &'static Atomic<*mut FileTable> {
    // A files_struct is some 700 bytes large: the lowest bits say nothing.
    let hash = (id.addr() as u64 >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    &HASH[hash as usize % BUCKETS]
}

/// Runs `f` on the process's table, if it has one. Any context but interrupts; `f` must not sleep.
pub(crate) fn with<R>(id: FilesId, f: impl FnOnce(&FileTable) -> R) -> Option<R> {
    let _rcu = rcu::read_lock();
    let mut at = bucket(id).load(Acquire);
    // SAFETY: What a chain leads to stays for a grace period after it was unlinked, and so for
    // our read-side section.
    while let Some(table) = unsafe { at.as_ref() } {
        if table.id == id {
            return Some(f(table));
        }
        at = table.next.load(Acquire);
    }
    None
}

impl FileTable {
    /// A kqueue for the current process, known to its table: `make` makes it. `ENOMEM`, and what
    /// `make` says. May sleep.
    pub(crate) fn add_kqueue(
        make: impl FnOnce(Arc<FileTable>) -> Result<ListArc<Kqueue>>,
    ) -> Result<Arc<Kqueue>> {
        let id = FilesId::current();
        let tables = TABLES.lock();
        let (table, new) = match Self::find(id) {
            Some(table) => (table, false),
            None => (Self::new(id)?, true),
        };
        let item = make(table.clone())?;
        let kq = item.clone_arc();
        table.kqueues.lock().push_back(item);
        if new {
            let head = bucket(id);
            table.next.store(head.load(Relaxed), Relaxed);
            head.store(Arc::into_raw(table).cast_mut(), Release);
        }
        drop(tables);
        Ok(kq)
    }

    /// A kqueue is no longer its process's. May be called more than once. May sleep.
    pub(crate) fn remove_kqueue(kq: &Kqueue) {
        let table = kq.table();
        let tables = TABLES.lock();
        let mut kqueues = table.kqueues.lock();
        // SAFETY: A kqueue is in its own table's list or in none.
        let removed = unsafe { kqueues.remove(kq) };
        let last = removed.is_some() && kqueues.is_empty();
        drop(kqueues);
        if last {
            table.unlink();
        }
        drop(tables);
        drop(removed);
    }

    fn new(id: FilesId) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                id,
                kqueues <- new_spinlock!(List::new(), "kqueue_table"),
                user_events: Counter::new(),
                next: Atomic::new(ptr::null_mut()),
                rcu: Opaque::uninit(),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Under `TABLES`.
    fn find(id: FilesId) -> Option<Arc<Self>> {
        with(id, |table| {
            // SAFETY: What the hash table has was made by `Arc::into_raw`, and it has a reference,
            // which it does not give up while `TABLES` is held.
            let table = unsafe { Arc::from_raw(ptr::from_ref(table)) };
            let found = table.clone();
            let _ = Arc::into_raw(table);
            found
        })
    }

    /// Takes the table out of the hash table. Under `TABLES`; it is in.
    fn unlink(&self) {
        let mut at = bucket(self.id);
        loop {
            let next = at.load(Relaxed);
            if ptr::eq(next, self) {
                break;
            }
            // SAFETY: The chain does not change, as `TABLES` is held.
            match unsafe { next.as_ref() } {
                Some(next) => at = &next.next,
                None => return,
            }
        }
        at.store(self.next.load(Relaxed), Release);
        // SAFETY: The hash table's reference keeps it until the callback, which drops that.
        unsafe { bindings::call_rcu(self.rcu.get(), Some(unlinked)) };
    }

    pub(crate) fn id(&self) -> FilesId {
        self.id
    }

    pub(crate) fn user_events(&self) -> &Counter {
        &self.user_events
    }

    /// A slot of the table that held `file` has been closed, or is about to be, where `fd` is
    /// given: ends the knotes on that descriptor, in all kqueues of the process.
    ///
    /// Called with preemption off, before the closer drops its reference to the file.
    ///
    /// # Safety
    ///
    /// The table that this one stands for is alive.
    pub(crate) unsafe fn file_closed(&self, file: *const bindings::file, fd: Option<u32>) {
        // SAFETY: By this function's requirements.
        let dying = unsafe { self.id.is_dying() };
        let closed = |kn: &Knote| match (fd, kn.file()) {
            (Some(fd), _) => kn.ident() == fd as usize,
            // Which slot it was is not told. It does not hold the file any more; others that do,
            // by dup(2), are still watched.
            // SAFETY: By this function's requirements.
            (None, Some(file)) => dying || !unsafe { self.id.holds(kn.ident() as u32, file) },
            (None, None) => false,
        };
        for kq in self.kqueues.lock().iter() {
            kq.file_closed(file, closed);
        }
    }
}

/// # Safety
///
/// Called by RCU for the `rcu` of a table that [`FileTable::unlink`] has unlinked.
unsafe extern "C" fn unlinked(head: *mut bindings::callback_head) {
    // SAFETY: The head is that of a table, which is pinned.
    let table = unsafe {
        kernel::container_of!(
            head.cast::<Opaque<bindings::callback_head>>(),
            FileTable,
            rcu
        )
    };
    // SAFETY: The reference that the hash table had.
    drop(unsafe { Arc::from_raw(table.cast_const()) });
}
