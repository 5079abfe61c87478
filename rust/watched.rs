// SPDX-License-Identifier: GPL-2.0

//! What is watched by way of fsnotify: inodes and mount namespaces.
//!
//! The first knote on an object puts a mark on it (`wrap/fsnotify.rs`), which a [`Watched`] owns; the
//! others join its list. What happens to the object is told to all, under the list's lock. That is
//! taken where a knote is detached, too: after that no event finds it.
//!
//! The mark goes in two steps, as taking it away sleeps and detaching must not: the last knote
//! leaves it to a worker, which looks once more and takes the mark away if nobody has joined
//! meanwhile. The mark does not hold the inode: the files of the knotes do, so that a file whose
//! last descriptor is closed goes when it would have without us.
//!
//! An inode that has lost its last name may be robbed of its marks though it is open: when its
//! entry goes that is not the one it was opened by. That is so in kernels that do not ask, as 7.3.4
//! does, whether it has another entry. Then whoever removed the name puts a mark there
//! anew, before the call returns.
//!
//! A mount has no mark: its namespace's tells when it goes, by an id. There it has its place in a
//! tree, and its knotes in a list of its own. However many these are, who unmounts tells them when it
//! has let go of the kernel's lock of all mounts.

use crate::{
    bindings,
    knlist::{Knlist, KnlistEntry, Place},
    knote::Knote,
    uapi::*,
    wrap::{
        delayed_work::{Call, DelayedCall},
        fsnotify::{self, Event, Inode, InodeState, Mark, NamedFile, NewMark, Object},
        global::Global,
        task::{relax, relax_in_worker},
        task_work::{self, TaskWork},
    },
};
use core::mem;
use kernel::{
    alloc::{
        flags::{GFP_KERNEL, GFP_KERNEL_ACCOUNT},
        KBox,
    },
    fs::File,
    list::{
        impl_list_arc_safe, impl_list_item, AtomicTracker, List, ListArc, ListLinks, TryNewListArc,
    },
    new_spinlock,
    prelude::*,
    rbtree::{RBTree, RBTreeNodeReservation},
    sync::{
        atomic::{Atomic, Relaxed},
        lock::{spinlock::SpinLockBackend, Guard},
        Arc, ArcBorrow, GlobalGuard, GlobalLockedBy, SpinLock,
    },
    task::Task,
    time::{hrtimer::HrTimerExpires, Instant, Monotonic, NSEC_PER_MSEC},
};

/// Milliseconds that a mark stays without knotes, for the next knote on the same object.
const LINGER: u32 = 20;

/// Unused marks past which whoever adds one clears them away, so that they cannot pile up.
const MOST: usize = 256;

/// How many of these it clears away.
const SOME: usize = 16;

/// Knotes of one user on one object: whoever does something to it tells all of them, and others
/// are to be able to work with a library or the root directory however much one user watches it.
const MOST_OF_USER: usize = 1024;

/// Knotes that are told with preemption off, without a break.
const TURN: usize = 256;

/// Milliseconds to wait for somebody else to be through with an inode's marks.
const LATER: u32 = 100;

kernel::sync::global_lock! {
    // SAFETY: Initialised by `init`, before anything else of the module runs.
    unsafe(uninit) static MARKS: Mutex<()> = ();
}

kernel::sync::global_lock! {
    // SAFETY: As above.
    unsafe(uninit) static UNUSED: SpinLock<Unused> = Unused {
        objects: List::new(),
        count: 0,
    };
}

/// Objects whose last knote has left, or which want a new mark, and who sees to them.
struct Unused {
    objects: List<Watched>,
    /// How many these are.
    count: usize,
}

/// Calls [`Worker`].
static WORKER: Global<DelayedCall> = Global::new();

/// Hints of [`Knote::note`]: `NOTE_*` of `EVFILT_VNODE` for an inode, and these.
pub(crate) mod hint {
    /// The offset of an open file of the inode has been set.
    pub(crate) const SEEK: u64 = 1 << 32;
    /// A mount has come to be in the namespace, or moved there.
    pub(crate) const MOUNTED: u64 = 1 << 33;
    /// One has gone from the namespace, or from where it was.
    pub(crate) const UNMOUNTED: u64 = 1 << 34;
}

