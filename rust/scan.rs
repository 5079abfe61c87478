// SPDX-License-Identifier: GPL-2.0

//! kqueue_scan: delivering what is ready.
//!
//! Ready knotes are taken in hand in batches, first come first served; looked at, with no lock
//! held; their events copied to the user in one go; and then given up, each to where its flags
//! want it. In hand a knote is in flux: nobody else delivers it, and what activates it leaves a
//! mark that is honoured when it is given up. What has been deleted, closed or disabled meanwhile
//! is not delivered, though it may have been copied: what follows it is copied over it.

use crate::{
    filter::{Request, Scratch},
    knote::{status, Knote},
    queue::{Context, Kqueue, QueueState},
    stack_vec::StackVec,
    uapi::*,
    wrap::lock::IrqSpinGuard,
};
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
    fn at(&self, index: usize) -> usize {
        self.addr.wrapping_add(index * self.layout.size())
    }

    /// Stores events at the beginning of what is left. `EFAULT`. May sleep.
    #[inline]
    pub(crate) fn store(&self, events: &[Kevent]) -> Result {
        self.layout.write(self.addr, events)
    }

    /// Leaves out the first `count` places.
    pub(crate) fn advance(&mut self, count: usize) {
        self.addr = self.at(count);
        self.room -= count;
    }
}

/// A knote in hand.
struct Held {
    item: ListArc<Knote>,
    request: Request,
    /// Whether its event is among those to be stored.
    found: bool,
    /// Its filter has said, and not the program, that the event is the last.
    last: bool,
}

/// Knotes in hand, and their events: when they were looked at, those found, in order.
struct Batch {
    held: StackVec<Held, BATCH>,
    events: StackVec<Kevent, BATCH>,
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
    /// is activated meanwhile is left to the next scan. Process context, may sleep.
    ///
    /// `EBADF`: the kqueue is closed. `EFAULT`: events could not be stored, and none was before;
    /// they stay.
    #[inline(never)]
    pub(crate) fn scan(&self, mut list: EventList) -> Result<usize> {
        let (mut total, mut requeued) = (0, false);
        if self.is_crowded() {
            self.catch_up();
        }
        let mut limit = None;
        while list.room != 0 {
            let mut batch = Batch {
                held: StackVec::new(),
                events: StackVec::new(),
            };
            let want = list.room.min(BATCH);
            {
                let mut queue = self.queue().lock();
                if queue.is_closed() {
                    // What was delivered before is in the program's memory.
                    return if total == 0 { Err(EBADF) } else { Ok(total) };
                }
                let limit = *limit.get_or_insert(queue.next_seq());
                batch.take(&mut queue, want, limit);
                if batch.held.is_empty() {
                    self.pass_on(queue, requeued);
                    return Ok(total);
                }
            }
            let exhausted = batch.held.len() < want;
            batch.look(&list);
            if let Err(e) = list.store(&batch.events) {
                self.take_back(&mut batch);
                if total == 0 {
                    return Err(e);
                }
                break;
            }
            let found = batch.events.len();
            let room = if exhausted { 0 } else { list.room };
            let delivered = self.give_up(&mut batch, room, &mut requeued);
            if delivered.count < found {
                // It has just been writable: a fault here is of the program's own making, and the
                // events count as delivered.
                let _ = list.store(batch.events.get(..delivered.count).ok_or(EINVAL)?);
            }
            list.advance(delivered.count);
            total += delivered.count;
            if delivered.last {
                return Ok(total);
            }
        }
        self.pass_on(self.queue().lock(), requeued);
        Ok(total)
    }

