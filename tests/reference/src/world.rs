// SPDX-License-Identifier: GPL-2.0

//! The process, its kqueues, and what it can do.

use crate::{
    abi::*,
    call::{Answer, Call, End, Exact, Expected, How},
    knote::{timer, Knote, Proc, Watched},
    objects::{Child, Inode, Pipe, Socket, Told},
};
use std::collections::{BTreeMap, VecDeque};

/// What is behind a descriptor. Indices are into the tables of [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    PipeReader(usize),
    PipeWriter(usize),
    Socket(usize),
    Regular { inode: usize, offset: u64 },
    Kqueue(usize),
}

/// An open file, which may have several descriptors.
#[derive(Clone, Debug)]
struct Open {
    kind: Kind,
    descriptors: usize,
}

#[derive(Clone, Debug)]
struct Kqueue {
    flavour: Flavour,
    knotes: Vec<Knote>,
    /// The numbers of those that are ready, the first to be delivered first.
    ready: VecDeque<u64>,
}

impl Kqueue {
    fn knote(&mut self, number: u64) -> Option<&mut Knote> {
        self.knotes.iter_mut().find(|kn| kn.number == number)
    }
}

/// What there is to say of a file that is ready.
struct Found {
    data: i64,
    exact: Exact,
    fflags: u32,
    eof: bool,
}

impl Found {
    fn new(data: i64) -> Self {
        Self {
            data,
            exact: Exact::Yes,
            fflags: 0,
            eof: false,
        }
    }
}

/// What is done to a regular file that is none of `NOTE_*`: an offset is set.
const OFFSET: u32 = 1 << 31;

/// Kqueues of which each watches the next.
const DEPTH: usize = 5;

/// The lowest descriptor that the process does not have open for its own purposes.
pub const FIRST: i32 = 3;

#[derive(Clone, Debug, Default)]
pub struct World {
    descriptors: BTreeMap<i32, usize>,
    files: Vec<Open>,
    pipes: Vec<Pipe>,
    sockets: Vec<Socket>,
    inodes: Vec<Inode>,
    kqueues: Vec<Kqueue>,
    children: Vec<Child>,
    /// The inodes that have a name.
    names: BTreeMap<u8, usize>,
    knotes_made: u64,
    /// Kqueues that have come to have something, of which who watches them is not told yet.
    news: Vec<usize>,
}

impl World {
    /// The descriptors of what `is` says, in ascending order.
    pub fn descriptors(&self, is: impl Fn(Kind) -> bool) -> Vec<i32> {
        self.descriptors
            .iter()
            .filter(|(_, &file)| is(self.files[file].kind))
            .map(|(&fd, _)| fd)
            .collect()
    }

    pub fn children(&self) -> &[Child] {
        &self.children
    }

    pub fn kind(&self, fd: i32) -> Option<Kind> {
        Some(self.files[*self.descriptors.get(&fd)?].kind)
    }

