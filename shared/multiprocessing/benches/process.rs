//! Starts and joins of children that end at once, one after the other, compared with fork and
//! waitpid in C and Python's `Process`.

mod common;

use std::time::Instant;

use common::{CProgram, Figure, Outcome, Sides, Table, python};
use multiprocessing::Process;

/// Rounds per turn. Python does a tenth of them.
const CHILDREN: u32 = 1500;

fn main() -> Outcome {
    let c = CProgram::compile("process")?;
    let table = Table::begin("Process start and join")?;
    table.row(
        "children, `Process`",
        &Sides {
            ours: &children,
            c: Some(&|| c.run(&[CHILDREN])),
            python: Some(&|| python("process", &[CHILDREN / 10])),
            raw_sync: None,
        },
    )?;
    table.end()
}

fn children() -> Figure {
    let begun = Instant::now();
    for _ in 0..CHILDREN {
        if !Process::fork(|| 0)?.join()?.is_success() {
            return Err("a child failed".into());
        }
    }
    Ok(f64::from(CHILDREN) / begun.elapsed().as_secs_f64())
}
