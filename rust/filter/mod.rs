// SPDX-License-Identifier: GPL-2.0

//! Filters: what a knote watches, and how.
//!
//! The core knows no filter by name. It finds one in the table of `kfilter.rs` by its number, and from then
//! on has a [`Filterops`], the operators of one kind of object: `EVFILT_READ` on a socket and on a
//! pipe are two. A filter is written against the trait [`Filter`]; [`Filterops::of`] makes the
//! table of operators from it. The contract follows XNU's `event_private.h` and FreeBSD's
//! kqueue(9).

use crate::{
    bindings,
    kfilter::{Kfilter, Registered, Source},
    knote::{Knote, KnoteState},
    queue::Kqueue,
    uapi::{Kevent, EV_ADD, EV_EOF, EV_ONESHOT},
};
use core::{cell::UnsafeCell, marker::PhantomData, mem::MaybeUninit, ops::Deref, ptr::NonNull};
use kernel::{alloc::Flags, c_str, list::ListArc, prelude::*, sync::Arc};

mod except;
mod file;
mod fs;
mod nested;
pub(crate) mod proc;
mod regfile;
mod signal;
mod timer;
mod user;
mod vnode;

/// What a knote asks of its filter: the `fflags` and `data` of the latest change.
#[derive(Clone, Copy)]
pub struct Request {
    /// `fflags`.
    pub sfflags: u32,
    /// `data`.
    pub sdata: i64,
}

/// What a filter found: the condition holds.
#[derive(Clone, Copy, Default)]
pub struct Found {
    /// `data` of the event.
    pub data: i64,
    /// `fflags` of the event.
    pub fflags: u32,
    /// Report `EV_EOF`.
    pub eof: bool,
}

/// User memory that an event is about to be written to, and which may be written over before.
#[derive(Clone, Copy)]
pub struct Scratch(usize);

impl Scratch {
    /// The place of an event in the event list; `addr` is a user address, checked by its use.
    pub(crate) fn new(addr: usize) -> Self {
        Self(addr)
    }

    /// The address.
    pub(crate) fn addr(self) -> usize {
        self.0
    }
}

/// What a filter says of an event that is about to be delivered.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Looked {
    /// There is none.
    Nothing,
    Found,
    /// The same, and it is the last one: the knote goes.
    Last,
}

