//! How long the phases of a commit take: histograms in the shared memory.
//!
//! Each worker slot has its own histograms, and only the worker of the slot writes them. They keep
//! counting when a worker is replaced. The buckets are log-linear: two per power of two.

use std::time::Duration;

use multiprocessing::{RawArray, View};

/// A phase whose time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyPhase {
    /// Writing the batches of a round to the files, with the wait for the lock.
    Commit = 0,
    /// Making the journal durable, in the worker that does it for all.
    Sync = 1,
    /// From the end of a commit until its batches may be acknowledged.
    Publish = 2,
}

/// Buckets per histogram. The last one has no upper bound.
const BUCKETS: usize = 44;
/// The first bucket ends at 12 µs: a power of two and a half more.
const FIRST_POWER: u32 = 3;
/// Words per histogram: the buckets and the sum in microseconds.
const WORDS: usize = BUCKETS + 1;
/// Words per slot.
pub const LATENCY_WORDS: usize = LatencyPhase::ALL.len() * WORDS;

impl LatencyPhase {
    /// Every phase.
    pub const ALL: [Self; 3] = [Self::Commit, Self::Sync, Self::Publish];

    /// Returns the name of the phase.
    pub fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Sync => "sync",
            Self::Publish => "publish",
        }
    }

    /// Counts a time in the histogram of a slot. Only the worker of the slot calls this.
    pub fn record(self, words: &RawArray<u64>, slot: usize, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let first = first_word(slot, self);
        words.fetch_add(first + bucket_of(micros), 1);
        words.fetch_add(first + BUCKETS, micros);
    }
}

/// The times of a phase, of all slots together.
#[derive(Clone, Debug)]
pub struct Latency {
    counts: [u64; BUCKETS],
    sum_micros: u64,
}

impl Latency {
    /// Reads the times of a phase.
    pub fn of(words: &View<RawArray<u64>>, phase: LatencyPhase) -> Self {
        let firsts = || (0..words.len() / LATENCY_WORDS).map(|slot| first_word(slot, phase));
        let sum = |word: usize| firsts().map(|first| words.load(first + word)).sum();
        Self { counts: std::array::from_fn(sum), sum_micros: sum(BUCKETS) }
    }

    /// Returns the upper bound of each bucket in seconds, and how many times are below it. The last
    /// bucket has no bound and is left out.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let mut below = 0;
        self.counts.iter().take(BUCKETS - 1).enumerate().map(move |(bucket, count)| {
            below += count;
            (end_of(bucket) as f64 / 1e6, below)
        })
    }

    /// Returns the number of times.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of the times in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_micros as f64 / 1e6
    }

    /// Returns the end of the bucket in which this share of the times is reached, in microseconds;
    /// `None` if nothing was measured.
    pub fn quantile_micros(&self, share: f64) -> Option<u64> {
        let rank = (self.count() as f64 * share).ceil() as u64;
        let mut below = 0;
        let bucket = self.counts.iter().position(|count| {
            below += count;
            *count > 0 && below >= rank
        })?;
        Some(end_of(bucket))
    }
}

fn first_word(slot: usize, phase: LatencyPhase) -> usize {
    slot * LATENCY_WORDS + phase as usize * WORDS
}

/// Returns the bucket of a time.
fn bucket_of(micros: u64) -> usize {
    let micros = micros.max(1 << FIRST_POWER);
    let power = micros.ilog2();
    let upper_half = (micros >> (power - 1)) & 1;
    let bucket = 2 * (power - FIRST_POWER) as usize + upper_half as usize;
    bucket.min(BUCKETS - 1)
}

/// Returns the first time, in microseconds, that is above a bucket.
fn end_of(bucket: usize) -> u64 {
    let power = 1 << (FIRST_POWER as usize + bucket / 2);
    if bucket.is_multiple_of(2) { power + power / 2 } else { 2 * power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_below_the_end_of_its_bucket_and_not_below_that_of_the_bucket_before() {
        for micros in (0..5_000).chain((1..20_000).map(|step| step * 997)) {
            let bucket = bucket_of(micros);
            assert!(bucket < BUCKETS && micros < end_of(bucket), "{micros}");
            assert!(bucket == 0 || micros >= end_of(bucket - 1), "{micros}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_quantile_is_the_end_of_the_bucket_that_reaches_it() {
        let mut latency = Latency { counts: [0; BUCKETS], sum_micros: 0 };
        assert_eq!(latency.quantile_micros(0.5), None);
        (latency.counts[0], latency.counts[9]) = (98, 2);
        assert_eq!(latency.quantile_micros(0.5), Some(12));
        assert_eq!(latency.quantile_micros(0.99), Some(256));
    }
}
