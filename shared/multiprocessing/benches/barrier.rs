//! Rounds per second of the Barrier beside those of a pthread barrier in C, at 2 and 4 processes, by turns on one machine.
//! `cargo bench -p shm-multiprocessing --bench barrier`; needs a C compiler.

mod common;

use common::{CProgram, Figure, compare, name, print_machine, rate};
use multiprocessing::{Plan, Segment};

const ROUNDS: u32 = 40_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print_machine()?;
    let program = CProgram::compile("pthread_barrier")?;
    for parties in [2_u32, 4] {
        compare(
            &format!("{parties} processes, rounds/s of {ROUNDS}"),
            &[
                ("pthread_barrier_t", &|| program.run(&[parties.to_string(), ROUNDS.to_string()])),
                ("Barrier", &|| rounds(parties)),
            ],
        )?;
    }
    Ok(())
}

fn rounds(parties: u32) -> Figure {
    let segment = Segment::create(&name()?, &Plan::new().barrier("meet", parties as usize))?;
    let meet = segment.barrier("meet")?;
    let waits = rate(parties, ROUNDS, || (0..ROUNDS).all(|_| meet.wait().is_ok()))?;
    Ok(waits / f64::from(parties))
}
