// SPDX-License-Identifier: GPL-2.0

//! `EVFILT_PROC` and `EVFILT_PROCDESC`: what a process does, named by its pid or by a pidfd, and,
//! with `NOTE_TRACK`, what its children do, and theirs.
//!
//! A child gets its knote while its parent is still in fork(2), before it runs: nothing it does is
//! missed, and who reads the events sees it before anything else of it, and before the end of its
//! parent.
//!
//! A process has exited when wait(2) can tell, which is when a pidfd becomes readable.

use super::{Filter, Filterops};
use crate::{
    knlist::KnlistEntry,
    knote::{status, Knote, KnoteState},
    probe::{Armed, Kind},
    process::{self, Of, Process},
    uapi::*,
    wrap::pid::{self, Pid},
};
use core::{marker::PhantomData, ptr};
use kernel::{
    alloc::{
        flags::{GFP_ATOMIC, GFP_KERNEL, GFP_KERNEL_ACCOUNT, __GFP_NOWARN},
        Flags, KBox,
    },
    fs::File,
    pid_namespace::PidNamespace,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Arc, SetOnce,
    },
};

/// The operators of `EVFILT_PROC`.
pub(super) const OPS: &Filterops = Filterops::of::<Proc<ByPid>>();

/// kqfilter for `EVFILT_PROCDESC`.
pub(super) fn procdesc(file: &File) -> Result<&'static Filterops> {
    Pid::of_file(file).ok_or(EINVAL)?;
    Ok(Filterops::of::<Proc<ByFd>>())
}

/// Children that get a knote in one fork: knotes with `NOTE_TRACK` on one process. More are only
/// possible with `EV_UDATA_SPECIFIC` or hundreds of kqueues, and are told `NOTE_TRACKERR`: a fork is
/// not to take long for being watched.
const TRACKERS: usize = 256;

/// What is told of an exit, with or without being asked for.
const LAST_NOTES: u32 = NOTE_EXIT | NOTE_EXITSTATUS | NOTE_REAP;

/// How a process is named.
trait Named: 'static {
    fn pid(kn: &Knote) -> Result<ARef<Pid>>;

    /// As [`Filter::is_stale`].
    fn is_stale(_kn: &Knote, _pid: &Pid) -> bool {
        false
    }
}

/// By its number, in the pid namespace of who asks.
struct ByPid;

impl Named for ByPid {
    fn pid(kn: &Knote) -> Result<ARef<Pid>> {
        Pid::find(kn.ident())
            .filter(|pid| pid.is_process())
            .ok_or(ESRCH)
    }

    fn is_stale(kn: &Knote, pid: &Pid) -> bool {
        Pid::find(kn.ident()).is_some_and(|now| now.addr() != pid.addr())
    }
}

/// By a descriptor.
struct ByFd;

impl Named for ByFd {
    fn pid(kn: &Knote) -> Result<ARef<Pid>> {
        let pid = Pid::of_file(kn.file().ok_or(EBADF)?).ok_or(EINVAL)?;
        match (pid.is_process(), pid.state()) {
            (true, _) => Ok(pid.into()),
            (false, pid::State::Reaped) => Err(ESRCH),
            // A thread's.
            (false, _) => Err(EINVAL),
        }
    }
}

struct Proc<N>(PhantomData<N>);

/// What a knote watches.
struct Watch {
    process: Arc<Process>,
    /// In which pids are told.
    ns: ARef<PidNamespace>,
    armed: Armed,
}

/// kn_hook. All but `watch` and `entry` is used under the queue lock only.
#[derive(Default)]
struct Hook {
    watch: SetOnce<KBox<Watch>>,
    /// On the process's own list.
    entry: KnlistEntry,
    state: HookState,
}

/// What has been told of the process.
struct HookState {
    /// The parent, where the knote was made by `NOTE_TRACK`.
    parent: Atomic<u32>,
    exited: Atomic<bool>,
    reaped: Atomic<bool>,
}

