//! The journal beside `bets.csv`: where each batch ends, so that recovery takes the same time however much is stored, and tells a
//! whole batch from a torn one.
//!
//! The file has a fixed size. Two checkpoint pages take turns: each holds an epoch and the totals at its start, and the one with
//! the higher epoch counts, so that a page torn while it is written loses nothing. Behind them come the records of that epoch, one a
//! batch; the first that does not fit its epoch, sequence or checksum ends them. When the file is full, a new epoch starts over.
//!
//! A record is the commit of its batch. With durability `disk` it also carries the batch itself: then one `fdatasync` of this file,
//! which never grows, makes a batch durable, and `bets.csv` is put right from it after a power loss.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::fcntl::posix_fallocate;

use super::ledger::{Ledger, LedgerWords};
use super::{Batch, empty};

/// Size of a checkpoint page: one page of the file system, so that the two never share one.
const CHECKPOINT_BYTES: u64 = 4096;
/// Where records start.
const RECORDS_START: u64 = 2 * CHECKPOINT_BYTES;
/// Size of the file. Its records hold about a thousand 8 kB batches with their bytes, or 100,000 without, between checkpoints.
const JOURNAL_BYTES: u64 = RECORDS_START + 8 * 1024 * 1024;
/// First word of a record or checkpoint: "LOTJRNL1".
const MAGIC: u64 = u64::from_le_bytes(*b"LOTJRNL1");
/// Words of a header: magic, the ledger, lengths, checksums, payload flag with the header's own checksum.
const HEADER_WORDS: usize = 11;
const HEADER_BYTES: usize = HEADER_WORDS * 8;

/// The open journal. Processes share its descriptor; all writes name their place.
#[derive(Debug)]
pub struct Journal {
    file: File,
    /// Reused for putting records together.
    record: Vec<u8>,
}

/// A batch as the journal remembers it.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The totals after it.
    pub after: Ledger,
    /// Bytes it added to `bets.csv`, before `after.rows_end`.
    pub rows: Part,
    /// Bytes it added to `winners.log`, before `after.lines_end`.
    pub lines: Part,
    /// Where its bytes lie in the journal, if it carries them: rows, then lines.
    pub payload: Option<u64>,
}

/// Length and checksum of what a batch added to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Bytes.
    pub length: u32,
    /// CRC-32 of them.
    pub checksum: u32,
}

/// What a journal holds.
#[derive(Debug)]
pub enum Contents {
    /// Nothing: it was just made.
    Empty,
    /// The totals at its last checkpoint and the batches since, in order.
    Epoch(Ledger, Vec<Record>),
    /// Checkpoint pages that were written and are damaged.
    Damaged,
}

impl Part {
    /// What these bytes are remembered as.
    pub fn of(bytes: &[u8]) -> Self {
        // A batch is at most a few times MAX_REQUEST_BYTES, far below 4 GiB.
        Self { length: bytes.len() as u32, checksum: crc32fast::hash(bytes) }
    }

    fn word(lengths: [u32; 2]) -> u64 {
        u64::from(lengths[0]) | u64::from(lengths[1]) << 32
    }
}

