// SPDX-License-Identifier: GPL-2.0

//! Processes that are watched: what the BSDs have as p_klist.
//!
//! A [`Process`] is there while a knote is on it. It is found by the address of its `struct pid`, on
//! every signal, fork and exec of the system while these are probed, in a table of chains that have
//! a lock each. That lock guards the knotes' lists, too: it is taken under a task's siglock and under
//! the lock of a pid's wait queue, and the queue lock under it.
//!
//! Who was reaped does nothing any more, and is not looked for: it leaves its chain then, though
//! knotes may be on it for long, until somebody takes their last event. So there are no more in the
//! chains than there are processes.

use crate::{
    knlist::{Knlist, KnlistEntry},
    knote::Knote,
    uapi::{NOTE_EXIT, NOTE_REAP},
    wrap::{
        global::Global,
        lock::{new_irq_spinlock, IrqSpinLock},
        pid::{Pid, PidWait, State, Waits},
    },
};
use kernel::{
    alloc::{flags::GFP_KERNEL, Flags, KBox},
    list::{impl_list_arc_safe, impl_list_item, List, ListArc, ListLinks},
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Acquire, Atomic, Relaxed, Release},
        Arc, ArcBorrow, LockedBy, SpinLock,
    },
};

/// Chains of the table.
const BUCKETS: usize = 1 << BITS;
const BITS: u32 = 9;

/// Knotes on one list: all of them are told with interrupts off, under a lock of the scheduler's or
/// the signals' often. More than a few are only possible with `EV_UDATA_SPECIFIC` or many kqueues.
const MOST: usize = 1024;

/// What is under the lock of a chain.
type Chain = List<Process>;

/// A chain, and how many processes are in it: in most there is none, and no lock is taken for what
/// happens to a process that nobody watches.
#[pin_data]
struct Bucket {
    #[pin]
    chain: IrqSpinLock<Chain>,
    count: Atomic<usize>,
}

#[pin_data]
struct Table {
    #[pin]
    buckets: [Bucket; BUCKETS],
}

static TABLE: Global<Table> = Global::new();

/// Makes the table. `ENOMEM`. At load, before anything else of this file.
pub(crate) fn init() -> Result {
    let table = KBox::pin_init(
        pin_init!(Table {
            buckets <- pin_init::pin_init_array_from_fn(|_| pin_init!(Bucket {
                chain <- new_irq_spinlock!(List::new(), "kqueue_process"),
                count: Atomic::new(0),
            })),
        }),
        GFP_KERNEL,
    )?;
    TABLE.set(table);
    Ok(())
}

/// The table goes.
///
/// # Safety
///
/// No knote is there, and the probes are disarmed.
pub(crate) unsafe fn exit() {
    // SAFETY: By this function's requirements nobody uses it.
    drop(unsafe { TABLE.take() });
}

/// Which list of a process a knote is on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// What it does: fork, exec, exit.
    Itself,
    /// Signals sent to it.
    Signals,
}

/// The knotes on a process.
struct Lists {
    itself: Knlist,
    signals: Knlist,
    /// The process is in its chain.
    linked: bool,
}

impl Lists {
    fn list(&mut self, of: Of) -> &mut Knlist {
        match of {
            Of::Itself => &mut self.itself,
            Of::Signals => &mut self.signals,
        }
    }

    fn is_empty(&self) -> bool {
        self.itself.is_empty() && self.signals.is_empty()
    }
}

/// A process that is watched.
///
/// # Invariants
///
/// - It is in the chain of its pid's bucket if and only if `linked`. It is put there together with its
///   first knote, and leaves when it is known to have been reaped, or with its last knote: not later.
///   So a knote is put on one that is in its chain only, and where there are none once, there are
///   none any more.
/// - `wait` is on the pid's queue from before it is put into the chain until after its last knote has
///   gone.
#[pin_data]
pub(crate) struct Process {
    pid: ARef<Pid>,
    #[pin]
    links: ListLinks,
    lists: LockedBy<Lists, Chain>,
    /// Held while the knotes on a process that forks are gone through, and the number of that turn.
    #[pin]
    forks: SpinLock<u32>,
    #[pin]
    wait: PidWait<Process>,
    /// wait(2)'s status; valid once `exited` is set.
    status: Atomic<i32>,
    exited: Atomic<bool>,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Process { untracked; }
}
impl_list_item! {
    impl ListItem<0> for Process { using ListLinks { self.links }; }
}

fn bucket(pid: &Pid) -> Option<&'static Bucket> {
    // A struct pid is some 200 bytes large: the lowest bits say nothing.
    let hash = (pid.addr() as u64 >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS);
    TABLE.get()?.buckets.get(hash as usize)
}

