// SPDX-License-Identifier: GPL-2.0

//! A kqueue: its knotes, those that are ready, and who waits for them.
//!
//! Registration is in `register.rs`, delivery in `scan.rs`; `Documentation/design.rst` has the
//! whole of it on one page.

use crate::{
    bindings, detach,
    filetable::FileTable,
    flavour::Flavour,
    index::{ByKey, Index, BY_KEY},
    knote::{status, Knote, KnoteState},
    limits::{Counter, UserRef},
    uapi::{EV_CLEAR, EV_DISPATCH, EV_ONESHOT},
    wrap::{
        irq_work::{HasIrqWork, IrqWork},
        lock::{new_irq_spinlock, IrqSpinGuard, IrqSpinLock},
        once::Once,
        task::{killed, nap, relax},
        waitqueue::WaitQueue,
    },
};
use core::ptr::{self, NonNull};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    c_str,
    list::{List, ListArc},
    new_mutex, new_spinlock,
    prelude::*,
    processor::cpu_relax,
    static_lock_class,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        Arc, Mutex, SpinLock,
    },
};

/// How often to look before sleeping, where an interrupt on another CPU is waited for.
const LOOKS: usize = 1000;

/// Where a knote is ended: not in an interrupt, that is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    /// With no lock held.
    MaySleep,
    /// With preemption off perhaps.
    Atomic,
}

/// What is under the queue lock: the ready list. With it, the state of every knote.
///
/// # Invariants
///
/// `kq` is the kqueue that this is part of.
pub(crate) struct QueueState {
    kq: NonNull<Kqueue>,
    /// kq_head: knotes whose condition holds or held, the first activated first.
    ready: List<Knote>,
    /// Number of the next knote to be queued. A scan ends before what was queued after its start.
    next_seq: u32,
    /// The last descriptor in the owner's table is closed: nothing is queued any more.
    closed: bool,
}

// SAFETY: `kq` is what it is part of, and the rest is `Send`.
unsafe impl Send for QueueState {}

/// Those who poll a kqueue: they may before it is made.
#[pin_data]
pub(crate) struct Pollers {
    #[pin]
    queue: WaitQueue,
}

impl Pollers {
    /// Nobody. `ENOMEM`. May sleep.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                queue <- WaitQueue::new(c_str!("kqueue_pollers"), static_lock_class!()),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    pub(crate) fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// See [`WaitQueue::is_active`].
    #[inline]
    fn is_active(&self) -> bool {
        self.queue.is_active()
    }

    /// Something is pending. Any context, with no lock held that a poller's callback may want.
    fn tell(&self) {
        self.queue
            .wake_pollers(bindings::KQ_POLLIN | bindings::KQ_POLLRDNORM);
    }

    /// The kqueue is closed: for each of them, and for who waits for nothing, too. Context as of
    /// [`Self::tell`].
    pub(crate) fn tell_the_end(&self) {
        self.queue
            .wake_all_pollers(bindings::KQ_POLLIN | bindings::KQ_POLLRDNORM | bindings::KQ_POLLERR);
    }
}

/// A kqueue.
#[pin_data]
pub(crate) struct Kqueue {
    /// kq_fdp: the table of the process it belongs to.
    table: Arc<FileTable>,
    /// Who its knotes are counted with.
    user: UserRef,
    /// Changed under the change lock, and not while there are knotes.
    flavour: Atomic<u32>,
    /// The index has more knotes than it is made for: see [`Self::catch_up`].
    crowded: Atomic<bool>,
    /// Taken on the wake-up path, with other people's spin locks held: a leaf.
    #[pin]
    queue: IrqSpinLock<QueueState>,
    /// kq_count: how many knotes are ready. Changed under the queue lock.
    pending: Atomic<usize>,
    /// Never taken on the wake-up path nor in interrupts. Before the queue lock.
    #[pin]
    index: SpinLock<Index<ByKey, BY_KEY>>,
    /// Held while a change is applied, which may sleep. Before all others.
    #[pin]
    change: Mutex<()>,
    /// Threads in kevent(2).
    #[pin]
    waiters: WaitQueue,
    /// Those who poll the kqueue.
    pollers: Arc<Pollers>,
    /// Wakes `pollers`.
    #[pin]
    poke: IrqWork<Kqueue>,
    /// How often `poke` was queued, which is under the queue lock, and how often it has run.
    poked: Atomic<u32>,
    told: Atomic<u32>,
    /// It is closed, or about to be: those who poll are told that this is an error.
    ending: Atomic<bool>,
    /// Its knotes that watch kqueues.
    nests: Counter,
}

