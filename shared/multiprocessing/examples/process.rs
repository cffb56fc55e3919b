//! Processes: a function in a child, its exit code, and the ways in which a child may end otherwise.
//! `cargo run -p shm-multiprocessing --example process`

use std::time::Duration;

use multiprocessing::{Process, SpawnError};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let factor = 6;
    let mut returns = Process::spawn(|| factor * 7)?;
    println!("one returned: {}", returns.join()?);

    let mut panics = Process::spawn(|| panic!("this is printed, and goes no further"))?;
    println!("one panicked: {}", panics.join()?);

    let mut sleeps = Process::spawn(|| {
        std::thread::sleep(Duration::from_secs(3600));
        0
    })?;
    match sleeps.join_timeout(Duration::from_millis(50))? {
        Some(exit) => println!("never printed: {exit}"),
        None => println!("one still sleeps"),
    }
    // Asks it to end. `kill` does not ask. If this program ended instead, its children would end with it.
    sleeps.terminate()?;
    println!("it was ended: {}", sleeps.join()?);

    // A child would have a copy of everything but the threads: that is refused.
    let thread = std::thread::spawn(std::thread::park);
    match Process::spawn(|| 0) {
        Err(error @ SpawnError::ManyThreads { .. }) => println!("{error}"),
        _ => println!("never printed"),
    }
    thread.thread().unpark();
    Ok(())
}
