//! The totals of everything stored: what a batch adds to and what recovery arrives at.

/// How far the stored files go and what they hold, after some batch. Shared between processes as plain words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Batches stored since the storage was made.
    pub batches: u64,
    /// Bets stored: rows of `bets.csv`.
    pub bets: u64,
    /// Winners among them: lines of `winners.log`.
    pub winners: u64,
    /// Length of `bets.csv` in bytes. What lies behind it is of a batch that was never acknowledged.
    pub rows_end: u64,
    /// Length of `winners.log` in bytes, likewise.
    pub lines_end: u64,
    /// Which checkpoint of the journal the records after it belong to.
    pub epoch: u64,
    /// Where the next journal record goes.
    pub journal_end: u64,
}

/// A ledger as it lies in shared memory and in the journal.
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
