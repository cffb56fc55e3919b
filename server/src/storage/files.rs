//! The files beside the journal: what they hold, and what a recovery does to them.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;

use super::checkpoints::Checkpoints;
use super::file::{StoredFile, sync_directory};
use super::finished::Finished;
use super::group::Bytes;
use super::journal::Journal;
use super::journal::record::Record;
use super::sessions::{self, Sessions};
use super::winner_index::WinnerIndex;
use super::{Batches, FileError, Ledger, StorageError};

/// Name of the file with the bets.
pub const BETS: &str = "bets.csv";
/// Name of the file with the winners among them.
pub const WINNERS: &str = "winners.log";
/// Bytes that are copied at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// The open files.
#[derive(Debug)]
pub struct Files {
    /// The directory of the storage.
    pub directory: PathBuf,
    /// The bets: a row each.
    pub bets: StoredFile,
    /// The winners among them: a line each.
    pub winners: StoredFile,
    /// Where their rows are.
    pub index: WinnerIndex,
    /// The agencies that have finished.
    pub finished: Finished,
    /// What the files held at earlier moments.
    pub checkpoints: Checkpoints,
    /// The last batch of each session, if the storage has sessions.
    pub sessions: Option<Sessions>,
}

impl Files {
    /// Opens the files, creating those that do not exist. There may be no sessions.
    pub fn open(directory: &Path) -> Result<Self, StorageError> {
        Ok(Self {
            directory: directory.to_owned(),
            bets: StoredFile::open(directory.join(BETS))?,
            winners: StoredFile::open(directory.join(WINNERS))?,
            index: WinnerIndex::open(directory)?,
            finished: Finished::open(directory)?,
            checkpoints: Checkpoints::open(directory)?,
            sessions: Sessions::open(directory)?,
        })
    }

    /// Returns the sessions. Fails if the storage has none.
    pub fn sessions(&self) -> Result<&Sessions, FileError> {
        let path = self.directory.join(sessions::FILE);
        let missing = || FileError::of("opening", &path)(Errno::ENOENT.into());
        self.sessions.as_ref().ok_or_else(missing)
    }

    /// Makes each of these batches that has a key the last one of its session. The batches are
    /// recorded in this epoch.
    pub fn advance_sessions(&self, batches: Batches<'_>, epoch: u64) -> Result<(), FileError> {
        batches
            .iter()
            .filter_map(|batch| batch.key)
            .try_for_each(|key| self.sessions()?.put(key, epoch))
    }

    /// Checks that the files are at least as long as these totals say. No crash of a central
    /// removes bytes that a checkpoint or a running process counts.
    pub fn check_reach(&self, counted: &Ledger) -> Result<(), StorageError> {
        let ends =
            [(&self.bets, counted.rows_end, "bets"), (&self.winners, counted.lines_end, "winners")];
        for (file, end, what) in ends {
            let length = file.length()?;
            if length < end {
                let reason = format!(
                    "it has {length} bytes, but the journal counts {end}: {what} are missing; \
                     restore the file, or move the journal away to count the totals again"
                );
                return Err(inconsistent(file.path(), reason));
            }
        }
        Ok(())
    }

    /// Returns the bytes of the batch of a record, from the journal or else from the files, or
    /// `None` if neither holds them.
    pub fn bytes_of(&self, record: &Record, journal: &Journal) -> Result<Option<Bytes>, FileError> {
        if let Some(carried) = journal.payload(record)? {
            return Ok(Some(carried));
        }
        let (before, after) = (&record.before, &record.after);
        if self.bets.length()? < after.rows_end || self.winners.length()? < after.lines_end {
            return Ok(None);
        }
        let mut rows = vec![0; record.rows_length() as usize];
        let mut lines = vec![0; record.lines_length() as usize];
        self.bets.read_exact_at(&mut rows, before.rows_end)?;
        self.winners.read_exact_at(&mut lines, before.lines_end)?;
        Ok(record.describes(&rows, &lines).then_some((rows, lines)))
    }

    /// Cuts the files to the lengths in the ledger.
    pub fn truncate(&self, ledger: &Ledger) -> Result<(), FileError> {
        self.bets.set_length(ledger.rows_end)?;
        self.winners.set_length(ledger.lines_end)?;
        self.index.cut(ledger)
    }

    /// Cuts the files to the lengths in the ledger, after it has copied what follows into files of
    /// its own and has made these durable. Returns the names of the copies.
    pub fn move_tails(&self, ledger: &Ledger) -> Result<Vec<String>, StorageError> {
        let mut kept = Vec::new();
        for (file, end) in [(&self.bets, ledger.rows_end), (&self.winners, ledger.lines_end)] {
            if file.length()? > end {
                kept.push(copy_tail(file, end)?);
            }
        }
        if !kept.is_empty() {
            sync_directory(&self.directory)?;
        }
        self.truncate(ledger)?;
        Ok(kept)
    }

    /// Makes everything written so far survive a power loss. After a failure, what was written may
    /// be lost.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.bets.sync()?;
        self.winners.sync()?;
        self.index.sync()?;
        self.finished.sync()?;
        self.checkpoints.sync()?;
        self.sessions.as_ref().map_or(Ok(()), Sessions::sync)
    }
}

/// Copies what follows `end` into `NAME.cut-TIME` and returns that name.
fn copy_tail(file: &StoredFile, end: u64) -> Result<String, StorageError> {
    let name = file.path().file_name().unwrap_or_default().to_string_lossy();
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // An earlier start in the same second has its own copy.
    let names = (0..).map(|number| match number {
        0 => format!("{name}.cut-{seconds}"),
        number => format!("{name}.cut-{seconds}-{number}"),
    });
    let unused = |name: &String| !file.path().with_file_name(name).exists();
    let name = names.take(10_000).find(unused).unwrap_or_default();
    let copy = StoredFile::create(file.path().with_file_name(&name))?;
    let length = file.length()?;
    let mut bytes = Vec::new();
    for at in (end..length).step_by(PIECE_BYTES as usize) {
        bytes.resize((length - at).min(PIECE_BYTES) as usize, 0);
        file.read_exact_at(&mut bytes, at)?;
        copy.write_all_at(&bytes, at - end)?;
    }
    copy.sync()?;
    Ok(name)
}

/// Returns the error for a file that no crash of a central leaves behind.
pub fn inconsistent(path: &Path, reason: String) -> StorageError {
    StorageError::Inconsistent { path: path.to_owned(), reason }
}
