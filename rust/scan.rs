// SPDX-License-Identifier: GPL-2.0

//! kqueue_scan: delivering what is ready.
//!
//! Ready knotes are taken in hand in batches, first come first served; looked at, with no lock
//! held; their events copied to the user in one go; and then given up, each to where its flags
//! want it. In hand a knote is in flux: nobody else delivers it, and what activates it leaves a
//! mark that is honoured when it is given up. What has been deleted, closed or disabled meanwhile
//! is not delivered, though it may have been copied: what follows it is copied over it.

use crate::{
    filter::{Looked, Scratch},
    knote::{status, Knote},
    queue::{Context, Kqueue, QueueState},
    stack_vec::{Slots, StackVec},
    uapi::*,
    wrap::{
        lock::IrqSpinGuard,
        task::{killed, relax},
    },
};
use core::{mem::MaybeUninit, ops::ControlFlow};
use kernel::{list::ListArc, prelude::*};

/// Knotes taken in hand at once. Their events are on the stack.
const BATCH: usize = MOST;

/// A place for events in the user's memory.
#[derive(Clone, Copy)]
pub(crate) struct EventList {
    /// Where the next event goes; a user address, checked by its use.
    pub(crate) addr: usize,
    /// Room for so many.
    pub(crate) room: usize,
    pub(crate) layout: Layout,
}

impl EventList {
    /// The address of the event at `index`.
    #[inline(always)]
    fn at(&self, index: usize) -> usize {
        self.addr
            .wrapping_add(index.wrapping_mul(self.layout.size()))
    }

    /// Stores events at the beginning of what is left. `EFAULT`. May sleep.
    #[inline]
    pub(crate) fn store(&self, events: &[Kevent]) -> Result {
        self.layout.write(self.addr, events)
    }

    /// Leaves out the first `count` places.
    #[inline(always)]
    pub(crate) fn advance(&mut self, count: usize) {
        self.addr = self.at(count);
        self.room = self.room.saturating_sub(count);
    }
}

/// One bit for each knote in hand.
type Bits = u32;

const _: () = assert!(BATCH <= Bits::BITS as usize);

fn bit(at: usize) -> Bits {
    (1 as Bits).wrapping_shl(at as u32)
}

/// Knotes in hand, and their events: when they were looked at, those found, in order.
///
/// How many there are is in variables of [`Kqueue::scan_batch`], so that the compiler keeps that in
/// registers:
///
/// - `held` knotes are in hand, the first of `items`; none once they were given up;
/// - so many of `events`, or those found once they were looked at, are initialised.
struct Batch {
    items: Slots<ListArc<Knote>, BATCH>,
    events: Slots<Kevent, BATCH>,
}

/// What a scan has done in earlier batches.
struct Sofar {
    /// So many events were delivered.
    total: usize,
    /// What was queued from then on is left to the next scan. The first batch has no limit: all that
    /// is there then was queued before.
    limit: Option<u32>,
    /// A knote was queued again.
    requeued: bool,
}

/// Which of the knotes in hand have an event that is to be stored.
#[derive(Clone, Copy)]
struct Found {
    /// Those that have none.
    without: Bits,
    /// Of which the filter has said, and not the program, that the event is the last.
    last: Bits,
    count: usize,
}

/// Knotes that were taken in hand, and have their events where their filters are not
/// [`EVALUATED`](crate::filter::Filter::EVALUATED).
struct Taken {
    held: usize,
    /// Those that have an event already or none.
    processed: Bits,
    without: Bits,
}

/// What became of a knote that was given up, and of its event.
struct Given {
    /// The event, if there was one, counts as delivered.
    counts: bool,
    /// What is to be done after the lock.
    after: Option<After>,
}

/// What is done with a knote after the lock.
enum After {
    /// A reference is dropped.
    Drop(ListArc<Knote>),
    /// It is deleted, as `EV_ONESHOT` says.
    Delete(ListArc<Knote>),
}

/// What a batch came to.
struct Delivered {
    /// So many of its events count, which are then the first ones.
    count: usize,
    /// There are no more to deliver, or there is no room, and the waiters know.
    last: bool,
}

