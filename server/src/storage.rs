//! The files of the central: `bets.csv`, `winners.log`, the journal, who has finished and the result of the draw, and the lock that
//! keeps a second central out.
//!
//! Order of a commit, under the ledger's lock: the rows of a whole batch with one write, its winner lines, then the journal
//! record. Only the record makes the batch count: what a killed process wrote before it is cut off by the next one.

mod draw;
mod finished;
mod journal;
mod ledger;
mod recovery;

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use draw::{Draw, Drawing};
pub use finished::Finished;
pub use journal::Journal;
pub use ledger::{Ledger, LedgerWords};
pub use recovery::Recovery;

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The batch survives a power loss: it is acknowledged after `fdatasync`.
    Disk,
    /// The batch survives the death of every process, not of the machine.
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

/// How long a start waits for the last workers of a killed central to end and give the storage free.
const PREDECESSOR: Duration = Duration::from_secs(2);

/// Bytes of a reused buffer that are kept from batch to batch. Many times an 8 kB packet; what a batch of megabytes needed is
/// given back, or a worker would stay as large as the largest batch it ever saw.
const KEPT_BYTES: usize = 256 * 1024;

/// A batch ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its rows of `bets.csv`.
    pub rows: &'a [u8],
    /// Its lines of `winners.log`.
    pub lines: &'a [u8],
    /// Bets in it.
    pub bets: u64,
    /// Winners among them.
    pub winners: u64,
}

impl Batch<'_> {
    /// The totals after this batch was added to those before it.
    pub fn added_to(&self, before: Ledger) -> Ledger {
        Ledger {
            batches: before.batches + 1,
            bets: before.bets + self.bets,
            winners: before.winners + self.winners,
            rows_end: before.rows_end + self.rows.len() as u64,
            lines_end: before.lines_end + self.lines.len() as u64,
            ..before
        }
    }
}

/// Why the storage cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another central writes here.
    #[error("storage {} is in use by another central{owner}: stop it or choose another SERVER_STORAGE_DIR", .directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// ` (pid N)`, where known.
        owner: String,
    },
    /// The operating system refused.
    #[error("{action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What was written may not be on the disk, and asking again would not tell: the kernel reports a lost page once.
    #[error("making {} durable: {source}; what is on the disk is unknown, restart the central to recover", .path.display())]
    NotDurable {
        /// Which file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The files contradict each other in a way no crash of ours leaves.
    #[error("{}: {reason}", .path.display())]
    Inconsistent {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and the way out.
        reason: String,
    },
}

/// The open storage. Opened before the workers are forked and shared by all; every write names its place in the file.
#[derive(Debug)]
pub struct Storage {
    directory: PathBuf,
    durability: Durability,
    bets: File,
    winners: File,
    journal: Journal,
    finished: Finished,
    /// Carries the lock. Workers inherit it: the storage is free when the last of them has ended.
    _lock: File,
}

