//! The journal beside `bets.csv`: where each batch ends. It distinguishes a whole batch from a
//! torn one. It bounds the time of recovery, regardless of how much is stored.
//!
//! The file has a fixed size. Two checkpoint pages take turns: each holds an epoch and the totals
//! at its start, and the higher epoch counts, so a page torn while it is written loses nothing. The
//! records of that epoch follow, one per batch. They end at the first one that does not match its
//! epoch, sequence or checksum. When the file is full, a checkpoint starts a new epoch, whose
//! records overwrite the old ones.
//!
//! A record is the commit of its batch. With durability `disk` it also carries the batch itself.
//! Then one `fdatasync` of this file, which never grows, makes a batch durable, and recovery
//! restores `bets.csv` from it after a power loss.

use std::path::Path;

use super::file::StoredFile;
use super::group::{Batch, Batches};
use super::ledger::{Ledger, LedgerWords};
use super::{FileError, StorageError, clear_buffer};

/// Size of a checkpoint page: one page of the file system, so that the two never share one.
const CHECKPOINT_BYTES: u64 = 4096;
/// Offset of the first record.
const RECORDS_START: u64 = 2 * CHECKPOINT_BYTES;
/// Size of the file. Between checkpoints it holds about a thousand records of 8 kB batches with
/// their bytes, or 100,000 without.
const JOURNAL_BYTES: u64 = RECORDS_START + 8 * 1024 * 1024;
/// First word of a record or checkpoint: "LOTJRNL1".
const MAGIC: u64 = u64::from_le_bytes(*b"LOTJRNL1");
/// Words of a header: magic, the ledger, lengths, checksums, payload flag with the header's own
/// checksum.
const HEADER_WORDS: usize = 11;
const HEADER_BYTES: usize = HEADER_WORDS * 8;

/// The open journal. Processes share its descriptor; all writes name their offset.
#[derive(Debug)]
pub struct Journal {
    file: StoredFile,
    /// Reused to put the records of a commit together.
    records: Vec<u8>,
}

/// A batch as the journal records it.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The totals after it.
    pub after: Ledger,
    /// Bytes it added to `bets.csv`, before `after.rows_end`.
    pub rows: Part,
    /// Bytes it added to `winners.log`, before `after.lines_end`.
    pub lines: Part,
    /// Offset of its bytes in the journal, if the record carries them: rows, then lines.
    pub payload: Option<u64>,
}

/// Length and checksum of what a batch added to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Length in bytes.
    pub length: u32,
    /// CRC-32 of the bytes.
    pub checksum: u32,
}

/// What a journal holds.
#[derive(Debug)]
pub enum Contents {
    /// Nothing: it was just created.
    Empty,
    /// The totals at its last checkpoint and the batches since, in order.
    Epoch(Ledger, Vec<Record>),
    /// Checkpoint pages that were written and are damaged.
    Damaged,
}

impl Part {
    /// Returns the length and checksum of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        // A batch is at most a few times MAX_REQUEST_BYTES, far below 4 GiB.
        Self { length: bytes.len() as u32, checksum: crc32fast::hash(bytes) }
    }

    fn word(lengths: [u32; 2]) -> u64 {
        u64::from(lengths[0]) | u64::from(lengths[1]) << 32
    }
}

impl Journal {
    /// Opens the journal, creating it and reserving its space if necessary. The reservation makes
    /// a full file system fail here and not in the middle of a batch.
    pub fn open(directory: &Path) -> Result<Self, FileError> {
        let file = StoredFile::open(directory.join("journal"))?;
        file.reserve(JOURNAL_BYTES)?;
        Ok(Self { file, records: Vec::new() })
    }

    /// Returns the file.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// Returns true if the records of these batches fit behind the last one.
    pub fn has_room(&self, ledger: &Ledger, batches: Batches<'_>, with_payload: bool) -> bool {
        let bytes: u64 = batches.iter().map(|batch| record_bytes(&batch, with_payload)).sum();
        ledger.journal_end + bytes <= JOURNAL_BYTES
    }

    /// Writes the records that commit these batches, with one write. Returns the ledger after them.
    ///
    /// If it fails, a prefix of the batches may be committed.
    pub fn append(
        &mut self,
        before: Ledger,
        batches: Batches<'_>,
        with_payload: bool,
    ) -> Result<Ledger, FileError> {
        clear_buffer(&mut self.records);
        let mut ledger = before;
        for batch in batches.iter() {
            let after = batch.added_to(ledger);
            let (rows, lines) = (Part::of(batch.rows), Part::of(batch.lines));
            self.records.extend_from_slice(&header(after, rows, lines, with_payload));
            if with_payload {
                self.records.extend_from_slice(batch.rows);
                self.records.extend_from_slice(batch.lines);
            }
            let journal_end = after.journal_end + record_bytes(&batch, with_payload);
            self.records.resize((journal_end - before.journal_end) as usize, 0);
            ledger = Ledger { journal_end, ..after };
        }
        self.file.write_all_at(&self.records, before.journal_end)?;
        Ok(ledger)
    }

