//! The journal of the first version, which a start reads once, to write the current one.
//!
//! It has two checkpoint pages, then one record per batch. A record has one header, of eleven
//! words, and a CRC-32 of the rows and of the winner lines.

use std::path::Path;

use super::super::file::StoredFile;
use super::super::group::Bytes;
use super::super::ledger::{Ledger, halves};
use super::super::{FileError, StorageError};

/// Version of the format: the last byte of the magic.
pub const VERSION: u8 = b'1';
const MAGIC: u64 = u64::from_le_bytes(*b"LOTJRNL1");
const CHECKPOINT_BYTES: u64 = 4096;
const JOURNAL_BYTES: u64 = 2 * CHECKPOINT_BYTES + 8 * 1024 * 1024;
const HEADER_WORDS: usize = 11;
const HEADER_BYTES: usize = HEADER_WORDS * 8;

/// The open file.
#[derive(Debug)]
pub struct Journal {
    file: StoredFile,
}

/// A batch as the journal records it.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The totals after it.
    pub after: Ledger,
    /// Length and CRC-32 of what it added to `bets.csv`.
    pub rows: Part,
    /// Length and CRC-32 of what it added to `winners.log`.
    pub lines: Part,
    /// Offset of its bytes in the journal, if the record carries them: rows, then lines.
    payload: Option<u64>,
}

/// Length and checksum of what a batch added to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Length in bytes.
    pub length: u32,
    /// CRC-32 of the bytes.
    pub checksum: u32,
}

impl Part {
    /// Returns true if these are the recorded bytes.
    pub fn describes(self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == u64::from(self.length) && crc32fast::hash(bytes) == self.checksum
    }
}

impl Journal {
    /// Returns the journal in this file.
    pub fn new(file: StoredFile) -> Result<Self, FileError> {
        // Zeros that a copy left out at the end are written back.
        if file.length()? < JOURNAL_BYTES {
            file.reserve(JOURNAL_BYTES)?;
        }
        Ok(Self { file })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the totals at the last checkpoint and the batches since, in order.
    pub fn read(&self) -> Result<(Ledger, Vec<Record>), StorageError> {
        let mut starts = Vec::new();
        for page in [0, CHECKPOINT_BYTES] {
            starts.extend(parse(&self.header_at(page)?).map(|record| record.after));
        }
        let start = starts.into_iter().max_by_key(|ledger| ledger.epoch).ok_or_else(|| {
            let reason = "it is damaged; restore it from a backup, or move it away to count the \
                          totals from bets.csv";
            StorageError::Inconsistent { path: self.file.path().to_owned(), reason: reason.into() }
        })?;
        let mut records = Vec::new();
        let mut last = start;
        while let Some(record) = self.record_after(&last)? {
            last = record.after;
            records.push(record);
        }
        Ok((start, records))
    }

    /// Reads the bytes of a batch that its record carries: rows and winner lines. Returns `None` if
    /// it carries none, or damaged ones.
    pub fn payload(&self, record: &Record) -> Result<Option<Bytes>, FileError> {
        let Some(offset) = record.payload else { return Ok(None) };
        let (rows, lines) = (record.rows.length, record.lines.length);
        if offset + u64::from(rows) + u64::from(lines) > JOURNAL_BYTES {
            return Ok(None);
        }
        let (mut rows, mut lines) = (vec![0; rows as usize], vec![0; lines as usize]);
        self.file.read_exact_at(&mut rows, offset)?;
        self.file.read_exact_at(&mut lines, offset + rows.len() as u64)?;
        let whole = record.rows.describes(&rows) && record.lines.describes(&lines);
        Ok(whole.then_some((rows, lines)))
    }

    /// Returns the record that follows these totals, if there is a whole one.
    fn record_after(&self, last: &Ledger) -> Result<Option<Record>, FileError> {
        let at = last.journal_end;
        if at + HEADER_BYTES as u64 > JOURNAL_BYTES {
            return Ok(None);
        }
        let Some(mut record) = parse(&self.header_at(at)?) else { return Ok(None) };
        let follows = record.after.epoch == last.epoch
            && record.after.batches == last.batches + 1
            && record.after.journal_end == at;
        if !follows {
            return Ok(None);
        }
        let mut bytes = HEADER_BYTES as u64;
        if record.payload.is_some() {
            record.payload = Some(at + bytes);
            if self.payload(&record)?.is_none() {
                return Ok(None);
            }
            bytes += u64::from(record.rows.length) + u64::from(record.lines.length);
        }
        record.after.journal_end = at + bytes.next_multiple_of(8);
        Ok(Some(record))
    }

    fn header_at(&self, offset: u64) -> Result<[u8; HEADER_BYTES], FileError> {
        let mut bytes = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// Parses a header. Returns `None` if the bytes are not a header, or a torn one. If there is a
/// payload, its offset is set to 0 until the caller knows it.
fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Record> {
    let mut words = [0; HEADER_WORDS];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*chunk);
    }
    let (with_payload, checksum) = halves(words[10]);
    let mut unsealed = *bytes;
    unsealed[84..].fill(0);
    if words[0] != MAGIC || crc32fast::hash(&unsealed) != checksum {
        return None;
    }
    let [_, batches, bets, winners, rows_end, lines_end, epoch, journal_end, ..] = words;
    let after = Ledger {
        batches,
        bets,
        winners,
        rows_end,
        lines_end,
        epoch,
        journal_end,
        ..Ledger::default()
    };
    let ((rows, lines), (rows_checksum, lines_checksum)) = (halves(words[8]), halves(words[9]));
    Some(Record {
        after,
        rows: Part { length: rows, checksum: rows_checksum },
        lines: Part { length: lines, checksum: lines_checksum },
        payload: (with_payload != 0).then_some(0),
    })
}
