//! The recent rates of a central, for the sparklines.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::model::Central;

/// Shortest time that a sample covers.
const SAMPLE: Duration = Duration::from_millis(250);
/// Samples that are kept: five minutes.
const KEPT: usize = 1200;
/// Samples that the present rate is the mean of: one second.
const RECENT: usize = 4;

/// What happened in a short time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// How long it was.
    pub time: Duration,
    /// Batches stored in it.
    pub batches: u64,
    /// Agencies in flight at its end.
    pub in_flight: u32,
    /// Latency at its end, if the central measures it.
    pub latency: Option<Duration>,
}

impl Sample {
    /// Returns batches per second.
    pub fn rate(&self) -> u64 {
        let milliseconds = u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX).max(1);
        self.batches.saturating_mul(1000) / milliseconds
    }

    /// Joins a sample with a later one. Of what is measured at the end, the highest value counts.
    fn join(self, later: &Self) -> Self {
        Self {
            time: self.time + later.time,
            batches: self.batches + later.batches,
            in_flight: self.in_flight.max(later.in_flight),
            latency: self.latency.max(later.latency),
        }
    }
}

/// The samples of the last minutes.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
    /// Number of samples that were dropped because they are too old.
    dropped: usize,
    /// End of the last sample, and all batches until then.
    last: Option<(Instant, u64)>,
}

impl History {
    /// Adds a sample if the last one is old enough.
    pub fn record(&mut self, central: &Central, now: Instant) {
        let total = central.workers.iter().map(|worker| worker.batches).sum();
        let Some((since, before)) = self.last else {
            self.last = Some((now, total));
            return;
        };
        let time = now.duration_since(since);
        if time < SAMPLE {
            return;
        }
        self.last = Some((now, total));
        self.samples.push_back(Sample {
            time,
            batches: total.saturating_sub(before),
            in_flight: central.in_flight,
            latency: central.latency,
        });
        if self.samples.len() > KEPT {
            self.samples.pop_front();
            self.dropped += 1;
        }
    }

    /// Returns the sample of the last second.
    pub fn recent(&self) -> Sample {
        let samples = self.samples.iter().rev().take(RECENT).rev();
        samples.fold(Sample::default(), Sample::join)
    }

    /// Returns the time that the history covers.
    pub fn time(&self) -> Duration {
        self.samples.iter().map(|sample| sample.time).sum()
    }

    /// Returns the history in at most `width` columns, oldest first. As the history grows, a column
    /// covers more samples.
    pub fn columns(&self, width: usize) -> Vec<Sample> {
        let width = width.max(2);
        let per_column = self.samples.len().div_ceil(width - 1).max(1).next_power_of_two();
        let mut columns: Vec<Sample> = Vec::with_capacity(width);
        let mut open = None;
        for (position, sample) in self.samples.iter().enumerate() {
            // The number of a sample never changes, so it stays in its column and no bar flickers.
            let column = (self.dropped + position) / per_column;
            match columns.last_mut() {
                Some(last) if open == Some(column) => *last = last.join(sample),
                _ => columns.push(*sample),
            }
            open = Some(column);
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::layout::tests::central;

    /// Returns a history of one sample per second with this many batches each.
    fn history(batches: &[u64]) -> History {
        let (mut history, start, mut total) = (History::default(), Instant::now(), 0);
        let mut central = central(1);
        central.workers[0].batches = 0;
        history.record(&central, start);
        for (second, count) in batches.iter().enumerate() {
            total += count;
            central.workers[0].batches = total;
            history.record(&central, start + Duration::from_secs(second as u64 + 1));
        }
        history
    }

    #[test]
    fn the_first_read_gives_no_rate_because_its_batches_are_older() {
        let mut history = History::default();
        history.record(&central(1), Instant::now());
        assert_eq!((history.recent().rate(), history.columns(10).len()), (0, 0));
    }

    #[test]
    fn every_batch_is_in_one_column_however_narrow_the_screen_is() {
        let batches: Vec<u64> = (1..=100).collect();
        for width in [2, 3, 10, 64, 99, 200] {
            let columns = history(&batches).columns(width);
            assert!(columns.len() <= width, "{} columns in {width}", columns.len());
            assert_eq!(columns.iter().map(|column| column.batches).sum::<u64>(), 5050, "{width}");
        }
    }

    #[test]
    fn only_the_last_five_minutes_of_samples_are_kept() {
        let history = history(&[1; 1300]);
        assert_eq!(history.columns(2000).len(), 1200);
    }

    #[test]
    fn the_rate_is_that_of_the_last_samples() {
        assert_eq!(history(&[900, 900, 10, 10, 10, 10]).recent().rate(), 10);
    }

    #[test]
    fn a_total_that_falls_counts_as_no_batch() {
        let (mut history, now) = (History::default(), Instant::now());
        let mut central = central(1);
        history.record(&central, now);
        central.workers[0].batches = 0;
        history.record(&central, now + Duration::from_secs(1));
        assert_eq!(history.recent().rate(), 0);
    }
}
