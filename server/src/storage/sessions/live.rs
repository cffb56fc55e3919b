//! The table while a central runs: in memory, in a file that has no name and that its processes
//! share.
//!
//! Each commit changes it, and writing into a file of a disk would cost several times as much. If a
//! process dies in a commit, the next owner of the ledger's lock brings the table up to date.

use std::path::Path;

use lottery::BatchKey;

use super::super::{FileError, file::StoredFile};
use super::entry::Entry;
use super::image::Image;
use super::no_room;
use super::slot::{Slot, Version};
use super::table::{BUCKET_BYTES, TABLE_BYTES, find};

/// Offset of the table, behind the number of sessions.
const TABLE: u64 = 4096;

/// The table in memory.
#[derive(Debug)]
pub struct Live {
    memory: StoredFile,
}

impl Live {
    /// Returns a table without sessions.
    pub fn create() -> Result<Self, FileError> {
        let memory = StoredFile::in_memory("sessions")?;
        // A lack of memory must not refuse an entry whose batch is stored.
        memory.reserve(TABLE + TABLE_BYTES as u64)?;
        Ok(Self { memory })
    }

    /// Returns the last batch of a session. Fails if a copy in its bucket is damaged, because it
    /// may be the newest. No crash of a process leaves one: the next owner of the ledger's lock
    /// writes it again.
    pub fn last(&self, session: &[u8; 16]) -> Result<Option<BatchKey>, FileError> {
        let place = find(session, |at| {
            let bucket = self.bucket(at)?;
            let mut slots = bucket.as_chunks().0.iter().map(Slot::parse);
            if slots.any(|slot| slot.versions.contains(&Version::Damaged)) {
                return Err(self.memory.damaged("an entry is damaged; restart the central"));
            }
            Ok(bucket)
        })?;
        Ok(place.and_then(|place| place.slot.newest()).map(|entry| entry.key))
    }

    /// Returns the number of sessions.
    pub fn count(&self) -> Result<u64, FileError> {
        let mut count = [0; 8];
        self.memory.read_exact_at(&mut count, 0)?;
        Ok(u64::from_le_bytes(count))
    }

    /// Makes a batch the last one of its session. The caller has recorded the batch in the epoch.
    /// Returns the offset of its entry if it is of the first session of all.
    pub fn put(&self, key: BatchKey, epoch: u64) -> Result<Option<usize>, FileError> {
        let place = find(&key.session, |at| self.bucket(at))?;
        let place = place.ok_or_else(|| no_room(Path::new(super::FILE)))?;
        let mut is_first = false;
        if place.slot.newest().is_none() {
            let count = self.count()?;
            is_first = count == 0;
            self.set_count(count + 1)?;
        }
        let at = place.at + place.slot.overwritten(epoch);
        self.memory.write_all_at(&Entry { key, epoch }.bytes(), TABLE + at as u64)?;
        Ok(is_first.then_some(at))
    }

    /// Returns the whole table.
    pub fn image(&self) -> Result<Image, FileError> {
        Image::read(&self.memory, TABLE)
    }

    /// Replaces the whole table.
    pub fn replace(&self, image: &Image) -> Result<(), FileError> {
        self.memory.write_all_at(image.bytes(), TABLE)?;
        self.set_count(image.sum().unwrap_or_default().count)
    }

    fn set_count(&self, count: u64) -> Result<(), FileError> {
        self.memory.write_all_at(&count.to_le_bytes(), 0)
    }

    fn bucket(&self, at: usize) -> Result<[u8; BUCKET_BYTES], FileError> {
        let mut bucket = [0; BUCKET_BYTES];
        self.memory.read_exact_at(&mut bucket, TABLE + at as u64)?;
        Ok(bucket)
    }
}
