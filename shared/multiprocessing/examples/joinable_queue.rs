//! A joinable queue: whoever puts tasks waits until they are done, and is told when some were lost with a killed process.
//! `cargo run -p shm-multiprocessing --example joinable_queue`

use std::time::Duration;

use multiprocessing::{JoinableQueue, Plan, Process, QueueError, Segment, SegmentName};

/// Does tasks, each of which takes so many milliseconds, until there are no more.
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
    let mut victim = Process::spawn(worker)?;
    for milliseconds in [1, 2, 3] {
        tasks.put(milliseconds)?;
    }
    tasks.join()?;

    // An hour of work, and its worker is killed over it.
    tasks.put(3_600_000)?;
    while !tasks.is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    victim.kill()?;
    victim.join()?;
    let mut heir = Process::spawn(worker)?;
    tasks.put(4)?;
    tasks.close()?;
    // Python would wait for the dead one's task for ever.
    match tasks.join() {
        Err(QueueError::Lost { tasks }) => println!("lost: {tasks}"),
        joined => joined?,
    }
    println!("the heir ended with {}", heir.join()?);
    println!("{tasks}");
    Ok(())
}
