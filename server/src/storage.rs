//! The files of the central: `bets.csv`, `winners.log`, the index of the winners, the journal, the
//! finished agencies, the sessions, the result of the draw, and the lock that keeps a second
//! central out.
//!
//! A commit runs under the ledger's lock and stores a group of batches: the rows with one write,
//! the winner lines with one write, the places of the winners with one write, then one journal
//! record per batch, all with one write. A batch
//! is stored only once its record is there. The next process cuts off rows and lines that a killed
//! process left without a record.

mod access;
mod agency_winners;
mod backup;
mod boot;
mod checkpoints;
mod descriptions;
mod draw;
mod draw_copy;
mod drawing;
mod error;
mod export;
mod file;
mod files;
mod finished;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod group;
mod journal;
mod judgement;
mod ledger;
mod lock;
mod recovery;
mod reopening;
mod rows;
mod sessions;
mod summary;
#[cfg(test)]
mod tests;
mod verify;
mod watch;
mod winner_index;
mod write_back;

use std::fmt;
use std::fs::File;
use std::path::Path;

pub use agency_winners::AgencyWinners;
pub use backup::{BackupError, Moment, back_up_running, back_up_stopped};
pub use draw::Draw;
pub use draw_copy::DrawCopy;
pub use drawing::Drawing;
pub use error::{FileError, StorageError};
pub use export::{Export, ExportError};
pub use group::{Batches, Group, Written};
pub use judgement::{Judgement, KeyRefused};
pub use ledger::{Ledger, LedgerWords};
pub use lock::owner_pid as lock_owner;
pub use recovery::Recovery;
pub use rows::RowParser;
pub use sessions::MAX_SESSIONS;
pub use summary::{Summary, summary};
pub use verify::verify;

use self::file::sync_path;
use self::files::Files;
use self::journal::checkpoint::Run;
use self::journal::header::VOLATILE;
use self::journal::{Found, Journal};
use self::sessions::Sessions;
use self::watch::Watch;

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The batch survives a power loss: it is acknowledged after `fdatasync`.
    Disk,
    /// The batch survives the death of every process, but not of the machine.
    Process,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "disk",
            Self::Process => "process",
        })
    }
}

/// Capacity in bytes that a reused buffer keeps: many times an 8 kB packet, so that ordinary
/// batches never allocate. Larger buffers shrink, or a worker would keep the memory of the largest
/// batch it ever received.
const KEPT_BYTES: usize = 256 * 1024;

/// Space that a disk must have before it counts as accepting batches again: several ordinary
/// batches.
const TRIED_BYTES: usize = 64 * 1024;

/// The open storage. The supervisor opens it before it forks the workers, and each worker opens
/// the files [again](Self::open_again).
#[derive(Debug)]
pub struct Storage {
    files: Files,
    journal: Journal,
    run: Run,
    /// True if the files should be synced before the journal is full.
    early_sync_due: bool,
    /// Detects that another program has deleted or replaced a file.
    watch: Watch,
    /// Hold the locks of the storage. Workers inherit them, so they are released when the last
    /// worker has exited.
    _locks: Vec<File>,
}

impl Storage {
    /// Opens the storage in a directory, creating it if necessary, and recovers what an earlier
    /// central left. If `keyed`, it can store batches with keys; a storage that could before always
    /// can.
    pub fn open(
        directory: &Path,
        durability: Durability,
        keyed: bool,
    ) -> Result<(Self, Recovery), StorageError> {
        Self::open_on(directory, Run { durability, boot: boot::current(), sessions: keyed })
    }

