//! What the benches share: running each side, timing processes, and the table.
#![allow(dead_code, reason = "no bench uses all of it")]

mod machine;
mod programs;
pub mod raw;
mod table;

use std::error::Error;
use std::process::id;
use std::time::Instant;

use multiprocessing::{Plan, Process, Segment, SegmentName};

pub use programs::{CProgram, python};
pub use table::{Sides, Table};

/// The result of `main` of a bench.
pub type Outcome = Result<(), Box<dyn Error>>;
/// Events per second in one turn.
pub type Figure = Result<f64, Box<dyn Error>>;

/// Creates a segment for this bench.
pub fn segment(plan: &Plan) -> Result<Segment, Box<dyn Error>> {
    Ok(Segment::create(&SegmentName::new(&format!("bench.{}", id()))?, plan)?)
}

/// Returns the rate per second at which all processes together do something that each does `each`
/// times in `body`. `body` returns true if all went well. The time includes starts and ends of the
/// processes.
pub fn rate(processes: u32, each: u32, body: impl Fn() -> bool) -> Figure {
    let begun = Instant::now();
    let started: Result<Vec<_>, _> =
        (0..processes).map(|_| Process::fork(|| i32::from(!body()))).collect();
    for process in &mut started? {
        if !process.join()?.is_success() {
            return Err("a process failed".into());
        }
    }
    Ok(f64::from(processes) * f64::from(each) / begun.elapsed().as_secs_f64())
}

/// Returns the rate per second at which this process does something `times` times in `body`, while
/// another process does its part in `other`. Both return true if all went well.
pub fn rate_beside(
    times: u32,
    other: impl FnOnce() -> bool,
    body: impl FnOnce() -> bool,
) -> Figure {
    let begun = Instant::now();
    let mut other = Process::fork(|| i32::from(!other()))?;
    let well = body();
    let lasted = begun.elapsed();
    if !well || !other.join()?.is_success() {
        return Err("a process failed".into());
    }
    Ok(f64::from(times) / lasted.as_secs_f64())
}
