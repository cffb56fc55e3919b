//! Reads the shared memory of a central into the model, and finds the central again after a
//! restart.

use std::time::Duration;

use central_view::{CentralView, Latency, LatencyPhase, Phase, WorkerState, attach, not_ready};
use multiprocessing::SharedState;

use super::kill::may_kill;
use super::model::{Central, Worker};
use crate::central::{Shared, unix_ms};
use crate::inspect::DrawState;

/// A central, running or not.
#[derive(Debug)]
pub struct Source {
    port: u16,
    attached: Option<Attached>,
}

/// The memory of a central. Only the marks of the agencies need more than the view.
#[derive(Debug)]
struct Attached {
    view: CentralView,
    shared: Shared,
}

impl Source {
    /// Returns the source of the central whose first port is `port`. Port 0 means the only running
    /// central.
    pub fn new(port: u16) -> Self {
        Self { port, attached: None }
    }

    /// Returns the state of the central that runs now, or why there is none.
    pub fn read(&mut self) -> Result<Central, String> {
        // The memory of a central that has ended stays readable, so ask if it is the present one.
        let is_present =
            |it: &Attached| it.shared.segment.has_entry() && it.shared.segment.creator_is_alive();
        let attached = match self.attached.take().filter(is_present) {
            Some(attached) => attached,
            None => {
                let view = attach(self.port).map_err(|reason| reason.to_string())?;
                let shared =
                    Shared::open(view.segment.name()).map_err(|error| error.to_string())?;
                Attached { view, shared }
            }
        };
        let central = central(&attached);
        self.attached = Some(attached);
        Ok(central)
    }
}

/// Reads the state without a lock, so numbers that belong together may be a moment apart.
fn central(Attached { view, shared }: &Attached) -> Central {
    let acknowledged = Latency::of(&view.worker_latency, LatencyPhase::Publish);
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
        latency: acknowledged.quantile_micros(0.99).map(Duration::from_micros),
        deaths: shared.deaths.load(),
        waiting: shared.worker_waiting.iter().sum(),
        draw: DrawState::of(shared),
        unhealthy: not_ready(view).iter().map(ToString::to_string).collect(),
        workers: view
            .used_slots()
            .filter(|slot| view.worker_generation.load(*slot) != 0)
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
