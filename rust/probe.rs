// SPDX-License-Identifier: GPL-2.0

//! The probes: how the module comes to know of a close and a fork.
//!
//! A descriptor leaves a table in many ways, and all end in `filp_flush(file, files_struct)`; see
//! `helpers.c` for the functions that are probed. The probes are armed while there is a kqueue,
//! and for [`LINGER`] after: arming patches code and waits for grace periods, which a program that
//! makes kqueues in a loop is to pay for once.

use crate::{
    bindings, device, filetable,
    wrap::{
        delayed_work::{Call, DelayedCall},
        files::{self, FilesId},
        poll,
        task_work::{self, TaskWork},
    },
};
use kernel::{
    alloc::{flags::GFP_KERNEL, KBox},
    error::to_result,
    fs::File,
    prelude::*,
    sync::aref::ARef,
    task::Task,
};

/// Milliseconds that the probes stay armed without a user.
const LINGER: u32 = 10_000;

struct Probes {
    /// Kqueues.
    users: usize,
    armed: bool,
    disarm: Option<Pin<KBox<DelayedCall>>>,
}

kernel::sync::global_lock! {
    // SAFETY: Initialised by `init`, before anything else of the module runs.
    unsafe(uninit) static PROBES: Mutex<Probes> = Probes {
        users: 0,
        armed: false,
        disarm: None,
    };
}

/// Finds what there is to probe. `EOPNOTSUPP`, with a line in the log, where this kernel does not
/// have it; `ENOMEM`. May sleep.
///
/// # Safety
///
/// To be called once, before anything else of this file.
pub(crate) unsafe fn init() -> Result {
    // SAFETY: By this function's requirements.
    unsafe { PROBES.init() };
    // SAFETY: No requirement but that the probes are not armed yet.
    to_result(unsafe { bindings::kq_probe_init() })?;
    PROBES.lock().disarm = Some(KBox::pin_init(DelayedCall::new::<Disarm>(), GFP_KERNEL)?);
    Ok(())
}

/// Disarms, and waits until nobody is in a probe, or in what one has queued. May sleep.
pub(crate) fn exit() {
    let disarm = PROBES.lock().disarm.take();
    // Waits for the call, which takes the lock.
    drop(disarm);
    Disarm::call();
    // SAFETY: No requirement; the probes are disarmed.
    unsafe { bindings::kq_probe_exit() };
    task_work::wait();
}

/// The right to have the probes armed.
pub(crate) struct Armed(());

impl Armed {
    /// Arms the probes, if they are not. What arming says. May sleep.
    pub(crate) fn new() -> Result<Self> {
        let mut probes = PROBES.lock();
        if !probes.armed {
            // SAFETY: They are not armed, and the lock is held.
            to_result(unsafe { bindings::kq_probe_arm() })?;
            probes.armed = true;
        }
        probes.users += 1;
        Ok(Self(()))
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        let mut probes = PROBES.lock();
        probes.users -= 1;
        if probes.users == 0 {
            if let Some(disarm) = &probes.disarm {
                disarm.call_in(LINGER);
            }
        }
    }
}

struct Disarm;

impl Call for Disarm {
    fn call() {
        let mut probes = PROBES.lock();
        if probes.users == 0 && probes.armed {
            // SAFETY: They are armed, and the lock is held.
            unsafe { bindings::kq_probe_disarm() };
            probes.armed = false;
        }
    }
}

/// `file` leaves `files`: its slot is empty or holds something else, or `files` is dying.
///
/// # Safety
///
/// Called from the probe on the function that does that, with preemption off. Both are alive.
#[no_mangle]
unsafe extern "C" fn kq_probe_flush(file: *mut bindings::file, files: *mut bindings::files_struct) {
    // SAFETY: By this function's requirements.
    unsafe { filetable::file_closed(FilesId::of(files), file, None) };
}

/// `file` is about to be put in slot `fd` of `files`, over what is there: if that is `file`, the
/// slot will not show that it was closed.
///
/// # Safety
///
/// Called from the probe on dup2(2), under the table's lock, with preemption off. Both are alive.
#[no_mangle]
unsafe extern "C" fn kq_probe_dup2(
    files: *mut bindings::files_struct,
    file: *mut bindings::file,
    fd: core::ffi::c_uint,
) {
    // A knote on this file and slot is one whose slot has held the file until now, or a close is
    // under way that ends it anyway.
    // SAFETY: By this function's requirements.
    unsafe { filetable::file_closed(FilesId::of(files), file, Some(fd)) };
}

/// `child` was made by `parent`, and has not run yet.
///
/// # Safety
///
/// Called from the tracepoint, which may not sleep. Both are alive.
#[no_mangle]
unsafe extern "C" fn kq_probe_fork(
    parent: *mut bindings::task_struct,
    child: *mut bindings::task_struct,
) {
    // SAFETY: The parent is the current task, and the child does not run yet: neither changes its
    // table.
    let (parent_files, child_files) = unsafe { ((*parent).files, (*child).files) };
    if child_files.is_null() || parent_files == child_files {
        return;
    }
    if filetable::has_kqueue(FilesId::of(parent_files)) {
        // Without memory the child keeps a descriptor that every call refuses.
        // SAFETY: The child is alive by this function's requirements.
        let _ = unsafe { task_work::add(child, CloseInherited) };
    }
}

/// The socket behind `file` is about to be connected; `watched` if somebody is on its wait queue.
///
/// # Safety
///
/// Called from the probe on that, with preemption off. `file` is alive.
#[no_mangle]
unsafe extern "C" fn kq_probe_connect(file: *mut bindings::file, watched: bool) {
    // A connect may wait, and somebody of this process may come to watch meanwhile.
    if !watched && !filetable::has_kqueue(FilesId::current()) {
        return;
    }
    // SAFETY: By this function's requirements; we are not in a read, write or lseek.
    let file = unsafe { File::from_raw_file(file) }.into();
    // Without memory a knote is told at the next change of the socket.
    // SAFETY: The current task.
    let _ = unsafe { task_work::add(Task::current_raw(), Connected(file)) };
}

/// Before it returns from connect(2), the task looks who waits for that.
struct Connected(ARef<File>);

impl TaskWork for Connected {
    fn run(self) {
        poll::connected(&self.0);
    }
}

/// A new process closes the kqueues that it got from its parent.
struct CloseInherited;

impl TaskWork for CloseInherited {
    fn run(self) {
        let files = FilesId::current();
        let mut first = 0;
        // SAFETY: The current task's own table, or none where it was killed before it ran, in which
        // nothing is found.
        while let Some(fd) = unsafe { files.find(first, device::is_inherited) } {
            // SAFETY: A task work runs on the way to user space, where no descriptor is in use.
            unsafe { files::close(fd) };
            first = fd + 1;
        }
    }
}
