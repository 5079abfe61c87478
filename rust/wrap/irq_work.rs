// SPDX-License-Identifier: GPL-2.0

//! Work to be done as soon as this CPU takes interrupts again.

use crate::{bindings, wrap::task::relax_in_worker};
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

    /// Runs in interrupt context, with interrupts off; or in a worker, which may be preempted and is
    /// not to sleep for long. No lock is held, and there is one run at a time.
    fn run(&self);
}

/// Neither queued nor running, but for the kernel's own last steps.
const IDLE: u32 = 0;
/// Queued.
const QUEUED: u32 = 1;
/// Running.
const RUNNING: u32 = 2;
/// Running, and to run once more; or left to the worker, which is to run it.
const AGAIN: u32 = 3;

/// Runs in one interrupt. What there is to do after these, the worker does: other CPUs may ask for
/// another run during each one, for ever.
const ROUNDS: usize = 2;

/// An `irq_work`: taken up right after the current code opens interrupts, on this CPU. What
/// cannot be done under somebody else's spin lock is done there.
///
/// The kernel lets a work be queued while it runs. Two CPUs may be in it then, and the first to end
/// makes it look as if none were, to `irq_work_sync()` too. So the kernel's work is left alone while it
/// runs, and runs once more instead: in the same interrupt, then in a worker.
///
/// ```text
///            queue()           trampoline()           queue()
///     IDLE ──────────► QUEUED ──────────────► RUNNING ───────► AGAIN
///      ▲                                        │  ▲             │
///      └────────────────────────────────────────┘  └─────────────┘
///                      after a run                 the next run, by the interrupt or
///                                                  the worker
/// ```
///
/// Whoever runs it, the interrupt or the worker, has it alone from `RUNNING` to `IDLE`. The
/// interrupt gives it to the worker as `AGAIN`, which nobody else takes it out of.
///
/// # Invariants
///
/// - `work` is initialised with [`trampoline`], and `rest` with [`the_rest`]. Neither is queued when it
///   is dropped.
/// - While `state` is [`IDLE`] neither is queued, and nobody is in [`trampoline`] or [`the_rest`] but
///   to return; the kernel may still be about to mark them as not busy. `work` is queued by who has
///   made `state` [`QUEUED`] only, and `rest` by [`trampoline`] only, as its last step, with `state`
///   [`AGAIN`].
#[pin_data]
#[repr(C)]
pub(crate) struct IrqWork<T: HasIrqWork> {
    #[pin]
    work: Opaque<bindings::irq_work>,
    #[pin]
    rest: Opaque<bindings::work_struct>,
    state: Atomic<u32>,
    _owner: PhantomData<fn(&T)>,
}

// SAFETY: An `irq_work` and a `work_struct` may be queued from any thread.
unsafe impl<T: HasIrqWork> Send for IrqWork<T> {}
// SAFETY: And from many at once: they are queued once.
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
            rest <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes, and pinned.
                unsafe { bindings::kq_init_work(slot, Some(the_rest::<T>)) }
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
        // Another CPU is still in the interrupt that the work was in, a few steps from the end.
        // SAFETY: The work is initialised by the type invariants.
        while unsafe { bindings::kq_irq_work_is_busy(self.work.get()) } {
            cpu_relax();
        }
        // INVARIANT: `state` is `QUEUED`, by us.
        // SAFETY: The work is initialised, and stays until it has run: see `new`.
        unsafe { bindings::irq_work_queue(self.work.get()) }
    }

    /// Waits until the work is neither queued nor running, and the kernel done with it. Nobody may
    /// queue it meanwhile. May sleep.
    pub(crate) fn sync(&self) {
        // First the interrupt, which may leave the rest to the worker; the worker queues nothing.
        // SAFETY: The work is initialised by the type invariants.
        unsafe { bindings::irq_work_sync(self.work.get()) };
        // SAFETY: As above.
        unsafe { bindings::flush_work(self.rest.get()) };
    }

    /// Runs once, and whatever was done before this run was queued is seen by it. Whether it is to
    /// run once more; if not, `state` is [`IDLE`].
    ///
    /// Called by who has the work alone.
    fn run(&self, owner: &T) -> bool {
        self.state.xchg(RUNNING, Full);
        owner.run();
        // INVARIANT: Neither is queued, and the caller returns.
        self.state.cmpxchg(RUNNING, IDLE, Full).is_err()
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
    for _ in 0..ROUNDS {
        if !this.run(owner) {
            return;
        }
    }
    // INVARIANT: `state` is `AGAIN`, and stays so until the worker runs.
    // SAFETY: The work is initialised, and stays until it has run: `sync` waits for this function
    // and then for the worker. It is not pending, as the worker has taken it up before `state` became
    // `IDLE` the last time; so it will run.
    unsafe { bindings::kq_queue_work(this.rest.get()) };
}

/// The function of the worker: what the interrupt has left.
///
/// # Safety
///
/// Called by the kernel with the `rest` of a work that [`IrqWork::new`] made.
unsafe extern "C" fn the_rest<T: HasIrqWork>(rest: *mut bindings::work_struct) {
    // SAFETY: By this function's requirements it is this field of an `IrqWork`. By `IrqWork::new`'s
    // requirements that is a field of a `T`, which is not freed before `sync` has waited for this
    // function to return.
    let (this, owner) = unsafe {
        let this = &*kernel::container_of!(Opaque::cast_from(rest), IrqWork<T>, rest);
        (this, T::from_work(this.work.get()))
    };
    while this.run(owner) {
        relax_in_worker();
    }
}
