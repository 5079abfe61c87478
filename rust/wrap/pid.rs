// SPDX-License-Identifier: GPL-2.0

//! Processes, by their `struct pid`: that one is never another's, whatever becomes of its number.

use crate::bindings;
use core::{
    marker::{PhantomData, PhantomPinned},
    ptr,
};
use kernel::{
    ffi::{c_int, c_uint, c_void},
    fs::File,
    pid_namespace::PidNamespace,
    prelude::*,
    sync::{
        aref::{ARef, AlwaysRefCounted},
        Arc,
    },
    types::Opaque,
};

/// A `struct pid`.
#[repr(transparent)]
pub(crate) struct Pid(Opaque<bindings::pid>);

// SAFETY: Counted by its own counter, which a reference that is shared shows to be not zero.
unsafe impl AlwaysRefCounted for Pid {
    fn inc_ref(&self) {
        // SAFETY: It is alive.
        unsafe { bindings::kq_pid_get(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: ptr::NonNull<Self>) {
        // SAFETY: By this function's requirements the reference is the caller's to give.
        unsafe { bindings::put_pid(obj.cast().as_ptr()) };
    }
}

// SAFETY: A pid may be used and let go of by any thread.
unsafe impl Send for Pid {}
// SAFETY: And by many at once.
unsafe impl Sync for Pid {}

/// What has become of a process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Runs,
    /// All of it, and its parent can wait for it; with wait(2)'s status.
    Exited(i32),
    Reaped,
}

impl Pid {
    fn as_ptr(&self) -> *mut bindings::pid {
        self.0.get()
    }

    /// The address, to be compared, and to compute a hash of.
    pub(crate) fn addr(&self) -> usize {
        self.as_ptr() as usize
    }

    /// The pid at `pid`.
    ///
    /// # Safety
    ///
    /// It is alive for `'a`.
    pub(crate) unsafe fn from_raw<'a>(pid: *mut bindings::pid) -> &'a Self {
        // SAFETY: By this function's requirements; the type is transparent.
        unsafe { &*pid.cast() }
    }

    /// The process (or thread) that has the number `nr` where the current task is. Process context.
    pub(crate) fn find(nr: usize) -> Option<ARef<Self>> {
        let nr = c_int::try_from(nr).ok()?;
        // SAFETY: No requirement.
        let pid = ptr::NonNull::new(unsafe { bindings::find_get_pid(nr) })?;
        // SAFETY: The reference that was just got.
        Some(unsafe { ARef::from_raw(pid.cast()) })
    }

    /// The current process.
    pub(crate) fn current() -> ARef<Self> {
        // SAFETY: The current task has its pid for as long as it runs.
        unsafe { Self::from_raw(bindings::kq_pid_current()) }.into()
    }

    /// What a pidfd is of.
    pub(crate) fn of_file(file: &File) -> Option<&Self> {
        // SAFETY: The file is alive.
        let pid = unsafe { bindings::kq_pid_of_file(file.as_ptr()) };
        // SAFETY: A pidfd has a reference to its pid for as long as it is open.
        (!pid.is_null()).then(|| unsafe { Self::from_raw(pid) })
    }

    /// Whether a process has it, and not only a thread of one. Any context.
    pub(crate) fn is_process(&self) -> bool {
        // SAFETY: It is alive.
        unsafe { bindings::kq_pid_is_process(self.as_ptr()) }
    }

    /// What has become of the process. Any context.
    pub(crate) fn state(&self) -> State {
        let mut status = 0;
        // SAFETY: It is alive; `status` is a local.
        match unsafe { bindings::kq_pid_state(self.as_ptr(), &mut status) } {
            bindings::KQ_PID_RUNS => State::Runs,
            bindings::KQ_PID_EXITED => State::Exited(status),
            _ => State::Reaped,
        }
    }

    /// Why the current task may know what the process does, which goes for its children, too.
    /// `EACCES` where it may not; `ESRCH` where the process was reaped. Process context.
    pub(crate) fn may_watch(&self) -> Result<Access> {
        let mut ids = bindings::kq_pid_ids::default();
        // SAFETY: It is alive; `ids` is a local.
        match unsafe { bindings::kq_pid_may_watch(self.as_ptr(), &mut ids) } {
            bindings::KQ_PID_ALLOWED_BY_IDS => Ok(Access(Some(ids))),
            bindings::KQ_PID_ALLOWED => Ok(Access(None)),
            bindings::KQ_PID_GONE => Err(ESRCH),
            _ => Err(EACCES),
        }
    }

