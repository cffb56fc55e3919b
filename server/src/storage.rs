//! The files of the central: `bets.csv`, `winners.log`, the journal, the finished agencies, the
//! result of the draw, and the lock that keeps a second central out.
//!
//! A commit runs under the ledger's lock and stores a group of batches: the rows with one write,
//! the winner lines with one write, then one journal record per batch, all with one write. A batch
//! is stored only once its record is there. The next process cuts off rows and lines that a killed
//! process left without a record.

mod access;
mod draw;
mod error;
mod file;
mod finished;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod group;
mod journal;
mod ledger;
mod lock;
mod recovery;
mod watch;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use draw::{Draw, Drawing};
pub use error::{FileError, StorageError};
pub use group::{Batches, Group};
pub use ledger::{Ledger, LedgerWords};
pub use recovery::Recovery;
pub use watch::Lost;

use self::file::{StoredFile, sync_directory};
use self::finished::Finished;
use self::journal::Journal;
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

/// Room that a disk must have to count as one that takes batches again: several ordinary batches.
const TRIED_BYTES: usize = 64 * 1024;

/// The open storage. The supervisor opens it before it forks the workers, and all processes share
/// the descriptors; every write names its offset.
#[derive(Debug)]
pub struct Storage {
    directory: PathBuf,
    durability: Durability,
    bets: StoredFile,
    winners: StoredFile,
    journal: Journal,
    finished: Finished,
    /// Finds out when another program deletes or replaces a file.
    watch: Watch,
    /// Hold the locks of the storage. Workers inherit them, so they are released when the last
    /// worker has exited.
    _locks: [File; 2],
}

impl Storage {
    /// Opens the storage in a directory, creating it if necessary, and recovers what an earlier
    /// central left.
    pub fn open(
        directory: &Path,
        durability: Durability,
    ) -> Result<(Self, Recovery), StorageError> {
        access::create_directory(directory)?;
        access::restrict(directory);
        let lock = lock::lock(directory)?;
        let bets = StoredFile::open(directory.join("bets.csv"))?;
        let winners = StoredFile::open(directory.join("winners.log"))?;
        let (journal, finished) = (Journal::open(directory)?, Finished::open(directory)?);
        let open = [
            ("bets.csv", bets.metadata()),
            ("winners.log", winners.metadata()),
            ("journal", journal.file().metadata()),
            ("finished", finished.file().metadata()),
            (lock::FILE, lock.metadata()),
        ];
        let watch = Watch::new(directory, open)?;
        let locks = [lock, lock::lock_journal(directory)?];
        let directory = directory.to_owned();
        let storage =
            Self { directory, durability, bets, winners, journal, finished, watch, _locks: locks };
        if durability == Durability::Disk {
            sync_path(&storage.directory)?;
        }
        let mut recovery = storage.recover(true)?;
        // The new epoch overwrites the bytes of restored batches, which an earlier run may have
        // promised to keep.
        let durably = durability == Durability::Disk || recovery.restored;
        recovery.ledger = storage.start_epoch(recovery.ledger, durably)?;
        Ok((storage, recovery))
    }

    /// Returns what an acknowledgement promises here.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Appends batches. Returns the totals of what is stored, and the reason if some of the batches
    /// are not. The caller holds the ledger's lock, and must append nothing after an error.
    pub fn append(
        &mut self,
        before: Ledger,
        batches: Batches<'_>,
    ) -> Result<(Ledger, Option<FileError>), StorageError> {
        match self.try_append(before, batches) {
            Ok(result) => Ok(result),
            // Only the journal shows which of them are stored.
            Err(StorageError::File(refused)) => Ok((self.recover(false)?.ledger, Some(refused))),
            Err(error) => Err(error),
        }
    }

    /// Appends batches like [`append`](Self::append), but the caller must recover the files after
    /// [`StorageError::File`].
    fn try_append(
        &mut self,
        before: Ledger,
        batches: Batches<'_>,
    ) -> Result<(Ledger, Option<FileError>), StorageError> {
        let with_payload = self.durability == Durability::Disk;
        // A file that another program has shortened would get a hole.
        self.check_reach(&before)?;
        let mut before = before;
        if !self.journal.has_room(&before, batches, with_payload) {
            before = self.checkpoint(before)?;
        }
        if let Err(refused) = self.write_files(&before, batches) {
            // Probably the disk is full. The journal has no record of these batches, so cutting the
            // files is enough. Reading the journal for each batch of a round would hold the lock
            // for seconds.
            self.truncate(&before)?;
            return Ok((before, Some(refused)));
        }
        let after = if self.journal.has_room(&before, batches, with_payload) {
            self.journal.append(before, batches, with_payload)?
        } else {
            // The records do not fit in an empty journal, so a checkpoint commits the batches
            // instead.
            self.checkpoint(batches.added_to(before))?
        };
        Ok((after, None))
    }

    fn write_files(&self, before: &Ledger, batches: Batches<'_>) -> Result<(), FileError> {
        self.bets.write_all_at(batches.rows, before.rows_end)?;
        self.winners.write_all_at(batches.lines, before.lines_end)
    }

    /// Returns the reason if the disk does not take more rows: writes [`TRIED_BYTES`] behind those
    /// that are stored, and removes them. The caller holds the ledger's lock, and must append
    /// nothing after an error.
    pub fn try_room(&self, ledger: &Ledger) -> Result<Option<FileError>, FileError> {
        let refused = self.bets.write_all_at(&vec![0; TRIED_BYTES], ledger.rows_end).err();
        self.truncate(ledger)?;
        Ok(refused)
    }

