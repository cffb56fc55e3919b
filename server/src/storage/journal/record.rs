//! The records of the journal: one per batch, per finish mark, and per reopening of the bets.
//!
//! A record is its header twice, then the key of a keyed batch twice, then the bytes of a batch, if
//! the record carries them: rows and winner lines. The next record begins at the next word.

use lottery::BatchKey;

use super::super::ledger::checksum;
use super::super::{FileError, Ledger, StorageError, clear_buffer};
use super::checkpoint::{PAGE_BYTES, RECORDS_START};
use super::header::{HEADER_BYTES, Header, Kind, MAGIC, WITH_PAYLOAD, hash};
use super::{JOURNAL_BYTES, Journal, RECORDS_BYTES};
use crate::storage::group::{Batch, Batches, Bytes};
use crate::storage::sessions::entry::{KEY_BYTES, bytes_of, hash_of, key_of};

/// Size of both headers of a record.
const HEADERS_BYTES: u64 = 2 * HEADER_BYTES as u64;
/// Size of both copies of a key.
const KEYS_BYTES: u64 = 2 * KEY_BYTES as u64;

/// A record that continues the chain of the journal.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Its header.
    pub header: Header,
    /// The totals before it.
    pub before: Ledger,
    /// The totals after it.
    pub after: Ledger,
    /// True if both headers and both copies of the key are whole.
    pub has_all_copies: bool,
    /// The key of a keyed batch.
    pub key: Option<BatchKey>,
    /// Offset of the bytes of the batch, if the record carries them.
    pub payload: Option<u64>,
}

impl Record {
    /// Returns how many bytes its batch added to `bets.csv`.
    pub fn rows_length(&self) -> u64 {
        self.after.rows_end - self.before.rows_end
    }

    /// Returns how many bytes its batch added to `winners.log`.
    pub fn lines_length(&self) -> u64 {
        self.after.lines_end - self.before.lines_end
    }

    /// Returns true if these are the bytes of its batch.
    pub fn describes(&self, rows: &[u8], lines: &[u8]) -> bool {
        checksum(self.before.rows_checksum, rows) == self.after.rows_checksum
            && checksum(self.before.lines_checksum, lines) == self.after.lines_checksum
    }
}

impl Journal {
    /// Returns true if the records of these batches fit behind the last one.
    pub fn has_room(&self, ledger: &Ledger, batches: Batches<'_>, with_payload: bool) -> bool {
        let bytes: u64 = batches.iter().map(|batch| batch_bytes(&batch, with_payload)).sum();
        ledger.journal_end + bytes <= JOURNAL_BYTES
    }

    /// Returns true if a record without a batch fits behind the last one.
    pub fn has_room_for_mark(&self, ledger: &Ledger) -> bool {
        ledger.journal_end + HEADERS_BYTES <= JOURNAL_BYTES
    }

    /// Writes the records that commit these batches, with one write. Returns the ledger after them.
    ///
    /// If it fails, a prefix of the batches may be committed.
    pub fn append(
        &mut self,
        before: Ledger,
        batches: Batches<'_>,
        acknowledged: u64,
        with_payload: bool,
    ) -> Result<Ledger, FileError> {
        clear_buffer(&mut self.records);
        let mut ledger = before;
        for batch in batches.iter() {
            let header = Header {
                kind: batch.key.map_or(Kind::Batch, |_| Kind::Keyed),
                flags: if with_payload { WITH_PAYLOAD } else { 0 },
                agency: 0,
                ledger: batch.added_to(ledger),
                acknowledged,
                extra: batch.key.map_or(0, |key| hash_of(&key)),
            };
            let header = header.chained(ledger.chain);
            self.put_headers(&header);
            if let Some(key) = &batch.key {
                self.records.extend_from_slice(&bytes_of(key));
                self.records.extend_from_slice(&bytes_of(key));
            }
            if with_payload {
                self.records.extend_from_slice(batch.rows);
                self.records.extend_from_slice(batch.lines);
            }
            let journal_end = ledger.journal_end + batch_bytes(&batch, with_payload);
            self.records.resize((journal_end - before.journal_end) as usize, 0);
            ledger = Ledger { journal_end, ..header.ledger };
        }
        self.file.write_all_at(&self.records, before.journal_end)?;
        Ok(ledger)
    }

    /// Writes the record that commits a finish mark. Returns the ledger after it.
    ///
    /// If it fails, the mark may be committed.
    pub fn finish(
        &mut self,
        before: Ledger,
        agency: u16,
        acknowledged: u64,
    ) -> Result<Ledger, FileError> {
        self.put_mark(before, Kind::Finish, agency, before.finished + 1, acknowledged)
    }

    /// Writes the record that makes all finish marks void. Returns the ledger after it.
    ///
    /// If it fails, the record may be written.
    pub fn reopen(&mut self, before: Ledger, acknowledged: u64) -> Result<Ledger, FileError> {
        self.put_mark(before, Kind::Reopen, 0, 0, acknowledged)
    }

