//! The totals of everything stored. A batch adds to them, and recovery finds them again.

/// The totals after some batch: what the files hold and how far they go.
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
}

/// A ledger as plain words, as in shared memory and in the journal.
pub type LedgerWords = [u64; 7];

impl From<LedgerWords> for Ledger {
    fn from(
        [batches, bets, winners, rows_end, lines_end, epoch, journal_end]: LedgerWords,
    ) -> Self {
        Self { batches, bets, winners, rows_end, lines_end, epoch, journal_end }
    }
}

impl From<Ledger> for LedgerWords {
    fn from(ledger: Ledger) -> Self {
        let Ledger { batches, bets, winners, rows_end, lines_end, epoch, journal_end } = ledger;
        [batches, bets, winners, rows_end, lines_end, epoch, journal_end]
    }
}
