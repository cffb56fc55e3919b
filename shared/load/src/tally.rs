//! What the clients of one thread have seen.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::latencies::Latencies;

/// Different texts of failures that are counted apart. All further ones are counted together.
const MAX_KINDS: usize = 16;
const OTHERS: &str = "other errors";

/// Counts of one thread, or of all.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) latencies: Latencies,
    /// Failed requests by their reason.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Connections that took so long to open that a packet must have been lost.
    pub(crate) slow_connections: u64,
    /// Failures since the last answered request.
    pub(crate) consecutive: u64,
}

impl Tally {
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        let latencies = Latencies::new()?;
        Ok(Self { latencies, failures: BTreeMap::new(), slow_connections: 0, consecutive: 0 })
    }

    /// Counts an answered request.
    pub(crate) fn answered(&mut self, latency: Duration) {
        self.latencies.record(latency);
        self.consecutive = 0;
    }

    /// Counts a failed request.
    pub(crate) fn failed(&mut self, reason: String) {
        self.consecutive += 1;
        self.add(reason, 1);
    }

    fn add(&mut self, reason: String, count: u64) {
        let is_known = self.failures.contains_key(&reason);
        let reason =
            if is_known || self.failures.len() < MAX_KINDS { reason } else { OTHERS.to_owned() };
        *self.failures.entry(reason).or_default() += count;
    }

    /// Returns the most frequent reason of failures.
    pub(crate) fn commonest(&self) -> Option<&str> {
        let named = self.failures.iter().filter(|(reason, _)| *reason != OTHERS);
        named.max_by_key(|(_, count)| **count).map(|(reason, _)| reason.as_str())
    }

    /// Adds the counts of another thread.
    pub(crate) fn merge(&mut self, other: Self) {
        self.latencies.merge(&other.latencies);
        other.failures.into_iter().for_each(|(reason, count)| self.add(reason, count));
        self.slow_connections += other.slow_connections;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_their_reason_and_the_number_of_reasons_is_limited() {
        let mut tally = Tally::new().unwrap();
        for number in 0..100 {
            tally.failed("reset".to_owned());
            tally.failed(format!("reason {number}"));
        }
        assert_eq!((tally.failures["reset"], tally.failures.len()), (100, MAX_KINDS + 1));
        assert_eq!(tally.failures.values().sum::<u64>(), 200);
        assert_eq!(tally.commonest(), Some("reset"));
    }

    #[test]
    fn an_answer_ends_a_series_of_failures() {
        let mut tally = Tally::new().unwrap();
        tally.failed("reset".to_owned());
        tally.answered(Duration::from_micros(1));
        tally.failed("reset".to_owned());
        assert_eq!((tally.consecutive, tally.failures["reset"]), (1, 2));
    }
}
