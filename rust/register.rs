// SPDX-License-Identifier: GPL-2.0

//! kqueue_register: applying a change.

use crate::{
    bindings,
    filter::{self, Filterops, Source},
    index::{Index, Key},
    knote::{status, Knote, KEPT_FLAGS},
    queue::Kqueue,
    uapi::*,
    wrap::files,
};
use kernel::{
    fs::File,
    list::ListArc,
    prelude::*,
    sync::{aref::ARef, Arc},
};

impl Kqueue {
    /// Applies one change. Process context, may sleep.
    ///
    /// `EINVAL`: no such filter, or flags that exclude each other, or what the filter says.
    /// `EBADF`: no such descriptor, or the kqueue is closed. `ENOENT`: no such knote, and no
    /// `EV_ADD`. `ENOMEM`: a limit, or memory. `EOPNOTSUPP`: not in this module.
    pub(crate) fn register(self: &Arc<Self>, change: &Kevent) -> Result {
        let mut kev = *change;
        kev.flags &= !EV_SYSFLAGS;

        let source = filter::by_filter(kev.filter.into()).ok_or(EINVAL)?.source;
        if kev.flags & (EV_ADD | EV_DELETE) == EV_ADD | EV_DELETE {
            return Err(EINVAL);
        }
        // As FreeBSD's kqueue(2) has it.
        if kev.flags & (EV_ADD | EV_KEEPUDATA) == EV_ADD | EV_KEEPUDATA {
            return Err(EINVAL);
        }
        let file = match source {
            Source::Reserved => return Err(EINVAL),
            Source::Missing => return Err(errno(bindings::EOPNOTSUPP)),
            Source::Ident(_) => None,
            Source::Descriptor(_) => Some(files::fget(kev.ident)?),
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
            let found = self.index().lock().find(&key);
            match found {
                Some(kn) if kev.flags & EV_DELETE != 0 => self.end(&kn),
                Some(kn) => {
                    if !self.modify(&kn, &kev)? {
                        // It has been delivered for the last time, or is being closed: whoever does
                        // that is about to take it out, if we do not.
                        self.end(&kn);
                        continue;
                    }
                }
                None if kev.flags & EV_ADD == 0 => return Err(ENOENT),
                None => {
                    let ops = match source {
                        Source::Ident(ops) => ops,
                        Source::Descriptor(kqfilter) => kqfilter(file.as_deref().ok_or(EBADF)?)?,
                        Source::Reserved | Source::Missing => return Err(EINVAL),
                    };
                    self.add(ops, file, &kev)?;
                }
            }
            return Ok(());
        }
    }

    /// Makes a knote, hooks it to its object, and lets it be found. Under the change lock.
    fn add(
        self: &Arc<Self>,
        ops: &'static Filterops,
        file: Option<ARef<File>>,
        kev: &Kevent,
    ) -> Result {
        Index::reserve(self.index())?;
        // In flux: whatever activates it from now on leaves it to us to queue it.
        let item = Knote::new(self, ops, file, kev)?;
        let active = item.f_attach()?;
        if let Err(e) = self.table().remember(&item) {
            item.f_detach();
            return Err(e);
        }
        let inserted = match ListArc::try_from_arc(item.clone_arc()) {
            // A statement of its own, so that what comes back is dropped after the lock.
            Ok(indexed) => {
                let rejected = self.index().lock().insert(indexed);
                rejected.is_ok()
            }
            Err(_) => false,
        };
        if !inserted {
            // The kqueue is closed.
            drop(self.table().forget(&item));
            item.f_detach();
            return Err(EBADF);
        }
        // A close of the descriptor before the insertion has not seen the knote; one after has.
        let gone = item.file().is_some_and(|file| {
            // SAFETY: The table is the current task's: who is not the owner does not come here.
            !unsafe { self.table().id().holds(item.ident() as u32, file) }
        });
        if gone {
            self.end(&item);
        }
        self.begin(item, kev, active)
    }

    /// Lets go of a knote that was in flux while it was made. `EBADF` where its descriptor was
    /// closed meanwhile.
    fn begin(&self, item: ListArc<Knote>, kev: &Kevent, active: bool) -> Result {
        let mut queue = self.queue().lock();
        let st = queue.state(&item);
        if active {
            st.status |= status::ACTIVE;
        }
        if kev.flags & (EV_DISABLE | EV_ENABLE) == EV_DISABLE {
            st.status |= status::DISABLED;
        }
        match queue.put(item) {
            Ok(true) => self.wake(queue),
            Ok(false) => {}
            Err(dropped) => {
                drop(queue);
                drop(dropped);
                return Err(EBADF);
            }
        }
        Ok(())
    }

    /// Changes a knote. False, and it is not changed, if it is about to be no more. Under the
    /// change lock.
    fn modify(&self, kn: &Knote, kev: &Kevent) -> Result<bool> {
        kn.f_prepare(kev)?;
        let evaluated = kn.ops().evaluated;
        let mut queue = self.queue().lock();
        let st = queue.state(kn);
        if st.status & status::DROPPED != 0 {
            return Ok(false);
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
            return Ok(true);
        }
        if let Some(item) = queue.dequeue(kn) {
            queue.park(item);
        }
        drop(queue);
        if evaluated && kn.f_event(&request, None).is_some() {
            kn.activate();
        }
        Ok(true)
    }
}
