// SPDX-License-Identifier: GPL-2.0

//! f_detach that is put off: of filters whose [`Filter::detach`](crate::filter::Filter) may sleep,
//! where a descriptor is closed.
//!
//! A knote that has ended is put on a list by the link it was in its kqueue's table by, so that
//! nothing has to be allocated. Who closes the descriptor goes through the list before it returns from
//! the system call, or a worker does, where that cannot be had. The knote keeps its file until then.

use crate::{
    index::BY_KEY,
    knote::Knote,
    wrap::{
        delayed_work::{Call, DelayedCall},
        global::Global,
        task::relax,
        task_work::{self, TaskWork},
    },
};
use kernel::{
    alloc::{flags::GFP_KERNEL, KBox},
    list::{List, ListArc},
    prelude::*,
    task::Task,
};

kernel::sync::global_lock! {
    // SAFETY: Initialised by `init`, before anything else of the module runs.
    unsafe(uninit) static PENDING: SpinLock<List<Knote, BY_KEY>> = List::new();
}

kernel::sync::global_lock! {
    // SAFETY: As above. Held while the list is gone through, so that who comes to an empty list
    // comes after what was on it.
    unsafe(uninit) static RUNNING: Mutex<()> = ();
}

/// Calls [`run`].
static WORKER: Global<DelayedCall> = Global::new();

/// Makes it usable. `ENOMEM`.
///
/// # Safety
///
/// To be called once, before anything else of this file.
pub(crate) unsafe fn init() -> Result {
    // SAFETY: By this function's requirements.
    unsafe {
        PENDING.init();
        RUNNING.init();
    }
    WORKER.set(KBox::pin_init(DelayedCall::new::<Run>(), GFP_KERNEL)?);
    Ok(())
}

/// Nothing of this is used any more.
///
/// # Safety
///
/// No kqueue is open, and no filter of another module's is registered.
pub(crate) unsafe fn exit() {
    // SAFETY: By this function's requirements nobody uses it.
    drop(unsafe { WORKER.take() });
    run();
}

/// Has a knote that is in no table any more detached soon. Any context but interrupts.
pub(crate) fn put_off(kn: ListArc<Knote, BY_KEY>) {
    PENDING.lock().push_back(kn);
    // SAFETY: The current task.
    if unsafe { task_work::add(Task::current_raw(), Run) }.is_err() {
        if let Some(worker) = WORKER.get() {
            worker.call_once_in(0);
        }
    }
}

/// Detaches what has been put off. May sleep.
fn run() {
    let _running = RUNNING.lock();
    loop {
        // A statement of its own: the lock is not held for what follows.
        let next = PENDING.lock().pop_front();
        let Some(kn) = next else { return };
        kn.f_detach();
        drop(kn);
        relax();
    }
}

struct Run;

impl TaskWork for Run {
    fn run(self) {
        run();
    }
}

impl Call for Run {
    fn call() {
        run();
    }
}
