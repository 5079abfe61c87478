// SPDX-License-Identifier: GPL-2.0

//! Filters in C: [`Filter`] with the operators of a `struct filterops`.
//!
//! The lock that these are called under is the object's, which is taken before the kqueue's in the
//! wake-up path. So nothing of C is called under the kqueue's: a filter in C is one that is
//! evaluated, and what it has to say of an event it says while the knote is in hand.

use super::knlist::{List, OnList, MOST};
use crate::{
    bindings,
    filter::{Filter, Found, Request, Scratch},
    knlist::KnlistEntry,
    knote::{status, Knote, KnoteState},
    uapi::*,
    wrap::lock::{new_irq_spinlock, IrqSpinGuard, IrqSpinLock},
};
use core::{cell::UnsafeCell, ptr};
use kernel::{
    alloc::{flags::GFP_KERNEL_ACCOUNT, KBox},
    ffi::{c_long, c_ulong},
    new_mutex,
    prelude::*,
    sync::{lock::mutex::MutexBackend, lock::Guard, Mutex, SetOnce},
    types::Opaque,
};

/// `KN_DETACHED`, as `kn_status` has it.
const DETACHED: u32 = bindings::KN_DETACHED as u32;

/// The filter.
pub(super) struct InC;

/// kn_hook: made by `attach`.
#[derive(Default)]
pub(super) struct Hook(SetOnce<Pin<KBox<CKnote>>>);

/// Flags of an event that a filter in C may add.
const ADDED_FLAGS: u16 = EV_CLEAR | EV_ONESHOT | EV_EOF | EV_FLAG1;

/// How far a knote has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its operators are called.
    Live,
    /// Its list was cleared: it has one event to deliver, and of its operators f_detach alone is called.
    Cleared,
    /// No operator is called, and nothing is delivered.
    Gone,
}

/// Where a knote is.
pub(super) struct Place {
    /// The list that it is on. Changed under that list's lock, too.
    pub(super) list: *const List,
    phase: Phase,
    /// f_detach is not to be called.
    pub(super) detached: bool,
    /// The list that who calls f_detach is counted as a user of, and the task that is.
    pub(super) detaching: Option<(*const List, *const bindings::task_struct)>,
    /// An event that the filter has given up, and that could not be delivered.
    kept: Option<Kevent>,
}

// SAFETY: A list may be used from any thread.
unsafe impl Send for Place {}

/// What C sees of a knote, and what it does not.
///
/// # Invariants
///
/// - It is the hook of `kn`, which is of the filter [`InC`]; `ops` are part of what `kn` keeps registered.
/// - The operators that have to be there are, of `ops` and of `changed_ops`.
/// - If `place.list` is not null it is a live list, and the entry is on it. Who destroys a list takes all
///   knotes off before, and waits for its users.
#[pin_data]
#[repr(C)]
pub(super) struct CKnote {
    /// `struct knote`: the first field.
    c: UnsafeCell<bindings::knote>,
    /// The operators that are registered.
    ops: *const bindings::filterops,
    /// What f_attach has put in their place.
    changed_ops: SetOnce<bindings::filterops>,
    kn: *const Knote,
    entry: KnlistEntry,
    /// Held while an operator is called, but for f_event with a hint. Before the list's lock.
    #[pin]
    calls: Mutex<()>,
    /// Who is telling it something, on another CPU.
    telling: Opaque<bindings::atomic_t>,
    /// The innermost of all locks: taken under the list's and under the kqueue's.
    #[pin]
    place: IrqSpinLock<Place>,
}

// SAFETY: The knote may be used from any thread. `c` is C's, by its own rules.
unsafe impl Send for CKnote {}
// SAFETY: As above.
unsafe impl Sync for CKnote {}