    /// Starts a new epoch with the totals of `ledger` and returns its ledger. The caller must have
    /// made the files durable, if that is promised. If this fails, the old epoch still counts.
    pub fn checkpoint(&self, ledger: Ledger) -> Result<Ledger, FileError> {
        let next = Ledger { epoch: ledger.epoch + 1, journal_end: RECORDS_START, ..ledger };
        let nothing = Part::of(&[]);
        let page = (next.epoch % 2) * CHECKPOINT_BYTES;
        self.file.write_all_at(&header(next, nothing, nothing, false), page)?;
        Ok(next)
    }

    /// Makes everything written so far survive a power loss. After a failure, what was written may
    /// be lost, and a second sync does not bring it back.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.file.sync()
    }

    /// Reads what the journal holds.
    pub fn read(&self) -> Result<Contents, FileError> {
        let mut pages = Vec::new();
        let mut blank = true;
        for page in [0, CHECKPOINT_BYTES] {
            let bytes = self.header_at(page)?;
            blank &= bytes == [0; HEADER_BYTES];
            pages.extend(parse(&bytes).map(|record| record.after));
        }
        let Some(start) = pages.into_iter().max_by_key(|ledger| ledger.epoch) else {
            return Ok(if blank { Contents::Empty } else { Contents::Damaged });
        };
        let mut records = Vec::new();
        let mut last = start;
        while let Some(record) = self.record_after(&last)? {
            last = record.after;
            records.push(record);
        }
        Ok(Contents::Epoch(start, records))
    }

    /// Reads the bytes of a batch that the journal carries: rows and winner lines.
    pub fn payload(&self, record: &Record, offset: u64) -> Result<(Vec<u8>, Vec<u8>), FileError> {
        let mut rows = vec![0; record.rows.length as usize];
        let mut lines = vec![0; record.lines.length as usize];
        self.file.read_exact_at(&mut rows, offset)?;
        self.file.read_exact_at(&mut lines, offset + u64::from(record.rows.length))?;
        Ok((rows, lines))
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
            let offset = at + bytes;
            bytes += u64::from(record.rows.length) + u64::from(record.lines.length);
            if at + bytes > JOURNAL_BYTES {
                return Ok(None);
            }
            let (rows, lines) = self.payload(&record, offset)?;
            if Part::of(&rows) != record.rows || Part::of(&lines) != record.lines {
                return Ok(None);
            }
            record.payload = Some(offset);
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

/// Returns the bytes of a record, padded so that the next one is aligned to words.
fn record_bytes(batch: &Batch<'_>, with_payload: bool) -> u64 {
    let payload = if with_payload { batch.rows.len() + batch.lines.len() } else { 0 };
    ((HEADER_BYTES + payload) as u64).next_multiple_of(8)
}

fn header(after: Ledger, rows: Part, lines: Part, with_payload: bool) -> [u8; HEADER_BYTES] {
    let mut words = [0; HEADER_WORDS];
    words[0] = MAGIC;
    words[1..8].copy_from_slice(&LedgerWords::from(after));
    words[8] = Part::word([rows.length, lines.length]);
    words[9] = Part::word([rows.checksum, lines.checksum]);
    words[10] = with_payload.into();
    words[10] |= u64::from(crc32fast::hash(&le_bytes(&words))) << 32;
    le_bytes(&words)
}

fn le_bytes(words: &[u64; HEADER_WORDS]) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Parses a header. Returns `None` if the bytes are not a header, or a torn one. If there is a
/// payload, its offset is set to 0 until the caller knows it.
fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Record> {
    let mut words = [0; HEADER_WORDS];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*chunk);
    }
    let checksum = (words[10] >> 32) as u32;
    words[10] &= u64::from(u32::MAX);
    if words[0] != MAGIC || crc32fast::hash(&le_bytes(&words)) != checksum {
        return None;
    }
    let mut ledger: LedgerWords = [0; 7];
    ledger.copy_from_slice(&words[1..8]);
    let part = |shift: u32| Part {
        length: (words[8] >> shift) as u32,
        checksum: (words[9] >> shift) as u32,
    };
    let payload = (words[10] != 0).then_some(0);
    Some(Record { after: ledger.into(), rows: part(0), lines: part(32), payload })
}

#[cfg(test)]
mod tests {
    use super::super::Group;
    use super::*;

    fn journal() -> (tempfile::TempDir, Journal) {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        (directory, journal)
    }

    /// Returns a group with one batch per element: these rows and one winner line.
    fn group(batches: &[&[u8]]) -> Group {
        let mut group = Group::default();
        for rows in batches {
            let added = group.add(1, 1, |to_rows, to_lines| {
                to_rows.extend_from_slice(rows);
                to_lines.extend_from_slice(b"winner\n");
                Ok::<_, ()>(())
            });
            added.unwrap();
        }
        group
    }

