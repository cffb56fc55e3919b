//! A barrier: two children run in step, and the survivor learns that the other one was killed. Run
//! it with `cargo run -p shm-multiprocessing --example barrier`.

use std::time::Duration;

use multiprocessing::{Plan, Process, Segment, SegmentName};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-barrier.{}", std::process::id()))?;
    let segment = Segment::create(&name, &Plan::new().barrier("step", 2))?;
    let step = segment.barrier("step")?;

    let walk = |pause: Duration| {
        let walker = || {
            loop {
                if let Err(error) = step.wait() {
                    println!("survivor: {error}");
                    return 0;
                }
                std::thread::sleep(pause);
            }
        };
        Process::fork(walker)
    };
    let mut survivor = walk(Duration::from_millis(10))?;
    let mut victim = walk(Duration::from_millis(20))?;
    // From here on, the death of either breaks the barrier, even before its first wait.
    step.enrol(survivor.pid())?;
    step.enrol(victim.pid())?;
    std::thread::sleep(Duration::from_millis(100));
    victim.kill()?;
    victim.join()?;
    println!("the survivor ended with {}", survivor.join()?);
    println!("{step}");
    Ok(())
}