    fn put_mark(
        &mut self,
        before: Ledger,
        kind: Kind,
        agency: u16,
        finished: u32,
        acknowledged: u64,
    ) -> Result<Ledger, FileError> {
        let after = Ledger { finished, records: before.records + 1, ..before };
        let header = Header { kind, flags: 0, agency, ledger: after, acknowledged, extra: 0 };
        let header = header.chained(before.chain);
        clear_buffer(&mut self.records);
        self.put_headers(&header);
        self.file.write_all_at(&self.records, before.journal_end)?;
        Ok(Ledger { journal_end: before.journal_end + HEADERS_BYTES, ..header.ledger })
    }

    fn put_headers(&mut self, header: &Header) {
        let bytes = header.bytes();
        self.records.extend_from_slice(&bytes);
        self.records.extend_from_slice(&bytes);
    }

    /// Returns the record that follows these totals, if a header of it is whole.
    pub fn record_after(&self, before: &Ledger) -> Result<Option<Record>, StorageError> {
        let at = before.journal_end;
        if at + HEADERS_BYTES > JOURNAL_BYTES {
            return Ok(None);
        }
        let mut bytes = [0; 2 * HEADER_BYTES];
        self.file.read_exact_at(&mut bytes, at)?;
        let follows = |header: &Header| {
            header.ledger.epoch == before.epoch
                && header.ledger.journal_end == at
                && header.continues(before.chain)
        };
        let [first, second] = [&bytes[..HEADER_BYTES], &bytes[HEADER_BYTES..]]
            .map(|copy| Header::parse(copy).filter(follows));
        let Some(header) = first.or(second) else { return Ok(None) };
        if !matches!(header.kind, Kind::Batch | Kind::Finish | Kind::Reopen | Kind::Keyed) {
            return Err(self.newer_version());
        }
        let mut record = Record {
            header,
            before: *before,
            after: header.ledger,
            has_all_copies: first.is_some() && second.is_some(),
            key: None,
            payload: None,
        };
        let mut end = at + HEADERS_BYTES;
        if header.kind == Kind::Keyed {
            let [first, second] = self.keys_at(end, &header)?;
            let Some(key) = first.or(second) else { return Ok(None) };
            record.key = Some(key);
            record.has_all_copies &= first.is_some() && second.is_some();
            end += KEYS_BYTES;
        }
        if header.has(WITH_PAYLOAD) {
            record.payload = Some(end);
            end += record.rows_length() + record.lines_length();
        }
        record.after.journal_end = end.next_multiple_of(8);
        Ok(Some(record))
    }

    /// Reads both copies of the key of a record, `None` for one that is damaged.
    fn keys_at(&self, at: u64, header: &Header) -> Result<[Option<BatchKey>; 2], FileError> {
        let mut keys = [None; 2];
        if at + KEYS_BYTES > JOURNAL_BYTES {
            return Ok(keys);
        }
        for (key, copy) in keys.iter_mut().zip(0..) {
            let mut bytes = [0; KEY_BYTES];
            self.file.read_exact_at(&mut bytes, at + copy * KEY_BYTES as u64)?;
            *key = (hash(&bytes) == header.extra).then(|| key_of(&bytes));
        }
        Ok(keys)
    }

    /// Reads the bytes of a batch that its record carries: rows and winner lines. Returns `None` if
    /// it carries none, or damaged ones.
    pub fn payload(&self, record: &Record) -> Result<Option<Bytes>, FileError> {
        let Some(offset) = record.payload else { return Ok(None) };
        let mut rows = vec![0; record.rows_length() as usize];
        let mut lines = vec![0; record.lines_length() as usize];
        self.file.read_exact_at(&mut rows, offset)?;
        self.file.read_exact_at(&mut lines, offset + record.rows_length())?;
        Ok(record.describes(&rows, &lines).then_some((rows, lines)))
    }

    /// Returns the headers of all records in the file, of any epoch, in the order of the file. A
    /// record whose predecessor is damaged is found too.
    pub fn all_headers(&self) -> Result<Vec<Header>, FileError> {
        let mut bytes = vec![0; RECORDS_BYTES as usize];
        self.file.read_exact_at(&mut bytes, RECORDS_START)?;
        let mut headers = Vec::new();
        // Most of the file may never have been written.
        let written = |page: &usize| bytes[*page..][..PAGE_BYTES] != [0; PAGE_BYTES];
        let pages = (0..bytes.len()).step_by(PAGE_BYTES).filter(written);
        for at in pages.flat_map(|page| (page..page + PAGE_BYTES).step_by(8)) {
            if bytes[at..].starts_with(&MAGIC.to_le_bytes())
                && let Some(header) = Header::parse(&bytes[at..])
            {
                // A record has its header twice. A header holds its offset, so bytes that a batch
                // carries are not taken for one.
                let distance = (at as u64 + RECORDS_START).wrapping_sub(header.ledger.journal_end);
                if [0, HEADER_BYTES as u64].contains(&distance) && headers.last() != Some(&header) {
                    headers.push(header);
                }
            }
        }
        Ok(headers)
    }
}

/// Returns the bytes of a record, padded so that the next one is aligned to words.
fn batch_bytes(batch: &Batch<'_>, with_payload: bool) -> u64 {
    let keys = batch.key.map_or(0, |_| KEYS_BYTES);
    let payload = if with_payload { batch.rows.len() + batch.lines.len() } else { 0 };
    (HEADERS_BYTES + keys + payload as u64).next_multiple_of(8)
}