/// A knote's place on the list of an object.
pub(crate) struct Watch {
    entry: KnlistEntry,
    object: Arc<Watched>,
    /// Whose knote it is.
    uid: u32,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Watched { tracked_by tracker: AtomicTracker<0>; }
}
impl_list_item! {
    impl ListItem<0> for Watched { using ListLinks { self.links }; }
}

/// An object, and the knotes on it.
#[pin_data]
pub(crate) struct Watched {
    object: Object,
    /// Taken while events are told and where descriptors are closed.
    #[pin]
    inner: SpinLock<Inner>,
    marked: GlobalLockedBy<Marked, MARKS>,
    /// When it may be tended, in nanoseconds of the monotonic clock.
    due: Atomic<i64>,
    /// In [`UNUSED`].
    #[pin]
    links: ListLinks,
    #[pin]
    tracker: AtomicTracker,
}

struct Inner {
    knotes: Knlist,
    /// How many of them a user (a real uid) has. Who has none is not there.
    users: RBTree<u32, usize>,
    /// Of an inode: what has been told of it. The size is told with `KQ_FS_MODIFY`, the rest with
    /// `KQ_FS_ATTRIB`, which come some time after the change, and after other events.
    seen: InodeState,
    /// Of a namespace: those of its mounts that have knotes, by their ids.
    mounts: RBTree<u64, Arc<Watched>>,
    /// Of a mount: it has gone, and that is left to the worker to tell.
    gone: bool,
}

/// What of an object is under the lock of all marks.
#[derive(Default)]
struct Marked {
    mark: Option<Mark>,
    /// The events that it tells.
    mask: u32,
    /// What is told of this one: of a directory its superblock, which is told when it is removed, of
    /// a mount its namespace.
    base: Option<Arc<Watched>>,
    /// How many have this one as theirs.
    dependents: usize,
}

impl Watch {
    /// Puts a knote on the list of the inode that its file is of, to be told `notes` at least.
    /// `ENOMEM`, also if the user has too many there. Process context, may sleep.
    ///
    /// # Safety
    ///
    /// The knote is on `file`, and keeps what is returned. Before it goes, or lets go of the file,
    /// [`Self::end`] is called.
    pub(crate) unsafe fn on_file(kn: &Knote, file: &File, notes: u32) -> Result<KBox<Self>> {
        // SAFETY: By this function's requirements; the file holds its inode.
        unsafe { Self::new(kn, Object::of_file(file), inode_mask(notes)) }
    }

    /// Puts a knote on the list of the current task's mount namespace. `ENOMEM`, as above.
    /// Process context, may sleep.
    ///
    /// # Safety
    ///
    /// The knote keeps what is returned. Before it goes [`Self::end`] is called.
    pub(crate) unsafe fn on_mounts(kn: &Knote) -> Result<KBox<Self>> {
        // SAFETY: By this function's requirements; the namespace stays until the task leaves it.
        unsafe { Self::new(kn, Object::current_mounts(), MOUNTS_MASK) }
    }

    /// Puts a knote on the list of the mount that its file is on, which was in the current task's
    /// namespace just now. It may have gone before anybody saw the knote: the caller looks. `ENOMEM`.
    /// Process context, may sleep.
    ///
    /// # Safety
    ///
    /// The knote is on `file`, and keeps what is returned. Before it goes [`Self::end`] is called.
    pub(crate) unsafe fn on_mount(kn: &Knote, file: &File) -> Result<KBox<Self>> {
        // SAFETY: By this function's requirements; a mount has no mark.
        unsafe { Self::new(kn, Object::Mount(file.mount_id()), 0) }
    }

