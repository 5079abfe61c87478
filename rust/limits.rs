// SPDX-License-Identifier: GPL-2.0

//! What a user and a process may have.

use crate::{bindings, wrap::once::Once};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

kernel::sync::global_lock! {
    // SAFETY: Initialised by `init`, before anything else of the module runs.
    unsafe(uninit) static USERS: Mutex<KVec<Arc<User>>> = KVec::new();
}

/// A count with a limit.
pub(crate) struct Counter(Atomic<usize>);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Counts one more. `ENOMEM`, and it is not counted, where there are `max` already. Any
    /// context.
    pub(crate) fn charge(&self, max: usize) -> Result {
        if self.add() >= max {
            self.uncharge();
            return Err(ENOMEM);
        }
        Ok(())
    }

    /// Counts one more, without a limit. How many there were before. Any context.
    pub(crate) fn add(&self) -> usize {
        self.0.fetch_add(1, Relaxed)
    }

    /// Counts one less. Any context.
    pub(crate) fn uncharge(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> usize {
        self.0.read()
    }
}

/// A user (a real uid) who has kqueues.
pub(crate) struct User {
    uid: u32,
    /// Kqueues that refer to it: while there are any, it is in [`USERS`].
    kqueues: Counter,
    /// Knotes in the kqueues that this user made.
    watches: Counter,
}

/// Sets up the table of users, and the limits that depend on the machine.
///
/// # Safety
///
/// To be called once, before anything else of this file.
pub(crate) unsafe fn init() {
    // SAFETY: By this function's requirements.
    unsafe { USERS.init() };
    // SAFETY: No requirement: sets a module parameter.
    unsafe { bindings::kq_param_init(crate::knote::Knote::SIZE) };
}

/// The table of users goes. Nothing of this file is used after.
pub(crate) fn exit() {
    drop(core::mem::take(&mut *USERS.lock()));
}

impl User {
    /// The real uid.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Counts one more knote. `ENOMEM` past the limit.
    pub(crate) fn charge_watch(&self) -> Result {
        // SAFETY: No requirement: reads a module parameter.
        let max = unsafe { bindings::kq_param_watches_max() };
        self.watches.charge(max)
    }

    /// Counts one knote less. Any context.
    pub(crate) fn uncharge_watch(&self) {
        self.watches.uncharge();
    }
}

/// A kqueue's reference to its user.
pub(crate) struct UserRef(Arc<User>);

impl UserRef {
    /// The current task's user. `ENOMEM`. May sleep.
    pub(crate) fn current() -> Result<Self> {
        let uid = kernel::current!().uid().into_raw().val;
        let mut users = USERS.lock();
        // References are made under this lock, or from others, so who has none gets none meanwhile.
        users.retain(|user| user.kqueues.get() != 0);
        let user = match users.iter().find(|user| user.uid == uid) {
            Some(user) => user.clone(),
            None => {
                let user = Arc::new(
                    User {
                        uid,
                        kqueues: Counter::new(),
                        watches: Counter::new(),
                    },
                    GFP_KERNEL_ACCOUNT,
                )?;
                users.push(user.clone(), GFP_KERNEL_ACCOUNT)?;
                user
            }
        };
        user.kqueues.charge(usize::MAX)?;
        Ok(Self(user))
    }
}

impl Clone for UserRef {
    fn clone(&self) -> Self {
        self.0.kqueues.add();
        Self(self.0.clone())
    }
}

impl core::ops::Deref for UserRef {
    type Target = User;

    fn deref(&self) -> &User {
        &self.0
    }
}

impl Drop for UserRef {
    fn drop(&mut self) {
        self.0.kqueues.uncharge();
    }
}
