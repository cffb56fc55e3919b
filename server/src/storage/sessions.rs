//! The file `sessions`: the key of the last batch of each session, so that a batch that arrives
//! again is not stored again.
//!
//! The file has a fixed size: two summaries on pages of their own, the number of sessions, then a
//! table with two copies of each entry.
//!
//! The record of a batch in the journal carries its key and commits it together with the batch. The
//! entry is written after the record, in a copy that does not destroy the entry at the start of the
//! epoch. A start takes these entries and applies the records of the epoch to them. So neither an
//! entry that survives without its record, nor one that is lost, changes what it finds.
//!
//! A batch that no journal can hold is committed by a checkpoint instead of a record. Its entry is
//! written before that checkpoint and belongs to the epoch that the checkpoint ends. So it counts
//! only once the checkpoint is there.

pub mod entry;
mod image;
mod slot;
mod summary;
mod table;

use std::io;
use std::path::Path;

use lottery::BatchKey;
use nix::errno::Errno;

use self::entry::Entry;
pub use self::image::Image;
use self::image::Sum;
use self::slot::Version;
use self::summary::{SUMMARY_BYTES, Summary};
pub use self::table::MAX_SESSIONS;
use self::table::{BUCKET_BYTES, TABLE_BYTES, find};
use super::file::{StoredFile, sync_directory};
use super::files::inconsistent;
use super::{FileError, Ledger, StorageError};

/// Name of the file.
pub const FILE: &str = "sessions";
/// Name of the file until it is complete.
const UNFINISHED: &str = "sessions.new";
const PAGE_BYTES: u64 = 4096;
/// Offset of the number of sessions, behind the summaries of two epochs.
const COUNT: u64 = 2 * PAGE_BYTES;
/// Offset of the table.
const TABLE: u64 = 3 * PAGE_BYTES;
/// Size of the file.
const BYTES: u64 = TABLE + TABLE_BYTES as u64;

/// What to do about a file that does not belong to the others.
const ADVICE: &str = "nothing was changed; restore all files from the same backup; or move both \
                      `sessions` and `journal` away to go on without sessions, and a batch that \
                      an agency sends again may be stored twice";

/// The open file. Processes share its descriptor.
#[derive(Debug)]
pub struct Sessions {
    file: StoredFile,
}

impl Sessions {
    /// Opens the file, if there is one. Fails if it has another length, because sessions may be
    /// missing.
    pub fn open(directory: &Path) -> Result<Option<Self>, StorageError> {
        let path = directory.join(FILE);
        if !path.try_exists().map_err(FileError::of("opening", &path))? {
            return Ok(None);
        }
        let sessions = Self { file: StoredFile::open(path)? };
        let length = sessions.file.length()?;
        if length != BYTES {
            let what = format!("it has {length} bytes instead of {BYTES}");
            return Err(sessions.refused(&what));
        }
        // A full disk must not refuse an entry whose batch is stored.
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
        Ok(Self { file })
    }

    /// Returns the file.
    pub fn file_mut(&mut self) -> &mut StoredFile {
        &mut self.file
    }

    /// Returns the file.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// Returns the last batch of a session.
    pub fn last(&self, session: &[u8; 16]) -> Result<Option<BatchKey>, FileError> {
        let place = find(session, |at| self.whole_bucket(at))?;
        Ok(place.and_then(|place| place.slot.newest()).map(|entry| entry.key))
    }

    /// Returns the number of sessions.
    pub fn count(&self) -> Result<u64, FileError> {
        let mut count = [0; 8];
        self.file.read_exact_at(&mut count, COUNT)?;
        Ok(u64::from_le_bytes(count))
    }

    /// Makes a batch the last one of its session. The caller has recorded the batch in the epoch.
    pub fn put(&self, key: BatchKey, epoch: u64) -> Result<(), FileError> {
        let place = find(&key.session, |at| self.bucket(at))?;
        let no_room = || FileError::of("writing", self.file.path())(Errno::ENOSPC.into());
        let place = place.ok_or_else(no_room)?;
        if place.slot.newest().is_none() {
            self.set_count(self.count()? + 1)?;
        }
        let at = place.at + place.slot.overwritten(epoch);
        self.file.write_all_at(&Entry { key, epoch }.bytes(), TABLE + at as u64)
    }

    /// Returns the whole table.
    pub fn image(&self) -> Result<Image, FileError> {
        let mut bytes = vec![0; TABLE_BYTES];
        self.file.read_exact_at(&mut bytes, TABLE)?;
        Ok(Image::new(bytes))
    }

    /// Writes the whole table, so that the next sync makes each entry durable, even if an earlier
    /// sync has failed and the kernel has forgotten it.
    pub fn rewrite(&self, image: &Image) -> Result<(), FileError> {
        self.file.write_all_at(image.bytes(), TABLE)
    }

    /// Counts the sessions again.
    pub fn recount(&self) -> Result<(), StorageError> {
        let sum = self.sum()?;
        Ok(self.set_count(sum.count)?)
    }

    /// Writes the summary for the epoch that follows these totals. The caller then makes it and all
    /// entries durable, if that is promised, before it begins the epoch.
    pub fn begin_epoch(&self, ledger: &Ledger) -> Result<(), StorageError> {
        let sum = self.sum()?;
        let summary = Summary::new(ledger.epoch + 1, sum, ledger);
        self.file.write_all_at(&summary.bytes(), page(summary.epoch))?;
        Ok(self.set_count(sum.count)?)
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

    fn sum(&self) -> Result<Sum, StorageError> {
        self.image()?.sum().ok_or_else(|| self.refused("an entry in it is damaged"))
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

    fn set_count(&self, count: u64) -> Result<(), FileError> {
        self.file.write_all_at(&count.to_le_bytes(), COUNT)
    }

    fn bucket(&self, at: usize) -> Result<[u8; BUCKET_BYTES], FileError> {
        let mut bucket = [0; BUCKET_BYTES];
        self.file.read_exact_at(&mut bucket, TABLE + at as u64)?;
        Ok(bucket)
    }

    /// Reads a bucket, and fails if a copy in it is damaged, because it may be the newest of its
    /// session. No crash of a process leaves one: the next owner of the ledger writes it again.
    fn whole_bucket(&self, at: usize) -> Result<[u8; BUCKET_BYTES], FileError> {
        let bucket = self.bucket(at)?;
        let mut slots = bucket.as_chunks().0.iter().map(slot::Slot::parse);
        if slots.any(|slot| slot.versions.contains(&Version::Damaged)) {
            let reason = "an entry is damaged; stop the central and run `server verify`";
            let error = io::Error::new(io::ErrorKind::InvalidData, reason);
            return Err(FileError::of("reading", self.file.path())(error));
        }
        Ok(bucket)
    }
}

/// Returns the offset of the summary of an epoch. Two epochs in a row have different pages.
fn page(epoch: u64) -> u64 {
    epoch % 2 * PAGE_BYTES
}
