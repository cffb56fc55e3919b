//! Messages from one process to another through a Queue, beside a ring in C under a robust mutex with condition variables, and
//! Python's Queue and SimpleQueue.

mod common;

use common::{CProgram, Figure, Outcome, Sides, Table, python, rate_beside, segment};
use multiprocessing::Plan;

/// What Python does in a turn.
const IN_PYTHON: u32 = 10_000;

fn main() -> Outcome {
    let c = CProgram::compile("ring")?;
    let table = Table::begin("Queue messages")?;
    let row = |what: &str, capacity: u32, messages: u32, in_python: &dyn Fn() -> Figure| {
        let sides = Sides {
            ours: &|| through(capacity, messages),
            c: Some(&|| c.run(&[capacity, messages])),
            python: Some(in_python),
            raw_sync: None,
        };
        table.row(what, &sides)
    };
    for (capacity, messages) in [(1, 100_000), (64, 1_000_000), (1024, 1_000_000)] {
        let what = format!("messages, `Queue` of {capacity}; Python: `Queue`");
        row(&what, capacity, messages, &|| python("queue", &[capacity, IN_PYTHON]))?;
    }
    let what = "messages, `Queue` of 1024; Python: `SimpleQueue`";
    row(what, 1024, 1_000_000, &|| python("simple_queue", &[IN_PYTHON]))?;
    table.end()
}

fn through(capacity: u32, messages: u32) -> Figure {
    let queue = segment(&Plan::new().queue::<u64>("queue", capacity as usize))?.queue::<u64>("queue")?;
    let numbers = || 0..u64::from(messages);
    rate_beside(
        messages,
        || numbers().all(|number| queue.put(number).is_ok()),
        || numbers().all(|number| queue.get() == Ok(number)),
    )
}
