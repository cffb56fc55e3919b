//! A copy of the storage that is a storage itself. The storage may be in use by a running central.
//!
//! A running central only appends: bytes before the ends that its totals name never change. So
//! these bytes, together with the totals, are the storage at the moment of the totals. The copy
//! gets a journal of its own, which begins with them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::checkpoints::{self, Checkpoints};
use super::file::{StoredFile, sync_directory};
use super::files::{BETS, WINNERS, inconsistent};
use super::finished;
use super::journal::checkpoint::Run;
use super::journal::{self, Journal};
use super::ledger::checksum;
use super::sessions::{self, Image, Sessions};
use super::{
    Durability, FileError, Ledger, Storage, StorageError, access, boot, draw, lock, winner_index,
};

/// Bytes that are copied at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// How often the finish marks are read again because an agency finishes meanwhile. Each attempt
/// takes microseconds.
const ATTEMPTS: usize = 10_000;

/// The state of a running central at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// True if the draw has been held. It is read first, because nothing is stored after the draw.
    pub drawn: bool,
    /// The totals of what is stored.
    pub ledger: Ledger,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target has files.
    #[error("{} exists and is not an empty directory: choose another one", .0.display())]
    Taken(PathBuf),
    /// An earlier backup was killed.
    #[error("{} exists, which an interrupted backup may have left: remove it", .0.display())]
    Unfinished(PathBuf),
    /// The target has no name, such as `..`.
    #[error("{} is not the name of a new directory", .0.display())]
    Unnamed(PathBuf),
    /// There is no storage to copy.
    #[error("{} has no bets.csv: choose the SERVER_STORAGE_DIR of a central", .0.display())]
    NoStorage(PathBuf),
    /// The marks and the totals did not belong together.
    #[error("a process died while it marked an agency as finished: try again in a second")]
    Unsettled,
    /// The locks of the storage are taken, and there is no central whose totals could be read.
    #[error(
        "{} is in use, but its central does not run{}: it is starting or stopping, or runs in \
         another container; run the command there, or try again",
        .storage.display(),
        .owner.map_or_else(String::new, |pid| format!(" as process {pid}"))
    )]
    NoCentral {
        /// Directory of the storage.
        storage: PathBuf,
        /// The process that the lock file names.
        owner: Option<u32>,
    },
    /// The storage is damaged, or a file cannot be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<FileError> for BackupError {
    fn from(error: FileError) -> Self {
        Self::Storage(error.into())
    }
}

/// Copies a storage that no central uses. Holds its lock meanwhile. Returns `None` if a central
/// uses it.
pub fn back_up_stopped(from: &Path, target: &Path) -> Result<Option<Ledger>, BackupError> {
    check_source(from)?;
    let Some(_locks) = lock::try_lock(from)? else { return Ok(None) };
    let copy = |to: &Path| {
        let always = [BETS, WINNERS, finished::FILE, checkpoints::FILE, journal::FILE];
        let sometimes = [winner_index::FILE, sessions::FILE, draw::FILE];
        for name in always.into_iter().chain(sometimes) {
            if from.join(name).exists() {
                copy_file(&from.join(name), &to.join(name))?;
            }
        }
        Ok(())
    };
    with_unfinished(target, copy).map(Some)
}

/// Copies a storage that a running central uses, whose state `now` returns. The copy holds
/// everything that is acknowledged before the call, and whole batches only.
pub fn back_up_running(
    from: &Path,
    target: &Path,
    now: impl Fn() -> Moment,
) -> Result<Ledger, BackupError> {
    check_source(from)?;
    with_unfinished(target, |to| {
        let Settled { moment: Moment { ledger, drawn }, marks, sessions } = settled(from, &now)?;
        copy_start(&from.join(BETS), &to.join(BETS), ledger.rows_end, ledger.rows_checksum)?;
        let lines = (ledger.lines_end, ledger.lines_checksum);
        copy_start(&from.join(WINNERS), &to.join(WINNERS), lines.0, lines.1)?;
        copy_index(from, to, &ledger)?;
        let entries = u64::from(ledger.entries) * checkpoints::ENTRY_BYTES;
        copy(&from.join(checkpoints::FILE), &to.join(checkpoints::FILE), entries)?;
        StoredFile::create(to.join(finished::FILE))?.write_all_at(&marks, 0)?;
        if drawn {
            copy_file(&from.join(draw::FILE), &to.join(draw::FILE))?;
        }
        if let Some(image) = &sessions {
            let copy = Sessions::create(to)?;
            copy.rewrite(image)?;
            copy.load()?;
            copy.begin_epoch(&ledger)?;
        }
        let run = Run {
            durability: Durability::Disk,
            boot: boot::current(),
            sessions: sessions.is_some(),
        };
        let (_journal, ledger) = Journal::create(to, ledger, run)?;
        Checkpoints::open(to)?.append(ledger, ledger.records, 0)?;
        Ok(())
    })
}

fn check_source(from: &Path) -> Result<(), BackupError> {
    if from.join(BETS).exists() { Ok(()) } else { Err(BackupError::NoStorage(from.to_owned())) }
}

