//! The central whose bets are in files of its own.

use lottery::Results;

use super::locks::{Busy, LOCK_TIMEOUT};
use super::{Central, Fatal, Rejected, Shared, Wakers};
use crate::roster::Roster;
use crate::storage::{FileError, Ledger, Storage, StorageError};

/// The files, and how the workers share them.
#[derive(Debug)]
pub struct Files {
    pub(super) storage: Storage,
    /// Wake the workers that wait for the end of a sync.
    pub(super) wakers: Wakers,
    /// The reason why what this process has committed cannot be published at the moment.
    pub(super) stalled: Option<Busy>,
}

impl Central<Files> {
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
        wakers: Wakers,
    ) -> Result<Self, Fatal> {
        shared.ledger.set(ledger.into())?;
        shared.winners.set(ledger.winners)?;
        shared.bets.store(ledger.bets);
        shared.durable.store(ledger.records);
        shared.expected.store(agencies.into());
        shared.set_roster(roster.iter().flat_map(Roster::numbers));
        shared.set_finished(storage.finished_agencies()?.into_iter());
        let draw = storage.draw_over(&ledger)?;
        shared.drawn.store(draw.is_some().into());
        let store = Files { storage, wakers, stalled: None };
        Ok(Self { draw, ..Self::with_store(shared, store, roster) })
    }

    /// Opens the files of the storage for this worker alone, before it commits anything. Returns
    /// the reason if the operating system refuses that, for example for lack of descriptors.
    pub fn open_again(&mut self) -> Result<Result<(), FileError>, Fatal> {
        self.check_names()?;
        match self.waits.heartbeat.on_disk(|| self.store.storage.open_again()) {
            Err(StorageError::File(refused)) => Ok(Err(refused)),
            opened => opened.map(Ok).map_err(|error| self.shared.note_failure(error.into())),
        }
    }

    /// Returns the descriptors that wake workers when a sync has ended.
    pub fn wakers(&self) -> &Wakers {
        &self.store.wakers
    }

    /// Returns the state of the lottery now. Winners and in-flight marks belong to the same moment.
    pub fn results(&self) -> Result<Result<Results, Rejected>, Fatal> {
        let locked = self.lock_winners(LOCK_TIMEOUT)?;
        Ok(locked.map_err(Rejected::from).map(|winners| Results {
            winners: *winners,
            in_flight: self.shared.agencies_in_flight(),
        }))
    }

    /// Closes the storage after every worker has exited, so that the next start has nothing to
    /// recover.
    pub fn close(&mut self) -> Result<(), Fatal> {
        self.check_names()?;
        let mut guard = self.lock_ledger(LOCK_TIMEOUT)??;
        *guard = self.store.storage.close(Ledger::from(*guard))?.into();
        Ok(())
    }
}
