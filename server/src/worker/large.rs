//! The turns of large requests.
//!
//! A request that is larger than the packets of agencies is read in slices, and its batch has a
//! round of its own, after the requests of the pass that are not large. While any worker serves
//! such ordinary requests, large ones get only a small share of the time. Without this, a hundred
//! clients that send batches of 4 MB would leave an agency with 8 kB less than a hundredth of its
//! rate.

use std::time::{Duration, Instant};

use super::connection::Phase;
use super::store::Store;
use super::{EventLoop, Requests, WorkerError};
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

/// Longest pause after a turn. A turn may take long because of the disk, a lock, or a suspension
/// (SIGSTOP, `docker pause`), and large requests must not wait for many times as long.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// When large requests have their next turn.
#[derive(Debug)]
pub struct LargeTurns {
    /// No turn before this time.
    not_before: Instant,
    /// The most ordinary requests that all workers had served when this one looked.
    ordinary: u64,
    /// When that number last changed.
    changed: Instant,
    /// True if the next turn begins with the answers after the draw.
    answers_first: bool,
}

impl LargeTurns {
    /// Returns turns that may begin at once.
    pub fn new() -> Self {
        let now = Instant::now();
        Self { not_before: now, ordinary: 0, changed: now, answers_first: false }
    }

    /// Returns when to look again whether the next turn may begin: at the end of the pause, or
    /// earlier because ordinary requests may have ended.
    pub fn next_look(&self) -> Duration {
        self.not_before.saturating_duration_since(Instant::now()).min(CALM)
    }

    /// Returns true if the next turn may begin: the pause is over, or there are no ordinary
    /// requests to leave room for.
    pub fn may_begin(&mut self, shared: &Shared) -> bool {
        let now = Instant::now();
        let ordinary = ordinary_requests(shared);
        if ordinary > self.ordinary {
            (self.ordinary, self.changed) = (ordinary, now);
        }
        now >= self.not_before || now.saturating_duration_since(self.changed) >= CALM
    }

    /// Begins the pause after a turn that has taken `time`.
    pub fn pause_after(&mut self, time: Duration) {
        let pause = time.saturating_mul(ORDINARY_SHARE).min(LONGEST_PAUSE);
        self.not_before = Instant::now() + pause;
    }
}

/// Returns how many requests all workers have served that were not large.
fn ordinary_requests(shared: &Shared) -> u64 {
    let all = shared.worker_batches.iter().chain(shared.worker_queries.iter());
    all.sum::<u64>().saturating_sub(shared.worker_large.iter().sum())
}

impl<S: Store> EventLoop<'_, S> {
    /// Does what is large, if its turn has come: requests and answers, alternately. The round must
    /// have ended.
    pub(super) fn advance_turn(&mut self) -> Result<(), WorkerError> {
        self.large.answers_first = !self.large.answers_first;
        if self.large.answers_first {
            self.advance_answers()?;
            return self.advance_large();
        }
        self.advance_large()?;
        self.advance_answers()
    }

    /// Reads the next slice of the large request that is first.
    fn advance_large(&mut self) -> Result<(), WorkerError> {
        let Requests { central, .. } = &self.handler.requests;
        let is_held = S::is_held(&self.handler.requests);
        if is_held || !self.table.has_deferred() || !self.large.may_begin(central.shared()) {
            return Ok(());
        }
        let start = Instant::now();
        self.handler.requests.round.is_large = true;
        while !S::is_held(&self.handler.requests)
            && let Some(token) = self.table.take_deferred()
        {
            self.table.with(token, |connection| self.handler.receive_large(connection))?;
            let deferred = |phase: &Phase| matches!(phase, Phase::Deferred { .. });
            if self.table.get(token).is_some_and(|connection| deferred(&connection.phase)) {
                // It continues in the next turn, before the others. If all of them took turns,
                // their parts would fill the memory before any of them is complete.
                self.table.defer_first();
            }
            self.make_room()?;
            if !self.handler.requests.round.is_empty() {
                self.end_round()?;
            }
            if start.elapsed() >= LONGEST_TURN {
                break;
            }
        }
        self.handler.requests.round.is_large = false;
        self.large.pause_after(start.elapsed());
        self.publish_counts();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_a_multiple_of_the_turn_but_never_long() {
        let mut turns = LargeTurns::new();
        let pause = |turns: &mut LargeTurns, time| {
            let before = Instant::now();
            turns.pause_after(time);
            turns.not_before.saturating_duration_since(before)
        };
        let (short, share) = (Duration::from_millis(2), Duration::from_millis(40));
        assert!(pause(&mut turns, short) >= share);
        let after_a_suspension = pause(&mut turns, Duration::from_secs(600));
        assert!(after_a_suspension < Duration::from_secs(5), "{after_a_suspension:?}");
    }
}
