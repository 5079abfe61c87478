// SPDX-License-Identifier: GPL-2.0

//! Random sequences of calls.
//!
//! What is generated are steps, in which descriptors and children are told by their place among
//! those that there are: so a sequence stays sensible when steps are left out of it to make it
//! smaller. What a step is as a call is known when the world before it is.

use crate::{
    abi::*,
    call::{Call, End, How},
    world::{Kind, World},
};
use proptest::{bool, collection::vec, prelude::*, sample::select};

/// The signals that the program ignores by its own choice, blocks, ignores by default, and catches.
pub const SIGNALS: [u8; 4] = [12, 10, 28, 34];

/// One of what there is, by its place, counted round and round.
#[derive(Clone, Copy, Debug)]
pub struct Pick(u8);

impl Pick {
    fn of<T: Copy>(self, all: &[T]) -> Option<T> {
        all.get(usize::from(self.0) % all.len().max(1)).copied()
    }
}

#[derive(Clone, Debug)]
pub enum Step {
    Kqueue(Flavour),
    Kevent {
        kq: Pick,
        changes: Vec<Wish>,
        room: usize,
        writable: bool,
    },
    Pipe,
    Socketpair,
    Open(u8),
    Dup(Pick),
    Dup2(Pick, Pick),
    Close(Pick),
    Read(Pick, usize),
    Write(Pick, usize),
    Shutdown(Pick, How),
    Seek(Pick, u64),
    Truncate(Pick, u64),
    Chmod(Pick),
    Unlink(u8),
    Kill(u8),
    Spawn,
    End(Pick, End),
    Wait(Pick),
}

/// A change.
#[derive(Clone, Debug)]
pub struct Wish {
    source: Source,
    flags: u16,
    fflags: u32,
    data: i64,
    udata: u8,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// A descriptor, of a file that can be watched for that.
    File(i16, Pick),
    /// Any descriptor, for what it may not be good for.
    Any(i16, Pick),
    /// A kqueue.
    Kqueue(Pick),
    Child(Pick),
    Number(i16, u64),
}

impl Wish {
    fn change(&self, world: &World) -> Kevent {
        const NONE: i32 = 99;

        let (filter, ident) = match self.source {
            Source::File(filter, pick) => {
                let fds = world.descriptors(|kind| match kind {
                    Kind::PipeReader(_) => filter == EVFILT_READ,
                    Kind::PipeWriter(_) => filter == EVFILT_WRITE,
                    Kind::Socket(_) => filter != EVFILT_VNODE,
                    Kind::Regular { .. } => true,
                    Kind::Kqueue(_) => false,
                });
                (filter, pick.of(&fds).unwrap_or(NONE))
            }
            Source::Any(filter, pick) => {
                let fds = world.descriptors(|_| true);
                (filter, pick.of(&fds).unwrap_or(NONE))
            }
            Source::Kqueue(pick) => {
                let fds = world.descriptors(|kind| matches!(kind, Kind::Kqueue(_)));
                (EVFILT_READ, pick.of(&fds).unwrap_or(NONE))
            }
            Source::Child(pick) => {
                let pids: Vec<_> = world.children().iter().map(|child| child.pid).collect();
                (EVFILT_PROC, pick.of(&pids).unwrap_or(NONE))
            }
            Source::Number(filter, ident) => {
                return Kevent {
                    ident,
                    ..self.with(filter)
                }
            }
        };
        Kevent {
            ident: ident as u64,
            ..self.with(filter)
        }
    }

    fn with(&self, filter: i16) -> Kevent {
        Kevent {
            ident: 0,
            filter,
            flags: self.flags,
            fflags: self.fflags,
            data: self.data,
            udata: self.udata.into(),
        }
    }
}

