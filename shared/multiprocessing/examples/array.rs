//! An array: two children change its elements in place, one after the other, under its lock.
//! Run it with `cargo run -p shm-multiprocessing --example array`.

use multiprocessing::{Plan, Process, Segment, SegmentName};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-array.{}", std::process::id()))?;
    let segment = Segment::create(&name, &Plan::new().array::<u32>("prizes", 4))?;
    let prizes = segment.array::<u32>("prizes")?;
    println!("{} prizes", prizes.len());

    let add = |amount: u32| {
        let prizes = &prizes;
        Process::fork(move || {
            // The guard is the slice of the elements. A child that is killed while it has the guard
            // would leave them half changed, and the next holder would learn of it: see the example
            // `lock`.
            let Ok(mut all) = prizes.lock() else { return 1 };
            for (place, prize) in all.iter_mut().enumerate() {
                *prize += amount * place as u32;
            }
            0
        })
    };
    for mut child in [add(1)?, add(100)?] {
        println!("one is done: {}", child.join()?);
    }
    match prizes.lock() {
        Ok(all) => println!("in the end: {:?}, the largest is {:?}", &all[..], all.iter().max()),
        Err(error) => println!("{error}"),
    }
    Ok(())
}
