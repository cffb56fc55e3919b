//! The status of a running central, as a table and as JSON.

use std::fmt::Write;
use std::time::Duration;

use conventions::duration::GoDuration;
use serde::Serialize;

use super::condition::unhealthy;
use crate::central::{Phase, Shared, WorkerState, unix_ms};

/// The state of a central at one moment. Counters never decrease while the central lives.
#[derive(Debug, Serialize)]
pub struct Status {
    /// First port that it listens on.
    port: u16,
    /// `starting`, `serving` or `draining`.
    phase: &'static str,
    /// Process id of its supervisor.
    supervisor_pid: i32,
    /// Seconds since its start.
    uptime_seconds: u64,
    /// Newest generation of workers that has been ready as a whole: 1 plus the number of reloads.
    generation: u32,
    /// Winners among the stored bets.
    winners: u64,
    /// Stored bets, including those of earlier runs.
    bets: u64,
    /// Agencies with a batch in flight.
    agencies_in_flight: u32,
    /// Distinct agencies that have finished.
    agencies_finished: u32,
    /// Agencies that the draw waits for.
    agencies_expected: u32,
    /// True if bets are closed and the draw waits for an operator.
    awaits_confirmation: bool,
    /// True once the draw has been held.
    drawn: bool,
    /// Connections that wait for the draw.
    waiting: u32,
    /// Workers that died without being asked to stop.
    worker_deaths: u64,
    /// Number of times that the owner of a lock died and the next owner repaired.
    lock_recoveries: u64,
    /// True once the disk has failed, so that nothing more is acknowledged.
    storage_failed: bool,
    /// Milliseconds since the last heartbeat of the supervisor.
    supervisor_heartbeat_age_ms: u64,
    /// Reasons why a batch would not be served now, as far as the shared memory shows them. Empty
    /// if the central is healthy.
    unhealthy: Vec<String>,
    /// One per slot that has had a worker.
    workers: Vec<WorkerStatus>,
}

/// One slot of the pool.
#[derive(Debug, Serialize)]
struct WorkerStatus {
    slot: usize,
    /// Process id, or 0 if the slot is free.
    pid: u32,
    /// Generation of the worker, or 0 if the slot is free.
    generation: u32,
    state: &'static str,
    uptime_seconds: u64,
    heartbeat_age_ms: u64,
    restarts: u32,
    connections: u32,
    waiting: u32,
    in_flight: u16,
    batches: u64,
    bets: u64,
    queries: u64,
    refused: u64,
}

impl Status {
    /// Reads the status without a lock, so numbers that belong together may be a moment apart.
    pub fn of(shared: &Shared) -> Self {
        let now = unix_ms();
        let created = shared.segment.created().elapsed().unwrap_or_default();
        let is_free = |slot: usize| shared.worker_generation.load(slot) == 0;
        let uptime = |slot: usize| now.saturating_sub(shared.worker_started_ms.load(slot)) / 1000;
        let worker = |slot: usize| WorkerStatus {
            slot,
            pid: shared.worker_pid.load(slot),
            generation: shared.worker_generation.load(slot),
            state: match WorkerState::from_byte(shared.worker_state.load(slot)) {
                _ if is_free(slot) => "free",
                WorkerState::Dead => "dead",
                WorkerState::Starting => "starting",
                WorkerState::Ready => "ready",
                WorkerState::Draining => "draining",
                WorkerState::Retiring => "retiring",
            },
            uptime_seconds: if is_free(slot) { 0 } else { uptime(slot) },
            heartbeat_age_ms: if is_free(slot) {
                0
            } else {
                milliseconds(shared.worker_silence(slot))
            },
            restarts: shared.worker_restarts.load(slot),
            connections: shared.worker_connections.load(slot),
            waiting: shared.worker_waiting.load(slot),
            in_flight: shared.in_flight.load(slot),
            batches: shared.worker_batches.load(slot),
            bets: shared.worker_bets.load(slot),
            queries: shared.worker_queries.load(slot),
            refused: shared.worker_refused.load(slot),
        };
        Self {
            port: shared.port.load(),
            phase: match Phase::from_byte(shared.phase.load()) {
                Phase::Starting => "starting",
                Phase::Serving => "serving",
                Phase::Draining => "draining",
            },
            supervisor_pid: shared.segment.creator().as_raw(),
            uptime_seconds: created.as_secs(),
            generation: shared.generation.load(),
            winners: shared.winners.get(),
            bets: shared.bets.load(),
            agencies_in_flight: shared.agencies_in_flight(),
            agencies_finished: shared.finished.load(),
            agencies_expected: shared.expected.load(),
            awaits_confirmation: shared.awaits_confirmation(),
            drawn: shared.drawn.load() != 0,
            waiting: shared.worker_waiting.iter().sum(),
            worker_deaths: shared.deaths.load(),
            lock_recoveries: shared.locks().into_iter().map(|(_, lock)| lock.recoveries()).sum(),
            storage_failed: shared.storage_failed.load() != 0,
            supervisor_heartbeat_age_ms: milliseconds(shared.supervisor_silence()),
            unhealthy: unhealthy(shared),
            workers: shared.used_slots().map(worker).collect(),
        }
    }

