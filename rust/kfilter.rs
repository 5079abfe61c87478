// SPDX-License-Identifier: GPL-2.0

//! kfilter: the filters that kevent(2) knows, by number and by name.
//!
//! The system's own are a table. Others are registered by modules, and there as long as these want.
//! A knote has a reference to what was registered, and with it one to the module: neither goes
//! before the knote.

use crate::{
    bindings,
    filter::{Filter, Filterops, OpsRef, SYSTEM},
    knote::Knote,
    uapi::errno,
    wrap::{module, uaccess},
};
use core::ptr::{self, NonNull};
use kernel::{
    alloc::{flags::GFP_KERNEL, KBox},
    c_str,
    fs::File,
    prelude::*,
    str::CString,
    sync::atomic::{Acquire, Atomic, Full, Relaxed},
};

/// What a filter's `ident` is, and where its operators come from.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// `ident` is a number of the filter's own.
    Ident(&'static Filterops),
    /// `ident` is a descriptor; the operators depend on what is open there. kqfilter of the BSDs.
    Descriptor(fn(&File) -> Result<&'static Filterops>),
    /// The same, of one that was opened with `O_PATH`, too.
    Path(fn(&File) -> Result<&'static Filterops>),
}

/// struct kfilter: a filter of the system's.
pub(crate) struct Kfilter {
    name: &'static CStr,
    /// Without one the number is kept free for what the BSDs have there: `EINVAL`, unless a module
    /// has it.
    source: Option<Source>,
}

impl Kfilter {
    pub(crate) const fn new(name: &'static CStr, source: Source) -> Self {
        Self {
            name,
            source: Some(source),
        }
    }

    pub(crate) const fn reserved(name: &'static CStr) -> Self {
        Self { name, source: None }
    }
}

/// The lowest number that a filter may have.
const LOWEST: i32 = -4096;

/// The number that is first given to a filter that is registered.
const FIRST: i32 = -1 - SYSTEM.len() as i32;

kernel::sync::global_lock! {
    // SAFETY: Initialised by `init`, before anything else of the module runs.
    unsafe(uninit) static REGISTRY: Mutex<KVec<Entry>> = KVec::new();
}

/// A filter that a module has registered.
///
/// # Invariants
///
/// `refs` counts the [`Entry`], and the [`OpsRef`] to `ops`. Each of the latter has a reference to
/// `module`, too.
pub(crate) struct Registered {
    ops: Filterops,
    /// The operators of a filter in C, as `kapi/knote.rs` calls them.
    c_ops: bindings::filterops,
    name: CString,
    number: i32,
    is_fd: bool,
    /// Whose code it is; null for the kernel's own.
    module: *mut bindings::module,
    refs: Atomic<usize>,
    /// Not to be found any more; it keeps its number while there are knotes.
    retired: Atomic<bool>,
}

// SAFETY: What it points to, functions and a module, may be used from any thread.
unsafe impl Send for Registered {}
// SAFETY: As above; `refs` is atomic, and the rest does not change.
unsafe impl Sync for Registered {}

impl Registered {
    /// What `ops` is part of.
    ///
    /// # Safety
    ///
    /// It is part of a `Registered`, and `ops` may be used for all of that.
    pub(crate) unsafe fn of_ops(ops: NonNull<Filterops>) -> NonNull<Self> {
        // SAFETY: By this function's requirements; what is around something is not null.
        unsafe { NonNull::new_unchecked(kernel::container_of!(ops.as_ptr(), Self, ops)) }
    }

    /// The operators in C, if it has such.
    pub(crate) fn c_ops(&self) -> &bindings::filterops {
        &self.c_ops
    }

    fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// Takes one more reference for an [`OpsRef`]. Any context.
    ///
    /// # Safety
    ///
    /// The caller has one.
    pub(crate) unsafe fn get(this: NonNull<Self>) {
        // SAFETY: By this function's requirements it is there.
        let this = unsafe { this.as_ref() };
        // SAFETY: By the type invariants the caller's reference has one to the module.
        unsafe { module::get(this.module) };
        this.refs.fetch_add(1, Relaxed);
    }

    /// Drops an [`OpsRef`]'s reference. Any context.
    ///
    /// # Safety
    ///
    /// The caller has that reference, and does not use it any more.
    pub(crate) unsafe fn put(this: NonNull<Self>) {
        // SAFETY: By this function's requirements it is there.
        let module = unsafe { this.as_ref() }.module;
        // SAFETY: As above.
        unsafe { Self::drop_ref(this) };
        // What the module registered is not used after this.
        // SAFETY: By the type invariants the reference had one to the module.
        unsafe { module::put(module) };
    }

    /// Drops a reference, the last of which frees it. Any context.
    ///
    /// # Safety
    ///
    /// As [`Self::put`], of any reference.
    unsafe fn drop_ref(this: NonNull<Self>) {
        // SAFETY: By this function's requirements it is there.
        if unsafe { this.as_ref() }.refs.fetch_sub(1, Full) != 1 {
            return;
        }
        // SAFETY: It was made as a box by `register`, and this was the last reference.
        drop(unsafe { KBox::from_raw(this.as_ptr()) });
    }
}

/// The registry's reference.
///
/// # Invariants
///
/// It is counted.
struct Entry(NonNull<Registered>);

// SAFETY: As `Registered`.
unsafe impl Send for Entry {}

impl Entry {
    fn get(&self) -> &Registered {
        // SAFETY: By the type invariants.
        unsafe { self.0.as_ref() }
    }

    /// A reference for a knote to be; none where the module is not loaded yet, or not any more.
    fn open(&self) -> Option<OpsRef> {
        let registered = self.get();
        if registered.is_retired() {
            return None;
        }
        // SAFETY: A module that is gone has been taken out of the registry before, by its exit or by
        // `forget_module`.
        if !unsafe { module::get_live(registered.module) } {
            return None;
        }
        registered.refs.fetch_add(1, Relaxed);
        // SAFETY: It is there.
        let ops = unsafe { NonNull::new_unchecked(&raw mut (*self.0.as_ptr()).ops) };
        // SAFETY: The reference was counted just now, and so was the module's.
        Some(unsafe { OpsRef::of_registered(ops) })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { Registered::drop_ref(self.0) };
    }
}

/// Makes the registry usable.
///
/// # Safety
///
/// To be called once, before anything else of this file.
pub(crate) unsafe fn init() {
    // SAFETY: By this function's requirements.
    unsafe { REGISTRY.init() };
}

/// The registry is empty, and used no more. May sleep.
pub(crate) fn exit() {
    // Its memory is freed after the lock.
    let registry = core::mem::take(&mut *REGISTRY.lock());
    drop(registry);
}

/// A filter that was found by its number, and which stays as long as this.
pub(crate) enum FoundFilter {
    System(Source),
    Registered(OpsRef),
}

/// What a filter's `ident` is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ident {
    Number,
    Descriptor,
    /// Also of a file that was opened with `O_PATH`.
    Path,
}

impl FoundFilter {
    /// What its `ident` is.
    pub(crate) fn ident(&self) -> Ident {
        match self {
            Self::System(Source::Ident(_)) => Ident::Number,
            Self::System(Source::Descriptor(_)) => Ident::Descriptor,
            Self::System(Source::Path(_)) => Ident::Path,
            Self::Registered(ops) => match ops.registered() {
                Some(it) if it.is_fd => Ident::Descriptor,
                _ => Ident::Number,
            },
        }
    }

    /// The operators for a knote, which is on `file` if it is on a descriptor. `EINVAL`, and what the
    /// filter says.
    pub(crate) fn ops(&self, file: Option<&File>) -> Result<OpsRef> {
        match self {
            Self::System(Source::Ident(ops)) => Ok((*ops).into()),
            Self::System(Source::Descriptor(kqfilter) | Source::Path(kqfilter)) => {
                Ok(kqfilter(file.ok_or(EBADF)?)?.into())
            }
            Self::Registered(ops) => Ok(ops.clone()),
        }
    }
}

/// The place of a system filter in the table.
fn system(number: i32) -> Option<&'static Kfilter> {
    SYSTEM.get(usize::try_from(-1 - i64::from(number)).ok()?)
}

