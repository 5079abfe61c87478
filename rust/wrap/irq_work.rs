// SPDX-License-Identifier: GPL-2.0

//! Work to be done as soon as this CPU takes interrupts again.

use crate::bindings;
use core::marker::PhantomData;
use kernel::{
    prelude::*,
    processor::cpu_relax,
    sync::atomic::{Atomic, Full, Relaxed},
    types::Opaque,
};

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

/// Neither queued nor running, but for the kernel's own last steps.
const IDLE: u32 = 0;
/// Queued.
const QUEUED: u32 = 1;
/// Running.
const RUNNING: u32 = 2;
/// Running, and to run once more.
const AGAIN: u32 = 3;

/// An `irq_work`: taken up right after the current code opens interrupts, on this CPU. What
/// cannot be done under somebody else's spin lock is done there.
///
/// The kernel lets a work be queued while it runs. Two CPUs may be in it then, and the first to end
/// makes it look as if none were, to `irq_work_sync()` too. So the kernel's work is left alone while it
/// runs, and runs once more instead.
///
/// # Invariants
///
/// - The work is initialised with [`trampoline`]. It is not queued when it is dropped.
/// - While `state` is [`IDLE`] the kernel's work is not queued, and nobody is in [`trampoline`]; the
///   kernel may still be about to mark it as not busy. It is queued by who has made `state`
///   [`QUEUED`] only.
#[pin_data]
#[repr(C)]
pub(crate) struct IrqWork<T: HasIrqWork> {
    #[pin]
    work: Opaque<bindings::irq_work>,
    state: Atomic<u32>,
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
            state: Atomic::new(IDLE),
            _owner: PhantomData,
        })
    }

    /// Queues the work, if it is not going to run anyway: whether it was not. It runs once for each
    /// time that this is true. Any context.
    pub(crate) fn queue(&self) -> bool {
        loop {
            match self.state.load(Relaxed) {
                IDLE => {
                    if self.state.cmpxchg(IDLE, QUEUED, Full).is_ok() {
                        break;
                    }
                }
                RUNNING => {
                    if self.state.cmpxchg(RUNNING, AGAIN, Full).is_ok() {
                        return true;
                    }
                }
                // What the caller has done before is seen by the run to come.
                state => {
                    if self.state.cmpxchg(state, state, Full).is_ok() {
                        return false;
                    }
                }
            }
        }
        // Another CPU is still in the interrupt that the latest run was in, a few steps from the end.
        // SAFETY: The work is initialised by the type invariants.
        while unsafe { bindings::kq_irq_work_is_busy(self.work.get()) } {
            cpu_relax();
        }
        // INVARIANT: `state` is `QUEUED`, by us.
        // SAFETY: The work is initialised, and stays until it has run: see `new`.
        unsafe { bindings::irq_work_queue(self.work.get()) }
    }

    /// Waits until the work is neither queued nor running, and the kernel done with it. May sleep.
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
    // SAFETY: By this function's requirements; `IrqWork` begins with its work. By `IrqWork::new`'s
    // requirements it is a field of a `T`, which is not freed before `sync` has waited for this
    // function to return.
    let (this, owner) = unsafe { (&*work.cast::<IrqWork<T>>(), T::from_work(work)) };
    loop {
        // Whatever was done before the work was queued, for this run, is seen by it.
        this.state.xchg(RUNNING, Full);
        owner.run();
        if this.state.cmpxchg(RUNNING, IDLE, Full).is_ok() {
            // INVARIANT: It is not queued, and this is left.
            return;
        }
    }
}
