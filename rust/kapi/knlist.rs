// SPDX-License-Identifier: GPL-2.0

//! knlist of C: a list of knotes with a lock of the module's choosing.
//!
//! The lock is taken by who publishes, and by the operators of the knotes on the list. An operator
//! finds the list by its knote, which another CPU may take off the list meanwhile, to destroy that
//! next. So before it waits for the lock it counts itself as a user of the list, while that is still
//! the knote's, and who destroys the list waits for its users.

use super::{
    knote::{CKnote, Phase},
    misuse,
};
use crate::{
    bindings,
    knlist::Knlist,
    knote::Knote,
    queue::Context,
    wrap::{
        delayed_work::{Call, DelayedCall},
        global::Global,
        lock::{new_irq_spinlock, IrqSpinLock},
    },
};
use core::{cell::UnsafeCell, mem::offset_of, ptr};
use kernel::{
    alloc::{flags::GFP_KERNEL, KBox},
    ffi::{c_int, c_long, c_void},
    prelude::*,
    sync::{Arc, ArcBorrow},
    task::Task,
};

/// Knotes that may be on one list: all of them are told under its lock, with interrupts off perhaps.
pub(super) const MOST: usize = 1024;

/// `struct knlist`.
///
/// # Invariants
///
/// Where its state is `KQ_KNLIST_LIVE` it was initialised. Its first fields are a [`Knlist`], which is
/// used under the list's lock, and whose entries are those of [`CKnote`]s that have this as their list.
#[repr(transparent)]
pub(super) struct List(UnsafeCell<bindings::knlist>);

const _: () = {
    assert!(offset_of!(bindings::knlist, kl_first) == 0);
    assert!(offset_of!(bindings::knlist, kl_state) == size_of::<Knlist>());
};

impl List {
    /// # Safety
    ///
    /// `knl` points to a `struct knlist`, for as long as `'a`.
    unsafe fn of<'a>(knl: *mut bindings::knlist) -> &'a Self {
        // SAFETY: By this function's requirements, and as it is transparent.
        unsafe { &*knl.cast() }
    }

    fn state(&self) -> u32 {
        // SAFETY: The field is there; it may change at the same time only where it is misused.
        unsafe { (&raw const (*self.0.get()).kl_state).read_volatile() }
    }

    /// Whether it may be used; says so if not.
    fn is_live(&self) -> bool {
        match self.state() {
            bindings::KQ_KNLIST_LIVE => return true,
            bindings::KQ_KNLIST_DESTROYED => misuse(c"a knlist is used that was destroyed"),
            _ => misuse(c"a knlist is used that was not initialised"),
        }
        false
    }

    /// Takes the lock, unless the caller has it.
    fn lock(&self, is_locked: bool) -> Locked<'_> {
        if is_locked {
            // SAFETY: The list is live.
            unsafe { bindings::kq_knlist_assert_locked(self.0.get()) };
        } else {
            // SAFETY: As above.
            unsafe { bindings::kq_knlist_lock(self.0.get()) };
        }
        Locked {
            list: self,
            is_ours: !is_locked,
        }
    }

    /// How many are about to take the lock.
    fn users(&self) -> *mut bindings::atomic_t {
        // SAFETY: The field is there.
        unsafe { &raw mut (*self.0.get()).kl_users }
    }

    /// Counts who is about to take the lock.
    fn get(&self) {
        // SAFETY: The list is live.
        unsafe { bindings::kq_count_in(self.users()) };
    }

    /// Counts one less; the list may be gone after.
    fn put(&self) {
        // SAFETY: The list is live until this is done.
        unsafe { bindings::kq_count_out(self.users()) };
    }

    /// Waits until nobody is about to take the lock. May sleep.
    fn wait(&self) {
        // SAFETY: The list is live.
        unsafe { bindings::kq_count_wait(self.users()) };
    }
}

/// The lock of a list is held.
struct Locked<'a> {
    list: &'a List,
    /// To be given up with this.
    is_ours: bool,
}

