// SPDX-License-Identifier: GPL-2.0

//! kqueue_register: applying a change.

use crate::{
    bindings,
    filter::{self, Filterops, Source, Touched},
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
        let file = match source {
            Source::Reserved => return Err(EINVAL),
            Source::Missing => return Err(errno(bindings::EOPNOTSUPP)),
            Source::Ident(_) => None,
            Source::Descriptor(_) => Some(files::fget(kev.ident)?),
        };

        let _change = self.change_lock().lock();
        if self.queue().lock().is_closed() {
            return Err(EBADF);
        }
        let key = Key {
            file: file.as_deref(),
            filter: kev.filter,
            ident: kev.ident,
            udata: (kev.flags & EV_UDATA_SPECIFIC != 0).then_some(kev.udata),
        };
        // A statement of its own, so that the lock is not held for what follows.
        let found = self.index().lock().find(&key);
        match found {
            Some(kn) if kev.flags & EV_DELETE != 0 => {
                let chain = self.index().lock().remove(&kn);
                self.end(chain);
                Ok(())
            }
            Some(kn) => self.modify(&kn, &kev),
            None if kev.flags & EV_ADD == 0 => Err(ENOENT),
            None => {
                let ops = match source {
                    Source::Ident(ops) => ops,
                    Source::Descriptor(kqfilter) => kqfilter(file.as_deref().ok_or(EBADF)?)?,
                    Source::Reserved | Source::Missing => return Err(EINVAL),
                };
                self.add(ops, file, &kev)
            }
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
        if !self.index().lock().insert(item.clone_arc()) {
            item.f_detach();
            return Err(EEXIST);
        }
        // A close of the descriptor before the insertion has not seen the knote; one after has.
        let gone = item.file().is_some_and(|file| {
            // SAFETY: The table is the current task's: who is not the owner does not come here.
            !unsafe { self.table().id().holds(item.ident() as u32, file) }
        });
        if gone {
            let chain = self.index().lock().remove(&item);
            self.end(chain);
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
        if kev.flags & EV_DISABLE != 0 {
            st.status |= status::DISABLED;
        }
        let put = queue.put(item);
        drop(queue);
        match put {
            Ok(queued) => {
                if queued {
                    self.wake();
                }
                Ok(())
            }
            Err(dropped) => {
                drop(dropped);
                Err(EBADF)
            }
        }
    }

    /// Changes a knote. Under the change lock.
    fn modify(&self, kn: &Knote, kev: &Kevent) -> Result {
        let touched = kn.f_touch(kev)?;
        if kev.flags & EV_ADD != 0 {
            kn.set_udata(kev.udata);
        }
        let mut queue = self.queue().lock();
        let st = queue.state(kn);
        if kev.flags & EV_ADD != 0 {
            st.flags = kev.flags & KEPT_FLAGS;
        }
        if kev.flags & EV_DISABLE != 0 {
            st.status |= status::DISABLED;
        } else if kev.flags & (EV_ENABLE | EV_ADD) != 0 {
            st.status &= !status::DISABLED;
        }
        match touched {
            Touched::Active => st.status |= status::ACTIVE,
            Touched::Inactive => {}
        }
        let off = st.status & status::DISABLED != 0
            || (touched == Touched::Inactive && !kn.ops().evaluated);
        if touched == Touched::Inactive && !kn.ops().evaluated {
            st.status &= !status::ACTIVE;
        }
        let mut queued = false;
        if off {
            if let Some(item) = queue.dequeue(kn) {
                queue.park(item);
            }
        } else {
            queued = queue.enqueue(kn);
        }
        drop(queue);
        if queued {
            self.wake();
        }
        Ok(())
    }
}