    fn open_on(directory: &Path, mut run: Run) -> Result<(Self, Recovery), StorageError> {
        access::create_directory(directory)?;
        // A link may lead elsewhere when a worker opens the files again.
        let resolved = access::resolve(directory)?;
        let directory = resolved.as_path();
        access::restrict(directory);
        let lock = lock::lock(directory)?;
        let mut locks = vec![lock];
        let mut files = Files::open(directory)?;
        let found = Journal::open(directory)?;
        if !matches!(found, Found::Nothing) {
            locks.push(lock::lock_journal(directory)?);
        }
        let mut recovery = match &found {
            Found::Current(journal) => files.recover(journal, run.boot)?,
            Found::First(journal) => files.upgrade(journal)?,
            Found::Nothing => files.count()?,
        };
        if run.sessions && files.sessions.is_none() {
            files.sessions = Some(Sessions::create(directory)?);
        }
        run.sessions = files.sessions.is_some();
        if run.durability == Durability::Disk || recovery.unclean {
            // The new epoch overwrites the bytes of batches that an earlier run may have promised
            // to keep.
            sync_path(directory)?;
            files.sync()?;
        }
        if let Some(sessions) = &files.sessions {
            // The new summary overwrites that of the epoch before the last checkpoint.
            if let Found::Current(journal) = &found {
                journal.restore_checkpoint()?;
            }
            sessions.load()?;
            sessions.begin_epoch(&recovery.ledger)?;
            // Also without a promise: the new checkpoint must not survive without its summary.
            sessions.sync()?;
        }
        let (journal, ledger) = match found {
            Found::Current(journal) => {
                let ledger = journal.checkpoint(recovery.ledger, run, false)?;
                // Also without a promise: the entry of this checkpoint would otherwise show that
                // the journal is older, if the machine loses power now.
                journal.sync()?;
                (journal, ledger)
            }
            Found::First(_) | Found::Nothing => {
                let created = Journal::create(directory, recovery.ledger, run)?;
                locks.push(lock::lock_journal(directory)?);
                files.checkpoints.cut(recovery.ledger.entries)?;
                created
            }
        };
        recovery.ledger = files.checkpoints.append(ledger, ledger.records, 0)?;
        let mut open = vec![
            (files::BETS, files.bets.metadata()),
            (files::WINNERS, files.winners.metadata()),
            (winner_index::FILE, files.index.file().metadata()),
            (journal::FILE, journal.file().metadata()),
            (finished::FILE, files.finished.file().metadata()),
            (checkpoints::FILE, files.checkpoints.file().metadata()),
            (lock::FILE, locks[0].metadata()),
        ];
        if let Some(sessions) = &files.sessions {
            open.push((sessions::FILE, sessions.file().metadata()));
        }
        let (watch, early_sync_due) = (Watch::new(directory, open)?, false);
        Ok((Self { files, journal, run, early_sync_due, watch, _locks: locks }, recovery))
    }

    /// Returns what an acknowledgement promises here.
    pub fn durability(&self) -> Durability {
        self.run.durability
    }

    /// Appends batches, each of which is [`Judgement::New`]. `durable` counts the records that
    /// survive a power loss. Returns the totals of what is stored, and the reason if some of the
    /// batches are not. The caller holds the ledger's lock, and must append nothing after an error.
    pub fn append(
        &mut self,
        before: Ledger,
        batches: Batches<'_>,
        durable: u64,
    ) -> Result<(Ledger, Option<FileError>), StorageError> {
        debug_assert!(
            self.judge(batches).map_or(true, |all| all.iter().all(|one| *one == Judgement::New)),
            "a session would skip a batch or store one again"
        );
        match self.try_append(before, batches, durable) {
            Ok(result) => Ok(result),
            // Only the journal shows which of them are stored.
            Err(StorageError::File(refused)) => Ok((self.recover(before)?.ledger, Some(refused))),
            Err(error) => Err(error),
        }
    }

    /// Appends batches like [`append`](Self::append), but the caller must recover the files after
    /// [`StorageError::File`].
    fn try_append(
        &mut self,
        mut before: Ledger,
        batches: Batches<'_>,
        durable: u64,
    ) -> Result<(Ledger, Option<FileError>), StorageError> {
        let with_payload = self.run.durability == Durability::Disk;
        let acknowledged = self.acknowledged(&before, durable);
        // A file that another program has shortened would get a hole.
        self.files.check_reach(&before)?;
        if !self.journal.has_room(&before, batches, with_payload) {
            before = self.checkpoint(before)?;
        }
        if let Err(refused) = self.write_files(&before, batches) {
            // Probably the disk is full. The journal has no record of these batches, so cutting the
            // files is enough. Reading the journal for each batch of a round would hold the lock
            // for seconds.
            self.files.truncate(&before)?;
            return Ok((before, Some(refused)));
        }
        let after = if self.journal.has_room(&before, batches, with_payload) {
            let after = self.journal.append(before, batches, acknowledged, with_payload)?;
            self.files.advance_sessions(batches, after.epoch)?;
            let flags = if with_payload { 0 } else { VOLATILE };
            self.files.checkpoints.append_if_due(&before, after, acknowledged, flags)
        } else {
            // The records do not fit in an empty journal, so a checkpoint commits the batches
            // instead. Until it is there, a recovery ignores entries of the epoch that it ends.
            self.files.advance_sessions(batches, before.epoch)?;
            self.checkpoint(batches.added_to(before))?
        };
        Ok((after, None))
    }

