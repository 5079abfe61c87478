// SPDX-License-Identifier: GPL-2.0

//! kqueue_register: applying a change.

use crate::{
    filter::{Filter, OpsRef},
    index::{Index, Key},
    kfilter::{self, Ident},
    knote::{status, Knote, KEPT_FLAGS},
    queue::{Context, Kqueue},
    uapi::*,
    wrap::{
        files,
        task::{killed, relax},
        task_work::{self, TaskWork},
    },
};
use kernel::{
    alloc::{flags::GFP_KERNEL_ACCOUNT, Flags},
    fs::File,
    list::ListArc,
    prelude::*,
    sync::{aref::ARef, Arc},
    task::Task,
};

impl Kqueue {
    /// Applies one change. Process context, may sleep.
    ///
    /// `EINVAL`: no such filter, or flags that exclude each other, or what the filter says.
    /// `EBADF`: no such descriptor, or the kqueue is closed. `ENOENT`: no such knote, and no
    /// `EV_ADD`. `ENOMEM`: a limit, or memory. `EOPNOTSUPP`: this kernel lacks what the
    /// filter needs.
    pub(crate) fn register(self: &Arc<Self>, change: &Kevent) -> Result {
        let mut kev = *change;
        kev.flags &= !EV_SYSFLAGS;

        let filter = kfilter::find(kev.filter.into()).ok_or(EINVAL)?;
        if kev.flags & (EV_ADD | EV_DELETE) == EV_ADD | EV_DELETE {
            return Err(EINVAL);
        }
        // As FreeBSD's kqueue(2) has it.
        if kev.flags & (EV_ADD | EV_KEEPUDATA) == EV_ADD | EV_KEEPUDATA {
            return Err(EINVAL);
        }
        let file = match filter.ident() {
            Ident::Number => None,
            Ident::Descriptor => Some(files::fget(kev.ident)?),
            Ident::Path => Some(files::fget_raw(kev.ident)?),
        };

        let _change = self.change_lock().lock();
        loop {
            let key = Key {
                file: file.as_deref(),
                filter: kev.filter,
                ident: kev.ident,
                udata: (kev.flags & EV_UDATA_SPECIFIC != 0).then_some(kev.udata),
            };
            // A statement of its own, so that the lock is not held for what follows.
            let sought = self.index().lock().look_up(&key);
            let mut found = sought.found;
            let absent = found.is_none().then_some(sought.time);
            if kev.flags & EV_ADD != 0 {
                // Its ident may be another object's by now, which is meant.
                found = found.filter(|kn| !kn.f_is_stale());
            }
            match found {
                Some(kn) if kev.flags & EV_DELETE != 0 => {
                    if self.end(&kn, Context::MaySleep) {
                        return Ok(());
                    }
                    // It has been delivered for the last time, or is being closed: who is told so is
                    // not told that it was deleted.
                }
                Some(kn) => match self.modify(&kn, &kev)? {
                    Modified::Done => return Ok(()),
                    // It has been delivered for the last time, or is being closed: whoever does that
                    // is about to take it out, if we do not.
                    Modified::Dropped => {
                        self.end(&kn, Context::MaySleep);
                    }
                    // It is not found any more.
                    Modified::Left => {}
                },
                // Closed meanwhile, it has none any more.
                None if sought.closed => return Err(EBADF),
                None if kev.flags & EV_ADD == 0 => return Err(ENOENT),
                None => {
                    let ops = filter.ops(file.as_deref())?;
                    if sought.short {
                        Index::reserve(self.index())?;
                    }
                    if !self.add(ops, file.clone(), &kev, absent)? {
                        continue;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Has a knote leave its key to another: its last event alone is waited for, if one can be.
    fn leave(&self, kn: &Knote, here: Context) {
        // A statement of its own: the lock is not held for what follows.
        let taken = self.index().lock().orphan(kn);
        if let Some(taken) = taken {
            self.end_taken(taken, here);
            return;
        }
        let expected = kn.with_state(|st| {
            st.status |= status::ORPHAN;
            st.status & (status::DISABLED | status::DROPPED) == 0
                && st.status & (status::ACTIVE | status::INFLUX) != 0
        });
        if !expected {
            self.end(kn, here);
        }
    }

    /// Makes a knote, hooks it to its object, and lets it be found. False where one like it has
    /// come to be there meanwhile; `absent` is as [`Index::insert_new`] has it. Under the change lock.
    // The index has been given what memory it needs, but for what was spawned meanwhile.
    #[inline(never)]
    fn add(
        self: &Arc<Self>,
        ops: OpsRef,
        file: Option<ARef<File>>,
        kev: &Kevent,
        absent: Option<u32>,
    ) -> Result<bool> {
        // In flux: whatever activates it from now on leaves it to us to queue it.
        let item = Knote::new(self, ops, file, kev, GFP_KERNEL_ACCOUNT)?;
        let active = item.f_attach()?;
        if let Err(e) = self.table().remember(&item) {
            item.f_detach();
            return Err(e);
        }
        if let Err(refused) = self.insert(&item, absent, Context::MaySleep) {
            drop(self.table().forget(&item));
            item.f_detach();
            return match refused {
                Some(_) => Ok(false),
                None => Err(EBADF),
            };
        }
        // A close of the descriptor before the insertion has not seen the knote; one after has.
        let gone = item.file().is_some_and(|file| {
            // The slot may hold the same file again by now. Who has taken the knote out of the
            // process's table, and come to our index before the insertion, has said so before.
            item.is_taken()
                // SAFETY: The table is the current task's: who is not the owner does not come here.
                || !unsafe { self.table().id().holds(item.ident() as u32, file) }
        });
        if gone {
            self.end(&item, Context::MaySleep);
        }
        if let Err(item) = self.begin(item, kev, active) {
            // Whoever has ended it may have done so before it was inserted.
            self.end(&item, Context::MaySleep);
            // If it is none of these, its filter has, or a close that came after: it was there.
            if gone || self.queue().lock().is_closed() {
                return Err(EBADF);
            }
        }
        Ok(true)
    }

    /// Lets a knote be found, also in place of one whose ident means another object by now. What is
    /// there already; nothing where the kqueue is closed.
    fn insert(
        &self,
        item: &ListArc<Knote>,
        mut absent: Option<u32>,
        here: Context,
    ) -> Result<(), Option<Arc<Knote>>> {
        loop {
            let indexed = ListArc::try_from_arc(item.clone_arc()).map_err(|_| None)?;
            // A statement of its own, so that what comes back is dropped after the lock.
            let refused = self.index().lock().insert_new(indexed, absent.take());
            match refused.map_err(|(_, other)| other) {
                Ok(()) => return Ok(()),
                Err(Some(other)) if other.f_is_stale() => self.leave(&other, here),
                Err(other) => return Err(other),
            }
        }
    }

    /// Adds a knote of filter `F` that is not asked for by a change but by the filter: `attach` hooks
    /// it to its object, and `hint` is the first that it is told. One that is there already is told
    /// instead. Any context that `flags` suits, but interrupts. What `attach` says; `ENOMEM`, also where
    /// the table of knotes would have to grow first.
    pub(crate) fn spawn<F: Filter>(
        self: &Arc<Self>,
        kev: &Kevent,
        hint: u64,
        flags: Flags,
        attach: impl FnOnce(&Knote, &F::Hook) -> Result,
    ) -> Result {
        if self.index().lock().is_overfull() {
            // There may be memory for it by the next scan.
            self.set_crowded(true);
            return Err(ENOMEM);
        }
        let item = Knote::attached::<F>(self, kev, flags, attach)?;
        while let Err(other) = self.insert(&item, None, Context::Atomic) {
            // None where the kqueue is closed.
            let told = other.ok_or(EBADF).map(|other| {
                let told = self.note(&other, hint);
                if !told {
                    // It is about to be no more, and does not tell it.
                    self.end(&other, Context::Atomic);
                }
                told
            });
            if !matches!(told, Ok(false)) {
                item.f_detach();
                return told.map(|_| ());
            }
        }
        // A statement of its own, so that the lock is not held for what follows.
        let (crowded, long) = {
            let index = self.index().lock();
            (index.is_crowded(), index.is_long())
        };
        // Who was to do it may be long in coming to it, or had no memory for the work.
        if crowded && (long || !self.is_crowded()) {
            self.set_crowded(true);
            // Who forks does it before that returns. If he cannot, the next scan does.
            // SAFETY: The current task.
            let _ = unsafe { task_work::add(Task::current_raw(), CatchUp(self.clone())) };
        }
        let active = item.with_state(|st| item.f_note(st, hint));
        // It may have been deleted meanwhile: then it was there.
        let _ = self.begin(item, kev, active);
        Ok(())
    }

    /// Lets the table of knotes grow as it could not while they were spawned. May sleep.
    #[cold]
    #[inline(never)]
    pub(crate) fn catch_up(&self) {
        self.set_crowded(false);
        loop {
            // Without memory the chains stay as long as they are, until the next time.
            if !self.index().lock().catch_up() {
                relax();
                if killed() {
                    return self.set_crowded(true);
                }
                continue;
            }
            if !self.index().lock().is_crowded() || Index::reserve(self.index()).is_err() {
                return;
            }
        }
    }

    /// Lets go of a knote that was in flux while it was made. It comes back where it was ended
    /// meanwhile.
    fn begin(
        &self,
        item: ListArc<Knote>,
        kev: &Kevent,
        active: bool,
    ) -> Result<(), ListArc<Knote>> {
        let mut queue = self.queue().lock();
        let st = queue.state(&item);
        if active {
            st.status |= status::ACTIVE;
        }
        if kev.flags & (EV_DISABLE | EV_ENABLE) == EV_DISABLE {
            st.status |= status::DISABLED;
        }
        if queue.put(item)? {
            self.wake(queue);
        }
        Ok(())
    }

    /// Changes a knote. Under the change lock.
    fn modify(&self, kn: &Knote, kev: &Kevent) -> Result<Modified> {
        kn.f_prepare(kev)?;
        let evaluated = kn.ops().evaluated;
        let mut queue = self.queue().lock();
        let st = queue.state(kn);
        if st.status & status::DROPPED != 0 {
            return Ok(Modified::Dropped);
        }
        if st.status & status::ORPHAN != 0 {
            return Ok(Modified::Left);
        }
        kn.f_touch(st, kev);
        if kev.flags & EV_ADD != 0
            || (self.flavour().change_replaces() && kev.flags & EV_KEEPUDATA == 0)
        {
            kn.set_udata(kev.udata);
        }
        if kev.flags & EV_ADD != 0 {
            st.status |= status::TOUCHED;
            st.flags = kev.flags & KEPT_FLAGS | kn.ops().flags;
        }
        // Both: enabled, as in the BSDs.
        if kev.flags & EV_DISABLE != 0 {
            st.status |= status::DISABLED;
        }
        if kev.flags & EV_ENABLE != 0 || kev.flags & (EV_ADD | EV_DISABLE) == EV_ADD {
            st.status &= !status::DISABLED;
        }
        if !evaluated {
            st.status &= !status::ACTIVE;
            if kn.f_peek(st) {
                st.status |= status::ACTIVE;
            }
        }
        let wanted = st.status & (status::ACTIVE | status::DISABLED) == status::ACTIVE;
        let request = st.request();
        if wanted {
            if queue.enqueue(kn) {
                self.wake(queue);
            }
            return Ok(Modified::Done);
        }
        if let Some(item) = queue.dequeue(kn) {
            queue.park(item);
        }
        drop(queue);
        if evaluated && kn.f_event(&request, None).is_some() {
            kn.activate();
        }
        Ok(Modified::Done)
    }
}

/// What became of a change to a knote.
enum Modified {
    Done,
    /// It is about to be no more, and was not changed.
    Dropped,
    /// It has left its key to another meanwhile, and was not changed.
    Left,
}

/// The table of knotes catches up with what was spawned, before who has forked goes on.
struct CatchUp(Arc<Kqueue>);

impl TaskWork for CatchUp {
    fn run(self) {
        // A scan may have been faster.
        if self.0.is_crowded() {
            self.0.catch_up();
        }
    }
}
