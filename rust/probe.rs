// SPDX-License-Identifier: GPL-2.0

//! The probes: how the module comes to know of a close and a fork.
//!
//! A descriptor leaves a table in many ways, and all end in `filp_flush(file, files_struct)`; see
//! `helpers.c` for the functions that are probed. Signals and execs are tracepoints; see
//! `helpers_process.c`. The probes are armed while something needs them, and for [`LINGER`] after:
//! arming patches code and waits for grace periods, which a program that makes kqueues in a loop is
//! to pay for once.

use crate::{
    bindings, device, filetable,
    filter::proc,
    process::{self, Of},
    uapi::NOTE_EXEC,
    watched::Watched,
    wrap::{
        delayed_work::{Call, DelayedCall},
        files::{self, FilesId},
        global::Global,
        pid::Pid,
        poll,
        task_work::{self, TaskWork},
    },
};
use kernel::{
    alloc::{flags::GFP_KERNEL, KBox},
    error::to_result,
    ffi::c_int,
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
    },
    task::Task,
};

/// Milliseconds that the probes stay armed without a user.
const LINGER: u32 = 10_000;

/// What is probed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What happens to descriptors, and forks; while there is a kqueue.
    Descriptors,
    /// Signals.
    Signals,
    /// Execs.
    Execs,
    /// The setting of file offsets.
    Seeks,
}

const KINDS: [Kind; 4] = [Kind::Descriptors, Kind::Signals, Kind::Execs, Kind::Seeks];

impl Kind {
    /// How many hold it armed.
    fn users(self) -> &'static Atomic<usize> {
        static USERS: [Atomic<usize>; KINDS.len()] = [const { Atomic::new(0) }; KINDS.len()];
        // There is one for each kind.
        &USERS[self as usize]
    }

    /// `EOPNOTSUPP` where this kernel does not have what is to be probed, and what arming says. May
    /// sleep.
    ///
    /// # Safety
    ///
    /// It is not armed, and [`PROBES`] is held.
    unsafe fn arm(self) -> Result {
        // SAFETY: By this function's requirements.
        to_result(unsafe {
            match self {
                Self::Descriptors => bindings::kq_probe_arm(),
                Self::Signals => bindings::kq_trace_arm(bindings::KQ_TRACE_SIGNAL),
                Self::Execs => bindings::kq_trace_arm(bindings::KQ_TRACE_EXEC),
                Self::Seeks => bindings::kq_seek_arm(),
            }
        })
    }

    /// May sleep.
    ///
    /// # Safety
    ///
    /// It is armed, and [`PROBES`] is held.
    unsafe fn disarm(self) {
        // SAFETY: By this function's requirements.
        unsafe {
            match self {
                Self::Descriptors => bindings::kq_probe_disarm(),
                Self::Signals => bindings::kq_trace_disarm(bindings::KQ_TRACE_SIGNAL),
                Self::Execs => bindings::kq_trace_disarm(bindings::KQ_TRACE_EXEC),
                Self::Seeks => bindings::kq_seek_disarm(),
            }
        }
    }
}

kernel::sync::global_lock! {
    // SAFETY: Initialised by `init`, before anything else of the module runs.
    unsafe(uninit) static PROBES: Mutex<[bool; KINDS.len()]> = [false; KINDS.len()];
}

/// Calls [`Disarm`].
static DISARM: Global<DelayedCall> = Global::new();

/// Finds what there is to probe. `EOPNOTSUPP`, with a line in the log, where this kernel does not
/// have what no kqueue can do without; `ENOMEM`. May sleep.
///
/// # Safety
///
/// To be called once, before anything else of this file.
pub(crate) unsafe fn init() -> Result {
    // SAFETY: By this function's requirements.
    unsafe { PROBES.init() };
    // SAFETY: No requirement but that the probes are not armed yet.
    unsafe { bindings::kq_trace_init() };
    // SAFETY: As above.
    to_result(unsafe { bindings::kq_probe_init() })?;
    DISARM.set(KBox::pin_init(DelayedCall::new::<Disarm>(), GFP_KERNEL)?);
    Ok(())
}

/// Disarms, and waits until nobody is in a probe, or in what one has queued. After [`init`], whatever
/// that said, when no kqueue is open any more. May sleep.
pub(crate) fn exit() {
    // Whoever is in a probe still may hold a knote, and that something armed.
    disarm(|_| true);
    // SAFETY: No requirement; the probes are disarmed.
    unsafe { bindings::kq_probe_exit() };
    task_work::wait();
    // SAFETY: Who used it was in a probe, or had a kqueue open.
    let call = unsafe { DISARM.take() };
    // Waits for the call, which finds nothing to do.
    drop(call);
}

/// Disarms the kinds that `unused` says. May sleep.
fn disarm(unused: impl Fn(Kind) -> bool) {
    for (kind, armed) in KINDS.into_iter().zip(&mut *PROBES.lock()) {
        if *armed && unused(kind) {
            // SAFETY: It is armed, and the lock is held.
            unsafe { kind.disarm() };
            *armed = false;
        }
    }
}

/// The right to have something probed.
pub(crate) struct Armed(Kind);

