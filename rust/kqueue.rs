// SPDX-License-Identifier: GPL-2.0

//! kqueue(2) and kevent(2) for Linux, as a loadable module.
//!
//! `Documentation/design.rst` is the map. In short: `device.rs` is `/dev/kqueue`; `kevent.rs` the
//! call; `queue.rs`, `register.rs` and `scan.rs` a kqueue; `knote.rs` a registration, `index.rs`
//! where it is found; `filter/` what can be watched; `filetable.rs` and `probe.rs` what follows
//! descriptors through close, fork and exec; `wrap/` the kernel facilities that the `kernel` crate
//! lacks.

use kernel::prelude::*;

mod bindings;
mod detach;
mod device;
mod fdinfo;
mod filetable;
mod filter;
mod flavour;
mod index;
mod kapi;
mod kevent;
mod kfilter;
mod knlist;
mod knote;
mod limits;
mod nest;
mod probe;
mod process;
mod queue;
mod register;
mod scan;
mod stack_vec;
mod uapi;
mod watched;
mod wrap;

// What modules in Rust see of this one, to have filters of their own: a [`Filter`] that is registered
// by a [`Registration`]. It is to C's kqueue(9) what the crate's own filters are written against.
pub use crate::{
    filter::{Filter, Found, Request, Scratch},
    kfilter::Registration,
    knlist::{Knlist, KnlistEntry},
    knote::{Knote, KnoteState},
};

/// `struct kevent` of kevent(2), and the flags in it.
pub mod event {
    pub use crate::uapi::{
        Kevent, EV_ADD, EV_CLEAR, EV_DELETE, EV_DISABLE, EV_DISPATCH, EV_ENABLE, EV_EOF, EV_ERROR,
        EV_FLAG1, EV_KEEPUDATA, EV_ONESHOT, EV_RECEIPT, EV_SYSFLAGS, EV_UDATA_SPECIFIC,
    };
}

module! {
    type: KqueueModule,
    name: "kqueue",
    authors: ["The kqueue for Linux authors"],
    description: "kqueue(2) and kevent(2)",
    license: "GPL",
}

/// The loaded module. The fields are dropped in order: first nobody comes in any more, which, as
/// an open file keeps the module, means that there is no kqueue; then the probes go, and what
/// watched files.
#[pin_data]
struct KqueueModule {
    #[pin]
    _device: device::Device,
    _interface: kapi::Interface,
    _detaching: Detaching,
    _probes: Probes,
    _marks: Marks,
}

impl kernel::InPlaceModule for KqueueModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: The module's initialisation runs once, before anything else of it.
        unsafe {
            limits::init();
            filetable::init();
            index::init();
            kfilter::init();
        }
        try_pin_init!(Self {
            _marks: Marks::new()?,
            // Before the device: a program may come as soon as that is there.
            _probes: Probes::new()?,
            _detaching: Detaching::new()?,
            _interface: kapi::Interface::new()?,
            _device <- device::Device::register(),
        })
    }
}

/// Detaching can be put off.
struct Detaching(());

impl Detaching {
    fn new() -> Result<Self> {
        // SAFETY: The module's initialisation runs once; nothing of `detach` was used before.
        unsafe { detach::init() }?;
        Ok(Self(()))
    }
}

impl Drop for Detaching {
    fn drop(&mut self) {
        // SAFETY: No kqueue is open, and modules that use this one hold it.
        unsafe { detach::exit() };
    }
}

/// What happens to files can be watched.
struct Marks(());

impl Marks {
    fn new() -> Result<Self> {
        // SAFETY: The module's initialisation runs once; nothing of `watched` was used before.
        unsafe { watched::init() }?;
        Ok(Self(()))
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        // SAFETY: There are no kqueues, and no works of tasks, any more.
        unsafe { watched::exit() };
    }
}

/// The probes are found, and armed when they are needed.
struct Probes(());

impl Probes {
    fn new() -> Result<Self> {
        process::init()?;
        // What `probe::init` leaves when it fails goes with this.
        let this = Self(());
        // SAFETY: The module's initialisation runs once; nothing of `probe` was used before.
        unsafe { probe::init() }?;
        Ok(this)
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        probe::exit();
        // SAFETY: No kqueue is open, and so there is no knote; the probes are disarmed.
        unsafe { process::exit() };
        filetable::exit();
        limits::exit();
    }
}
