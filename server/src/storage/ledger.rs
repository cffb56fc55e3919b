//! The totals of everything stored. A batch or a finish mark adds to them, and recovery finds them
//! again.

/// The totals after some journal record: what the files hold and how far they go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Batches stored since the storage was created.
    pub batches: u64,
    /// Bets stored: rows of `bets.csv`.
    pub bets: u64,
    /// Winners among them: lines of `winners.log`.
    pub winners: u64,
    /// Length of `bets.csv` in bytes. Bytes after it belong to a batch that was never acknowledged.
    pub rows_end: u64,
    /// Length of `winners.log` in bytes. The same holds for bytes after it.
    pub lines_end: u64,
    /// Number of the last checkpoint of the journal. Later records belong to this epoch.
    pub epoch: u64,
    /// Offset of the next journal record.
    pub journal_end: u64,
    /// Distinct agencies that have finished.
    pub finished: u32,
    /// Entries of the file `checkpoints`.
    pub entries: u32,
    /// Batches and finish marks stored since the storage was created.
    pub records: u64,
    /// CRC-32 of `bets.csv` up to `rows_end`.
    pub rows_checksum: u32,
    /// CRC-32 of `winners.log` up to `lines_end`.
    pub lines_checksum: u32,
    /// Hash of the last record or checkpoint and of all before it.
    pub chain: u64,
}

/// Number of words of a ledger.
pub const LEDGER_WORDS: usize = 11;
/// A ledger as plain words, as in shared memory and in the journal.
pub type LedgerWords = [u64; LEDGER_WORDS];

impl From<LedgerWords> for Ledger {
    fn from(words: LedgerWords) -> Self {
        let [batches, bets, winners, rows_end, lines_end, epoch, journal_end, ..] = words;
        let [.., counts, records, checksums, chain] = words;
        let (finished, entries) = halves(counts);
        let (rows_checksum, lines_checksum) = halves(checksums);
        Self {
            batches,
            bets,
            winners,
            rows_end,
            lines_end,
            epoch,
            journal_end,
            finished,
            entries,
            records,
            rows_checksum,
            lines_checksum,
            chain,
        }
    }
}

impl From<Ledger> for LedgerWords {
    fn from(ledger: Ledger) -> Self {
        [
            ledger.batches,
            ledger.bets,
            ledger.winners,
            ledger.rows_end,
            ledger.lines_end,
            ledger.epoch,
            ledger.journal_end,
            word(ledger.finished, ledger.entries),
            ledger.records,
            word(ledger.rows_checksum, ledger.lines_checksum),
            ledger.chain,
        ]
    }
}

/// Returns a word with these lower and upper halves.
pub fn word(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// Returns the lower and the upper half of a word.
pub fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// Continues a CRC-32 with more bytes.
pub fn checksum(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_survives_its_form_as_words() {
        let words: LedgerWords = std::array::from_fn(|word| (word as u64 + 1) * 0x0102_0304_0506);
        assert_eq!(LedgerWords::from(Ledger::from(words)), words);
    }

    #[test]
    fn a_checksum_in_two_steps_equals_that_of_the_whole() {
        assert_eq!(
            checksum(checksum(0, b"one\r\n"), b"two\r\n"),
            crc32fast::hash(b"one\r\ntwo\r\n")
        );
    }
}