    /// What comes of a call. `answer` is what came of it where the model cannot know: what a new
    /// process is called.
    pub fn call(&mut self, call: &Call, answer: &Answer) -> Expected {
        let result = match *call {
            Call::Kevent {
                kq,
                ref changes,
                room,
                writable,
            } => match self.kevent(kq, changes, room, writable) {
                Ok(events) => return Expected::Events(events),
                Err(errno) => Err(errno),
            },
            Call::Pipe => {
                self.pipes.push(Pipe::default());
                let pipe = self.pipes.len() - 1;
                return self.two(Kind::PipeReader(pipe), Kind::PipeWriter(pipe));
            }
            Call::Socketpair => {
                let first = self.sockets.len();
                self.sockets.push(Socket::new(first + 1));
                self.sockets.push(Socket::new(first));
                return self.two(Kind::Socket(first), Kind::Socket(first + 1));
            }
            Call::Kqueue(flavour) => {
                self.kqueues.push(Kqueue {
                    flavour,
                    knotes: Vec::new(),
                    ready: VecDeque::new(),
                });
                Ok(self.open(Kind::Kqueue(self.kqueues.len() - 1)).into())
            }
            Call::Open(name) => Ok(self.open_file(name).into()),
            Call::Dup(fd) => self.dup(fd, None),
            Call::Dup2(from, to) => self.dup(from, Some(to)),
            Call::Close(fd) => self.close(fd),
            Call::Read(fd, len) => self.read(fd, len),
            Call::Write(fd, len) => self.write(fd, len),
            Call::Shutdown(fd, how) => self.shutdown(fd, how),
            Call::Seek(fd, to) => self.seek(fd, to),
            Call::Truncate(fd, to) => self.truncate(fd, to),
            Call::Chmod(fd) => self.chmod(fd),
            Call::Unlink(name) => self.unlink(name),
            Call::Kill(signal) => {
                self.tell(false, |kn| kn.sent(signal));
                Ok(0)
            }
            Call::Spawn => match *answer {
                Answer::Value(pid @ 1..) => {
                    self.children.push(Child {
                        pid: pid as i32,
                        status: None,
                        reaped: false,
                    });
                    Ok(pid)
                }
                _ => Err(0),
            },
            Call::End(pid, end) => self.end(pid, end),
            Call::Wait(pid) => self.wait(pid),
        };
        Expected::Exactly(match result {
            Ok(value) => Answer::Value(value),
            Err(errno) => Answer::Errno(errno),
        })
    }
}

/// Descriptors, and what is done by them.
impl World {
    fn lowest(&self) -> i32 {
        (FIRST..)
            .find(|fd| !self.descriptors.contains_key(fd))
            .unwrap_or(i32::MAX)
    }

    fn open(&mut self, kind: Kind) -> i32 {
        let fd = self.lowest();
        self.files.push(Open {
            kind,
            descriptors: 1,
        });
        self.descriptors.insert(fd, self.files.len() - 1);
        fd
    }

    fn two(&mut self, first: Kind, second: Kind) -> Expected {
        let first = self.open(first);
        Expected::Exactly(Answer::Two(first, self.open(second)))
    }

    fn file(&self, fd: i32) -> Result<usize, i32> {
        self.descriptors.get(&fd).copied().ok_or(libc::EBADF)
    }

    fn kind_of(&self, fd: i32) -> Result<Kind, i32> {
        Ok(self.files[self.file(fd)?].kind)
    }

    fn dup(&mut self, from: i32, to: Option<i32>) -> Result<i64, i32> {
        let file = self.file(from)?;
        let to = to.unwrap_or(self.lowest());
        if to != from {
            // What was there is closed, and nobody is told that it failed.
            let _ = self.close(to);
            self.files[file].descriptors += 1;
            self.descriptors.insert(to, file);
        }
        Ok(to.into())
    }

    fn close(&mut self, fd: i32) -> Result<i64, i32> {
        let file = self.descriptors.remove(&fd).ok_or(libc::EBADF)?;
        for kq in &mut self.kqueues {
            let Kqueue { knotes, ready, .. } = kq;
            knotes.retain(|kn| !kn.is_on_descriptor() || kn.ident != fd as u64);
            ready.retain(|number| knotes.iter().any(|kn| kn.number == *number));
        }
        self.files[file].descriptors -= 1;
        if self.files[file].descriptors != 0 {
            return Ok(0);
        }
        match self.files[file].kind {
            Kind::PipeReader(pipe) => {
                self.pipes[pipe].readers = false;
                self.tell_files(|kind| kind == Kind::PipeWriter(pipe), None);
            }
            Kind::PipeWriter(pipe) => {
                self.pipes[pipe].writers = false;
                self.tell_files(|kind| kind == Kind::PipeReader(pipe), None);
            }
            Kind::Socket(socket) => {
                let unread = self.sockets[socket].bytes() != 0;
                if let Some(peer) = self.sockets[socket].peer.take() {
                    let other = &mut self.sockets[peer];
                    (other.read_shut, other.write_shut) = (true, true);
                    other.peer = None;
                    if unread {
                        other.error = libc::ECONNRESET;
                    }
                    self.tell_files(|kind| kind == Kind::Socket(peer), None);
                }
            }
            Kind::Regular { inode, .. } => self.tell_inode(inode, NOTE_CLOSE_WRITE),
            Kind::Kqueue(kq) => {
                self.kqueues[kq].knotes.clear();
                self.kqueues[kq].ready.clear();
            }
        }
        Ok(0)
    }

