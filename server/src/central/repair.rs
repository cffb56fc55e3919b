//! What the supervisor changes in the shared state: the repair after a dead worker, and the number
//! of agencies that the draw waits for.

use std::time::Duration;

use super::publish::raise;
use super::{Central, Fatal, Files, RepairError, Shared, WorkerState};
use crate::roster::Roster;
use crate::storage::Ledger;

/// How long one attempt to repair waits for a lock. Running workers hold locks for microseconds,
/// or for the time of one `fdatasync`. A worker that was stopped (SIGSTOP) while it holds a lock
/// must not block the supervisor.
const LOCK_TIMEOUT: Duration = Duration::from_millis(250);

impl Shared {
    /// Removes what a dead worker has left in its slot.
    pub fn clear_worker(&self, slot: usize) {
        self.end_all_batches(slot);
        self.worker_connections.store(slot, 0);
        self.worker_waiting.store(slot, 0);
        self.worker_on_disk.store(slot, 0);
        self.worker_awaits_sync.store(slot, 0);
        self.worker_full.store(slot, 0);
        self.worker_without_engine.store(slot, 0);
        if self.draw_owner.load() == slot as u32 + 1 {
            self.draw_owner.store(0);
        }
    }
}

impl Central<Files> {
    /// Repairs what a dead worker left: recovers the storage if the worker died while writing,
    /// publishes what it had committed, and takes its agencies out of flight.
    ///
    /// After [`RepairError::Busy`] the agencies stay in flight and the repair must be retried:
    /// until the batches of the dead worker are counted, a query must not be answered with a total.
    /// After [`RepairError::Fatal`] the agencies are out of flight nevertheless.
    pub fn repair(&self, slot: usize) -> Result<(), RepairError> {
        self.shared.worker_state.store(slot, WorkerState::Dead as u8);
        let published = self.publish_committed();
        // The dead worker may have synced for others.
        self.wake_waiters();
        if let Err(RepairError::Busy(_)) = published {
            return published;
        }
        self.shared.clear_worker(slot);
        published
    }

    fn publish_committed(&self) -> Result<(), RepairError> {
        let committed = Ledger::from(*self.lock_ledger(LOCK_TIMEOUT)??);
        self.check_durability()?;
        self.make_durable(committed.records, LOCK_TIMEOUT)??;
        let mut winners = self.lock_winners(LOCK_TIMEOUT)??;
        raise(&mut winners, committed.winners);
        self.shared.bets.fetch_max(committed.bets);
        Ok(())
    }

    /// Changes the number of agencies that the draw waits for, and the roster. Returns false if
    /// bets are closed, in which case both stay: the draw covers the bets that were stored when
    /// these agencies closed them.
    pub fn expect(&mut self, agencies: u16, roster: Option<Roster>) -> Result<bool, RepairError> {
        {
            let _guard = self.lock_ledger(LOCK_TIMEOUT)??;
            if self.is_closed() {
                return Ok(false);
            }
            let finished = self.store.storage.finished_agencies().map_err(Fatal::from)?;
            self.shared.set_roster(roster.iter().flat_map(Roster::numbers));
            self.shared.expected.store(agencies.into());
            self.shared.set_finished(finished.into_iter());
        }
        self.roster = roster;
        Ok(true)
    }
}
