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
use core::ptr::{self, NonNull};
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
/// its private data an [`Owner`]. `wait` is the first field.
#[repr(C)]
struct PollEntry {
    wait: Opaque<bindings::wait_queue_entry>,
    head: Atomic<*mut bindings::wait_queue_head>,
}

/// A further entry of a hook, for one more queue.
struct Further {
    entry: PollEntry,
    /// Whose hook it is.
    kn: *const Knote,
    next: Option<KBox<Further>>,
}

/// What an entry has as its private data: its knote; or, with the lowest bit set, the [`Further`]
/// entries that its hook has, which know the knote. Both live at least as long as the entry is on a
/// queue.
#[derive(Clone, Copy)]
struct Owner(*mut c_void);

impl Owner {
    const FURTHER: usize = 1;

    fn knote(kn: *const Knote) -> Self {
        Self(kn.cast_mut().cast())
    }

    fn of_further(first: KBox<Further>) -> Self {
        Self(
            KBox::into_raw(first)
                .cast::<c_void>()
                .wrapping_byte_add(Self::FURTHER),
        )
    }

    /// The further entries, if there are some.
    fn further(self) -> Option<NonNull<Further>> {
        if self.0 as usize & Self::FURTHER == 0 {
            return None;
        }
        NonNull::new(self.0.wrapping_byte_sub(Self::FURTHER).cast())
    }

    /// # Safety
    ///
    /// It is the owner of an entry that is on a queue.
    #[inline(always)]
    unsafe fn get(self) -> *const Knote {
        match self.further() {
            // SAFETY: By this function's requirements.
            Some(further) => unsafe { (*further.as_ptr()).kn },
            None => self.0.cast(),
        }
    }
}

impl PollEntry {
    fn new() -> Self {
        let entry = Self {
            wait: Opaque::uninit(),
            head: Atomic::new(ptr::null_mut()),
        };
        // INVARIANT: On no queue.
        entry.set_owner(Owner::knote(ptr::null()));
        entry
    }

    /// It may be called meanwhile, and then sees the one or the other.
    fn set_owner(&self, owner: Owner) {
        // SAFETY: The field is ours alone, and read and written at once.
        let private = unsafe { Atomic::from_ptr(&raw mut (*self.wait.get()).private) };
        // After what it leads to was made, which who reads it comes to by it.
        private.store(owner.0, Release);
    }

    fn owner(&self) -> Owner {
        // SAFETY: It was initialised by `new`, and is written at once.
        Owner(unsafe { (&raw const (*self.wait.get()).private).read_volatile() })
    }

    /// # Safety
    ///
    /// The entry is on no queue and does not move from now on. `head` is a live queue that the
    /// rules at the top of this file hold for. `kn` stays alive until the entry is detached.
    unsafe fn link(&self, head: *mut bindings::wait_queue_head, kn: *const Knote) {
        // SAFETY: The entry is not on a queue, so nobody looks at it.
        unsafe { bindings::kq_init_wait_func(self.wait.get(), Some(kq_poll_wake)) };
        self.set_owner(Owner::knote(kn));
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
///
/// # Invariants
///
/// If the owner of the entry is [`Further`] entries, they are owned.
#[repr(transparent)]
pub(crate) struct PollHook(PollEntry);

// SAFETY: The entries are shared with those who wake them; the fields say how.
unsafe impl Send for PollHook {}
// SAFETY: As above.
unsafe impl Sync for PollHook {}

impl Default for PollHook {
    fn default() -> Self {
        // INVARIANT: There are none.
        Self(PollEntry::new())
    }
}

impl Drop for PollHook {
    fn drop(&mut self) {
        if let Some(further) = self.0.owner().further() {
            // SAFETY: By the type invariants they are owned; no entry is on a queue any more.
            drop(unsafe { KBox::from_raw(further.as_ptr()) });
        }
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
        self.0.unlink();
        let further = self.0.owner().further();
        // SAFETY: By the type invariants they live as long as the hook; they are not added to after
        // `attach`, which is over.
        let mut at = further.map(|it| unsafe { it.as_ref() });
        while let Some(further) = at {
            further.entry.unlink();
            at = further.next.as_deref();
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
    let first = &ctx.hook.0;
    let new = KBox::new(
        Further {
            entry: PollEntry::new(),
            kn: ctx.kn,
            next: None,
        },
        GFP_KERNEL_ACCOUNT,
    );
    let Ok(mut new) = new else {
        ctx.error = Err(ENOMEM);
        return;
    };
    if let Some(further) = first.owner().further() {
        // SAFETY: By the type invariants they are owned, and given to the new one.
        new.next = Some(unsafe { KBox::from_raw(further.as_ptr()) });
    }
    let entry = &raw const new.entry;
    // INVARIANT: The hook owns the new one, and that the others. Who reads the owner of before still
    // finds it alive.
    first.set_owner(Owner::of_further(new));
    // SAFETY: The entry is new, on the heap, and owned by the hook, which detaches it.
    unsafe { (*entry).link(head, ctx.kn) };
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
    // SAFETY: `wait` is the first field of a `PollEntry`, which is on the queue; the queue's lock
    // keeps it there.
    let entry = unsafe { &*wait.cast::<PollEntry>() };
    // SAFETY: As above; by the type invariants its knote lives as long.
    let kn = unsafe { &*entry.owner().get() };
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
