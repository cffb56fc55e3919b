//! The figures of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::latencies::Percentiles;

/// The figures of a run. A request is a batch of bets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Duration from the first request to the last reply.
    pub seconds: f64,
    /// Answered batches.
    pub batches: u64,
    /// Answered batches per second.
    pub batches_per_second: f64,
    /// Time from before the connection is opened, or from before the batch is sent on a kept one,
    /// to the last byte of the reply, in microseconds.
    pub latency_us: Percentiles,
    /// Failed batches by their reason.
    pub errors: BTreeMap<String, u64>,
    /// Connections that took over 0.9 s to open: the network lost a packet.
    pub slow_connections: u64,
    /// User and system time of the generator per answered batch, in microseconds.
    pub generator_cpu_us_per_batch: f64,
    /// Threads of the generator.
    pub generator_threads: usize,
}

impl Figures {
    /// Returns the number of failed batches.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}
