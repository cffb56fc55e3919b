//! The commit: all batches and finish marks of a round, under one lock of the ledger.
//!
//! A batch with a key is stored once. The key is judged under the lock, so of two copies of a batch
//! that arrive at the same time one is stored and the other is acknowledged as stored before.

use std::time::Duration;

use conventions::log_line::{Outcome, info};
use lottery::Results;
use multiprocessing::ValueGuard;

use super::locks::{Busy, LOCK_TIMEOUT, lock_ledger};
use super::{Central, Fatal, Files, Rejected, Shared};
use crate::storage::{Batches, FileError, Group, Judgement, Ledger, LedgerWords, Storage};

/// How long a test of a disk that refuses batches waits for the lock.
const RETRY_TIMEOUT: Duration = Duration::from_millis(100);

/// What became of a batch or finish mark that may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// This commit has stored it.
    Stored,
    /// It is a repetition: an earlier commit has stored it.
    StoredBefore,
    /// The number of the next batch of a session.
    Next(u64),
    /// The state of the lottery.
    Results(Results),
}

/// A session and its agency: the question for the number of its next batch.
pub type SessionQuestion = ([u8; 16], u16);

/// The results of a commit. Nothing may be acknowledged before it is published.
#[derive(Debug)]
pub struct Committed {
    /// One result per batch of the group, in order.
    pub batches: Vec<Result<Accepted, Rejected>>,
    /// One result per agency, in order.
    pub finished: Vec<Result<Accepted, Rejected>>,
    /// One result per session, in order.
    pub sessions: Vec<Result<Accepted, Rejected>>,
    /// The totals after the commit. What it acknowledges may be acknowledged once they are
    /// published.
    pub totals: Ledger,
}

impl Central<Files> {
    /// Stores the batches of a group, marks agencies as finished, then looks up sessions. All of it
    /// counts once it is [published](Self::publish).
    ///
    /// Each batch is stored whole or not at all. If the group cannot be stored together, for
    /// example because the disk is nearly full, each batch is tried alone. Marking an agency again
    /// changes nothing. If a living process does not release the lock in time, or what was
    /// committed before cannot be published, all of it is refused.
    pub fn commit(
        &mut self,
        group: &Group,
        agencies: &[u16],
        sessions: &[SessionQuestion],
    ) -> Result<Committed, Fatal> {
        let refused = |busy| Ok(Committed::refused(group, agencies, sessions, busy));
        if let Some(busy) = self.store.stalled {
            return refused(busy);
        }
        let locked = lock_ledger(&self.shared, &self.store.storage, &self.waits, LOCK_TIMEOUT)?;
        let mut guard = match locked {
            Ok(guard) => guard,
            Err(busy) => return refused(busy),
        };
        self.check_durability()?;
        let before = Ledger::from(*guard);
        let batches = if self.is_closed() {
            group.all().one_by_one().map(|batch| self.recognize(batch)).collect()
        } else {
            let (shared, storage) = (&self.shared, &mut self.store.storage);
            let stored = || store(shared, storage, &mut guard, group.all());
            match self.waits.heartbeat.on_disk(stored) {
                Ok(results) => results,
                Err(fatal) => {
                    // The ledger may no longer match the files. Without an unlock, the lock stays
                    // held until this process exits, and the next owner recovers.
                    std::mem::forget(guard);
                    return Err(fatal);
                }
            }
        };
        let mut finished = Vec::with_capacity(agencies.len());
        for agency in agencies {
            let (shared, storage) = (&self.shared, &mut self.store.storage);
            let marked = || mark_finished(shared, storage, &mut guard, *agency);
            match self.waits.heartbeat.on_disk(marked) {
                Ok(result) => {
                    finished.push(result.map(|()| Accepted::Stored).map_err(Rejected::from));
                }
                Err(fatal) => {
                    std::mem::forget(guard);
                    return Err(fatal);
                }
            }
        }
        let next = |(session, agency): &SessionQuestion| {
            Ok(Accepted::Next(self.store.storage.next_sequence(session, *agency)??))
        };
        let sessions = sessions.iter().map(next).collect();
        let totals = Ledger::from(*guard);
        let committed = Committed { batches, finished, sessions, totals };
        committed.record_refusal(&self.shared);
        drop(guard);
        self.waits.heartbeat.on_disk(|| self.store.storage.start_writing(&before, &totals));
        Ok(committed)
    }

    /// Returns the result of a batch that arrives after bets have closed: it is accepted only if it
    /// is stored already. The caller holds the ledger's lock.
    fn recognize(&self, batch: Batches<'_>) -> Result<Accepted, Rejected> {
        match judge(&self.store.storage, batch)? {
            Judgement::Repeated => Ok(Accepted::StoredBefore),
            _ if self.was_drawn() => Err(Rejected::Drawn),
            _ => Err(Rejected::Closed),
        }
    }