impl Kqueue {
    /// Delivers what is ready, as far as there is room, and returns how many events that is. What
    /// is activated meanwhile is left to the next scan. There is room for one. Process context, may
    /// sleep.
    ///
    /// `EBADF`: the kqueue is closed. `EFAULT`: events could not be stored, and none was before;
    /// they stay. `EINTR`: the task is to die.
    // The list in parts, and the answer as it is: all of it is in registers.
    #[inline(always)]
    pub(crate) fn scan(&self, addr: usize, room: usize, layout: Layout) -> Answer {
        if self.is_crowded() {
            self.catch_up();
        }
        if room == 1 || self.pending() == 1 {
            self.scan_one(addr, room, layout)
        } else {
            self.scan_many(addr, room, layout)
        }
    }

    /// [`Self::scan`], in batches. Most scans come to an end with their first one, and are spared
    /// what there is to know of several.
    #[inline(never)]
    fn scan_many(&self, addr: usize, room: usize, layout: Layout) -> Answer {
        let list = EventList { addr, room, layout };
        let mut sofar = Sofar {
            total: 0,
            limit: None,
            requeued: false,
        };
        match self.scan_batch(&list, &mut sofar) {
            ControlFlow::Break(answer) => answer,
            ControlFlow::Continue(count) => self.scan_on(list, count, sofar),
        }
    }

    /// [`Self::scan`], where one event is wanted or there. As a batch of one, less what more would
    /// take.
    #[inline(never)]
    fn scan_one(&self, addr: usize, room: usize, layout: Layout) -> Answer {
        let list = EventList { addr, room, layout };
        let mut kev = MaybeUninit::<Kevent>::uninit();
        let mut found = true;
        let (item, kev, limit) = {
            let mut queue = self.queue().lock();
            if queue.is_closed() {
                return EBADF.into();
            }
            let limit = queue.next_seq();
            let item = queue.take_first(None, |kn, st| {
                let kev = kev.write(kn.event(st));
                if kn.ops().evaluated {
                    // What is asked for goes with it: see `f_deliver`.
                    kev.fflags = st.sfflags;
                    kev.data = st.sdata;
                } else {
                    found = kn.f_process(st, kev);
                }
            });
            let Some(item) = item else {
                return Answer::of(0);
            };
            queue.add_to_count(1_usize.wrapping_neg());
            // SAFETY: It was written when the knote was taken.
            (item, unsafe { kev.assume_init_mut() }, limit)
        };
        let mut last = false;
        if item.ops().evaluated {
            let data = addr.wrapping_add(layout.data_offset());
            match item.f_deliver(Scratch::new(data), kev) {
                Looked::Nothing => found = false,
                Looked::Found => {}
                Looked::Last => last = true,
            }
        }
        if found {
            if let Err(e) = layout.write_one(addr, kev) {
                self.take_back_one(item, kev);
                return e.into();
            }
        }
        let (mut counts, mut requeued) = (found, true);
        let mut queue = self.queue().lock();
        // SAFETY: It was taken from there.
        let rest = unsafe {
            if found {
                queue.give_up_level(item, kev.flags)
            } else {
                queue.give_up_idle(item)
            }
        };
        match rest {
            Ok(()) if found => queue.add_to_count(1),
            Ok(()) => requeued = false,
            Err(item) => {
                requeued = false;
                let kev = if found { Some(&*kev) } else { None };
                let given = queue.give(item, last, kev, &mut requeued);
                counts &= given.counts;
                if let Some(after) = given.after {
                    // No other is in hand, and what happens after the lock comes before the answer.
                    drop(queue);
                    self.finish(after);
                    queue = self.queue().lock();
                }
            }
        }
        if counts || queue.count() == 0 {
            self.pass_on(queue, requeued);
            return Answer::of(usize::from(counts));
        }
        drop(queue);
        let sofar = Sofar {
            total: 0,
            limit: Some(limit),
            requeued,
        };
        self.scan_on(list, 0, sofar)
    }

    /// The rest of a scan, whose first batch has delivered `count` events.
    #[inline(never)]
    fn scan_on(&self, mut list: EventList, count: usize, mut sofar: Sofar) -> Answer {
        sofar.total = count;
        list.advance(count);
        while list.room != 0 {
            // There may be as many as memory has room for, and none of them have an event: others
            // can run, and the caller can be killed.
            relax();
            if killed() {
                self.pass_on(self.queue().lock(), sofar.requeued);
                return match sofar.total {
                    0 => EINTR.into(),
                    total => Answer::of(total),
                };
            }
            match self.scan_batch(&list, &mut sofar) {
                ControlFlow::Break(answer) => return answer,
                ControlFlow::Continue(count) => {
                    list.advance(count);
                    sofar.total = sofar.total.saturating_add(count);
                }
            }
        }
        self.pass_on(self.queue().lock(), sofar.requeued);
        Answer::of(sofar.total)
    }