/// The process of `pid` in its chain.
fn in_chain<'a>(chain: &'a Chain, pid: &Pid) -> Option<ArcBorrow<'a, Process>> {
    chain.iter().find(|it| it.pid.addr() == pid.addr())
}

/// The bucket of `pid`, if a process in it is watched. Any context.
fn watched_bucket(pid: &Pid) -> Option<&'static Bucket> {
    // A knote that was on it before what happens now is counted.
    bucket(pid).filter(|bucket| bucket.count.load(Relaxed) != 0)
}

/// Tells the knotes on a process what has happened to it. Any context, also under its siglock.
pub(crate) fn note(pid: &Pid, of: Of, hint: u64) {
    let Some(bucket) = watched_bucket(pid) else {
        return;
    };
    let mut chain = bucket.chain.lock();
    // Let go of before the lock, while the chain has a reference.
    let found: Option<Arc<Process>> = in_chain(&chain, pid).map(Into::into);
    if let Some(process) = found {
        process.lists.access_mut(&mut chain).list(of).note(hint);
    }
}

/// A process forks: calls `f` on each of the knotes on it, once, with no lock held that is taken on
/// the wake-up path. Not in interrupts; may not sleep.
pub(crate) fn fork(pid: &Pid, mut f: impl FnMut(&Knote)) {
    let Some(bucket) = watched_bucket(pid) else {
        return;
    };
    // A statement of its own: the lock is not held for what follows.
    let found: Option<Arc<Process>> = in_chain(&bucket.chain.lock(), pid).map(Into::into);
    let Some(process) = found else { return };
    // Two threads of it may fork at once.
    let mut turn = process.forks.lock();
    *turn = turn.wrapping_add(1).max(1);
    while let Some(Some(kn)) = process.with(|lists| lists.itself.next_of_turn(*turn)) {
        f(&kn);
    }
}

/// What a knote is told of a process: an event, and the number of another one.
pub(crate) const fn hint(event: u32, number: u32) -> u64 {
    event as u64 | (number as u64) << 32
}

/// The two of [`hint`].
pub(crate) const fn split(hint: u64) -> (u32, u32) {
    (hint as u32, (hint >> 32) as u32)
}

/// The process has exited.
pub(crate) const EXITED: u64 = hint(NOTE_EXIT, 0);
/// Its parent has waited for it.
pub(crate) const REAPED: u64 = hint(NOTE_REAP, 0);

impl Process {
    fn new(pid: ARef<Pid>, bucket: &'static Bucket, flags: Flags) -> Result<ListArc<Self>> {
        ListArc::pin_init(
            pin_init!(Self {
                pid,
                links <- ListLinks::new(),
                lists: LockedBy::new(
                    &bucket.chain,
                    Lists {
                        itself: Knlist::new(),
                        signals: Knlist::new(),
                        linked: false,
                    },
                ),
                forks <- new_spinlock!(0, "kqueue_forks"),
                wait <- PidWait::new(),
                status: Atomic::new(0),
                exited: Atomic::new(false),
            }? Error),
            flags,
        )
    }

    /// Puts a knote on the list of a process, from when on it is told what happens. `ENOMEM`. Any
    /// context that `flags` suits, but interrupts.
    ///
    /// # Safety
    ///
    /// As [`Knlist::add`]; it is taken off with [`Self::remove`], with the same `of`. Those of
    /// [`Of::Itself`] are knotes of a filter of `filter/proc.rs`.
    pub(crate) unsafe fn add(
        pid: ARef<Pid>,
        of: Of,
        entry: &KnlistEntry,
        kn: &Knote,
        flags: Flags,
    ) -> Result<Arc<Self>> {
        let bucket = bucket(&pid).ok_or(ENODEV)?;
        let add = |chain: &mut Chain, process: &Process| -> Result {
            let list = process.lists.access_mut(chain).list(of);
            if list.len() >= MOST {
                return Err(ENOMEM);
            }
            // SAFETY: By this function's requirements.
            unsafe { list.add(entry, kn) };
            Ok(())
        };
        {
            let mut chain = bucket.chain.lock();
            let found: Option<Arc<Self>> = in_chain(&chain, &pid).map(Into::into);
            if let Some(process) = found {
                add(&mut chain, &process)?;
                return Ok(process);
            }
        }
        let item = Self::new(pid.clone(), bucket, flags)?;
        let new = item.clone_arc();
        // Before anybody can see it: who finds it is told of an exit that comes after.
        // SAFETY: The entry is new. It is taken off below, or by who takes the process out of the
        // chain, which has a reference meanwhile; the process has one to the pid.
        unsafe { new.wait.add(&new.pid, &new) };
        let added = {
            let mut chain = bucket.chain.lock();
            let found: Option<Arc<Self>> = in_chain(&chain, &pid).map(Into::into);
            match found {
                // Another was faster.
                Some(process) => add(&mut chain, &process).map(|()| Some(process)),
                None => add(&mut chain, &new).map(|()| {
                    // INVARIANT: In the chain, with a knote, and on the queue.
                    new.lists.access_mut(&mut chain).linked = true;
                    chain.push_back(item);
                    bucket.count.store(bucket.count.load(Relaxed) + 1, Relaxed);
                    None
                }),
            }
        };
        match added {
            Ok(None) => {
                // It may have exited before.
                new.woken();
                Ok(new)
            }
            Ok(Some(process)) => {
                // SAFETY: It was put there just now, and is not in the chain.
                unsafe { new.wait.remove(&new.pid) };
                Ok(process)
            }
            Err(e) => {
                // SAFETY: As above.
                unsafe { new.wait.remove(&new.pid) };
                Err(e)
            }
        }
    }

