//! Waiting for a condition by asking again and again, up to a deadline.

use std::fmt::Debug;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a condition that is about to hold may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until `look` gives what `expected` accepts and returns it.
///
/// # Panics
/// When it does not within ten seconds; the message has `what` and the last value seen.
pub fn eventually<T: Debug>(
    what: &str,
    look: impl FnMut() -> T,
    expected: impl FnMut(&T) -> bool,
) -> T {
    eventually_within(PATIENCE, what, look, expected)
}

/// As [`eventually`], with another limit: for rules that name one.
///
/// # Panics
/// As [`eventually`].
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
