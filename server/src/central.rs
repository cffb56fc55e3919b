//! The central: the one place that knows the shared state and the storage together, and keeps them in step.
//!
//! A batch goes through three moments: it *begins* (its type byte was read: the agency is in flight), it is *stored* (in the files,
//! under the ledger's lock), and it is *published* (durable as promised, its winners counted and its mark released, together). Only
//! then is it answered. A worker may be killed between any two of them; [`Central::repair`] finishes or forgets what it left.

mod draw;
mod shared;

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conventions::log_line::{Outcome, warn};
use lottery::{Bet, Results, is_winner, write_rows, write_winner_line};
use multiprocessing::{LockError, LockFailure, LockGuard, ValueGuard};

pub use shared::{NAME_PREFIX, Phase, Shared, WorkerState};

use crate::storage::{Batch, Draw, Durability, Ledger, LedgerWords, Storage, StorageError, empty};

/// How long the supervisor waits for a lock in one attempt to repair. Living workers hold locks for microseconds, or for the time
/// of one `fdatasync`; one that was stopped (SIGSTOP) while holding one must not stop the supervisor too.
const REPAIR_PATIENCE: Duration = Duration::from_millis(250);

/// Why the central could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CentralError {
    /// The files could not be written or read for this one request or draw, of which nothing is stored; the central goes on.
    #[error("{0}")]
    NotStored(StorageError),
    /// The draw is held or about to be: no more bets.
    #[error("the bets are closed: every expected agency has finished")]
    Closed,
    /// The result of the draw cannot be read; the central goes on.
    #[error("the winners of agency {agency} cannot be read: {source}")]
    Draw {
        /// Whose winners.
        agency: u16,
        /// What the file system says.
        source: io::Error,
    },
    /// The batch could not be written as rows.
    #[error("not stored: {0}")]
    Rows(#[from] csv::Error),
    /// The storage or the shared memory cannot be relied on any more: the process must end.
    #[error("{0}")]
    Storage(StorageError),
    /// A sync failed, here or in another worker: what is on disk is unknown.
    #[error("the storage failed to become durable; restart the central to recover it")]
    NotDurable,
    /// A lock cannot be had.
    #[error("shared memory: {0}")]
    Lock(#[from] LockFailure),
    /// A living process held a lock for too long.
    #[error("shared memory: a living process holds the lock of {0} and does not give it back")]
    Busy(&'static str),
}

impl CentralError {
    /// Whether only this request failed and the process may go on.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::NotStored(_) | Self::Closed | Self::Draw { .. } | Self::Rows(_))
    }
}

/// One process's access to the central.
#[derive(Debug)]
pub struct Central {
    shared: Shared,
    storage: Storage,
    /// The totals after the last batch this process stored and has not published.
    unpublished: Option<Ledger>,
    /// This process has noted agencies as finished and not made that durable.
    unsynced: bool,
    /// The result of the draw, once it was held and somebody asked.
    draw: Option<Draw>,
    /// Reused for the rows of a batch.
    rows: Vec<u8>,
    /// Reused for the winner lines of a batch.
    lines: Vec<u8>,
}

impl Central {
    /// Brings shared state and storage together, at the start of a central: what is stored is published.
    ///
    /// `agencies`: how many distinct ones the draw waits for.
    ///
    /// # Errors
    /// [`CentralError::Lock`]; [`CentralError::Storage`] when the result of an earlier draw does not fit the bets.
    pub fn new(
        shared: Shared,
        storage: Storage,
        ledger: Ledger,
        agencies: u16,
    ) -> Result<Self, CentralError> {
        shared.ledger.set(ledger.into())?;
        shared.winners.set(ledger.winners)?;
        shared.bets.store(ledger.bets);
        shared.durable.store(ledger.batches);
        shared.expected.store(agencies.into());
        shared.finished.store(storage.count_finished().map_err(CentralError::Storage)?);
        let draw = storage.draw_over(ledger.bets).map_err(CentralError::Storage)?;
        shared.drawn.store(draw.is_some().into());
        let (rows, lines) = (Vec::new(), Vec::new());
        Ok(Self { shared, storage, unpublished: None, unsynced: false, draw, rows, lines })
    }

    /// The shared state, for the marks that concern neither bets nor winners.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// A batch begins in worker `slot`: its agency is in flight.
    pub fn begin(&self, slot: usize) {
        self.shared.begin_batch(slot);
    }

    /// A batch of worker `slot` ends with nothing stored.
    pub fn abandon(&self, slot: usize) {
        self.shared.end_batches(slot, 1);
    }

    /// Stores a batch and returns its winners. It counts once [`publish`](Self::publish) has run.
    ///
    /// # Errors
    /// [`CentralError::Closed`] once the draw is due, [`CentralError::NotStored`] when nothing was stored and the central can go
    /// on; otherwise the process must end.
    pub fn store<'a>(&mut self, bets: &[Bet<'a>]) -> Result<Vec<Bet<'a>>, CentralError> {
        let winners: Vec<_> = bets.iter().filter(|bet| is_winner(bet)).copied().collect();
        // Nobody waits while the rows are made: the lock comes after.
        empty(&mut self.rows);
        write_rows(bets, &mut self.rows)?;
        empty(&mut self.lines);
        winners.iter().for_each(|bet| write_winner_line(bet, &mut self.lines));
        let batch = Batch {
            rows: &self.rows,
            lines: &self.lines,
            bets: bets.len() as u64,
            winners: winners.len() as u64,
        };
        let mut guard = lock_ledger(&self.shared, &self.storage)?;
        self.still_reliable()?;
        if self.is_closed() {
            return Err(CentralError::Closed);
        }
        match self.storage.append(Ledger::from(*guard), &batch) {
            Ok(after) => {
                *guard = after.into();
                self.unpublished = Some(after);
                Ok(winners)
            }
            Err(error @ StorageError::NotDurable { .. }) => Err(self.no_longer_reliable(error)),
            Err(error) => match self.storage.recover(false) {
                Ok(recovery) => {
                    *guard = recovery.ledger.into();
                    Err(CentralError::NotStored(error))
                }
                Err(fatal) => {
                    // The lock dies with this process, and whoever gets it next is told to recover.
                    std::mem::forget(guard);
                    Err(CentralError::Storage(fatal))
                }
            },
        }
    }

    /// Publishes everything stored so far: makes it durable as promised, counts its winners and releases `ended` marks of worker
    /// `slot`, together. After that the batches may be answered.
    ///
    /// # Errors
    /// The process must end.
    pub fn publish(&mut self, slot: usize, ended: u16) -> Result<(), CentralError> {
        if std::mem::take(&mut self.unsynced) {
            self.make_finished_durable()?;
        }
        let Some(stored) = self.unpublished.take() else { return Ok(()) };
        let published = self.make_durable(stored)?;
        let mut winners = owned_or_whole(self.shared.winners.lock())?;
        raise(&mut winners, published.winners);
        self.shared.bets.fetch_max(published.bets);
        // Killed from here on, this worker leaves marks that the supervisor takes back. In the other order it could leave
        // winners uncounted with nobody in flight, and a total without them would be answered.
        self.shared.end_batches(slot, ended);
        Ok(())
    }

    /// The state of the lottery now. Winners and in-flight marks belong to the same moment.
    ///
    /// # Errors
    /// [`CentralError::Lock`].
    pub fn results(&self) -> Result<Results, CentralError> {
        let winners = owned_or_whole(self.shared.winners.lock())?;
        Ok(Results { winners: *winners, in_flight: self.shared.agencies_in_flight() })
    }

    /// Puts right what a dead worker left: recovers the storage if it died while writing, publishes what it had stored, and
    /// takes its agencies out of flight. For the supervisor; waits for living workers a limited time only.
    ///
    /// # Errors
    /// [`CentralError`]. With [`CentralError::Busy`] nothing is done: as long as what the dead one had stored is not counted, its
    /// agencies must be in flight, or a total would be answered that is too low. Otherwise they are out of flight all the same.
    pub fn repair(&self, slot: usize) -> Result<(), CentralError> {
        self.shared.worker_state.store(slot, WorkerState::Dead as u8);
        let published = self.publish_for_the_dead();
        if let Err(CentralError::Busy(_)) = published {
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

    fn publish_for_the_dead(&self) -> Result<(), CentralError> {
        let stored = {
            let guard = match self.shared.ledger.lock_timeout(REPAIR_PATIENCE) {
                Ok(guard) => guard.ok_or(CentralError::Busy("ledger"))?,
                Err(error) => recovered(error, &self.shared, &self.storage)?,
            };
            Ledger::from(*guard)
        };
        self.still_reliable()?;
        if self.storage.durability() == Durability::Disk {
            // Whoever syncs meanwhile does no harm: both make durable what both have seen.
            self.sync(stored)?;
        }
        let winners = self.shared.winners.lock_timeout(REPAIR_PATIENCE);
        let mut winners = match winners {
            Ok(guard) => guard.ok_or(CentralError::Busy("winners"))?,
            Err(error) => owned_or_whole(Err(error))?,
        };
        raise(&mut winners, stored.winners);
        self.shared.bets.fetch_max(stored.bets);
        Ok(())
    }

    /// Ends the storage in order, when every worker is gone: the next start has nothing to recover.
    ///
    /// # Errors
    /// [`CentralError`].
    pub fn close(&self) -> Result<(), CentralError> {
        self.still_reliable()?;
        let mut guard = lock_ledger(&self.shared, &self.storage)?;
        *guard =
            self.storage.checkpoint(Ledger::from(*guard)).map_err(CentralError::Storage)?.into();
        Ok(())
    }

    /// Makes at least the batches up to `stored` durable, if that is promised, and returns up to where they are. One sync serves
    /// every batch that was appended when it began: whoever had to wait for it finds its own done.
    fn make_durable(&self, stored: Ledger) -> Result<Ledger, CentralError> {
        if self.storage.durability() == Durability::Process {
            return Ok(stored);
        }
        let _syncing = self.lock_sync()?;
        self.still_reliable()?;
        if self.shared.durable.load() >= stored.batches {
            return Ok(stored);
        }
        let appended = Ledger::from(self.shared.ledger.get());
        self.sync(appended)?;
        Ok(appended)
    }

    /// Makes everybody who was noted as finished durable, if that is promised.
    fn make_finished_durable(&self) -> Result<(), CentralError> {
        if self.storage.durability() == Durability::Process {
            return Ok(());
        }
        let _syncing = self.lock_sync()?;
        // All processes share the file, and the kernel tells one of them of a page it has lost: whoever was told has said so.
        self.still_reliable()?;
        self.storage.sync_finished().map_err(|error| self.no_longer_reliable(error))
    }

    fn lock_sync(&self) -> Result<LockGuard<'_>, CentralError> {
        match self.shared.sync.lock() {
            Ok(guard) => Ok(guard),
            // The lock guards no data.
            Err(LockError::OwnerDied(inherited)) => Ok(inherited.repaired()),
            Err(LockError::Failed(failure)) => Err(failure.into()),
        }
    }

    fn sync(&self, appended: Ledger) -> Result<(), CentralError> {
        self.storage.sync().map_err(|error| self.no_longer_reliable(error))?;
        self.shared.durable.fetch_max(appended.batches);
        Ok(())
    }

    /// Whether no sync has failed so far, in any process.
    fn still_reliable(&self) -> Result<(), CentralError> {
        if self.shared.storage_failed.load() == 0 { Ok(()) } else { Err(CentralError::NotDurable) }
    }

    /// A sync has failed: everybody must know, for the next one would succeed without what was lost.
    fn no_longer_reliable(&self, error: StorageError) -> CentralError {
        self.shared.storage_failed.store(1);
        CentralError::Storage(error)
    }
}

