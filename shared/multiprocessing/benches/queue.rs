//! Messages per second through the Queue, from one process to one, beside those through a ring in C under a robust mutex, by turns
//! on one machine. `cargo bench -p shm-multiprocessing --bench queue`; needs a C compiler.

mod common;

use std::time::Instant;

use common::{CProgram, Figure, compare, name, print_machine};
use multiprocessing::{Plan, Process, Segment};

const MESSAGES: u64 = 300_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print_machine()?;
    let program = CProgram::compile("robust_ring")?;
    for capacity in [1, 64, 1024] {
        compare(
            &format!("capacity {capacity}, messages/s of {MESSAGES}"),
            &[
                ("ring in C", &|| program.run(&[capacity.to_string(), MESSAGES.to_string()])),
                ("Queue", &|| messages(capacity)),
            ],
        )?;
    }
    Ok(())
}

fn messages(capacity: usize) -> Figure {
    let segment = Segment::create(&name()?, &Plan::new().queue::<u64>("queue", capacity))?;
    let queue = segment.queue::<u64>("queue")?;
    let begun = Instant::now();
    let mut putting = Process::spawn(|| i32::from((0..MESSAGES).any(|number| queue.put(number).is_err())))?;
    for number in 0..MESSAGES {
        if queue.get()? != number {
            return Err("out of order".into());
        }
    }
    let took = begun.elapsed();
    putting.join()?;
    Ok(MESSAGES as f64 / took.as_secs_f64())
}
