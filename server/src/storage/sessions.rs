//! The file `sessions`: the key of the last batch of each session, so that a batch that arrives
//! again is not stored again.
//!
//! The file has a fixed size: two summaries on pages of their own, then a table with two copies of
//! each entry.
//!
//! The record of a batch in the journal carries its key and commits it together with the batch. The
//! entry is then changed in memory ([`Live`]), and written into the file when a checkpoint ends the
//! epoch, in a copy that does not destroy the entry at the start of the epoch. A start takes the
//! entries at the start of the epoch and applies its records to them. So an entry that survives
//! without its checkpoint changes nothing.
//!
//! A batch that no journal can hold is committed by a checkpoint instead of a record. (The dialects
//! have none that large. Durability must not depend on their limits.) Its entry
//! belongs to the epoch that the checkpoint ends, so it counts only once the checkpoint is there.

pub mod entry;
mod image;
mod live;
mod slot;
mod summary;
mod table;

use std::path::Path;

use lottery::BatchKey;
use nix::errno::Errno;

use self::entry::Entry;
pub use self::image::Image;
use self::live::Live;
use self::summary::{SUMMARY_BYTES, Summary};
pub use self::table::MAX_SESSIONS;
use self::table::TABLE_BYTES;
use super::file::{StoredFile, sync_directory};
use super::files::inconsistent;
use super::{FileError, Ledger, StorageError};

/// Name of the file.
pub const FILE: &str = "sessions";
/// Name of the file until it is complete.
const UNFINISHED: &str = "sessions.new";
const PAGE_BYTES: u64 = 4096;
/// Offset of the table, behind the summaries of two epochs.
const TABLE: u64 = 2 * PAGE_BYTES;
/// Size of the file.
pub const BYTES: u64 = TABLE + TABLE_BYTES as u64;

/// What to do about a file that does not belong to the others.
const ADVICE: &str = "nothing was changed; restore all files from the same backup; or move both \
                      `sessions` and `journal` away to go on without sessions, and a batch that \
                      an agency sends again may be stored twice";

/// The open file, and its table in memory.
#[derive(Debug)]
pub struct Sessions {
    file: StoredFile,
    /// The sessions of the running central. Processes share it.
    pub live: Live,
}

impl Sessions {
    /// Opens the file, if there is one. Fails if it has another length, because sessions may be
    /// missing.
    pub fn open(directory: &Path) -> Result<Option<Self>, StorageError> {
        let path = directory.join(FILE);
        if !path.try_exists().map_err(FileError::of("opening", &path))? {
            return Ok(None);
        }
        let sessions = Self { file: StoredFile::open(path)?, live: Live::create()? };
        let length = sessions.file.length()?;
        if length != BYTES {
            let what = format!("it has {length} bytes instead of {BYTES}");
            return Err(sessions.refused(&what));
        }
        // A full disk must not prevent a checkpoint.
        sessions.file.reserve(BYTES)?;
        Ok(Some(sessions))
    }

    /// Creates the file without sessions. It gets its name when it is complete and durable.
    pub fn create(directory: &Path) -> Result<Self, StorageError> {
        let mut file = StoredFile::create(directory.join(UNFINISHED))?;
        file.reserve(BYTES)?;
        file.sync()?;
        file.rename(directory.join(FILE))?;
        sync_directory(directory)?;
        Ok(Self { file, live: Live::create()? })
    }

    /// Opens the file of a running central, for reading only, if there is one.
    pub fn open_to_read(directory: &Path) -> Result<Option<Self>, FileError> {
        let path = directory.join(FILE);
        if !path.try_exists().map_err(FileError::of("opening", &path))? {
            return Ok(None);
        }
        Ok(Some(Self { file: StoredFile::open_to_read(path)?, live: Live::create()? }))
    }

    /// Returns the file.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// Returns the file.
    pub fn file_mut(&mut self) -> &mut StoredFile {
        &mut self.file
    }

    /// Returns the whole table of the file.
    pub fn image(&self) -> Result<Image, FileError> {
        Image::read(&self.file, TABLE)
    }

    /// Makes a batch the last one of its session. The caller has recorded the batch in the epoch.
    pub fn put(&self, key: BatchKey, epoch: u64) -> Result<(), FileError> {
        let Some(first) = self.live.put(key, epoch)? else { return Ok(()) };
        // Without the journal, only this entry shows that the storage has ever had a session.
        self.file.write_all_at(&Entry { key, epoch }.bytes(), TABLE + first as u64)
    }

    /// Brings the table in memory up to the file.
    pub fn load(&self) -> Result<(), FileError> {
        self.live.replace(&self.image()?)
    }