    fn open_file(&mut self, name: u8) -> i32 {
        let inode = *self.names.entry(name).or_insert_with(|| {
            self.inodes.push(Inode {
                size: 0,
                linked: true,
            });
            self.inodes.len() - 1
        });
        let fd = self.open(Kind::Regular { inode, offset: 0 });
        self.tell_inode(inode, NOTE_OPEN);
        fd
    }

    fn unlink(&mut self, name: u8) -> Result<i64, i32> {
        let inode = self.names.remove(&name).ok_or(libc::ENOENT)?;
        self.inodes[inode].linked = false;
        self.tell_inode(inode, NOTE_DELETE | NOTE_LINK);
        Ok(0)
    }

    fn read(&mut self, fd: i32, len: usize) -> Result<i64, i32> {
        let file = self.file(fd)?;
        match self.files[file].kind {
            Kind::PipeReader(pipe) => {
                let (result, told) = self.pipes[pipe].read(len);
                if told == Told::Writers {
                    self.tell_files(|kind| kind == Kind::PipeWriter(pipe), Some(EVFILT_WRITE));
                }
                result.map(|done| done as i64)
            }
            Kind::PipeWriter(_) => Err(libc::EBADF),
            Kind::Socket(socket) => {
                let (result, told) = self.sockets[socket].read(len);
                if let (Told::Writers, Some(peer)) = (told, self.sockets[socket].peer) {
                    self.tell_files(|kind| kind == Kind::Socket(peer), Some(EVFILT_WRITE));
                }
                result.map(|done| done as i64)
            }
            Kind::Regular { inode, offset } => {
                let left = self.inodes[inode].size.saturating_sub(offset);
                let done = left.min(len as u64);
                self.set_offset(file, offset + done);
                if done != 0 {
                    self.tell_inode(inode, NOTE_READ);
                }
                Ok(done as i64)
            }
            Kind::Kqueue(_) => Err(libc::ENXIO),
        }
    }

    fn write(&mut self, fd: i32, len: usize) -> Result<i64, i32> {
        let file = self.file(fd)?;
        match self.files[file].kind {
            Kind::PipeWriter(pipe) => {
                let result = self.pipes[pipe].write(len);
                // Every write is told, one that finds no room too.
                if len != 0 {
                    self.tell_files(|kind| kind == Kind::PipeReader(pipe), Some(EVFILT_READ));
                }
                result.map(|done| done as i64)
            }
            Kind::PipeReader(_) => Err(libc::EBADF),
            Kind::Socket(socket) => {
                let Socket {
                    write_shut, peer, ..
                } = self.sockets[socket];
                let Some(peer) = peer.filter(|_| !write_shut) else {
                    return Err(libc::EPIPE);
                };
                if self.sockets[peer].read_shut {
                    return Err(libc::EPIPE);
                }
                if len != 0 {
                    self.sockets[peer].receive(len);
                    self.tell_files(|kind| kind == Kind::Socket(peer), Some(EVFILT_READ));
                }
                Ok(len as i64)
            }
            Kind::Regular { inode, offset } => {
                if len == 0 {
                    return Ok(0);
                }
                let end = offset + len as u64;
                let grows = end > self.inodes[inode].size;
                self.inodes[inode].size = end.max(self.inodes[inode].size);
                self.set_offset(file, end);
                self.tell_inode(inode, NOTE_WRITE | if grows { NOTE_EXTEND } else { 0 });
                Ok(len as i64)
            }
            Kind::Kqueue(_) => Err(libc::ENXIO),
        }
    }

