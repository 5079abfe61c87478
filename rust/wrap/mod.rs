// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers over what the `kernel` crate does not have, one facility a file.

pub(crate) mod delayed_work;
pub(crate) mod files;
pub(crate) mod fsnotify;
pub(crate) mod global;
pub(crate) mod hrtimer;
pub(crate) mod irq_work;
pub(crate) mod lock;
pub(crate) mod module;
pub(crate) mod once;
pub(crate) mod once_ptr;
pub(crate) mod pid;
pub(crate) mod pipe;
pub(crate) mod poll;
pub(crate) mod socket;
pub(crate) mod task;
pub(crate) mod task_work;
pub(crate) mod tty;
pub(crate) mod uaccess;
pub(crate) mod waitqueue;