    /// # Safety
    ///
    /// The object is there. The knote keeps what is returned. Before it goes, or lets go of the
    /// object if that is an inode, [`Self::end`] is called.
    unsafe fn new(kn: &Knote, object: Object, mask: u32) -> Result<KBox<Self>> {
        let place = KBox::new_uninit(GFP_KERNEL_ACCOUNT)?;
        let room = RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?;
        let uid = kn.kqueue().user().uid();
        let mut spares = None;
        let (mut marks, watched) = loop {
            let mut marks = MARKS.lock();
            // SAFETY: By this function's requirements.
            if let Some(watched) = unsafe { Watched::get(object, mask, &mut spares, &mut marks) }? {
                break (marks, watched);
            }
            drop(marks);
            // SAFETY: As above.
            spares = Some(unsafe { Spares::new(object, mask) }?);
        };
        let watch = place.write(Self {
            entry: KnlistEntry::default(),
            object: watched.clone(),
            uid,
        });
        let mut inner = watched.inner.lock();
        if inner.knotes.is_empty() {
            // What happened while nobody was told is over.
            // SAFETY: By this function's requirements.
            inner.seen = unsafe { object.state() };
        }
        inner.charge(uid, room, object.most_of_user())?;
        // SAFETY: The entry is new, and is to be the knote's; by this function's requirements it is
        // taken off before that goes.
        unsafe { inner.knotes.add(&watch.entry, kn) };
        let is_nameless = matches!(object, Object::Inode(_)) && inner.seen.nlink == 0;
        drop(inner);
        // The mark may have gone just before, and who took it away have seen no knote. Knotes are
        // looked for under the lock of the list, so if none was seen, that it has gone is seen now.
        let is_marked = !matches!(object, Object::Inode(_)) || watched.is_marked(&mut marks);
        drop(marks);
        if !is_marked {
            watched.tend();
        } else if is_nameless {
            // As in `tend_with`.
            watched.leave(LATER);
        }
        // A statement of its own, so that the lock is not held for what follows.
        let too_many = UNUSED.lock().count > MOST;
        if too_many {
            Worker::clear_some();
        }
        Ok(watch)
    }

    /// Has `notes` told, too. Process context, may sleep.
    pub(crate) fn want(&self, notes: u32) {
        let mut marks = MARKS.lock();
        self.object.want(inode_mask(notes), &mut marks);
    }

    /// Takes the knote off the list: nothing is told to it any more. May be called more than once.
    /// Process context, also with preemption off.
    pub(crate) fn end(&self) {
        let was_on = {
            let mut inner = self.object.inner.lock();
            // SAFETY: The entry is on this list or on none, and was put there by `new`.
            let was_on = unsafe { inner.knotes.remove(&self.entry) };
            if was_on {
                inner.uncharge(self.uid);
            }
            was_on
        };
        if was_on {
            self.object.leave_if_unused();
        }
    }
}

fn monotonic_ns() -> i64 {
    Instant::<Monotonic>::now().as_nanos()
}

/// What fsnotify is to tell for `NOTE_*` of `EVFILT_VNODE`. What is frequent is told only where it
/// is asked for. The rest is told always, so that what was seen of the inode last is known.
fn inode_mask(notes: u32) -> u32 {
    let mut mask = bindings::KQ_FS_MODIFY
        | bindings::KQ_FS_ATTRIB
        | bindings::KQ_FS_MOVE_SELF
        | bindings::KQ_FS_CREATE
        | bindings::KQ_FS_DELETE
        | bindings::KQ_FS_RENAME;
    for (note, event) in [
        (NOTE_READ, bindings::KQ_FS_ACCESS),
        (NOTE_OPEN, bindings::KQ_FS_OPEN),
        (NOTE_CLOSE, bindings::KQ_FS_CLOSE_NOWRITE),
        (NOTE_CLOSE_WRITE, bindings::KQ_FS_CLOSE_WRITE),
    ] {
        if notes & note != 0 {
            mask |= event;
        }
    }
    mask
}

/// What a mount namespace tells.
const MOUNTS_MASK: u32 = bindings::KQ_FS_MNT_ATTACH | bindings::KQ_FS_MNT_DETACH;

impl Object {
    /// How many knotes of one user may be on it.
    fn most_of_user(self) -> usize {
        match self {
            // They are told once, by who has to wait for them alone.
            Self::Mount(_) => usize::MAX,
            _ => MOST_OF_USER,
        }
    }

    /// What tells of the object in its place, and which events that has to tell.
    ///
    /// # Safety
    ///
    /// The object is there.
    unsafe fn base(self) -> Option<(Self, u32)> {
        match self {
            // SAFETY: By this function's requirements.
            Self::Inode(inode) if unsafe { self.state() }.is_dir => {
                // SAFETY: As above.
                let superblock = unsafe { fsnotify::superblock(inode) };
                Some((superblock, bindings::KQ_FS_DELETE))
            }
            // It is in the current one: see `Watch::on_mount`.
            Self::Mount(_) => Some((Self::current_mounts(), MOUNTS_MASK)),
            _ => None,
        }
    }
}

