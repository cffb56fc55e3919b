//! The figures of one server under one load.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::latencies::{Latencies, Percentiles};

/// Figures of a run. `load` prints them and `report` reads them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Name of the server.
    pub(crate) name: String,
    /// Number of clients that sent at the same time.
    pub(crate) clients: usize,
    /// Number of connections held open after half a batch.
    pub(crate) stalled: usize,
    /// Duration of the run.
    pub(crate) seconds: f64,
    /// Size of a batch in bytes.
    pub(crate) batch_bytes: usize,
    /// Number of answered batches.
    pub(crate) batches: usize,
    /// Number of bets in the answered batches.
    pub(crate) bets: usize,
    /// Answered batches per second.
    pub(crate) batches_per_second: f64,
    /// Bets in answered batches per second.
    pub(crate) bets_per_second: f64,
    /// Time from before the connection is opened to the last byte of the reply, in microseconds.
    pub(crate) latency_us: Percentiles,
    /// User and system time of the server's processes per bet in microseconds, if the server's pid
    /// was given.
    pub(crate) server_cpu_us_per_bet: Option<f64>,
}

/// Figures of a run apart from its latencies.
#[derive(Debug)]
pub(crate) struct Totals {
    /// Number of clients that sent at the same time.
    pub(crate) clients: usize,
    /// Number of connections held open after half a batch.
    pub(crate) stalled: usize,
    /// Size of a batch in bytes.
    pub(crate) batch_bytes: usize,
    /// Number of bets per batch.
    pub(crate) bets_per_batch: usize,
    /// Duration of the run.
    pub(crate) elapsed: Duration,
    /// CPU time of the server during the run.
    pub(crate) server_cpu: Option<Duration>,
}

impl Outcome {
    /// Returns the figures of a run, or `None` if no batch was answered.
    pub(crate) fn new(name: String, totals: &Totals, latencies: Latencies) -> Option<Self> {
        let seconds = totals.elapsed.as_secs_f64();
        let batches = latencies.len();
        let bets = batches * totals.bets_per_batch;
        Some(Self {
            name,
            clients: totals.clients,
            stalled: totals.stalled,
            seconds,
            batch_bytes: totals.batch_bytes,
            batches,
            bets,
            batches_per_second: batches as f64 / seconds,
            bets_per_second: bets as f64 / seconds,
            latency_us: latencies.percentiles()?,
            server_cpu_us_per_bet: totals
                .server_cpu
                .map(|cpu| cpu.as_secs_f64() * 1e6 / bets as f64),
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, clients, stalled, seconds, batch_bytes, batches, bets, latency_us, ..
        } = self;
        writeln!(f, "{name}: {clients} clients, {stalled} stalled connections, {seconds:.2} s")?;
        writeln!(
            f,
            "  batches  {batches} of {batch_bytes} bytes, {:.0}/s",
            self.batches_per_second
        )?;
        writeln!(f, "  bets     {bets}, {:.0}/s", self.bets_per_second)?;
        let Percentiles { p50, p99, max } = latency_us;
        write!(f, "  latency  p50 {p50:.0} µs, p99 {p99:.0} µs, max {max:.0} µs")?;
        match self.server_cpu_us_per_bet {
            Some(cpu) => write!(f, "\n  server   {cpu:.3} µs CPU per bet"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_second_and_per_bet() {
        let mut latencies = Latencies::default();
        (0..4).for_each(|_| latencies.record(Duration::from_micros(10)));
        let totals = Totals {
            clients: 1,
            stalled: 0,
            batch_bytes: 100,
            bets_per_batch: 5,
            elapsed: Duration::from_secs(2),
            server_cpu: Some(Duration::from_micros(40)),
        };
        let outcome = Outcome::new("x".to_owned(), &totals, latencies).unwrap();
        assert_eq!((outcome.batches, outcome.bets), (4, 20));
        assert_eq!((outcome.batches_per_second, outcome.bets_per_second), (2.0, 10.0));
        assert_eq!(outcome.server_cpu_us_per_bet, Some(2.0));
    }
}