// SAFETY: `poke` is the only `IrqWork` of a `Kqueue`, and that is what `from_work` goes by.
unsafe impl HasIrqWork for Kqueue {
    unsafe fn from_work<'a>(work: *mut bindings::irq_work) -> &'a Self {
        // SAFETY: By this function's requirements the work is the `poke` of a live kqueue.
        unsafe { &*kernel::container_of!(work.cast::<IrqWork<Kqueue>>(), Kqueue, poke) }
    }

    // Waking pollers runs their callbacks, which may queue our knotes, those of another kqueue
    // that watches this one, or epoll's items. Done from here, it never happens under the lock of
    // a wait queue, nor one inside the other, however kqueues and epolls are nested. They do not
    // sleep, and take their locks with interrupts off, as they must in an interrupt: so a worker may
    // run them as well.
    fn run(&self) {
        if self.ending.read() {
            self.pollers.tell_the_end();
        } else {
            self.pollers.tell();
        }
        // Those told have queued their own works by now: see `Pairs::settle`.
        self.told.fetch_add(1, Release);
        self.table.pairs().told();
    }
}

impl Kqueue {
    /// A kqueue of the process whose table is `table`. `ENOMEM`. May sleep.
    pub(crate) fn new(
        table: Arc<FileTable>,
        pollers: Arc<Pollers>,
        user: UserRef,
        flavour: Flavour,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(&this in Self {
                table,
                user,
                flavour: Atomic::new(flavour as u32),
                crowded: Atomic::new(false),
                queue <- new_irq_spinlock!(
                    // INVARIANT: What this is part of, which does not move.
                    QueueState {
                        kq: this,
                        ready: List::new(),
                        next_seq: 0,
                        closed: false,
                    },
                    "kqueue"
                ),
                pending: Atomic::new(0),
                index <- new_spinlock!(Index::new(), "kqueue_index"),
                change <- new_mutex!((), "kqueue_change"),
                waiters <- WaitQueue::new(c_str!("kqueue_waiters"), static_lock_class!()),
                pollers,
                // SAFETY: This is the field that `from_work` goes by. It is queued under the queue
                // lock, and not after `close` has set `closed` under that; then `close` calls
                // `sync`. No kqueue that has been used is dropped without `close`.
                poke <- unsafe { IrqWork::new() },
                poked: Atomic::new(0),
                told: Atomic::new(0),
                ending: Atomic::new(false),
                nests: Counter::new(),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    pub(crate) fn table(&self) -> &Arc<FileTable> {
        &self.table
    }

    pub(crate) fn user(&self) -> &UserRef {
        &self.user
    }

    pub(crate) fn flavour(&self) -> Flavour {
        Flavour::from_abi(self.flavour.read()).unwrap_or(Flavour::Openbsd)
    }

    /// Makes it one of another flavour. `EBUSY` if it has knotes, which would be half of the one and
    /// half of the other. May sleep.
    pub(crate) fn set_flavour(&self, flavour: Flavour) -> Result {
        let _change = self.change.lock();
        if self.index.lock().len() != 0 {
            return Err(EBUSY);
        }
        self.flavour.store(flavour as u32, Relaxed);
        Ok(())
    }

    pub(crate) fn queue(&self) -> &IrqSpinLock<QueueState> {
        &self.queue
    }

    /// Whether [`Self::catch_up`] has something to do.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded.read()
    }

    pub(crate) fn set_crowded(&self, crowded: bool) {
        self.crowded.store(crowded, Relaxed);
    }

    pub(crate) fn index(&self) -> &SpinLock<Index<ByKey, BY_KEY>> {
        &self.index
    }

    pub(crate) fn change_lock(&self) -> &Mutex<()> {
        &self.change
    }

    pub(crate) fn waiters(&self) -> &WaitQueue {
        &self.waiters
    }

    pub(crate) fn nests(&self) -> &Counter {
        &self.nests
    }

    /// Waits until what has happened in kqueues that this one watches is known here: see
    /// [`Pairs::settle`](crate::nest::Pairs::settle). Whether there was anything to wait for. May
    /// sleep.
    #[inline(always)]
    pub(crate) fn settle(&self) -> bool {
        self.nests.get() != 0 && self.settle_nests()
    }

    #[cold]
    #[inline(never)]
    fn settle_nests(&self) -> bool {
        self.table.pairs().settle()
    }

    /// Waits until those who poll have been woken for what was queued before, or the task is to
    /// die. Mostly it is for the end of an interrupt of another CPU's; where that has left it to the
    /// worker, the worker may have to wait for this CPU. May sleep.
    pub(crate) fn wait_until_told(&self) {
        let poked = self.poked.load(Relaxed);
        let mut looks = 0;
        while (self.told.load(Acquire).wrapping_sub(poked) as i32) < 0 && !killed() {
            if looks < LOOKS {
                looks += 1;
                cpu_relax();
                relax();
            } else {
                nap();
            }
        }
    }

    /// Whether events are pending, as far as is known without asking what is watched. Any context.
    pub(crate) fn is_ready(&self) -> bool {
        let queue = self.queue.lock();
        queue.count() != 0 || queue.closed
    }

    /// What a poll says, by the same measure. Any context.
    // The end is looked at under the lock too: who has begun to poll is then told of it, or sees it.
    pub(crate) fn poll_events(&self) -> u32 {
        let queue = self.queue.lock();
        if queue.closed {
            bindings::KQ_POLLERR
        } else if queue.count() != 0 {
            bindings::KQ_POLLIN | bindings::KQ_POLLRDNORM
        } else {
            0
        }
    }

    /// Whether there is nothing for a scan to do, asked without a lock: what the caller knows to have
    /// been activated is seen. Any context.
    #[inline]
    pub(crate) fn has_nothing(&self) -> bool {
        self.pending() == 0 && !self.is_crowded()
    }

    /// How many events are pending, by the same measure.
    #[inline]
    pub(crate) fn pending(&self) -> usize {
        self.pending.read()
    }

    /// knote_activate: see [`Knote::activate`].
    pub(crate) fn activate(&self, kn: &Knote) {
        let mut queue = self.queue.lock();
        queue.state(kn).status |= status::ACTIVE;
        if queue.enqueue(kn) {
            self.wake(queue);
        }
    }

    /// See [`Knote::note`]. False where it is not told, being about to be no more.
    pub(crate) fn note(&self, kn: &Knote, hint: u64) -> bool {
        let mut queue = self.queue.lock();
        let st = queue.state(kn);
        if st.status & status::DROPPED != 0 {
            return false;
        }
        if kn.f_note(st, hint) {
            st.status |= status::ACTIVE;
            if queue.enqueue(kn) {
                self.wake(queue);
            }
        }
        true
    }

    /// Wakes one thread in kevent(2), and who polls. After something was queued, under the queue
    /// lock, which this drops; any context.
    pub(crate) fn wake(&self, queue: IrqSpinGuard<'_, QueueState>) {
        self.wake_pollers(&queue);
        drop(queue);
        self.wake_waiter();
    }

    /// Wakes one thread in kevent(2). Any context.
    // Asked after the queue lock, under which sleepers and pollers look before they sleep.
    pub(crate) fn wake_waiter(&self) {
        if self.waiters.is_active() {
            self.waiters.wake_one();
        }
    }

    /// Wakes who polls. Under the queue lock: once the kqueue is closed the work is not queued any
    /// more, and `close` waits for it.
    pub(crate) fn wake_pollers(&self, queue: &QueueState) {
        if queue.closed || !self.pollers.is_active() {
            return;
        }
        let pairs = self.table.pairs();
        pairs.tell();
        if self.poke.queue() {
            // Before it runs, if that is on this CPU, after the lock. One that has begun elsewhere may
            // be told already; then it is ahead for a moment.
            self.poked
                .store(self.poked.load(Relaxed).wrapping_add(1), Relaxed);
        } else {
            pairs.told();
        }
    }

    /// knote_drop: ends a knote, if nobody else does. When it returns no event of the knote counts any
    /// more. False where it was past before: delivered for the last time, or ended by somebody else.
    /// Any context that `here` says; no lock held that is taken on the wake-up path.
    pub(crate) fn end(&self, kn: &Knote, here: Context) -> bool {
        // A statement of its own: who gets it is alone with it, and the lock is not needed.
        let indexed = self.index.lock().remove(kn);
        match indexed {
            Some(indexed) => self.end_taken(indexed, here),
            // Whoever has taken it out may not have come to this yet.
            None => self.drop_state(kn).0,
        }
    }

    /// A knote is out of the index: it is not queued nor delivered any more. Whether it was not so
    /// before; and what the caller is to drop, after the lock.
    fn drop_state(&self, kn: &Knote) -> (bool, [Option<ListArc<Knote>>; 2]) {
        let mut queue = self.queue.lock();
        let st = queue.state(kn);
        let first = st.status & status::DROPPED == 0;
        st.status |= status::DROPPED;
        (first, [queue.unpark(kn), queue.dequeue(kn)])
    }

    /// Ends a knote that the caller has taken out of the index. False as of [`Self::end`].
    pub(crate) fn end_taken(&self, kn: ListArc<Knote, BY_KEY>, here: Context) -> bool {
        let (first, items) = self.drop_state(&kn);
        let on_file = self.table.forget(&kn);
        match here {
            Context::Atomic if kn.ops().detach_sleeps => {
                // Before the link leads to another list: who else wants to end it looks here.
                let index = self.index.lock();
                kn.set_put_off();
                drop(index);
                detach::put_off(kn);
            }
            _ => kn.f_detach(),
        }
        // A scan that has it in flux drops its own reference, without delivering it.
        drop((items, on_file));
        first
    }

    /// The kqueue is closed in its owner's table, or released: ends all knotes, wakes everybody.
    /// May be called more than once. Process context, may sleep.
    // Not under the change lock: a change may take as long as some file's poll operation does.
    pub(crate) fn close(&self) {
        // Before the last run is queued, which sees it.
        self.ending.store(true, Relaxed);
        {
            let mut queue = self.queue.lock();
            // For the last time.
            self.wake_pollers(&queue);
            queue.closed = true;
        }
        let buckets = {
            let mut index = self.index.lock();
            index.close();
            index.buckets()
        };
        for bucket in 0..buckets {
            loop {
                let taken = self.index.lock().take_one(bucket);
                let Some(kn) = taken else { break };
                self.end_taken(kn, Context::MaySleep);
            }
            // There may be as many as memory has room for.
            relax();
        }
        let memory = self.index.lock().take_memory();
        drop(memory);
        self.waiters.wake_all();
        self.poke.sync();
    }
}

impl QueueState {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    #[inline(always)]
    fn kq(&self) -> &Kqueue {
        // SAFETY: By the type invariants it is there as long as this.
        unsafe { self.kq.as_ref() }
    }

    /// Ready knotes.
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.kq().pending.read()
    }

    /// There are so many more, or less, by wrapping.
    #[inline(always)]
    pub(crate) fn add_to_count(&mut self, more: usize) {
        self.kq().pending.write(self.count().wrapping_add(more));
    }

    /// The number of the next knote to be queued.
    pub(crate) fn next_seq(&self) -> u32 {
        self.next_seq
    }

    /// A knote's state.
    ///
    /// # Panics
    ///
    /// If the knote is another kqueue's.
    #[inline(always)]
    pub(crate) fn state<'a>(&'a mut self, kn: &'a Knote) -> &'a mut KnoteState {
        if !ptr::eq(&raw const **kn.kqueue(), self.kq.as_ptr()) {
            mismatched();
        }
        // SAFETY: The state of a knote is borrowed by this function alone, from the one `QueueState`
        // of its kqueue, which is borrowed exclusively for as long.
        unsafe { &mut *kn.state.get() }
    }

    /// The same, of one that is known to be this kqueue's.
    ///
    /// # Safety
    ///
    /// It is.
    #[inline(always)]
    unsafe fn state_of_own<'a>(&'a mut self, kn: &'a Knote) -> &'a mut KnoteState {
        debug_assert!(ptr::eq(&raw const **kn.kqueue(), self.kq.as_ptr()));
        // SAFETY: As in `state`.
        unsafe { &mut *kn.state.get() }
    }

    /// Queues an active knote, if its status lets. Whether it was queued: then the caller wakes.
    pub(crate) fn enqueue(&mut self, kn: &Knote) -> bool {
        const AGAINST: u16 = status::QUEUED | status::DISABLED | status::INFLUX | status::DROPPED;

        if self.state(kn).status & (AGAINST | status::ACTIVE) != status::ACTIVE {
            return false;
        }
        let Some(item) = self.unpark(kn) else {
            return false;
        };
        self.requeue(item);
        true
    }

    /// Takes a knote off the ready list, if it is there.
    pub(crate) fn dequeue(&mut self, kn: &Knote) -> Option<ListArc<Knote>> {
        let st = self.state(kn);
        if st.status & status::QUEUED == 0 {
            return None;
        }
        st.status &= !status::QUEUED;
        self.add_to_count(1_usize.wrapping_neg());
        // SAFETY: A knote that is `QUEUED` is on its own kqueue's ready list, and `state` has
        // checked that it is this kqueue's.
        unsafe { self.ready.remove(kn) }
    }

    /// Takes the first ready knote in hand, if it was queued before `limit`, where there is one: it
    /// is in flux, and not active until something activates it again. `look` is given its state. The
    /// caller counts it off.
    #[inline(always)]
    pub(crate) fn take_first(
        &mut self,
        limit: Option<u32>,
        look: impl FnOnce(&Knote, &mut KnoteState),
    ) -> Option<ListArc<Knote>> {
        let kn = self.ready.pop_front()?;
        // SAFETY: It was on this kqueue's ready list.
        let st = unsafe { self.state_of_own(&kn) };
        // By wrapping: what was queued so long ago that it seems to be after the limit, the next
        // scan takes, which has no limit at first.
        if limit.is_some_and(|limit| limit.wrapping_sub(st.seq) as i32 <= 0) {
            self.ready.push_front(kn);
            return None;
        }
        st.status &= !(status::QUEUED | status::ACTIVE | status::TOUCHED);
        st.status |= status::INFLUX;
        look(&kn, st);
        Some(kn)
    }

    /// Gives up a knote that the caller has in hand, and queues it if it is active. Whether it
    /// was; or back comes what the caller is to drop, after the lock.
    pub(crate) fn put(&mut self, item: ListArc<Knote>) -> Result<bool, ListArc<Knote>> {
        let st = self.state(&item);
        st.status &= !status::INFLUX;
        match st.status & (status::DROPPED | status::DISABLED | status::ACTIVE) {
            status::ACTIVE => {
                self.requeue(item);
                Ok(true)
            }
            kept if kept & status::DROPPED == 0 => {
                self.park(item);
                Ok(false)
            }
            _ => Err(item),
        }
    }

    /// Queues a knote that the caller had in hand, and that is to be queued.
    pub(crate) fn requeue(&mut self, item: ListArc<Knote>) {
        let seq = self.next_seq;
        let st = self.state(&item);
        st.status |= status::QUEUED;
        st.seq = seq;
        self.next_seq = seq.wrapping_add(1);
        self.ready.push_back(item);
        self.add_to_count(1);
    }

    /// Gives up a knote whose event was delivered, if nothing has happened to it meanwhile that
    /// matters, and it is level-triggered, as most are: it is next after all others. `flags` are the
    /// event's. The caller counts it. Else back it comes.
    ///
    /// # Safety
    ///
    /// It was taken in hand from this kqueue's ready list.
    #[inline(always)]
    pub(crate) unsafe fn give_up_level(
        &mut self,
        item: ListArc<Knote>,
        flags: u16,
    ) -> Result<(), ListArc<Knote>> {
        const OTHERS: u16 = EV_ONESHOT | EV_CLEAR | EV_DISPATCH;

        let seq = self.next_seq;
        // SAFETY: By this function's requirements.
        let st = unsafe { self.state_of_own(&item) };
        // The flags of the event are the knote's of when it was taken in hand, which only adding it
        // anew changes, and what the filter has added.
        if st.status & !status::ACTIVE != status::INFLUX || flags & OTHERS != 0 {
            return Err(item);
        }
        st.status = status::ACTIVE | status::QUEUED;
        st.seq = seq;
        self.next_seq = seq.wrapping_add(1);
        self.ready.push_back(item);
        Ok(())
    }

    /// Gives up a knote that had no event, if nothing has happened to it meanwhile. Else back it
    /// comes.
    ///
    /// # Safety
    ///
    /// It was taken in hand from this kqueue's ready list.
    #[inline(always)]
    pub(crate) unsafe fn give_up_idle(
        &mut self,
        item: ListArc<Knote>,
    ) -> Result<(), ListArc<Knote>> {
        // SAFETY: By this function's requirements.
        let st = unsafe { self.state_of_own(&item) };
        if st.status != status::INFLUX {
            return Err(item);
        }
        st.status = status::PARKED;
        // `unpark` makes it anew.
        let _ = ListArc::into_raw(item);
        Ok(())
    }

    /// Leaves the right to queue a knote with the knote.
    pub(crate) fn park(&mut self, item: ListArc<Knote>) {
        self.state(&item).status |= status::PARKED;
        // `unpark` makes it anew.
        let _ = ListArc::into_raw(item);
    }

    /// Takes back the right that was left with a knote, if it is there.
    fn unpark(&mut self, kn: &Knote) -> Option<ListArc<Knote>> {
        let st = self.state(kn);
        if st.status & status::PARKED == 0 {
            return None;
        }
        st.status &= !status::PARKED;
        // SAFETY: `PARKED` says that `park` has left this, and it was taken off just now.
        Some(unsafe { ListArc::from_raw(kn) })
    }

    /// Gives up a knote that could not be delivered: it is active, and the first to be next.
    pub(crate) fn put_first(&mut self, item: ListArc<Knote>) -> Result<(), ListArc<Knote>> {
        // What is first must not be older than what is before it was.
        let seq = match self.ready.iter().next() {
            // SAFETY: It is on this kqueue's ready list, and so one of its knotes, whose state
            // nobody else has while `self` is borrowed.
            Some(first) => unsafe { (*first.state.get()).seq },
            None => self.next_seq.wrapping_sub(1),
        };
        let st = self.state(&item);
        st.status &= !status::INFLUX;
        st.status |= status::ACTIVE;
        if st.status & status::DROPPED != 0 {
            return Err(item);
        }
        if st.status & status::DISABLED != 0 {
            self.park(item);
            return Ok(());
        }
        st.status |= status::QUEUED;
        st.seq = seq;
        self.add_to_count(1);
        self.ready.push_front(item);
        Ok(())
    }
}

#[cold]
#[inline(never)]
fn mismatched() -> ! {
    panic!("a knote of another kqueue");
}