/// A filter on one kind of object. `kn` is the knote, `hook` the filter's own part of it.
///
/// The operators of one knote may run on several CPUs at once, with these exceptions: `attach`
/// comes first and alone. `prepare` and `touch` are called under the kqueue's change lock. But
/// `detach` may come while either of them runs, or before, to a knote that was found earlier: they
/// must then leave nothing behind that uses the knote. None may be called with a lock held that
/// [`Knote::activate`] is called under.
///
/// Other modules' filters are written against this trait, too, in Rust; those in C are one
/// implementation of it (`kapi/knote.rs`).
pub trait Filter: 'static {
    /// kn_hook: what the filter keeps in a knote. Made before `attach`, pinned with the knote. It is
    /// at most six words large, and is dropped where that must not sleep.
    type Hook: Default + Send + Sync + 'static;

    /// Whether [`Self::event`] says if the condition holds. If not, [`Self::peek`] and
    /// [`Self::process`] do, from what the knote has.
    const EVALUATED: bool;

    /// Flags that a knote has, asked for or not.
    const FLAGS: u16 = 0;

    /// Poll events that concern the filter, for those on wait queues.
    const POLL_EVENTS: u32 = 0;

    /// Whether [`Self::detach`] may sleep. Where a descriptor is closed it is put off then, to the
    /// end of the closer's system call.
    const DETACH_SLEEPS: bool = false;

    /// Whether [`Self::deliver`] sets `fflags` and `data` whenever there is something, whatever was in
    /// them, and never `EV_ONESHOT`.
    const PLAIN: bool = false;

    /// f_attach: hooks the knote to its object. Whether the condition holds already; an errno, and
    /// nothing is hooked. Process context, may sleep; under the kqueue's change lock.
    fn attach(kn: &Knote, hook: &Self::Hook) -> Result<bool>;

    /// f_detach: unhooks. When it returns, the filter does not touch the knote any more, but for
    /// operators that are under way.
    ///
    /// Must not sleep, but with [`Self::DETACH_SLEEPS`]: it also runs when a descriptor is closed, with
    /// preemption off. Locks that are taken where [`Knote::activate`] is called may be taken.
    fn detach(kn: &Knote, hook: &Self::Hook);

    /// f_event with no hint: does the condition hold? Process context, may sleep, no lock held.
    /// `scratch` is there when an event is to be delivered.
    fn event(
        _kn: &Knote,
        _hook: &Self::Hook,
        _request: &Request,
        _scratch: Option<Scratch>,
    ) -> Option<Found> {
        None
    }

    /// f_process of a filter that is [`Self::EVALUATED`]: about to be delivered. Fills what the core
    /// cannot know of `kev`, which is flags, fflags and data; false if there is nothing to deliver. `EV_CLEAR` and `EV_ONESHOT` in
    /// `kev.flags` say what becomes of the knote. Process context, may sleep, no lock held.
    fn deliver(
        kn: &Knote,
        hook: &Self::Hook,
        request: &Request,
        scratch: Scratch,
        kev: &mut Kevent,
    ) -> bool {
        let Some(found) = Self::event(kn, hook, request, Some(scratch)) else {
            return false;
        };
        kev.data = found.data;
        kev.fflags = found.fflags;
        if found.eof {
            kev.flags |= EV_EOF;
        }
        true
    }

    /// f_event with a hint, as [`Knote::note`] passes it on: something has happened to the object.
    /// Whether the knote is to be activated. Under the kqueue's lock, and those that whoever tells
    /// it holds; atomic.
    fn note(_kn: &Knote, _hook: &Self::Hook, _st: &mut KnoteState, _hint: u64) -> bool {
        false
    }

    /// Whether the knote's ident means another object by now, and what it watches is past. It leaves
    /// its key to another one then, though it may still have an event to deliver. Any context but
    /// interrupts.
    fn is_stale(_kn: &Knote, _hook: &Self::Hook) -> bool {
        false
    }

    /// The first half of f_touch: may the change `kev` be made? An errno, and nothing has changed.
    /// Process context, may sleep.
    fn prepare(_kn: &Knote, _hook: &Self::Hook, _kev: &Kevent) -> Result {
        Ok(())
    }

    /// The second half of f_touch, at `EVENT_REGISTER`: makes the change, with or without `EV_ADD`.
    /// Under the kqueue's lock, atomic.
    fn touch(_kn: &Knote, _hook: &Self::Hook, st: &mut KnoteState, kev: &Kevent) {
        if kev.flags & EV_ADD != 0 {
            st.sfflags = kev.fflags;
            st.sdata = kev.data;
        }
    }

    /// f_peek: does the condition hold, from what the knote has? Under the kqueue's lock, atomic.
    fn peek(_kn: &Knote, _hook: &Self::Hook, _st: &KnoteState) -> bool {
        false
    }

    /// f_process, and f_touch at `EVENT_PROCESS`: about to be delivered. Fills what the core cannot
    /// know of `kev` and clears what `EV_CLEAR` clears; false if there is nothing to deliver. Under
    /// the kqueue's lock, atomic.
    fn process(_kn: &Knote, _hook: &Self::Hook, _st: &mut KnoteState, _kev: &mut Kevent) -> bool {
        false
    }

    /// Takes back what `process` cleared when it filled `kev`, which could not be delivered. What
    /// has happened since is kept. Under the kqueue's lock, atomic.
    fn unprocess(_kn: &Knote, _hook: &Self::Hook, _st: &mut KnoteState, _kev: &Kevent) {}
}

/// The words of a knote that are its filter's.
const HOOK_WORDS: usize = 6;

/// Room for any [`Filter::Hook`].
#[repr(transparent)]
pub(crate) struct HookSpace(UnsafeCell<[MaybeUninit<usize>; HOOK_WORDS]>);

// SAFETY: It holds a `Filter::Hook`, which is `Send`.
unsafe impl Send for HookSpace {}
// SAFETY: It holds a `Filter::Hook`, which is `Sync`.
unsafe impl Sync for HookSpace {}

impl HookSpace {
    /// # Safety
    ///
    /// The space holds an `F::Hook`.
    unsafe fn get<F: Filter>(&self) -> &F::Hook {
        // SAFETY: By this function's requirements; it is not moved while it is borrowed.
        unsafe { &*self.0.get().cast() }
    }
}