/// kfilter_byfilter: the filter of a number, for a change. May sleep.
pub(crate) fn find(number: i32) -> Option<FoundFilter> {
    if let Some(source) = system(number).and_then(|kfilter| kfilter.source) {
        return Some(FoundFilter::System(source));
    }
    let registry = REGISTRY.lock();
    let entry = registry.iter().find(|it| it.get().number == number)?;
    entry.open().map(FoundFilter::Registered)
}

/// kfilter_byname: the number of a filter. May sleep.
pub(crate) fn by_name(name: &CStr) -> Option<i32> {
    by_name_in(&REGISTRY.lock(), name)
}

fn by_name_in(registry: &[Entry], name: &CStr) -> Option<i32> {
    if let Some(index) = SYSTEM.iter().position(|it| it.name == name) {
        return Some(-1 - index as i32);
    }
    let entry = registry
        .iter()
        .find(|it| !it.get().is_retired() && it.get().name() == name)?;
    Some(entry.get().number)
}

/// KFILTER_BYFILTER: writes the filter's name to the `len` bytes at `addr`. `ENOENT`,
/// `ENAMETOOLONG`, `EFAULT`. May sleep.
pub(crate) fn name_to_user(number: i32, addr: usize, len: usize) -> Result {
    let mut buf = [0; bindings::KFILTER_MAXNAME as usize];
    let copied = {
        let registry = REGISTRY.lock();
        let name = match system(number) {
            Some(kfilter) => kfilter.name,
            None => {
                let mut entries = registry.iter();
                let entry = entries.find(|it| it.get().number == number);
                entry.ok_or(ENOENT)?.get().name()
            }
        };
        let name = name.to_bytes_with_nul();
        buf.get_mut(..name.len())
            .ok_or(EINVAL)?
            .copy_from_slice(name);
        name.len()
    };
    if copied > len {
        return Err(errno(bindings::ENAMETOOLONG));
    }
    uaccess::write_array(addr, buf.get(..copied).ok_or(EINVAL)?)
}

