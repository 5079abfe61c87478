// SPDX-License-Identifier: GPL-2.0

//! Marks: being told what happens to inodes, superblocks and mount namespaces.
//!
//! A mark hangs on an object and has an owner, a [`Watched`], that its events are told to. They come
//! in the context of who does the thing, who may sleep, inside an SRCU read-side section. When the
//! object goes, fsnotify takes the mark away; so does [`Mark::destroy`], which sleeps. Some time
//! later, when nobody can be in the middle of an event any more, the owner is let go of.

use crate::{bindings, watched::Watched};
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{
    error::to_result,
    ffi::c_void,
    fs::File,
    prelude::*,
    sync::{Arc, ArcBorrow},
};

/// What a mark can be on. It is an address, and says nothing about whether the object is there.
#[derive(Clone, Copy)]
pub(crate) enum Object {
    Inode(*mut bindings::inode),
    Super(*mut bindings::super_block),
    Mounts(*mut bindings::mnt_namespace),
    /// A mount, by an id that no other ever has. There are no marks on it.
    Mount(u64),
}

// SAFETY: An address; who follows it argues for itself.
unsafe impl Send for Object {}
// SAFETY: As above.
unsafe impl Sync for Object {}

impl Object {
    /// The inode of an open file. On overlayfs that is the overlay's own.
    pub(crate) fn of_file(file: &File) -> Self {
        // SAFETY: `file` is a live file.
        Self::Inode(unsafe { bindings::kq_file_inode(file.as_ptr()) })
    }

    /// The mount namespace of the current task.
    pub(crate) fn current_mounts() -> Self {
        // SAFETY: No requirement.
        Self::Mounts(unsafe { bindings::kq_current_mnt_ns() })
    }

    /// How an inode is now; nothing of the others.
    ///
    /// # Safety
    ///
    /// The object is there.
    pub(crate) unsafe fn state(self) -> InodeState {
        let mut state = InodeState::default();
        if let Self::Inode(inode) = self {
            // SAFETY: By this function's requirements.
            unsafe { bindings::kq_inode_state(inode, &mut state) };
        }
        state
    }

    fn parts(self) -> Option<(*mut c_void, u32)> {
        match self {
            Self::Inode(inode) => Some((inode.cast(), bindings::KQ_FS_OBJ_INODE)),
            Self::Super(sb) => Some((sb.cast(), bindings::KQ_FS_OBJ_SB)),
            Self::Mounts(ns) => Some((ns.cast(), bindings::KQ_FS_OBJ_MNTNS)),
            Self::Mount(_) => None,
        }
    }
}

/// What of an inode tells changes apart that fsnotify tells alike.
pub(crate) type InodeState = bindings::kq_inode_state;

/// An inode that is held, and its superblock with it.
pub(crate) struct Inode(NonNull<bindings::inode>);

impl Inode {
    /// Holds an inode. Any context.
    ///
    /// # Safety
    ///
    /// Somebody has it open at the moment, by way of a mount.
    pub(crate) unsafe fn hold(inode: *mut bindings::inode) -> Option<Self> {
        let inode = NonNull::new(inode)?;
        // SAFETY: By this function's requirements.
        unsafe { bindings::kq_inode_hold(inode.as_ptr()) };
        Some(Self(inode))
    }
}

impl Drop for Inode {
    // May sleep, and be long: under no lock.
    fn drop(&mut self) {
        // SAFETY: `hold` took it.
        unsafe { bindings::kq_inode_put(self.0.as_ptr()) };
    }
}

/// The superblock that an inode is on.
///
/// # Safety
///
/// The inode is there.
pub(crate) unsafe fn superblock(inode: *mut bindings::inode) -> Object {
    // SAFETY: By this function's requirements.
    Object::Super(unsafe { bindings::kq_inode_sb(inode) })
}

/// What happened, and what the object that it is told to has to do with it.
pub(crate) type Event = bindings::kq_fs_event;

/// A reference to a mark.
///
/// # Invariants
///
/// The mark's owner is a reference to a [`Watched`], which is let go of after the mark.
pub(crate) struct Mark(NonNull<bindings::kq_mark>);