impl Storage {
    /// Opens the storage in a directory, making it if need be, and recovers what an earlier central left.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn open(
        directory: &Path,
        durability: Durability,
    ) -> Result<(Self, Recovery), StorageError> {
        fs::create_dir_all(directory).map_err(|source| {
            io_error("making the storage directory (SERVER_STORAGE_DIR)", directory, source)
        })?;
        let lock = lock(directory)?;
        let (journal_path, finished_path) = (directory.join("journal"), directory.join("finished"));
        let storage = Self {
            directory: directory.to_owned(),
            durability,
            bets: open_file(&directory.join("bets.csv"))?,
            winners: open_file(&directory.join("winners.log"))?,
            journal: Journal::open(&journal_path)
                .map_err(|source| io_error("opening", &journal_path, source))?,
            finished: Finished::open(&finished_path)
                .map_err(|source| io_error("opening", &finished_path, source))?,
            _lock: lock,
        };
        if durability == Durability::Disk {
            // A file whose directory entry is lost in a power failure is lost itself.
            for entries in [Some(directory), directory.parent()].into_iter().flatten() {
                let entries = if entries.as_os_str().is_empty() { Path::new(".") } else { entries };
                let synced = File::open(entries).and_then(|entries| entries.sync_all());
                synced.map_err(|source| io_error("syncing", entries, source))?;
            }
        }
        let mut recovery = storage.recover(true)?;
        recovery.ledger = storage.checkpoint(recovery.ledger)?;
        Ok((storage, recovery))
    }

    /// What an acknowledgement promises here.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Appends a batch and returns the totals after it. The caller holds the ledger's lock.
    ///
    /// # Errors
    /// [`StorageError::Io`], a full disk among them: what is in the files then, only [`recover`](Self::recover) can tell, and the
    /// caller must ask it for the ledger before anybody appends again. [`StorageError::NotDurable`]: nobody may append again.
    pub fn append(&mut self, before: Ledger, batch: &Batch<'_>) -> Result<Ledger, StorageError> {
        let with_payload = self.durability == Durability::Disk;
        let mut before = before;
        if !self.journal.has_room(&before, batch, with_payload) {
            before = self.checkpoint(before)?;
        }
        self.write_files(&before, batch)?;
        let after = batch.added_to(before);
        if self.journal.has_room(&before, batch, with_payload) {
            let appended = self.journal.append(after, batch, with_payload);
            appended.map_err(|source| self.io_error("writing", "journal", source))
        } else {
            // Larger than the whole journal: the batch is its own checkpoint.
            self.checkpoint(after)
        }
    }

    fn write_files(&self, before: &Ledger, batch: &Batch<'_>) -> Result<(), StorageError> {
        let rows = self.bets.write_all_at(batch.rows, before.rows_end);
        rows.map_err(|source| self.io_error("writing", "bets.csv", source))?;
        let lines = self.winners.write_all_at(batch.lines, before.lines_end);
        lines.map_err(|source| self.io_error("writing", "winners.log", source))
    }

    /// Starts a new epoch of the journal, after making the files durable where that is promised. The caller holds the ledger's
    /// lock, or is alone.
    ///
    /// # Errors
    /// [`StorageError::NotDurable`], [`StorageError::Io`].
    pub fn checkpoint(&self, ledger: Ledger) -> Result<Ledger, StorageError> {
        if self.durability == Durability::Disk {
            self.bets.sync_data().map_err(|source| self.not_durable("bets.csv", source))?;
            self.winners.sync_data().map_err(|source| self.not_durable("winners.log", source))?;
        }
        let next = self
            .journal
            .checkpoint(ledger)
            .map_err(|source| self.io_error("writing", "journal", source))?;
        if self.durability == Durability::Disk {
            self.sync()?;
        }
        Ok(next)
    }

    /// Makes every batch appended so far survive a power loss.
    ///
    /// # Errors
    /// [`StorageError::NotDurable`]. Nothing appended since the last success can be relied on then.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.journal.sync().map_err(|source| self.not_durable("journal", source))
    }

    /// Whether an agency has finished.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn has_finished(&self, agency: u16) -> Result<bool, StorageError> {
        self.finished
            .contains(agency)
            .map_err(|source| self.io_error("reading", "finished", source))
    }

    /// Notes that an agency has finished. The caller holds the ledger's lock.
    ///
    /// # Errors
    /// [`StorageError::Io`], a full disk among them; it is not noted then.
    pub fn note_finished(&self, agency: u16) -> Result<(), StorageError> {
        self.finished.insert(agency).map_err(|source| self.io_error("writing", "finished", source))
    }

    /// How many agencies have finished.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn count_finished(&self) -> Result<u32, StorageError> {
        self.finished.count().map_err(|source| self.io_error("reading", "finished", source))
    }

    /// Makes everybody noted as finished so far survive a power loss.
    ///
    /// # Errors
    /// [`StorageError::NotDurable`].
    pub fn sync_finished(&self) -> Result<(), StorageError> {
        self.finished.sync().map_err(|source| self.not_durable("finished", source))
    }

    /// Begins a draw over everything stored up to `ledger`.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn begin_draw(&self, ledger: &Ledger) -> Result<Drawing, StorageError> {
        let bets =
            self.bets.try_clone().map_err(|source| self.io_error("reading", "bets.csv", source))?;
        Ok(Drawing::new(bets, ledger.rows_end))
    }

    /// Goes on with a draw for about `bytes` bytes; whether it has seen every bet.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn advance_draw(&self, drawing: &mut Drawing, bytes: u64) -> Result<bool, StorageError> {
        drawing.advance(bytes).map_err(|source| self.io_error("drawing from", "bets.csv", source))
    }

    /// Keeps the result of a draw for good.
    ///
    /// # Errors
    /// [`StorageError::Io`]; the draw has not been held then.
    pub fn keep_draw(&self, drawing: &Drawing) -> Result<(), StorageError> {
        let kept = drawing.keep(&self.directory, self.durability == Durability::Disk);
        kept.map_err(|source| self.io_error("writing", draw::FILE, source))
    }

    /// The result of the draw, if it was held.
    ///
    /// # Errors
    /// [`StorageError::Io`], also for a file that is not as a draw leaves it.
    pub fn draw(&self) -> Result<Option<Draw>, StorageError> {
        Draw::open(&self.directory).map_err(|source| self.io_error("reading", draw::FILE, source))
    }

    /// As [`draw`](Self::draw), and it must have been held over `bets` bets: nobody could store more after it.
    ///
    /// # Errors
    /// As there; [`StorageError::Inconsistent`] when there are more bets, or fewer.
    pub fn draw_over(&self, bets: u64) -> Result<Option<Draw>, StorageError> {
        let draw = self.draw()?;
        match &draw {
            Some(held) if held.bets != bets => {
                let reason = format!(
                    "the draw was held over {} bets and bets.csv has {bets}; restore bets.csv, or move this file away to have \
                     another draw held",
                    held.bets
                );
                Err(StorageError::Inconsistent { path: self.directory.join(draw::FILE), reason })
            }
            _ => Ok(draw),
        }
    }

    /// Cuts the files to what the ledger says.
    fn truncate(&self, ledger: &Ledger) -> Result<(), StorageError> {
        let rows = self.bets.set_len(ledger.rows_end);
        rows.map_err(|source| self.io_error("truncating", "bets.csv", source))?;
        let lines = self.winners.set_len(ledger.lines_end);
        lines.map_err(|source| self.io_error("truncating", "winners.log", source))
    }

    fn not_durable(&self, file: &str, source: io::Error) -> StorageError {
        StorageError::NotDurable { path: self.directory.join(file), source }
    }

    fn io_error(&self, action: &'static str, file: &str, source: io::Error) -> StorageError {
        io_error(action, &self.directory.join(file), source)
    }
}

