//! A task pool: workers look for primes, one of them is killed, and its task fails.
//! Run it with `cargo run -p shm-multiprocessing --example task_pool`.

use multiprocessing::{TaskError, TaskPool};

fn is_prime(number: u64) -> bool {
    number > 1
        && (2..number)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|d| !number.is_multiple_of(d))
}

fn primes_between(first: u64, last: u64) -> usize {
    (first..=last).filter(|&number| is_prime(number)).count()
}

/// Ends the process as the kernel does when memory runs out.
fn kill_myself(_: ()) {
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut pool = TaskPool::new(2)?;
    println!("primes: {:?}", pool.map(is_prime, 1..=7)?);

    let thousands = (0..5).map(|thousand| (1000 * thousand + 1, 1000 * thousand + 1000));
    println!("by thousands: {:?}", pool.starmap(primes_between, thousands)?);

    // Two tasks run at the same time.
    let killed = pool.apply_async(kill_myself, ());
    let answer = pool.apply_async(|number: u64| 2 * number, 21);
    match killed.get() {
        Err(TaskError::WorkerDied { exit, .. }) => println!("a worker ended by {exit}"),
        other => println!("unexpected: {other:?}"),
    }
    println!("and the other task gave {}", answer.get()?);

    for outcome in pool.imap(|number: u32| 100 / number, [5, 0, 4]) {
        match outcome {
            Ok(quotient) => println!("quotient {quotient}"),
            Err(TaskError::Panicked { message, .. }) => println!("panicked: {message}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(pool.join()?)
}
