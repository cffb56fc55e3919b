//! What the benches share: how each side is run, processes against the clock, and the table.
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

/// What `main` of a bench returns.
pub type Outcome = Result<(), Box<dyn Error>>;
/// How often something happened per second, in one turn.
pub type Figure = Result<f64, Box<dyn Error>>;

/// A segment of this bench's own.
pub fn segment(plan: &Plan) -> Result<Segment, Box<dyn Error>> {
    Ok(Segment::create(&SegmentName::new(&format!("bench.{}", id()))?, plan)?)
}

/// How often per second something happens that each of so many processes does `each` times in `body`, all together. It returns
/// whether all went well. Starts and ends of the processes are part of the time.
pub fn rate(processes: u32, each: u32, body: impl Fn() -> bool) -> Figure {
    let begun = Instant::now();
    let started: Result<Vec<_>, _> =
        (0..processes).map(|_| Process::spawn(|| i32::from(!body()))).collect();
    for process in &mut started? {
        if !process.join()?.is_success() {
            return Err("a process failed".into());
        }
    }
    Ok(f64::from(processes) * f64::from(each) / begun.elapsed().as_secs_f64())
}

/// How often per second something happens that this process does `times` in `body` while another one does its part in `other`. Both
/// return whether all went well.
pub fn rate_beside(
    times: u32,
    other: impl FnOnce() -> bool,
    body: impl FnOnce() -> bool,
) -> Figure {
    let begun = Instant::now();
    let mut other = Process::spawn(|| i32::from(!other()))?;
    let well = body();
    let lasted = begun.elapsed();
    if !well || !other.join()?.is_success() {
        return Err("a process failed".into());
    }
    Ok(f64::from(times) / lasted.as_secs_f64())
}
