// SPDX-License-Identifier: GPL-2.0

//! What can be watched, as far as a program can see it: the part of the kernel that is not the
//! kqueue.

use std::collections::VecDeque;

const PAGE: usize = 4096;

/// Pages that a pipe holds.
const PAGES: usize = 16;

/// What a call does to what is watched: who waits to read, who waits to write, or both, is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Nobody,
    Readers,
    Writers,
}

/// A pipe keeps pages, and adds to the last one what fits there.
#[derive(Clone, Debug)]
pub struct Pipe {
    /// Where in its page each begins and ends.
    pages: VecDeque<(usize, usize)>,
    pub readers: bool,
    pub writers: bool,
}

impl Default for Pipe {
    /// An empty one, open at both ends.
    fn default() -> Self {
        Self {
            pages: VecDeque::new(),
            readers: true,
            writers: true,
        }
    }
}

impl Pipe {
    pub fn bytes(&self) -> i64 {
        self.pages.iter().map(|(from, to)| to - from).sum::<usize>() as i64
    }

    /// Room to the page.
    pub fn room(&self) -> i64 {
        ((PAGES - self.pages.len()) * PAGE) as i64
    }

    pub fn is_full(&self) -> bool {
        self.pages.len() == PAGES
    }

    pub fn write(&mut self, len: usize) -> Result<usize, i32> {
        if !self.readers {
            return Err(libc::EPIPE);
        }
        let mut left = len;
        let part = len % PAGE;
        if let (1.., Some((_, to))) = (part, self.pages.back_mut()) {
            if *to + part <= PAGE {
                *to += part;
                left -= part;
            }
        }
        while left != 0 && !self.is_full() {
            let some = left.min(PAGE);
            self.pages.push_back((0, some));
            left -= some;
        }
        if left == len && len != 0 {
            return Err(libc::EAGAIN);
        }
        Ok(len - left)
    }

    /// Writers are told when it is not full any more.
    pub fn read(&mut self, len: usize) -> (Result<usize, i32>, Told) {
        let mut done = 0;
        let mut told = Told::Nobody;
        while done < len {
            let full = self.is_full();
            let Some((from, to)) = self.pages.front_mut() else {
                break;
            };
            let some = (len - done).min(*to - *from);
            *from += some;
            done += some;
            if from == to {
                if full {
                    told = Told::Writers;
                }
                self.pages.pop_front();
            }
        }
        if done == 0 && len != 0 && self.writers {
            return (Err(libc::EAGAIN), told);
        }
        (Ok(done), told)
    }
}

/// A stream socket that has, or had, a peer.
#[derive(Clone, Debug)]
pub struct Socket {
    /// What was sent to it, each time.
    queue: VecDeque<usize>,
    pub peer: Option<usize>,
    pub read_shut: bool,
    pub write_shut: bool,
    pub error: i32,
}

impl Socket {
    pub fn new(peer: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            peer: Some(peer),
            read_shut: false,
            write_shut: false,
            error: 0,
        }
    }

    pub fn bytes(&self) -> i64 {
        self.queue.iter().sum::<usize>() as i64
    }

    pub fn receive(&mut self, len: usize) {
        self.queue.push_back(len);
    }

    /// The bytes, and whether the sender has got room from it.
    pub fn read(&mut self, len: usize) -> (Result<usize, i32>, Told) {
        let (mut done, mut told) = (0, Told::Nobody);
        while done < len {
            let Some(first) = self.queue.front_mut() else {
                break;
            };
            let some = (len - done).min(*first);
            *first -= some;
            done += some;
            if *first == 0 {
                self.queue.pop_front();
                told = Told::Writers;
            }
        }
        if done != 0 || len == 0 {
            return (Ok(done), told);
        }
        let result = match std::mem::take(&mut self.error) {
            0 if self.read_shut => Ok(0),
            0 => Err(libc::EAGAIN),
            error => Err(error),
        };
        (result, told)
    }
}

/// A regular file in a file system, with its name or without.
#[derive(Clone, Debug)]
pub struct Inode {
    pub size: u64,
    pub linked: bool,
}

/// A child of the process.
#[derive(Clone, Debug)]
pub struct Child {
    pub pid: i32,
    /// As wait(2) has it, once it has ended.
    pub status: Option<i64>,
    pub reaped: bool,
}
