//! Runs the models: `cargo run`, `cargo run -- MODEL` or `cargo run -- --mutations`.
//!
//! `copies`, `record`, `ring` and `progress` are the sources of the library. `memory`, `sync`,
//! `sys` and `task_pool` provide what these import, on top of loom.
#![allow(dead_code, clippy::new_without_default)]

mod memory;
mod models;
mod sync;
mod sys;
mod task_pool;

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

fn main() -> ExitCode {
    let chosen = std::env::args().nth(1);
    if chosen.as_deref() == Some("--mutations") {
        println!("{}", env!("MUTATIONS"));
        return ExitCode::SUCCESS;
    }
    let mut any = false;
    for (name, what, model) in models::ALL {
        if chosen.as_deref().is_some_and(|chosen| chosen != name) {
            continue;
        }
        any = true;
        let begun = Instant::now();
        model();
        let (executions, seconds) =
            (models::EXECUTIONS.swap(0, Ordering::Relaxed), begun.elapsed().as_secs_f64());
        println!("{name}: {what}: holds in {executions} executions ({seconds:.1} s)");
    }
    if any { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