    fn set_offset(&mut self, file: usize, to: u64) {
        if let Kind::Regular { offset, .. } = &mut self.files[file].kind {
            *offset = to;
        }
    }

    fn seek(&mut self, fd: i32, to: u64) -> Result<i64, i32> {
        let file = self.file(fd)?;
        match self.files[file].kind {
            Kind::Regular { inode, .. } => {
                self.set_offset(file, to);
                // Whoever waits to read at some offset of the file is told.
                self.tell_inode(inode, OFFSET);
                Ok(to as i64)
            }
            _ => Err(libc::ESPIPE),
        }
    }

    fn truncate(&mut self, fd: i32, to: u64) -> Result<i64, i32> {
        let Kind::Regular { inode, .. } = self.kind_of(fd)? else {
            return Err(libc::EINVAL);
        };
        let size = std::mem::replace(&mut self.inodes[inode].size, to);
        let how = match to.cmp(&size) {
            std::cmp::Ordering::Less => NOTE_TRUNCATE,
            std::cmp::Ordering::Equal => 0,
            std::cmp::Ordering::Greater => NOTE_EXTEND,
        };
        self.tell_inode(inode, NOTE_WRITE | how);
        Ok(0)
    }

    fn chmod(&mut self, fd: i32) -> Result<i64, i32> {
        if let Kind::Regular { inode, .. } = self.kind_of(fd)? {
            self.tell_inode(inode, NOTE_ATTRIB);
        }
        Ok(0)
    }

    fn shutdown(&mut self, fd: i32, how: How) -> Result<i64, i32> {
        let Kind::Socket(socket) = self.kind_of(fd)? else {
            return Err(libc::ENOTSOCK);
        };
        let (read, write) = (how != How::Write, how != How::Read);
        self.sockets[socket].read_shut |= read;
        self.sockets[socket].write_shut |= write;
        self.tell_files(|kind| kind == Kind::Socket(socket), None);
        if let Some(peer) = self.sockets[socket].peer {
            self.sockets[peer].read_shut |= write;
            self.sockets[peer].write_shut |= read;
            self.tell_files(|kind| kind == Kind::Socket(peer), None);
        }
        Ok(0)
    }
}

/// Children.
impl World {
    fn child(&self, pid: i32) -> Option<usize> {
        self.children
            .iter()
            .rposition(|child| child.pid == pid && !child.reaped)
    }

    fn end(&mut self, pid: i32, end: End) -> Result<i64, i32> {
        let child = self.child(pid).ok_or(libc::ESRCH)?;
        self.children[child].status = Some(match end {
            End::Exit(code) => i64::from(code) << 8,
            End::Signal(signal) => signal.into(),
        });
        self.tell(false, |kn| kn.exited(child));
        Ok(0)
    }

    fn wait(&mut self, pid: i32) -> Result<i64, i32> {
        let child = self.child(pid).ok_or(libc::ECHILD)?;
        let status = self.children[child].status.ok_or(libc::EAGAIN)?;
        self.children[child].reaped = true;
        self.tell(false, |kn| kn.reaped(child));
        Ok(status)
    }
}

/// Telling.
impl World {
    /// Something has happened: `has` says of each knote whether it is active for it. Where several
    /// are, in any kqueue, it is in the order that they were added in. Who watches these kqueues is
    /// told after all of them, or after each.
    fn tell(&mut self, one_by_one: bool, has: impl Fn(&mut Knote) -> bool) {
        let mut active = Vec::new();
        for (kq, kqueue) in self.kqueues.iter_mut().enumerate() {
            for kn in &mut kqueue.knotes {
                if has(kn) {
                    active.push((kn.number, kq));
                }
            }
        }
        active.sort();
        for (number, kq) in active {
            self.activate(kq, number);
            if one_by_one {
                self.spread();
            }
        }
        self.spread();
    }

