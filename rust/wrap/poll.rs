// SPDX-License-Identifier: GPL-2.0

//! Hanging a knote on the wait queues of a file, as epoll hangs its items.
//!
//! A file's poll operation names the queues it tells its state by: mostly one, two for a terminal
//! or a FIFO opened for both. A [`PollHook`] has room for one entry; for each further one it
//! allocates.
//!
//! # POLLFREE
//!
//! A queue normally lives as long as its file, which the knote holds. A few (signalfd's, which is
//! in the task's `sighand_struct`, and binder's) go earlier. Their owner then calls every entry
//! with `POLLFREE` under the queue's lock and frees the queue an RCU grace period later. The
//! entry takes itself off the queue and clears `head`, with release semantics, as its last access.
//! [`PollHook::detach`] reads `head` with acquire semantics inside an RCU read-side section: either
//! it sees null and there is nothing to do, or the queue is there for as long as that section.

use crate::{bindings, knote::Knote};
use core::{cell::UnsafeCell, ptr};
use kernel::{
    alloc::{flags::GFP_KERNEL_ACCOUNT, KBox},
    ffi::{c_int, c_uint, c_void},
    fs::File,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        rcu,
    },
    types::Opaque,
};

/// One entry on one wait queue.
///
/// # Invariants
///
/// While `head` is not null, `wait` is on that queue, with [`kq_poll_wake`] as its function and as
/// its private data a knote that lives at least as long as the entry is on the queue. `wait` is
/// the first field.
#[repr(C)]
struct PollEntry {
    wait: Opaque<bindings::wait_queue_entry>,
    head: Atomic<*mut bindings::wait_queue_head>,
    /// Further entries of the same hook. Written while the hook is attached only, before
    /// anybody else can see them; owned.
    next: UnsafeCell<Option<KBox<PollEntry>>>,
}

impl PollEntry {
    fn new() -> Self {
        // INVARIANT: On no queue.
        Self {
            wait: Opaque::uninit(),
            head: Atomic::new(ptr::null_mut()),
            next: UnsafeCell::new(None),
        }
    }

    /// # Safety
    ///
    /// The entry is on no queue and does not move from now on. `head` is a live queue that the
    /// rules at the top of this file hold for. `kn` stays alive until the entry is detached.
    unsafe fn link(&self, head: *mut bindings::wait_queue_head, kn: *const Knote) {
        // SAFETY: The entry is not on a queue, so nobody looks at it.
        unsafe {
            bindings::kq_init_wait_func(self.wait.get(), Some(kq_poll_wake));
            (*self.wait.get()).private = kn.cast_mut().cast();
        }
        // Before anybody can call it with POLLFREE, who clears it.
        self.head.store(head, Relaxed);
        // SAFETY: The queue is alive, and the entry is initialised and stays in its place.
        // INVARIANT: It is on the queue `head` names.
        unsafe { bindings::add_wait_queue(head, self.wait.get()) };
    }

    fn unlink(&self) {
        let _rcu = rcu::read_lock();
        let head = self.head.load(Acquire);
        if !head.is_null() {
            // SAFETY: The entry is on this queue by the type invariants, and the queue is alive:
            // the file is, or else POLLFREE would have cleared `head` before a grace period that
            // cannot have ended within our read-side section. Should POLLFREE run right now, it
            // has the queue's lock, and the entry is removed from a list of its own.
            unsafe { bindings::remove_wait_queue(head, self.wait.get()) };
            // INVARIANT: Off the queue.
            self.head.store(ptr::null_mut(), Relaxed);
        }
    }
}

/// A knote's entries on the wait queues of its file: the state of filters on files.
#[repr(transparent)]
pub(crate) struct PollHook(PollEntry);

// SAFETY: The entries are shared with those who wake them; the fields say how.
unsafe impl Send for PollHook {}
// SAFETY: As above.
unsafe impl Sync for PollHook {}

impl Default for PollHook {
    fn default() -> Self {
        Self(PollEntry::new())
    }
}

/// Asks for edges: without it a pipe tells of a write only if it was empty, and a low-water mark, or
/// `EV_CLEAR`, wants to know of all. Part of the ABI of epoll(7), in a form that bindgen skips.
const EPOLLET: u32 = 1 << 31;

/// A poll table that puts a knote on the queues it is shown. `table` is the first field.
#[repr(C)]
struct PollContext<'a> {
    table: bindings::poll_table_struct,
    hook: &'a PollHook,
    kn: *const Knote,
    used: bool,
    error: Result,
}

impl PollHook {
    /// Puts the knote on `file`'s wait queues and returns what its poll operation said. `ENOMEM`.
    /// Process context, may sleep.
    ///
    /// # Safety
    ///
    /// The hook is part of `kn`, and this is the first call for it. `kn` calls [`Self::detach`]
    /// before it goes, and holds a reference to `file` until after that.
    pub(crate) unsafe fn attach(&self, kn: &Knote, file: &File, events: u32) -> Result<u32> {
        let mut ctx = PollContext {
            table: bindings::poll_table_struct {
                _qproc: Some(poll_queue),
                _key: events | EPOLLET,
            },
            hook: self,
            kn,
            used: false,
            error: Ok(()),
        };
        // SAFETY: `ctx.table` is a poll table whose function gets the context it expects.
        let poll = unsafe { bindings::kq_vfs_poll(file.as_ptr(), (&raw mut ctx).cast()) };
        if let Err(e) = ctx.error {
            // SAFETY: Nobody else has the hook yet.
            unsafe { self.detach() };
            return Err(e);
        }
        Ok(poll)
    }

