//! Pipes: a parent gives jobs to two workers and waits for what comes first. One is killed in the middle, and the parent is told.
//! `cargo run -p shm-multiprocessing --example pipe`

use multiprocessing::{Connection, PipeError, Process, pipe, wait};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Job(u32, Vec<u64>);

/// Answers every job, until the parent closes its end.
fn work(end: &Connection) -> Result<(), PipeError> {
    loop {
        let Job(number, summands) = end.recv()?;
        end.send(&(number, summands.iter().sum::<u64>()))?;
    }
}

fn start() -> Result<(Connection, Process), Box<dyn std::error::Error>> {
    let (here, there) = pipe()?;
    // Handed over: the end is the worker's alone, so its death is the end of the pipe.
    let worker = Process::spawn_with(there, |there| match work(&there) {
        Err(PipeError::Closed) => 0,
        _ => 1,
    })?;
    Ok((here, worker))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut ends, mut workers): (Vec<_>, Vec<_>) = [start()?, start()?].into_iter().unzip();
    for number in 0..8 {
        ends[number as usize % 2].send(&Job(number, (0..=u64::from(number)).collect()))?;
    }
    for _ in 0..8 {
        let ready = wait(&[&ends[0], &ends[1]])?[0];
        let (number, sum) = ends[ready].recv::<(u32, u64)>()?;
        println!("worker {ready}, job {number}: {sum}");
    }

    workers[1].kill()?;
    // In Python somebody might still have a copy of the worker's end, and this would wait for ever.
    match ends[1].recv::<(u32, u64)>() {
        Err(PipeError::Closed) => println!("worker 1 is gone: {}", workers[1].join()?),
        other => println!("{other:?}"),
    }
    ends.clear();
    println!("worker 0, which was told that there is no more: {}", workers[0].join()?);
    Ok(())
}
