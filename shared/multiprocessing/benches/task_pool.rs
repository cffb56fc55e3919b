//! Trivial tasks through a `TaskPool`, compared with Python's `Pool` with as many workers, and with
//! a lower limit for any pool: the bare round trip of a byte between two processes in C.

mod common;

use std::num::NonZeroUsize;
use std::time::Instant;

use common::{CProgram, Figure, Outcome, Sides, Table, python};
use multiprocessing::{TaskError, TaskPool};

/// How tasks are given to the pool, and how many. Python knows the ways by their numbers.
const WAYS: [(&str, u32); 4] =
    [("apply, one by one", 3_000), ("map", 10_000), ("map, chunks of 1", 10_000), ("imap", 10_000)];

fn main() -> Outcome {
    let c = CProgram::compile("socketpair")?;
    let table = Table::begin("Tasks of a pool")?;
    for workers in [1, 2, 4] {
        for (way, (what, items)) in (0..).zip(WAYS) {
            let trips = || c.run(&[1, 1, items]);
            table.row(
                &format!(
                    "{what}, {workers} workers{}",
                    if way == 0 { "; C: bare round trip" } else { "" }
                ),
                &Sides {
                    ours: &|| tasks(way, workers, items),
                    c: if way == 0 { Some(&trips) } else { None },
                    python: Some(&|| python("tasks", &[way, workers, items])),
                    raw_sync: None,
                },
            )?;
        }
    }
    table.end()
}

/// Returns the rate of tasks, without start and end of the pool, and checks their results.
fn tasks(way: u32, workers: u32, items: u32) -> Figure {
    let square = |item: u64| item * item;
    let pool = TaskPool::new(workers as usize)?;
    pool.map(square, 0..100)?;
    let begun = Instant::now();
    let arguments = 0..u64::from(items);
    let squares: Result<Vec<u64>, TaskError> = match way {
        0 => arguments.map(|item| pool.apply(square, item)).collect(),
        1 => pool.map(square, arguments),
        2 => pool.map_chunked(square, arguments, NonZeroUsize::MIN),
        _ => pool.imap(square, arguments).collect(),
    };
    let lasted = begun.elapsed();
    if !squares?.into_iter().eq((0..u64::from(items)).map(|item| item * item)) {
        return Err("wrong results".into());
    }
    Ok(f64::from(items) / lasted.as_secs_f64())
}
