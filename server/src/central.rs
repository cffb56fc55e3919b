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
mod failure;
mod heartbeat;
mod identity;
mod listening;
mod locks;
mod names;
mod operator;
mod publish;
mod repair;
mod shared;
mod wakers;

use std::time::{SystemTime, UNIX_EPOCH};

use lottery::Results;

pub use commit::{Accepted, SessionQuestion};
pub use error::{Fatal, Rejected, RepairError};
pub use failure::StorageFailure;
use heartbeat::Heartbeat;
use locks::{Busy, LOCK_TIMEOUT, Waits};
pub use operator::{Answer, NoAnswer, OperatorCommand};
pub use shared::{NAME_PREFIX, Phase, Shared, WorkerState};
pub use wakers::Wakers;

use crate::roster::Roster;
use crate::storage::{Draw, FileError, Ledger, Storage, StorageError};

/// One process's access to the central.
#[derive(Debug)]
pub struct Central {
    shared: Shared,
    storage: Storage,
    /// The agencies that may take part, and from where; `None` if any agency may.
    roster: Option<Roster>,
    /// Wake the workers that wait for the end of a sync.
    wakers: Wakers,
    /// The reason why what this process has committed cannot be published at the moment.
    stalled: Option<Busy>,
    /// How this process waits for locks, and its heartbeat.
    waits: Waits,
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
        let waits = Waits::new(&shared);
        Ok(Self { shared, storage, roster, wakers, stalled: None, waits, draw })
    }

    /// Makes this process the worker in a slot: from now on it shows a heartbeat.
    pub fn become_worker(&mut self, slot: usize) {
        // The supervisor's may have been blocked at the fork, and would shorten this worker's.
        self.waits = Waits::new(&self.shared);
        self.waits.heartbeat.start(slot);
    }

    /// Opens the files of the storage for this worker alone, before it commits anything. Returns
    /// the reason if the operating system refuses that, for example for lack of descriptors.
    pub fn open_again(&mut self) -> Result<Result<(), FileError>, Fatal> {
        self.check_names()?;
        match self.waits.heartbeat.on_disk(|| self.storage.open_again()) {
            Err(StorageError::File(refused)) => Ok(Err(refused)),
            opened => opened.map(Ok).map_err(|error| self.shared.note_failure(error.into())),
        }
    }

    /// Writes the heartbeat of this worker. The watchdog ends a worker without one.
    pub fn beat(&self) {
        self.waits.heartbeat.beat();
    }

    /// Returns the descriptors that wake workers when a sync has ended.
    pub fn wakers(&self) -> &Wakers {
        &self.wakers
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
        *guard = self.storage.close(Ledger::from(*guard))?.into();
        Ok(())
    }
}

/// Returns the milliseconds since 1970, as the shared state stores times.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
