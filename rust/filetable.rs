// SPDX-License-Identifier: GPL-2.0

//! A process, as far as kqueues are concerned: its file table.
//!
//! A [`FileTable`] is there while a kqueue of its process is. It is found by the address of the
//! `files_struct`, on every close in the system while the probes are armed: by a hash table whose
//! readers take no lock. There it is as long as the process has a descriptor of a kqueue that it has
//! used: what another process holds of one, and a process that is gone, have no part in that.

use crate::{
    bindings,
    index::{ByFile, Index, BY_FILE},
    knote::Knote,
    limits::Counter,
    nest::Pairs,
    queue::{Context, Kqueue, Pollers},
    wrap::{
        files::FilesId,
        once::Once,
        once_ptr::OncePtr,
        task::relax,
        task_work::{self, TaskWork},
    },
};
use core::ptr;
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    list::{List, ListArc},
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        rcu, Arc, ArcBorrow, Mutex, SpinLock,
    },
    types::Opaque,
};

/// Chains of the hash table.
const BUCKETS: usize = 1 << BITS;
const BITS: u32 = 10;

/// The table. A chain is read under RCU, and changed under [`TABLES`]. It owns a reference to
/// each of its members.
static HASH: [Atomic<*mut FileTable>; BUCKETS] = [const { Atomic::new(ptr::null_mut()) }; BUCKETS];

kernel::sync::global_lock! {
    // SAFETY: Initialised by `init`, before anything else of the module runs.
    unsafe(uninit) static TABLES: Mutex<()> = ();
}

/// Files that a copy of a table, or a message, may have, and whose owner's table does not tell: they
/// have not been used yet, or are closed and not released.
static LEFT: Atomic<usize> = Atomic::new(0);

/// What a process's kqueues have in common.
#[pin_data]
pub(crate) struct FileTable {
    id: FilesId,
    /// fd_knlist: the knotes on descriptors, in all kqueues of the process. Not taken on the
    /// wake-up path.
    #[pin]
    knotes: SpinLock<Index<ByFile, BY_FILE>>,
    /// Counted up when the end of knotes on a descriptor is put off though the slot does not tell
    /// that it was closed: those from before the count are meant.
    epoch: Atomic<u32>,
    /// The number of the latest sweep through `knotes`; held during one.
    #[pin]
    sweep: Mutex<u32>,
    /// Kqueues that the process has and has used: the table is in the hash table while there are any.
    /// Changed under [`TABLES`].
    open: Counter,
    /// Of those it has used, the ones that are open somewhere. Changed under [`TABLES`].
    kqueues: Counter,
    /// The last user of the process's table has begun to close it: what has its address from now
    /// on is another.
    dead: Atomic<bool>,
    /// fd_nuserevents.
    user_events: Counter,
    /// Which of the process's kqueues watch which.
    #[pin]
    pairs: Pairs,
    /// `EVFILT_TIMER` knotes.
    timers: Counter,
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
    let hash = (id.addr() as u64 >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS);
    &HASH[hash as usize % BUCKETS]
}