impl Step {
    /// The call that the step is in this world; none where there is nothing to do it with.
    pub fn call(&self, world: &World) -> Option<Call> {
        let any = |pick: Pick| pick.of(&world.descriptors(|_| true));
        let regular =
            |pick: Pick| pick.of(&world.descriptors(|kind| matches!(kind, Kind::Regular { .. })));
        let child = |pick: Pick, ended: bool| {
            let pids: Vec<_> = world
                .children()
                .iter()
                .filter(|child| !child.reaped && child.status.is_some() == ended)
                .map(|child| child.pid)
                .collect();
            pick.of(&pids)
        };
        Some(match *self {
            Self::Kqueue(flavour) => Call::Kqueue(flavour),
            Self::Kevent {
                kq,
                ref changes,
                room,
                writable,
            } => Call::Kevent {
                kq: kq.of(&world.descriptors(|kind| matches!(kind, Kind::Kqueue(_))))?,
                changes: changes.iter().map(|wish| wish.change(world)).collect(),
                room,
                writable,
            },
            Self::Pipe => Call::Pipe,
            Self::Socketpair => Call::Socketpair,
            Self::Open(name) => Call::Open(name),
            Self::Dup(fd) => Call::Dup(any(fd)?),
            Self::Dup2(from, to) => Call::Dup2(any(from)?, any(to)?),
            Self::Close(fd) => Call::Close(any(fd)?),
            Self::Read(fd, len) => Call::Read(
                pick_for(world, fd, |kind| !matches!(kind, Kind::PipeWriter(_)))?,
                len,
            ),
            Self::Write(fd, len) => {
                let fd = pick_for(world, fd, |kind| !matches!(kind, Kind::PipeReader(_)))?;
                match world.kind(fd)? {
                    // So little that a socket never comes to be full.
                    Kind::Socket(_) => Call::Write(fd, len.min(100)),
                    _ => Call::Write(fd, len),
                }
            }
            Self::Shutdown(fd, how) => Call::Shutdown(
                pick_for(world, fd, |kind| matches!(kind, Kind::Socket(_)))?,
                how,
            ),
            Self::Seek(fd, to) => Call::Seek(regular(fd)?, to),
            Self::Truncate(fd, to) => Call::Truncate(regular(fd)?, to),
            Self::Chmod(fd) => Call::Chmod(regular(fd)?),
            Self::Unlink(name) => Call::Unlink(name),
            Self::Kill(which) => Call::Kill(SIGNALS[usize::from(which) % SIGNALS.len()]),
            Self::Spawn => Call::Spawn,
            Self::End(pid, end) => Call::End(child(pid, false)?, end),
            Self::Wait(pid) => Call::Wait(child(pid, true)?),
        })
    }
}

/// A descriptor that is no kqueue's and that `is` says something of.
fn pick_for(world: &World, pick: Pick, is: impl Fn(Kind) -> bool) -> Option<i32> {
    pick.of(&world.descriptors(|kind| !matches!(kind, Kind::Kqueue(_)) && is(kind)))
}

/// A sequence: its first call makes a kqueue.
#[derive(Clone, Debug)]
pub struct Sequence {
    pub flavour: Flavour,
    pub steps: Vec<Step>,
}

/// What sequences are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// User events, timers and signals: nothing but the kqueue itself.
    Events,
    /// Pipes, sockets and files, and their descriptors.
    Descriptors,
    /// Kqueues in kqueues.
    Nesting,
    /// Children.
    Children,
    /// All of it.
    Everything,
}

impl About {
    pub const ALL: [Self; 5] = [
        Self::Events,
        Self::Descriptors,
        Self::Nesting,
        Self::Children,
        Self::Everything,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Descriptors => "descriptors",
            Self::Nesting => "nesting",
            Self::Children => "children",
            Self::Everything => "everything",
        }
    }
}

fn pick() -> impl Strategy<Value = Pick> {
    (0..16u8).prop_map(Pick)
}

fn flavour() -> impl Strategy<Value = Flavour> {
    select(&[
        Flavour::Openbsd,
        Flavour::Freebsd,
        Flavour::Netbsd,
        Flavour::Macos,
    ])
}

/// What changes do, mostly adding, and how knotes are, mostly as they come.
fn flags() -> impl Strategy<Value = u16> {
    const DO: [u16; 16] = [
        EV_ADD,
        EV_ADD,
        EV_ADD,
        EV_ADD,
        EV_ADD,
        EV_ADD,
        EV_ADD,
        EV_ADD | EV_DISABLE,
        EV_ADD | EV_ENABLE,
        EV_DELETE,
        EV_ENABLE,
        EV_ENABLE,
        EV_DISABLE,
        EV_ENABLE | EV_DISABLE,
        EV_ADD | EV_DELETE,
        0,
    ];
    const BE: u16 = EV_ONESHOT | EV_CLEAR | EV_DISPATCH;
    const RARELY: u16 = EV_RECEIPT | EV_UDATA_SPECIFIC | EV_KEEPUDATA | EV_SYSFLAGS;

    (select(&DO), any::<u16>(), any::<[u16; 3]>()).prop_map(|(what, be, [a, b, c])| {
        // One bit in eight, so that most changes are valid ones.
        what | be & be.rotate_left(5) & BE | a & b & c & RARELY
    })
}

