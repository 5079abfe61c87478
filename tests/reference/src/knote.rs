// SPDX-License-Identifier: GPL-2.0

//! A knote, and what its filter keeps in it.

use crate::abi::*;

/// The flags of a change that a knote keeps and shows in its events.
const KEPT: u16 = EV_ONESHOT | EV_CLEAR | EV_DISPATCH | EV_UDATA_SPECIFIC;

/// What is watched, and what has happened to it that was not delivered yet.
#[derive(Clone, Debug)]
pub enum Watched {
    /// `EVFILT_READ` or `EVFILT_WRITE`: whether there is an event is asked of the open file when it
    /// is to be delivered.
    File(usize),
    /// `EVFILT_VNODE`: the inode, and the notes that are pending.
    Vnode {
        inode: usize,
        notes: u32,
    },
    User {
        triggered: bool,
        fflags: u32,
        data: i64,
    },
    /// A timer that has expired so often; none that goes on is modelled.
    Timer {
        expired: i64,
    },
    Signal {
        count: i64,
    },
    Proc(Proc),
}

/// `EVFILT_PROC`.
#[derive(Clone, Debug)]
pub struct Proc {
    pub child: usize,
    pub notes: u32,
    pub exited: bool,
    pub reaped: bool,
    /// `NOTE_EXIT` was asked for when, or after, it exited.
    pub told: bool,
}

#[derive(Clone, Debug)]
pub struct Knote {
    /// Every knote has a number of its own; later ones have higher ones.
    pub number: u64,
    pub filter: i16,
    pub ident: u64,
    pub udata: u64,
    pub flags: u16,
    /// `fflags` and `data` of the latest change with `EV_ADD`.
    pub notes: u32,
    pub value: i64,
    pub disabled: bool,
    /// Its condition has come to hold since it was last looked at.
    pub active: bool,
    pub watched: Watched,
}

impl Knote {
    pub fn new(number: u64, change: &Kevent, watched: Watched) -> Self {
        let mut knote = Self {
            number,
            filter: change.filter,
            ident: change.ident,
            udata: change.udata,
            flags: 0,
            notes: change.fflags,
            value: change.data,
            disabled: change.flags & (EV_DISABLE | EV_ENABLE) == EV_DISABLE,
            active: false,
            watched,
        };
        knote.set_flags(change.flags);
        knote
    }

    /// What is edge-triggered by nature has `EV_CLEAR`.
    pub fn set_flags(&mut self, flags: u16) {
        let clear = match self.watched {
            Watched::Timer { .. } | Watched::Signal { .. } | Watched::Proc(_) => EV_CLEAR,
            _ => 0,
        };
        self.flags = flags & KEPT | clear;
    }

    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Whether a change is to this knote.
    pub fn answers_to(&self, change: &Kevent) -> bool {
        let specific = change.has(EV_UDATA_SPECIFIC);
        (self.filter, self.ident) == (change.filter, change.ident)
            && self.has(EV_UDATA_SPECIFIC) == specific
            && (!specific || self.udata == change.udata)
    }

    /// Whether the filter watches a descriptor.
    pub fn is_on_descriptor(&self) -> bool {
        matches!(self.watched, Watched::File(_) | Watched::Vnode { .. })
    }

    /// Whether there is something to deliver, where that is not asked of a file.
    pub fn is_pending(&self) -> bool {
        match &self.watched {
            Watched::File(_) => false,
            Watched::Vnode { notes, .. } => *notes != 0,
            Watched::User { triggered, .. } => *triggered,
            Watched::Timer { expired } => *expired != 0,
            Watched::Signal { count } => *count != 0,
            Watched::Proc(proc) => proc.notes != 0 || self.is_over(proc),
        }
    }

    /// Whether the event to come is the last that there is of the process.
    fn is_over(&self, proc: &Proc) -> bool {
        if self.notes & NOTE_REAP != 0 {
            proc.reaped
        } else {
            proc.exited
        }
    }

    /// The inode that the knote watches has had this done to it. Whether that was asked for.
    pub fn note(&mut self, inode: usize, what: u32) -> bool {
        let asked = what & self.notes;
        match &mut self.watched {
            Watched::Vnode { inode: own, notes } if *own == inode => {
                *notes |= asked;
                asked != 0
            }
            _ => false,
        }
    }

    /// A signal was sent.
    pub fn sent(&mut self, signal: u8) -> bool {
        match &mut self.watched {
            Watched::Signal { count } if self.ident == u64::from(signal) => {
                *count += 1;
                true
            }
            _ => false,
        }
    }

    /// A child has exited. Without `NOTE_EXIT` that it is over is told all the same.
    pub fn exited(&mut self, child: usize) -> bool {
        if let Watched::Proc(proc) = &mut self.watched {
            if proc.child == child && !proc.exited {
                proc.exited = true;
                self.tell_exit();
                return self.is_pending();
            }
        }
        false
    }

