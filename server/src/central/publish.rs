//! Publishing: what was committed becomes durable as promised, then visible to every process.
//!
//! Syncs are a group commit across workers: one process syncs at a time, for every batch that was
//! appended when it began. The other workers go on serving meanwhile. They are woken when the sync
//! has ended: then their batches are durable, or one of them syncs next.

use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, warn};
use multiprocessing::ValueGuard;

use super::locks::{Busy, LOCK_TIMEOUT};
use super::{Central, Fatal, Files, LatencyPhase};
use crate::storage::{Durability, Ledger};

impl Central<Files> {
    /// Returns how many records are durable as promised. If those that are `wanted` are not, first
    /// syncs for all processes, unless another process is syncing. Then worker `slot` is woken when
    /// that process has ended.
    pub fn make_durable_or_await(&self, slot: usize, wanted: u64) -> Result<u64, Fatal> {
        if self.store.storage.durability() == Durability::Process {
            return Ok(wanted);
        }
        self.check_durability()?;
        let durable = self.shared.durable.load();
        if durable >= wanted {
            self.shared.worker_awaits_sync.store(slot, 0);
            return Ok(durable);
        }
        self.shared.await_sync(slot);
        let Some(syncing) = self.try_lock_sync()? else { return Ok(self.shared.durable.load()) };
        self.shared.worker_awaits_sync.store(slot, 0);
        let synced = self.sync_appended(wanted);
        drop(syncing);
        self.wake_waiters();
        synced
    }

    /// Returns true if a process syncs, or has died while it did.
    pub fn is_syncing(&self) -> bool {
        self.store.storage.durability() == Durability::Disk && self.shared.sync.holder().is_some()
    }

    /// Returns true if a process syncs. Then worker `slot` is woken when that process has ended.
    pub fn awaits_sync(&self, slot: usize) -> bool {
        self.shared.await_sync(slot);
        self.is_syncing()
    }

    /// Works like [`make_durable_or_await`](Self::make_durable_or_await), but waits at most `limit`
    /// while other processes sync.
    pub fn make_durable(&self, wanted: u64, limit: Duration) -> Result<Result<u64, Busy>, Fatal> {
        if self.store.storage.durability() == Durability::Process {
            return Ok(Ok(wanted));
        }
        let syncing = match self.lock_sync(limit)? {
            Ok(guard) => guard,
            Err(busy) => return Ok(Err(busy)),
        };
        let synced = self.sync_appended(wanted);
        drop(syncing);
        self.wake_waiters();
        synced.map(Ok)
    }

    /// Syncs the journal, which holds every record appended so far, unless those that are `wanted`
    /// are durable. Returns how many are. The caller holds the lock of `sync`.
    fn sync_appended(&self, wanted: u64) -> Result<u64, Fatal> {
        self.check_durability()?;
        let durable = self.shared.durable.load();
        if durable >= wanted {
            return Ok(durable);
        }
        let appended = Ledger::from(self.shared.ledger.get()).records;
        let start = Instant::now();
        let synced = self.waits.heartbeat.on_disk(|| self.store.storage.sync());
        self.record(LatencyPhase::Sync, start);
        synced.map_err(|error| self.shared.note_failure(error.into()))?;
        self.shared.durable.fetch_max(appended);
        Ok(appended)
    }

    /// Syncs the files before the next checkpoint, if this process has made that due. No process
    /// waits for it.
    pub fn sync_early(&mut self) -> Result<(), Fatal> {
        let synced = self.waits.heartbeat.on_disk(|| self.store.storage.sync_early());
        synced.map_err(|error| self.shared.note_failure(error.into()))
    }

    /// Publishes everything up to these totals, which are durable as promised: counts its winners
    /// and releases `ended` marks of worker `slot`, together. After that, the caller may
    /// acknowledge it.
    ///
    /// After [`Busy`] nothing may be acknowledged yet. The caller tries again in the next round,
    /// and until then every commit is refused.
    pub fn publish(
        &mut self,
        slot: usize,
        totals: &Ledger,
        ended: u16,
    ) -> Result<Result<(), Busy>, Fatal> {
        let busy = match self.lock_winners(LOCK_TIMEOUT)? {
            Ok(mut winners) => {
                raise(&mut winners, totals.winners);
                self.shared.bets.fetch_max(totals.bets);
                // If this worker is killed from here on, the supervisor releases its marks. In the
                // other order, winners could be uncounted while no agency is in flight, and a query
                // would be answered with a total that lacks them.
                self.shared.end_batches(slot, ended);
                None
            }
            Err(busy) => Some(busy),
        };
        self.stall(slot, busy);
        Ok(busy.map_or(Ok(()), Err))
    }

    /// Notes that the oldest commit of worker `slot` was made at `since` and is not durable yet. If
    /// that takes too long, every commit is refused until it is published.
    pub fn note_wait(&mut self, slot: usize, since: Instant) {
        let waited = since.elapsed();
        if waited >= LOCK_TIMEOUT {
            self.stall(slot, Some(self.sync_is_busy(waited)));
        }
    }

    fn stall(&mut self, slot: usize, busy: Option<Busy>) {
        if let (Some(busy), None) = (busy, self.store.stalled) {
            warn("publish", Outcome::Fail).with("worker", slot).with("error", busy).write();
        }
        self.store.stalled = busy;
    }
}

impl<S> Central<S> {
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
