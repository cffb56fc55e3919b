//! A child squares the numbers that its parent puts in a queue; the same in Python is beside it.
//! Run it with `cargo run -p shm-multiprocessing --example producer_consumer`.

use multiprocessing::{Process, Queue, QueueError};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (jobs, results) = (Queue::<u64>::new(4)?, Queue::<u64>::new(4)?);
    let consume = || -> Result<(), QueueError> {
        jobs.iter().try_for_each(|job| job.and_then(|job| results.put(job * job)))?;
        Ok(results.close()?)
    };
    let mut consumer = Process::fork(consume)?;
    (1..5).try_for_each(|job| jobs.put(job))?;
    jobs.close()?;
    println!("{}", results.iter().sum::<Result<u64, QueueError>>()?);
    consumer.join()?;
    Ok(())
}
