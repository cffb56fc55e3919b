//! The file `checkpoints`: what `bets.csv` and `winners.log` held at earlier moments.
//!
//! One entry follows each checkpoint of the journal, and at least each MiB of rows. The entries are
//! for checks only. They show which rows changed, and that a journal is older than the bets. An
//! entry is a header of its own kind, and holds the hash of the entry before it.

use std::path::Path;

use super::file::StoredFile;
use super::journal::header::{HEADER_BYTES, Header, Kind, hash};
use super::{FileError, Ledger, StorageError};

/// Name of the file.
pub const FILE: &str = "checkpoints";
/// Size of an entry.
pub const ENTRY_BYTES: u64 = HEADER_BYTES as u64;
/// Space reserved at a start, so that a full disk has room for the entries of a run.
const RESERVED_BYTES: u64 = 64 * 1024;
/// Bytes of rows after which there is another entry.
const ROWS_PER_ENTRY: u64 = 1 << 20;

/// The open file.
#[derive(Debug)]
pub struct Checkpoints {
    file: StoredFile,
}

impl Checkpoints {
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

    /// Returns all entries, in order, `None` for one that is damaged. Zeros at the end of the file
    /// are no entries.
    pub fn read(&self) -> Result<Vec<Option<Header>>, FileError> {
        let mut bytes = vec![0; self.file.length()? as usize];
        self.file.read_exact_at(&mut bytes, 0)?;
        let is_used = |entry: &[u8]| *entry != [0; HEADER_BYTES][..entry.len()];
        let used = bytes.chunks(HEADER_BYTES).rposition(is_used).map_or(0, |last| last + 1);
        bytes.truncate(used * HEADER_BYTES);
        let mut before = 0;
        let entry = |bytes: &[u8]| {
            let link = std::mem::replace(&mut before, hash(bytes));
            Header::parse(bytes).filter(|entry| {
                matches!(entry.kind, Kind::Entry | Kind::Unknown) && entry.extra == link
            })
        };
        Ok(bytes.chunks(HEADER_BYTES).map(entry).collect())
    }

    /// Adds an entry with these totals if the last commit has completed another MiB of rows.
    /// Returns the ledger that counts it. The flags are those of [`append`](Self::append).
    pub fn append_if_due(
        &self,
        before: &Ledger,
        after: Ledger,
        acknowledged: u64,
        flags: u8,
    ) -> Ledger {
        if before.rows_end / ROWS_PER_ENTRY == after.rows_end / ROWS_PER_ENTRY {
            return after;
        }
        // The batch is stored. If the disk is full, the next entry covers these rows too.
        self.append(after, acknowledged, flags).unwrap_or(after)
    }

    /// Adds an entry with these totals behind those that the ledger counts. Returns the ledger that
    /// counts it. `flags` is [`VOLATILE`] or 0.
    ///
    /// [`VOLATILE`]: super::journal::header::VOLATILE
    pub fn append(
        &self,
        ledger: Ledger,
        acknowledged: u64,
        flags: u8,
    ) -> Result<Ledger, FileError> {
        let at = u64::from(ledger.entries) * ENTRY_BYTES;
        let mut link = 0;
        if at > 0 {
            let mut before = [0; HEADER_BYTES];
            self.file.read_exact_at(&mut before, at - ENTRY_BYTES)?;
            link = hash(&before);
        }
        let entry =
            Header { kind: Kind::Entry, flags, agency: 0, ledger, acknowledged, extra: link };
        self.file.write_all_at(&entry.bytes(), at)?;
        Ok(Ledger { entries: ledger.entries + 1, ..ledger })
    }

    /// Removes all but the first `kept` entries and reserves space for more.
    pub fn cut(&self, kept: u32) -> Result<(), FileError> {
        let end = u64::from(kept) * ENTRY_BYTES;
        self.file.set_length(end)?;
        self.file.reserve((end + RESERVED_BYTES).next_multiple_of(RESERVED_BYTES))
    }

    /// Makes every entry survive a power loss.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn entries_are_read_back_and_a_damaged_one_is_recognised() {
        let directory = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(directory.path()).unwrap();
        checkpoints.cut(0).unwrap();
        let mut ledger = Ledger::default();
        for bets in [3, 5, 8] {
            ledger = checkpoints.append(Ledger { bets, ..ledger }, bets, 0).unwrap();
        }
        let bets = |checkpoints: &Checkpoints| -> Vec<_> {
            let entries = checkpoints.read().unwrap();
            entries.iter().map(|entry| entry.map(|entry| entry.ledger.bets)).collect()
        };
        assert_eq!((ledger.entries, bets(&checkpoints)), (3, vec![Some(3), Some(5), Some(8)]));

        let path = directory.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for bit in 0..3 * HEADER_BYTES * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            File::options().write(true).open(&path).unwrap().write_all_at(&damaged, 0).unwrap();
            assert_ne!(bets(&checkpoints), [Some(3), Some(5), Some(8)], "bit {bit}");
        }
        checkpoints.file.write_all_at(&whole, 0).unwrap();
        checkpoints.cut(2).unwrap();
        assert_eq!(bets(&checkpoints), [Some(3), Some(5)]);
    }
}