/// What an event of a mount namespace means. One that is moved within is both.
fn mounts_hint(event: &Event) -> u64 {
    let mut hint = 0;
    if event.mask & bindings::KQ_FS_MNT_ATTACH != 0 {
        hint |= hint::MOUNTED;
    }
    if event.mask & bindings::KQ_FS_MNT_DETACH != 0 {
        hint |= hint::UNMOUNTED;
    }
    hint
}

impl Inner {
    /// Counts one more knote of a user. `ENOMEM` past the limit.
    fn charge(&mut self, uid: u32, room: RBTreeNodeReservation<u32, usize>, most: usize) -> Result {
        match self.users.get_mut(&uid) {
            Some(count) if *count >= most => return Err(ENOMEM),
            Some(count) => *count += 1,
            None => drop(self.users.insert(room.into_node(uid, 1))),
        }
        Ok(())
    }

    /// Counts one less.
    fn uncharge(&mut self, uid: u32) {
        match self.users.get_mut(&uid) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.users.remove_node(&uid)),
        }
    }

    /// What has happened to an inode, which is now so, and was told to nobody, as `NOTE_*`.
    fn missed(&mut self, now: InodeState) -> u32 {
        let mut event = Event {
            role: bindings::KQ_FS_ROLE_SELF,
            ..Event::default()
        };
        if !now.is_dir && now.size != self.seen.size {
            event.mask |= bindings::KQ_FS_MODIFY;
        }
        if !now.is_dir && now.nlink != self.seen.nlink {
            event.mask |= bindings::KQ_FS_ATTRIB;
        }
        self.notes(&event, now)
    }

    /// What the event means for the inode at `object`, as `NOTE_*` of `EVFILT_VNODE`.
    fn notes(&mut self, event: &Event, now: InodeState) -> u32 {
        let has = |bits| event.mask & bits != 0;
        let of_directory = has(bindings::KQ_FS_ISDIR);
        let link_if = |linked| if linked { NOTE_LINK } else { 0 };

        match event.role {
            // Renamed in place of another one, there is one subdirectory less.
            bindings::KQ_FS_ROLE_OLD_DIR if event.same_dir => {
                return NOTE_WRITE | link_if(event.target_is_dir)
            }
            bindings::KQ_FS_ROLE_OLD_DIR => return NOTE_WRITE | link_if(of_directory),
            bindings::KQ_FS_ROLE_NEW_DIR => {
                return NOTE_WRITE | link_if(of_directory && !event.target_is_dir)
            }
            // Its attributes may have been changed since, and have told it.
            bindings::KQ_FS_ROLE_VICTIM => {
                return match mem::replace(&mut self.seen.is_dead, true) {
                    false => NOTE_DELETE,
                    true => 0,
                }
            }
            _ => {}
        }
        let mut notes = 0;
        if has(bindings::KQ_FS_CREATE | bindings::KQ_FS_DELETE) {
            notes |= NOTE_WRITE | link_if(of_directory);
        }
        if has(bindings::KQ_FS_MODIFY) {
            let was = mem::replace(&mut self.seen.size, now.size);
            notes |= match now.size {
                // Its entries change by other events: this is utimensat(2).
                _ if now.is_dir => NOTE_ATTRIB,
                size if size > was => NOTE_WRITE | NOTE_EXTEND,
                size if size < was => NOTE_WRITE | NOTE_TRUNCATE,
                _ => NOTE_WRITE,
            };
        }
        if has(bindings::KQ_FS_ATTRIB) {
            let was = mem::replace(&mut self.seen.nlink, now.nlink);
            let was_dead = mem::replace(&mut self.seen.is_dead, now.is_dead);
            notes |= match now.nlink {
                // Renamed over.
                _ if now.is_dir && now.is_dead && !was_dead => NOTE_DELETE,
                nlink if !now.is_dir && nlink < was => NOTE_DELETE | NOTE_LINK,
                nlink if !now.is_dir && nlink > was => NOTE_LINK,
                _ => NOTE_ATTRIB,
            };
        }
        for (bit, note) in [
            (bindings::KQ_FS_MOVE_SELF, NOTE_RENAME),
            (bindings::KQ_FS_ACCESS, NOTE_READ),
            (bindings::KQ_FS_OPEN, NOTE_OPEN),
            (bindings::KQ_FS_CLOSE_NOWRITE, NOTE_CLOSE),
            (bindings::KQ_FS_CLOSE_WRITE, NOTE_CLOSE_WRITE),
        ] {
            if has(bit) {
                notes |= note;
            }
        }
        notes
    }
}

