//! Tests of processes: starting and ending them, pipes and listeners between them, pools of them.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod foreign_forks;
mod inheritance;
mod listener;
mod namespaces;
mod pipe;
mod pool;
mod process;
mod spawn;
mod task_pool;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::main()
}