    /// Delivers a batch, for which there is some room. The number of its events, and there may be
    /// more; or the answer of the scan, which has ended.
    #[inline(always)]
    fn scan_batch(&self, list: &EventList, sofar: &mut Sofar) -> ControlFlow<Answer, usize> {
        let mut batch = Batch {
            items: Slots::new(),
            events: Slots::new(),
        };
        let want = list.room.min(BATCH);
        let taken = {
            let mut queue = self.queue().lock();
            if queue.is_closed() {
                // What was delivered before is in the program's memory.
                return ControlFlow::Break(match sofar.total {
                    0 => EBADF.into(),
                    total => Answer::of(total),
                });
            }
            let limit = sofar.limit;
            sofar.limit = limit.or(Some(queue.next_seq()));
            let taken = batch.take(&mut queue, want, limit);
            if taken.held == 0 {
                self.pass_on(queue, sofar.requeued);
                return ControlFlow::Break(Answer::of(sofar.total));
            }
            taken
        };
        let held = taken.held;
        // SAFETY: They were taken just now.
        let found = unsafe {
            if taken.processed == 0 {
                batch.look::<false>(&taken, list)
            } else {
                batch.look::<true>(&taken, list)
            }
        };
        // SAFETY: So many are initialised.
        let events = unsafe { batch.events.first(found.count) };
        // Where there is none the list is not touched, be it where the program has no memory.
        let stored = if found.count != 0 {
            list.store(events)
        } else {
            Ok(())
        };
        if let Err(e) = stored {
            // SAFETY: They are in hand, and their events as they were found.
            unsafe { self.take_back(&batch, held, found) };
            if sofar.total == 0 {
                return ControlFlow::Break(e.into());
            }
            self.pass_on(self.queue().lock(), sofar.requeued);
            return ControlFlow::Break(Answer::of(sofar.total));
        }
        let room = if held < want { 0 } else { list.room };
        // SAFETY: As above.
        let delivered = unsafe { self.give_up(&mut batch, held, found, room, &mut sofar.requeued) };
        if delivered.count < found.count {
            // It has just been writable: a fault here is of the program's own making, and the
            // events count as delivered.
            // SAFETY: These are not more.
            let _ = list.store(unsafe { batch.events.first(delivered.count) });
        }
        if delivered.last {
            return ControlFlow::Break(Answer::of(sofar.total.saturating_add(delivered.count)));
        }
        ControlFlow::Continue(delivered.count)
    }

    /// The scan has ended. One thread was woken for each activation, and this one may have taken
    /// several, or left some. Who polled while we had them in hand saw nothing.
    #[inline(always)]
    fn pass_on(&self, queue: IrqSpinGuard<'_, QueueState>, requeued: bool) {
        if queue.count() != 0 {
            if requeued {
                self.wake_pollers(&queue);
            }
            drop(queue);
            self.wake_waiter();
        }
    }

    /// The events were stored: gives up what is in hand. `requeued` becomes true if a knote was
    /// queued. If no more than `room` count there is no other batch.
    ///
    /// # Safety
    ///
    /// `held` and `found` are as [`Batch`] has it, and there are none in hand after.
    #[inline(always)]
    unsafe fn give_up(
        &self,
        batch: &mut Batch,
        held: usize,
        found: Found,
        room: usize,
        requeued: &mut bool,
    ) -> Delivered {
        let mut after = StackVec::<After, BATCH>::new();
        let mut done = 0;
        let mut queue = self.queue().lock();
        if found.count == held {
            while done < held {
                // SAFETY: By this function's requirements they are initialised.
                let (item, kev) = unsafe { (batch.items.take(done), batch.events.get(done)) };
                // SAFETY: It was taken from there by `take`.
                if let Err(item) = unsafe { queue.give_up_level(item, kev.flags) } {
                    // It is still there, for `give_rest`.
                    core::mem::forget(item);
                    break;
                }
                done += 1;
            }
            queue.add_to_count(done);
            *requeued |= done != 0;
        }
        let mut to = done;
        if done != held {
            // SAFETY: As above, of those that are left.
            to = unsafe { batch.give_rest(&mut queue, done, held, found, requeued, &mut after) };
        }
        let last = room <= to;
        if last {
            self.pass_on(queue, *requeued);
        } else {
            drop(queue);
        }
        if !after.is_empty() {
            after.drain(|it| self.finish(it));
        }
        Delivered { count: to, last }
    }

