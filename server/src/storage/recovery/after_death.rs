//! Recovery after the death of the process that held the ledger's lock, or after a failed write.
//!
//! The kernel still has everything that was written, and the ledger has everything before the last
//! commit. So only the records of that commit are examined.

use super::super::files::Files;
use super::super::journal::Journal;
use super::super::journal::header::Kind;
use super::super::{Durability, Ledger, StorageError};
use super::Recovery;

impl Files {
    /// Finds what the last commit after `before` has stored, and cuts off what follows it. The
    /// caller holds the ledger's lock.
    pub fn recover_after_death(
        &self,
        before: Ledger,
        journal: &Journal,
        durability: Durability,
    ) -> Result<Recovery, StorageError> {
        let newest = journal.newest_checkpoint()?.ok_or_else(|| journal.damaged())?;
        let start = if newest.ledger.epoch > before.epoch {
            // The next record overwrites one of the epoch before, so this checkpoint must be
            // durable first.
            if durability == Durability::Disk {
                journal.sync()?;
            }
            newest.ledger
        } else {
            before
        };
        let mut sessions = match &self.sessions {
            // Entries of the new epoch, and those of batches that the checkpoint was to commit, may
            // be in memory without a record.
            Some(_) if start.epoch > before.epoch => self.sessions_at(&newest)?,
            Some(sessions) => Some(sessions.live.image()),
            None => None,
        };
        self.check_reach(&start)?;
        let mut last = start;
        while let Some(record) = journal.record_after(&last)? {
            // A record with one copy of its header or key, or a torn batch, would not survive a
            // later loss of the rest.
            let carried = record.payload.is_none() || journal.payload(&record)?.is_some();
            if !record.has_all_copies || !carried || self.bytes_of(&record, journal)?.is_none() {
                break;
            }
            match record.header.kind {
                Kind::Finish => self.finished.insert(record.header.agency)?,
                Kind::Reopen => {
                    // In the order of a reopening: a power loss must not keep the cleared marks and
                    // lose the record.
                    journal.sync()?;
                    self.finished.clear()?;
                    self.finished.sync()?;
                }
                _ => {}
            }
            if let Some(key) = record.key {
                self.advance(sessions.as_mut(), key, last.epoch)?;
            }
            last = record.after;
        }
        if let (Some(sessions), Some(image)) = (&self.sessions, &sessions) {
            sessions.live.replace(image)?;
        }
        let cut = self.bets.length()?.saturating_sub(last.rows_end);
        self.truncate(&last)?;
        let replayed = last.batches - start.batches;
        Ok(Recovery { ledger: last, cut, replayed, ..Recovery::default() })
    }
}