/// Lets `fill` write a storage under another name, checks it as a start does, makes it durable and
/// gives it its name. After an error, nothing remains.
fn with_unfinished(
    target: &Path,
    fill: impl FnOnce(&Path) -> Result<(), BackupError>,
) -> Result<Ledger, BackupError> {
    let Some(name) = target.file_name() else { return Err(BackupError::Unnamed(target.into())) };
    let mut unfinished = name.to_owned();
    unfinished.push(".new");
    let unfinished = target.with_file_name(unfinished);
    let is_free = match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !is_free {
        return Err(BackupError::Taken(target.to_owned()));
    }
    if unfinished.exists() {
        return Err(BackupError::Unfinished(unfinished));
    }
    access::create_directory(&unfinished)?;
    let finished = fill(&unfinished).and_then(|()| finish(&unfinished, target));
    if finished.is_err() {
        // The error of the copy matters, not that of the removal.
        let _ = fs::remove_dir_all(&unfinished);
    }
    finished
}

/// Opens the copy as a start does, which checks it and syncs it, and gives it its name.
fn finish(unfinished: &Path, target: &Path) -> Result<Ledger, BackupError> {
    let (storage, recovery) = Storage::open(unfinished, Durability::Disk, false)?;
    storage.draw_over(&recovery.ledger)?;
    let ledger = storage.close(recovery.ledger)?;
    drop(storage);
    let renamed = fs::rename(unfinished, target);
    renamed.map_err(FileError::of("renaming", unfinished))?;
    let target = fs::canonicalize(target).map_err(FileError::of("examining", target))?;
    target.parent().map_or(Ok(()), sync_directory)?;
    Ok(ledger)
}

/// The state of a central, and what its files of changing content hold at the same moment.
struct Settled {
    moment: Moment,
    /// The finish marks.
    marks: Vec<u8>,
    /// The sessions, if the storage has them.
    sessions: Option<Image>,
}

/// Returns the state of the central.
fn settled(from: &Path, now: &impl Fn() -> Moment) -> Result<Settled, BackupError> {
    let path = from.join(finished::FILE);
    for _ in 0..ATTEMPTS {
        let before = now().ledger.finished;
        let marks = fs::read(&path).map_err(FileError::of("reading", &path))?;
        let moment = now();
        let count = marks.iter().filter(|mark| **mark != 0).count() as u32;
        if before == count
            && moment.ledger.finished == count
            && let Some(sessions) = sessions_at(from, &moment.ledger)?
        {
            return Ok(Settled { moment, marks, sessions });
        }
    }
    Err(BackupError::Unsettled)
}

/// Returns the sessions of a running central after the last record in the ledger, if its storage
/// has sessions. Returns `None` if the next epoch of the journal has begun meanwhile, which
/// overwrites these records and entries.
fn sessions_at(from: &Path, ledger: &Ledger) -> Result<Option<Option<Image>>, StorageError> {
    let Some(sessions) = Sessions::open_to_read(from)? else { return Ok(Some(None)) };
    let journal = Journal::open_to_read(from)?;
    let image = read_sessions(&sessions, &journal, ledger);
    match journal.newest_checkpoint()? {
        Some(newest) if newest.ledger.epoch == ledger.epoch => Ok(image?.map(Some)),
        _ => Ok(None),
    }
}

fn read_sessions(
    sessions: &Sessions,
    journal: &Journal,
    ledger: &Ledger,
) -> Result<Option<Image>, StorageError> {
    let start = journal.newest_checkpoint()?.ok_or_else(|| journal.damaged())?;
    let mut last = start.ledger;
    if last.epoch != ledger.epoch {
        return Ok(None);
    }
    let mut image = sessions.at_start_of(&last)?;
    while last.records < ledger.records {
        let record = journal.record_after(&last)?.ok_or_else(|| journal.damaged())?;
        if let Some(key) = record.key {
            image.put(key, last.epoch)?;
        }
        last = record.after;
    }
    Ok(Some(image))
}

/// Copies the first `bytes` bytes of a file. Fails if they do not have the checksum in the totals.
fn copy_start(from: &Path, to: &Path, bytes: u64, expected: u32) -> Result<(), BackupError> {
    if copy(from, to, bytes)? == expected {
        return Ok(());
    }
    let reason = "it is not what was acknowledged; stop the central and run `loteria-central verify` to \
                  see which rows changed";
    Err(inconsistent(from, reason.to_owned()).into())
}

/// Copies the places of the winners that the totals count, as far as the index has them. The draw
/// checks each.
fn copy_index(from: &Path, to: &Path, ledger: &Ledger) -> Result<(), BackupError> {
    let (from, to) = (from.join(winner_index::FILE), to.join(winner_index::FILE));
    if !from.exists() {
        return Ok(());
    }
    let length = fs::metadata(&from).map_err(FileError::of("examining", &from))?.len();
    copy(&from, &to, length.min(ledger.winners * winner_index::ENTRY_BYTES)).map(drop)
}

fn copy_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    let length = fs::metadata(from).map_err(FileError::of("examining", from))?.len();
    copy(from, to, length).map(drop)
}

/// Copies the first `bytes` bytes of a file and makes them durable. Returns their CRC-32.
fn copy(from: &Path, to: &Path, bytes: u64) -> Result<u32, BackupError> {
    // Read only, because the file may belong to a running central.
    let source = File::open(from).map_err(FileError::of("opening", from))?;
    let target = StoredFile::create(to.to_owned())?;
    let (mut found, mut piece) = (0, Vec::new());
    for at in (0..bytes).step_by(PIECE_BYTES as usize) {
        piece.resize((bytes - at).min(PIECE_BYTES) as usize, 0);
        source.read_exact_at(&mut piece, at).map_err(FileError::of("reading", from))?;
        found = checksum(found, &piece);
        target.write_all_at(&piece, at)?;
    }
    target.sync()?;
    Ok(found)
}