/// The name of a knote's filter.
pub(crate) fn name_of(kn: &Knote) -> &CStr {
    match (kn.ops_ref().registered(), system(kn.filter().into())) {
        (Some(registered), _) => registered.name(),
        (None, Some(kfilter)) => kfilter.name,
        (None, None) => c_str!("?"),
    }
}

/// What a module registers.
pub(crate) struct NewFilter<'a> {
    /// Without one it is called by its number.
    pub(crate) name: Option<&'a CStr>,
    /// Without one it gets the first that is free.
    pub(crate) number: Option<i32>,
    pub(crate) ops: &'a Filterops,
    pub(crate) c_ops: bindings::filterops,
    pub(crate) is_fd: bool,
    /// Whose code it is; null for the kernel's own.
    pub(crate) module: *mut bindings::module,
}

/// Registers a filter, and returns its number. `EINVAL`: no such number or name can be had. `EEXIST`:
/// one that is taken. `ENOSPC`: all numbers are. `ENOMEM`. May sleep.
///
/// # Safety
///
/// The operators can be called while `module` is loaded, which calls this; it calls [`unregister`]
/// before it is not any more.
pub(crate) unsafe fn register(new: NewFilter<'_>) -> Result<i32> {
    // SAFETY: By this function's requirements.
    unsafe { do_register(new) }.map(|(number, _)| number)
}

/// The number, and what is in the registry, to be compared.
///
/// # Safety
///
/// As [`register`].
unsafe fn do_register(new: NewFilter<'_>) -> Result<(i32, *const Registered)> {
    let mut registry = REGISTRY.lock();
    // Those that were there for their last knotes.
    registry.retain(|it| !it.get().is_retired() || it.get().refs.load(Acquire) != 1);
    let taken = |number| registry.iter().any(|it| it.get().number == number);
    let number = match new.number {
        Some(number) => {
            let may = match system(number) {
                Some(Kfilter {
                    source: Some(_), ..
                }) => return Err(EEXIST),
                Some(_) => true,
                None => (LOWEST..=FIRST).contains(&number),
            };
            match (may, taken(number)) {
                (false, _) => return Err(EINVAL),
                (true, true) => return Err(EEXIST),
                (true, false) => number,
            }
        }
        None => (LOWEST..=FIRST)
            .rev()
            .find(|number| !taken(*number))
            .ok_or(ENOSPC)?,
    };
    let name = match (new.name, system(number)) {
        (Some(name), _) => {
            let len = name.to_bytes_with_nul().len();
            if !(2..=bindings::KFILTER_MAXNAME as usize).contains(&len) {
                return Err(EINVAL);
            }
            if by_name_in(&registry, name).is_some() {
                return Err(EEXIST);
            }
            CString::try_from(name)?
        }
        // Its name is known, as is its number.
        (None, Some(kfilter)) => CString::try_from(kfilter.name)?,
        (None, None) => {
            let name = CString::try_from_fmt(fmt!("filter{number}"))?;
            if by_name_in(&registry, &name).is_some() {
                return Err(EEXIST);
            }
            name
        }
    };
    let registered = KBox::new(
        Registered {
            ops: new.ops.registered(),
            c_ops: new.c_ops,
            name,
            number,
            is_fd: new.is_fd,
            module: new.module,
            refs: Atomic::new(1),
            retired: Atomic::new(false),
        },
        GFP_KERNEL,
    )?;
    // SAFETY: A box is not null.
    let registered = unsafe { NonNull::new_unchecked(KBox::into_raw(registered)) };
    // INVARIANT: Counted above.
    registry.push(Entry(registered), GFP_KERNEL)?;
    Ok((number, registered.as_ptr()))
}