    /// A child was waited for.
    pub fn reaped(&mut self, child: usize) -> bool {
        let asked = self.notes & NOTE_REAP;
        match &mut self.watched {
            Watched::Proc(proc) if proc.child == child => {
                proc.reaped = true;
                proc.notes |= asked;
                asked != 0
            }
            _ => false,
        }
    }

    /// `NOTE_EXIT`, once, where it is asked for.
    fn tell_exit(&mut self) {
        let notes = self.notes;
        if let Watched::Proc(proc) = &mut self.watched {
            if proc.exited && !proc.told && notes & NOTE_EXIT != 0 {
                proc.told = true;
                proc.notes |= NOTE_EXIT | notes & NOTE_EXITSTATUS;
            }
        }
    }

    /// What a change to this knote does to what its filter keeps.
    pub fn touch(&mut self, change: &Kevent, flavour: Flavour) {
        let add = change.has(EV_ADD);
        if add {
            self.notes = change.fflags;
            self.value = change.data;
        }
        match &mut self.watched {
            Watched::User {
                triggered,
                fflags,
                data,
            } => {
                *triggered |= change.fflags & NOTE_TRIGGER != 0;
                let given = change.fflags & NOTE_FFLAGSMASK;
                match change.fflags & NOTE_FFCTRLMASK {
                    NOTE_FFAND => *fflags &= given,
                    NOTE_FFOR => *fflags |= given,
                    NOTE_FFCOPY => *fflags = given,
                    _ => {}
                }
                if add || flavour != Flavour::Openbsd {
                    *data = change.data;
                }
                if change.has(EV_CLEAR) {
                    *triggered = false;
                    if flavour == Flavour::Openbsd {
                        *data = 0;
                    }
                }
            }
            Watched::Timer { expired } if add => {
                // It starts anew, and what was pending is dropped.
                *expired = timer(change).unwrap_or(0);
            }
            Watched::Vnode { notes, .. } if add => *notes &= change.fflags,
            Watched::Proc(_) if add => self.tell_exit(),
            _ => {}
        }
    }

    /// An event of this knote, but for what there is to say of what is watched.
    pub fn event(&self) -> Kevent {
        Kevent {
            ident: self.ident,
            filter: self.filter,
            flags: self.flags,
            fflags: 0,
            data: 0,
            udata: self.udata,
        }
    }

    /// The event that is pending, and what `EV_CLEAR` clears is cleared. Of a file it is asked
    /// elsewhere. `status` is that of the child.
    pub fn take(&mut self, flavour: Flavour, status: i64) -> Option<Kevent> {
        if !self.is_pending() {
            return None;
        }
        let clear = self.has(EV_CLEAR);
        let mut event = self.event();
        let over = matches!(&self.watched, Watched::Proc(proc) if self.is_over(proc));
        match &mut self.watched {
            Watched::File(_) => {}
            Watched::Vnode { notes, .. } => {
                event.fflags = *notes;
                if clear {
                    *notes = 0;
                }
            }
            Watched::User {
                triggered,
                fflags,
                data,
            } => {
                event.fflags = *fflags;
                event.data = *data;
                if clear {
                    *triggered = false;
                    if flavour == Flavour::Openbsd {
                        (*fflags, *data) = (0, 0);
                    }
                }
            }
            Watched::Timer { expired: count } | Watched::Signal { count } => {
                event.data = std::mem::take(count);
            }
            Watched::Proc(proc) => {
                event.fflags = std::mem::take(&mut proc.notes);
                let told = flavour != Flavour::Macos || event.fflags & NOTE_EXITSTATUS != 0;
                if event.fflags & NOTE_EXIT != 0 && told {
                    event.data = status;
                }
                if over {
                    event.flags |= EV_EOF | EV_ONESHOT;
                }
            }
        }
        Some(event)
    }
}

/// How often a timer has expired as soon as it is started: once, if its time is past. `EINVAL` as an
/// error.
pub fn timer(change: &Kevent) -> Result<i64, i32> {
    const UNITS: u32 = NOTE_SECONDS | NOTE_MSECONDS | NOTE_USECONDS | NOTE_NSECONDS;

    if change.fflags & !(UNITS | NOTE_ABSTIME) != 0 || change.data < 0 {
        return Err(libc::EINVAL);
    }
    let unit: i64 = match change.fflags & UNITS {
        NOTE_SECONDS => 1_000_000_000,
        0 | NOTE_MSECONDS => 1_000_000,
        NOTE_USECONDS => 1_000,
        NOTE_NSECONDS => 1,
        _ => return Err(libc::EINVAL),
    };
    let time = change.data.max(1).checked_mul(unit).ok_or(libc::EINVAL)?;
    // A time of day is long past or far ahead here, and any other one an hour or more.
    const DAY: i64 = 86_400_000_000_000;
    Ok((change.fflags & NOTE_ABSTIME != 0 && time < DAY).into())
}