/// A [`Watched`], and how it is found, that are made before [`MARKS`] is taken: a task that is short
/// of memory keeps nobody else waiting.
struct Spare {
    watched: Arc<Watched>,
    place: SparePlace,
}

enum SparePlace {
    Mark(NewMark),
    /// Of a mount: among its namespace's.
    Entry(RBTreeNodeReservation<u64, Arc<Watched>>),
}

impl Spare {
    /// `ENOMEM`. May sleep.
    ///
    /// # Safety
    ///
    /// The object is there.
    unsafe fn new(object: Object, mask: u32) -> Result<Self> {
        // SAFETY: By this function's requirements.
        let seen = unsafe { object.state() };
        let watched = Arc::pin_init(
            pin_init!(Watched {
                object,
                inner <- new_spinlock!(
                    Inner {
                        knotes: Knlist::new(),
                        users: RBTree::new(),
                        seen,
                        mounts: RBTree::new(),
                        gone: false,
                    },
                    "kqueue_watched"
                ),
                marked: GlobalLockedBy::new(Marked {
                    mask,
                    ..Marked::default()
                }),
                due: Atomic::new(0),
                links <- ListLinks::new(),
                tracker <- AtomicTracker::new(),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        let place = match object {
            Object::Mount(_) => SparePlace::Entry(RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?),
            _ => SparePlace::Mark(NewMark::new()?),
        };
        Ok(Self { watched, place })
    }

    /// Puts the mark on the object; a mount is entered with its base, which it has. `ENOMEM`. May sleep.
    ///
    /// # Safety
    ///
    /// The object is there.
    unsafe fn put(self, marks: &mut GlobalGuard<MARKS>) -> Result<Arc<Watched>> {
        let Self { watched, place } = self;
        let marked = watched.marked.as_mut(marks);
        match (place, watched.object) {
            (SparePlace::Mark(mark), object) => {
                // SAFETY: By this function's requirements.
                let mark = unsafe { mark.put_on(object, marked.mask, watched.clone()) }?;
                marked.mark = Some(mark);
            }
            (SparePlace::Entry(room), Object::Mount(id)) => {
                let base = marked.base.as_ref().ok_or(EINVAL)?;
                let node = room.into_node(id, watched.clone());
                // A statement of its own, so that what comes back, which is nothing, is dropped
                // after the lock.
                let _old = base.inner.lock().mounts.insert(node);
            }
            (SparePlace::Entry(_), _) => return Err(EINVAL),
        }
        Ok(watched)
    }
}

/// What a first knote on an object may need.
struct Spares {
    own: Spare,
    /// For its base, should that have no mark.
    base: Option<Spare>,
}

impl Spares {
    /// `ENOMEM`. May sleep.
    ///
    /// # Safety
    ///
    /// The object is there.
    unsafe fn new(object: Object, mask: u32) -> Result<Self> {
        // SAFETY: By this function's requirements.
        let base = match unsafe { object.base() } {
            // SAFETY: An inode is on its superblock; the current namespace is there.
            Some((base, mask)) => Some(unsafe { Spare::new(base, mask) }?),
            None => None,
        };
        Ok(Self {
            // SAFETY: As above.
            own: unsafe { Spare::new(object, mask) }?,
            base,
        })
    }
}

impl Watched {
    /// What has a mark on `object`, which tells the events in `mask` from now on; or what is entered
    /// for a mount in the current task's namespace.
    ///
    /// # Safety
    ///
    /// The object is there.
    unsafe fn find(object: Object, mask: u32, marks: &mut GlobalGuard<MARKS>) -> Option<Arc<Self>> {
        if let Object::Mount(id) = object {
            // SAFETY: The task is in it.
            let base = unsafe { Mark::find(Object::current_mounts()) }?.owner();
            let inner = base.inner.lock();
            return inner.mounts.get(&id).cloned();
        }
        // SAFETY: By this function's requirements.
        let watched = unsafe { Mark::find(object) }?.owner();
        watched.want(mask, marks);
        Some(watched)
    }

    /// What has the mark on `object`, which tells the events in `mask`. If there is none, it is made
    /// of the spares, and nothing is returned if there are none either. `ENOMEM`. May sleep.
    ///
    /// # Safety
    ///
    /// The object is there, and the spares are for it.
    unsafe fn get(
        object: Object,
        mask: u32,
        spares: &mut Option<Spares>,
        marks: &mut GlobalGuard<MARKS>,
    ) -> Result<Option<Arc<Self>>> {
        // SAFETY: By this function's requirements.
        if let Some(found) = unsafe { Self::find(object, mask, marks) } {
            return Ok(Some(found));
        }
        let Some(Spares { own, base }) = spares.take() else {
            return Ok(None);
        };
        let watched = own.watched.clone();
        if let Some(spare) = base {
            let object = spare.watched.object;
            let mask = spare.watched.marked.as_ref(marks).mask;
            // SAFETY: An inode is on its superblock; the current namespace is there.
            let found = unsafe { Self::find(object, mask, marks) };
            let base = match found {
                Some(found) => found,
                // SAFETY: As above.
                None => unsafe { spare.put(marks) }?,
            };
            base.marked.as_mut(marks).dependents += 1;
            watched.marked.as_mut(marks).base = Some(base);
        }
        // SAFETY: By this function's requirements.
        unsafe { own.put(marks) }
            .inspect_err(|_| watched.unmark(marks))
            .map(Some)
    }

    /// Has the mark tell the events in `mask`, too. It never tells less again while there are knotes:
    /// what nobody asks for any more is not worth a walk through all of them.
    fn want(&self, mask: u32, marks: &mut GlobalGuard<MARKS>) {
        let marked = self.marked.as_mut(marks);
        if mask & !marked.mask != 0 {
            marked.mask |= mask;
            if let Some(mark) = &marked.mark {
                mark.want(mask);
            }
        }
    }

    /// Takes the mark away, and lets go of what was needed for it. May sleep.
    fn unmark(&self, marks: &mut GlobalGuard<MARKS>) {
        let marked = self.marked.as_mut(marks);
        let base = marked.base.take();
        if let Some(mark) = marked.mark.take() {
            mark.destroy();
        }
        if let Some(base) = base {
            if let Object::Mount(id) = self.object {
                // A statement of its own, so that it is dropped after the lock.
                let _entry = base.inner.lock().mounts.remove_node(&id);
            }
            base.marked.as_mut(marks).dependents -= 1;
            if base.is_unused(marks) {
                base.unmark(marks);
            }
        }
    }

    /// Without knotes it is to have no mark, with some it is to have one. May sleep.
    fn tend(self: &Arc<Self>) {
        // Mostly none is needed.
        if self.tend_with(None) {
            match NewMark::new() {
                Ok(mark) => {
                    self.tend_with(Some(mark));
                }
                // Some other time.
                Err(_) => self.leave(LATER),
            }
        }
    }

    /// As [`Self::tend`]; if it is to have a mark, that is `new`. Whether that is what is missing.
    fn tend_with(self: &Arc<Self>, new: Option<NewMark>) -> bool {
        // Let go of after the lock: that may take as long as the removal of a file.
        let _held;
        let mut marks = MARKS.lock();
        let Object::Inode(inode) = self.object else {
            if self.is_unused(&mut marks) {
                self.unmark(&mut marks);
                return false;
            }
            drop(marks);
            let mut inner = self.inner.lock();
            if mem::take(&mut inner.gone) {
                self.tell(inner, hint::UNMOUNTED);
            }
            return false;
        };
        if self.inner.lock().knotes.is_empty() {
            self.unmark(&mut marks);
            return false;
        }
        if self.is_marked(&mut marks) {
            return false;
        }
        let Some(new) = new else {
            return true;
        };
        {
            let inner = self.inner.lock();
            if inner.knotes.is_empty() {
                // Who has taken off the last has left it to the worker.
                return false;
            }
            // SAFETY: The file of a knote that is on the list has it open, and the knote does not
            // let go of that without taking the lock.
            _held = unsafe { Inode::hold(inode) };
        }
        let marked = self.marked.as_mut(&mut marks);
        if let Some(mark) = marked.mark.take() {
            // It may have gone with its whole list, but not for itself.
            mark.destroy();
        }
        // SAFETY: The inode is held.
        match unsafe { new.put_on(self.object, marked.mask, self.clone()) } {
            Ok(mark) => marked.mark = Some(mark),
            Err(_) => {
                // No memory: some other time.
                self.leave(LATER);
                return false;
            }
        }
        drop(marks);
        let mut inner = self.inner.lock();
        // SAFETY: The inode is held.
        let now = unsafe { self.object.state() };
        if now.nlink == 0 {
            // The last entry that leads to it may be going at this moment, and take the new mark
            // with it, which is told to nobody.
            self.leave(LATER);
        }
        // What happened while there was no mark.
        let hint = inner.missed(now);
        self.tell(inner, hint.into());
        false
    }

    /// Whether it has a mark that tells. Then who takes the mark away sees the knotes that are there
    /// now.
    fn is_marked(&self, marks: &mut GlobalGuard<MARKS>) -> bool {
        let mark = &self.marked.as_mut(marks).mark;
        mark.as_ref().is_some_and(Mark::is_attached)
    }

    fn is_unused(&self, marks: &mut GlobalGuard<MARKS>) -> bool {
        self.marked.as_mut(marks).dependents == 0 && self.inner.lock().knotes.is_empty()
    }

    /// Leaves it to the worker to tend it: [`LATER`], and not before, or at any time from now on, in
    /// some [`LINGER`] milliseconds. Process context, also with preemption off.
    fn leave(self: &Arc<Self>, msecs: u32) {
        if msecs == LATER {
            let due = monotonic_ns() + i64::from(msecs) * NSEC_PER_MSEC;
            self.due.store(due, Relaxed);
        }
        self.leave_as_is(msecs);
    }

    fn leave_as_is(self: &Arc<Self>, msecs: u32) {
        // If it is there already, the worker has not looked at it yet.
        if let Ok(item) = ListArc::try_from_arc(self.clone()) {
            let mut unused = UNUSED.lock();
            unused.objects.push_back(item);
            unused.count += 1;
            drop(unused);
            if let Some(worker) = WORKER.get() {
                worker.call_once_in(msecs);
            }
        }
    }

    fn is_due(&self) -> bool {
        monotonic_ns() >= self.due.load(Relaxed)
    }

    /// Tends it, if it is time; else it is left to the worker again. May sleep.
    fn tend_if_due(self: &Arc<Self>) {
        if self.is_due() {
            self.tend();
        } else {
            self.leave_as_is(LINGER);
        }
    }

    fn leave_if_unused(self: &Arc<Self>) {
        // A statement of its own: the lock is not needed for what follows.
        let unused = self.inner.lock().knotes.is_empty();
        if unused {
            self.leave(LINGER);
        }
    }

    /// Tells the knotes. Process context, may sleep.
    pub(crate) fn event(&self, event: &Event) {
        if let Some(mount) = self.gone(event) {
            mount.tell_gone();
        }
        let mut inner = self.inner.lock();
        // Its inode, or namespace, is held by a knote that is there, and may be gone if none is.
        if inner.knotes.is_empty() {
            return;
        }
        let hint = match self.object {
            // SAFETY: As above.
            Object::Inode(_) => inner.notes(event, unsafe { self.object.state() }).into(),
            Object::Mounts(_) => mounts_hint(event),
            Object::Super(_) | Object::Mount(_) => return,
        };
        self.tell(inner, hint);
    }

    /// Of a namespace: the mount that the event says has gone from it, if that has knotes. One that is
    /// moved stays.
    fn gone(&self, event: &Event) -> Option<Arc<Self>> {
        if !matches!(self.object, Object::Mounts(_)) || mounts_hint(event) != hint::UNMOUNTED {
            return None;
        }
        let inner = self.inner.lock();
        inner.mounts.get(&event.mount).cloned()
    }

    /// Has the knotes on a mount told that it has gone, before the call returns that it went by. Not
    /// now: nobody can mount or unmount anything anywhere meanwhile. Process context.
    fn tell_gone(self: Arc<Self>) {
        let gone = Gone(self.clone());
        // SAFETY: The current task.
        let soon = unsafe { task_work::add(Task::current_raw(), gone) }.is_ok();
        if !soon {
            self.inner.lock().gone = true;
            self.leave(LINGER);
        }
    }

    /// Tells the knotes, in turns: there may be many. May sleep.
    fn tell<'a>(&'a self, mut inner: Guard<'a, Inner, SpinLockBackend>, hint: u64) {
        let place = Place::default();
        // SAFETY: The place is used here only, and stays where it is until there are no more.
        while unsafe { inner.knotes.note_turn(&place, hint, TURN) } {
            drop(inner);
            relax();
            inner = self.inner.lock();
        }
    }

    /// The offset of `file` has been set: tells the knotes on its inode. Process context, may
    /// sleep.
    pub(crate) fn sought(file: &File) {
        // SAFETY: The file holds its inode.
        if let Some(mark) = unsafe { Mark::find(Object::of_file(file)) } {
            let watched = mark.owner();
            watched.tell(watched.inner.lock(), hint::SEEK);
        }
    }

    /// The mark is being taken away. Process context.
    pub(crate) fn unmarked(this: ArcBorrow<'_, Self>) {
        // A namespace or a superblock goes with its marks. An inode may be open still.
        if !matches!(this.object, Object::Inode(_)) || this.inner.lock().knotes.is_empty() {
            return;
        }
        let this: Arc<Self> = this.into();
        // A new mark now would be taken away with the others that are on the inode.
        let anew = MarkAnew(this.clone());
        // SAFETY: The current task.
        let soon = unsafe { task_work::add(Task::current_raw(), anew) }.is_ok();
        if !soon {
            this.leave(LATER);
        }
    }
}

/// Who has removed the last name of an inode that is open gives it a mark again.
struct MarkAnew(Arc<Watched>);

impl TaskWork for MarkAnew {
    fn run(self) {
        self.0.tend();
    }
}

/// Who has unmounted a mount tells its knotes.
struct Gone(Arc<Watched>);

impl TaskWork for Gone {
    fn run(self) {
        self.0.tell(self.0.inner.lock(), hint::UNMOUNTED);
    }
}

/// Tends what is in [`UNUSED`].
struct Worker;

impl Call for Worker {
    fn call() {
        Self::clear();
    }
}

impl Worker {
    /// Tends what is there now: what is put back meanwhile has to wait for the next call. May sleep.
    fn clear() {
        let count = UNUSED.lock().count;
        for _ in 0..count {
            let Some(watched) = Self::next() else {
                return;
            };
            watched.tend_if_due();
            // It may be as many as a process could have open.
            relax_in_worker();
        }
    }

    /// Tends [`SOME`], for who has come to have a mark of its own. What wants a mark anew is left to the
    /// worker: that holds the inode meanwhile, and then it, and its file system, may go here, which
    /// are another's. May sleep.
    fn clear_some() {
        for _ in 0..SOME {
            let Some(watched) = Self::next() else {
                return;
            };
            if !watched.is_due() || watched.tend_with(None) {
                watched.leave_as_is(LINGER);
            }
        }
    }

    /// Takes one off the list: from now on it can be put there again.
    fn next() -> Option<Arc<Watched>> {
        let mut unused = UNUSED.lock();
        let item = unused.objects.pop_front()?;
        unused.count -= 1;
        Some(item.into_arc())
    }
}

/// Makes marks usable. `ENOMEM`. May sleep.
///
/// # Safety
///
/// To be called once, before anything else of this file.
pub(crate) unsafe fn init() -> Result {
    // SAFETY: By this function's requirements.
    unsafe {
        MARKS.init();
        UNUSED.init();
    }
    let worker = KBox::pin_init(DelayedCall::new::<Worker>(), GFP_KERNEL)?;
    // SAFETY: By this function's requirements.
    unsafe { fsnotify::init() }?;
    WORKER.set(worker);
    Ok(())
}

/// Takes away what marks are left, when there are no knotes any more, and waits until they are gone.
/// May sleep.
///
/// # Safety
///
/// To be called once, after [`init`], and last.
pub(crate) unsafe fn exit() {
    // SAFETY: Who leaves something to the worker has had a knote.
    let worker = unsafe { WORKER.take() };
    // Waits for a call that is under way.
    drop(worker);
    // Whenever they are due: without knotes, none is put back.
    while let Some(watched) = Worker::next() {
        watched.tend();
        relax_in_worker();
    }
    // SAFETY: By this function's requirements.
    unsafe { fsnotify::exit() };
}
