//! A summary of the table at the start of an epoch. A start compares it with the entries, so that
//! it finds lost ones, and with the totals of the journal, so that it finds a file of another
//! moment or of another storage.

use super::super::Ledger;
use super::image::Sum;

/// First word of a summary: the name of the format and its version.
const MAGIC: u64 = u64::from_le_bytes(*b"LOTSESS1");
const WORDS: usize = 8;
/// Size of a summary.
pub const SUMMARY_BYTES: usize = WORDS * 8;

/// What the table and `bets.csv` hold at the start of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The epoch.
    pub epoch: u64,
    /// The sessions.
    pub sum: Sum,
    /// Bets stored.
    bets: u64,
    /// Length of `bets.csv`.
    rows_end: u64,
    /// CRC-32 of `bets.csv` up to there.
    rows_checksum: u32,
}

impl Summary {
    /// Returns the summary for the start of an epoch with these totals.
    pub fn new(epoch: u64, sum: Sum, totals: &Ledger) -> Self {
        let Ledger { bets, rows_end, rows_checksum, .. } = *totals;
        Self { epoch, sum, bets, rows_end, rows_checksum }
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> [u8; SUMMARY_BYTES] {
        let mut bytes = self.words_with(0);
        bytes = self.words_with(crc32fast::hash(&bytes));
        bytes
    }

    /// Parses the bytes of a summary. Returns `None` if they are none, or a torn or damaged one.
    pub fn parse(bytes: &[u8; SUMMARY_BYTES]) -> Option<Self> {
        let mut words = [0; WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        let [_, epoch, count, hashes, bets, rows_end, rows_checksum, _] = words;
        let rows_checksum = rows_checksum as u32;
        let summary = Self { epoch, sum: Sum { count, hashes }, bets, rows_end, rows_checksum };
        (summary.bytes() == *bytes).then_some(summary)
    }

    fn words_with(&self, checksum: u32) -> [u8; SUMMARY_BYTES] {
        let Self { epoch, sum, bets, rows_end, rows_checksum } = *self;
        let words = [
            MAGIC,
            epoch,
            sum.count,
            sum.hashes,
            bets,
            rows_end,
            rows_checksum.into(),
            checksum.into(),
        ];
        let mut bytes = [0; SUMMARY_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_parsed_from_its_bytes_and_from_none_with_a_flipped_bit() {
        let totals = Ledger { bets: 3, rows_end: 90, rows_checksum: 1 << 31, ..Ledger::default() };
        let summary = Summary::new(9, Sum { count: 2, hashes: u64::MAX - 1 }, &totals);
        let bytes = summary.bytes();
        assert_eq!(Summary::parse(&bytes), Some(summary));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Summary::parse(&damaged), None, "bit {bit}");
        }
    }
}
