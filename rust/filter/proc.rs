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
    wrap::{
        once_ptr::OncePtr,
        pid::{self, Access, Pid},
    },
};
use core::marker::PhantomData;
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
        Arc,
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
    fn is_stale(_kn: &Knote, _watch: &Watch) -> bool {
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

    fn is_stale(kn: &Knote, watch: &Watch) -> bool {
        watch.process.pid().is_number(kn.ident(), &watch.how.ns) == Some(false)
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
    how: How,
}

/// What a knote that `NOTE_TRACK` makes has from its parent's.
#[derive(Clone)]
struct How {
    /// In which pids are told.
    ns: ARef<PidNamespace>,
    /// Why it may be watched.
    access: Access,
    /// Keeps execs probed.
    _armed: Armed,
}

/// kn_hook. What is in `state` is changed under the queue lock only.
#[derive(Default)]
struct Hook {
    watch: OncePtr<KBox<Watch>>,
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
    /// `NOTE_EXIT` is or was pending: it was asked for.
    exit_told: Atomic<bool>,
    /// The last event was taken to be delivered.
    ended: Atomic<bool>,
}

impl Default for HookState {
    fn default() -> Self {
        Self {
            parent: Atomic::new(0),
            exited: Atomic::new(false),
            reaped: Atomic::new(false),
            exit_told: Atomic::new(false),
            ended: Atomic::new(false),
        }
    }
}

impl Hook {
    /// Hooks the knote to the process of `pid`. `ESRCH` where it has been reaped; `ENOMEM`. Any
    /// context that `flags` suits, but interrupts.
    fn watch(&self, kn: &Knote, pid: ARef<Pid>, how: How, flags: Flags) -> Result {
        let room = KBox::new_uninit(flags)?;
        // SAFETY: The hook is part of the knote, and `detach` is called before that goes, or what
        // follows takes it off. The filter is one of this file.
        let process = unsafe { Process::add(pid, Of::Itself, &self.entry, kn, flags) }?;
        // What is reaped has a status, if there was somebody to see it.
        if process.is_reaped() && process.status().is_none() {
            // SAFETY: It was put there just now.
            unsafe { process.remove(Of::Itself, &self.entry) };
            return Err(ESRCH);
        }
        self.watch.populate(room.write(Watch { process, how }));
        Ok(())
    }

    /// The process has exited: notes that, if it is asked for and was not noted before. Under the
    /// queue lock.
    fn note_exit(&self, st: &mut KnoteState) {
        let state = &self.state;
        if st.sfflags & NOTE_EXIT != 0
            && state.exited.load(Relaxed)
            && !state.exit_told.load(Relaxed)
        {
            state.exit_told.store(true, Relaxed);
            st.fflags |= NOTE_EXIT | st.sfflags & NOTE_EXITSTATUS;
        }
    }

    /// Makes a knote on `child` as `kn`, which has this hook, is one on its parent. `ENOMEM`; `EACCES`
    /// where the child may not be watched; `EBADF` where the kqueue is closed. May not sleep.
    fn track(&self, kn: &Knote, child: &Pid) -> Result {
        // Charged to who forks: it is that task's allocation.
        let memory = GFP_ATOMIC | (GFP_KERNEL_ACCOUNT & !GFP_KERNEL) | __GFP_NOWARN;
        // Else it is being added.
        let Some(watch) = self.watch.as_ref() else {
            return Ok(());
        };
        let Watch { process, how } = watch;
        if !how.access.extends_to(child) {
            return Err(EACCES);
        }
        let parent = process.pid().number(&how.ns).ok_or(ESRCH)?;
        let number = child.number(&how.ns).ok_or(ESRCH)?;
        let kev = kn.with_state(|st| {
            // Where it was deleted meanwhile, nothing follows from it any more.
            (st.status & status::DROPPED == 0).then(|| Kevent {
                ident: number as usize,
                filter: EVFILT_PROC,
                fflags: st.sfflags,
                data: st.sdata,
                ..kn.event(st)
            })
        });
        let Some(kev) = kev else { return Ok(()) };
        let how = how.clone();
        kn.kqueue().spawn::<Proc<ByPid>>(
            &kev,
            process::hint(NOTE_CHILD, parent),
            memory,
            |kn, hook| hook.watch(kn, child.into(), how, memory),
        )
    }

    fn process(&self) -> Option<&Arc<Process>> {
        Some(&self.watch.as_ref()?.process)
    }

    /// Whether what is to come next is the last. Under the queue lock.
    fn is_over(&self, st: &KnoteState) -> bool {
        let state = &self.state;
        if state.ended.load(Relaxed) {
            false
        } else if st.sfflags & NOTE_REAP != 0 {
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
        let how = How {
            access: pid.may_watch()?,
            ns: pid::current_ns().ok_or(ESRCH)?,
            _armed: Armed::new(Kind::Execs)?,
        };
        hook.watch(kn, pid, how, GFP_KERNEL_ACCOUNT)?;
        let process = hook.process().ok_or(ESRCH)?;
        // What has happened before nobody tells any more. In this order: what is reaped has exited.
        let reaped = process.is_reaped();
        Ok(kn.with_state(|st| {
            let mut active = false;
            if process.status().is_some() {
                active |= Self::note(kn, hook, st, process::EXITED);
            }
            if reaped {
                active |= Self::note(kn, hook, st, process::REAPED);
            }
            active
        }))
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
                hook.note_exit(st);
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
        hook.watch
            .as_ref()
            .is_some_and(|watch| N::is_stale(kn, watch))
    }

    fn prepare(_kn: &Knote, hook: &Hook, kev: &Kevent) -> Result {
        // Its last event is on its way to the program.
        if kev.flags & EV_ADD != 0 && hook.state.ended.load(Relaxed) {
            return Err(ESRCH);
        }
        Ok(())
    }

    fn touch(_kn: &Knote, hook: &Hook, st: &mut KnoteState, kev: &Kevent) {
        if kev.flags & EV_ADD != 0 {
            st.sfflags = kev.fflags;
            st.sdata = kev.data;
            if hook.state.ended.load(Relaxed) {
                // Its last event was taken since `prepare` has looked, and the knote stays, having
                // been changed. Then it is as one on a process that has ended already.
                hook.state.ended.store(false, Relaxed);
                hook.state.exit_told.store(false, Relaxed);
            }
            hook.note_exit(st);
        }
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
            hook.state.ended.store(true, Relaxed);
            kev.flags |= EV_EOF | EV_ONESHOT;
            st.flags |= EV_ONESHOT;
        }
        true
    }

    fn unprocess(_kn: &Knote, hook: &Hook, st: &mut KnoteState, kev: &Kevent) {
        st.fflags |= kev.fflags;
        if kev.flags & EV_EOF != 0 {
            hook.state.ended.store(false, Relaxed);
        }
    }
}

/// A process, which is the current one, has made another: tells the knotes on it, and makes those
/// with `NOTE_TRACK` a knote on the child. In fork(2), before the child runs; may not sleep.
pub(crate) fn forked(parent: &Pid, child: &Pid) {
    let mut tracked = 0;
    process::fork(parent, |kn| {
        if kn.request().sfflags & NOTE_TRACK != 0 {
            // SAFETY: What is on a process's own list are knotes of ours: see `watch`. All filters
            // of this file have one hook.
            let hook = unsafe { kn.hook_of::<Proc<ByPid>>() };
            tracked += 1;
            if tracked > TRACKERS || hook.track(kn, child).is_err() {
                kn.note(process::hint(NOTE_TRACKERR, 0));
            }
        }
        kn.note(process::hint(NOTE_FORK, 0));
    });
}