/// Runs `f` on what is known of the table `id`, which may be that of several that had this address
/// one after the other. Any context but interrupts; `f` must not sleep.
fn for_each(id: FilesId, mut f: impl FnMut(ArcBorrow<'_, FileTable>)) {
    let _rcu = rcu::read_lock();
    let mut at = bucket(id).load(Acquire);
    while !at.is_null() {
        // SAFETY: What a chain leads to was made by `Arc::into_raw`, and has the hash table's
        // reference for a grace period after it was unlinked, and so for our read-side section.
        let table = unsafe { ArcBorrow::from_raw(at.cast_const()) };
        at = table.next.load(Acquire);
        if table.id == id {
            f(table);
        }
    }
}

/// Whether the process of table `id` may have a kqueue: what most closes in the system come to is
/// that it has none. Any context.
#[inline]
pub(crate) fn may_have_kqueue(id: FilesId) -> bool {
    !bucket(id).load(Relaxed).is_null()
}

/// Whether the process of table `id` has a kqueue. Any context but interrupts.
pub(crate) fn has_kqueue(id: FilesId) -> bool {
    let mut found = false;
    for_each(id, |_| found = true);
    found
}

/// Whether the table `id`, or a copy of it that was made just now, may have a kqueue: one that was not
/// used yet; and what another thread has closed since the copy was made is still in that, as is what
/// came back closed. Any context but interrupts.
pub(crate) fn may_have_any(id: FilesId) -> bool {
    // A file is counted, then its table can be found and it is not counted any more, then it is
    // counted again, and then the table may not be found.
    let left = || LEFT.load(Acquire) != 0;
    left() || has_kqueue(id) || left()
}

/// A slot of the table `id` that held `file` has been closed, or, where `fd` is given, is about to
/// be: ends the knotes on that descriptor, in all kqueues of the process.
///
/// Called with preemption off, before the closer drops its reference to the file.
///
/// # Safety
///
/// The table is alive.
pub(crate) unsafe fn file_closed(id: FilesId, file: *const bindings::file, fd: Option<u32>) {
    // SAFETY: By this function's requirements.
    for_each(id, |table| unsafe { table.file_closed(file, fd) });
}

impl FileTable {
    /// The process whose table is `id`, if it has used a kqueue and is not gone.
    fn find(id: FilesId) -> Option<Arc<Self>> {
        let mut found = None;
        for_each(id, |table| {
            if !table.is_dead() {
                found = Some(table.into());
            }
        });
        found
    }

    /// The process has used a kqueue. Under `TABLES`, with the table in the hash table or `new`.
    fn add_kqueue(self: &Arc<Self>, new: bool) {
        self.kqueues.add();
        self.open.add();
        if new {
            let head = bucket(self.id);
            self.next.store(head.load(Relaxed), Relaxed);
            head.store(Arc::into_raw(self.clone()).cast_mut(), Release);
        }
    }

    /// A kqueue is closed, and has no knotes any more: to be said once. May sleep.
    fn close_kqueue(&self) {
        let _tables = TABLES.lock();
        self.open.uncharge();
        if self.open.get() == 0 {
            self.unlink();
        }
    }

    /// It is released, after it was closed. May sleep.
    fn remove_kqueue(&self) {
        let memory = {
            let _tables = TABLES.lock();
            self.kqueues.uncharge();
            if self.kqueues.get() != 0 {
                return;
            }
            self.knotes.lock().take_memory()
        };
        drop(memory);
    }

    fn new(id: FilesId) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                id,
                knotes <- new_spinlock!(Index::new(), "kqueue_files"),
                epoch: Atomic::new(1),
                sweep <- new_mutex!(0, "kqueue_sweep"),
                open: Counter::new(),
                kqueues: Counter::new(),
                dead: Atomic::new(false),
                user_events: Counter::new(),
                pairs <- Pairs::new(),
                timers: Counter::new(),
                next: Atomic::new(ptr::null_mut()),
                rcu: Opaque::uninit(),
            }),
            GFP_KERNEL_ACCOUNT,
        )
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

    /// The epoch that a knote made now belongs to.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Relaxed)
    }

    pub(crate) fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    pub(crate) fn timers(&self) -> &Counter {
        &self.timers
    }

    /// Whether the process is gone.
    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.read()
    }

    /// Enters a knote, to be found when its descriptor is closed, if it is on one. `ENOMEM`. May
    /// sleep.
    pub(crate) fn remember(&self, kn: &ListArc<Knote>) -> Result {
        if kn.file().is_none() {
            return Ok(());
        }
        let item = ListArc::try_from_arc(kn.clone_arc()).map_err(|_| EEXIST)?;
        Index::insert_reserving(&self.knotes, item)
    }

    /// Takes a knote out, if it is in: who closes its descriptor may have. Any context but
    /// interrupts.
    pub(crate) fn forget(&self, kn: &Knote) -> Option<ListArc<Knote, BY_FILE>> {
        kn.file()?;
        self.knotes.lock().remove(kn)
    }

    /// # Safety
    ///
    /// As the function of this name; for one of those that `id` is the table of.
    unsafe fn file_closed(self: ArcBorrow<'_, Self>, file: *const bindings::file, fd: Option<u32>) {
        // SAFETY: By this function's requirements.
        let dying = unsafe { self.id.is_dying() };
        if dying {
            self.dead.store(true, Relaxed);
        }
        let mut closed = Closed {
            file,
            fd: fd.map(|fd| (fd, u32::MAX)),
        };
        // SAFETY: By this function's requirements.
        let done = unsafe { self.end_closed(&closed, AT_ONCE) };
        // A process that exits closes its kqueues next, in its own time.
        if done || dying {
            return;
        }
        // The slot does not tell what was closed: the time does.
        closed.fd = fd.map(|fd| (fd, self.epoch.fetch_add(1, Relaxed)));
        let rest = EndClosed {
            table: self.into(),
            closed: closed.clone(),
        };
        // SAFETY: The current task.
        if unsafe { task_work::add(kernel::task::Task::current_raw(), rest) }.is_err() {
            // No memory: then it takes its time here.
            // SAFETY: By this function's requirements.
            unsafe { self.end_closed(&closed, usize::MAX) };
        }
    }

    /// Whether a knote is on what was closed.
    ///
    /// # Safety
    ///
    /// The process's table is alive.
    unsafe fn is_closed(&self, closed: &Closed, kn: &Knote) -> bool {
        match (closed.fd, kn.file()) {
            (Some((fd, epoch)), _) => kn.ident() == fd as usize && kn.epoch() <= epoch,
            // Which slot it was is not told. It does not hold the file any more; others that do,
            // by dup(2), are still watched.
            (None, Some(file)) => {
                // SAFETY: By this function's requirements.
                unsafe { self.id.is_dying() || !self.id.holds(kn.ident() as u32, file) }
            }
            (None, None) => false,
        }
    }

    /// Ends knotes on what was closed, among the first `max` that could be. False if there may be
    /// more. Any context but interrupts.
    ///
    /// # Safety
    ///
    /// The process's table is alive.
    unsafe fn end_closed(&self, closed: &Closed, max: usize) -> bool {
        let mut taken = List::new();
        // SAFETY: By this function's requirements.
        let is_closed = |kn: &Knote| unsafe { self.is_closed(closed, kn) };
        let done = self
            .knotes
            .lock()
            .take_closed(closed.file, max, is_closed, &mut taken);
        end_all(taken, Context::Atomic);
        done
    }

    /// Ends all knotes on what was closed, in its own time. May sleep.
    ///
    /// # Safety
    ///
    /// The process's table is alive.
    unsafe fn sweep_closed(&self, closed: &Closed) {
        let mut sweep = self.sweep.lock();
        *sweep = sweep.wrapping_add(1);
        loop {
            let mut taken = List::new();
            // SAFETY: By this function's requirements.
            let is_closed = |kn: &Knote| unsafe { self.is_closed(closed, kn) };
            let done = self.knotes.lock().sweep_closed(
                closed.file,
                AT_ONCE,
                *sweep,
                is_closed,
                &mut taken,
            );
            end_all(taken, Context::MaySleep);
            if done {
                return;
            }
            relax();
        }
    }
}

