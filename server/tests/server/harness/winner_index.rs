//! The index of the winners' rows, which the draw reads.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use super::Setup;

/// Name of the file.
pub const WINNER_INDEX: &str = "winners.idx";

/// Returns the index that belongs to these rows, all of them of bets with numbers and on one line
/// each.
pub fn index_of(rows: &[u8]) -> Vec<u8> {
    let mut start = 0_u64;
    let mut index = Vec::new();
    for row in rows.split_inclusive(|byte| *byte == b'\n') {
        if row.ends_with(b",7574\r\n") {
            index.extend(start.to_le_bytes());
        }
        start += row.len() as u64;
    }
    index
}

impl Setup {
    /// Asserts that the index names the winners in `bets.csv`, and no others.
    pub fn assert_indexed(&self) {
        // Only files have an index.
        if self.database.is_some() {
            return;
        }
        let (index, rows) = (self.read_stored(WINNER_INDEX), self.read_stored("bets.csv"));
        assert!(index == index_of(&rows), "{} bytes of the index", index.len());
    }

    /// Overwrites the index with zeros, so that the next draw reads all bets.
    pub fn spoil_index(&self) {
        let bytes = self.read_stored(WINNER_INDEX).len();
        let index = OpenOptions::new().write(true).open(self.stored(WINNER_INDEX)).unwrap();
        index.write_all_at(&vec![0; bytes], 0).unwrap();
    }
}
