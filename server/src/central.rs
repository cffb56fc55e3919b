//! The central: one process's access to the shared state and to what stores the bets, which it
//! keeps consistent. That is either the files of this central ([`Files`]), or an engine that
//! several centrals share.
//!
//! With files, a batch passes four points. It *begins* when its first bytes identify it as a batch:
//! from then on its agency is in flight. It is *committed* to the files under the ledger's lock. It
//! is *published*: first it becomes durable as promised, then its winners are counted and its in-
//! flight mark is released, together. Only then is it acknowledged. A worker may be killed between
//! any two of these points. [`Central::repair`] then publishes or discards what it left.

mod agencies;
mod commit;
mod draw;
mod error;
mod failure;
mod files;
mod heartbeat;
mod identity;
mod listening;
mod locks;
mod mirror;
mod names;
mod operator;
mod publish;
mod repair;
mod shared;
mod wakers;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub use central_view::{LatencyPhase, Phase, StorageFailure, WorkerState};
pub use commit::{Accepted, SessionQuestion};
pub use error::{Fatal, Rejected, RepairError};
pub use files::Files;
use heartbeat::Heartbeat;
use locks::Waits;
pub use operator::{Answer, NoAnswer, OperatorCommand};
pub use shared::Shared;
pub use wakers::Wakers;

use crate::roster::Roster;
use crate::storage::Draw;

/// One process's access to the central, whose bets are in `S`.
#[derive(Debug)]
pub struct Central<S> {
    shared: Shared,
    /// What stores the bets.
    pub store: S,
    /// The agencies that may take part, and from where; `None` if any agency may.
    roster: Option<Roster>,
    /// How this process waits for locks, and its heartbeat.
    waits: Waits,
    /// The result of the draw, once this process has opened it.
    draw: Option<Draw>,
}

impl<S> Central<S> {
    /// Returns the access of the supervisor.
    pub fn with_store(shared: Shared, store: S, roster: Option<Roster>) -> Self {
        let waits = Waits::new(&shared);
        Self { shared, store, roster, waits, draw: None }
    }

    /// Makes this process the worker in a slot: from now on it shows a heartbeat.
    pub fn become_worker(&mut self, slot: usize) {
        // The supervisor's may have been blocked at the fork, and would shorten this worker's.
        self.waits = Waits::new(&self.shared);
        self.waits.heartbeat.start(slot);
    }

    /// Writes the heartbeat of this worker. The watchdog ends a worker without one.
    pub fn beat(&self) {
        self.waits.heartbeat.beat();
    }

    /// Returns the shared state, for the numbers that concern neither bets nor winners.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Counts the time since `start` as that of a phase, if this process is a worker.
    pub fn record(&self, phase: LatencyPhase, start: Instant) {
        if let Some(slot) = self.waits.heartbeat.slot() {
            phase.record(&self.shared.worker_latency, slot, start.elapsed());
        }
    }

    /// Begins a batch in worker `slot`: its agency is in flight from now on.
    pub fn begin(&self, slot: usize) {
        self.shared.begin_batch(slot);
    }

    /// Releases the in-flight mark of a batch of worker `slot` that is not stored.
    pub fn abandon(&self, slot: usize) {
        self.shared.end_batches(slot, 1);
    }
}

/// Returns the milliseconds since 1970, as the shared state stores times.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