    /// Knotes of `filter`, or of both where it is none, on open files that `on` picks are told.
    /// Of several the latest is the first.
    fn tell_files(&mut self, on: impl Fn(Kind) -> bool, filter: Option<i16>) {
        self.wake(on, filter);
        self.spread();
    }

    /// The same, but that who watches their kqueues is not told yet.
    fn wake(&mut self, on: impl Fn(Kind) -> bool, filter: Option<i16>) {
        let mut active = Vec::new();
        for (kq, kqueue) in self.kqueues.iter().enumerate() {
            for kn in &kqueue.knotes {
                if let Watched::File(file) = kn.watched {
                    if on(self.files[file].kind) && filter.is_none_or(|one| one == kn.filter) {
                        active.push((kn.number, kq));
                    }
                }
            }
        }
        active.sort();
        for (number, kq) in active.into_iter().rev() {
            self.activate(kq, number);
        }
    }

    /// Tells who watches kqueues that have come to have something, and who watches those, level by
    /// level, and on one level the latest first.
    fn spread(&mut self) {
        while !self.news.is_empty() {
            for kq in std::mem::take(&mut self.news).into_iter().rev() {
                self.wake(|kind| kind == Kind::Kqueue(kq), None);
            }
        }
    }

    /// There is something new in a kqueue.
    fn announce(&mut self, kq: usize) {
        if !self.news.contains(&kq) {
            self.news.push(kq);
        }
    }

    /// Something was done to a regular file.
    fn tell_inode(&mut self, inode: usize, what: u32) {
        let moved = what & (NOTE_EXTEND | NOTE_TRUNCATE | OFFSET) != 0;
        let is_of_it: Vec<_> = self
            .files
            .iter()
            .map(|file| matches!(file.kind, Kind::Regular { inode: own, .. } if own == inode))
            .collect();
        self.tell(true, |kn| match kn.watched {
            Watched::File(file) => moved && kn.filter == EVFILT_READ && is_of_it[file],
            _ => kn.note(inode, what & !OFFSET),
        });
    }

    fn activate(&mut self, kq: usize, number: u64) {
        if let Some(kn) = self.kqueues[kq].knote(number) {
            kn.active = true;
        }
        self.queue(kq, number);
    }

    /// A knote that is active and not disabled is ready; where it was not before, who watches the
    /// kqueue is told.
    fn queue(&mut self, kq: usize, number: u64) {
        let kqueue = &mut self.kqueues[kq];
        let Some(kn) = kqueue.knote(number) else {
            return;
        };
        let is_ready = kn.active && !kn.disabled;
        let was_ready = kqueue.ready.contains(&number);
        if is_ready && !was_ready {
            kqueue.ready.push_back(number);
            self.announce(kq);
        } else if !is_ready {
            kqueue.ready.retain(|&one| one != number);
        }
    }
}

/// kevent(2).
impl World {
    fn kevent(
        &mut self,
        fd: i32,
        changes: &[Kevent],
        room: usize,
        writable: bool,
    ) -> Result<Vec<(Kevent, Exact)>, i32> {
        let Kind::Kqueue(kq) = self.kind_of(fd)? else {
            return Err(libc::EBADF);
        };
        let mut answers = Vec::new();
        for change in changes {
            let result = self.register(kq, change);
            if result.is_ok() && !change.has(EV_RECEIPT) {
                continue;
            }
            if answers.len() == room {
                result?;
                continue;
            }
            if !writable {
                return Err(libc::EFAULT);
            }
            let answer = Kevent {
                flags: EV_ERROR,
                data: result.err().unwrap_or(0).into(),
                ..*change
            };
            answers.push((answer, Exact::Yes));
        }
        if !answers.is_empty() {
            return Ok(answers);
        }
        self.scan(kq, room, writable)
    }

