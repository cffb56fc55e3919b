//! Four children add to one number; the same in Python is beside it.
//! Run it with `cargo run -p shm-multiprocessing --example shared_counter`.

use multiprocessing::{Process, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let counter = Value::<u64>::new()?;
    let count = || (0..1000).try_for_each(|_| counter.update(|n| *n += 1).map(drop));
    let children: Result<Vec<_>, _> = (0..4).map(|_| Process::fork(count)).collect();
    for mut child in children? {
        child.join()?;
    }
    println!("{}", counter.get());
    Ok(())
}
