//! A re-entrant lock: a locking function calls another one, and a killed holder is reported.
//! Run it with `cargo run -p shm-multiprocessing --example rlock`.

use std::time::Duration;

use multiprocessing::{LockError, Plan, Process, RLock, Segment, SegmentName};

fn outer(lock: &RLock) -> i32 {
    let Ok(_guard) = lock.lock() else { return 1 };
    inner(lock)
}

fn inner(lock: &RLock) -> i32 {
    let Ok(_guard) = lock.lock() else { return 1 };
    println!("{lock}");
    std::thread::sleep(Duration::from_secs(3600));
    0
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-rlock.{}", std::process::id()))?;
    let segment = Segment::create(&name, &Plan::new().rlock("lock"))?;
    let lock = segment.rlock("lock")?;

    let mut holder = Process::fork(|| outer(&lock))?;
    while lock.depth() < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    holder.kill()?;
    match lock.lock() {
        Err(LockError::OwnerDied(inherited)) => drop(inherited.repaired()),
        _ => println!("never printed"),
    }
    println!("{lock}");
    holder.join()?;
    Ok(())
}
