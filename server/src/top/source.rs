//! Reads the shared memory of a central into the model, and finds the central again after a
//! restart.

use std::time::Duration;

use super::kill::may_kill;
use super::model::{Central, Worker};
use crate::central::{Phase, Shared, WorkerState, unix_ms};
use crate::inspect::{DrawState, attach, unhealthy};

/// A central, running or not.
#[derive(Debug)]
pub struct Source {
    port: u16,
    shared: Option<Shared>,
}

impl Source {
    /// Returns the source of the central whose first port is `port`. Port 0 means the only running
    /// central.
    pub fn new(port: u16) -> Self {
        Self { port, shared: None }
    }

    /// Returns the state of the central that runs now, or why there is none.
    pub fn read(&mut self) -> Result<Central, String> {
        // The memory of a central that has ended stays readable, so ask if it is the present one.
        self.shared = self
            .shared
            .take()
            .filter(|shared| shared.segment.has_entry() && shared.segment.creator_is_alive());
        let shared = match self.shared.take() {
            Some(shared) => shared,
            None => attach(self.port).map_err(|reason| reason.to_string())?,
        };
        let central = central(&shared);
        self.shared = Some(shared);
        Ok(central)
    }
}

/// Reads the state without a lock, so numbers that belong together may be a moment apart.
fn central(shared: &Shared) -> Central {
    let supervisor = shared.segment.creator().as_raw();
    Central {
        segment: shared.segment.generation(),
        port: shared.port.load(),
        phase: match Phase::from_byte(shared.phase.load()) {
            Phase::Starting => "starting",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
        },
        supervisor,
        uptime: shared.segment.created().elapsed().unwrap_or_default(),
        generation: shared.generation.load(),
        bets: shared.bets.load(),
        winners: shared.winners.get(),
        in_flight: shared.agencies_in_flight(),
        latency: None,
        deaths: shared.deaths.load(),
        waiting: shared.worker_waiting.iter().sum(),
        draw: DrawState::of(shared),
        unhealthy: unhealthy(shared),
        workers: shared
            .used_slots()
            .filter(|slot| shared.worker_generation.load(*slot) != 0)
            .map(|slot| worker(shared, slot, supervisor))
            .collect(),
    }
}

fn worker(shared: &Shared, slot: usize, supervisor: i32) -> Worker {
    let pid = shared.worker_pid.load(slot);
    let age = unix_ms().saturating_sub(shared.worker_started_ms.load(slot));
    Worker {
        slot,
        pid,
        state: WorkerState::from_byte(shared.worker_state.load(slot)),
        uptime: Duration::from_millis(age),
        restarts: shared.worker_restarts.load(slot),
        connections: shared.worker_connections.load(slot),
        in_flight: shared.in_flight.load(slot),
        batches: shared.worker_batches.load(slot),
        may_kill: may_kill(pid, supervisor),
    }
}