/// A process's kqueue, as its file has it: it is made when the process first uses it.
///
/// Before, nobody knows whether there is a descriptor of it. io_uring opens files that have none:
/// no close tells of these, nor does the end of the process, and the table would be found for ever.
pub(crate) struct OwnKqueue {
    id: FilesId,
    pollers: Arc<Pollers>,
    /// Put there under [`TABLES`], and not once it is closed.
    kq: OncePtr<KBox<Arc<Kqueue>>>,
    /// Closed in its owner's table, though the file may live on, on its way back there even. Set
    /// under [`TABLES`].
    closed: Atomic<bool>,
}

impl OwnKqueue {
    /// One of the current process's. `ENOMEM`. May sleep.
    pub(crate) fn new() -> Result<Self> {
        let pollers = Pollers::new()?;
        LEFT.fetch_add(1, Relaxed);
        Ok(Self {
            id: FilesId::current(),
            pollers,
            kq: OncePtr::default(),
            closed: Atomic::new(false),
        })
    }

    /// Those who poll it.
    pub(crate) fn pollers(&self) -> &Arc<Pollers> {
        &self.pollers
    }

    /// The table of its process.
    #[inline]
    pub(crate) fn id(&self) -> FilesId {
        self.id
    }

    /// The kqueue, once it was made.
    #[inline]
    pub(crate) fn get(&self) -> Option<&Arc<Kqueue>> {
        self.kq.as_ref()
    }

