// SPDX-License-Identifier: GPL-2.0

//! `/dev/kqueue`, and the file operations of a kqueue.
//!
//! The `kernel` crate's misc devices have neither poll nor flush, nor an owner that keeps the
//! module while a file is open; so this is our own.

use crate::{
    bindings, fdinfo,
    filetable::OwnKqueue,
    flavour::Flavour,
    kevent, kfilter,
    limits::UserRef,
    probe::{Armed, Kind},
    queue::Kqueue,
    uapi::*,
    wrap::{
        files::{FileKind, FilesId},
        module::this_module,
        task::is_kernel_thread,
        uaccess,
    },
};
use core::{
    mem::MaybeUninit,
    ptr::{self, NonNull},
};
use kernel::{
    alloc::{flags::GFP_KERNEL_ACCOUNT, KBox},
    c_str,
    error::{from_err_ptr, to_result},
    ffi::{c_int, c_long, c_uint, c_ulong},
    fs::{file::FileDescriptorReservation, File},
    ioctl,
    prelude::*,
    seq_file::SeqFile,
    sync::{aref::ARef, Arc},
    transmute::FromBytes,
    types::{ForeignOwnable, Opaque},
    uaccess::{UserPtr, UserSlice},
};

/// What a file of ours has as its private data.
struct OpenKqueue {
    own: OwnKqueue,
    /// Who has opened it, and the flavour that it is made as.
    user: UserRef,
    flavour: Flavour,
    _armed: Armed,
}

impl OpenKqueue {
    /// A kqueue for the current process. `ENOMEM`, and what arming the probes says. May sleep.
    fn new(flavour: Flavour) -> Result<KBox<Self>> {
        let armed = Armed::new(Kind::Descriptors)?;
        let user = UserRef::current()?;
        let open = KBox::new_uninit(GFP_KERNEL_ACCOUNT)?;
        Ok(open.write(Self {
            own: OwnKqueue::new()?,
            user,
            flavour,
            _armed: armed,
        }))
    }

    /// Whether the current process is its owner, and has it.
    #[inline]
    fn is_owned(&self) -> bool {
        !self.own.is_gone() && self.own.id() == FilesId::current()
    }

    /// The kqueue, for its owner, who has a descriptor of it. `EBADF`; when it is first used,
    /// `ENOMEM`, and it may sleep then.
    #[inline]
    fn get(&self) -> Result<&Arc<Kqueue>> {
        if self.own.is_closed() || self.own.id() != FilesId::current() {
            return Err(EBADF);
        }
        match self.own.get() {
            Some(kq) if !kq.table().is_dead() => Ok(kq),
            Some(_) => Err(EBADF),
            None => self.own.use_with(|table| {
                let pollers = self.own.pollers().clone();
                Kqueue::new(table, pollers, self.user.clone(), self.flavour)
            }),
        }
    }
}

static FOPS: SyncFops = SyncFops(bindings::file_operations {
    owner: this_module(),
    open: Some(open),
    flush: Some(flush),
    release: Some(release),
    unlocked_ioctl: Some(ioctl),
    compat_ioctl: Some(compat_ioctl),
    poll: Some(poll),
    mmap: Some(mmap),
    show_fdinfo: Some(show_fdinfo),
    ..pin_init::zeroed()
});

struct SyncFops(bindings::file_operations);

// SAFETY: It is never written.
unsafe impl Sync for SyncFops {}

/// Whether `file` is a kqueue.
///
/// # Safety
///
/// `file` is a live file.
unsafe fn is_kqueue(file: *mut bindings::file) -> bool {
    // SAFETY: By this function's requirements. Who changes `f_op` of an open file, as terminals do,
    // puts operations of its own there.
    ptr::eq(unsafe { (*file).f_op }, &FOPS.0)
}

/// What `file` has as its private data.
///
/// # Safety
///
/// `file` is an open kqueue, and stays so for `'a`.
unsafe fn private<'a>(file: *mut bindings::file) -> &'a OpenKqueue {
    // SAFETY: By this function's requirements: `open` or `create` put it there, and `release` takes
    // it.
    unsafe { <KBox<OpenKqueue> as ForeignOwnable>::borrow((*file).private_data) }
}

fn opened(file: &File) -> Option<&OpenKqueue> {
    // SAFETY: A `File` is alive, and what it has as its private data lives as long.
    unsafe { is_kqueue(file.as_ptr()).then(|| private(file.as_ptr())) }
}

/// Whether `file` is a kqueue, whoever's.
pub(crate) fn is_one(file: &File) -> bool {
    opened(file).is_some()
}

