//! Recovery at a start: finds what is stored, and refuses what no crash of a central leaves behind.
//!
//! The records of the journal are checked against the files in two passes. The first changes
//! nothing and finds the last record that is whole. If a later one may have been acknowledged, the
//! files are damaged and the start is refused. What follows the last whole record was never
//! acknowledged: it is moved aside.
//!
//! After an unclean stop the second pass writes everything that the records describe again. A sync
//! may have failed before. Then the kernel has the bytes in memory, but does not know that they are
//! not on the disk.

mod after_death;
mod count;
mod sessions;
mod upgrade;

use super::files::{Files, inconsistent};
use super::finished::Marks;
use super::journal::Journal;
use super::journal::checkpoint::Run;
use super::journal::header::{CLEAN, Header, Kind, VOLATILE};
use super::journal::record::Record;
use super::rows::RowParser;
use super::sessions::Image;
use super::winner_index::entries_of;
use super::{Durability, FileError, Ledger, StorageError};

use self::count::checksum_of;
pub use self::count::line_range;

/// What a damaged storage can be recovered with.
const WAYS_OUT: &str = "nothing was changed; restore the file from a backup, or run \
                        `loteria-central verify` to see what is damaged, or move the journal away \
                        to count the totals from bets.csv";

/// What recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The totals of what is stored.
    pub ledger: Ledger,
    /// Bytes cut off `bets.csv`: a batch that was never acknowledged.
    pub cut: u64,
    /// Files that hold what was cut off. Empty after the death of one process.
    pub kept_in: Vec<String>,
    /// Batches since the last checkpoint.
    pub replayed: u64,
    /// Records that were acknowledged and lost with the machine, with durability `process`.
    pub lost: u64,
    /// True if the previous run did not stop gracefully.
    pub unclean: bool,
    /// True if there was no journal and the totals were counted from `bets.csv`.
    pub counted: bool,
}

/// What the first pass found.
pub struct Found {
    start: Header,
    /// The totals after the last record that is whole.
    pub last: Ledger,
    /// The record that follows, if only its batch is missing.
    not_whole: Option<Record>,
    /// The marks of all agencies that have finished.
    marks: Marks,
    /// The last batch of each session, if the storage has sessions.
    sessions: Option<Image>,
    lost: u64,
    unclean: bool,
    /// True if a power loss may have taken records and checkpoints that were acknowledged.
    may_lose: bool,
    /// The newest epoch of which something is left.
    newest_epoch: u64,
}

impl Files {
    /// Finds the last whole record of the journal, moves aside what follows it, and makes the rest
    /// ready to be synced. The caller is the only process.
    pub fn recover(&self, journal: &Journal, boot: u64) -> Result<Recovery, StorageError> {
        let found = self.examine(journal, boot)?;
        let Found { start, last, lost, unclean, .. } = found;
        let cut = self.bets.length()? - last.rows_end.min(self.bets.length()?);
        if unclean {
            // A power loss now must not keep marks that a record has cleared, and lose the record.
            journal.sync()?;
            self.write_again(&start.ledger, &last, journal)?;
            self.finished.rewrite(&found.marks)?;
        }
        if let (Some(sessions), Some(image)) = (&self.sessions, &found.sessions)
            && (unclean || sessions.image()? != *image)
        {
            sessions.rewrite(image)?;
        }
        let kept_in = self.move_tails(&last)?;
        let mut ledger = Ledger { finished: found.marks.count(), ..last };
        ledger.entries = self.kept_entries(&last)?;
        // The next epoch must follow those of which only records are left. Its checkpoint must not
        // replace the one that this start has used.
        ledger.epoch += (found.newest_epoch - last.epoch).next_multiple_of(2);
        self.checkpoints.cut(ledger.entries)?;
        let replayed = last.batches - start.ledger.batches;
        Ok(Recovery { ledger, cut, kept_in, replayed, lost, unclean, counted: false })
    }

    /// Examines the journal and the files and changes nothing.
    pub fn examine(&self, journal: &Journal, boot: u64) -> Result<Found, StorageError> {
        let start = journal.newest_checkpoint()?.ok_or_else(|| journal.damaged())?;
        let run = Run::of(&start);
        // Replaying behind missing bytes would hide that they are missing.
        self.check_reach(&start.ledger)?;
        let mut marks = self.finished.marks()?;
        let mut sessions = self.sessions_at(&start)?;
        let (mut last, mut not_whole) = (start.ledger, None);
        while let Some(record) = journal.record_after(&last)? {
            match record.header.kind {
                Kind::Finish => marks.insert(record.header.agency),
                // The marks in the file may be from before it.
                Kind::Reopen => marks.clear(),
                _ if self.bytes_of(&record, journal)?.is_none() => {
                    not_whole = Some(record);
                    break;
                }
                _ => {}
            }
            if let Some(key) = record.key {
                self.advance(sessions.as_mut(), key, last.epoch)?;
            }
            last = record.after;
        }
        let headers = journal.all_headers()?;
        let unclean = !start.has(CLEAN)
            || last.records > start.ledger.records
            || headers.iter().any(|header| header.ledger.epoch == start.ledger.epoch);
        // With durability `process`, only the kernel has what was acknowledged.
        let restarted = run.boot != 0 && boot != 0 && run.boot != boot;
        let may_lose = restarted && run.durability == Durability::Process;
        if may_lose && !start.has(CLEAN) {
            // The records since the checkpoint are checked above. No sync made durable what the
            // checkpoint itself counts, so zeros may be in its place.
            self.check_content(&start.ledger)?;
        }
        let mut found = Found {
            start,
            last,
            not_whole,
            marks,
            sessions,
            lost: 0,
            unclean,
            may_lose,
            newest_epoch: start.ledger.epoch,
        };
        let acknowledged = self.acknowledged(journal, &headers, &mut found)?;
        if acknowledged > last.records {
            if !may_lose {
                return Err(self.damage(journal, &found));
            }
            found.lost = acknowledged - last.records;
        }
        self.check_marks(&found, run.durability == Durability::Disk || restarted)?;
        Ok(found)
    }

