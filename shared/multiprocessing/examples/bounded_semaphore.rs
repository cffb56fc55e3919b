//! A bounded semaphore: giving back more than was taken is an error.
//! `cargo run -p shm-multiprocessing --example bounded_semaphore`

use multiprocessing::{Plan, Process, Segment, SegmentName};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-bounded.{}", std::process::id()))?;
    let segment = Segment::create(&name, &Plan::new().bounded_semaphore("tickets", 2))?;
    let tickets = segment.bounded_semaphore("tickets")?;

    // Taken here and given back by another process.
    tickets.acquire()?.forget();
    let mut returning = Process::spawn(|| i32::from(tickets.release(1).is_err()))?;
    println!("given back: {}, free: {}", returning.join()?, tickets.get_value());
    match tickets.release(1) {
        Ok(()) => println!("never printed"),
        Err(error) => println!("{error}"),
    }
    Ok(())
}
