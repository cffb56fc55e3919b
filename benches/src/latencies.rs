//! Latencies of the batches of a run, and their percentiles.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One latency per batch. A run lasts seconds, so all are kept and the percentiles are exact.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// Median.
    pub(crate) p50: f64,
    /// 99th percentile.
    pub(crate) p99: f64,
    /// Maximum.
    pub(crate) max: f64,
}

impl Latencies {
    /// Adds the latency of one batch.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    /// Adds the latencies of another client.
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// Returns the number of batches.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the percentiles, or `None` if there is no batch.
    pub(crate) fn percentiles(mut self) -> Option<Percentiles> {
        self.0.sort_unstable();
        // Nearest rank: the smallest latency that at least `percent` percent do not exceed.
        let rank = |percent: usize| (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        let micros = |rank: usize| self.0.get(rank).map(|time| time.as_secs_f64() * 1e6);
        Some(Percentiles {
            p50: micros(rank(50))?,
            p99: micros(rank(99))?,
            max: micros(rank(100))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percentiles(millis: impl IntoIterator<Item = u64>) -> Option<Percentiles> {
        Latencies(millis.into_iter().map(Duration::from_millis).collect()).percentiles()
    }

    #[test]
    fn percentiles_are_the_nearest_ranks_in_any_order() {
        let expected = Percentiles { p50: 50_000.0, p99: 99_000.0, max: 100_000.0 };
        assert_eq!(percentiles((1..=100).rev()), Some(expected));
    }

    #[test]
    fn a_single_batch_is_every_percentile() {
        assert_eq!(
            percentiles([3]),
            Some(Percentiles { p50: 3_000.0, p99: 3_000.0, max: 3_000.0 })
        );
    }

    #[test]
    fn no_batch_has_no_percentile() {
        assert_eq!(percentiles([]), None);
    }
}