impl Default for HookState {
    fn default() -> Self {
        Self {
            parent: Atomic::new(0),
            exited: Atomic::new(false),
            reaped: Atomic::new(false),
        }
    }
}

impl Hook {
    /// Hooks the knote to the process of `pid`. `ESRCH` where it has been reaped; `ENOMEM`. Any
    /// context that `flags` suits, but interrupts.
    fn watch(
        &self,
        kn: &Knote,
        pid: ARef<Pid>,
        ns: ARef<PidNamespace>,
        armed: Armed,
        flags: Flags,
    ) -> Result {
        let room = KBox::new_uninit(flags)?;
        // SAFETY: The hook is part of the knote, and `detach` is called before that goes, or
        // what follows takes it off.
        let process = unsafe { Process::add(pid, Of::Itself, &self.entry, kn, flags) }?;
        if process.status().is_none() && !process.pid().is_process() {
            // It was reaped just now, and its status with it.
            // SAFETY: It was put there just now.
            unsafe { process.remove(Of::Itself, &self.entry) };
            return Err(ESRCH);
        }
        self.watch
            .populate(room.write(Watch { process, ns, armed }));
        Ok(())
    }

    /// The hook that has `entry`.
    ///
    /// # Safety
    ///
    /// It is the `entry` of a hook.
    unsafe fn of(entry: &KnlistEntry) -> &Self {
        // SAFETY: By this function's requirements.
        unsafe { &*kernel::container_of!(ptr::from_ref(entry), Self, entry) }
    }

    /// Makes a knote on `child` as `kn`, which has this hook, is one on its parent. `ENOMEM`; `EBADF`
    /// where the kqueue is closed. May not sleep.
    fn track(&self, kn: &Knote, child: &Pid) -> Result {
        // Charged to who forks: it is that task's allocation.
        let memory = GFP_ATOMIC | (GFP_KERNEL_ACCOUNT & !GFP_KERNEL) | __GFP_NOWARN;
        let Watch { process, ns, armed } = &**self.watch.as_ref().ok_or(ESRCH)?;
        let parent = process.pid().number(ns).ok_or(ESRCH)?;
        let number = child.number(ns).ok_or(ESRCH)?;
        let kev = kn.with_state(|st| Kevent {
            ident: number as usize,
            filter: EVFILT_PROC,
            fflags: st.sfflags,
            data: st.sdata,
            ..kn.event(st)
        });
        kn.kqueue().spawn::<Proc<ByPid>>(
            &kev,
            process::hint(NOTE_CHILD, parent),
            memory,
            |kn, hook| hook.watch(kn, child.into(), ns.clone(), armed.clone(), memory),
        )
    }

    fn process(&self) -> Option<&Arc<Process>> {
        Some(&self.watch.as_ref()?.process)
    }

    /// Whether there is nothing more to come. Under the queue lock.
    fn is_over(&self, st: &KnoteState) -> bool {
        let state = &self.state;
        if st.sfflags & NOTE_REAP != 0 {
            state.reaped.load(Relaxed)
        } else {
            state.exited.load(Relaxed)
        }
    }
}

impl<N: Named> Filter for Proc<N> {
    type Hook = Hook;

    const EVALUATED: bool = false;
    const FLAGS: u16 = EV_CLEAR;

    fn attach(kn: &Knote, hook: &Hook) -> Result<bool> {
        let pid = N::pid(kn)?;
        if !pid.may_watch() {
            return Err(EACCES);
        }
        let ns = pid::current_ns().ok_or(ESRCH)?;
        let armed = Armed::new(Kind::Execs)?;
        hook.watch(kn, pid, ns, armed, GFP_KERNEL_ACCOUNT)?;
        let exited = hook.process().is_some_and(|it| it.status().is_some());
        // A zombie: nobody tells that any more.
        Ok(exited && kn.with_state(|st| Self::note(kn, hook, st, process::EXITED)))
    }

