//! A condition: one child waits until another one has produced an item. Run it with `cargo run -p
//! shm-multiprocessing --example condition`.

use multiprocessing::{Plan, Process, Segment, SegmentName};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-condition.{}", std::process::id()))?;
    let plan = Plan::new().lock("lock").condition("changed").raw_value::<u64>("item");
    let segment = Segment::create(&name, &plan)?;
    let lock = segment.lock("lock")?;
    let changed = segment.condition("changed", &lock)?;
    let item = segment.raw_value::<u64>("item")?;

    let mut consumer = Process::fork(|| {
        let Ok(guard) = lock.lock() else { return 1 };
        let Ok(_guard) = changed.wait_for(guard, || item.load() > 0) else { return 1 };
        println!("consumed {}", item.load());
        0
    })?;
    let mut producer = Process::fork(|| {
        let Ok(guard) = lock.lock() else { return 1 };
        item.store(7574);
        i32::from(changed.notify(&guard, 1).is_err())
    })?;
    println!("producer: {}", producer.join()?);
    println!("consumer: {}", consumer.join()?);
    Ok(())
}