    /// Takes a knote off. When this returns it is not told anything any more. Any context but
    /// interrupts.
    ///
    /// # Safety
    ///
    /// [`Self::add`] has put it on a list of this process, `of`, and it is not taken off by anybody
    /// else at the same time.
    pub(crate) unsafe fn remove(&self, of: Of, entry: &KnlistEntry) {
        let Some(bucket) = bucket(&self.pid) else {
            return;
        };
        let mut chain = bucket.chain.lock();
        let lists = self.lists.access_mut(&mut chain);
        // SAFETY: By this function's requirements.
        let removed = unsafe { lists.list(of).remove(entry) };
        if !removed || !lists.is_empty() {
            return;
        }
        let unlinked = self.unlink(&mut chain, bucket);
        drop(chain);
        // After the lock.
        drop(unlinked);
        // SAFETY: By the type invariants it is on the queue, and this was its last knote.
        unsafe { self.wait.remove(&self.pid) };
    }

    /// Takes the process out of its chain, if it is there. What the caller drops, after the lock.
    fn unlink(&self, chain: &mut Chain, bucket: &Bucket) -> Option<ListArc<Self>> {
        if !core::mem::take(&mut self.lists.access_mut(chain).linked) {
            return None;
        }
        bucket.count.store(bucket.count.load(Relaxed) - 1, Relaxed);
        // SAFETY: By the type invariants it is in this chain.
        unsafe { chain.remove(self) }
    }

    /// It was reaped, which its knotes have been told: nobody will look for it. Any context.
    fn retire(&self) {
        let Some(bucket) = bucket(&self.pid) else {
            return;
        };
        // A statement of its own: what comes back is dropped after the lock. It is not the last
        // reference, which is a knote's or the caller's.
        let unlinked = self.unlink(&mut bucket.chain.lock(), bucket);
        drop(unlinked);
    }

    /// Runs `f` on the lists, under their lock.
    fn with<R>(&self, f: impl FnOnce(&mut Lists) -> R) -> Option<R> {
        let mut chain = bucket(&self.pid)?.chain.lock();
        Some(f(self.lists.access_mut(&mut chain)))
    }

    /// Tells the knotes on a list what has happened. Any context.
    pub(crate) fn note(&self, of: Of, hint: u64) {
        self.with(|lists| lists.list(of).note(hint));
    }

    /// The pid.
    pub(crate) fn pid(&self) -> &ARef<Pid> {
        &self.pid
    }

    /// Whether its parent has waited for it. Any context.
    pub(crate) fn is_reaped(&self) -> bool {
        self.pid.state() == State::Reaped
    }

    /// wait(2)'s status, once it has exited. Any context.
    pub(crate) fn status(&self) -> Option<i32> {
        if !self.exited.load(Acquire) {
            if let State::Exited(status) = self.pid.state() {
                self.status.store(status, Relaxed);
                self.exited.store(true, Release);
            } else {
                return None;
            }
        }
        Some(self.status.load(Relaxed))
    }
}

impl Waits for Process {
    // What is told twice, the knotes take no notice of.
    fn woken(&self) {
        // In this order: what is reaped has exited before.
        let reaped = self.is_reaped();
        if self.status().is_some() || reaped {
            self.note(Of::Itself, EXITED);
        }
        if reaped {
            self.note(Of::Itself, REAPED);
            self.retire();
        }
    }
}