// SAFETY: Marks are locked by fsnotify, and may be used and put from any thread.
unsafe impl Send for Mark {}
// SAFETY: As above.
unsafe impl Sync for Mark {}

/// A mark that is on nothing yet: what memory it takes is there.
pub(crate) struct NewMark(NonNull<bindings::kq_mark>);

impl NewMark {
    /// `ENOMEM`. May sleep.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: No requirement.
        let mark = unsafe { bindings::kq_mark_new() };
        NonNull::new(mark).map(Self).ok_or(ENOMEM)
    }

    /// Puts it on `object`: the events in `mask` are told to `owner`. `ENOMEM`; `EINVAL` where the
    /// file system wants no marks. May sleep.
    ///
    /// # Safety
    ///
    /// The object is there until this returns.
    pub(crate) unsafe fn put_on(
        self,
        object: Object,
        mask: u32,
        owner: Arc<Watched>,
    ) -> Result<Mark> {
        let (at, kind) = object.parts().ok_or(EINVAL)?;
        let owner = Arc::into_raw(owner);
        let raw = self.0.as_ptr();
        // SAFETY: By this function's requirements; the mark is new. The reference goes with it.
        let ret = unsafe { bindings::kq_mark_add(raw, at, kind, mask, owner.cast_mut().cast()) };
        if let Err(e) = to_result(ret) {
            // SAFETY: The mark has no owner, and the reference is still ours.
            drop(unsafe { Arc::from_raw(owner) });
            // All marks of the object are being taken away: another time there is room for one.
            return Err(if e == ENOENT { ENOMEM } else { e });
        }
        // INVARIANT: As above. The reference to the mark is handed on.
        Ok(Mark(ManuallyDrop::new(self).0))
    }
}

impl Drop for NewMark {
    fn drop(&mut self) {
        // SAFETY: This reference is ours.
        unsafe { bindings::kq_mark_put(self.0.as_ptr()) };
    }
}

impl Mark {
    /// The mark that is on `object`.
    ///
    /// # Safety
    ///
    /// The object is there until this returns.
    pub(crate) unsafe fn find(object: Object) -> Option<Self> {
        let (at, kind) = object.parts()?;
        // SAFETY: By this function's requirements.
        // INVARIANT: Only `NewMark` puts marks of our group on anything.
        NonNull::new(unsafe { bindings::kq_mark_find(at, kind) }).map(Self)
    }

    pub(crate) fn owner(&self) -> Arc<Watched> {
        // SAFETY: The mark is there.
        let owner = unsafe { bindings::kq_mark_owner(self.0.as_ptr()) };
        // SAFETY: By the type invariant; the mark has its reference for as long as we have ours.
        unsafe { ArcBorrow::from_raw(owner.cast::<Watched>().cast_const()) }.into()
    }

    /// Has the events in `mask` told, too. Process context.
    pub(crate) fn want(&self, mask: u32) {
        // SAFETY: The mark is there.
        unsafe { bindings::kq_mark_want(self.0.as_ptr(), mask) };
    }

    /// Whether it is still on its object.
    pub(crate) fn is_attached(&self) -> bool {
        // SAFETY: The mark is there.
        unsafe { bindings::kq_mark_is_attached(self.0.as_ptr()) }
    }

    /// Takes the mark away, of which this is what [`NewMark::put_on`] returned. Events that are under
    /// way may still come. May sleep, but not for a file system.
    pub(crate) fn destroy(self) {
        // SAFETY: The mark is there, and this is the reference that it was made with.
        unsafe { bindings::kq_mark_destroy(ManuallyDrop::new(self).0.as_ptr()) };
    }
}

impl Drop for Mark {
    // May sleep, and be long, if it is the last reference: see `kq_mark_destroy`.
    fn drop(&mut self) {
        // SAFETY: This reference is ours.
        unsafe { bindings::kq_mark_put(self.0.as_ptr()) };
    }
}

/// Makes marks usable. `ENOMEM`. May sleep.
///
/// # Safety
///
/// To be called once, before anything else of this file.
pub(crate) unsafe fn init() -> Result {
    // SAFETY: By this function's requirements.
    to_result(unsafe { bindings::kq_fsnotify_init() })
}

