//! Publishing: what was committed becomes durable as promised, then visible to every process.

use std::time::Duration;

use conventions::log_line::{Outcome, warn};
use multiprocessing::ValueGuard;

use super::locks::{Busy, LOCK_TIMEOUT};
use super::{Central, Fatal};
use crate::storage::{Durability, Ledger};

impl Central {
    /// Publishes everything that this process has committed: makes it durable as promised, then
    /// counts its winners and releases `ended` marks of worker `slot`, together. After that, the
    /// caller may acknowledge it.
    ///
    /// After [`Busy`] nothing may be acknowledged yet. The caller tries again in the next round,
    /// and until then every commit is refused.
    pub fn publish(&mut self, slot: usize, ended: u16) -> Result<Result<(), Busy>, Fatal> {
        let published = self.try_publish(slot, ended)?;
        let blocked = published.err();
        if let (Some(busy), None) = (blocked, self.stalled) {
            warn("publish", Outcome::Fail).with("worker", slot).with("error", busy).write();
        }
        self.stalled = blocked;
        Ok(published)
    }

    fn try_publish(&mut self, slot: usize, ended: u16) -> Result<Result<(), Busy>, Fatal> {
        let Some(committed) = self.unpublished else { return Ok(Ok(())) };
        let published = match self.make_durable(committed, LOCK_TIMEOUT)? {
            Ok(published) => published,
            Err(busy) => return Ok(Err(busy)),
        };
        let mut winners = match self.lock_winners(LOCK_TIMEOUT)? {
            Ok(winners) => winners,
            Err(busy) => return Ok(Err(busy)),
        };
        raise(&mut winners, published.winners);
        self.shared.bets.fetch_max(published.bets);
        // If this worker is killed from here on, the supervisor releases its marks. In the other
        // order, winners could be uncounted while no agency is in flight, and a query would be
        // answered with a total that lacks them.
        self.shared.end_batches(slot, ended);
        drop(winners);
        self.unpublished = None;
        Ok(Ok(()))
    }

    /// Makes at least the records up to `committed` durable, if that is promised. Returns the
    /// totals up to which batches may be published, unless a lock was not free in time.
    ///
    /// This is a group commit across workers: one sync serves every batch that was appended when it
    /// began, so a process that had to wait for the lock usually finds its own batches durable.
    pub(super) fn make_durable(
        &self,
        committed: Ledger,
        limit: Duration,
    ) -> Result<Result<Ledger, Busy>, Fatal> {
        if self.storage.durability() == Durability::Process {
            return Ok(Ok(committed));
        }
        let _syncing = match self.lock_sync(limit)? {
            Ok(guard) => guard,
            Err(busy) => return Ok(Err(busy)),
        };
        self.check_durability()?;
        if self.shared.durable.load() >= committed.records {
            return Ok(Ok(committed));
        }
        let appended = Ledger::from(self.shared.ledger.get());
        self.sync(appended)?;
        Ok(Ok(appended))
    }

    /// Syncs the journal, which holds everything up to `appended`.
    pub(super) fn sync(&self, appended: Ledger) -> Result<(), Fatal> {
        let synced = self.waits.heartbeat.on_disk(|| self.storage.sync());
        synced.map_err(|error| self.shared.note_failure(error.into()))?;
        self.shared.durable.fetch_max(appended.records);
        Ok(())
    }

    /// Fails if the storage cannot be used any more, as any process has found.
    pub(super) fn check_durability(&self) -> Result<(), Fatal> {
        self.shared.storage_failure().map_or(Ok(()), |failure| Err(Fatal::Failed(failure)))
    }
}

/// Raises the winners to `winners`, in one step. Another process may have raised them further
/// already.
pub(super) fn raise(current: &mut ValueGuard<'_, u64>, winners: u64) {
    if **current < winners {
        **current = winners;
        current.commit();
    }
}
