//! Taking the locks of the shared state. A lock is waited for with a deadline, since its holder may
//! be alive and stopped, and with a heartbeat, since the waiter is not stuck.

use std::cell::Cell;
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::{Outcome, warn};
use multiprocessing::{Lock, LockError, LockGuard, ValueGuard};
use nix::unistd::Pid;

use super::{Central, Fatal, Files, Heartbeat, Shared};
use crate::storage::{Ledger, LedgerWords, Storage};

/// How long a request waits for a lock of a living process. The watchdog ends a stopped or stuck
/// worker sooner, by default. When the time is over, the request is refused and nothing of it is
/// stored; a batch that is already committed stays unanswered until it can be published.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(15);
/// Time between two heartbeats of a process that waits for a lock.
const BEAT: Duration = Duration::from_millis(100);

/// How long a process waits for a lock if its previous wait has timed out. It serves its other
/// connections in between.
const RETRY_TIMEOUT: Duration = Duration::from_millis(100);

/// A lock was not free in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the lock of {lock} has not been free for {}, process {holder} holds it: send the request again",
    GoDuration(*.waited)
)]
pub struct Busy {
    /// The object that the lock belongs to.
    lock: &'static str,
    /// How long this process has not got it.
    waited: Duration,
    /// Process id of the holder, or 0 if the lock became free meanwhile.
    holder: i32,
}

/// The outcome of waiting for a lock.
pub type Waited<G> = Result<Result<G, Busy>, Fatal>;

/// How this process waits for locks.
#[derive(Debug)]
pub struct Waits {
    /// Heartbeat of this process, which it writes while it waits.
    pub heartbeat: Heartbeat,
    /// Start of the first wait for each lock that has timed out; `None` once the lock is taken.
    ledger: Cell<Option<Instant>>,
    sync: Cell<Option<Instant>>,
    winners: Cell<Option<Instant>>,
}

impl Waits {
    /// Returns the waits of a process that is no worker.
    pub(super) fn new(shared: &Shared) -> Self {
        let heartbeat = Heartbeat::none(shared);
        let (ledger, sync, winners) = Default::default();
        Self { heartbeat, ledger, sync, winners }
    }

    /// Waits for a lock in slices, with a heartbeat between them.
    fn wait<G>(
        &self,
        limit: Duration,
        (name, held, blocked): (&'static str, &Lock, &Cell<Option<Instant>>),
        lock: impl Fn(Duration) -> Result<Option<G>, LockError<G>>,
    ) -> Result<Result<G, Busy>, LockError<G>> {
        let limit = if blocked.get().is_some() { limit.min(RETRY_TIMEOUT) } else { limit };
        let mut slice = limit.min(BEAT);
        let mut start = None;
        loop {
            // Usually the lock is free, or will be within microseconds.
            if let Some(guard) = lock(slice).inspect_err(|_| blocked.set(None))? {
                blocked.set(None);
                return Ok(Ok(guard));
            }
            self.heartbeat.beat();
            let now = Instant::now();
            let start = *start.get_or_insert_with(|| now - slice);
            let left = limit.saturating_sub(now - start);
            if left.is_zero() {
                let since = blocked.get().unwrap_or(start);
                blocked.set(Some(since));
                let holder = held.holder().map_or(0, Pid::as_raw);
                let waited = Duration::from_millis((now - since).as_millis() as u64);
                return Ok(Err(Busy { lock: name, waited, holder }));
            }
            slice = left.min(BEAT);
        }
    }
}

impl Central<Files> {
    /// Locks the ledger, waiting at most `limit`.
    pub(super) fn lock_ledger(&self, limit: Duration) -> Waited<ValueGuard<'_, LedgerWords>> {
        lock_ledger(&self.shared, &self.store.storage, &self.waits, limit)
    }
}

impl<S> Central<S> {
    /// Locks the winners, waiting at most `limit`. The value is whole even if the previous owner
    /// died, and its lock guards nothing else.
    pub(super) fn lock_winners(&self, limit: Duration) -> Waited<ValueGuard<'_, u64>> {
        let winners = &self.shared.winners;
        let lock = ("winners", winners.get_lock(), &self.waits.winners);
        match self.waits.wait(limit, lock, |slice| winners.lock_timeout(slice)) {
            Ok(waited) => Ok(waited),
            Err(LockError::OwnerDied(inherited)) => Ok(Ok(inherited.repaired())),
            Err(LockError::Failed(failure)) => Err(failure.into()),
        }
    }

    /// Takes the lock for syncing if it is free.
    pub(super) fn try_lock_sync(&self) -> Result<Option<LockGuard<'_>>, Fatal> {
        match self.shared.sync.try_lock() {
            Ok(guard) => Ok(guard),
            Err(LockError::OwnerDied(inherited)) => Ok(Some(inherited.repaired())),
            Err(LockError::Failed(failure)) => Err(failure.into()),
        }
    }

    /// Returns the error for a sync that this process has awaited for `waited`.
    pub(super) fn sync_is_busy(&self, waited: Duration) -> Busy {
        let holder = self.shared.sync.holder().map_or(0, Pid::as_raw);
        Busy { lock: "sync", waited: Duration::from_millis(waited.as_millis() as u64), holder }
    }

    /// Takes the lock for syncing, waiting at most `limit`. It guards no data.
    pub(super) fn lock_sync(&self, limit: Duration) -> Waited<LockGuard<'_>> {
        let sync = &self.shared.sync;
        let lock = ("sync", sync, &self.waits.sync);
        match self.waits.wait(limit, lock, |slice| sync.lock_timeout(slice)) {
            Ok(waited) => Ok(waited),
            Err(LockError::OwnerDied(inherited)) => Ok(Ok(inherited.repaired())),
            Err(LockError::Failed(failure)) => Err(failure.into()),
        }
    }
}

impl Shared {
    /// Returns the locks of the shared state with their names.
    pub fn locks(&self) -> [(&'static str, &Lock); 3] {
        [
            ("ledger", self.ledger.get_lock()),
            ("sync", &self.sync),
            ("winners", self.winners.get_lock()),
        ]
    }

    /// Returns the names of the locks that a process holds at this moment.
    pub fn locks_of(&self, pid: Pid) -> Vec<&'static str> {
        let held = self.locks().into_iter().filter(|(_, lock)| lock.holder() == Some(pid));
        held.map(|(name, _)| name).collect()
    }
}

/// Locks the ledger, waiting at most `limit`. If the previous owner died, first recovers the ledger
/// and the number of finished agencies from the files.
pub(super) fn lock_ledger<'a>(
    shared: &'a Shared,
    storage: &Storage,
    waits: &Waits,
    limit: Duration,
) -> Waited<ValueGuard<'a, LedgerWords>> {
    let lock = ("ledger", shared.ledger.get_lock(), &waits.ledger);
    match waits.wait(limit, lock, |slice| shared.ledger.lock_timeout(slice)) {
        Ok(waited) => Ok(waited),
        Err(LockError::OwnerDied(mut inherited)) => {
            let before = Ledger::from(**inherited);
            let recovery = waits.heartbeat.on_disk(|| storage.recover(before));
            let recovery = recovery.map_err(|error| shared.note_failure(error.into()))?;
            shared.set_finished(storage.finished_agencies()?.into_iter());
            **inherited = recovery.ledger.into();
            warn("recovery", Outcome::Success)
                .with("reason", "a process died while it held the storage lock")
                .with("bets", recovery.ledger.bets)
                .with("discarded_bytes", recovery.cut)
                .write();
            Ok(Ok(inherited.repaired()))
        }
        Err(LockError::Failed(failure)) => Err(failure.into()),
    }
}