/// The kqueue that `file`, which the current process has a descriptor of, is. `EBADF` where it is
/// none, or another process's; when it is first used, `ENOMEM`, and this may sleep then.
pub(crate) fn kqueue(file: &File) -> Result<&Arc<Kqueue>> {
    opened(file).ok_or(EBADF)?.get()
}

/// The kqueue that `file` is, if it is the current process's and was used.
pub(crate) fn used_kqueue(file: &File) -> Option<&Arc<Kqueue>> {
    opened(file).filter(|open| open.is_owned())?.own.get()
}

/// How many events are pending in the kqueue that `file` is.
pub(crate) fn pending(file: &File) -> Option<usize> {
    let kq = used_kqueue(file)?;
    let pending = kq.queue().lock().count();
    Some(pending)
}

/// Whether `file`, which is in the current task's table, is a kqueue of another process: one that
/// was copied there by fork(2). Any context.
pub(crate) fn is_inherited(file: *mut bindings::file) -> bool {
    // SAFETY: The files in the table of a task that is not exiting are alive.
    unsafe { is_kqueue(file) && !private(file).is_owned() }
}

/// # Safety
///
/// Called by the kernel for a file that is being opened.
unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: By this function's requirements.
    let ret = unsafe { bindings::generic_file_open(inode, file) };
    if ret != 0 {
        return ret;
    }
    match OpenKqueue::new(Flavour::Openbsd) {
        Ok(open) => {
            // SAFETY: The file is ours while it is being opened.
            unsafe { (*file).private_data = open.into_foreign() };
            0
        }
        Err(e) => e.to_errno(),
    }
}

/// Called for each descriptor that is closed, in whichever table.
///
/// # Safety
///
/// Called by the kernel for an open kqueue and a live table.
unsafe extern "C" fn flush(file: *mut bindings::file, id: bindings::fl_owner_t) -> c_int {
    // SAFETY: By this function's requirements.
    let open = unsafe { private(file) };
    let files = FilesId::of(id.cast());
    if open.own.id() == files {
        // SAFETY: The file is alive; the closer is not in a read, write or lseek of it.
        let unshared = unsafe { File::from_raw_file(file) }.is_unshared();
        // SAFETY: The table is alive.
        let dying = unsafe { files.is_dying() };
        // SAFETY: The table is alive. What is found is compared by its address.
        let elsewhere = || unsafe { files.find(0, |other| other == file) }.is_some();
        let last = unshared || dying || !elsewhere();
        if last {
            open.own.close();
        }
    }
    0
}

/// # Safety
///
/// Called by the kernel when the last reference to an open kqueue goes.
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: `open` or `create` put it there, and this is called once, last.
    drop(unsafe { <KBox<OpenKqueue> as ForeignOwnable>::from_foreign((*file).private_data) });
    0
}

/// # Safety
///
/// Called by the kernel for an open kqueue; `table` is null or a poll table.
unsafe extern "C" fn poll(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: By this function's requirements.
    let open = unsafe { private(file) };
    let pollers = open.own.pollers().queue();
    // SAFETY: The table is the one this was called with; the queue lives as long as the file.
    unsafe { pollers.poll_wait(File::from_raw_file(file), table) };
    // A worker asks for the one who has asked before, and was let: see io_submit(2).
    let worker = is_kernel_thread();
    if open.own.is_gone() || !(worker || open.is_owned()) {
        return bindings::KQ_POLLERR;
    }
    // poll_wait() orders this after what it does: who makes the kqueue now finds who polls.
    match open.own.get() {
        None => 0,
        Some(kq) => match kq.poll_events() {
            0 if !worker && kq.settle() => kq.poll_events(),
            events => events,
        },
    }
}

/// # Safety
///
/// None: it has nothing to do with its arguments.
unsafe extern "C" fn mmap(
    _file: *mut bindings::file,
    _vma: *mut bindings::vm_area_struct,
) -> c_int {
    ENXIO.to_errno()
}

/// # Safety
///
/// Called by the kernel for an open kqueue, to write to `m`.
unsafe extern "C" fn show_fdinfo(m: *mut bindings::seq_file, file: *mut bindings::file) {
    // SAFETY: By this function's requirements.
    let (m, open) = unsafe { (SeqFile::from_raw(m), private(file)) };
    match open.own.get() {
        Some(kq) => kq.show(m),
        None => fdinfo::show_counts(m, open.flavour, 0, 0),
    }
}

