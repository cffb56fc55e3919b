//! The whole table in memory, as a start, a check or a backup reads it.

use std::convert::Infallible;
use std::path::Path;

use lottery::BatchKey;

use super::super::FileError;
use super::super::file::StoredFile;
use super::entry::{ENTRY_BYTES, Entry, hash_of};
use super::slot::{SLOT_BYTES, Slot, Version};
use super::table::{BUCKET_BYTES, TABLE_BYTES, find};
use super::{FILE, no_room};

/// The bytes of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(Vec<u8>);

/// The number of sessions, and the sum of the hashes of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Sessions.
    pub count: u64,
    /// Sum of the hashes, so that the order does not matter.
    pub hashes: u64,
}

impl Sum {
    /// Returns the sum after a batch becomes the last one of its session, instead of `before`.
    pub fn with(self, key: &BatchKey, before: Option<&BatchKey>) -> Self {
        let hashes = self.hashes.wrapping_add(hash_of(key));
        match before {
            Some(before) => Self { hashes: hashes.wrapping_sub(hash_of(before)), ..self },
            None => Self { count: self.count + 1, hashes },
        }
    }
}

impl Image {
    /// Takes the bytes of a table.
    pub fn new(bytes: Vec<u8>) -> Self {
        debug_assert_eq!(bytes.len(), TABLE_BYTES);
        Self(bytes)
    }

    /// Reads the table at an offset of a file.
    pub fn read(file: &StoredFile, offset: u64) -> Result<Self, FileError> {
        let mut bytes = vec![0; TABLE_BYTES];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(Self(bytes))
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns true if nothing was ever written.
    pub fn is_blank(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Removes all damaged copies and those that were written in an epoch or after it. What is left
    /// are the entries at the start of the epoch.
    pub fn rewind(&mut self, epoch: u64) {
        for bytes in self.0.as_chunks_mut::<SLOT_BYTES>().0 {
            let slot = Slot::parse(bytes);
            for (copy, version) in
                bytes.as_chunks_mut::<ENTRY_BYTES>().0.iter_mut().zip(slot.versions)
            {
                let is_kept = match version {
                    Version::Blank => true,
                    Version::Damaged => false,
                    Version::Whole(entry) => entry.epoch < epoch,
                };
                if !is_kept {
                    copy.fill(0);
                }
            }
        }
    }

    /// Returns the sum over the newest entry of each session, or `None` if a copy is damaged, which
    /// may be the newest.
    pub fn sum(&self) -> Option<Sum> {
        let mut sum = Sum::default();
        for bytes in self.0.as_chunks().0 {
            let slot = Slot::parse(bytes);
            if slot.is_damaged() {
                return None;
            }
            if let Some(entry) = slot.newest() {
                sum = sum.with(&entry.key, None);
            }
        }
        Some(sum)
    }

    /// Makes a batch the last one of its session. Fails if there is no room, which no storage has
    /// recorded.
    pub fn put(&mut self, key: BatchKey, epoch: u64) -> Result<(), FileError> {
        let Ok(place) = find(&key.session, |at| Ok::<_, Infallible>(self.bucket(at)));
        let place = place.ok_or_else(|| no_room(Path::new(FILE)))?;
        let at = place.at + place.slot.overwritten(epoch);
        self.0[at..at + ENTRY_BYTES].copy_from_slice(&Entry { key, epoch }.bytes());
        Ok(())
    }

    fn bucket(&self, at: usize) -> [u8; BUCKET_BYTES] {
        let mut bucket = [0; BUCKET_BYTES];
        bucket.copy_from_slice(&self.0[at..at + BUCKET_BYTES]);
        bucket
    }
}
