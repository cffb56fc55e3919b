//! Time in which a worker did not look at its connections, because it or its machine was suspended
//! (SIGSTOP, `docker pause`) or a call took long.
//!
//! Deadlines are for clients. Bytes that arrived meanwhile are in time, even if they fill more
//! reads than one pass of the event loop makes. So the deadlines move by the time of the absence.

use std::time::{Duration, Instant};

/// Shortest time away that moves the deadlines. Shorter ones are usual on a busy machine.
const SHORTEST: Duration = Duration::from_millis(500);

/// When the worker last looked.
#[derive(Debug)]
pub struct Absence {
    looked: Instant,
}

impl Absence {
    /// Returns an absence that ends now.
    pub fn new() -> Self {
        Self { looked: Instant::now() }
    }

    /// Returns how long the worker was away before `now`, if that was long. A wait for events that
    /// ended because of its timeout must be shorter than [`SHORTEST`].
    pub fn end(&mut self, now: Instant) -> Option<Duration> {
        let away = now.saturating_duration_since(self.looked);
        self.looked = now;
        (away >= SHORTEST).then_some(away)
    }
}
