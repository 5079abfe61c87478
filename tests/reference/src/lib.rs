// SPDX-License-Identifier: GPL-2.0

//! What a kqueue does, small and without side effects.
//!
//! A [`World`](world::World) is one process with one thread: its descriptors, what is behind them,
//! and its kqueues. Given a [`Call`](call::Call), it says what a program gets to see of it, and is
//! the world after. It is written from what `kevent.2` says a kqueue does, and knows nothing of how
//! the kernel does that; where the manual leaves something open, a comment here says what is
//! taken.
//!
//! `generate` makes random sequences of calls, and the program compares, call by call, what the
//! kernel does with what the model says.
//!
//! What is left out: whatever needs a second thread or depends on the time; files other than
//! pipes, stream sockets and regular files; limits.

pub mod abi;
pub mod call;
pub mod generate;
pub mod knote;
pub mod objects;
pub mod world;