fn wish(about: About) -> impl Strategy<Value = Wish> {
    let files = prop_oneof![
        4 => (pick(), bool::ANY, select(&[-1, 0, 1, 10, 5000])).prop_map(|(fd, low, data)| {
            (Source::File(EVFILT_READ, fd), if low { NOTE_LOWAT } else { 0 }, data)
        }),
        1 => (pick(), select(&[NOTE_EOF, NOTE_FILE_POLL, NOTE_EOF | NOTE_FILE_POLL]))
            .prop_map(|(fd, notes)| (Source::File(EVFILT_READ, fd), notes, 0)),
        3 => (pick(), bool::ANY, select(&[1, i64::MAX])).prop_map(|(fd, low, data)| {
            (Source::File(EVFILT_WRITE, fd), if low { NOTE_LOWAT } else { 0 }, data)
        }),
        3 => (pick(), any::<u32>(), bool::ANY).prop_map(|(fd, notes, all)| {
            (Source::File(EVFILT_VNODE, fd), if all { 0xfff } else { notes & 0xfff }, 0)
        }),
        1 => (pick(), select(&[EVFILT_READ, EVFILT_WRITE, EVFILT_VNODE]))
            .prop_map(|(fd, filter)| (Source::Any(filter, fd), 0, 0)),
    ];
    let user = (
        0..4u64,
        select(&[0, 0, NOTE_TRIGGER, NOTE_TRIGGER]),
        any::<u32>(),
        -1..3i64,
    )
        .prop_map(|(ident, trigger, fflags, data)| {
            (
                Source::Number(EVFILT_USER, ident),
                trigger | fflags & !NOTE_TRIGGER,
                data,
            )
        });
    let trigger = (0..4u64).prop_map(|ident| (Source::Number(EVFILT_USER, ident), NOTE_TRIGGER, 0));
    let timer = (0..3u64, select(&TIMES))
        .prop_map(|(ident, (notes, data))| (Source::Number(EVFILT_TIMER, ident), notes, data));
    let signal = select(&[12u64, 12, 10, 10, 28, 34, 1, 64, 0, 65])
        .prop_map(|signal| (Source::Number(EVFILT_SIGNAL, signal), 0, 0));
    let kqueue = pick().prop_map(|kq| (Source::Kqueue(kq), 0, 0));
    let child = (pick(), 0..16u32).prop_map(|(child, bits)| {
        let notes = [NOTE_EXIT, NOTE_REAP, NOTE_EXITSTATUS, NOTE_EXIT];
        let notes = (0..4)
            .filter(|bit| bits & (1 << bit) != 0)
            .map(|bit| notes[bit]);
        (
            Source::Child(child),
            notes.fold(0, |all, note| all | note),
            0,
        )
    });
    let odd = select(&[
        EVFILT_AIO,
        EVFILT_DEVICE,
        0,
        1,
        -100,
        EVFILT_READ,
        EVFILT_PROC,
    ])
    .prop_map(|filter| (Source::Number(filter, 1 << 40), 0, 0));

    let [f, u, t, s, k, c] = match about {
        About::Events => [0, 6, 3, 3, 0, 0],
        About::Descriptors => [12, 1, 0, 0, 1, 0],
        About::Nesting => [2, 6, 1, 1, 8, 0],
        About::Children => [0, 2, 0, 0, 1, 9],
        About::Everything => [6, 4, 2, 2, 3, 0],
    };
    let what = prop_oneof![
        f => files.boxed(),
        u => user.boxed(),
        u => trigger.boxed(),
        t => timer.boxed(),
        s => signal.boxed(),
        k => kqueue.boxed(),
        c => child.boxed(),
        1 => odd.boxed(),
    ];
    (what, flags(), 0..4u8).prop_map(|((source, fflags, data), flags, udata)| Wish {
        source,
        // Most triggers are not to make anything.
        flags: match (source, fflags) {
            (Source::Number(EVFILT_USER, _), NOTE_TRIGGER) => flags & !EV_ADD,
            _ => flags,
        },
        fflags,
        data,
        udata,
    })
}

/// What a timer is asked for: past, far ahead, or none at all.
const TIMES: [(u32, i64); 14] = [
    (NOTE_ABSTIME | NOTE_SECONDS, 1),
    (NOTE_ABSTIME | NOTE_MSECONDS, 1),
    (NOTE_ABSTIME | NOTE_NSECONDS, 0),
    (NOTE_ABSTIME, 1000),
    (NOTE_ABSTIME | NOTE_SECONDS, 4_000_000_000),
    (NOTE_SECONDS, 3600),
    (NOTE_MSECONDS, 3_600_000),
    (NOTE_USECONDS, 3_600_000_000),
    (NOTE_NSECONDS, 3_600_000_000_000),
    (0, 3_600_000),
    (0, -1),
    (NOTE_SECONDS, i64::MAX),
    (NOTE_SECONDS | NOTE_MSECONDS, 1),
    (0x20, 3_600_000),
];