    /// Returns the status as one JSON object on one line.
    pub fn json(&self) -> String {
        // Cannot fail: the status holds only numbers and fixed texts.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// Returns the status as a table for humans.
    pub fn table(&self) -> String {
        let uptime = |seconds: u64| GoDuration(Duration::from_secs(seconds)).to_string();
        let mut text = format!(
            "central on port {}: {}, up {}, supervisor {}{}\n\
             winners {}, bets {}, agencies in flight {}, worker deaths {}, lock recoveries {}{}\n\
             {}\n{}\n\
             {:>4} {:>8} {:<9} {:>10} {:>9} {:>8} {:>11} {:>8} {:>9} {:>9} {:>11} {:>8} {:>8}\n",
            self.port,
            self.phase,
            uptime(self.uptime_seconds),
            self.supervisor_pid,
            match self.generation {
                0 | 1 => String::new(),
                generation => format!(", generation {generation}"),
            },
            self.winners,
            self.bets,
            self.agencies_in_flight,
            self.worker_deaths,
            self.lock_recoveries,
            if self.storage_failed { ", STORAGE FAILED: restart the central" } else { "" },
            self.draw(),
            self.health(),
            "slot",
            "pid",
            "state",
            "uptime",
            "heartbeat",
            "restarts",
            "connections",
            "waiting",
            "in_flight",
            "batches",
            "bets",
            "queries",
            "refused",
        );
        for worker in &self.workers {
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "{:>4} {:>8} {:<9} {:>10} {:>9} {:>8} {:>11} {:>8} {:>9} {:>9} {:>11} {:>8} {:>8}",
                worker.slot,
                worker.pid,
                worker.state,
                uptime(worker.uptime_seconds),
                GoDuration(Duration::from_millis(worker.heartbeat_age_ms)).to_string(),
                worker.restarts,
                worker.connections,
                worker.waiting,
                worker.in_flight,
                worker.batches,
                worker.bets,
                worker.queries,
                worker.refused,
            );
        }
        text
    }

    /// Returns a line with the reasons why the central is not healthy, if there are any.
    fn health(&self) -> String {
        match self.unhealthy.as_slice() {
            [] => String::new(),
            reasons => format!("NOT HEALTHY: {}\n", reasons.join("; ")),
        }
    }

    /// Returns the progress of the draw, for humans.
    fn draw(&self) -> String {
        let Self { agencies_finished: finished, agencies_expected: expected, waiting, .. } = self;
        match self.drawn {
            true => "the draw has been held: bets are closed".to_owned(),
            false => format!(
                "draw: {finished} of {expected} agencies have finished, {waiting} wait for it{}",
                if self.awaits_confirmation {
                    "; `loteria-central draw --confirm` holds it"
                } else {
                    ""
                }
            ),
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
