//! The journal beside `bets.csv`: where each batch ends, and which agencies have finished. It
//! distinguishes a whole batch from a torn one. It bounds the time of recovery, regardless of how
//! much is stored.
//!
//! The file has a fixed size: the pages of two checkpoints, then the records of the epoch that the
//! newer checkpoint begins. When the file is full, a checkpoint starts a new epoch, whose records
//! overwrite the old ones.
//!
//! A record is the commit of its batch or finish mark. With durability `disk` it also carries the
//! batch itself. Then one `fdatasync` of this file, which never grows, makes a batch durable, and
//! recovery restores `bets.csv` from it after a power loss.
//!
//! Each record names the records that may have been acknowledged before it. So a damaged record
//! before the last acknowledged one differs from a torn one at the end. A hash chained over all
//! records and checkpoints excludes records of another history.

pub mod checkpoint;
pub mod header;
pub mod record;
pub mod v1;

use std::fs;
use std::path::Path;

use self::checkpoint::{RECORDS_START, Run};
use self::header::{MAGIC_NAME, VERSION};
use super::file::{StoredFile, sync_directory};
use super::{FileError, Ledger, StorageError};

/// Name of the file.
pub const FILE: &str = "journal";
/// Name of the file until it is complete.
pub const UNFINISHED: &str = "journal.new";
/// Space for records. Between checkpoints it holds about 4,000 records of 8 kB batches with their
/// bytes, or 128,000 without. With 8 MiB, the checkpoints cost `keyed` a tenth of its rate with
/// durability `disk` and 64 clients, because each writes the pages of all active sessions. Tests
/// open thousands of journals, so theirs are small.
const RECORDS_BYTES: u64 = if cfg!(any(test, fuzzing)) { 64 * 1024 } else { 32 * 1024 * 1024 };
/// Size of the file.
const JOURNAL_BYTES: u64 = RECORDS_START + RECORDS_BYTES;

/// Offsets in the journal at which the files are synced early. The first one moves most of what the
/// checkpoint would have to write, the second one what has followed.
const EARLY_SYNCS: [u64; 2] =
    [RECORDS_START + RECORDS_BYTES / 2, RECORDS_START + RECORDS_BYTES / 8 * 7];

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    file: StoredFile,
    /// Reused to put the records of a commit together.
    records: Vec<u8>,
}

/// What a start finds under the name of the journal.
#[derive(Debug)]
pub enum Found {
    /// No file, or one that was created and never written.
    Nothing,
    /// A journal of the first version.
    First(v1::Journal),
    /// A journal of this version.
    Current(Journal),
}

impl Journal {
    /// Opens the journal, if there is one.
    pub fn open(directory: &Path) -> Result<Found, StorageError> {
        let path = directory.join(FILE);
        if !path.try_exists().map_err(FileError::of("opening", &path))? {
            return Ok(Found::Nothing);
        }
        let journal = Self { file: StoredFile::open(path)?, records: Vec::new() };
        let length = journal.file.length()?;
        let mut blank = true;
        let mut versions = Vec::new();
        for page in checkpoint::pages().take_while(|page| page + 8 <= length) {
            let mut magic = [0; 8];
            journal.file.read_exact_at(&mut magic, page)?;
            blank &= magic == [0; 8];
            versions.extend(magic.strip_prefix(MAGIC_NAME).map(|version| version[0]));
        }
        // One damaged page must not hide the version of the others.
        if versions.contains(&VERSION) {
            // The reservation makes a full file system fail here and not in the middle of a batch.
            journal.file.reserve(JOURNAL_BYTES)?;
            return Ok(Found::Current(journal));
        }
        if versions.contains(&v1::VERSION) {
            return Ok(Found::First(v1::Journal::new(journal.file)?));
        }
        if versions.iter().any(|version| (VERSION..=b'9').contains(version)) {
            return Err(journal.newer_version());
        }
        if blank { Ok(Found::Nothing) } else { Err(journal.damaged()) }
    }

    /// Opens the journal of a running central, for reading only.
    pub fn open_to_read(directory: &Path) -> Result<Self, FileError> {
        let file = StoredFile::open_to_read(directory.join(FILE))?;
        Ok(Self { file, records: Vec::new() })
    }

    /// Creates the journal and begins its first epoch with these totals. The file gets its name
    /// when it is complete and durable. If that fails, for example on a full disk, nothing is left.
    pub fn create(
        directory: &Path,
        totals: Ledger,
        run: Run,
    ) -> Result<(Self, Ledger), StorageError> {
        let unfinished = directory.join(UNFINISHED);
        let file = StoredFile::create(unfinished.clone())?;
        let created = Self { file, records: Vec::new() }.begin(directory, totals, run);
        if created.is_err() {
            let _already_renamed = fs::remove_file(unfinished);
        }
        created
    }

    fn begin(
        mut self,
        directory: &Path,
        totals: Ledger,
        run: Run,
    ) -> Result<(Self, Ledger), StorageError> {
        self.file.reserve(JOURNAL_BYTES)?;
        let ledger = self.checkpoint(totals, run, false)?;
        self.sync()?;
        self.file.rename(directory.join(FILE))?;
        sync_directory(directory)?;
        Ok((self, ledger))
    }

    /// Returns the file.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// Returns the file.
    pub fn file_mut(&mut self) -> &mut StoredFile {
        &mut self.file
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns true if a commit has filled half of the journal, or seven eighths of it. Then the
    /// files should be synced, so that the checkpoint has less to sync.
    pub fn nears_end(before: &Ledger, after: &Ledger) -> bool {
        let start = if before.epoch == after.epoch { before.journal_end } else { RECORDS_START };
        EARLY_SYNCS.iter().any(|at| (start..after.journal_end).contains(at))
    }

    /// Makes everything written so far survive a power loss. After a failure, what was written may
    /// be lost, and a second sync does not bring it back.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.file.sync()
    }

    /// Returns the error for a journal without a readable checkpoint.
    pub fn damaged(&self) -> StorageError {
        self.inconsistent(
            "it is damaged: no checkpoint in it is readable; restore it from a backup, or move it \
             away to count the totals from bets.csv",
        )
    }

    fn newer_version(&self) -> StorageError {
        self.inconsistent(
            "a newer version of this program wrote it; start that version, or stop it gracefully \
             and move the journal away to count the totals from bets.csv",
        )
    }

    fn inconsistent(&self, reason: &str) -> StorageError {
        StorageError::Inconsistent { path: self.file.path().to_owned(), reason: reason.to_owned() }
    }
}