impl Journal {
    /// Opens the journal, making it and reserving its space if need be.
    ///
    /// # Errors
    /// What the file system says; a full one says so here and not in the middle of a batch.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        posix_fallocate(&file, 0, JOURNAL_BYTES.cast_signed())?;
        Ok(Self { file, record: Vec::new() })
    }

    /// Whether a record of this batch fits behind the last one.
    pub fn has_room(&self, ledger: &Ledger, batch: &Batch<'_>, with_payload: bool) -> bool {
        ledger.journal_end + record_bytes(batch, with_payload) <= JOURNAL_BYTES
    }

    /// Writes the record that commits a batch; `after` is the ledger after it. Returns that ledger with its new journal end.
    ///
    /// # Errors
    /// What the file system says; nothing is committed then.
    pub fn append(
        &mut self,
        after: Ledger,
        batch: &Batch<'_>,
        with_payload: bool,
    ) -> io::Result<Ledger> {
        let (rows, lines) = (Part::of(batch.rows), Part::of(batch.lines));
        empty(&mut self.record);
        self.record.extend_from_slice(&header(after, rows, lines, with_payload));
        if with_payload {
            self.record.extend_from_slice(batch.rows);
            self.record.extend_from_slice(batch.lines);
        }
        self.file.write_all_at(&self.record, after.journal_end)?;
        Ok(Ledger { journal_end: after.journal_end + record_bytes(batch, with_payload), ..after })
    }

    /// Starts a new epoch whose totals are `ledger`'s. The caller has made the files durable before, if they must be. Returns
    /// the ledger of the new epoch.
    ///
    /// # Errors
    /// What the file system says; the old epoch still counts then.
    pub fn checkpoint(&self, ledger: Ledger) -> io::Result<Ledger> {
        let next = Ledger { epoch: ledger.epoch + 1, journal_end: RECORDS_START, ..ledger };
        let nothing = Part::of(&[]);
        let page = (next.epoch % 2) * CHECKPOINT_BYTES;
        self.file.write_all_at(&header(next, nothing, nothing, false), page)?;
        Ok(next)
    }

    /// Makes everything written so far survive a power loss.
    ///
    /// # Errors
    /// What the file system says. What was written may be lost then, and asking again does not bring it back.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Reads what the journal holds.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(&self) -> io::Result<Contents> {
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
    ///
    /// # Errors
    /// What the file system says.
    pub fn payload(&self, record: &Record, offset: u64) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let mut rows = vec![0; record.rows.length as usize];
        let mut lines = vec![0; record.lines.length as usize];
        self.file.read_exact_at(&mut rows, offset)?;
        self.file.read_exact_at(&mut lines, offset + u64::from(record.rows.length))?;
        Ok((rows, lines))
    }

    /// The record that follows these totals, if there is a whole one.
    fn record_after(&self, last: &Ledger) -> io::Result<Option<Record>> {
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

    fn header_at(&self, offset: u64) -> io::Result<[u8; HEADER_BYTES]> {
        let mut bytes = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// Bytes a record takes, the next one being aligned to words.
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

/// Reads a header; `None` when it is not one or is torn. A payload is marked as present, its offset still unknown.
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
    use super::*;

    fn journal() -> (tempfile::TempDir, Journal) {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(&directory.path().join("journal")).unwrap();
        (directory, journal)
    }

    fn batch(rows: &[u8]) -> Batch<'_> {
        Batch { rows, lines: b"winner\n", bets: 1, winners: 1 }
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
            let mut ledger = journal.checkpoint(Ledger::default()).unwrap();
            let start = ledger;
            for rows in [&b"one\r\n"[..], b"two, longer\r\n"] {
                let batch = batch(rows);
                ledger = journal.append(batch.added_to(ledger), &batch, with_payload).unwrap();
            }
            let (read_start, records) = read(&journal);
            assert_eq!((read_start, records.len()), (start, 2));
            assert_eq!(records[1].after, ledger);
            assert_eq!(records[0].rows, Part::of(b"one\r\n"));
            if let Some(offset) = records[1].payload {
                let bytes = (b"two, longer\r\n".to_vec(), b"winner\n".to_vec());
                assert_eq!(journal.payload(&records[1], offset).unwrap(), bytes);
            }
            assert_eq!(records[1].payload.is_some(), with_payload);
        }
    }

    #[test]
    fn a_record_torn_at_any_byte_is_no_record() {
        let (_directory, mut journal) = journal();
        let start = journal.checkpoint(Ledger::default()).unwrap();
        let batch = batch(b"row\r\n");
        let end = journal.append(batch.added_to(start), &batch, true).unwrap().journal_end;
        let mut whole = vec![0; (end - start.journal_end) as usize];
        journal.file.read_exact_at(&mut whole, start.journal_end).unwrap();
        let used = HEADER_BYTES + batch.rows.len() + batch.lines.len();
        for torn in 0..used {
            let mut bytes = whole.clone();
            bytes[torn..].fill(0);
            journal.file.write_all_at(&bytes, start.journal_end).unwrap();
            let expected = usize::from(bytes == whole);
            assert_eq!(read(&journal).1.len(), expected, "torn at {torn}");
        }
    }

    #[test]
    fn records_of_an_earlier_epoch_do_not_count() {
        let (_directory, mut journal) = journal();
        let mut ledger = journal.checkpoint(Ledger::default()).unwrap();
        for _ in 0..3 {
            let batch = batch(b"row\r\n");
            ledger = journal.append(batch.added_to(ledger), &batch, false).unwrap();
        }
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
