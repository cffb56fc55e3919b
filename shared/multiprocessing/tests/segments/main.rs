//! Tests of segments: creating, opening, removing and inspecting them, also from Python.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod group;
mod hostile;
mod inspect;
mod open_or_create;
mod private;
mod python;
mod reclaim;
mod segment;
mod shared_state;
mod view;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::main()
}
