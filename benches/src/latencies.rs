//! How long the batches of a run took, and the percentiles of that.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One time per batch. A run lasts seconds, so every one is kept and the percentiles are exact.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// Half of the batches took at most this long.
    pub(crate) p50: f64,
    /// 99 of 100 took at most this long.
    pub(crate) p99: f64,
    /// The slowest one.
    pub(crate) max: f64,
}

impl Latencies {
    /// Adds the time of one batch.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    /// Takes over the times of another client.
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// How many batches were timed.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The percentiles, or `None` when no batch was timed.
    pub(crate) fn percentiles(mut self) -> Option<Percentiles> {
        self.0.sort_unstable();
        // Nearest rank: the smallest time that at least `percent` in a hundred do not exceed.
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
