//! Repair after a dead worker, by the supervisor.

use std::time::Duration;

use super::publish::raise;
use super::{Central, RepairError, WorkerState, recover_ledger, take_over};
use crate::storage::{Durability, Ledger};

/// How long one attempt to repair waits for a lock. Living workers hold locks for microseconds, or
/// for the time of one `fdatasync`. A worker that was stopped (SIGSTOP) while it holds one must not
/// stop the supervisor too.
const PATIENCE: Duration = Duration::from_millis(250);

impl Central {
    /// Repairs what a dead worker left: recovers the storage if it died while writing, publishes
    /// what it had committed, and takes its agencies out of flight.
    ///
    /// After [`RepairError::Busy`] nothing is done. The agencies must stay in flight until the
    /// batches of the dead worker are counted, or a query would be answered with a total that is
    /// too low. After [`RepairError::Fatal`] they are out of flight all the same.
    pub fn repair(&self, slot: usize) -> Result<(), RepairError> {
        self.shared.worker_state.store(slot, WorkerState::Dead as u8);
        let published = self.publish_for_the_dead();
        if let Err(RepairError::Busy(_)) = published {
            return published;
        }
        self.shared.end_all_batches(slot);
        self.shared.worker_connections.store(slot, 0);
        self.shared.worker_waiting.store(slot, 0);
        if self.shared.draw_owner.load() == slot as u32 + 1 {
            self.leave_draw();
        }
        published
    }

    fn publish_for_the_dead(&self) -> Result<(), RepairError> {
        let committed = {
            let guard = match self.shared.ledger.lock_timeout(PATIENCE) {
                Ok(guard) => guard.ok_or(RepairError::Busy("ledger"))?,
                Err(error) => recover_ledger(error, &self.shared, &self.storage)?,
            };
            Ledger::from(*guard)
        };
        self.check_durability()?;
        if self.storage.durability() == Durability::Disk {
            // Without the lock of `sync`: two syncs at the same time do no harm.
            self.sync(committed)?;
        }
        let mut winners = match self.shared.winners.lock_timeout(PATIENCE) {
            Ok(guard) => guard.ok_or(RepairError::Busy("winners"))?,
            Err(error) => take_over(Err(error))?,
        };
        raise(&mut winners, committed.winners);
        self.shared.bets.fetch_max(committed.bets);
        Ok(())
    }
}
