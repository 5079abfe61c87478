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
    queue::{Kqueue, QueueState},
    uapi::*,
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
}

/// Knotes in hand, and their events: those found, in order, at the beginning.
struct Batch {
    held: [Option<Held>; BATCH],
    events: [Kevent; BATCH],
}

/// What became of a knote that was given up, and of its event.
struct Given {
    /// The event, if there was one, counts as delivered.
    counts: bool,
    /// To be deleted, as `EV_ONESHOT` says.
    delete: bool,
    /// A reference to be dropped, after the lock.
    item: Option<ListArc<Knote>>,
}

impl Kqueue {
    /// Delivers what is ready, as far as there is room, and returns how many events that is. What
    /// is activated meanwhile is left to the next scan. Process context, may sleep.
    ///
    /// `EBADF`: the kqueue is closed. `EFAULT`: events could not be stored, and none was before;
    /// they stay.
    pub(crate) fn scan(&self, mut list: EventList) -> Result<usize> {
        let (mut total, mut requeued) = (0, false);
        if self.is_crowded() {
            self.catch_up();
        }
        let mut limit = None;
        while list.room != 0 {
            let mut batch = Batch {
                held: [const { None }; BATCH],
                events: [Kevent::default(); BATCH],
            };
            let taken = {
                let mut queue = self.queue().lock();
                if queue.is_closed() {
                    // What was delivered before is in the program's memory.
                    return if total == 0 { Err(EBADF) } else { Ok(total) };
                }
                let limit = *limit.get_or_insert(queue.next_seq());
                batch.take(&mut queue, list.room, limit)
            };
            if taken == 0 {
                break;
            }
            let found = batch.look(&list);
            if let Err(e) = batch.store(&list, found) {
                self.take_back(&mut batch);
                if total == 0 {
                    return Err(e);
                }
                break;
            }
            let delivered = self.give_up(&mut batch, &mut requeued);
            if delivered < found {
                // It has just been writable: a fault here is of the program's own making, and the
                // events count as delivered.
                let _ = batch.store(&list, delivered);
            }
            list.advance(delivered);
            total += delivered;
        }
        // One thread was woken for each activation, and this one may have taken several, or left
        // some. Who polled while we had them in hand saw nothing.
        let queue = self.queue().lock();
        if queue.count() != 0 {
            if requeued {
                self.wake_pollers(&queue);
            }
            drop(queue);
            self.wake_waiter();
        }
        Ok(total)
    }

    /// The events were stored: gives up what is in hand, and returns how many of the events count,
    /// which are then the first ones of the batch. `requeued` becomes true if a knote was queued.
    fn give_up(&self, batch: &mut Batch, requeued: &mut bool) -> usize {
        let mut done: [Option<Given>; BATCH] = [const { None }; BATCH];
        let (mut from, mut to) = (0, 0);
        {
            let mut queue = self.queue().lock();
            for (held, done) in batch.held.iter_mut().zip(&mut done) {
                let Some(Held { item, found, .. }) = held.take() else {
                    continue;
                };
                let kev = if found {
                    batch.events.get(from).copied()
                } else {
                    None
                };
                from += usize::from(found);
                let given = queue.give(item, kev.as_ref(), requeued);
                if let (Some(kev), true) = (kev, given.counts) {
                    if let Some(place) = batch.events.get_mut(to) {
                        *place = kev;
                    }
                    to += 1;
                }
                *done = Some(given);
            }
        }
        for given in done.into_iter().flatten() {
            if let (Some(item), true) = (&given.item, given.delete) {
                self.end(item);
            }
        }
        to
    }

    /// The events could not be stored: all is as if it had not been taken.
    fn take_back(&self, batch: &mut Batch) {
        let mut dropped: [Option<ListArc<Knote>>; BATCH] = [const { None }; BATCH];
        let mut queue = self.queue().lock();
        let mut from = batch.held.iter().flatten().filter(|h| h.found).count();
        for (held, dropped) in batch.held.iter_mut().zip(&mut dropped).rev() {
            let Some(Held { item, found, .. }) = held.take() else {
                continue;
            };
            if !found {
                *dropped = queue.put(item).err();
                continue;
            }
            from -= 1;
            if let Some(kev) = batch.events.get(from) {
                item.f_unprocess(queue.state(&item), kev);
            }
            *dropped = queue.put_first(item).err();
        }
        self.wake(queue);
    }
}

impl Batch {
    /// Takes ready knotes in hand. Under the queue lock.
    fn take(&mut self, queue: &mut QueueState, room: usize, limit: u64) -> usize {
        let mut taken = 0;
        for (held, kev) in self.held.iter_mut().zip(&mut self.events).take(room) {
            let Some(item) = queue.take_first(limit) else {
                break;
            };
            let st = queue.state(&item);
            *kev = item.event(st);
            let found = !item.ops().evaluated && item.f_process(st, kev);
            let request = st.request();
            *held = Some(Held {
                item,
                request,
                found,
            });
            taken += 1;
        }
        taken
    }

    /// Asks the filters that want to be asked, and brings the events to be stored to the front.
    /// May sleep.
    fn look(&mut self, list: &EventList) -> usize {
        let mut found = 0;
        for at in 0..BATCH {
            let (Some(Some(held)), Some(kev)) = (self.held.get_mut(at), self.events.get(at)) else {
                continue;
            };
            let mut kev = *kev;
            if held.item.ops().evaluated {
                // Four bytes at the place of the event's data, which it will be written over.
                let data = list.at(found).wrapping_add(list.layout.data_offset());
                let scratch = Scratch::new(data);
                let Some(it) = held.item.f_event(&held.request, Some(scratch)) else {
                    continue;
                };
                held.found = true;
                kev.data = it.data;
                kev.fflags = it.fflags;
                if it.eof {
                    kev.flags |= EV_EOF;
                }
            }
            if held.found {
                if let Some(place) = self.events.get_mut(found) {
                    *place = kev;
                }
                found += 1;
            }
        }
        found
    }

    /// Stores the first `count` events.
    fn store(&self, list: &EventList, count: usize) -> Result {
        list.store(self.events.get(..count).ok_or(EINVAL)?)
    }
}

impl QueueState {
    /// Gives up a knote whose event, if any, was stored. `queued` becomes true if it was queued.
    fn give(&mut self, item: ListArc<Knote>, kev: Option<&Kevent>, queued: &mut bool) -> Given {
        let mut counts = true;
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
            } else if st.status & status::TOUCHED != 0 {
                // Added anew meanwhile, as if after the delivery: it stays, as it is now.
                if st.flags & EV_CLEAR == 0 {
                    st.status |= status::ACTIVE;
                }
            } else if st.flags & EV_ONESHOT != 0
                || (item.is_orphan() && st.status & status::ACTIVE == 0)
            {
                // It is no more, for a change that comes before the caller has deleted it.
                st.status |= status::DROPPED;
                return Given {
                    counts,
                    delete: true,
                    item: Some(item),
                };
            } else {
                if st.flags & EV_CLEAR == 0 {
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
            delete: false,
            item: put.err(),
        }
    }
}
