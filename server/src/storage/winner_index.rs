//! The file `winners.idx`: where the row of each winner starts in `bets.csv`, so that the draw does
//! not read all bets.
//!
//! One little-endian u64 per winner, in the order of storage. Its highest bit says that the bet has
//! no number; the others are the offset of the row. The file only repeats what `bets.csv` and
//! `winners.log` hold, and [`IndexedWinners`] checks every entry against them. So it may be
//! missing, older or damaged: the draw then reads all bets and writes the file again.

mod indexed;
mod pieces;

use std::path::Path;

use memchr::{memchr, memchr_iter};

use super::file::StoredFile;
use super::{Batches, FileError, Ledger, StorageError};

pub use indexed::IndexedWinners;
pub use pieces::{LineMatch, Pieces, entries_of};

/// Name of the file.
pub const FILE: &str = "winners.idx";
/// Size of an entry.
pub const ENTRY_BYTES: u64 = 8;
/// Bit of an entry: the bet has no number.
const WITHOUT_NUMBER: u64 = 1 << 63;
/// End of the row of a bet without a number, which has the number 0.
const ZERO: &[u8] = b",0\r";

/// The place of a winner's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Offset of the row in `bets.csv`, or in the rows of a batch.
    pub offset: u64,
    /// True if the bet has a number.
    pub has_number: bool,
}

impl From<Entry> for u64 {
    fn from(Entry { offset, has_number }: Entry) -> Self {
        offset | if has_number { 0 } else { WITHOUT_NUMBER }
    }
}

impl From<u64> for Entry {
    fn from(word: u64) -> Self {
        Self { offset: word & !WITHOUT_NUMBER, has_number: word & WITHOUT_NUMBER == 0 }
    }
}

/// Appends an entry for each of these rows: the places of winners among `rows`, in order.
pub fn push_entries(rows: &[u8], winners: &[usize], entries: &mut Vec<Entry>) {
    let mut starts = std::iter::once(0).chain(memchr_iter(b'\n', rows).map(|end| end + 1));
    let mut next = 0;
    for winner in winners {
        // No text of a stored bet has a line break.
        let Some(start) = starts.nth(winner - next) else { return };
        next = winner + 1;
        let row = &rows[start..];
        let end = memchr(b'\n', row).unwrap_or(row.len());
        entries.push(Entry { offset: start as u64, has_number: !row[..end].ends_with(ZERO) });
    }
}

/// The open file.
#[derive(Debug)]
pub struct WinnerIndex {
    file: StoredFile,
}

impl WinnerIndex {
    /// Opens the file, creating it if there is none.
    pub fn open(directory: &Path) -> Result<Self, FileError> {
        Ok(Self { file: StoredFile::open(directory.join(FILE))? })
    }

    /// Returns the file.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// Returns the file.
    pub fn file_mut(&mut self) -> &mut StoredFile {
        &mut self.file
    }

    /// Writes the entries of batches behind those that the ledger counts.
    pub fn append(&self, before: &Ledger, batches: Batches<'_>) -> Result<(), FileError> {
        let mut entries = Vec::new();
        let mut rows_end = before.rows_end;
        for batch in batches.iter() {
            let moved = |entry: &Entry| Entry { offset: rows_end + entry.offset, ..*entry };
            entries.extend(batch.winners.iter().map(moved));
            rows_end += batch.rows.len() as u64;
        }
        self.write(before.winners, &entries)
    }

    /// Writes entries behind the first `before` ones.
    pub fn write(&self, before: u64, entries: &[Entry]) -> Result<(), FileError> {
        let bytes: Vec<u8> =
            entries.iter().flat_map(|entry| u64::from(*entry).to_le_bytes()).collect();
        if bytes.is_empty() { Ok(()) } else { self.file.write_all_at(&bytes, before * ENTRY_BYTES) }
    }

    /// Removes the entries behind those that the ledger counts.
    pub fn cut(&self, ledger: &Ledger) -> Result<(), FileError> {
        let end = ledger.winners * ENTRY_BYTES;
        // An index that lacks entries must not get others.
        if self.file.length()? > end { self.file.set_length(end) } else { Ok(()) }
    }

    /// Makes every entry survive a power loss.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_per_winner_has_the_offset_of_its_row_and_whether_it_has_a_number() {
        let rows = b"1,A,B,1,1999-03-17,7574\r\n0,A,B,2,1999-03-17,0\r\n1,A,B,3,1999-03-17,10\r\n\
            0,,,,1999-03-17,0\r\n";
        let entries = |winners: &[usize]| {
            let mut entries = Vec::new();
            push_entries(rows, winners, &mut entries);
            entries.iter().map(|entry| (entry.offset, entry.has_number)).collect::<Vec<_>>()
        };
        assert_eq!(entries(&[]), []);
        assert_eq!(entries(&[0]), [(0, true)]);
        assert_eq!(entries(&[1, 3]), [(25, false), (70, false)]);
        assert_eq!(entries(&[0, 1, 2]), [(0, true), (25, false), (47, true)]);
    }

    #[test]
    fn an_entry_survives_its_form_as_a_word() {
        for has_number in [true, false] {
            let entry = Entry { offset: 1 << 62 | 5, has_number };
            assert_eq!(Entry::from(u64::from(entry)), entry);
        }
    }
}