impl Locked<'_> {
    /// The first knote on the list.
    fn first(&mut self) -> Option<Arc<Knote>> {
        let knotes = self.knotes();
        // SAFETY: An entry of the list.
        let (kn, _) = unsafe { knotes.at(knotes.first()) }?;
        // SAFETY: What is on a list has a reference; knotes are all in an `Arc`.
        Some(unsafe { ArcBorrow::from_raw(kn) }.into())
    }

    fn knotes(&mut self) -> &mut Knlist {
        // SAFETY: By the invariants of `List`: its lock is held. An operator that is called under it
        // and calls back does so while nothing that this returned is used.
        unsafe { &mut *self.list.0.get().cast::<Knlist>() }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if self.is_ours {
            // SAFETY: It was taken by `List::lock`.
            unsafe { bindings::kq_knlist_unlock(self.list.0.get()) };
        }
    }
}

/// The lock of the list that a knote is on, if it is on one, and for as long as this is there.
pub(super) struct OnList<'a>(Option<(&'a List, Option<Locked<'a>>)>);

impl<'a> OnList<'a> {
    fn locked(&mut self) -> Option<&mut Locked<'a>> {
        self.0.as_mut()?.1.as_mut()
    }

    /// How many knotes are on the list.
    pub(super) fn len(&mut self) -> usize {
        self.locked().map_or(0, |locked| locked.knotes().len())
    }
}

impl Drop for OnList<'_> {
    fn drop(&mut self) {
        if let Some((list, locked)) = self.0.take() {
            drop(locked);
            list.put();
        }
    }
}

impl CKnote {
    /// Takes the lock of the list that the knote is on. Context as the lock's.
    pub(super) fn lock_list(&self) -> OnList<'_> {
        loop {
            let found = {
                let place = self.place();
                // SAFETY: A list that is a knote's is live.
                unsafe { place.list.as_ref() }.inspect(|list| list.get())
            };
            let Some(list) = found else {
                return OnList(None);
            };
            let locked = OnList(Some((list, Some(list.lock(false)))));
            if ptr::eq(self.place().list, list) {
                return locked;
            }
        }
    }

    /// Counts the caller, who is to call f_detach, as a user of the list that the knote is on, until
    /// that has taken it off or [`Self::end_detach`]. Whether f_detach is to be called.
    pub(super) fn begin_detach(&self) -> bool {
        let mut place = self.place();
        if place.detached {
            return false;
        }
        // SAFETY: A list that is a knote's is live.
        if let Some(list) = unsafe { place.list.as_ref() } {
            list.get();
            place.detaching = Some((list, Task::current_raw()));
        }
        true
    }

    /// Whether the current task is in f_detach of this knote, and counted as a user of its list.
    fn is_detaching(&self) -> bool {
        // SAFETY: No requirement.
        let in_task = unsafe { bindings::kq_in_task() };
        let place = self.place();
        let ours = |(_, task): &(_, _)| ptr::eq(*task, Task::current_raw());
        in_task && place.detaching.as_ref().is_some_and(ours)
    }

    /// The caller, who is in f_detach or has been, is done with the list, if it was counted for that.
    pub(super) fn end_detach(&self) {
        // A statement of its own: the lock is not held for what follows.
        let list = self.place().detaching.take();
        if let Some((list, _)) = list {
            // SAFETY: The list stays until this is done.
            unsafe { (*list).put() };
        }
    }

    /// Takes the knote off the list, if it is on one, and says that it should not be.
    pub(super) fn leave_list(&self, what: &CStr) {
        let mut on_list = self.lock_list();
        if let Some(locked) = on_list.locked() {
            // SAFETY: It is on this list, whose lock is held.
            unsafe { locked.knotes().remove(self.entry()) };
            self.left(Phase::Gone, true);
            misuse(what);
        }
    }

    /// knlist_remove: takes the knote off, if it is on this list, whose lock is held if `is_locked`
    /// says so.
    ///
    /// # Safety
    ///
    /// If it is on the list, that stays until it is not, and so does the knote.
    unsafe fn remove_from(&self, list: *const List, is_locked: bool) {
        // What f_detach does after it has taken its knote off is not about the list: with the last
        // knote on an object that may go. But not if it has the lock, which it has to give up. Seen to
        // now, as somebody else's knote may be gone when it is off.
        let is_detaching = !is_locked && self.is_detaching();
        if ptr::eq(self.place().list, list) {
            // SAFETY: By this function's requirements, and as it is a knote's.
            let list = unsafe { &*list };
            let mut locked = list.lock(is_locked);
            if ptr::eq(self.place().list, list) {
                // SAFETY: It is on this list, whose lock is held, and so stays.
                unsafe { locked.knotes().remove(self.entry()) };
                self.left(Phase::Gone, true);
            }
        }
        if is_detaching {
            self.end_detach();
        }
    }
}

