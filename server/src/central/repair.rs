//! What the supervisor changes in the shared state: the repair after a dead worker, and the number
//! of agencies that the draw waits for.

use std::time::Duration;

use super::publish::raise;
use super::{Central, RepairError, WorkerState};
use crate::storage::Ledger;

/// How long one attempt to repair waits for a lock. Running workers hold locks for microseconds,
/// or for the time of one `fdatasync`. A worker that was stopped (SIGSTOP) while it holds a lock
/// must not block the supervisor.
const LOCK_TIMEOUT: Duration = Duration::from_millis(250);

impl Central {
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
        self.shared.end_all_batches(slot);
        self.shared.worker_connections.store(slot, 0);
        self.shared.worker_waiting.store(slot, 0);
        self.shared.worker_on_disk.store(slot, 0);
        self.shared.worker_awaits_sync.store(slot, 0);
        self.shared.worker_full.store(slot, 0);
        if self.shared.draw_owner.load() == slot as u32 + 1 {
            self.give_up_draw();
        }
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
}