impl Armed {
    /// Arms the probes of a kind, if they are not. What arming says. May sleep.
    pub(crate) fn new(kind: Kind) -> Result<Self> {
        let mut armed = PROBES.lock();
        // Before it is counted: the call that disarms looks under the lock.
        let armed = armed.get_mut(kind as usize).ok_or(EINVAL)?;
        if !*armed {
            // SAFETY: It is not armed, and the lock is held.
            unsafe { kind.arm() }?;
            *armed = true;
        }
        kind.users().fetch_add(1, Relaxed);
        Ok(Self(kind))
    }
}

// Any context.
impl Clone for Armed {
    fn clone(&self) -> Self {
        self.0.users().fetch_add(1, Relaxed);
        Self(self.0)
    }
}

// Any context.
impl Drop for Armed {
    fn drop(&mut self) {
        if self.0.users().fetch_sub(1, Relaxed) == 1 {
            if let Some(disarm) = DISARM.get() {
                disarm.call_in(LINGER);
            }
        }
    }
}

struct Disarm;

impl Call for Disarm {
    fn call() {
        disarm(|kind| kind.users().load(Relaxed) == 0);
    }
}

/// `file` leaves `files`: its slot is empty or holds something else, or `files` is dying.
///
/// # Safety
///
/// Called from the probe on the function that does that, with preemption off. Both are alive.
#[no_mangle]
unsafe extern "C" fn kq_probe_flush(file: *mut bindings::file, files: *mut bindings::files_struct) {
    let id = FilesId::of(files);
    if filetable::may_have_kqueue(id) {
        // SAFETY: By this function's requirements.
        unsafe { filetable::file_closed(id, file, None) };
    }
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
    // SAFETY: Both are alive, and neither is reaped while this runs.
    let (parent_pid, child_pid) = unsafe {
        (
            bindings::kq_pid_of_task(parent),
            bindings::kq_pid_of_task(child),
        )
    };
    // Else it is a thread.
    if parent_pid != child_pid {
        // SAFETY: A task that is not reaped has its pid.
        unsafe { proc::forked(Pid::from_raw(parent_pid), Pid::from_raw(child_pid)) };
    }
    if child_files.is_null() || parent_files == child_files {
        return;
    }
    if filetable::may_have_any(FilesId::of(parent_files)) {
        // Without memory the child keeps a descriptor that every call refuses.
        // SAFETY: The child is alive by this function's requirements.
        let _ = unsafe { task_work::add(child, CloseInherited) };
    }
}

/// A signal has been sent to a process or a thread of it, and queued or not; `ignored` if it is set to
/// `SIG_IGN`.
///
/// # Safety
///
/// Called from the tracepoint, under the process's siglock, in any context. `pid` is the process's.
#[no_mangle]
unsafe extern "C" fn kq_probe_signal(pid: *mut bindings::pid, sig: c_int, ignored: bool) {
    // A child's end is no signal for who ignores it, as in the BSDs.
    if ignored && sig as u32 == bindings::SIGCHLD {
        return;
    }
    // SAFETY: By this function's requirements.
    process::note(unsafe { Pid::from_raw(pid) }, Of::Signals, sig as u64);
}

/// A process has a new program.
///
/// # Safety
///
/// Called from the tracepoint, which may not sleep. `pid` is the process's.
#[no_mangle]
unsafe extern "C" fn kq_probe_exec(pid: *mut bindings::pid) {
    // SAFETY: By this function's requirements.
    let pid = unsafe { Pid::from_raw(pid) };
    process::note(pid, Of::Itself, process::hint(NOTE_EXEC, 0));
}

/// The socket behind `file` is about to be connected; `watched` if somebody is on its wait queue.
///
/// # Safety
///
/// Called from the probe on that, with preemption off. `file` is alive.
#[no_mangle]
unsafe extern "C" fn kq_probe_connect(file: *mut bindings::file, watched: bool) {
    // A connect may wait, and somebody of this process may come to watch meanwhile, if it be in a
    // kqueue that has not been used yet.
    if !watched && !filetable::may_have_any(FilesId::current()) {
        return;
    }
    // SAFETY: By this function's requirements; we are not in a read, write or lseek.
    let file = unsafe { File::from_raw_file(file) }.into();
    // Without memory a knote is told at the next change of the socket.
    // SAFETY: The current task.
    let _ = unsafe { task_work::add(Task::current_raw(), Connected(file)) };
}

/// The offset of what is open at `fd` is about to be set.
///
/// # Safety
///
/// Called from the probe on lseek(2), with preemption off.
#[no_mangle]
unsafe extern "C" fn kq_probe_seek(fd: core::ffi::c_uint) {
    // The probe may still be armed when nobody needs it.
    if Kind::Seeks.users().load(Relaxed) == 0 || !filetable::has_kqueue(FilesId::current()) {
        return;
    }
    // Of others nobody waits for the offset, and so they are not kept: what the close of a socket or a
    // pipe tells its other end comes when it is closed, and not when lseek(2) is through.
    if !files::is_plain(fd) {
        return;
    }
    // Now, as lseek(2) is about to: another thread may close the descriptor before that is through.
    // It has not looked the descriptor up by `fdget_pos()` yet, and when it does it will see that
    // there is another reference.
    let Ok(file) = files::fget(fd as usize) else {
        return;
    };
    // Where memory for it is short, a knote is told at the next change of the file.
    // SAFETY: The current task.
    let _ = unsafe { task_work::add(Task::current_raw(), Sought(file)) };
}

/// Before it returns from lseek(2), the task looks who waits for that.
struct Sought(ARef<File>);

impl TaskWork for Sought {
    fn run(self) {
        Watched::sought(&self.0);
    }
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