    fn register(&mut self, kq: usize, change: &Kevent) -> Result<(), i32> {
        let change = &Kevent {
            flags: change.flags & !EV_SYSFLAGS,
            ..*change
        };
        if !matches!(
            change.filter,
            EVFILT_READ
                | EVFILT_WRITE
                | EVFILT_VNODE
                | EVFILT_PROC
                | EVFILT_SIGNAL
                | EVFILT_TIMER
                | EVFILT_USER
        ) {
            return Err(libc::EINVAL);
        }
        if change.has(EV_ADD) && change.has(EV_DELETE | EV_KEEPUDATA) {
            return Err(libc::EINVAL);
        }
        if matches!(change.filter, EVFILT_READ | EVFILT_WRITE | EVFILT_VNODE) {
            let fd = i32::try_from(change.ident).map_err(|_| libc::EBADF)?;
            self.file(fd)?;
        }
        let Kqueue { knotes, ready, .. } = &mut self.kqueues[kq];
        match knotes.iter().position(|kn| kn.answers_to(change)) {
            Some(at) if change.has(EV_DELETE) => {
                let gone = knotes.remove(at);
                ready.retain(|&number| number != gone.number);
                Ok(())
            }
            Some(at) => self.modify(kq, at, change),
            None if change.has(EV_ADD) => self.add(kq, change),
            None => Err(libc::ENOENT),
        }
    }

    fn modify(&mut self, kq: usize, at: usize, change: &Kevent) -> Result<(), i32> {
        let kqueue = &mut self.kqueues[kq];
        let flavour = kqueue.flavour;
        let kn = &mut kqueue.knotes[at];
        if change.has(EV_ADD) && change.filter == EVFILT_TIMER {
            timer(change)?;
        }
        kn.touch(change, flavour);
        if !kn.has(EV_UDATA_SPECIFIC)
            && (change.has(EV_ADD) || (flavour != Flavour::Openbsd && !change.has(EV_KEEPUDATA)))
        {
            kn.udata = change.udata;
        }
        if change.has(EV_ADD) {
            kn.set_flags(change.flags);
        }
        if change.has(EV_ENABLE) || (change.has(EV_ADD) && !change.has(EV_DISABLE)) {
            kn.disabled = false;
        } else if change.has(EV_DISABLE) {
            kn.disabled = true;
        }
        let number = kn.number;
        let active = match kn.watched {
            // What is active stays so until it is looked at.
            Watched::File(_) => {
                kn.active || self.found(flavour, &self.kqueues[kq].knotes[at]).is_some()
            }
            _ => kn.is_pending(),
        };
        self.kqueues[kq].knotes[at].active = active;
        self.queue(kq, number);
        self.spread();
        Ok(())
    }

    fn add(&mut self, kq: usize, change: &Kevent) -> Result<(), i32> {
        let flavour = self.kqueues[kq].flavour;
        let number = self.knotes_made;
        self.knotes_made += 1;
        let watched = match change.filter {
            EVFILT_READ | EVFILT_WRITE => {
                let file = self.file(change.ident as i32)?;
                self.may_watch(kq, file, change.filter)?;
                Watched::File(file)
            }
            EVFILT_VNODE => match self.kind_of(change.ident as i32)? {
                Kind::Regular { inode, .. } => Watched::Vnode { inode, notes: 0 },
                _ => return Err(libc::EINVAL),
            },
            EVFILT_PROC => {
                let pid = i32::try_from(change.ident).map_err(|_| libc::ESRCH)?;
                Watched::Proc(Proc {
                    child: self.child(pid).ok_or(libc::ESRCH)?,
                    notes: 0,
                    exited: false,
                    reaped: false,
                    told: false,
                })
            }
            EVFILT_SIGNAL => match change.ident {
                1..=64 => Watched::Signal { count: 0 },
                _ => return Err(libc::EINVAL),
            },
            EVFILT_TIMER => Watched::Timer {
                expired: timer(change)?,
            },
            _ => Watched::User {
                triggered: change.fflags & NOTE_TRIGGER != 0,
                fflags: change.fflags & NOTE_FFLAGSMASK,
                data: change.data,
            },
        };
        let mut kn = Knote::new(number, change, watched);
        kn.active = match kn.watched {
            Watched::File(_) => self.found(flavour, &kn).is_some(),
            // One that has ended and was not waited for is told of at once.
            Watched::Proc(Proc { child, .. }) if self.children[child].status.is_some() => {
                kn.exited(child)
            }
            _ => kn.is_pending(),
        };
        self.kqueues[kq].knotes.push(kn);
        self.queue(kq, number);
        self.spread();
        Ok(())
    }