    /// Checks every byte that these totals count.
    fn check_content(&self, counted: &Ledger) -> Result<(), StorageError> {
        let files = [
            (&self.bets, counted.rows_end, counted.rows_checksum),
            (&self.winners, counted.lines_end, counted.lines_checksum),
        ];
        for (file, end, expected) in files {
            if checksum_of(file, end)? != expected {
                let reason = format!(
                    "its first {end} bytes are not what was written: the machine restarted, and \
                     SERVER_DURABILITY was process; {WAYS_OUT}"
                );
                return Err(inconsistent(file.path(), reason));
            }
        }
        Ok(())
    }

    /// Returns how many records were acknowledged at least. Fails if the journal is older than the
    /// other files, unless that is what a power loss may leave.
    fn acknowledged(
        &self,
        journal: &Journal,
        headers: &[Header],
        found: &mut Found,
    ) -> Result<u64, StorageError> {
        let epoch = found.start.ledger.epoch;
        let entries = self.checkpoints.read()?;
        let entries = entries.iter().flatten().filter(|entry| entry.ledger.epoch >= epoch);
        let records = headers.iter().filter(|header| header.ledger.epoch >= epoch);
        let known = records.chain(entries.clone());
        let newest = known.clone().max_by_key(|header| header.ledger.epoch);
        // A clean stop and each start sync the checkpoint before they add its entry.
        let follows = |entry: &Header| entry.ledger.epoch == epoch || entry.has(VOLATILE);
        let may_follow = found.may_lose && !found.start.has(CLEAN) && entries.clone().all(follows);
        if let Some(newest) = newest.filter(|newest| newest.ledger.epoch > epoch && !may_follow) {
            let reason = format!(
                "it is older than the other files, or its last checkpoint is damaged: it counts \
                 {} bets, and there were {} later; {WAYS_OUT}",
                found.last.bets, newest.ledger.bets
            );
            return Err(inconsistent(journal.path(), reason));
        }
        found.newest_epoch = newest.map_or(epoch, |newest| newest.ledger.epoch);
        Ok(known.map(|header| header.acknowledged).max().unwrap_or_default())
    }

    /// Returns the error for acknowledged batches that are not whole.
    fn damage(&self, journal: &Journal, found: &Found) -> StorageError {
        let Found { last, not_whole, .. } = found;
        let batch = last.batches + 1;
        let Some(record) = not_whole else {
            let reason = format!(
                "the record at byte {}, of batch {batch}, which begins in line {} of bets.csv, is \
                 damaged or missing, and later records show that it was acknowledged; {WAYS_OUT}",
                last.journal_end,
                last.bets + 1
            );
            return inconsistent(journal.path(), reason);
        };
        let lines = line_range(last.bets, record.after.bets);
        let reason = format!(
            "{lines} (batch {batch}, bytes {} to {}), or their winners in winners.log, are not \
             what was acknowledged; {WAYS_OUT}",
            last.rows_end, record.after.rows_end
        );
        inconsistent(self.bets.path(), reason)
    }

    /// Checks that the marks are those of the agencies that have finished. If `may_have_more`,
    /// there can be marks whose record was never durable. Their agencies have finished, and were
    /// not answered.
    fn check_marks(&self, found: &Found, may_have_more: bool) -> Result<(), StorageError> {
        let (marks, recorded) = (found.marks.count(), found.last.finished);
        let more_is_damage = !found.unclean || !may_have_more;
        if marks < recorded || (marks > recorded && more_is_damage) {
            let what = format!("it has {marks} marks, but {recorded} agencies have finished");
            return Err(self.finished.damaged(&what));
        }
        Ok(())
    }

    /// Writes everything again that the records between these totals describe.
    fn write_again(
        &self,
        start: &Ledger,
        last: &Ledger,
        journal: &Journal,
    ) -> Result<(), StorageError> {
        let (mut before, mut parser) = (*start, RowParser::default());
        while before.records < last.records
            && let Some(record) = journal.record_after(&before)?
        {
            if let Some((rows, lines)) = self.bytes_of(&record, journal)? {
                self.bets.write_all_at(&rows, before.rows_end)?;
                self.winners.write_all_at(&lines, before.lines_end)?;
                if !lines.is_empty()
                    && let Some(entries) = entries_of(&mut parser, &rows, &lines, before.rows_end)
                {
                    self.index.write(before.winners, &entries)?;
                }
            }
            before = record.after;
        }
        Ok(())
    }

    /// Returns how many entries of `checkpoints` describe what is stored.
    fn kept_entries(&self, last: &Ledger) -> Result<u32, FileError> {
        let entries = self.checkpoints.read()?;
        let is_stored = |entry: &Option<Header>| {
            entry.is_some_and(|entry| entry.ledger.records <= last.records)
        };
        Ok(entries.iter().rposition(is_stored).map_or(0, |last| last as u32 + 1))
    }
}
