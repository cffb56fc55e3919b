//! The central: one process's access to the shared state and the storage, which it keeps
//! consistent.
//!
//! A batch passes four points. It *begins* when its first bytes identify it as a batch: from then
//! on its agency is in flight. It is *committed* to the files under the ledger's lock. It is
//! *published*: first it becomes durable as promised, then its winners are counted and its
//! in-flight mark is released, together. Only then is it acknowledged. A worker may be killed
//! between any two of these points. [`Central::repair`] then publishes or discards what it left.

mod agencies;
mod commit;
mod draw;
mod error;
mod identity;
mod operator;
mod publish;
mod repair;
mod shared;

use std::time::{SystemTime, UNIX_EPOCH};

use conventions::log_line::{Outcome, warn};
use lottery::Results;
use multiprocessing::{LockError, Shareable, ValueGuard};

pub use error::{Fatal, Rejected, RepairError};
pub use operator::{Answer, NoAnswer, OperatorCommand};
pub use shared::{NAME_PREFIX, Phase, Shared, WorkerState};

use crate::roster::Roster;
use crate::storage::{Draw, Ledger, LedgerWords, Storage};

/// One process's access to the central.
#[derive(Debug)]
pub struct Central {
    shared: Shared,
    storage: Storage,
    /// The agencies that may take part, and from where; `None` if any agency may.
    roster: Option<Roster>,
    /// The totals after the last batch that this process has committed but not published.
    unpublished: Option<Ledger>,
    /// True while this process has marked agencies as finished but not made the marks durable.
    unsynced: bool,
    /// The result of the draw, once this process has opened it.
    draw: Option<Draw>,
}

impl Central {
    /// Initializes the shared state of a starting central from its storage.
    ///
    /// `agencies` is the number of distinct agencies that the draw waits for. With a roster, it
    /// waits for exactly these.
    pub fn new(
        shared: Shared,
        storage: Storage,
        ledger: Ledger,
        agencies: u16,
        roster: Option<Roster>,
    ) -> Result<Self, Fatal> {
        shared.ledger.set(ledger.into())?;
        shared.winners.set(ledger.winners)?;
        shared.bets.store(ledger.bets);
        shared.durable.store(ledger.batches);
        shared.expected.store(agencies.into());
        shared.set_roster(roster.iter().flat_map(Roster::numbers));
        shared.set_finished(storage.finished_agencies()?.into_iter());
        let draw = storage.draw_over(ledger.bets)?;
        shared.drawn.store(draw.is_some().into());
        Ok(Self { shared, storage, roster, unpublished: None, unsynced: false, draw })
    }

    /// Returns the shared state, for the numbers that concern neither bets nor winners.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Begins a batch in worker `slot`: its agency is in flight from now on.
    pub fn begin(&self, slot: usize) {
        self.shared.begin_batch(slot);
    }

    /// Releases the in-flight mark of a batch of worker `slot` that is not stored.
    pub fn abandon(&self, slot: usize) {
        self.shared.end_batches(slot, 1);
    }

    /// Returns the state of the lottery now. Winners and in-flight marks belong to the same moment.
    pub fn results(&self) -> Result<Results, Fatal> {
        let winners = take_over(self.shared.winners.lock())?;
        Ok(Results { winners: *winners, in_flight: self.shared.agencies_in_flight() })
    }

    /// Closes the storage after every worker has exited, so that the next start has nothing to
    /// recover.
    pub fn close(&self) -> Result<(), Fatal> {
        self.check_durability()?;
        let mut guard = lock_ledger(&self.shared, &self.storage)?;
        *guard = self.storage.checkpoint(Ledger::from(*guard))?.into();
        Ok(())
    }
}

/// Locks the ledger. If the previous owner died, first recovers the ledger and the number of
/// finished agencies from the files.
fn lock_ledger<'a>(
    shared: &'a Shared,
    storage: &Storage,
) -> Result<ValueGuard<'a, LedgerWords>, Fatal> {
    shared.ledger.lock().or_else(|error| recover_ledger(error, shared, storage))
}

/// Recovers the ledger of a dead owner from the files and returns its guard.
fn recover_ledger<'a>(
    error: LockError<ValueGuard<'a, LedgerWords>>,
    shared: &Shared,
    storage: &Storage,
) -> Result<ValueGuard<'a, LedgerWords>, Fatal> {
    match error {
        LockError::OwnerDied(mut inherited) => {
            let recovery = storage.recover(false)?;
            shared.set_finished(storage.finished_agencies()?.into_iter());
            **inherited = recovery.ledger.into();
            warn("recovery", Outcome::Success)
                .with("reason", "a process died while it held the storage lock")
                .with("bets", recovery.ledger.bets)
                .with("discarded_bytes", recovery.cut)
                .write();
            Ok(inherited.repaired())
        }
        LockError::Failed(failure) => Err(failure.into()),
    }
}

/// Returns the guard of a value, even if its previous owner died: the value is still whole, and
/// its lock guards nothing else.
fn take_over<'a, T: Shareable>(
    locked: Result<ValueGuard<'a, T>, LockError<ValueGuard<'a, T>>>,
) -> Result<ValueGuard<'a, T>, Fatal> {
    match locked {
        Ok(guard) => Ok(guard),
        Err(LockError::OwnerDied(inherited)) => Ok(inherited.repaired()),
        Err(LockError::Failed(failure)) => Err(failure.into()),
    }
}

/// Returns the milliseconds since 1970, as the shared state stores times.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
