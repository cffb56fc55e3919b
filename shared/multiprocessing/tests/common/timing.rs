//! Checks of how long waits take and what they cost, and output of what was measured.

use std::fmt::Display;
use std::time::{Duration, Instant};

use multiprocessing::Process;

use super::{child, cpu_time, join_all, kill_and_join, storm, wait_until_blocked};

/// Prints a measured value. A failing test shows it, and the long form of the soaks reads it.
pub fn fact(key: &str, value: impl Display) {
    println!("{key}={value}");
}

/// Prints a line on standard error, which is shown when the test fails.
#[allow(clippy::print_stderr)]
pub fn eprint_line(line: &str) {
    eprintln!("{line}");
}

/// Checks that something took less than a limit.
pub fn assert_less(what: &str, took: Duration, limit: Duration) {
    assert!(took < limit, "{what}: {took:?}");
}

/// Checks that a timed wait that nothing ends takes its time and no longer, in an undisturbed child
/// (number 0) and in a child under a storm of signals (number 1).
pub fn keeps_time(wait_in_vain: impl Fn(usize, Duration)) {
    let keeps_time = |number: usize| {
        for milliseconds in [0, 1, 100, 500, 900, 999] {
            let timeout = Duration::from_millis(milliseconds);
            let begun = Instant::now();
            wait_in_vain(number, timeout);
            let waited = begun.elapsed();
            assert!(waited >= timeout, "{waited:?} is less than {timeout:?}");
            assert!(waited < timeout + Duration::from_secs(1), "{waited:?} for {timeout:?}");
        }
    };
    let (calm, stormy) = (child(|| keeps_time(0)), child(|| keeps_time(1)));
    let storm = storm(stormy.pid());
    join_all([calm, stormy]);
    kill_and_join(storm);
}

/// Checks that a waiting process uses almost no processor time, then kills it.
pub fn waits_idly(waiter: Process) {
    wait_until_blocked(waiter.pid());
    let before = cpu_time(waiter.pid());
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_time(waiter.pid()) - before;
    kill_and_join(waiter);
    fact("idle_us_per_second", used.as_micros());
    assert!(used < Duration::from_millis(20), "{used:?} in a second of waiting");
}