/// struct filterops: the operators of a [`Filter`].
///
/// # Invariants
///
/// All functions are of the same `Filter`, and `new_hook` makes the hook that the others expect.
#[derive(Clone, Copy)]
pub(crate) struct Filterops {
    /// They are part of what was registered; see [`OpsRef`].
    pub(crate) registered: bool,
    pub(crate) evaluated: bool,
    pub(crate) detach_sleeps: bool,
    pub(crate) flags: u16,
    pub(crate) poll_events: u32,
    new_hook: fn() -> HookSpace,
    drop_hook: unsafe fn(&mut HookSpace),
    attach: unsafe fn(&Knote) -> Result<bool>,
    detach: unsafe fn(&Knote),
    event: unsafe fn(&Knote, &Request, Option<Scratch>) -> Option<Found>,
    deliver: unsafe fn(&Knote, Scratch, &mut Kevent) -> Looked,
    note: unsafe fn(&Knote, &mut KnoteState, u64) -> bool,
    is_stale: unsafe fn(&Knote) -> bool,
    prepare: unsafe fn(&Knote, &Kevent) -> Result,
    touch: unsafe fn(&Knote, &mut KnoteState, &Kevent),
    peek: unsafe fn(&Knote, &KnoteState) -> bool,
    process: unsafe fn(&Knote, &mut KnoteState, &mut Kevent) -> bool,
    unprocess: unsafe fn(&Knote, &mut KnoteState, &Kevent),
}

struct Operators<F: Filter>(PhantomData<F>);

impl<F: Filter> Operators<F> {
    // INVARIANT: One filter throughout.
    const OPS: Filterops = Filterops {
        registered: false,
        evaluated: F::EVALUATED,
        detach_sleeps: F::DETACH_SLEEPS,
        flags: F::FLAGS,
        poll_events: F::POLL_EVENTS,
        new_hook: Self::new_hook,
        drop_hook: Self::drop_hook,
        attach: Self::attach,
        detach: Self::detach,
        event: Self::event,
        deliver: Self::deliver,
        note: Self::note,
        is_stale: Self::is_stale,
        prepare: Self::prepare,
        touch: Self::touch,
        peek: Self::peek,
        process: Self::process,
        unprocess: Self::unprocess,
    };

    fn new_hook() -> HookSpace {
        const {
            assert!(size_of::<F::Hook>() <= size_of::<HookSpace>());
            assert!(align_of::<F::Hook>() <= align_of::<HookSpace>());
        }
        let space = HookSpace(UnsafeCell::new([MaybeUninit::uninit(); HOOK_WORDS]));
        // SAFETY: The space is ours, large enough, and aligned.
        unsafe { space.0.get().cast::<F::Hook>().write(F::Hook::default()) };
        space
    }

    /// # Safety
    ///
    /// The space holds an `F::Hook`, which is not used after.
    unsafe fn drop_hook(space: &mut HookSpace) {
        // SAFETY: By this function's requirements.
        unsafe { space.0.get().cast::<F::Hook>().drop_in_place() }
    }
}

/// An operator of a [`Filter`], given the knote's own hook.
macro_rules! operator {
    ($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty) => {
        impl<F: Filter> Operators<F> {
            #[doc = concat!("[`Filter::", stringify!($name), "`].")]
            ///
            /// # Safety
            ///
            /// `kn` is a knote with the hook of `F`.
            unsafe fn $name(kn: &Knote $(, $arg: $ty)*) -> $ret {
                // SAFETY: By this function's requirements.
                F::$name(kn, unsafe { kn.hook().get::<F>() } $(, $arg)*)
            }
        }
    };
}

operator!(attach() -> Result<bool>);
operator!(detach() -> ());
operator!(event(request: &Request, scratch: Option<Scratch>) -> Option<Found>);
operator!(note(st: &mut KnoteState, hint: u64) -> bool);
operator!(is_stale() -> bool);
operator!(prepare(kev: &Kevent) -> Result);
operator!(touch(st: &mut KnoteState, kev: &Kevent) -> ());
operator!(peek(st: &KnoteState) -> bool);
operator!(process(st: &mut KnoteState, kev: &mut Kevent) -> bool);
operator!(unprocess(st: &mut KnoteState, kev: &Kevent) -> ());

