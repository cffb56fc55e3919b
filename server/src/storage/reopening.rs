//! Reopened bets: a record of the journal makes all finish marks before it void.

use super::{FileError, Ledger, Storage, StorageError};

impl Storage {
    /// Clears all finish marks, durably. `durable` counts the records that survive a power loss.
    /// Returns the totals after it, or the reason why nothing is cleared. The caller holds the
    /// ledger's lock, and must append nothing after an error.
    pub fn reopen(
        &mut self,
        before: Ledger,
        durable: u64,
    ) -> Result<(Ledger, Option<FileError>), StorageError> {
        match self.try_reopen(before, durable) {
            Ok(after) => Ok((after, None)),
            Err(StorageError::File(refused)) => {
                let after = self.recover(before)?.ledger;
                let reopened = after.finished < before.finished;
                Ok((after, Some(refused).filter(|_| !reopened)))
            }
            Err(error) => Err(error),
        }
    }

    fn try_reopen(&mut self, mut before: Ledger, durable: u64) -> Result<Ledger, StorageError> {
        let acknowledged = self.acknowledged(&before, durable);
        if !self.journal.has_room_for_mark(&before) {
            before = self.checkpoint(before)?;
        }
        let after = self.journal.reopen(before, acknowledged)?;
        // Also without a promise: a power loss must not keep the cleared marks and lose the record.
        self.journal.sync()?;
        self.files.finished.clear()?;
        self.files.finished.sync()?;
        Ok(after)
    }
}