/// Takes the filter that `which` says out of the registry. `ENOENT` where there is none. `EBUSY`
/// where a knote has it, and then it stays. May sleep.
fn unregister_if(which: impl Fn(&Registered) -> bool) -> Result {
    let entry = {
        let mut registry = REGISTRY.lock();
        let index = registry
            .iter()
            .position(|it| !it.get().is_retired() && which(it.get()));
        let index = index.ok_or(ENOENT)?;
        // More come only from here, or from those that are there.
        let refs = registry.get(index).ok_or(ENOENT)?.get().refs.load(Acquire);
        if refs != 1 {
            return Err(EBUSY);
        }
        registry.remove(index)
    };
    drop(entry);
    Ok(())
}

/// kqueue_del_filteropts. `EINVAL`: there is no such filter, or it is the system's; `EBUSY`.
pub(crate) fn unregister(number: i32) -> Result {
    match unregister_if(|it| it.number == number) {
        Err(e) if e == ENOENT => Err(EINVAL),
        other => other,
    }
}

/// kfilter_unregister. `EINVAL`: it is the system's; `ENOENT`; `EBUSY`.
pub(crate) fn unregister_name(name: &CStr) -> Result {
    if SYSTEM.iter().any(|it| it.name == name) {
        // But for one of a reserved number that a module has.
        let reserved = unregister_if(|it| system(it.number).is_some() && it.name() == name);
        return reserved.map_err(|e| if e == ENOENT { EINVAL } else { e });
    }
    unregister_if(|it| it.name() == name)
}

/// Takes out all filters of a module that goes, and returns how many these were that it should have
/// taken out itself. Who has a knote keeps the module, unless its initialisation has failed; until that
/// is over there is no knote. May sleep.
pub(crate) fn forget_module(module: *const bindings::module) -> usize {
    let mut count = 0;
    REGISTRY.lock().retain(|it| {
        let is_its = ptr::eq(it.get().module, module);
        count += usize::from(is_its && !it.get().is_retired());
        !is_its
    });
    count
}

/// A filter of another module's that is written in Rust. It can be used by programs from when the
/// module's initialisation has ended until this is dropped.
pub struct Registration {
    number: i32,
    /// What is in the registry, to be compared.
    registered: *const Registered,
}

// SAFETY: What it points to is not looked at but in the registry.
unsafe impl Send for Registration {}
// SAFETY: As above.
unsafe impl Sync for Registration {}

impl Registration {
    /// Registers filter `F` by a name, at most 31 bytes long; the number it gets is told by
    /// [`Self::number`], and to programs by `KFILTER_BYNAME`. With `is_fd` an `ident` is a descriptor,
    /// and [`Knote::file`](crate::Knote::file) what is open there.
    ///
    /// `EEXIST`: there is one of this name. `EINVAL`: it is empty or too long. `ENOMEM`. May sleep.
    pub fn new<F: Filter>(module: &'static ThisModule, name: &CStr, is_fd: bool) -> Result<Self> {
        Self::with_ops(module, name, is_fd, Filterops::of::<F>())
    }

    fn with_ops(
        module: &'static ThisModule,
        name: &CStr,
        is_fd: bool,
        ops: &Filterops,
    ) -> Result<Self> {
        // SAFETY: The operators are of a type of the caller's, or of a module that it depends on,
        // and so there while it is loaded. What it has made goes before it does, and so does this.
        let (number, registered) = unsafe {
            do_register(NewFilter {
                name: Some(name),
                number: None,
                ops,
                c_ops: bindings::filterops::default(),
                is_fd,
                module: module.as_ptr(),
            })
        }?;
        Ok(Self { number, registered })
    }

    /// The filter's number, to stand in `filter` of a `struct kevent`.
    pub fn number(&self) -> i32 {
        self.number
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // A knote that is there keeps what it needs. The next one who registers clears it away.
        let registry = REGISTRY.lock();
        let mut entries = registry.iter();
        if let Some(entry) = entries.find(|it| ptr::eq(it.0.as_ptr(), self.registered)) {
            entry.get().retired.store(true, Relaxed);
        }
    }
}
