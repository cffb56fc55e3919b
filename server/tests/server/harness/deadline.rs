//! Waiting for a condition by polling, up to a deadline.

use std::fmt::Debug;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two polls.
const PAUSE: Duration = Duration::from_millis(2);

/// Polls until `look` returns a value that `expected` accepts, and returns this value. Panics after
/// ten seconds; the message contains `what` and the last value.
pub fn eventually<T: Debug>(
    what: &str,
    look: impl FnMut() -> T,
    expected: impl FnMut(&T) -> bool,
) -> T {
    eventually_within(PATIENCE, what, look, expected)
}

/// Polls as [`eventually`] does, with another limit: for rules that name one.
pub fn eventually_within<T: Debug>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> T,
    mut expected: impl FnMut(&T) -> bool,
) -> T {
    let start = Instant::now();
    loop {
        let seen = look();
        if expected(&seen) {
            return seen;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}, last seen {seen:?}");
        sleep(PAUSE);
    }
}
