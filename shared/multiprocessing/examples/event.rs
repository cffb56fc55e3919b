//! An event: two children wait until it is set.
//! Run it with `cargo run -p shm-multiprocessing --example event`.

use std::time::Duration;

use multiprocessing::{Plan, Process, Segment, SegmentName};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-event.{}", std::process::id()))?;
    let segment = Segment::create(&name, &Plan::new().event("start"))?;
    let start = segment.event("start")?;

    let runner = || match start.wait_timeout(Duration::from_secs(10)) {
        Ok(true) => 0,
        _ => 1,
    };
    let mut runners = [Process::fork(runner)?, Process::fork(runner)?];
    println!("two runners wait");
    start.set();
    for runner in &mut runners {
        println!("one ran: {}", runner.join()?);
    }
    Ok(())
}