/// Knotes that were taken off a list, each with a reference that is to be dropped.
struct Taken(Knlist);

impl Taken {
    /// Takes all knotes off a list. No operator is called for them any more.
    fn all_of(mut locked: Locked<'_>) -> Self {
        let mut taken = Self(Knlist::new());
        while let Some(kn) = locked.first() {
            // SAFETY: It is on this list, and so of a filter in C.
            let ck = unsafe { CKnote::of(&kn) };
            // SAFETY: It is on this list.
            unsafe { locked.knotes().remove(ck.entry()) };
            ck.left(Phase::Gone, true);
            taken.push(kn);
        }
        taken
    }

    /// Puts a knote on the list, which is of a filter in C and on no list.
    fn push(&mut self, kn: Arc<Knote>) {
        // SAFETY: The reference is given up here, and taken by `pop`.
        let kn = unsafe { &*Arc::into_raw(kn) };
        // SAFETY: The caller says that it is of a filter in C, and that its entry is on no list. It is
        // taken off by who takes the reference.
        unsafe { self.0.add(CKnote::of(kn).entry(), kn) };
    }

    fn pop(&mut self) -> Option<Arc<Knote>> {
        // SAFETY: An entry of the list.
        let (kn, _) = unsafe { self.0.at(self.0.first()) }?;
        // SAFETY: It is of a filter in C, and on the list.
        unsafe { self.0.remove(CKnote::of(kn).entry()) };
        // SAFETY: `all_of` has given up the reference.
        Some(unsafe { Arc::from_raw(kn) })
    }

    /// Ends them. May sleep.
    fn end(mut self) {
        while let Some(kn) = self.pop() {
            kn.kqueue().end(&kn, Context::MaySleep);
        }
    }
}

/// Knotes that were taken off a list whose lock its module holds, and who ends them.
#[pin_data]
struct Ending {
    #[pin]
    taken: IrqSpinLock<Taken>,
    #[pin]
    worker: DelayedCall,
}

static ENDING: Global<Ending> = Global::new();

/// Makes lists usable. `ENOMEM`. At load, before any other module can come.
pub(crate) fn init() -> Result {
    ENDING.set(KBox::pin_init(
        pin_init!(Ending {
            taken <- new_irq_spinlock!(Taken(Knlist::new()), "kqueue_ending"),
            worker <- DelayedCall::new::<Ending>(),
        }),
        GFP_KERNEL,
    )?);
    Ok(())
}

/// # Safety
///
/// No other module uses this one any more.
pub(crate) unsafe fn exit() {
    if let Some(ending) = ENDING.get() {
        ending.worker.cancel();
    }
    Ending::call();
    // SAFETY: By this function's requirements.
    drop(unsafe { ENDING.take() });
}

impl Ending {
    /// Any context that may wake a worker.
    fn add(mut taken: Taken) {
        let Some(ending) = ENDING.get() else { return };
        while let Some(kn) = taken.pop() {
            ending.taken.lock().push(kn);
        }
        ending.worker.call_once_in(0);
    }
}

impl Call for Ending {
    fn call() {
        let Some(ending) = ENDING.get() else { return };
        loop {
            // A statement of its own: the lock is not held for what follows.
            let next = ending.taken.lock().pop();
            let Some(kn) = next else { return };
            kn.kqueue().end(&kn, Context::MaySleep);
        }
    }
}