    /// The scan has ended. One thread was woken for each activation, and this one may have taken
    /// several, or left some. Who polled while we had them in hand saw nothing.
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
    fn give_up(&self, batch: &mut Batch, room: usize, requeued: &mut bool) -> Delivered {
        let mut after = StackVec::<After, BATCH>::new();
        let (mut from, mut to) = (0, 0);
        let events = &mut batch.events;
        let mut queue = self.queue().lock();
        batch.held.drain(|held| {
            let found = held.found;
            let kev = if found { events.get(from) } else { None };
            let given = queue.give(held, kev, requeued);
            if found && given.counts {
                if to != from {
                    events.copy_within(from..from + 1, to);
                }
                to += 1;
            }
            from += usize::from(found);
            if let Some(it) = given.after {
                // There is room for as many as were in hand.
                let _ = after.push(it);
            }
        });
        let last = room <= to;
        if last {
            self.pass_on(queue, *requeued);
        } else {
            drop(queue);
        }
        if !after.is_empty() {
            self.finish(&mut after);
        }
        Delivered { count: to, last }
    }

    /// Ends or lets go of what was given up. With no lock held.
    #[cold]
    #[inline(never)]
    fn finish(&self, after: &mut StackVec<After, BATCH>) {
        after.drain(|it| match it {
            After::Drop(item) => drop(item),
            After::Delete(item) => self.end(&item, Context::MaySleep),
        });
    }

    /// The events could not be stored: all is as if it had not been taken.
    #[cold]
    #[inline(never)]
    fn take_back(&self, batch: &mut Batch) {
        let mut dropped = StackVec::<ListArc<Knote>, BATCH>::new();
        let mut queue = self.queue().lock();
        let mut from = batch.events.len();
        while let Some(Held { item, found, .. }) = batch.held.pop() {
            let put = if found {
                from -= 1;
                if let Some(kev) = batch.events.get(from) {
                    item.f_unprocess(queue.state(&item), kev);
                }
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
    fn take(&mut self, queue: &mut QueueState, want: usize, limit: u64) {
        for _ in 0..want {
            let Some(item) = queue.take_first(limit) else {
                break;
            };
            let st = queue.state(&item);
            // There is room for so many.
            let _ = self.events.push(item.event(st));
            let request = st.request();
            let found = !item.ops().evaluated
                && self
                    .events
                    .last_mut()
                    .is_some_and(|kev| item.f_process(st, kev));
            let _ = self.held.push(Held {
                item,
                request,
                found,
                last: false,
            });
        }
    }

    /// Asks the filters that want to be asked, and leaves the events that are to be stored. May
    /// sleep.
    fn look(&mut self, list: &EventList) {
        let mut found = 0;
        for (at, held) in self.held.iter_mut().enumerate() {
            let Some(kev) = self.events.get_mut(at) else {
                continue;
            };
            if held.item.ops().evaluated {
                // Four bytes at the place of the event's data, which it will be written over.
                let data = list.at(found).wrapping_add(list.layout.data_offset());
                let scratch = Scratch::new(data);
                let asked = kev.flags;
                if !held.item.f_deliver(&held.request, scratch, kev) {
                    continue;
                }
                held.found = true;
                held.last = kev.flags & !asked & EV_ONESHOT != 0;
            }
            if held.found {
                if found != at {
                    self.events.copy_within(at..at + 1, found);
                }
                found += 1;
            }
        }
        self.events.truncate(found);
    }
}

impl QueueState {
    /// Gives up a knote whose event, if any, was stored. `queued` becomes true if it was queued.
    fn give(&mut self, held: Held, kev: Option<&Kevent>, queued: &mut bool) -> Given {
        const SIMPLE: u16 = status::DROPPED | status::DISABLED | status::TOUCHED;
        const LEVEL: u16 = EV_ONESHOT | EV_CLEAR | EV_DISPATCH;

        let Held { item, last, .. } = held;
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
            // The flags of the event are the knote's of when it was taken in hand, which only adding
            // it anew changes, and what the filter has added.
            if st.status & SIMPLE == 0 && kev.flags & LEVEL == 0 && !item.is_orphan() {
                // What most of them are: it is next after all others.
                st.status &= !status::INFLUX;
                st.status |= status::ACTIVE;
                self.requeue(item);
                *queued = true;
                return Given {
                    counts,
                    after: None,
                };
            }
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
