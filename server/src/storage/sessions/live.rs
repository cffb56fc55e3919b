//! The table while a central runs: in memory that its processes share, so that neither a look-up
//! nor a change costs a system call.
//!
//! The sum over the table and the epoch in which each page was last changed are kept beside it, so
//! that a checkpoint reads and writes only the pages of its epoch.
//!
//! The owner of the ledger's lock is the only process that reads or changes the table. If it dies
//! in a commit, the next owner writes the whole table again.

use std::fmt;
use std::io;
use std::path::Path;

use lottery::BatchKey;
use multiprocessing::RawArray;

use super::super::FileError;
use super::super::file::{Operation, perform};
use super::entry::Entry;
use super::image::{Image, Sum};
use super::slot::{Slot, has_damage};
use super::table::{BUCKET_BYTES, PAGES, Place, TABLE_BYTES, find};
use super::{FILE, PAGE_BYTES, no_room};

/// Bytes of a word.
const WORD: usize = size_of::<u64>();
/// Word with the number of sessions. The sum of their hashes follows.
const SUM: usize = 0;
/// First of the epochs of the pages, one word each.
const EPOCHS: usize = 2;
/// First word of the table.
const TABLE: usize = EPOCHS + PAGES;
const PAGE: usize = PAGE_BYTES as usize;

/// The table in memory.
pub struct Live {
    words: RawArray<u64>,
}

impl Live {
    /// Returns a table without sessions.
    pub fn create() -> Result<Self, FileError> {
        let words = RawArray::new(TABLE + TABLE_BYTES / WORD).map_err(io::Error::other);
        let words = words.map_err(FileError::of("creating the table in memory of", path()))?;
        // The kernel provides a page when it is first written. A lack of memory must show now, not
        // in the commit of a batch.
        (0..words.len()).step_by(PAGE / WORD).for_each(|index| words.store(index, 0));
        Ok(Self { words })
    }

    /// Returns the last batch of a session. Fails if a copy in its bucket is damaged, because it
    /// may be the newest. No crash of a process leaves one: the next owner of the ledger's lock
    /// writes it again.
    pub fn last(&self, session: &[u8; 16]) -> Result<Option<BatchKey>, FileError> {
        let place = find(session, |at| {
            let bucket = self.bucket(at);
            if has_damage(&bucket) { Err(damaged()) } else { Ok(bucket) }
        })?;
        Ok(place.and_then(|place| place.slot.newest()).map(|entry| entry.key))
    }

    /// Returns the sum over the table.
    pub fn sum(&self) -> Sum {
        Sum { count: self.words.load(SUM), hashes: self.words.load(SUM + 1) }
    }

    /// Makes a batch the last one of its session. The caller has recorded the batch in the epoch.
    /// Returns the offset of its entry if it is of the first session of all.
    pub fn put(&self, key: BatchKey, epoch: u64) -> Result<Option<usize>, FileError> {
        let place = find(&key.session, |at| Ok::<_, FileError>(self.bucket(at)))?;
        let Place { at, slot } = place.ok_or_else(|| no_room(path()))?;
        let at = at + slot.overwritten(epoch);
        let before = self.sum();
        let after = before.with(&key, slot.newest().map(|entry| entry.key).as_ref());
        self.store(EPOCHS + at / PAGE, &[epoch])?;
        self.store(TABLE + at / WORD, &words_of(&Entry { key, epoch }.bytes()))?;
        self.store_sum(after)?;
        Ok((before.count == 0).then_some(at))
    }

    /// Returns the pages that were changed in an epoch, and their offsets. Pages in a row come as
    /// one. Fails if a copy in them is damaged.
    pub fn changed_pages(&self, epoch: u64) -> Result<Vec<(usize, Vec<u8>)>, FileError> {
        let mut runs: Vec<(usize, Vec<u8>)> = Vec::new();
        for page in (0..PAGES).filter(|page| self.words.load(EPOCHS + page) >= epoch) {
            let (at, end) = (page * PAGE, TABLE_BYTES.min((page + 1) * PAGE));
            match runs.last_mut() {
                Some((start, run)) if *start + run.len() == at => run.extend(self.bytes(at, end)),
                _ => runs.push((at, self.bytes(at, end).collect())),
            }
        }
        match runs.iter().any(|(_, bytes)| has_damage(bytes)) {
            true => Err(damaged()),
            false => Ok(runs),
        }
    }

    /// Returns the whole table.
    pub fn image(&self) -> Image {
        Image::new(self.bytes(0, TABLE_BYTES).collect())
    }

