//! A semaphore: at most two of three children work at a time, and units of a killed one come back.
//! Run it with `cargo run -p shm-multiprocessing --example semaphore`.

use std::time::Duration;

use multiprocessing::{Plan, Process, Segment, SegmentName};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-semaphore.{}", std::process::id()))?;
    let segment = Segment::create(&name, &Plan::new().semaphore("seats", 2))?;
    let seats = segment.semaphore("seats")?;

    let work = |work: Duration| {
        Process::fork(|| {
            let Ok(_seat) = seats.acquire() else { return 1 };
            std::thread::sleep(work);
            0
        })
    };
    let mut workers = [work(Duration::from_millis(50))?, work(Duration::from_millis(50))?];
    let mut sleeper = work(Duration::from_secs(3600))?;
    for worker in &mut workers {
        println!("worked: {}", worker.join()?);
    }
    while seats.get_value() > 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("{seats}");
    sleeper.kill()?;
    sleeper.join()?;

    let both = [seats.acquire()?, seats.acquire()?];
    let recovered: u64 = both.iter().map(|seat| seat.recovered()).sum();
    println!("recovered from dead processes: {recovered}");
    Ok(())
}