    /// Writes the whole table, so that the next sync makes each entry durable, even if an earlier
    /// sync has failed and the kernel has forgotten it.
    pub fn rewrite(&self, image: &Image) -> Result<(), FileError> {
        self.file.write_all_at(image.bytes(), TABLE)
    }

    /// Writes the entries of the epoch that ends with these totals, then the summary for the next
    /// one. The caller then makes all of it durable, if that is promised, before it begins the
    /// epoch.
    pub fn begin_epoch(&self, ledger: &Ledger) -> Result<(), StorageError> {
        let sum = self.live.sum();
        debug_assert_eq!(Some(sum), self.live.image().sum(), "the sum is not that of the table");
        for (at, bytes) in self.live.changed_pages(ledger.epoch)? {
            self.file.write_all_at(&bytes, TABLE + at as u64)?;
        }
        let summary = Summary::new(ledger.epoch + 1, sum, ledger);
        Ok(self.file.write_all_at(&summary.bytes(), page(summary.epoch))?)
    }

    /// Returns the table at the start of the epoch that a checkpoint with these totals begins.
    /// Fails if the file does not belong to it.
    pub fn at_start_of(&self, start: &Ledger) -> Result<Image, StorageError> {
        let mut image = self.image()?;
        image.rewind(start.epoch);
        let found = image.sum().unwrap_or_default();
        let summaries = self.summaries()?;
        let expected = Summary::new(start.epoch, found, start);
        if summaries.contains(&Some(expected)) {
            return Ok(image);
        }
        let newest = summaries.iter().flatten().map(|summary| summary.epoch).max();
        let recorded = summaries.iter().flatten().find(|summary| summary.epoch == start.epoch);
        let what = match (recorded, newest) {
            (Some(recorded), _) if recorded.sum == found => {
                "it belongs to another storage, or to another moment of this one".to_owned()
            }
            (Some(recorded), _) => format!(
                "it does not hold the {} sessions that it had when epoch {} of the journal began",
                recorded.sum.count, start.epoch
            ),
            (None, Some(newest)) if newest < start.epoch => format!(
                "it is older than the journal, or its newest summary is damaged: its last epoch \
                 is {newest}, and that of the journal is {}",
                start.epoch
            ),
            (None, Some(newest)) => format!(
                "it is newer than the journal, or one of its summaries is damaged: its last epoch \
                 is {newest}, and that of the journal is {}",
                start.epoch
            ),
            (None, None) => "it has no readable summary".to_owned(),
        };
        Err(self.refused(&what))
    }

    /// Checks that the file has never had a session, because the journal knows of none.
    pub fn check_blank(&self) -> Result<(), StorageError> {
        if self.image()?.is_blank() {
            return Ok(());
        }
        Err(self.refused(
            "it has sessions, but a program that does not know them has used this storage since",
        ))
    }

    /// Checks that the sessions are those of a storage with these totals, which were counted
    /// because there is no journal. Returns an epoch that follows all epochs in the file.
    pub fn check_counted(&self, totals: &Ledger) -> Result<u64, StorageError> {
        let image = self.image()?;
        let newest = self.summaries()?.into_iter().flatten().max_by_key(|summary| summary.epoch);
        let epoch = newest.map_or(0, |summary| summary.epoch);
        if image.is_blank() {
            return Ok(epoch);
        }
        let mut rewound = image.clone();
        rewound.rewind(epoch);
        let sum = image.sum().unwrap_or_default();
        if rewound == image && newest == Some(Summary::new(epoch, sum, totals)) {
            return Ok(epoch);
        }
        Err(self.refused("without the journal it is unknown whether its sessions match bets.csv"))
    }

    /// Makes every entry survive a power loss.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.file.sync()
    }

    /// Returns the error for a file that does not belong to the others.
    fn refused(&self, what: &str) -> StorageError {
        inconsistent(self.file.path(), format!("{what}; {ADVICE}"))
    }

    fn summaries(&self) -> Result<[Option<Summary>; 2], FileError> {
        let mut summaries = [None; 2];
        for (summary, epoch) in summaries.iter_mut().zip(0..) {
            let mut bytes = [0; SUMMARY_BYTES];
            self.file.read_exact_at(&mut bytes, page(epoch))?;
            *summary = Summary::parse(&bytes);
        }
        Ok(summaries)
    }
}

/// Returns the error for a session that has no slot.
fn no_room(path: &Path) -> FileError {
    FileError::of("writing", path)(Errno::ENOSPC.into())
}

/// Returns the offset of the summary of an epoch. Two epochs in a row have different pages.
fn page(epoch: u64) -> u64 {
    epoch % 2 * PAGE_BYTES
}