impl CKnote {
    fn new(kn: &Knote, ops: *const bindings::filterops) -> Result<Pin<KBox<Self>>> {
        let request = kn.request();
        let c = bindings::knote {
            kn_id: kn.ident(),
            kn_fp: kn.file().map_or(ptr::null_mut(), |file| file.as_ptr()),
            kn_fop: ops,
            kn_filter: kn.filter(),
            kn_status: DETACHED,
            kn_sfflags: request.sfflags,
            kn_sdata: request.sdata,
            ..Default::default()
        };
        let kn = ptr::from_ref(kn);
        // INVARIANT: The caller makes it the hook of `kn`; it is on no list.
        KBox::pin_init(
            pin_init!(Self {
                c: UnsafeCell::new(c),
                ops,
                changed_ops: SetOnce::new(),
                kn,
                entry: KnlistEntry::default(),
                calls <- new_mutex!((), "kqueue_calls"),
                telling: Opaque::new(bindings::atomic_t { counter: 0 }),
                place <- new_irq_spinlock!(
                    Place {
                        list: ptr::null(),
                        phase: Phase::Live,
                        detached: false,
                        detaching: None,
                        kept: None,
                    },
                    "kqueue_place"
                ),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// # Safety
    ///
    /// `kn` is what an operator of C was given, and is still there.
    pub(super) unsafe fn of_c<'a>(kn: *mut bindings::knote) -> &'a Self {
        // SAFETY: By this function's requirements: it is the first field.
        unsafe { &*kn.cast() }
    }

    /// # Safety
    ///
    /// `kn` is of the filter [`InC`], and attached or being attached.
    pub(super) unsafe fn of(kn: &Knote) -> &Self {
        // SAFETY: By this function's requirements.
        let hook = unsafe { kn.hook_of::<InC>() };
        match hook.0.as_ref() {
            Some(ck) => ck,
            // SAFETY: By this function's requirements it was made.
            None => unsafe { core::hint::unreachable_unchecked() },
        }
    }

    pub(super) fn core(&self) -> &Knote {
        // SAFETY: By the type invariants this is part of it.
        unsafe { &*self.kn }
    }

    pub(super) fn entry(&self) -> &KnlistEntry {
        &self.entry
    }

    pub(super) fn place(&self) -> IrqSpinGuard<'_, Place> {
        self.place.lock()
    }

    /// The operators.
    fn ops(&self) -> &bindings::filterops {
        match self.changed_ops.as_ref() {
            Some(changed) => changed,
            // SAFETY: By the type invariants.
            None => unsafe { &*self.ops },
        }
    }

    /// Calls `f` on what C sees.
    fn with_c<R>(&self, f: impl FnOnce(&mut bindings::knote) -> R) -> R {
        // SAFETY: The caller holds the lock of the list that the knote is on; if it is on none, the
        // filter is not called meanwhile.
        f(unsafe { &mut *self.c.get() })
    }

    /// The knote is on `list` now, whose lock is held; unless it is or was on one already.
    pub(super) fn joined(&self, list: *const List) -> bool {
        // What tells the knote from now on calls these.
        if self.take_ops().is_err() {
            return false;
        }
        let mut place = self.place();
        if !place.list.is_null() || place.phase != Phase::Live {
            return false;
        }
        // INVARIANT: The caller puts the entry there.
        place.list = list;
        place.detached = false;
        drop(place);
        self.with_c(|c| c.kn_status &= !DETACHED);
        true
    }

    /// The knote is on no list any more; the lock of that is held. Unless the caller has it otherwise the
    /// knote may be gone when this returns.
    pub(super) fn left(&self, phase: Phase, detached: bool) {
        if detached {
            self.with_c(|c| c.kn_status |= DETACHED);
        }
        let mut place = self.place();
        place.list = ptr::null();
        place.detached |= detached;
        if place.phase == Phase::Live {
            place.phase = phase;
        }
    }

    /// The list was cleared, whose lock is held: one more event is to be delivered.
    pub(super) fn cleared(&self) {
        self.with_c(|c| c.kn_flags |= EV_ONESHOT | EV_EOF);
        self.left(Phase::Cleared, false);
    }

    /// f_event with a hint. Under the lock of the list that the knote is on; any context in which that
    /// is taken. The operator may take the knote off the list, and then `detach` has that lock to wait for
    /// no more: so it waits for this.
    pub(super) fn told(&self, hint: c_long) {
        // SAFETY: It is a plain counter.
        unsafe { bindings::kq_count_in(self.telling.get()) };
        if self.f_event(hint) && self.place().phase == Phase::Live {
            self.core().activate();
        }
        // SAFETY: As above. The knote may be gone when this returns.
        unsafe { bindings::kq_count_out(self.telling.get()) };
    }

    fn f_event(&self, hint: c_long) -> bool {
        let Some(f_event) = self.ops().f_event else {
            return false;
        };
        // SAFETY: By the type invariants it is there, and its module, as the knote keeps that; C's rules
        // are kept by the caller.
        unsafe { f_event(self.c.get(), hint) != 0 }
    }

    /// Whether the condition holds, as far as is known without delivering anything.
    fn f_peek(&self) -> bool {
        match self.ops().f_peek {
            // SAFETY: As in `f_event`.
            Some(f_peek) => unsafe { f_peek(self.c.get()) != 0 },
            None => self.f_event(0),
        }
    }

    /// Fills an event. False if there is none.
    fn f_process(&self, kev: &mut Kevent) -> bool {
        let ops = self.ops();
        // What identifies the knote is not the filter's to change.
        let mut event = *kev;
        let to_c = ptr::from_mut(&mut event).cast::<bindings::kevent>();
        let found = if let Some(f_process) = ops.f_process {
            // SAFETY: As in `f_event`; the event is laid out as C has it.
            unsafe { f_process(self.c.get(), to_c) != 0 }
        } else if !self.f_event(0) {
            false
        } else if let Some(f_touch) = ops.f_touch {
            // SAFETY: As above.
            unsafe { f_touch(self.c.get(), to_c, bindings::EVENT_PROCESS as c_ulong) };
            true
        } else {
            self.with_c(|c| {
                event.fflags = c.kn_fflags;
                event.data = c.kn_data;
                if (event.flags | c.kn_flags) & EV_CLEAR != 0 {
                    c.kn_fflags = 0;
                    c.kn_data = 0;
                }
            });
            true
        };
        kev.flags |= (event.flags | self.with_c(|c| c.kn_flags)) & ADDED_FLAGS;
        kev.fflags = event.fflags;
        kev.data = event.data;
        found
    }

    /// Takes the operators that f_attach has put in the place of those that are registered. `EINVAL`.
    fn take_ops(&self) -> Result {
        // SAFETY: The field is f_attach's, which calls this or has returned.
        let ops = unsafe { (*self.c.get()).kn_fop };
        if !ptr::eq(ops, self.ops) && self.changed_ops.as_ref().is_none() {
            // SAFETY: f_attach has put a table of operators there.
            let ops = unsafe { super::full_ops(ops, false) }?;
            self.changed_ops.populate(ops);
        }
        Ok(())
    }

    /// Has operators called: one caller at a time, under the lock of the list that the knote is on. May
    /// sleep.
    fn calling(&self) -> Calling<'_> {
        let calls = self.calls.lock();
        let list = self.lock_list();
        Calling {
            ck: self,
            phase: self.place().phase,
            list,
            _calls: calls,
        }
    }
}

/// Operators of a knote may be called, if `phase` says so. The lock of the list goes before the other.
struct Calling<'a> {
    ck: &'a CKnote,
    phase: Phase,
    list: OnList<'a>,
    _calls: Guard<'a, (), MutexBackend>,
}

impl Calling<'_> {
    /// Whether the condition holds, as far as is known without delivering anything.
    fn holds(&self) -> bool {
        match self.phase {
            Phase::Live => {
                let is_kept = self.ck.place().kept.is_some();
                is_kept || self.ck.f_peek()
            }
            Phase::Cleared => true,
            Phase::Gone => false,
        }
    }
}

