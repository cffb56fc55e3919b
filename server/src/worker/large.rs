//! The turns of large requests.
//!
//! A request that is larger than the packets of agencies is read in slices, and its batch has a
//! round of its own, after the requests of the pass that are not large. While any worker serves
//! such ordinary requests, large ones get only a small share of the time. Without this, a hundred
//! clients that send batches of 4 MB would leave an agency with 8 kB less than a hundredth of its
//! rate.

use std::time::{Duration, Instant};

use super::connection::Phase;
use super::{EventLoop, WorkerError};
use crate::central::Shared;

/// Bytes above which a request is large: twice the largest packet of this project's agencies.
pub const LARGE_BYTES: usize = 2 * lottery::protocol::MAX_PACKET_BYTES;
/// Time that ordinary requests get per time of large ones. The workers share the locks and the
/// disk, so the shares of all workers add up.
const ORDINARY_SHARE: u32 = 20;
/// Time without an ordinary request after which large ones need not leave room for them.
const CALM: Duration = Duration::from_millis(50);
/// Longest time without looking at events while there are large requests only.
const LONGEST_TURN: Duration = Duration::from_millis(2);

/// When large requests have their next turn.
#[derive(Debug)]
pub struct LargeTurns {
    /// No turn before this time.
    not_before: Instant,
    /// Ordinary requests that all workers had served when this one last looked.
    ordinary: u64,
    /// When that number last changed.
    changed: Instant,
}

impl LargeTurns {
    /// Returns turns that may begin at once.
    pub fn new() -> Self {
        let now = Instant::now();
        Self { not_before: now, ordinary: 0, changed: now }
    }

    /// Returns how long the next turn has to wait.
    pub fn pause(&self) -> Duration {
        self.not_before.saturating_duration_since(Instant::now())
    }

    /// Ends a turn that has taken `time`.
    fn end(&mut self, shared: &Shared, time: Duration) {
        let now = Instant::now();
        let ordinary = ordinary_requests(shared);
        if ordinary != self.ordinary {
            (self.ordinary, self.changed) = (ordinary, now);
        }
        let is_calm = now.saturating_duration_since(self.changed) >= CALM;
        self.not_before = if is_calm { now } else { now + time * ORDINARY_SHARE };
    }
}

/// Returns how many requests all workers have served that were not large.
fn ordinary_requests(shared: &Shared) -> u64 {
    let all = shared.worker_batches.iter().chain(shared.worker_queries.iter());
    all.fold(0, u64::wrapping_add).wrapping_sub(shared.worker_large.iter().sum())
}

impl EventLoop<'_> {
    /// Gives large requests their turn, if it has come. The round must have ended.
    pub(super) fn advance_large(&mut self) -> Result<(), WorkerError> {
        let start = Instant::now();
        if !self.table.has_deferred() || start < self.large.not_before {
            return Ok(());
        }
        let slot = self.handler.requests.slot;
        let stored = self.central().shared().worker_batches.load(slot);
        while let Some(token) = self.table.take_deferred() {
            self.table.with(token, |connection| self.handler.receive_large(connection))?;
            let deferred = |phase: &Phase| matches!(phase, Phase::Deferred { .. });
            if self.table.get(token).is_some_and(|connection| deferred(&connection.phase)) {
                // It goes on in the next turn, before the others. If all of them went on by
                // turns, their parts would fill the memory before any of them is complete.
                self.table.defer_first();
            }
            self.make_room()?;
            self.end_round()?;
            if start.elapsed() >= LONGEST_TURN {
                break;
            }
        }
        let shared = self.handler.requests.central.shared();
        let stored = shared.worker_batches.load(slot).wrapping_sub(stored);
        shared.worker_large.fetch_add(slot, stored);
        self.large.end(shared, start.elapsed());
        self.publish_counts();
        Ok(())
    }
}