    /// Records in the shared state whether a disk that has refused a batch takes writes again, by
    /// writing bytes behind the stored rows and removing them, as a refused batch does.
    pub fn retry_disk(&self) -> Result<(), Fatal> {
        let Ok(guard) = self.lock_ledger(RETRY_TIMEOUT)? else { return Ok(()) };
        match self.waits.heartbeat.on_disk(|| self.store.storage.try_room(&Ledger::from(*guard))) {
            Ok(refused) => {
                self.shared.disk_refused.store(refused.map_or(0, |error| error.errno()));
                Ok(())
            }
            Err(error) => {
                // The next owner must recover, as after a failed commit.
                std::mem::forget(guard);
                Err(error.into())
            }
        }
    }
}

impl Committed {
    /// Returns a commit in which everything is refused.
    fn refused(group: &Group, agencies: &[u16], sessions: &[SessionQuestion], busy: Busy) -> Self {
        let refuse = |count| (0..count).map(|_| Err(busy.into())).collect();
        Self {
            batches: refuse(group.len()),
            finished: refuse(agencies.len()),
            sessions: refuse(sessions.len()),
            totals: Ledger::default(),
        }
    }

    /// Records in the shared state whether the disk took this commit. The caller holds the ledger's
    /// lock.
    fn record_refusal(&self, shared: &Shared) {
        let results = || self.batches.iter().chain(&self.finished);
        let refused = results().find_map(|result| match result {
            Err(Rejected::File(error)) => Some(error.errno()),
            _ => None,
        });
        let stored = || results().any(|result| matches!(result, Ok(Accepted::Stored)));
        if refused.is_some() || stored() {
            shared.disk_refused.store(refused.unwrap_or(0));
        }
    }
}

/// Stores batches together, then those that are left one by one: some may not fit on the disk, and
/// some may be stored already. The caller holds the ledger's lock.
fn store(
    shared: &Shared,
    storage: &mut Storage,
    ledger: &mut ValueGuard<'_, LedgerWords>,
    batches: Batches<'_>,
) -> Result<Vec<Result<Accepted, Rejected>>, Fatal> {
    let mut results = Vec::with_capacity(batches.len());
    if batches.len() > 1 && are_new(storage, batches) {
        let (stored, _) = append(shared, storage, ledger, batches)?;
        results.extend((0..stored).map(|_| Ok(Accepted::Stored)));
    }
    for batch in batches.one_by_one().skip(results.len()) {
        results.push(match judge(storage, batch) {
            Ok(Judgement::New) => match append(shared, storage, ledger, batch)? {
                (0, Some(refused)) => Err(refused.into()),
                _ => Ok(Accepted::Stored),
            },
            Ok(Judgement::Repeated) => Ok(Accepted::StoredBefore),
            Ok(Judgement::Refused(refused)) => Err(refused.into()),
            Err(rejected) => Err(rejected),
        });
    }
    Ok(results)
}

/// Returns true if none of these batches is stored already, and all of them may be stored.
fn are_new(storage: &Storage, batches: Batches<'_>) -> bool {
    let judged = storage.judge(batches);
    judged.is_ok_and(|all| all.iter().all(|judgement| matches!(judgement, Judgement::New)))
}

/// Returns what the storage knows of one batch. The caller holds the ledger's lock.
fn judge(storage: &Storage, batch: Batches<'_>) -> Result<Judgement, Rejected> {
    Ok(storage.judge(batch)?.pop().unwrap_or(Judgement::New))
}

/// Appends batches. Returns how many of them, from the first, are stored, and why not all of them.
fn append(
    shared: &Shared,
    storage: &mut Storage,
    ledger: &mut ValueGuard<'_, LedgerWords>,
    batches: Batches<'_>,
) -> Result<(usize, Option<FileError>), Fatal> {
    let before = Ledger::from(**ledger);
    let appended = storage.append(before, batches, shared.durable.load());
    let (after, refused) = appended.map_err(|error| shared.note_failure(error.into()))?;
    **ledger = after.into();
    // There may be fewer batches than before, if bets were removed from the files in the meantime.
    Ok((after.batches.saturating_sub(before.batches) as usize, refused))
}

/// Marks an agency as finished. The caller holds the ledger's lock.
fn mark_finished(
    shared: &Shared,
    storage: &mut Storage,
    ledger: &mut ValueGuard<'_, LedgerWords>,
    agency: u16,
) -> Result<Result<(), FileError>, Fatal> {
    let before = Ledger::from(**ledger);
    let finished = storage.finish(before, agency, shared.durable.load());
    let (after, refused) = finished.map_err(|error| shared.note_failure(error.into()))?;
    **ledger = after.into();
    if after.finished > before.finished
        && let Some(finished) = shared.add_finished(agency)
    {
        info("agency_finished", Outcome::Success)
            .with("agency", agency)
            .with("finished", finished)
            .with("expected", shared.expected.load())
            .write();
        shared.log_missing_confirmation();
    }
    Ok(refused.map_or(Ok(()), Err))
}