    fn read(journal: &Journal) -> (Ledger, Vec<Record>) {
        match journal.read().unwrap() {
            Contents::Epoch(start, records) => (start, records),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_journal_is_empty() {
        assert!(matches!(journal().1.read().unwrap(), Contents::Empty));
    }

    #[test]
    fn records_read_back_in_order_with_and_without_their_bytes() {
        for with_payload in [false, true] {
            let (_directory, mut journal) = journal();
            let start = journal.checkpoint(Ledger::default()).unwrap();
            let first = group(&[b"one\r\n"]);
            let ledger = journal.append(start, first.all(), with_payload).unwrap();
            let group = group(&[b"two, longer\r\n", b"three\r\n"]);
            let ledger = journal.append(ledger, group.all(), with_payload).unwrap();
            let (read_start, records) = read(&journal);
            assert_eq!((read_start, records.len()), (start, 3));
            assert_eq!(records[2].after, ledger);
            assert_eq!(records[0].rows, Part::of(b"one\r\n"));
            for (record, rows) in records[1..].iter().zip([&b"two, longer\r\n"[..], b"three\r\n"]) {
                assert_eq!(record.rows, Part::of(rows));
                assert_eq!(record.payload.is_some(), with_payload);
                if let Some(offset) = record.payload {
                    let bytes = (rows.to_vec(), b"winner\n".to_vec());
                    assert_eq!(journal.payload(record, offset).unwrap(), bytes);
                }
            }
        }
    }

    #[test]
    fn batches_written_together_leave_the_same_bytes_as_batches_written_one_by_one() {
        for with_payload in [false, true] {
            let ((_kept, mut together), (_also_kept, mut alone)) = (journal(), journal());
            let group = group(&[b"one\r\n", b"two, longer\r\n", b"three\r\n"]);
            let start = together.checkpoint(Ledger::default()).unwrap();
            let mut ledger = alone.checkpoint(Ledger::default()).unwrap();
            let end = together.append(start, group.all(), with_payload).unwrap();
            for batch in group.all().one_by_one() {
                ledger = alone.append(ledger, batch, with_payload).unwrap();
            }
            assert_eq!(ledger, end);
            let bytes = |journal: &Journal| {
                let mut bytes = vec![0; end.journal_end as usize + 100];
                journal.file.read_exact_at(&mut bytes, 0).unwrap();
                bytes
            };
            assert_eq!(bytes(&together), bytes(&alone));
        }
    }

    #[test]
    fn a_record_torn_at_any_byte_does_not_count() {
        let (_directory, mut journal) = journal();
        let start = journal.checkpoint(Ledger::default()).unwrap();
        let group = group(&[b"row\r\n", b"second row\r\n"]);
        let end = journal.append(start, group.all(), true).unwrap().journal_end;
        let mut whole = vec![0; (end - start.journal_end) as usize];
        journal.file.read_exact_at(&mut whole, start.journal_end).unwrap();
        let sizes: Vec<_> =
            group.all().iter().map(|batch| record_bytes(&batch, true) as usize).collect();
        for torn in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[torn..].fill(0);
            journal.file.write_all_at(&bytes, start.journal_end).unwrap();
            // The padding after a record is zero anyway.
            let expected = if bytes == whole {
                2
            } else {
                usize::from(bytes[..sizes[0]] == whole[..sizes[0]])
            };
            assert_eq!(read(&journal).1.len(), expected, "torn at {torn}");
        }
    }

    #[test]
    fn records_of_an_earlier_epoch_do_not_count() {
        let (_directory, mut journal) = journal();
        let start = journal.checkpoint(Ledger::default()).unwrap();
        let group = group(&[&b"row\r\n"[..]; 3]);
        let ledger = journal.append(start, group.all(), false).unwrap();
        let next = journal.checkpoint(ledger).unwrap();
        assert_eq!(next.journal_end, RECORDS_START);
        let (start, records) = read(&journal);
        assert_eq!((start, records.len()), (next, 0));
    }

    #[test]
    fn a_torn_checkpoint_leaves_the_one_before() {
        let (_directory, journal) = journal();
        let first = journal.checkpoint(Ledger::default()).unwrap();
        let second = journal.checkpoint(Ledger { bets: 7, ..first }).unwrap();
        journal.file.write_all_at(&[0xFF; 20], (second.epoch % 2) * CHECKPOINT_BYTES).unwrap();
        assert_eq!(read(&journal).0, first);
        journal.file.write_all_at(&[0xFF; 20], (first.epoch % 2) * CHECKPOINT_BYTES).unwrap();
        assert!(matches!(journal.read().unwrap(), Contents::Damaged));
    }
}
