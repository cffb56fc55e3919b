//! Publishing: what was committed becomes durable as promised, then visible to every process.

use multiprocessing::{LockError, LockGuard, ValueGuard};

use super::{Central, Fatal, Shared, take_over};
use crate::storage::{Durability, Ledger, StorageError};

impl Central {
    /// Publishes everything that this process has committed: makes it durable as promised, then
    /// counts its winners and releases `ended` marks of worker `slot`, together. After that, the
    /// caller may acknowledge it.
    pub fn publish(&mut self, slot: usize, ended: u16) -> Result<(), Fatal> {
        let Some(committed) = self.unpublished.take() else { return Ok(()) };
        let published = self.make_durable(committed)?;
        let mut winners = take_over(self.shared.winners.lock())?;
        raise(&mut winners, published.winners);
        self.shared.bets.fetch_max(published.bets);
        // If this worker is killed from here on, the supervisor releases its marks. In the other
        // order, winners could be uncounted while no agency is in flight, and a query would be
        // answered with a total that lacks them.
        self.shared.end_batches(slot, ended);
        Ok(())
    }

    /// Makes at least the records up to `committed` durable, if that is promised. Returns the
    /// totals up to which batches may be published.
    ///
    /// This is a group commit across workers: one sync serves every batch that was appended when it
    /// began, so a process that had to wait for the lock usually finds its own batches durable.
    pub(super) fn make_durable(&self, committed: Ledger) -> Result<Ledger, Fatal> {
        if self.storage.durability() == Durability::Process {
            return Ok(committed);
        }
        let _syncing = self.lock_sync()?;
        self.check_durability()?;
        if self.shared.durable.load() >= committed.records {
            return Ok(committed);
        }
        let appended = Ledger::from(self.shared.ledger.get());
        self.sync(appended)?;
        Ok(appended)
    }

    fn lock_sync(&self) -> Result<LockGuard<'_>, Fatal> {
        match self.shared.sync.lock() {
            Ok(guard) => Ok(guard),
            // The lock guards no data.
            Err(LockError::OwnerDied(inherited)) => Ok(inherited.repaired()),
            Err(LockError::Failed(failure)) => Err(failure.into()),
        }
    }

    /// Syncs the journal, which holds everything up to `appended`.
    pub(super) fn sync(&self, appended: Ledger) -> Result<(), Fatal> {
        self.storage.sync().map_err(|error| durability_lost(&self.shared, error))?;
        self.shared.durable.fetch_max(appended.records);
        Ok(())
    }

    /// Fails if a sync has failed, in any process.
    pub(super) fn check_durability(&self) -> Result<(), Fatal> {
        if self.shared.storage_failed.load() == 0 { Ok(()) } else { Err(Fatal::NotDurable) }
    }
}

/// Records for all processes that a sync has failed. A later sync would succeed although the data
/// is lost.
pub(super) fn durability_lost(shared: &Shared, error: StorageError) -> Fatal {
    shared.storage_failed.store(1);
    error.into()
}

/// Raises the winners to `winners`, in one step. Another process may have raised them further
/// already.
pub(super) fn raise(current: &mut ValueGuard<'_, u64>, winners: u64) {
    if **current < winners {
        **current = winners;
        current.commit();
    }
}
