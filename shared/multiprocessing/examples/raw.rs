//! Raw values and arrays: numbers that any process reads and changes atomically, without a lock.
//! Run it with `cargo run -p shm-multiprocessing --example raw`.

use multiprocessing::{Plan, Process, Segment, SegmentName};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-raw.{}", std::process::id()))?;
    let plan = Plan::new()
        .raw_value::<u64>("served")
        .raw_value::<u32>("slowest")
        .raw_array::<u64>("by", 3);
    let segment = Segment::create(&name, &plan)?;
    let served = segment.raw_value::<u64>("served")?;
    let slowest = segment.raw_value::<u32>("slowest")?;
    let by = segment.raw_array::<u64>("by")?;

    let mut workers = Vec::new();
    for worker in 0..by.len() {
        let (served, slowest, by) = (served.clone(), slowest.clone(), by.clone());
        workers.push(Process::fork(move || {
            for milliseconds in 0..1000 {
                served.fetch_add(1);
                by.fetch_add(worker, 1);
                slowest.fetch_max(milliseconds * (worker as u32 + 1));
            }
            0
        })?);
    }
    for worker in &mut workers {
        worker.join()?;
    }
    println!("served: {}", served.load());
    println!("by each: {:?}", by.iter().collect::<Vec<_>>());
    println!("slowest: {} ms", slowest.load());
    Ok(())
}
