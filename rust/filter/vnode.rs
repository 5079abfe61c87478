// SPDX-License-Identifier: GPL-2.0

//! `EVFILT_VNODE`: what happens to a file or directory, whatever its name is by now.

use super::{Filter, Filterops};
use crate::{
    device,
    knote::{status, Knote, KnoteState},
    uapi::*,
    watched::{hint, Watch},
    wrap::fsnotify::NamedFile,
};
use kernel::{
    alloc::KBox,
    fs::File,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        SetOnce,
    },
};

struct Vnode;

/// kn_hook.
pub(super) struct Hook {
    inode: SetOnce<KBox<Watch>>,
    /// For `NOTE_REVOKE`, from when it was first asked for.
    mount: SetOnce<KBox<Watch>>,
    /// It has been delivered, and cleared. Used under the queue lock only.
    revoked: Atomic<bool>,
}

impl Default for Hook {
    fn default() -> Self {
        Self {
            inode: SetOnce::new(),
            mount: SetOnce::new(),
            revoked: Atomic::new(false),
        }
    }
}

/// kqfilter. `EINVAL` for what is not in a file system, and for a kqueue. `EACCES` for a file that was opened with
/// `O_PATH`, which takes no permission, and that the caller must not read.
pub(super) fn vnode(file: &File) -> Result<&'static Filterops> {
    if !file.has_names() || device::is_one(file) {
        return Err(EINVAL);
    }
    if file.is_path() {
        file.may_read()?;
    }
    Ok(Filterops::of::<Vnode>())
}

/// Has it told when the file's mount goes. A mount elsewhere than in the caller's namespace is not
/// watched: nothing keeps that namespace.
fn watch_mount(kn: &Knote, hook: &Hook) -> Result {
    let file = kn.file().filter(|file| file.is_in_current_mounts());
    if let (Some(file), None) = (file, hook.mount.as_ref()) {
        // SAFETY: `detach` ends it, or what is put there after that, `prepare` does.
        hook.mount.populate(unsafe { Watch::on_mount(kn, file) }?);
    }
    Ok(())
}

/// Whether there is `NOTE_REVOKE` to say: it is asked for, the mount has gone, and it was not said
/// yet. Under the queue lock.
fn is_revoked(kn: &Knote, hook: &Hook, st: &KnoteState) -> bool {
    st.sfflags & NOTE_REVOKE != 0
        && !hook.revoked.load(Relaxed)
        && kn.file().is_some_and(|file| !file.is_mounted())
}

impl Filter for Vnode {
    type Hook = Hook;

    const EVALUATED: bool = false;

    fn attach(kn: &Knote, hook: &Hook) -> Result<bool> {
        let file = kn.file().ok_or(EBADF)?;
        let notes = kn.request().sfflags;
        if notes & NOTE_REVOKE != 0 {
            watch_mount(kn, hook)?;
            if hook.mount.as_ref().is_some() {
                // It may have gone between the look and the list.
                kn.note(hint::UNMOUNTED);
            }
        }
        // SAFETY: The knote holds the file; `detach` ends the watch before it goes.
        match unsafe { Watch::on_file(kn, file, notes) } {
            Ok(watch) => hook.inode.populate(watch),
            Err(e) => {
                Self::detach(kn, hook);
                return Err(e);
            }
        };
        Ok(false)
    }

    fn detach(_kn: &Knote, hook: &Hook) {
        for watch in [&hook.inode, &hook.mount] {
            if let Some(watch) = watch.as_ref() {
                watch.end();
            }
        }
    }

    /// What was asked for of what has happened is kept until it is delivered.
    fn note(kn: &Knote, hook: &Hook, st: &mut KnoteState, hint: u64) -> bool {
        let mut notes = hint as u32;
        if hint & hint::UNMOUNTED != 0 && is_revoked(kn, hook, st) {
            notes |= NOTE_REVOKE;
        }
        let asked = notes & st.sfflags;
        st.fflags |= asked;
        asked != 0
    }

    fn prepare(kn: &Knote, hook: &Hook, kev: &Kevent) -> Result {
        if kev.flags & EV_ADD == 0 {
            return Ok(());
        }
        if kev.fflags & NOTE_REVOKE != 0 {
            watch_mount(kn, hook)?;
            // The knote may have ended meanwhile: `detach` comes after that was noted, and has not
            // seen the watch if it is noted by now.
            if kn.with_state(|st| st.status & status::DROPPED != 0) {
                Self::detach(kn, hook);
            }
        }
        if let Some(watch) = hook.inode.as_ref() {
            watch.want(kev.fflags);
        }
        Ok(())
    }

    fn touch(kn: &Knote, hook: &Hook, st: &mut KnoteState, kev: &Kevent) {
        if kev.flags & EV_ADD != 0 {
            st.sfflags = kev.fflags;
            st.sdata = kev.data;
            st.fflags &= kev.fflags;
            // Who told that it has gone may have come when it was not asked for yet.
            if hook.mount.as_ref().is_some() && is_revoked(kn, hook, st) {
                st.fflags |= NOTE_REVOKE;
            }
        }
    }

    fn peek(_kn: &Knote, _hook: &Hook, st: &KnoteState) -> bool {
        st.fflags != 0
    }

    fn process(_kn: &Knote, hook: &Hook, st: &mut KnoteState, kev: &mut Kevent) -> bool {
        let is_revoke = st.fflags & NOTE_REVOKE != 0;
        kev.fflags = st.fflags;
        if is_revoke {
            kev.flags |= EV_EOF;
        }
        if st.flags & EV_CLEAR != 0 {
            st.fflags = 0;
            if is_revoke {
                hook.revoked.store(true, Relaxed);
            }
        }
        kev.fflags != 0
    }

    fn unprocess(_kn: &Knote, hook: &Hook, st: &mut KnoteState, kev: &Kevent) {
        // But for what is not asked for any more.
        if kev.flags & EV_CLEAR != 0 {
            st.fflags |= kev.fflags & st.sfflags;
            if kev.fflags & NOTE_REVOKE != 0 {
                hook.revoked.store(false, Relaxed);
            }
        }
    }
}
