//! Pipes: a parent gives jobs to two workers. One is killed, and the parent notices it.
//! Run it with `cargo run -p shm-multiprocessing --example pipe`.

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
    // Only the worker has this end, so its death closes the pipe.
    let worker = Process::fork_with(there, |there| match work(&there) {
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
    // In Python, another process might have a copy of the other end, and the call would wait
    // forever.
    match ends[1].recv::<(u32, u64)>() {
        Err(PipeError::Closed) => println!("worker 1 is gone: {}", workers[1].join()?),
        other => println!("{other:?}"),
    }
    ends.clear();
    println!("worker 0, which saw the end of its pipe: {}", workers[0].join()?);
    Ok(())
}
