//! The in-flight mark of the batch that a connection is sending, and the pace that keeps it.
//!
//! While a batch is in flight, every query in `typed` gets a partial result. So a batch that has
//! begun keeps its mark only while it arrives at a minimum rate. Without this rule, a client that
//! sends one byte and then nothing would keep every other client asking.

use std::time::{Duration, Instant};

/// Bytes per second that a batch has to keep.
const MIN_RATE: u128 = 1000;

/// The in-flight mark of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// No batch has begun, or its ticket has taken the mark over.
    #[default]
    None,
    /// A batch has begun and is in flight.
    Held,
    /// A batch has begun and was too slow. It is in flight again once it keeps the rate, or when it
    /// is complete.
    Lapsed,
}

/// How fast the current request of a connection arrives, measured over one window of time after
/// the other. An average since the beginning would let one megabyte excuse a quarter of an hour of
/// silence.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Start of the window.
    since: Instant,
    /// Bytes that have arrived in it.
    bytes: usize,
}

impl Pace {
    /// Starts the first window.
    pub fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0 }
    }

    /// Counts bytes that have arrived.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Moves the window to a later time, because the worker was not there to read.
    pub fn extend(&mut self, by: Duration) {
        self.since = self.since.checked_add(by).unwrap_or(self.since);
    }

    /// Returns true if the bytes of this window are enough for all of it.
    pub fn is_kept(&self, window: Duration) -> bool {
        self.bytes as u128 * 1000 >= window.as_millis() * MIN_RATE
    }

    /// Returns true if the window is over.
    pub fn is_over(&self, window: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(500);

    #[test]
    fn half_a_second_needs_500_bytes() {
        let mut pace = Pace::new(Instant::now());
        pace.add(499);
        assert!(!pace.is_kept(WINDOW));
        pace.add(1);
        assert!(pace.is_kept(WINDOW));
    }

    #[test]
    fn a_window_is_over_after_its_time_and_not_before() {
        let start = Instant::now();
        let pace = Pace::new(start);
        assert!(!pace.is_over(WINDOW, start + WINDOW - Duration::from_millis(1)));
        assert!(pace.is_over(WINDOW, start + WINDOW));
    }
}
