//! Latencies of the requests of a run, and their percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency in the histogram, in nanoseconds. Longer ones count as this one.
const LONGEST: u64 = 120_000_000_000;

/// Decimal digits of a latency that are kept.
const DIGITS: u8 = 3;

/// The latencies of a run, in a histogram whose size does not depend on their number.
#[derive(Debug)]
pub(crate) struct Latencies {
    nanoseconds: Histogram<u64>,
    /// Exact, because one value shows how long a server can take.
    max: Duration,
}

/// Percentiles in microseconds, exact to three digits. The maximum is exact.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p99_9: f64,
    /// Maximum.
    pub max: f64,
}

impl Latencies {
    /// Creates an empty histogram.
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        let nanoseconds = Histogram::new_with_bounds(1, LONGEST, DIGITS)?;
        Ok(Self { nanoseconds, max: Duration::ZERO })
    }

    /// Adds the latency of one request.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.nanoseconds.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        self.max = self.max.max(latency);
    }

    /// Adds the latencies of another thread.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Histograms of the same bounds can always be added.
        let added = self.nanoseconds.add(&other.nanoseconds);
        debug_assert!(added.is_ok(), "{added:?}");
        self.max = self.max.max(other.max);
    }

    /// Returns the number of requests.
    pub(crate) fn len(&self) -> u64 {
        self.nanoseconds.len()
    }

    /// Returns the percentiles; all are 0 if there is no request.
    pub(crate) fn percentiles(&self) -> Percentiles {
        let max = self.max.as_secs_f64() * 1e6;
        // The histogram rounds up, and no percentile exceeds the maximum.
        let percentile =
            |percent: f64| (self.nanoseconds.value_at_percentile(percent) as f64 / 1e3).min(max);
        Percentiles {
            p50: percentile(50.0),
            p90: percentile(90.0),
            p99: percentile(99.0),
            p99_9: percentile(99.9),
            max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(micros: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::new().unwrap();
        micros.into_iter().for_each(|micros| latencies.record(Duration::from_micros(micros)));
        latencies
    }

    #[test]
    fn percentiles_are_the_nearest_ranks_in_any_order() {
        let Percentiles { p50, p90, p99, p99_9, max } =
            latencies((1..=1000).rev().map(|n| n * 10)).percentiles();
        for (found, expected) in [(p50, 5000.0), (p90, 9000.0), (p99, 9900.0), (p99_9, 9990.0)] {
            assert!((found / expected - 1.0_f64).abs() < 0.002, "{found} {expected}");
        }
        assert_eq!(max, 10_000.0);
    }

    #[test]
    fn a_single_request_is_every_percentile() {
        let Percentiles { p50, p90, p99, p99_9, max } = latencies([3]).percentiles();
        assert_eq!([p50, p90, p99, p99_9, max], [3.0; 5]);
    }

    #[test]
    fn the_latencies_of_threads_are_added() {
        let mut all = latencies([10, 20]);
        all.merge(&latencies([5000]));
        assert_eq!((all.len(), all.percentiles().max), (3, 5000.0));
    }

    #[test]
    fn a_latency_of_hours_is_not_lost() {
        let all = latencies([7_200_000_000]);
        assert_eq!((all.len(), all.percentiles().max), (1, 7_200_000_000.0));
    }
}