/// # Safety
///
/// `knl` may be written to, and is no list that is in use.
unsafe fn init_list(
    knl: *mut bindings::knlist,
    kind: u32,
    lock: *mut c_void,
    functions: Functions,
) {
    let (kl_lock, kl_unlock, kl_locked) = functions;
    // SAFETY: By this function's requirements.
    unsafe {
        knl.write(bindings::knlist {
            kl_state: bindings::KQ_KNLIST_LIVE,
            kl_kind: kind,
            kl_lockarg: lock,
            kl_lock,
            kl_unlock,
            kl_locked,
            ..Default::default()
        })
    };
}

/// kl_lock, kl_unlock, kl_locked.
type Functions = (
    Option<unsafe extern "C" fn(*mut c_void)>,
    Option<unsafe extern "C" fn(*mut c_void)>,
    Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
);

/// # Safety
///
/// As kqueue(9) says; so for all that follow.
#[no_mangle]
unsafe extern "C" fn knlist_init(
    knl: *mut bindings::knlist,
    lock: *mut c_void,
    kl_lock: Option<unsafe extern "C" fn(*mut c_void)>,
    kl_unlock: Option<unsafe extern "C" fn(*mut c_void)>,
    kl_locked: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
) {
    let functions = (kl_lock, kl_unlock, kl_locked);
    let (kind, lock) = match functions {
        (Some(_), Some(_), Some(_)) => (bindings::KQ_KNLIST_FUNCTIONS, lock),
        (None, None, None) if lock.is_null() => {
            // SAFETY: No requirement.
            let shared = unsafe { bindings::kq_knlist_shared_lock() };
            (bindings::KQ_KNLIST_SPIN, shared.cast())
        }
        (None, None, None) => (bindings::KQ_KNLIST_MUTEX, lock),
        _ => return misuse(c"knlist_init: of the functions of a lock there are all or none"),
    };
    // SAFETY: By this function's requirements.
    unsafe { init_list(knl, kind, lock, functions) };
}

/// # Safety
///
/// See [`knlist_init`].
#[no_mangle]
unsafe extern "C" fn knlist_init_mutex(knl: *mut bindings::knlist, lock: *mut bindings::mutex) {
    // SAFETY: By this function's requirements.
    unsafe {
        init_list(
            knl,
            bindings::KQ_KNLIST_MUTEX,
            lock.cast(),
            (None, None, None),
        )
    };
}

/// # Safety
///
/// See [`knlist_init`].
#[no_mangle]
unsafe extern "C" fn knlist_init_spin(knl: *mut bindings::knlist, lock: *mut bindings::spinlock_t) {
    // SAFETY: By this function's requirements.
    unsafe {
        init_list(
            knl,
            bindings::KQ_KNLIST_SPIN,
            lock.cast(),
            (None, None, None),
        )
    };
}

/// # Safety
///
/// See [`knlist_init`].
#[no_mangle]
unsafe extern "C" fn knlist_add(
    knl: *mut bindings::knlist,
    kn: *mut bindings::knote,
    islocked: c_int,
) {
    // SAFETY: By this function's requirements.
    let (list, ck) = unsafe { (List::of(knl), CKnote::of_c(kn)) };
    if !list.is_live() {
        return;
    }
    let mut locked = list.lock(islocked != 0);
    if !ck.joined(list) {
        drop(locked);
        return misuse(c"knlist_add: the knote is or was on a list, or its kn_fop is bad");
    }
    // SAFETY: The entry is the knote's, which a filter in C has, and on no list; f_detach is called
    // before the knote goes, and what is on a list after that is taken off.
    unsafe { locked.knotes().add(ck.entry(), ck.core()) };
}

/// # Safety
///
/// See [`knlist_init`]. If the knote is not on the list, that may be gone.
#[no_mangle]
unsafe extern "C" fn knlist_remove(
    knl: *mut bindings::knlist,
    kn: *mut bindings::knote,
    islocked: c_int,
) {
    // SAFETY: By this function's requirements; the list is not looked at if the knote is not on it.
    unsafe { CKnote::of_c(kn).remove_from(knl.cast(), islocked != 0) };
}