    /// Whether its process has closed it.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.read()
    }

    /// Whether its process has it no more, or is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_closed() || self.get().is_some_and(|kq| kq.table().is_dead())
    }

    /// The kqueue, which `make` makes if there is none yet. For its process, which has a descriptor of
    /// it. `EBADF` where that is closed meanwhile; `ENOMEM`, and what `make` says. May sleep.
    #[cold]
    #[inline(never)]
    pub(crate) fn use_with(
        &self,
        make: impl Fn(Arc<FileTable>) -> Result<Arc<Kqueue>>,
    ) -> Result<&Arc<Kqueue>> {
        loop {
            // All memory before the lock, which every close of a kqueue waits for.
            let known = FileTable::find(self.id);
            let new = known.is_none();
            let table = known.map_or_else(|| FileTable::new(self.id), Ok)?;
            let kq = KBox::new(make(table.clone())?, GFP_KERNEL_ACCOUNT)?;

            let _tables = TABLES.lock();
            if let Some(kq) = self.get() {
                return Ok(kq);
            }
            if self.closed.read() {
                return Err(EBADF);
            }
            let known = FileTable::find(self.id);
            if known.map_or(new, |known| Arc::ptr_eq(&known, &table)) {
                table.add_kqueue(new);
                self.kq.populate(kq);
                // In this order: see `may_have_any`.
                LEFT.fetch_sub(1, Release);
                return self.get().ok_or(EBADF);
            }
            // Else another thread has made a table meanwhile, or closed what had that one.
        }
    }

    /// The last descriptor in its process's table is closed, or the file is released. May be called
    /// more than once. Process context, may sleep.
    pub(crate) fn close(&self) {
        let first = {
            let _tables = TABLES.lock();
            !self.closed.xchg(true, Relaxed)
        };
        let Some(kq) = self.get() else {
            return self.pollers.tell_the_end();
        };
        if first {
            LEFT.fetch_add(1, Relaxed);
        }
        kq.close();
        if first {
            kq.table().close_kqueue();
        }
    }
}

impl Drop for OwnKqueue {
    fn drop(&mut self) {
        self.close();
        LEFT.fetch_sub(1, Release);
        if let Some(kq) = self.get() {
            kq.table().remove_kqueue();
        }
    }
}

/// Ends knotes that were taken out of their process's table.
fn end_all(mut taken: List<Knote, BY_FILE>, here: Context) {
    while let Some(kn) = taken.pop_front() {
        kn.kqueue().end(&kn, here);
    }
}

/// Knotes that are looked at during a close while preemption is off. There are more on one file
/// only with `EV_UDATA_SPECIFIC`, or hundreds of kqueues or duplicates.
const AT_ONCE: usize = 256;

/// What was closed.
#[derive(Clone)]
struct Closed {
    /// The address of the file, to be compared: what is found on it holds it.
    file: *const bindings::file,
    /// The descriptor, where its slot does not tell that it was closed, and the last epoch of the
    /// knotes that are meant.
    fd: Option<(u32, u32)>,
}

// SAFETY: The address is only compared.
unsafe impl Send for Closed {}

/// The rest of the knotes, by the closer before it returns from the close.
struct EndClosed {
    table: Arc<FileTable>,
    closed: Closed,
}

impl TaskWork for EndClosed {
    fn run(self) {
        // A task that has left the table leaves it to others, or to the kqueues' own close.
        if FilesId::current() == self.table.id {
            // SAFETY: The current task's table.
            unsafe { self.table.sweep_closed(&self.closed) };
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
