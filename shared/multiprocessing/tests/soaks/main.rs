//! Soaks of every primitive: processes that use it are killed at random, some side by side.
//!
//! The tests run the short form. `make soak` runs the long form with the argument `--long`.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod array;
mod barrier;
mod bounded_semaphore;
mod condition;
mod event;
mod joinable_queue;
mod listener;
mod lock;
mod long_form;
mod message_queue;
mod pipe;
mod pipe_handed_over;
mod pool;
mod process;
mod queue;
mod raw;
mod rlock;
mod segment;
mod semaphore;
mod spawn;
mod task_pool;
mod value;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, names)) if first == "--long" => long_form::main(names),
        _ => common::main(),
    }
}
