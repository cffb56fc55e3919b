//! Locked increments by 1, 2 and 4 processes, and pairs of lock and unlock, of a `Value` and a
//! `Lock`, compared with a robust pthread mutex in C, raw_sync's mutex, and Python's `Value` and
//! `Lock`.

mod common;

use common::raw::GuardedNumber;
use common::{CProgram, Figure, Outcome, Sides, Table, python, rate, segment};
use multiprocessing::Plan;

/// Increments of all processes together. Python, which is much slower, does a fortieth of them.
const TIMES: u32 = 4_000_000;

fn main() -> Outcome {
    let c = CProgram::compile("mutex")?;
    let table = Table::begin("Locked increments and lock pairs")?;
    for processes in [1_u32, 2, 4] {
        let each = TIMES / processes;
        table.row(
            &format!("increments, `Value::update`, by {processes}"),
            &Sides {
                ours: &|| values(processes, each),
                c: Some(&|| c.run(&[processes, each, 1])),
                python: Some(&|| python("increments", &[processes, each / 40])),
                raw_sync: Some(&|| raw_values(processes, each)),
            },
        )?;
        table.row(
            &format!("pairs, `Lock::lock`, by {processes}"),
            &Sides {
                ours: &|| locks(processes, each),
                c: Some(&|| c.run(&[processes, each, 0])),
                python: Some(&|| python("pairs", &[processes, each / 40])),
                raw_sync: Some(&|| raw_locks(processes, each)),
            },
        )?;
    }
    table.end()
}

fn values(processes: u32, each: u32) -> Figure {
    let number = segment(&Plan::new().value::<u64>("number"))?.value::<u64>("number")?;
    let figure =
        rate(processes, each, || (0..each).all(|_| number.update(|number| *number += 1).is_ok()))?;
    whole(figure, number.get(), processes * each)
}

fn raw_values(processes: u32, each: u32) -> Figure {
    let number = GuardedNumber::new()?;
    let figure = rate(processes, each, || (0..each).all(|_| number.increment()))?;
    whole(figure, number.get().unwrap_or_default(), processes * each)
}

fn whole(figure: f64, total: u64, expected: u32) -> Figure {
    if total == u64::from(expected) { Ok(figure) } else { Err("increments are lost".into()) }
}

fn locks(processes: u32, each: u32) -> Figure {
    let lock = segment(&Plan::new().lock("lock"))?.lock("lock")?;
    rate(processes, each, || (0..each).all(|_| lock.lock().is_ok()))
}

fn raw_locks(processes: u32, each: u32) -> Figure {
    let number = GuardedNumber::new()?;
    rate(processes, each, || (0..each).all(|_| number.lock().is_some()))
}