    /// Makes the files durable if that is promised, then starts a new epoch of the journal. The
    /// caller holds the ledger's lock, or is the only process.
    pub fn checkpoint(&self, ledger: Ledger) -> Result<Ledger, StorageError> {
        self.start_epoch(ledger, self.durability == Durability::Disk)
    }

    fn start_epoch(&self, ledger: Ledger, durably: bool) -> Result<Ledger, StorageError> {
        if durably {
            self.bets.sync()?;
            self.winners.sync()?;
        }
        let next = self.journal.checkpoint(ledger)?;
        if durably {
            self.sync()?;
        }
        Ok(next)
    }

    /// Makes every batch appended so far survive a power loss. If this fails, any batch appended
    /// since the last success may be lost.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.journal.sync()
    }

    /// Returns true if an agency has finished.
    pub fn has_finished(&self, agency: u16) -> Result<bool, FileError> {
        self.finished.contains(agency)
    }

    /// Marks an agency as finished. The caller holds the ledger's lock.
    pub fn mark_finished(&self, agency: u16) -> Result<(), FileError> {
        self.finished.insert(agency)
    }

    /// Returns the agencies that have finished.
    pub fn finished_agencies(&self) -> Result<Vec<u16>, FileError> {
        self.finished.agencies()
    }

    /// Clears all marks, durably if that is promised. The caller holds the ledger's lock. After an
    /// error, some of them may be cleared.
    pub fn clear_finished(&self) -> Result<(), StorageError> {
        self.finished.clear()?;
        match self.durability {
            Durability::Disk => self.sync_finished(),
            Durability::Process => Ok(()),
        }
    }

    /// Makes every finished mark so far survive a power loss.
    pub fn sync_finished(&self) -> Result<(), StorageError> {
        self.finished.sync()
    }

    /// Checks that every file is still the one that this central has open. `ledger` holds totals
    /// that were read before the call.
    pub fn check_names(&mut self, ledger: &Ledger, drawn: bool) -> Result<(), StorageError> {
        Ok(self.watch.check(ledger, drawn)?)
    }

    /// Begins a draw over everything stored up to `ledger`.
    pub fn begin_draw(&self, ledger: &Ledger) -> Result<Drawing, FileError> {
        Ok(Drawing::new(self.bets.try_clone()?, ledger.rows_end))
    }

    /// Continues a draw for about `bytes` bytes. Returns true once it has read every bet.
    pub fn advance_draw(&self, drawing: &mut Drawing, bytes: u64) -> Result<bool, FileError> {
        drawing.advance(bytes).map_err(self.file_error("drawing from", "bets.csv"))
    }

    /// Writes the result of a draw. If this fails, the draw has not been held.
    pub fn write_draw(&self, drawing: &Drawing) -> Result<(), FileError> {
        let written = drawing.write(&self.directory, self.durability == Durability::Disk);
        written.map_err(self.file_error("writing", draw::FILE))
    }

    /// Returns true if there is a result of the draw, whole or damaged.
    pub fn has_draw(&self) -> Result<bool, FileError> {
        let path = self.directory.join(draw::FILE);
        path.try_exists().map_err(FileError::of("looking for", &path))
    }

    /// Returns the result of the draw, if it has been held. A damaged file is an error.
    pub fn draw(&self) -> Result<Option<Draw>, FileError> {
        Draw::open(&self.directory).map_err(self.file_error("reading", draw::FILE))
    }

    /// Returns the same as [`draw`](Self::draw). Fails if the draw was not held over `bets` bets,
    /// because nothing can be stored after it.
    pub fn draw_over(&self, bets: u64) -> Result<Option<Draw>, StorageError> {
        let draw = self.draw()?;
        match &draw {
            Some(held) if held.bets != bets => {
                let reason = format!(
                    "the draw was held over {} bets, but bets.csv has {bets}; restore bets.csv, \
                     or move this file away to hold another draw",
                    held.bets
                );
                Err(StorageError::Inconsistent { path: self.directory.join(draw::FILE), reason })
            }
            _ => Ok(draw),
        }
    }

    /// Cuts the files to the lengths in the ledger.
    fn truncate(&self, ledger: &Ledger) -> Result<(), FileError> {
        self.bets.set_length(ledger.rows_end)?;
        self.winners.set_length(ledger.lines_end)
    }

    /// The path is built only for an error.
    fn file_error(&self, action: &'static str, file: &str) -> impl FnOnce(io::Error) -> FileError {
        move |source| FileError::of(action, &self.directory.join(file))(source)
    }
}

/// Makes the path of a directory survive a power loss, and the entries in it. Any run may have
/// created a part of the path, so all of it is synced.
fn sync_path(directory: &Path) -> Result<(), FileError> {
    let path = fs::canonicalize(directory).map_err(FileError::of("examining", directory))?;
    sync_directory(&path)?;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let parents = path.ancestors().skip(1);
    parents.take_while(|parent| device(parent) == device(&path)).try_for_each(|parent| {
        // A directory that this user cannot read was not created by a central of this user.
        match File::open(parent) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            _ => sync_directory(parent),
        }
    })
}

/// Empties a reused buffer and frees the capacity beyond [`KEPT_BYTES`].
fn clear_buffer(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(KEPT_BYTES);
}