fn step(about: About) -> impl Strategy<Value = Step> {
    let len = select(&[1, 10, 100, 4096, 5000, 70_000]);
    let kevent = (
        pick(),
        vec(wish(about), 0..4),
        select(&[8, 8, 8, 8, 8, 1, 1, 2, 0, 40]),
        0..16u8,
    )
        .prop_map(|(kq, changes, room, writable)| Step::Kevent {
            kq,
            changes,
            // Where nothing can be stored it is one event that is tried.
            room: if writable == 15 { room.min(1) } else { room },
            writable: writable != 15,
        });
    let make = prop_oneof![
        2 => Just(Step::Pipe),
        2 => Just(Step::Socketpair),
        2 => (0..2u8).prop_map(Step::Open),
        2 => pick().prop_map(Step::Dup),
        1 => (pick(), pick()).prop_map(|(from, to)| Step::Dup2(from, to)),
    ];
    let io = prop_oneof![
        3 => (pick(), len.clone()).prop_map(|(fd, len)| Step::Read(fd, len)),
        4 => (pick(), len.clone()).prop_map(|(fd, len)| Step::Write(fd, len)),
        1 => (pick(), select(&[How::Read, How::Write, How::Both]))
            .prop_map(|(fd, how)| Step::Shutdown(fd, how)),
        1 => (pick(), select(&[0, 1, 4096, 6000])).prop_map(|(fd, to)| Step::Seek(fd, to)),
        1 => (pick(), select(&[0, 10, 6000])).prop_map(|(fd, to)| Step::Truncate(fd, to)),
        1 => pick().prop_map(Step::Chmod),
        1 => (0..2u8).prop_map(Step::Unlink),
    ];
    let kqueue = flavour().prop_map(Step::Kqueue);
    let close = pick().prop_map(Step::Close);
    let kill = (0..4u8).prop_map(Step::Kill);
    let end = prop_oneof![
        (0..3u8).prop_map(End::Exit),
        select(&[9, 15]).prop_map(End::Signal)
    ];
    let children = prop_oneof![
        2 => Just(Step::Spawn),
        2 => (pick(), end).prop_map(|(child, end)| Step::End(child, end)),
        1 => pick().prop_map(Step::Wait),
    ];

    let [e, m, i, q, c, k, s] = match about {
        About::Events => [12, 0, 0, 0, 0, 3, 0],
        About::Descriptors => [14, 2, 12, 0, 2, 0, 0],
        About::Nesting => [14, 1, 2, 4, 2, 1, 0],
        About::Children => [8, 0, 0, 1, 1, 0, 5],
        About::Everything => [14, 2, 8, 1, 2, 2, 0],
    };
    prop_oneof![
        e => kevent.boxed(),
        m => make.boxed(),
        i => io.boxed(),
        q => kqueue.boxed(),
        c => close.boxed(),
        k => kill.boxed(),
        s => children.boxed(),
    ]
}

/// What there is from the beginning, mostly.
fn beginning(about: About) -> impl Strategy<Value = Vec<Step>> {
    let steps = match about {
        About::Events => vec![],
        About::Descriptors | About::Everything => {
            vec![Step::Pipe, Step::Socketpair, Step::Open(0)]
        }
        About::Nesting => vec![
            Step::Kqueue(Flavour::Openbsd),
            Step::Kqueue(Flavour::Freebsd),
        ],
        About::Children => vec![Step::Spawn],
    };
    vec(bool::weighted(0.8), steps.len()).prop_map(move |wanted| {
        let pairs = steps.iter().zip(wanted);
        pairs
            .filter(|&(_, wanted)| wanted)
            .map(|(step, _)| step.clone())
            .collect()
    })
}

/// Sequences of up to so many steps.
pub fn sequence(about: About, steps: usize) -> impl Strategy<Value = Sequence> {
    // In the order that they are made smaller in: what all picks depend on is last.
    (flavour(), vec(step(about), 1..steps), beginning(about)).prop_map(
        |(flavour, more, mut steps)| {
            steps.extend(more);
            Sequence { flavour, steps }
        },
    )
}
