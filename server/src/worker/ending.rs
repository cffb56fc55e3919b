//! What a worker and the supervisor tell each other: that the worker is ready, and the requests to
//! reopen the log, to retire, and to stop gracefully.

use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, error, info};
use multiprocessing::{StopRequest, Worker};

use super::connection::Phase;
use super::request::Requests;
use super::store::Store;
use super::{EventLoop, LAST_CHANCE, WorkerError};
use crate::central::WorkerState;
use crate::log_file::log_to;

/// Part of the grace that remains for a worker to exit before the supervisor kills it.
const GRACE_RESERVE: Duration = Duration::from_millis(500);

impl<S: Store> EventLoop<'_, S> {
    /// Reports that this worker accepts connections, once its store can take batches.
    pub(super) fn announce(&mut self, worker: &Worker) {
        if !self.is_announced && S::is_ready(&self.handler.requests.kept) {
            self.is_announced = true;
            let slot = self.handler.requests.slot;
            self.central().shared().worker_state.store(slot, WorkerState::Ready as u8);
            worker.ready();
        }
    }

    /// Handles the requests that the supervisor has sent.
    pub(super) fn handle_requests(&mut self, worker: &Worker) -> Result<(), WorkerError> {
        if worker.take_reopen()
            && let Some(path) = self.log_file
            && let Err(reason) = log_to(path)
        {
            let slot = self.handler.requests.slot;
            error("reopen_log", Outcome::Fail)
                .with("worker", slot)
                .with("error", reason)
                .with("next", "keep the old file")
                .write();
        }
        match worker.requested() {
            Some(StopRequest::Stop) if !self.is_draining() => self.drain()?,
            Some(StopRequest::Retire) if !self.retiring => self.retire(),
            _ => {}
        }
        Ok(())
    }

    /// Accepts nothing new, because newer workers do. The connections stay, and are served as
    /// before: those that wait for the draw too.
    fn retire(&mut self) {
        let Requests { slot, .. } = self.handler.requests;
        self.central().shared().worker_state.store(slot, WorkerState::Retiring as u8);
        // What the kernel has queued stays for the newer workers, which have the same sockets.
        for intake in &mut self.intakes {
            intake.close(self.epoll);
        }
        self.retiring = true;
        info("close_listener", Outcome::Success).with("worker", slot).write();
    }

    /// Returns true if no connection is left, and no request whose outcome this worker has to
    /// learn.
    pub(super) fn is_done(&mut self) -> Result<bool, WorkerError> {
        let is_overdue = self.handler.draining.is_some_and(|end| Instant::now() >= end);
        Ok(self.table.is_empty() && S::is_done(&mut self.handler.requests, is_overdue)?)
    }

    /// Begins a graceful stop: accepts what the kernel has queued, then nothing new.
    fn drain(&mut self) -> Result<(), WorkerError> {
        let Requests { slot, limits, .. } = self.handler.requests;
        self.central().shared().worker_state.store(slot, WorkerState::Draining as u8);
        let grace = limits.grace.saturating_sub(GRACE_RESERVE).max(limits.grace / 2);
        let end = Instant::now() + grace;
        // Before accepting, so that this worker leaves no connection to others: they may be dead.
        self.handler.draining = Some(end);
        // A flood of connections must not use up the grace.
        let last = Instant::now() + LAST_CHANCE;
        for intake in 0..self.intakes.len() {
            while self.accept(intake)? > 0 && Instant::now() < last {
                self.end_round()?;
            }
            self.end_round()?;
            self.intakes[intake].close(self.epoll);
        }
        if !self.retiring {
            info("close_listener", Outcome::Success).with("worker", slot).write();
        }
        S::give_up_draw(&mut self.handler.requests);
        let now = Instant::now();
        self.table.shorten_deadlines(|connection| match connection.phase {
            // A stopping central does not hold the draw. The agency can ask the next run.
            Phase::Waiting { .. } => now,
            Phase::Lingering { .. } => now + LAST_CHANCE,
            _ if connection.is_idle() => now + LAST_CHANCE,
            _ => end,
        });
        self.close_overdue(now)
    }
}