/// After the last mark was destroyed: waits until all are gone, and none of this file's functions
/// runs. May sleep.
///
/// # Safety
///
/// To be called once, after [`init`], and last.
pub(crate) unsafe fn exit() {
    // SAFETY: By this function's requirements.
    unsafe { bindings::kq_fsnotify_exit() };
}

/// # Safety
///
/// Called for a mark that [`NewMark`] put there, with its owner. Process context, inside an SRCU
/// read-side section; may sleep.
#[no_mangle]
unsafe extern "C" fn kq_fs_event(owner: *mut c_void, event: *const Event) {
    // SAFETY: By this function's requirements. The mark has its reference while events are told.
    let (owner, event) = unsafe { (&*owner.cast::<Watched>(), &*event) };
    owner.event(event);
}

/// # Safety
///
/// Called when a mark that [`NewMark`] put there is taken away, with its owner. Process context.
#[no_mangle]
unsafe extern "C" fn kq_mark_freeing(owner: *mut c_void) {
    // SAFETY: By this function's requirements. The mark still has its reference.
    Watched::unmarked(unsafe { ArcBorrow::from_raw(owner.cast::<Watched>().cast_const()) });
}

/// # Safety
///
/// Called when a mark that [`NewMark`] put there is freed, with its owner.
#[no_mangle]
unsafe extern "C" fn kq_mark_freed(owner: *mut c_void) {
    // SAFETY: By this function's requirements: this is the reference that the mark had.
    drop(unsafe { Arc::from_raw(owner.cast::<Watched>().cast_const()) });
}

/// Files, as far as what happens to their inodes is concerned.
pub(crate) trait NamedFile {
    /// Whether it is on a mount that programs can see. Pipes, sockets, memfds and the like are on the
    /// kernel's own, and much that happens to them is not told.
    fn has_names(&self) -> bool;
    /// Whether it was opened with `O_PATH`.
    fn is_path(&self) -> bool;
    /// Whether the caller might open it for reading. `EACCES`, and what file systems say. May sleep.
    fn may_read(&self) -> Result;
    /// The file's offset.
    fn pos(&self) -> i64;
    /// Whether it is a directory, and the size of what is read from it: on overlayfs, of the file of
    /// the layer, as the overlay's own follows that late. May sleep.
    fn contents(&self) -> (bool, i64);
    /// The id of the mount that it was opened on, which no other ever has.
    fn mount_id(&self) -> u64;
    /// Whether that mount is somewhere in a tree.
    fn is_mounted(&self) -> bool;
    /// Whether that tree is the current task's mount namespace.
    fn is_in_current_mounts(&self) -> bool;
}

impl NamedFile for File {
    fn has_names(&self) -> bool {
        // SAFETY: `self` is a live file; so in all of these.
        unsafe { bindings::kq_file_has_names(self.as_ptr()) }
    }

    fn is_path(&self) -> bool {
        // SAFETY: As above.
        unsafe { bindings::kq_file_is_path(self.as_ptr()) }
    }

    fn may_read(&self) -> Result {
        // SAFETY: As above.
        to_result(unsafe { bindings::kq_file_may_read(self.as_ptr()) })
    }

    fn pos(&self) -> i64 {
        // SAFETY: As above.
        unsafe { bindings::kq_file_pos(self.as_ptr()) }
    }

    fn contents(&self) -> (bool, i64) {
        let mut size = 0;
        // SAFETY: As above; `size` is a local.
        let is_dir = unsafe { bindings::kq_file_contents(self.as_ptr(), &mut size) };
        (is_dir, size)
    }

    fn mount_id(&self) -> u64 {
        // SAFETY: As above.
        unsafe { bindings::kq_file_mount_id(self.as_ptr()) }
    }

    fn is_mounted(&self) -> bool {
        // SAFETY: As above.
        unsafe { bindings::kq_file_is_mounted(self.as_ptr()) }
    }

    fn is_in_current_mounts(&self) -> bool {
        // SAFETY: As above.
        unsafe { bindings::kq_file_in_mnt_ns(self.as_ptr()) }
    }
}
