//! A lock whose holder is killed halfway through a change: the next holder learns of it and repairs
//! the data. Run it with `cargo run -p shm-multiprocessing --example lock`.

use std::time::Duration;

use multiprocessing::{LockError, Plan, Process, Segment, SegmentName};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-lock.{}", std::process::id()))?;
    let plan = Plan::new().lock("lock").raw_array::<u64>("accounts", 2).event("half-way");
    let segment = Segment::create(&name, &plan)?;
    let (lock, accounts) = (segment.lock("lock")?, segment.raw_array::<u64>("accounts")?);
    let half_way = segment.event("half-way")?;
    accounts.store(0, 100);

    let mut clerk = Process::fork(|| {
        let Ok(_guard) = lock.lock() else { return 1 };
        accounts.fetch_sub(0, 30);
        half_way.set();
        std::thread::sleep(Duration::from_secs(3600));
        accounts.fetch_add(1, 30);
        0
    })?;
    half_way.wait()?;
    clerk.kill()?;
    println!("the clerk was ended by {}", clerk.join()?);

    // Python's lock would never be free again.
    let guard = match lock.lock() {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(inherited)) => {
            println!("it left {:?} in the accounts", accounts.iter().collect::<Vec<_>>());
            accounts.store(0, 100 - accounts.load(1));
            inherited.repaired()
        }
        Err(LockError::Failed(failure)) => return Err(failure.into()),
    };
    println!("repaired: {:?}", accounts.iter().collect::<Vec<_>>());
    drop(guard);
    println!("{lock:?}");
    Ok(())
}
