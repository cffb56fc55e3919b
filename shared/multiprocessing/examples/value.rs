//! A value: children add to it, and a child killed in the middle of a change leaves it whole.
//! Run it with `cargo run -p shm-multiprocessing --example value`.

use std::time::Duration;

use multiprocessing::{Plan, Process, Segment, SegmentName};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-value.{}", std::process::id()))?;
    let plan = Plan::new().value::<[u64; 2]>("total").event("changing");
    let segment = Segment::create(&name, &plan)?;
    // The number of summands and their sum, which must always match.
    let total = segment.value::<[u64; 2]>("total")?;
    let changing = segment.event("changing")?;

    let adder = || {
        for number in 1..=1000 {
            let added = total.update(|[sums, sum]| {
                *sums += 1;
                *sum += number;
            });
            if added.is_err() {
                return 1;
            }
        }
        0
    };
    for mut child in [Process::fork(adder)?, Process::fork(adder)?] {
        child.join()?;
    }
    println!("two children added: {:?}", total.get());

    let mut victim = Process::fork(|| {
        let Ok(mut guard) = total.lock() else { return 1 };
        guard[0] += 1;
        changing.set();
        std::thread::sleep(Duration::from_secs(3600));
        0
    })?;
    changing.wait()?;
    victim.kill()?;
    victim.join()?;
    println!("after one that was killed: {:?}", total.get());
    println!("and one more: {:?}", total.update(|[sums, _]| *sums += 1)?);
    Ok(())
}