impl<F: Filter> Operators<F> {
    /// [`Filter::deliver`]. What is asked for is where the answer is to be.
    ///
    /// # Safety
    ///
    /// `kn` is a knote with the hook of `F`.
    unsafe fn deliver(kn: &Knote, scratch: Scratch, kev: &mut Kevent) -> Looked {
        let request = Request {
            sfflags: kev.fflags,
            sdata: kev.data,
        };
        let asked = kev.flags;
        if !F::PLAIN {
            kev.fflags = 0;
            kev.data = 0;
        }
        // SAFETY: By this function's requirements.
        let hook = unsafe { kn.hook().get::<F>() };
        if !F::deliver(kn, hook, &request, scratch, kev) {
            Looked::Nothing
        } else if !F::PLAIN && kev.flags & !asked & EV_ONESHOT != 0 {
            Looked::Last
        } else {
            Looked::Found
        }
    }
}

impl Filterops {
    /// The operators of `F`.
    pub(crate) const fn of<F: Filter>() -> &'static Self {
        &Operators::<F>::OPS
    }

    /// The same, as part of what is registered.
    pub(crate) fn registered(&self) -> Self {
        Self {
            registered: true,
            ..*self
        }
    }

    /// A hook for a knote that is to have these operators.
    pub(crate) fn new_hook(&self) -> HookSpace {
        (self.new_hook)()
    }

    /// Drops a knote's hook.
    ///
    /// # Safety
    ///
    /// [`Self::new_hook`] of the same operators made it; it is not used after.
    pub(crate) unsafe fn drop_hook(&self, hook: &mut HookSpace) {
        // SAFETY: By this function's requirements.
        unsafe { (self.drop_hook)(hook) }
    }
}

/// kn_fop: the operators of a knote, or of one that is to be made. If they are part of what another
/// module has registered ([`Registered`]) it stays registered, and the module loaded, as long as
/// this is there.
///
/// # Invariants
///
/// It points to a `Filterops` of static lifetime, or, where that is `registered`, to one of a
/// [`Registered`] of which this is a reference.
pub(crate) struct OpsRef(NonNull<Filterops>);

// SAFETY: It gives shared references to functions and numbers.
unsafe impl Send for OpsRef {}
// SAFETY: As above.
unsafe impl Sync for OpsRef {}

impl From<&'static Filterops> for OpsRef {
    fn from(ops: &'static Filterops) -> Self {
        // INVARIANT: Static; what is part of a `Registered` is not lent for that long.
        Self(NonNull::from(ops))
    }
}

impl OpsRef {
    /// # Safety
    ///
    /// `ops` is that of a [`Registered`], and the caller gives up a reference to that.
    pub(crate) unsafe fn of_registered(ops: NonNull<Filterops>) -> Self {
        // INVARIANT: By this function's requirements.
        Self(ops)
    }

    /// What the operators are part of, if another module has registered them.
    pub(crate) fn registered(&self) -> Option<&Registered> {
        if !self.registered {
            return None;
        }
        // SAFETY: By the type invariants it is there as long as this.
        Some(unsafe { Registered::of_ops(self.0).as_ref() })
    }
}

impl Clone for OpsRef {
    fn clone(&self) -> Self {
        if self.registered {
            // SAFETY: By the type invariants this is a reference.
            unsafe { Registered::get(Registered::of_ops(self.0)) };
        }
        // INVARIANT: Counted just now, or static.
        Self(self.0)
    }
}

impl Deref for OpsRef {
    type Target = Filterops;

    fn deref(&self) -> &Filterops {
        // SAFETY: By the type invariants.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for OpsRef {
    fn drop(&mut self) {
        if self.registered {
            // SAFETY: By the type invariants this is a reference, which goes.
            unsafe { Registered::put(Registered::of_ops(self.0)) };
        }
    }
}

/// The operators of a knote, by the names of [`Filter`].
impl Knote {
    pub(crate) fn f_attach(&self) -> Result<bool> {
        // SAFETY: By `Knote`'s invariants the hook is of these operators; so in all of these.
        unsafe { (self.ops().attach)(self) }
    }

    pub(crate) fn f_detach(&self) {
        // SAFETY: As in `f_attach`.
        unsafe { (self.ops().detach)(self) }
    }

    pub(crate) fn f_event(&self, request: &Request, scratch: Option<Scratch>) -> Option<Found> {
        // SAFETY: As in `f_attach`.
        unsafe { (self.ops().event)(self, request, scratch) }
    }