impl Filter for InC {
    type Hook = Hook;

    const EVALUATED: bool = true;
    const DETACH_SLEEPS: bool = true;

    fn attach(kn: &Knote, hook: &Hook) -> Result<bool> {
        let registered = kn.ops_ref().registered().ok_or(EINVAL)?;
        hook.0.populate(CKnote::new(kn, registered.c_ops())?);
        let ck = hook.0.as_ref().ok_or(EINVAL)?;
        let attached = match ck.ops().f_attach {
            // SAFETY: As in `CKnote::f_event`.
            Some(f_attach) => unsafe { f_attach(ck.c.get()) },
            None => 0,
        };
        if attached != 0 {
            ck.leave_list(c"f_attach has failed, and the knote is on a list");
            ck.place().phase = Phase::Gone;
            return Err(if attached < 0 {
                Error::from_errno(attached)
            } else {
                EINVAL
            });
        }
        let result = {
            let mut calling = ck.calling();
            // It may have been taken off its list again by now.
            let is_detached = ck.with_c(|c| c.kn_status) & DETACHED != 0;
            ck.place().detached = is_detached;
            // All knotes on a list are told under its lock.
            if calling.list.len() > MOST {
                Err(ENOMEM)
            } else {
                ck.take_ops().map(|()| calling.holds())
            }
        };
        if result.is_err() {
            Self::detach(kn, hook);
        }
        result
    }

