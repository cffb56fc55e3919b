//! Messages from one process to another through a `Queue` and a `JoinableQueue`, compared with a
//! ring in C under a robust mutex with condition variables, with the `message_queue` of
//! boost.interprocess where its headers are installed, and with Python's `Queue`, `SimpleQueue` and
//! `JoinableQueue`.

mod common;

use common::{CProgram, Figure, Outcome, Sides, Table, python, rate_beside, segment};
use multiprocessing::Plan;

/// Messages of Python per turn.
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
    if let Ok(boost) = CProgram::compile_cpp("message_queue") {
        let sides = Sides {
            ours: &|| through(1024, 1_000_000),
            c: Some(&|| boost.run(&[1024, 1_000_000])),
            python: None,
            raw_sync: None,
        };
        table.row("messages, `Queue` of 1024; C: boost `message_queue`", &sides)?;
    }
    let what = "messages, `Queue` of 1024; Python: `SimpleQueue`";
    row(what, 1024, 1_000_000, &|| python("simple_queue", &[IN_PYTHON]))?;
    let sides = Sides {
        ours: &|| bytes_through(32 * 1024, 300_000),
        c: Some(&|| c.run(&[1024, 300_000])),
        python: Some(&|| python("queue", &[1024, IN_PYTHON])),
        raw_sync: None,
    };
    table.row("messages of 8 bytes, `MessageQueue` of 32 KiB; C: ring of 1024", &sides)?;
    let sides = Sides {
        ours: &|| tasks_through(1024, 300_000),
        c: None,
        python: Some(&|| python("joinable_queue", &[1024, IN_PYTHON])),
        raw_sync: None,
    };
    table.row("tasks, `JoinableQueue` of 1024", &sides)?;
    table.end()
}

fn through(capacity: u32, messages: u32) -> Figure {
    let queue =
        segment(&Plan::new().queue::<u64>("queue", capacity as usize))?.queue::<u64>("queue")?;
    let numbers = || 0..u64::from(messages);
    rate_beside(
        messages,
        || numbers().all(|number| queue.put(number).is_ok()),
        || numbers().all(|number| queue.get() == Ok(number)),
    )
}

/// Like [`through`], with messages of any length.
fn bytes_through(capacity: usize, messages: u32) -> Figure {
    let queue = segment(&Plan::new().message_queue("queue", capacity))?.message_queue("queue")?;
    let numbers = || (0..u64::from(messages)).map(u64::to_ne_bytes);
    rate_beside(
        messages,
        || numbers().all(|number| queue.put_bytes(&number).is_ok()),
        || numbers().all(|number| queue.get_bytes().is_ok_and(|taken| taken == number)),
    )
}

/// Like [`through`], and completes each task.
fn tasks_through(capacity: u32, messages: u32) -> Figure {
    let plan = Plan::new().joinable_queue::<u64>("tasks", capacity as usize);
    let tasks = segment(&plan)?.joinable_queue::<u64>("tasks")?;
    let numbers = || 0..u64::from(messages);
    rate_beside(
        messages,
        || numbers().all(|number| tasks.put(number).is_ok()),
        || numbers().all(|number| tasks.get().is_ok_and(|task| *task == number)),
    )
}