    /// Whether `file` can be watched with `filter` by the kqueue.
    fn may_watch(&self, kq: usize, file: usize, filter: i16) -> Result<(), i32> {
        match self.files[file].kind {
            Kind::Regular { .. }
                if filter == EVFILT_WRITE && self.kqueues[kq].flavour == Flavour::Netbsd =>
            {
                Err(libc::EINVAL)
            }
            Kind::Kqueue(_) if filter == EVFILT_WRITE => Err(libc::EINVAL),
            Kind::Kqueue(inner) if inner == kq => Err(libc::EINVAL),
            Kind::Kqueue(inner) => {
                let below = self.height(inner, kq)?;
                // The number of steps that lead here, by asking each one that might.
                let above = (0..self.kqueues.len())
                    .filter_map(|top| self.steps(top, kq))
                    .max()
                    .unwrap_or(0);
                if above + 1 + below > DEPTH {
                    return Err(libc::ELOOP);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The kqueues that a kqueue watches.
    fn watches(&self, kq: usize) -> Vec<usize> {
        let inner = |kn: &Knote| match kn.watched {
            Watched::File(file) => match self.files[file].kind {
                Kind::Kqueue(inner) => Some(inner),
                _ => None,
            },
            _ => None,
        };
        self.kqueues[kq].knotes.iter().filter_map(inner).collect()
    }

    /// How many steps lead away from a kqueue, at most. `ELOOP` where they lead to `outer`.
    fn height(&self, kq: usize, outer: usize) -> Result<usize, i32> {
        let mut most = 0;
        for inner in self.watches(kq) {
            if inner == outer {
                return Err(libc::ELOOP);
            }
            most = most.max(1 + self.height(inner, outer)?);
        }
        Ok(most)
    }

    /// How many steps lead from one kqueue to another, at most.
    fn steps(&self, from: usize, to: usize) -> Option<usize> {
        if from == to {
            return Some(0);
        }
        let steps = |&inner: &usize| Some(1 + self.steps(inner, to)?);
        self.watches(from).iter().filter_map(steps).max()
    }

    /// Whether the condition of a knote on an open file holds, and what there is to say then.
    fn found(&self, flavour: Flavour, kn: &Knote) -> Option<Found> {
        let Watched::File(file) = kn.watched else {
            return None;
        };
        let reads = kn.filter == EVFILT_READ;
        let low_water = if kn.notes & NOTE_LOWAT != 0 {
            kn.value
        } else {
            0
        };
        match self.files[file].kind {
            Kind::PipeReader(_) if !reads => None,
            Kind::PipeReader(pipe) => {
                let (bytes, eof) = (self.pipes[pipe].bytes(), !self.pipes[pipe].writers);
                (eof || (bytes != 0 && bytes >= low_water)).then_some(Found {
                    eof,
                    ..Found::new(bytes)
                })
            }
            // There is nothing to be read from that end, but it can be over.
            Kind::PipeWriter(pipe) => {
                let pipe = &self.pipes[pipe];
                let eof = !pipe.readers;
                let data = if reads { pipe.bytes() } else { pipe.room() };
                (eof || (!reads && !pipe.is_full())).then_some(Found {
                    eof,
                    ..Found::new(data)
                })
            }
            Kind::Socket(socket) => {
                let socket = &self.sockets[socket];
                let bytes = socket.bytes();
                let (active, eof) = if reads {
                    (bytes != 0 && bytes >= low_water, socket.read_shut)
                } else {
                    // A low-water mark is small or more than any socket has room for.
                    (low_water < 1 << 30, socket.write_shut)
                };
                // There is no room for what cannot be sent.
                let (data, exact) = match (reads, socket.write_shut) {
                    (true, _) => (bytes, Exact::Yes),
                    (false, true) => (0, Exact::Yes),
                    (false, false) => (1, Exact::AtLeast),
                };
                (active || eof || socket.error != 0).then_some(Found {
                    eof,
                    fflags: socket.error as u32,
                    exact,
                    data,
                })
            }
            Kind::Regular { inode, offset } => {
                if !reads {
                    return Some(Found::new(0));
                }
                let data = self.inodes[inode].size as i64 - offset as i64;
                let at_eof = match flavour {
                    Flavour::Openbsd => NOTE_EOF | NOTE_FILE_POLL,
                    Flavour::Freebsd => NOTE_FILE_POLL,
                    Flavour::Netbsd | Flavour::Macos => 0,
                };
                let asked = kn.notes & at_eof;
                (data != 0 || asked != 0).then_some(Found {
                    fflags: if data == 0 { asked & NOTE_EOF } else { 0 },
                    ..Found::new(data)
                })
            }
            Kind::Kqueue(inner) => match self.kqueues[inner].ready.len() {
                0 => None,
                count => Some(Found::new(count as i64)),
            },
        }
    }

    /// The event of a knote that is the first, if its condition holds.
    fn look(&mut self, kq: usize, number: u64) -> Option<(Kevent, Exact)> {
        let flavour = self.kqueues[kq].flavour;
        let at = self.kqueues[kq]
            .knotes
            .iter()
            .position(|kn| kn.number == number)?;
        self.kqueues[kq].knotes[at].active = false;
        let kn = &self.kqueues[kq].knotes[at];
        if let Watched::File(_) = kn.watched {
            let found = self.found(flavour, kn)?;
            let event = kn.event();
            return Some((
                Kevent {
                    flags: event.flags | if found.eof { EV_EOF } else { 0 },
                    fflags: found.fflags,
                    data: found.data,
                    ..event
                },
                found.exact,
            ));
        }
        let status = match &kn.watched {
            Watched::Proc(proc) => self.children[proc.child].status.unwrap_or(0),
            _ => 0,
        };
        let event = self.kqueues[kq].knotes[at].take(flavour, status)?;
        Some((event, Exact::Yes))
    }

    fn scan(
        &mut self,
        kq: usize,
        room: usize,
        writable: bool,
    ) -> Result<Vec<(Kevent, Exact)>, i32> {
        let mut events = Vec::new();
        // What comes to be ready now is left to the next call.
        let mut again = Vec::new();
        for _ in 0..self.kqueues[kq].ready.len() {
            if events.len() == room {
                break;
            }
            let Some(number) = self.kqueues[kq].ready.pop_front() else {
                break;
            };
            let before = self.kqueues[kq].knote(number).cloned();
            let Some((event, exact)) = self.look(kq, number) else {
                continue;
            };
            let kqueue = &mut self.kqueues[kq];
            if !writable {
                if let (Some(kn), Some(before)) = (kqueue.knote(number), before) {
                    *kn = before;
                }
                kqueue.ready.push_front(number);
                self.tell_files(|kind| kind == Kind::Kqueue(kq), None);
                return Err(libc::EFAULT);
            }
            events.push((event, exact));
            if event.has(EV_ONESHOT) {
                kqueue.knotes.retain(|kn| kn.number != number);
            } else if let Some(kn) = kqueue.knote(number) {
                kn.active |= !kn.has(EV_CLEAR);
                kn.disabled |= kn.has(EV_DISPATCH);
                if kn.active && !kn.disabled {
                    again.push(number);
                }
            }
        }
        // Who watches the kqueue may have seen nothing in it meanwhile.
        if !again.is_empty() {
            self.kqueues[kq].ready.extend(again);
            self.tell_files(|kind| kind == Kind::Kqueue(kq), None);
        }
        Ok(events)
    }
}