    /// Returns how many records may have been acknowledged, given how many survive a power loss.
    fn acknowledged(&self, before: &Ledger, durable: u64) -> u64 {
        match self.run.durability {
            Durability::Disk => durable.min(before.records),
            Durability::Process => before.records,
        }
    }

    fn write_files(&self, before: &Ledger, batches: Batches<'_>) -> Result<(), FileError> {
        self.files.bets.write_all_at(batches.rows, before.rows_end)?;
        self.files.winners.write_all_at(batches.lines, before.lines_end)?;
        // Before the journal, so that a record shows that the entries are there.
        self.files.index.append(before, batches)
    }

    /// Returns the reason if the disk does not take more rows: writes [`TRIED_BYTES`] behind those
    /// that are stored, and removes them. The caller holds the ledger's lock, and must append
    /// nothing after an error.
    pub fn try_room(&self, ledger: &Ledger) -> Result<Option<FileError>, FileError> {
        let refused = self.files.bets.write_all_at(&vec![0; TRIED_BYTES], ledger.rows_end).err();
        self.files.truncate(ledger)?;
        Ok(refused)
    }

    /// Marks an agency as finished, unless it is marked already. `durable` counts the records that
    /// survive a power loss. Returns the totals after it, or the reason why it is not marked. The
    /// caller holds the ledger's lock, and must append nothing after an error.
    pub fn finish(
        &mut self,
        before: Ledger,
        agency: u16,
        durable: u64,
    ) -> Result<(Ledger, Option<FileError>), StorageError> {
        match self.files.finished.contains(agency) {
            Ok(true) => return Ok((before, None)),
            Ok(false) => {}
            Err(refused) => return Ok((before, Some(refused))),
        }
        match self.try_finish(before, agency, durable) {
            Ok(after) => {
                // The byte follows the record, so a byte without a record was never there while
                // the machine was up.
                self.files.finished.insert(agency)?;
                Ok((after, None))
            }
            Err(StorageError::File(refused)) => {
                let after = self.recover(before)?.ledger;
                let marked = after.finished > before.finished;
                Ok((after, Some(refused).filter(|_| !marked)))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the agencies that have finished.
    pub fn finished_agencies(&self) -> Result<Vec<u16>, StorageError> {
        Ok(self.files.finished.marks()?.agencies())
    }

    fn try_finish(
        &mut self,
        mut before: Ledger,
        agency: u16,
        durable: u64,
    ) -> Result<Ledger, StorageError> {
        let acknowledged = self.acknowledged(&before, durable);
        if !self.journal.has_room_for_mark(&before) {
            before = self.checkpoint(before)?;
        }
        Ok(self.journal.finish(before, agency, acknowledged)?)
    }

    /// Finds what the last commit after `before` has stored, after the death of the process that
    /// held the ledger's lock. The caller holds that lock.
    pub fn recover(&self, before: Ledger) -> Result<Recovery, StorageError> {
        self.files.recover_after_death(before, &self.journal, self.run.durability)
    }

    /// Makes the files durable, whatever is promised, and starts a new epoch of the journal, after
    /// the last process has stopped. So the next start has nothing to check, even if the machine
    /// restarts in between.
    pub fn close(&self, ledger: Ledger) -> Result<Ledger, StorageError> {
        self.start_epoch(ledger, true)
    }

    /// Makes the files durable if that is promised, then starts a new epoch of the journal. The
    /// caller holds the ledger's lock.
    fn checkpoint(&self, ledger: Ledger) -> Result<Ledger, StorageError> {
        self.start_epoch(ledger, false)
    }

    fn start_epoch(&self, ledger: Ledger, clean: bool) -> Result<Ledger, StorageError> {
        let durably = clean || self.run.durability == Durability::Disk;
        if let Some(sessions) = &self.files.sessions {
            sessions.begin_epoch(&ledger)?;
        }
        if durably {
            self.files.sync()?;
        }
        let next = self.journal.checkpoint(ledger, self.run, clean)?;
        if durably {
            self.sync()?;
        }
        let flags = if durably { 0 } else { VOLATILE };
        Ok(self.files.checkpoints.append(next, next.records, flags)?)
    }

    /// Makes every record appended so far survive a power loss. If this fails, any record appended
    /// since the last success may be lost.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.journal.sync()
    }

    /// Checks that every file is still the one that this central has open. `ledger` holds totals
    /// that were read before the call.
    pub fn check_names(&mut self, ledger: &Ledger, drawn: bool) -> Result<(), StorageError> {
        Ok(self.watch.check(ledger, drawn)?)
    }
}

/// Empties a reused buffer and frees the capacity beyond [`KEPT_BYTES`].
fn clear_buffer(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(KEPT_BYTES);
}