const KEVENT: u32 = ioctl::_IOW::<KqueueKevent>(bindings::KQUEUE_IOC_MAGIC as u32, 0);
const CREATE: u32 = ioctl::_IOW::<KqueueCreate>(bindings::KQUEUE_IOC_MAGIC as u32, 1);
const FLAVOUR: u32 = ioctl::_IOW::<u32>(bindings::KQUEUE_IOC_MAGIC as u32, 4);
const BYNAME: u32 = ioctl::_IOWR::<KfilterMapping>(bindings::KQUEUE_IOC_MAGIC as u32, 2);
const BYFILTER: u32 = ioctl::_IOWR::<KfilterMapping>(bindings::KQUEUE_IOC_MAGIC as u32, 3);
const BYNAME32: u32 = ioctl::_IOWR::<KfilterMapping32>(bindings::KQUEUE_IOC_MAGIC as u32, 2);
const BYFILTER32: u32 = ioctl::_IOWR::<KfilterMapping32>(bindings::KQUEUE_IOC_MAGIC as u32, 3);

/// # Safety
///
/// Called by the kernel for an open kqueue.
unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
    // SAFETY: By this function's requirements.
    let open = unsafe { private(file) };
    if cmd == KEVENT {
        return do_kevent(open, arg, Layout::Native).value() as c_long;
    }
    answer(do_ioctl(open, cmd, arg, Layout::Native))
}

/// # Safety
///
/// Called by the kernel for an open kqueue, in a 32-bit program.
unsafe extern "C" fn compat_ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
    // Its structures are neither those of the others with 32 bits nor the native ones.
    // SAFETY: No requirement but that the context is a system call's.
    if unsafe { bindings::kq_in_x32_syscall() } {
        return answer(Err(ENOTTY));
    }
    // An address of such a program has 32 bits.
    let arg = arg as u32 as usize;
    // SAFETY: By this function's requirements.
    let open = unsafe { private(file) };
    if cmd == KEVENT {
        return do_kevent(open, arg, Layout::Compat).value() as c_long;
    }
    answer(do_ioctl(open, cmd, arg, Layout::Compat))
}

fn answer(result: Result<usize>) -> c_long {
    Answer::from(result).value() as c_long
}

/// KQUEUE_IOC_KEVENT.
#[inline(always)]
fn do_kevent(open: &OpenKqueue, arg: usize, layout: Layout) -> Answer {
    let kq = match open.get() {
        Ok(kq) => kq,
        Err(e) => return e.into(),
    };
    let mut args = MaybeUninit::<KqueueKevent>::uninit();
    match uaccess::read_five_words(arg, &mut args) {
        Ok(args) => kevent::kevent(kq, args, layout),
        Err(e) => e.into(),
    }
}

fn do_ioctl(open: &OpenKqueue, cmd: u32, arg: usize, layout: Layout) -> Result<usize> {
    let kq = open.get()?;
    match (cmd, layout) {
        (BYNAME, Layout::Native) => {
            let km: KfilterMapping = uaccess::read(arg)?;
            let filter = filter_by_name(km.name as usize)?;
            let at = arg + core::mem::offset_of!(KfilterMapping, filter);
            uaccess::write(at, &filter)?;
            Ok(0)
        }
        (BYNAME32, Layout::Compat) => {
            let km: KfilterMapping32 = uaccess::read(arg)?;
            let filter = filter_by_name(km.name as usize)?;
            let at = arg + core::mem::offset_of!(KfilterMapping32, filter);
            uaccess::write(at, &filter)?;
            Ok(0)
        }
        (BYFILTER, Layout::Native) => {
            let km: KfilterMapping = uaccess::read(arg)?;
            kfilter::name_to_user(km.filter, km.name as usize, km.len as usize)?;
            Ok(0)
        }
        (BYFILTER32, Layout::Compat) => {
            let km: KfilterMapping32 = uaccess::read(arg)?;
            kfilter::name_to_user(km.filter, km.name as usize, km.len as usize)?;
            Ok(0)
        }
        (FLAVOUR, _) => {
            kq.set_flavour(Flavour::from_abi(uaccess::read(arg)?)?)?;
            Ok(0)
        }
        _ if is_larger(cmd, KEVENT) => {
            let kevent = kevent::kevent(kq, &read_larger(cmd, arg)?, layout);
            usize::try_from(kevent.value()).map_err(|_| Error::from_errno(kevent.value() as c_int))
        }
        _ if cmd == CREATE || is_larger(cmd, CREATE) => create(&read_larger(cmd, arg)?),
        _ => Err(ENOTTY),
    }
}