    /// Ends or lets go of what was given up. With no lock held.
    #[cold]
    #[inline(never)]
    fn finish(&self, after: After) {
        match after {
            After::Drop(item) => drop(item),
            After::Delete(item) => {
                self.end(&item, Context::MaySleep);
            }
        }
    }

    /// The event could not be stored: all is as if it had not been taken.
    #[cold]
    #[inline(never)]
    fn take_back_one(&self, item: ListArc<Knote>, kev: &Kevent) {
        let mut queue = self.queue().lock();
        item.f_unprocess(queue.state(&item), kev);
        let dropped = queue.put_first(item);
        self.wake(queue);
        drop(dropped);
    }

    /// The events could not be stored: all is as if it had not been taken.
    ///
    /// # Safety
    ///
    /// As [`Self::give_up`].
    #[cold]
    #[inline(never)]
    unsafe fn take_back(&self, batch: &Batch, held: usize, found: Found) {
        let mut dropped = StackVec::<ListArc<Knote>, BATCH>::new();
        let mut queue = self.queue().lock();
        let mut from = found.count;
        for at in (0..held).rev() {
            // SAFETY: By this function's requirements it is initialised; it is not used again.
            let item = unsafe { batch.items.take(at) };
            let put = if found.without & bit(at) == 0 {
                from -= 1;
                // SAFETY: As above.
                let kev = unsafe { batch.events.get(from) };
                item.f_unprocess(queue.state(&item), kev);
                queue.put_first(item)
            } else {
                queue.put(item).map(|_| ())
            };
            if let Err(item) = put {
                // There is room for as many as were in hand.
                let _ = dropped.push(item);
            }
        }
        self.wake(queue);
    }
}

impl Batch {
    /// Takes up to `want` ready knotes in hand. Under the queue lock.
    #[inline(always)]
    fn take(&mut self, queue: &mut QueueState, want: usize, limit: Option<u32>) -> Taken {
        let mut taken = Taken {
            held: 0,
            processed: 0,
            without: 0,
        };
        while taken.held < want.min(BATCH) {
            let at = taken.held;
            let item = queue.take_first(limit, |kn, st| {
                let mut kev = kn.event(st);
                if kn.ops().evaluated {
                    // What is asked for goes with it: see `f_deliver`.
                    kev.fflags = st.sfflags;
                    kev.data = st.sdata;
                    self.events.put(at, kev);
                    return;
                }
                taken.processed |= bit(at);
                if !kn.f_process(st, self.events.put(at, kev)) {
                    taken.without |= bit(at);
                }
            });
            let Some(item) = item else { break };
            self.items.put(at, item);
            taken.held += 1;
        }
        queue.add_to_count(taken.held.wrapping_neg());
        taken
    }

    /// Gives up what is in hand, from `at` on, those before having been delivered each. How many
    /// events count, which are then the first. Under the queue lock.
    ///
    /// # Safety
    ///
    /// As [`Kqueue::give_up`].
    #[inline(never)]
    unsafe fn give_rest(
        &mut self,
        queue: &mut QueueState,
        mut at: usize,
        held: usize,
        found: Found,
        requeued: &mut bool,
        after: &mut StackVec<After, BATCH>,
    ) -> usize {
        let (mut from, mut to, mut queued) = (at, at, 0_usize);
        while at < held {
            // SAFETY: By this function's requirements it is initialised; it is not used again.
            let item = unsafe { self.items.take(at) };
            let is_last = found.last & bit(at) != 0;
            let has_event = found.without & bit(at) == 0;
            at += 1;
            let item = if !has_event {
                // SAFETY: It was taken from there by `take`.
                match unsafe { queue.give_up_idle(item) } {
                    Ok(()) => continue,
                    Err(item) => item,
                }
            } else {
                // SAFETY: The event at `from` is initialised.
                let flags = unsafe { self.events.get(from) }.flags;
                // SAFETY: As above.
                match unsafe { queue.give_up_level(item, flags) } {
                    Ok(()) => {
                        queued = queued.wrapping_add(1);
                        // SAFETY: As above.
                        unsafe { self.events.copy(from, to) };
                        from = from.wrapping_add(1);
                        to = to.wrapping_add(1);
                        continue;
                    }
                    Err(item) => item,
                }
            };
            // SAFETY: As above.
            let kev = has_event.then(|| unsafe { self.events.get(from) });
            let given = queue.give(item, is_last, kev, requeued);
            if let Some(it) = given.after {
                // There is room for as many as were in hand.
                let _ = after.push(it);
            }
            if has_event {
                if given.counts {
                    // SAFETY: As above.
                    unsafe { self.events.copy(from, to) };
                    to = to.wrapping_add(1);
                }
                from = from.wrapping_add(1);
            }
        }
        queue.add_to_count(queued);
        *requeued |= queued != 0;
        to
    }

