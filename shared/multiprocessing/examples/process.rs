//! Processes: a function in a child, its exit code, and the other ways in which a child may end.
//! Run it with `cargo run -p shm-multiprocessing --example process`.

use std::time::Duration;

use multiprocessing::{Process, SpawnError};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let factor = 6;
    let mut returns = Process::fork(|| factor * 7)?;
    println!("one returned: {}", returns.join()?);

    let mut panics = Process::fork(|| -> i32 { panic!("this is printed, and goes no further") })?;
    println!("one panicked: {}", panics.join()?);

    let mut sleeps = Process::fork(|| {
        std::thread::sleep(Duration::from_secs(3600));
        0
    })?;
    match sleeps.join_timeout(Duration::from_millis(50))? {
        Some(exit) => println!("never printed: {exit}"),
        None => println!("one still sleeps"),
    }
    // `terminate` sends SIGTERM, `kill` sends SIGKILL. Children also end when this program ends.
    sleeps.terminate()?;
    println!("it was ended: {}", sleeps.join()?);

    // Refused, because a child would have a copy of everything except the threads.
    let thread = std::thread::spawn(std::thread::park);
    match Process::fork(|| 0) {
        Err(error @ SpawnError::ManyThreads { .. }) => println!("{error}"),
        _ => println!("never printed"),
    }
    thread.thread().unpark();
    Ok(())
}