    fn detach(_kn: &Knote, hook: &Hook) {
        let Some(ck) = hook.0.as_ref() else { return };
        let _calls = ck.calls.lock();
        if ck.begin_detach() {
            if let Some(f_detach) = ck.ops().f_detach {
                // SAFETY: As in `CKnote::f_event`; it is called once, as `detach` is.
                unsafe { f_detach(ck.c.get()) };
            }
            ck.end_detach();
        }
        ck.leave_list(c"f_detach has left the knote on a list");
        // From now on the filter is not called.
        ck.place().phase = Phase::Gone;
        // Nor is it being told anything still.
        // SAFETY: A plain counter, which is there.
        unsafe { bindings::kq_count_wait(ck.telling.get()) };
    }

    fn event(
        _kn: &Knote,
        hook: &Hook,
        _request: &Request,
        _scratch: Option<Scratch>,
    ) -> Option<Found> {
        let calling = hook.0.as_ref()?.calling();
        calling.holds().then(Found::default)
    }

    fn deliver(
        kn: &Knote,
        hook: &Hook,
        _request: &Request,
        _scratch: Scratch,
        kev: &mut Kevent,
    ) -> bool {
        let Some(ck) = hook.0.as_ref() else {
            return false;
        };
        let calling = ck.calling();
        let kept = ck.place().kept.take();
        match (calling.phase, kept) {
            (Phase::Gone, _) => false,
            (Phase::Cleared, kept) => {
                // What was found last, and that there is no more to come.
                ck.with_c(|c| {
                    kev.flags |= c.kn_flags & ADDED_FLAGS;
                    kev.fflags = kept.map_or(c.kn_fflags, |kept| kept.fflags);
                    kev.data = kept.map_or(c.kn_data, |kept| kept.data);
                });
                true
            }
            (Phase::Live, Some(kept)) => {
                kev.flags |= kept.flags & ADDED_FLAGS;
                kev.fflags = kept.fflags;
                kev.data = kept.data;
                // There may be more, of which nobody will tell.
                if ck.f_peek() {
                    kn.with_state(|st| st.status |= status::ACTIVE);
                }
                true
            }
            (Phase::Live, None) => ck.f_process(kev) && ck.place().phase == Phase::Live,
        }
    }

    // May sleep, unlike others': a knote with this key is sought by those alone who may.
    fn is_stale(_kn: &Knote, hook: &Hook) -> bool {
        let Some(ck) = hook.0.as_ref() else {
            return false;
        };
        let f_stale = ck.ops().f_stale;
        if f_stale.is_none() {
            return ck.place().phase != Phase::Live;
        }
        let calling = ck.calling();
        calling.phase != Phase::Live
            // SAFETY: As in `CKnote::f_event`.
            || f_stale.is_some_and(|f_stale| unsafe { f_stale(ck.c.get()) != 0 })
    }

    // The change is made here, under the list's lock, and not in `touch`. So an event that is in hand may
    // have what the filter makes of it with the `udata` of before; it is delivered as if before.
    fn prepare(kn: &Knote, hook: &Hook, kev: &Kevent) -> Result {
        let ck = hook.0.as_ref().ok_or(EINVAL)?;
        let calling = ck.calling();
        if calling.phase != Phase::Live {
            return Ok(());
        }
        if let Some(f_touch) = ck.ops().f_touch {
            let mut change = *kev;
            let change = ptr::from_mut(&mut change).cast::<bindings::kevent>();
            // SAFETY: As in `CKnote::f_event`; the change is laid out as C has it.
            let ret = unsafe { f_touch(ck.c.get(), change, bindings::EVENT_REGISTER as c_ulong) };
            if ret < 0 {
                return Err(Error::from_errno(ret));
            }
            if ret > 0 {
                kn.activate();
            }
            return Ok(());
        }
        if kev.flags & EV_ADD != 0 {
            ck.with_c(|c| {
                c.kn_sfflags = kev.fflags;
                c.kn_sdata = kev.data;
            });
        }
        Ok(())
    }

    // Under the kqueue's lock, where the filter cannot be told: what it has cleared for this event it
    // will not report again, so the event is kept.
    fn unprocess(_kn: &Knote, hook: &Hook, _st: &mut KnoteState, kev: &Kevent) {
        let Some(ck) = hook.0.as_ref() else { return };
        if kev.flags & EV_CLEAR != 0 || ck.ops().f_process.is_some() {
            ck.place().kept = Some(*kev);
        }
    }
}