/// Locks the ledger; after a dead holder, first finds out from the files what is stored and who has finished.
fn lock_ledger<'a>(
    shared: &'a Shared,
    storage: &Storage,
) -> Result<ValueGuard<'a, LedgerWords>, CentralError> {
    shared.ledger.lock().or_else(|error| recovered(error, shared, storage))
}

fn recovered<'a>(
    error: LockError<ValueGuard<'a, LedgerWords>>,
    shared: &Shared,
    storage: &Storage,
) -> Result<ValueGuard<'a, LedgerWords>, CentralError> {
    match error {
        LockError::OwnerDied(mut inherited) => {
            let recovery = storage.recover(false).map_err(CentralError::Storage)?;
            shared.finished.store(storage.count_finished().map_err(CentralError::Storage)?);
            **inherited = recovery.ledger.into();
            warn("recuperacion", Outcome::Success)
                .with("motivo", "un proceso murio con el candado del almacenamiento")
                .with("apuestas", recovery.ledger.bets)
                .with("bytes_descartados", recovery.cut)
                .write();
            Ok(inherited.repaired())
        }
        LockError::Failed(failure) => Err(failure.into()),
    }
}

/// The guard, also after a dead holder: a value is whole whoever died, and nothing else hangs on these locks.
fn owned_or_whole<'a, T: multiprocessing::Shareable>(
    locked: Result<ValueGuard<'a, T>, LockError<ValueGuard<'a, T>>>,
) -> Result<ValueGuard<'a, T>, CentralError> {
    match locked {
        Ok(guard) => Ok(guard),
        Err(LockError::OwnerDied(inherited)) => Ok(inherited.repaired()),
        Err(LockError::Failed(failure)) => Err(failure.into()),
    }
}

/// Raises the winners to `winners`, which another process may have done already, at once.
fn raise(current: &mut ValueGuard<'_, u64>, winners: u64) {
    if **current < winners {
        **current = winners;
        current.commit();
    }
}

/// Milliseconds since 1970, for the shared state.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
