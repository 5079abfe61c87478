// SPDX-License-Identifier: GPL-2.0

//! `EVFILT_READ` and `EVFILT_WRITE` on regular files and directories.
//!
//! There is something to read while the file's offset is not at the end. That changes when the file
//! grows or shrinks, which its inode tells; when it is read or written by this very file,
//! which is found out when the knote is looked at; and when a thread of the process sets the offset,
//! which is told by a probe.

use super::{Filter, Filterops, Found, Request, Scratch};
use crate::{
    bindings,
    knote::{Knote, KnoteState},
    probe::{Armed, Kind},
    uapi::*,
    watched::{hint, Watch},
    wrap::{files::FileKind, fsnotify::NamedFile},
};
use kernel::{alloc::KBox, fs::File, prelude::*, sync::SetOnce};

/// The operators of `EVFILT_READ`.
pub(super) const READ: &Filterops = Filterops::of::<Read>();

/// The operators of `EVFILT_WRITE`.
pub(super) const WRITE: &Filterops = Filterops::of::<Write>();

struct Read;

/// kn_hook.
#[derive(Default)]
pub(super) struct Hook {
    watch: SetOnce<KBox<Watch>>,
    armed: SetOnce<Armed>,
}

/// How many bytes are between the file's offset and its end, at which that is none.
fn to_end(file: &File) -> i64 {
    let (is_dir, size) = file.contents();
    let pos = file.pos();
    // The offset of a directory is its file system's affair, but for these: what most of them have
    // at the end.
    if is_dir && (pos == i64::from(i32::MAX) || pos == i64::MAX) {
        return 0;
    }
    size.saturating_sub(pos)
}

fn found(kn: &Knote, request: &Request) -> Option<Found> {
    let data = to_end(kn.file()?);
    if data != 0 {
        return Some(Found {
            data,
            ..Found::default()
        });
    }
    // Whoever asks for NOTE_EOF is told that this is it.
    let asks = request.sfflags & kn.kqueue().flavour().notes_at_eof();
    (asks != 0).then_some(Found {
        fflags: asks & NOTE_EOF,
        ..Found::default()
    })
}

impl Filter for Read {
    type Hook = Hook;

    const EVALUATED: bool = true;

    fn attach(kn: &Knote, hook: &Hook) -> Result<bool> {
        let file = kn.file().ok_or(EBADF)?;
        hook.armed.populate(Armed::new(Kind::Seeks)?);
        // SAFETY: The knote holds the file; `detach` ends the watch before it goes.
        let watch = unsafe { Watch::on_file(kn, file, 0) }?;
        hook.watch.populate(watch);
        Ok(found(kn, &kn.request()).is_some())
    }

    fn detach(_kn: &Knote, hook: &Hook) {
        if let Some(watch) = hook.watch.as_ref() {
            watch.end();
        }
    }

    fn note(kn: &Knote, _hook: &Hook, _st: &mut KnoteState, hint: u64) -> bool {
        // A directory is written to when an entry comes or goes.
        let changes = match kn.file() {
            Some(file) if file.file_type() == bindings::S_IFDIR => NOTE_WRITE,
            _ => NOTE_EXTEND | NOTE_TRUNCATE,
        };
        hint & (u64::from(changes) | hint::SEEK) != 0
    }

    fn event(
        kn: &Knote,
        _hook: &Hook,
        request: &Request,
        _scratch: Option<Scratch>,
    ) -> Option<Found> {
        found(kn, request)
    }
}

/// A file can always be written to, and nobody counts how much.
struct Write;

impl Filter for Write {
    type Hook = ();

    const EVALUATED: bool = true;

    fn attach(kn: &Knote, _hook: &()) -> Result<bool> {
        if !kn.kqueue().flavour().files_can_be_written() {
            return Err(EINVAL);
        }
        Ok(true)
    }

    fn detach(_kn: &Knote, _hook: &()) {}

    fn event(
        _kn: &Knote,
        _hook: &(),
        _request: &Request,
        _scratch: Option<Scratch>,
    ) -> Option<Found> {
        Some(Found::default())
    }
}
