//! Measures this library beside other crates that connect processes of one machine: messages one
//! way, and round trips of processes that sleep while they wait. Prints a table in Markdown.
//!
//! Every side runs in two processes that are forked for it. The sides of a row take turns, and the
//! ratios are those of neighbouring turns.

mod messages;
mod table;
mod wakes;

use std::error::Error;
use std::time::Duration;

use multiprocessing::Process;

/// Turns of each side.
const TURNS: usize = 9;

/// What a side measures: its name, and a function that does a number of steps in two processes and
/// returns the time of all of them.
type Side = (&'static str, fn(u64) -> Result<Duration, Failure>);

/// Any failure of a side.
type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    iceoryx2::prelude::set_log_level(iceoryx2::prelude::LogLevel::Error);
    table::print("messages of 64 bytes, one way", messages::COUNT, TURNS, &messages::SIDES)?;
    table::print("round trips of two sleeping processes", wakes::COUNT, TURNS, &wakes::SIDES)
}

/// Runs `first` in one child and `second` in another, and returns the time that `second` returns.
fn in_two_processes(
    first: impl FnOnce() -> Result<(), Failure>,
    second: impl FnOnce() -> Result<Duration, Failure>,
) -> Result<Duration, Failure> {
    let text = |error: Failure| error.to_string();
    let mut first = Process::fork(|| first().map_err(text))?;
    let mut second = Process::fork(|| second().map_err(text))?;
    first.join()?;
    Ok(second.join()?)
}
