// SPDX-License-Identifier: GPL-2.0

//! Work to be done as soon as this CPU takes interrupts again.

use crate::bindings;
use core::marker::PhantomData;
use kernel::{prelude::*, types::Opaque};

/// What an [`IrqWork`] in a `Self` does.
///
/// # Safety
///
/// [`Self::from_work`] returns the object that `work` is a field of.
pub(crate) unsafe trait HasIrqWork: Sync + Sized {
    /// The object around `work`.
    ///
    /// # Safety
    ///
    /// `work` is the [`IrqWork`] of a live `Self`.
    unsafe fn from_work<'a>(work: *mut bindings::irq_work) -> &'a Self;

    /// Runs in interrupt context, with interrupts off and no lock held.
    fn run(&self);
}

/// An `irq_work`: taken up right after the current code opens interrupts, on this CPU. What
/// cannot be done under somebody else's spin lock is done there.
///
/// # Invariants
///
/// The work is initialised with [`trampoline`]. It is not queued when it is dropped.
#[pin_data]
#[repr(transparent)]
pub(crate) struct IrqWork<T: HasIrqWork> {
    #[pin]
    work: Opaque<bindings::irq_work>,
    _owner: PhantomData<fn(&T)>,
}

// SAFETY: An `irq_work` may be queued from any thread.
unsafe impl<T: HasIrqWork> Send for IrqWork<T> {}
// SAFETY: And from many at once: it is queued once.
unsafe impl<T: HasIrqWork> Sync for IrqWork<T> {}

impl<T: HasIrqWork> IrqWork<T> {
    /// A work that is not queued.
    ///
    /// # Safety
    ///
    /// The result is the field of a `T` that `T::from_work` goes by. `T` calls [`Self::sync`]
    /// before it goes, and queues no more after that.
    pub(crate) unsafe fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes.
                unsafe { bindings::kq_init_irq_work(slot, Some(trampoline::<T>)) }
            }),
            _owner: PhantomData,
        })
    }

    /// Queues the work, if it is not queued already: whether it was not. It runs once for each time
    /// that this is true. Any context.
    pub(crate) fn queue(&self) -> bool {
        // SAFETY: The work is initialised, and stays until it has run: see `new`.
        unsafe { bindings::irq_work_queue(self.work.get()) }
    }

    /// Waits until the work is neither queued nor running. May sleep.
    pub(crate) fn sync(&self) {
        // SAFETY: The work is initialised by the type invariants.
        unsafe { bindings::irq_work_sync(self.work.get()) };
    }
}

/// The function of every [`IrqWork`].
///
/// # Safety
///
/// Called by the kernel with a work that [`IrqWork::new`] made.
unsafe extern "C" fn trampoline<T: HasIrqWork>(work: *mut bindings::irq_work) {
    // SAFETY: By `IrqWork::new`'s requirements the work is a field of a `T`, which is not freed
    // before `sync` has waited for this function to return.
    unsafe { T::from_work(work) }.run();
}
