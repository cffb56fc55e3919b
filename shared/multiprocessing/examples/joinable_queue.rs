//! A joinable queue: the producer waits until all tasks are done, and learns how many were lost.
//! Run it with `cargo run -p shm-multiprocessing --example joinable_queue`.

use std::time::Duration;

use multiprocessing::{JoinableQueue, Plan, Process, QueueError, Segment, SegmentName};

/// Does tasks, each given as its duration in milliseconds, until the queue is closed and empty.
fn work(tasks: &JoinableQueue<u64>) -> Result<(), QueueError> {
    loop {
        let task = match tasks.get() {
            Err(QueueError::Closed) => return Ok(()),
            task => task?,
        };
        std::thread::sleep(Duration::from_millis(*task));
        println!("did {} ms of work", *task);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-joinable.{}", std::process::id()))?;
    let segment = Segment::create(&name, &Plan::new().joinable_queue::<u64>("tasks", 8))?;
    let tasks = segment.joinable_queue::<u64>("tasks")?;

    let worker = || i32::from(work(&tasks).is_err());
    let mut victim = Process::fork(worker)?;
    for milliseconds in [1, 2, 3] {
        tasks.put(milliseconds)?;
    }
    tasks.join()?;

    // The worker is killed during an hour of work.
    tasks.put(3_600_000)?;
    while !tasks.is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    victim.kill()?;
    victim.join()?;
    let mut replacement = Process::fork(worker)?;
    tasks.put(4)?;
    tasks.close()?;
    // Python would wait forever for the task of the dead worker.
    match tasks.join() {
        Err(QueueError::Lost { tasks }) => println!("lost: {tasks}"),
        joined => joined?,
    }
    println!("the replacement ended with {}", replacement.join()?);
    println!("{tasks}");
    Ok(())
}