    fn detach(_kn: &Knote, hook: &Hook) {
        if let Some(process) = hook.process() {
            // SAFETY: `watch` has put it there; `detach` is called once.
            unsafe { process.remove(Of::Itself, &hook.entry) };
        }
    }

    fn note(_kn: &Knote, hook: &Hook, st: &mut KnoteState, hint: u64) -> bool {
        let (event, number) = process::split(hint);
        let asked = st.sfflags & event;
        match event {
            NOTE_EXIT => {
                // It may be told twice.
                if hook.state.exited.load(Relaxed) {
                    return false;
                }
                hook.state.exited.store(true, Relaxed);
                if asked != 0 {
                    st.fflags |= NOTE_EXIT | st.sfflags & NOTE_EXITSTATUS;
                }
                return asked != 0 || hook.is_over(st);
            }
            NOTE_REAP => {
                if hook.state.reaped.load(Relaxed) {
                    return false;
                }
                hook.state.reaped.store(true, Relaxed);
                st.fflags |= asked;
            }
            NOTE_CHILD => {
                hook.state.parent.store(number, Relaxed);
                st.fflags |= NOTE_CHILD;
                return true;
            }
            NOTE_TRACKERR => {
                st.fflags |= NOTE_TRACKERR;
                return true;
            }
            _ => st.fflags |= asked,
        }
        asked != 0
    }

    fn is_stale(kn: &Knote, hook: &Hook) -> bool {
        hook.process()
            .is_some_and(|process| N::is_stale(kn, process.pid()))
    }

    fn peek(_kn: &Knote, hook: &Hook, st: &KnoteState) -> bool {
        st.fflags != 0 || hook.is_over(st)
    }

    // The parent and the status are both `data`: a child that has exited already is two events.
    fn process(kn: &Knote, hook: &Hook, st: &mut KnoteState, kev: &mut Kevent) -> bool {
        let over = hook.is_over(st);
        if st.fflags == 0 && !over {
            return false;
        }
        if st.fflags & NOTE_CHILD != 0 {
            kev.data = hook.state.parent.load(Relaxed).into();
            kev.fflags = st.fflags & !LAST_NOTES;
            st.fflags &= LAST_NOTES;
            if st.fflags != 0 || over {
                st.status |= status::ACTIVE;
            }
            return true;
        }
        kev.fflags = core::mem::take(&mut st.fflags);
        if kev.fflags & NOTE_EXIT != 0
            && (kev.fflags & NOTE_EXITSTATUS != 0 || kn.kqueue().flavour().tells_exit_status())
        {
            let status = hook.process().and_then(|process| process.status());
            kev.data = status.unwrap_or(0).into();
        }
        if over {
            kev.flags |= EV_EOF | EV_ONESHOT;
            st.flags |= EV_ONESHOT;
        }
        true
    }

    fn unprocess(_kn: &Knote, _hook: &Hook, st: &mut KnoteState, kev: &Kevent) {
        st.fflags |= kev.fflags;
    }
}

/// A process, which is the current one, has made another: tells the knotes on it, and makes those
/// with `NOTE_TRACK` a knote on the child. In fork(2), before the child runs; may not sleep.
pub(crate) fn forked(parent: &Pid, child: &Pid) {
    let mut tracked = 0;
    process::fork(parent, |kn, entry| {
        if kn.request().sfflags & NOTE_TRACK != 0 {
            // SAFETY: What is on a process's own list is the `entry` of a hook of ours: see `watch`.
            let hook = unsafe { Hook::of(entry) };
            tracked += 1;
            if tracked > TRACKERS || hook.track(kn, child).is_err() {
                kn.note(process::hint(NOTE_TRACKERR, 0));
            }
        }
        kn.note(process::hint(NOTE_FORK, 0));
    });
}
