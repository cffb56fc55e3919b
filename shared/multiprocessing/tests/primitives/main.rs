//! Tests of the synchronization primitives and queues, each in a process of its own.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod abandoned_queues;
mod array;
mod barrier;
mod condition;
mod event;
mod held_locks;
mod hostile;
mod identity;
mod joinable_queue;
mod lock;
mod message_queue;
mod nameless;
mod queue;
mod raw_sync;
mod rlock;
mod semaphore;
mod shareable;
mod value;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::main()
}