    /// Takes the knote off all queues. When it returns, no callback runs, and none will. Any
    /// context but interrupts; no lock may be held that is taken on the wake-up path.
    ///
    /// # Safety
    ///
    /// Not called twice at once, nor while [`Self::attach`] runs.
    pub(crate) unsafe fn detach(&self) {
        let mut entry = &self.0;
        loop {
            entry.unlink();
            // SAFETY: `next` is not written after `attach`, which is over.
            match unsafe { &*entry.next.get() } {
                Some(next) => entry = next,
                None => break,
            }
        }
    }
}

/// Called by a file's poll operation for each queue it tells its state by.
///
/// # Safety
///
/// Called through [`PollHook::attach`]'s table: `table` is the first field of a [`PollContext`].
unsafe extern "C" fn poll_queue(
    _file: *mut bindings::file,
    head: *mut bindings::wait_queue_head,
    table: *mut bindings::poll_table_struct,
) {
    // SAFETY: By this function's requirements. Nobody else has the context.
    let ctx = unsafe { &mut *table.cast::<PollContext<'_>>() };
    if ctx.error.is_err() {
        return;
    }
    if !ctx.used {
        ctx.used = true;
        // SAFETY: The first entry was not linked yet; it is part of the knote, which does not move
        // and detaches it before it goes.
        unsafe { ctx.hook.0.link(head, ctx.kn) };
        return;
    }
    let Ok(entry) = KBox::new(PollEntry::new(), GFP_KERNEL_ACCOUNT) else {
        ctx.error = Err(ENOMEM);
        return;
    };
    // SAFETY: Only `attach` writes `next`, and it is running, once: nobody else looks.
    let first = unsafe { &mut *ctx.hook.0.next.get() };
    // SAFETY: As above; the new entry is not shared yet.
    unsafe { *entry.next.get() = first.take() };
    let entry = first.insert(entry);
    // SAFETY: The entry is new, on the heap, and owned by the hook, which detaches it.
    unsafe { entry.link(head, ctx.kn) };
}

/// Called when a queue is woken, under its lock, with interrupts off, in any context.
///
/// # Safety
///
/// Called for a [`PollEntry`] that is on a queue, under the queue's lock.
#[no_mangle]
unsafe extern "C" fn kq_poll_wake(
    wait: *mut bindings::wait_queue_entry,
    _mode: c_uint,
    _flags: c_int,
    key: *mut c_void,
) -> c_int {
    // SAFETY: `wait` is the first field of a `PollEntry`, and its private data is a knote, which
    // lives as long as the entry is on the queue; it is, and the queue's lock keeps it there.
    let (entry, kn) = unsafe {
        (
            &*wait.cast::<PollEntry>(),
            &*(*wait).private.cast::<Knote>(),
        )
    };
    let events = key as usize as u32;

    if events & bindings::KQ_POLLFREE != 0 {
        // Report whatever else there is to say before the entry is given up.
        kn.activate();
        // SAFETY: We hold the queue's lock.
        unsafe {
            let list = &raw mut (*wait).entry;
            (*(*list).prev).next = (*list).next;
            (*(*list).next).prev = (*list).prev;
            (*list).next = list;
            (*list).prev = list;
        }
        // The last access: from here on `detach` may find that there is nothing to wait for.
        entry.head.store(ptr::null_mut(), Release);
        return 1;
    }
    // A waker that does not say what happened may mean anything.
    if events == 0 || events & kn.poll_events() != 0 {
        kn.activate();
    }
    1
}

/// What `file`'s poll operation says now of `events`, and of errors and the end. Process context,
/// may sleep.
pub(crate) fn poll_now(file: &File, events: u32) -> u32 {
    // With the events named, the file does not prepare to tell of others.
    let mut table = bindings::poll_table_struct {
        _qproc: None,
        _key: events,
    };
    // SAFETY: `file` is alive; the table asks for the state alone.
    unsafe { bindings::kq_vfs_poll(file.as_ptr(), &mut table) }
}

/// As [`poll_now`], where the file has the operation called directly.
#[inline(always)]
pub(crate) fn poll_directly(file: &File, events: u32) -> u32 {
    let mut table = bindings::poll_table_struct {
        _qproc: None,
        _key: events,
    };
    // SAFETY: `file` is alive, and has operations.
    match unsafe { (*(*file.as_ptr()).f_op).poll } {
        // SAFETY: As above; the table asks for the state alone.
        Some(poll) => unsafe { poll(file.as_ptr(), &mut table) },
        None => bindings::KQ_POLLIN | bindings::KQ_POLLRDNORM,
    }
}

/// A Unix socket was connected: calls the knotes on its wait queue. Process context.
pub(crate) fn connected(file: &File) {
    if super::socket::Socket::of(file).is_some() {
        // SAFETY: The file is alive, and a socket's.
        unsafe { bindings::kq_sock_connected(file.as_ptr()) };
    }
}
