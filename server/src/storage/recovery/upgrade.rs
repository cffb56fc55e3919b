//! The recovery of a storage of the first version, whose journal the start then replaces.

use super::super::files::{Files, inconsistent};
use super::super::journal::v1::{Journal, Part, Record};
use super::super::{FileError, Ledger, StorageError};
use super::count::{checksum_of, line_range};
use super::{Recovery, WAYS_OUT};
use crate::storage::file::StoredFile;

impl Files {
    /// Finds the last whole batch of a journal of the first version, and moves aside what follows
    /// it. The caller is the only process.
    pub fn upgrade(&self, journal: &Journal) -> Result<Recovery, StorageError> {
        if self.checkpoints.read()?.iter().any(Option::is_some) {
            let reason = format!(
                "the first version of this program wrote it, but `checkpoints` is of a later one; \
                 if that version was used again since, move `checkpoints` away; else {WAYS_OUT}"
            );
            return Err(inconsistent(journal.path(), reason));
        }
        if let Some(sessions) = &self.sessions {
            sessions.check_blank()?;
        }
        let (start, records) = journal.read()?;
        self.check_reach(&start)?;
        let mut whole = Vec::new();
        for record in &records {
            whole.push(self.is_whole(record, journal)?);
        }
        // Records without a payload do not say what was acknowledged. A batch that is missing
        // before one that is there is damage.
        let count = whole.iter().rposition(|whole| *whole).map_or(0, |last| last + 1);
        if let Some(missing) = whole[..count].iter().position(|whole| !*whole) {
            let before = missing.checked_sub(1).map_or(start, |before| records[before].after);
            let lines = line_range(before.bets, records[missing].after.bets);
            let reason = format!("{lines} are not what was stored; {WAYS_OUT}");
            return Err(inconsistent(self.bets.path(), reason));
        }
        for record in &records[..count] {
            if let Some((rows, lines)) = journal.payload(record)? {
                self.bets.write_all_at(&rows, record.after.rows_end - rows.len() as u64)?;
                self.winners.write_all_at(&lines, record.after.lines_end - lines.len() as u64)?;
            }
        }
        let last = count.checked_sub(1).map_or(start, |last| records[last].after);
        let cut = self.bets.length()?.saturating_sub(last.rows_end);
        let kept_in = self.move_tails(&last)?;
        let ledger = Ledger {
            finished: self.finished.marks()?.count(),
            records: last.batches,
            rows_checksum: checksum_of(&self.bets, last.rows_end)?,
            lines_checksum: checksum_of(&self.winners, last.lines_end)?,
            ..last
        };
        let replayed = last.batches - start.batches;
        Ok(Recovery { ledger, cut, kept_in, replayed, unclean: true, ..Recovery::default() })
    }

    /// Returns true if the journal or the files hold a batch as it was recorded.
    fn is_whole(&self, record: &Record, journal: &Journal) -> Result<bool, FileError> {
        Ok(journal.payload(record)?.is_some()
            || (holds(&self.bets, record.after.rows_end, record.rows)?
                && holds(&self.winners, record.after.lines_end, record.lines)?))
    }
}

/// Returns true if the bytes of a file before `end` match the recorded length and checksum.
fn holds(file: &StoredFile, end: u64, part: Part) -> Result<bool, FileError> {
    let Some(start) = end.checked_sub(part.length.into()) else { return Ok(false) };
    if file.length()? < end {
        return Ok(false);
    }
    let mut bytes = vec![0; part.length as usize];
    file.read_exact_at(&mut bytes, start)?;
    Ok(part.describes(&bytes))
}