/// # Safety
///
/// See [`knlist_init`].
#[no_mangle]
unsafe extern "C" fn knlist_remove_inevent(knl: *mut bindings::knlist, kn: *mut bindings::knote) {
    // SAFETY: By this function's requirements, in f_event, with the lock held.
    unsafe { CKnote::of_c(kn).remove_from(knl.cast(), true) };
}

/// # Safety
///
/// See [`knlist_init`].
#[no_mangle]
unsafe extern "C" fn knlist_empty(knl: *mut bindings::knlist) -> c_int {
    // SAFETY: By this function's requirements. A word, as it is at some moment.
    (unsafe { (&raw const (*knl).kl_len).read_volatile() } == 0).into()
}

/// # Safety
///
/// See [`knlist_init`].
#[no_mangle]
unsafe extern "C" fn knlist_clear(knl: *mut bindings::knlist, islocked: c_int) {
    // SAFETY: By this function's requirements.
    let list = unsafe { List::of(knl) };
    if !list.is_live() {
        return;
    }
    let mut locked = list.lock(islocked != 0);
    while let Some(kn) = locked.first() {
        // SAFETY: It is on this list, and so of a filter in C.
        let ck = unsafe { CKnote::of(&kn) };
        // SAFETY: It is on this list.
        unsafe { locked.knotes().remove(ck.entry()) };
        ck.cleared();
        kn.activate();
    }
    drop(locked);
    if islocked == 0 {
        list.wait();
    }
}

/// # Safety
///
/// See [`knlist_init`].
#[no_mangle]
unsafe extern "C" fn knlist_delete(
    knl: *mut bindings::knlist,
    _td: *mut bindings::task_struct,
    islocked: c_int,
) {
    // SAFETY: By this function's requirements.
    let list = unsafe { List::of(knl) };
    if !list.is_live() {
        return;
    }
    let taken = Taken::all_of(list.lock(islocked != 0));
    if islocked != 0 {
        return Ending::add(taken);
    }
    taken.end();
    list.wait();
}

/// # Safety
///
/// See [`knlist_init`].
#[no_mangle]
unsafe extern "C" fn knlist_destroy(knl: *mut bindings::knlist) {
    // SAFETY: By this function's requirements.
    let list = unsafe { List::of(knl) };
    if !list.is_live() {
        return;
    }
    // SAFETY: By this function's requirements.
    if unsafe { knlist_empty(knl) } == 0 {
        misuse(c"knlist_destroy: there are knotes on the list");
        Taken::all_of(list.lock(false)).end();
    }
    list.wait();
    // SAFETY: By this function's requirements nobody else uses it any more.
    unsafe { (*knl).kl_state = bindings::KQ_KNLIST_DESTROYED };
}

/// # Safety
///
/// See [`knlist_init`].
#[no_mangle]
unsafe extern "C" fn knote(knl: *mut bindings::knlist, hint: c_long) {
    // SAFETY: By this function's requirements.
    unsafe { publish(knl, hint, true) };
}

/// # Safety
///
/// See [`knlist_init`].
#[no_mangle]
unsafe extern "C" fn knote_unlocked(knl: *mut bindings::knlist, hint: c_long) {
    // SAFETY: By this function's requirements.
    unsafe { publish(knl, hint, false) };
}

/// # Safety
///
/// As [`knote`], or [`knote_unlocked`].
unsafe fn publish(knl: *mut bindings::knlist, hint: c_long, is_locked: bool) {
    // SAFETY: By this function's requirements.
    let list = unsafe { List::of(knl) };
    if !list.is_live() {
        return;
    }
    let mut locked = list.lock(is_locked);
    let mut at = locked.knotes().first();
    // SAFETY: The lock is held: what was the next entry before an operator was called is still there,
    // as that may take off its own knote only.
    while let Some((kn, next)) = unsafe { locked.knotes().at(at) } {
        // SAFETY: It is on this list, and so of a filter in C.
        unsafe { CKnote::of(kn) }.told(hint);
        at = next;
    }
}
