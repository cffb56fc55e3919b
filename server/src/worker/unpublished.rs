//! The commits of a worker that are not published yet, in the order of the journal.
//!
//! With durability `disk` a commit waits here until its records are durable, while the worker goes
//! on serving. Each connection has at most one ticket in it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::round::{Answerable, Pending};
use super::table::Token;
use crate::central::{Central, Fatal, Files, LatencyPhase, Rejected};
use crate::storage::Ledger;

/// Bytes of winners that a worker keeps for its answers before it waits for the sync of another
/// process instead of serving. Ordinary batches keep far less.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// How long a worker waits for the sync of another process before it serves again.
const SYNC_TIMEOUT: Duration = Duration::from_millis(100);

/// A commit, and the tickets that it acknowledges.
#[derive(Debug)]
struct Commit {
    /// The totals after it.
    totals: Ledger,
    tickets: Vec<Answerable>,
    /// When it was made.
    since: Instant,
}

/// The commits that are not published yet.
#[derive(Debug, Default)]
pub struct Unpublished {
    commits: VecDeque<Commit>,
    /// Tickets that acknowledge nothing. They wait only for the end of their round.
    rejected: Vec<Answerable>,
    /// Bytes that the winners in all tickets keep in memory.
    answer_bytes: usize,
}

impl Unpublished {
    /// Adds a commit after which the totals are `totals`.
    pub fn push(&mut self, totals: Ledger, tickets: impl Iterator<Item = Answerable>) {
        let (tickets, rejected): (Vec<_>, Vec<_>) = tickets.partition(acknowledges);
        self.rejected.extend(rejected);
        if !tickets.is_empty() {
            self.answer_bytes += answer_bytes(&tickets);
            self.commits.push_back(Commit { totals, tickets, since: Instant::now() });
        }
    }

    /// Returns true if no ticket waits.
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.rejected.is_empty()
    }

    /// Returns the bytes that the winners in all tickets keep in memory.
    pub fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// Returns the connections that wait for the publication of a finish mark.
    pub fn finishes(&self) -> impl Iterator<Item = Token> {
        let tickets = self.commits.iter().flat_map(|commit| &commit.tickets);
        let finishes = tickets.filter(|(ticket, _)| {
            matches!(ticket.request, Pending::Finish | Pending::FinishThenWinners { .. })
        });
        finishes.map(|(ticket, _)| ticket.connection)
    }

    /// Publishes what is durable, after a sync if no other process is syncing. Returns the tickets
    /// that may be answered now.
    pub fn publish(
        &mut self,
        central: &mut Central<Files>,
        slot: usize,
    ) -> Result<Vec<Answerable>, Fatal> {
        let mut answerable = std::mem::take(&mut self.rejected);
        let (Some(first), Some(last)) = (self.commits.front(), self.commits.back()) else {
            return Ok(answerable);
        };
        let (since, wanted) = (first.since, last.totals.records);
        let mut durable = central.make_durable_or_await(slot, wanted)?;
        if durable < wanted && self.answer_bytes >= MAX_ANSWER_BYTES {
            durable = central.make_durable(wanted, SYNC_TIMEOUT)?.unwrap_or(durable);
        }
        let count = self.commits.partition_point(|commit| commit.totals.records <= durable);
        let Some(published) = count.checked_sub(1).map(|newest| self.commits[newest].totals) else {
            central.note_wait(slot, since);
            return Ok(answerable);
        };
        let tickets = || self.commits.iter().take(count).flat_map(|commit| &commit.tickets);
        let is_marked = |(ticket, result): &&Answerable| ticket.in_flight && result.is_ok();
        let ended = tickets().filter(is_marked).count();
        if central.publish(slot, &published, u16::try_from(ended).unwrap_or(u16::MAX))?.is_ok() {
            for commit in self.commits.drain(..count) {
                central.record(LatencyPhase::Publish, commit.since);
                self.answer_bytes -= answer_bytes(&commit.tickets);
                answerable.extend(commit.tickets);
            }
        }
        Ok(answerable)
    }
}

/// Returns true if the answer relies on what is stored. A batch that was stored before is
/// acknowledged again, also by the number of the next batch of its session, and it may not be
/// durable yet.
fn acknowledges((_, result): &Answerable) -> bool {
    matches!(result, Ok(_) | Err(Rejected::Key(_)))
}

fn answer_bytes(tickets: &[Answerable]) -> usize {
    tickets.iter().map(|(ticket, _)| ticket.request.answer_bytes()).sum()
}