    /// Replaces the whole table. Fails if a copy in the new one is damaged.
    pub fn replace(&self, image: &Image) -> Result<(), FileError> {
        let sum = image.sum().ok_or_else(damaged)?;
        self.store(TABLE, &words_of(image.bytes()))?;
        let newest = |page: &[u8]| {
            let entries = page.as_chunks().0.iter().filter_map(|slot| Slot::parse(slot).newest());
            entries.map(|entry| entry.epoch).max().unwrap_or_default()
        };
        let epochs: Vec<_> = image.bytes().chunks(PAGE).map(newest).collect();
        self.store(EPOCHS, &epochs)?;
        self.store_sum(sum)
    }

    fn store_sum(&self, sum: Sum) -> Result<(), FileError> {
        self.store(SUM, &[sum.count, sum.hashes])
    }

    /// Stores words one by one. Fails only if a test says so.
    fn store(&self, first: usize, words: &[u64]) -> Result<(), FileError> {
        let operation = Operation::Store { memory: &self.words, first, words };
        let store = || {
            for (index, word) in (first..).zip(words) {
                self.words.store(index, *word);
            }
            Ok(())
        };
        perform(&operation, store).map_err(FileError::of("storing the table in memory of", path()))
    }

    fn bucket(&self, at: usize) -> [u8; BUCKET_BYTES] {
        let mut bucket = [0; BUCKET_BYTES];
        for (index, word) in (TABLE + at / WORD..).zip(bucket.as_chunks_mut().0) {
            *word = self.words.load(index).to_le_bytes();
        }
        bucket
    }

    /// Returns the bytes of the table between two offsets.
    fn bytes(&self, start: usize, end: usize) -> impl Iterator<Item = u8> {
        let words = TABLE + start / WORD..TABLE + end / WORD;
        words.flat_map(|index| self.words.load(index).to_le_bytes())
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("sum", &self.sum()).finish_non_exhaustive()
    }
}

fn words_of(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

fn damaged() -> FileError {
    let reason = "an entry in memory is damaged; restart the central";
    FileError::of("reading", path())(io::Error::new(io::ErrorKind::InvalidData, reason))
}

/// Returns the path that errors name.
fn path() -> &'static Path {
    Path::new(FILE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(session: u8, sequence: u64) -> BatchKey {
        BatchKey { session: [session; 16], agency: 1, sequence, content: sequence }
    }

    /// Returns the pages of an image whose newest entries include one of the epoch.
    fn pages_of(image: &Image, epoch: u64) -> Vec<usize> {
        let is_changed = |page: &[u8]| {
            let mut slots = page.as_chunks().0.iter().map(Slot::parse);
            slots.any(|slot| slot.newest().is_some_and(|entry| entry.epoch == epoch))
        };
        let pages = image.bytes().chunks(PAGE).enumerate();
        pages.filter(|(_, page)| is_changed(page)).map(|(page, _)| page * PAGE).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn the_sum_and_the_changed_pages_are_those_of_the_whole_table(
            commits in prop::collection::vec((0_u8..40, 0_u64..2), 1..60),
        ) {
            let (live, replaced) = (Live::create().unwrap(), Live::create().unwrap());
            let mut epoch = 1;
            for (sequence, (session, step)) in (1..).zip(commits) {
                epoch += step;
                live.put(key(session, sequence), epoch).unwrap();
                let image = live.image();
                replaced.replace(&image).unwrap();
                prop_assert_eq!(live.last(&[session; 16]).unwrap(), Some(key(session, sequence)));
                for live in [&live, &replaced] {
                    prop_assert_eq!(Some(live.sum()), image.sum());
                    let mut pages = Vec::new();
                    for (at, bytes) in live.changed_pages(epoch).unwrap() {
                        prop_assert_eq!(&bytes[..], &image.bytes()[at..at + bytes.len()]);
                        pages.extend((at..at + bytes.len()).step_by(PAGE));
                    }
                    prop_assert_eq!(pages, pages_of(&image, epoch));
                }
            }
        }
    }

    #[test]
    fn a_damaged_entry_is_no_answer_is_not_written_and_is_not_taken_over() {
        let live = Live::create().unwrap();
        let at = live.put(key(3, 1), 5).unwrap().unwrap();
        live.words.fetch_add(TABLE + at / WORD + 2, 1);
        let errors = [
            live.last(&[3; 16]).map(drop),
            live.changed_pages(5).map(drop),
            live.replace(&live.image()),
        ];
        for error in errors {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("damaged; restart the central"), "{error}");
        }
    }
}