    /// Whether it is the process that has the number `nr` in `ns`; `None` where that is no process's.
    /// Any context.
    pub(crate) fn is_number(&self, nr: usize, ns: &PidNamespace) -> Option<bool> {
        let nr = c_uint::try_from(nr).ok()?;
        // SAFETY: The namespace is alive. What is returned is compared.
        let found = unsafe { bindings::kq_pid_lookup(nr, ns.as_ptr()) };
        (!found.is_null()).then(|| ptr::eq(found.cast(), self.as_ptr()))
    }

    /// Its number in `ns`; `None` where it cannot be seen. Any context.
    pub(crate) fn number(&self, ns: &PidNamespace) -> Option<u32> {
        // SAFETY: Both are alive.
        let nr = unsafe { bindings::pid_nr_ns(self.as_ptr(), ns.as_ptr()) };
        u32::try_from(nr).ok().filter(|nr| *nr != 0)
    }
}

/// Why a process may be watched.
#[derive(Clone, Copy)]
pub(crate) struct Access(Option<bindings::kq_pid_ids>);

impl Access {
    /// Whether another process may be watched for the same reason. Any context.
    pub(crate) fn extends_to(&self, pid: &Pid) -> bool {
        match &self.0 {
            // SAFETY: The pid is alive.
            Some(ids) => unsafe { bindings::kq_pid_has_ids(pid.as_ptr(), ids) },
            None => true,
        }
    }
}

/// The pid namespace of the current task. Process context.
pub(crate) fn current_ns() -> Option<ARef<PidNamespace>> {
    kernel::current!().active_pid_ns().map(Into::into)
}

/// What is told when a process exits or is reaped.
pub(crate) trait Waits: Send + Sync + Sized {
    /// The process has exited, or was reaped, or perhaps only a thread of it. Under the pid's
    /// wait queue's lock and the task list's, interrupts off.
    fn woken(&self);
}

/// An entry on a pid's wait queue, which is there for pidfds.
///
/// # Invariants
///
/// While `wait` is on the queue of `pid` its function is [`wake`], and its private data a `T` that is
/// alive.
#[pin_data]
pub(crate) struct PidWait<T: Waits> {
    #[pin]
    wait: Opaque<bindings::wait_queue_entry>,
    #[pin]
    _pin: PhantomPinned,
    _owner: PhantomData<fn(&T)>,
}

// SAFETY: An entry is used by the queue under its lock.
unsafe impl<T: Waits> Send for PidWait<T> {}
// SAFETY: As above.
unsafe impl<T: Waits> Sync for PidWait<T> {}

impl<T: Waits> PidWait<T> {
    /// An entry on no queue.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            wait <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes.
                unsafe { bindings::kq_init_wait_func(slot, Some(wake::<T>)) }
            }),
            _pin: PhantomPinned,
            _owner: PhantomData,
        })
    }

    /// Puts the entry on the queue of `pid`: `owner` is woken from now on. Any context; the lock
    /// that `woken` takes is not held.
    ///
    /// # Safety
    ///
    /// The entry is on no queue; `owner` is alive until [`Self::remove`] has returned, and so are
    /// `pid` and the entry.
    pub(crate) unsafe fn add(&self, pid: &Pid, owner: &Arc<T>) {
        // SAFETY: The entry is on no queue, so nobody looks at it.
        unsafe { (*self.wait.get()).private = Arc::as_ptr(owner).cast_mut().cast() };
        // SAFETY: By this function's requirements.
        // INVARIANT: The owner is alive until the entry is removed.
        unsafe { bindings::kq_pid_add_wait(pid.as_ptr(), self.wait.get()) };
    }

    /// Takes the entry off. When this returns nobody is woken, nor will be. Any context; the lock
    /// that `woken` takes is not held.
    ///
    /// # Safety
    ///
    /// It is on the queue of `pid`.
    pub(crate) unsafe fn remove(&self, pid: &Pid) {
        // SAFETY: By this function's requirements.
        unsafe { bindings::kq_pid_remove_wait(pid.as_ptr(), self.wait.get()) };
    }
}

/// # Safety
///
/// Called by the kernel for the entry of a [`PidWait`] that is on a queue, under its lock.
unsafe extern "C" fn wake<T: Waits>(
    wait: *mut bindings::wait_queue_entry,
    _mode: c_uint,
    _flags: c_int,
    _key: *mut c_void,
) -> c_int {
    // SAFETY: By `PidWait`'s invariants.
    unsafe { &*(*wait).private.cast::<T>() }.woken();
    1
}
