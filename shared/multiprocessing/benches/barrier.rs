//! Rounds of 2 and 4 processes at a `Barrier`, compared with a pthread barrier in C and Python's
//! `Barrier`.

mod common;

use common::{CProgram, Figure, Outcome, Sides, Table, python, rate, segment};
use multiprocessing::Plan;

/// Rounds per turn. Python does a tenth of them.
const ROUNDS: u32 = 60_000;

fn main() -> Outcome {
    let c = CProgram::compile("barrier")?;
    let table = Table::begin("Barrier rounds")?;
    for parties in [2_u32, 4] {
        table.row(
            &format!("rounds, `Barrier::wait`, of {parties}"),
            &Sides {
                ours: &|| rounds(parties),
                c: Some(&|| c.run(&[parties, ROUNDS])),
                python: Some(&|| python("barrier", &[parties, ROUNDS / 10])),
                raw_sync: None,
            },
        )?;
    }
    table.end()
}

fn rounds(parties: u32) -> Figure {
    let meet = segment(&Plan::new().barrier("meet", parties as usize))?.barrier("meet")?;
    let waits = rate(parties, ROUNDS, || (0..ROUNDS).all(|_| meet.wait().is_ok()))?;
    Ok(waits / f64::from(parties))
}