/// Empties a reused buffer, giving back what is more than usual.
pub fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(KEPT_BYTES);
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> StorageError {
    StorageError::Io { action, path: path.to_owned(), source }
}

fn open_file(path: &Path) -> Result<File, StorageError> {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    options.map_err(|source| io_error("opening", path, source))
}

/// Who holds the lock, as far as its file tells: ` (pid N)`.
fn owner(file: &mut File) -> String {
    let mut text = String::new();
    let pid: Option<u32> =
        file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
    match pid {
        None => String::new(),
        Some(pid) if Path::new(&format!("/proc/{pid}")).exists() => format!(" (pid {pid})"),
        // Its workers end with it, except one that is stopped and cannot.
        Some(pid) => {
            format!(" (pid {pid} is gone, but a worker of it is left: a stopped one, maybe)")
        }
    }
}

/// Takes the directory's lock, waiting for a predecessor that is just ending.
fn lock(directory: &Path) -> Result<File, StorageError> {
    let path = directory.join("lock");
    let mut file = open_file(&path)?;
    let deadline = Instant::now() + PREDECESSOR;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(io_error("locking", &path, source)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StorageError::InUse {
                    directory: directory.to_owned(),
                    owner: owner(&mut file),
                });
            }
        }
    }
    // For the message above only: the lock itself is what counts.
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(|source| io_error("writing", &path, source))?;
    Ok(file)
}