/// KFILTER_BYNAME: the filter whose name is at `addr`. `ENOENT`, `ENAMETOOLONG`, `EFAULT`. May
/// sleep.
fn filter_by_name(addr: usize) -> Result<i32> {
    // One more than a name may have, to see one that has more.
    let mut buf = [0; bindings::KFILTER_MAXNAME as usize + 1];
    let name = UserSlice::new(UserPtr::from_addr(addr), buf.len())
        .reader()
        .strcpy_into_buf(&mut buf)?;
    if name.to_bytes_with_nul().len() > bindings::KFILTER_MAXNAME as usize {
        return Err(errno(bindings::ENAMETOOLONG));
    }
    kfilter::by_name(name).ok_or(ENOENT)
}

/// Whether `cmd` is `ours` with a structure that has grown since.
fn is_larger(cmd: u32, ours: u32) -> bool {
    const SIZE: u32 = bindings::_IOC_SIZEMASK << bindings::_IOC_SIZESHIFT;
    cmd & !SIZE == ours & !SIZE && ioctl::_IOC_SIZE(cmd) > ioctl::_IOC_SIZE(ours)
}

/// Reads a `T` that the program may know with more fields behind. `E2BIG` where these are not
/// zero: it wants something that we do not know. `EFAULT`. May sleep.
fn read_larger<T: FromBytes>(cmd: u32, arg: usize) -> Result<T> {
    let value = uaccess::read(arg)?;
    for at in size_of::<T>()..ioctl::_IOC_SIZE(cmd) {
        if uaccess::read::<u8>(arg + at)? != 0 {
            return Err(E2BIG);
        }
    }
    Ok(value)
}

/// KQUEUE_IOC_CREATE: the descriptor of a new kqueue. `EINVAL`, `EMFILE`, `ENFILE`, `ENOMEM`.
fn create(args: &KqueueCreate) -> Result<usize> {
    if args.flags & !(bindings::KQUEUE_CLOEXEC as u32) != 0 || args.reserved != [0; 2] {
        return Err(EINVAL);
    }
    let flavour = Flavour::from_abi(args.flavour)?;
    let cloexec = if args.flags & bindings::KQUEUE_CLOEXEC as u32 != 0 {
        bindings::O_CLOEXEC
    } else {
        0
    };
    let fd = FileDescriptorReservation::get_unused_fd_flags(cloexec)?;
    let open = OpenKqueue::new(flavour)?;
    // No need to wait for its first use: it gets a descriptor, whose close will come.
    open.get()?;
    let open = open.into_foreign();
    // SAFETY: The operations are static, and what they expect as private data is passed.
    let file = unsafe {
        bindings::kq_anon_file(
            c_str!("[kqueue]").as_char_ptr(),
            &FOPS.0,
            open,
            bindings::O_RDWR as c_int,
        )
    };
    let file = match from_err_ptr(file) {
        Ok(file) => file,
        Err(e) => {
            // SAFETY: No file has it: it is ours again.
            drop(unsafe { <KBox<OpenKqueue> as ForeignOwnable>::from_foreign(open) });
            return Err(e);
        }
    };
    let ret = fd.reserved_fd() as usize;
    // SAFETY: A new file, whose only reference is passed on.
    fd.fd_install(unsafe { ARef::from_raw(NonNull::new_unchecked(file.cast::<File>())) });
    Ok(ret)
}

/// The registered device.
///
/// # Invariants
///
/// The device is registered.
#[pin_data(PinnedDrop)]
pub(crate) struct Device {
    #[pin]
    misc: Opaque<bindings::miscdevice>,
}

// SAFETY: A device may be deregistered by any thread.
unsafe impl Send for Device {}
// SAFETY: There is nothing to be done with a reference.
unsafe impl Sync for Device {}

impl Device {
    /// Registers `/dev/kqueue`. From then on programs come in. May sleep.
    pub(crate) fn register() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: Registered, or else there is no `Self`.
            misc <- Opaque::try_ffi_init(|slot: *mut bindings::miscdevice| {
                let misc = bindings::miscdevice {
                    minor: bindings::MISC_DYNAMIC_MINOR as c_int,
                    name: kernel::str::as_char_ptr_in_const_context(c_str!("kqueue")),
                    fops: &FOPS.0,
                    mode: 0o666,
                    ..pin_init::zeroed()
                };
                // SAFETY: `slot` is valid for writes, and pinned until `drop` deregisters.
                unsafe { slot.write(misc) };
                // SAFETY: As above.
                to_result(unsafe { bindings::misc_register(slot) })
            }),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Device {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: It is registered by the type invariants.
        unsafe { bindings::misc_deregister(self.misc.get()) };
    }
}
