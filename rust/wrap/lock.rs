// SPDX-License-Identifier: GPL-2.0

//! A spin lock that may be taken in interrupts.

use crate::bindings;
use kernel::{
    ffi::{c_char, c_ulong},
    sync::lock::{Backend, Guard, Lock},
};

/// A spin lock whose holder runs with interrupts off, so that the lock may also
/// be taken by what an interrupt calls. Any context.
pub(crate) type IrqSpinLock<T> = Lock<T, IrqSaveBackend>;

/// The guard of an [`IrqSpinLock`]; restores the interrupt flag it found. Of two, the later is to
/// be dropped first.
pub(crate) type IrqSpinGuard<'a, T> = Guard<'a, T, IrqSaveBackend>;

/// `spin_lock_irqsave()` and its counterpart.
pub(crate) struct IrqSaveBackend;

// SAFETY: The kernel's spin locks give exclusive ownership from lock to unlock. `relock` is the
// default one, which locks anew with `lock`.
unsafe impl Backend for IrqSaveBackend {
    type State = bindings::spinlock_t;
    /// The interrupt flag at the time of locking.
    type GuardState = c_ulong;

    unsafe fn init(ptr: *mut Self::State, name: *const c_char, key: *mut bindings::lock_class_key) {
        // SAFETY: By this function's requirements `ptr` is valid for writes, and `name` and `key`
        // stay valid.
        unsafe { bindings::kq_spin_lock_init(ptr, name, key) }
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: By this function's requirements the lock is initialised.
        unsafe { bindings::kq_spin_lock_irqsave(ptr) }
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, guard_state: &Self::GuardState) {
        // SAFETY: By this function's requirements the caller owns the lock, and `guard_state` is
        // what taking it returned.
        unsafe { bindings::kq_spin_unlock_irqrestore(ptr, *guard_state) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        let mut flags = 0;
        // SAFETY: By this function's requirements the lock is initialised; `flags` is a local.
        unsafe { bindings::kq_spin_trylock_irqsave(ptr, &mut flags) }.then_some(flags)
    }

    #[inline]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // Asked for each time that the lock is taken.
        if cfg!(CONFIG_LOCKDEP) {
            // SAFETY: By this function's requirements the lock is initialised.
            unsafe { bindings::kq_spin_assert_held(ptr) }
        }
    }
}

/// Makes an initialiser of an [`IrqSpinLock`] with a lock class of its own.
macro_rules! new_irq_spinlock {
    ($inner:expr, $name:literal) => {
        kernel::sync::lock::Lock::<_, $crate::wrap::lock::IrqSaveBackend>::new(
            $inner,
            kernel::c_str!($name),
            kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_irq_spinlock;
