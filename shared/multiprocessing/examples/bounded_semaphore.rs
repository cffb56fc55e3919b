//! A bounded semaphore: releasing more units than were acquired is an error.
//! Run it with `cargo run -p shm-multiprocessing --example bounded_semaphore`.

use multiprocessing::{Plan, Process, Segment, SegmentName};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-bounded.{}", std::process::id()))?;
    let segment = Segment::create(&name, &Plan::new().bounded_semaphore("tickets", 2))?;
    let tickets = segment.bounded_semaphore("tickets")?;

    // Acquired here and released by another process.
    tickets.acquire()?.forget();
    let mut returning = Process::fork(|| i32::from(tickets.release(1).is_err()))?;
    println!("released: {}, free: {}", returning.join()?, tickets.get_value());
    match tickets.release(1) {
        Ok(()) => println!("never printed"),
        Err(error) => println!("{error}"),
    }
    Ok(())
}