    /// `kev` has what is asked for as its `fflags` and `data`.
    #[inline(always)]
    pub(crate) fn f_deliver(&self, scratch: Scratch, kev: &mut Kevent) -> Looked {
        // SAFETY: As in `f_attach`.
        unsafe { (self.ops().deliver)(self, scratch, kev) }
    }

    pub(crate) fn f_note(&self, st: &mut KnoteState, hint: u64) -> bool {
        // SAFETY: As in `f_attach`.
        unsafe { (self.ops().note)(self, st, hint) }
    }

    pub(crate) fn f_is_stale(&self) -> bool {
        // SAFETY: As in `f_attach`.
        unsafe { (self.ops().is_stale)(self) }
    }

    pub(crate) fn f_prepare(&self, kev: &Kevent) -> Result {
        // SAFETY: As in `f_attach`.
        unsafe { (self.ops().prepare)(self, kev) }
    }

    pub(crate) fn f_touch(&self, st: &mut KnoteState, kev: &Kevent) {
        // SAFETY: As in `f_attach`.
        unsafe { (self.ops().touch)(self, st, kev) }
    }

    pub(crate) fn f_peek(&self, st: &KnoteState) -> bool {
        // SAFETY: As in `f_attach`.
        unsafe { (self.ops().peek)(self, st) }
    }

    pub(crate) fn f_process(&self, st: &mut KnoteState, kev: &mut Kevent) -> bool {
        // SAFETY: As in `f_attach`.
        unsafe { (self.ops().process)(self, st, kev) }
    }

    pub(crate) fn f_unprocess(&self, st: &mut KnoteState, kev: &Kevent) {
        // SAFETY: As in `f_attach`.
        unsafe { (self.ops().unprocess)(self, st, kev) }
    }
}

impl Knote {
    /// kn_hook, as filter `F` has it.
    ///
    /// # Safety
    ///
    /// The knote is one of `F`, or of a filter with the same `Hook`.
    pub(crate) unsafe fn hook_of<F: Filter>(&self) -> &F::Hook {
        // SAFETY: By this function's requirements.
        unsafe { self.hook().get::<F>() }
    }

    /// A knote of filter `F` that `attach` hooks to its object, in place of [`Filter::attach`]. What
    /// `attach` says; `ENOMEM`. Any context that `flags` suits.
    pub(crate) fn attached<F: Filter>(
        kq: &Arc<Kqueue>,
        kev: &Kevent,
        flags: Flags,
        attach: impl FnOnce(&Knote, &F::Hook) -> Result,
    ) -> Result<ListArc<Knote>> {
        let kn = Knote::new(kq, Filterops::of::<F>().into(), None, kev, flags)?;
        // SAFETY: It was just made with these operators.
        attach(&kn, unsafe { kn.hook_of::<F>() })?;
        Ok(kn)
    }
}

/// The system's filters; that of number -1 - n at n.
pub(crate) static SYSTEM: [Kfilter; bindings::EVFILT_SYSCOUNT as usize] = [
    Kfilter::new(c_str!("EVFILT_READ"), Source::Descriptor(file::read)),
    Kfilter::new(c_str!("EVFILT_WRITE"), Source::Descriptor(file::write)),
    Kfilter::reserved(c_str!("EVFILT_AIO")),
    Kfilter::new(c_str!("EVFILT_VNODE"), Source::Path(vnode::vnode)),
    Kfilter::new(c_str!("EVFILT_PROC"), Source::Ident(proc::OPS)),
    Kfilter::new(c_str!("EVFILT_SIGNAL"), Source::Ident(signal::OPS)),
    Kfilter::new(c_str!("EVFILT_TIMER"), Source::Ident(timer::OPS)),
    Kfilter::reserved(c_str!("EVFILT_DEVICE")),
    Kfilter::new(c_str!("EVFILT_EXCEPT"), Source::Descriptor(except::except)),
    Kfilter::new(c_str!("EVFILT_USER"), Source::Ident(user::OPS)),
    Kfilter::new(c_str!("EVFILT_EMPTY"), Source::Descriptor(except::empty)),
    Kfilter::new(
        c_str!("EVFILT_PROCDESC"),
        Source::Descriptor(proc::procdesc),
    ),
    Kfilter::new(c_str!("EVFILT_FS"), Source::Ident(fs::OPS)),
];