    /// Asks the filters that want to be asked, and leaves the events that are to be stored. Where
    /// not `ANY_PROCESSED` all of them do. May sleep.
    ///
    /// # Safety
    ///
    /// They are in hand, and have events.
    #[inline(always)]
    unsafe fn look<const ANY_PROCESSED: bool>(&mut self, taken: &Taken, list: &EventList) -> Found {
        let mut found = Found {
            without: taken.without,
            last: 0,
            count: 0,
        };
        // Four bytes at the place of the event's data, which it will be written over.
        let mut data = list.addr.wrapping_add(list.layout.data_offset());
        let mut next = 0;
        while next < taken.held {
            let at = next;
            next += 1;
            // SAFETY: By this function's requirements.
            let (item, kev) = unsafe { (self.items.get(at), self.events.get_mut(at)) };
            if !ANY_PROCESSED || taken.processed & bit(at) == 0 {
                match item.f_deliver(Scratch::new(data), kev) {
                    Looked::Nothing => {
                        found.without |= bit(at);
                        continue;
                    }
                    Looked::Found => {}
                    Looked::Last => found.last |= bit(at),
                }
            } else if taken.without & bit(at) != 0 {
                continue;
            }
            if found.count != at {
                // SAFETY: As above.
                unsafe { self.events.copy(at, found.count) };
            }
            found.count = found.count.wrapping_add(1);
            data = data.wrapping_add(list.layout.size());
        }
        found
    }
}

impl QueueState {
    /// Gives up a knote whose event, if any, was stored. `queued` becomes true if it was queued.
    /// `last` is as in [`Found`].
    #[inline(never)]
    fn give(
        &mut self,
        item: ListArc<Knote>,
        last: bool,
        kev: Option<&Kevent>,
        queued: &mut bool,
    ) -> Given {
        let mut counts = true;
        if kev.is_none() && item.is_orphan() {
            let st = self.state(&item);
            // It was there for an event that it turned out not to have.
            if st.status & (status::ACTIVE | status::DROPPED) == 0 {
                st.status |= status::DROPPED;
                return Given {
                    counts,
                    after: Some(After::Delete(item)),
                };
            }
        }
        if let Some(kev) = kev {
            let st = self.state(&item);
            if st.status & status::DROPPED != 0 {
                // Deleted or closed meanwhile.
                counts = false;
            } else if st.status & status::DISABLED != 0 {
                // Disabled meanwhile: the event stays.
                counts = false;
                item.f_unprocess(st, kev);
                st.status |= status::ACTIVE;
            } else if st.status & status::TOUCHED != 0 && !last {
                // Added anew meanwhile, as if after the delivery: it stays, as it is now.
                if st.flags & EV_CLEAR == 0 {
                    st.status |= status::ACTIVE;
                }
            } else if kev.flags & EV_ONESHOT != 0
                || (item.is_orphan() && st.status & status::ACTIVE == 0)
            {
                // It is no more, for a change that comes before the caller has deleted it.
                st.status |= status::DROPPED;
                return Given {
                    counts,
                    after: Some(After::Delete(item)),
                };
            } else {
                if kev.flags & EV_CLEAR == 0 {
                    st.status |= status::ACTIVE;
                }
                // Nobody can enable an orphan.
                if st.flags & EV_DISPATCH != 0 && !item.is_orphan() {
                    st.status |= status::DISABLED;
                }
            }
        }
        let put = self.put(item);
        *queued |= matches!(put, Ok(true));
        Given {
            counts,
            after: put.err().map(After::Drop),
        }
    }
}
