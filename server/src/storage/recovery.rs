//! Recovery: restores the storage to its last whole batch after a process was killed.

use std::io;

use lottery::{Bet, Birthdate, is_winner};

use super::file::StoredFile;
use super::journal::{Contents, Part, Record};
use super::{FileError, Ledger, Storage, StorageError};

/// What recovery found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The totals of what is stored.
    pub ledger: Ledger,
    /// Bytes cut off `bets.csv`: a batch that was never acknowledged.
    pub cut: u64,
    /// Batches since the last checkpoint, found whole or restored from the journal.
    pub replayed: u64,
    /// True if batches were written again from their bytes in the journal.
    pub restored: bool,
    /// True if there was no journal and the totals were counted from `bets.csv`.
    pub counted: bool,
}

impl Storage {
    /// Finds the last whole batch and cuts off what follows it. The caller holds the ledger's lock,
    /// or is the only process.
    ///
    /// `at_start` is true if the machine may have lost power since the files were written. Then
    /// batches whose bytes are in the journal are written again. After the death of a process
    /// alone, the kernel still has everything that was written.
    pub fn recover(&self, at_start: bool) -> Result<Recovery, StorageError> {
        let contents = self.journal.read()?;
        let mut recovery = match contents {
            Contents::Empty => self.count()?,
            Contents::Damaged => {
                let advice = "it is damaged; move it away to count the totals from bets.csv";
                return Err(self.inconsistent("journal", advice.to_owned()));
            }
            Contents::Epoch(start, records) => {
                // Check before anything is written: replaying behind missing bytes would hide that
                // they are missing.
                self.check_reach(&start)?;
                let restored = at_start && self.restore(&records)?;
                let ledger = self.last_whole(start, &records)?;
                let replayed = ledger.batches - start.batches;
                Recovery { ledger, replayed, restored, ..Recovery::default() }
            }
        };
        recovery.cut = self.bets.length()? - recovery.ledger.rows_end;
        self.truncate(&recovery.ledger)?;
        Ok(recovery)
    }

    /// Checks that the files are at least as long as these totals say. No crash of a central
    /// removes bytes that a checkpoint or a running process counts.
    pub(super) fn check_reach(&self, counted: &Ledger) -> Result<(), StorageError> {
        let ends = [
            (&self.bets, "bets.csv", counted.rows_end, "bets"),
            (&self.winners, "winners.log", counted.lines_end, "winners"),
        ];
        for (file, name, end, what) in ends {
            let length = file.length()?;
            if length < end {
                let reason = format!(
                    "it has {length} bytes, but the journal counts {end}: {what} are missing; \
                     restore the file, or move the journal away to count the totals again"
                );
                return Err(self.inconsistent(name, reason));
            }
        }
        Ok(())
    }

    /// Writes the batches again whose bytes are in the journal. Returns true if there are any.
    fn restore(&self, records: &[Record]) -> Result<bool, FileError> {
        let mut restored = false;
        for record in records {
            if let Some(offset) = record.payload {
                self.replay(record, offset)?;
                restored = true;
            }
        }
        Ok(restored)
    }

    /// Returns the totals after the last batch whose bytes are in the files.
    fn last_whole(&self, start: Ledger, records: &[Record]) -> Result<Ledger, FileError> {
        for record in records.iter().rev() {
            if self.is_whole(record)? {
                return Ok(record.after);
            }
        }
        Ok(start)
    }

    /// Writes a batch again from its bytes in the journal.
    fn replay(&self, record: &Record, offset: u64) -> Result<(), FileError> {
        let (rows, lines) = self.journal.payload(record, offset)?;
        self.bets.write_all_at(&rows, record.after.rows_end - rows.len() as u64)?;
        self.winners.write_all_at(&lines, record.after.lines_end - lines.len() as u64)
    }

    /// Returns true if the files hold a batch as the journal records it.
    fn is_whole(&self, record: &Record) -> Result<bool, FileError> {
        Ok(holds(&self.bets, record.after.rows_end, record.rows)?
            && holds(&self.winners, record.after.lines_end, record.lines)?)
    }

    /// Counts the totals from `bets.csv`. The storage is new, or a program without a journal wrote
    /// it.
    fn count(&self) -> Result<Recovery, StorageError> {
        let rows_end = self.bets.length()?;
        if rows_end == 0 {
            let lines_end = self.winners.length()?;
            if lines_end > 0 {
                let reason = "it has winners, but bets.csv is empty; restore bets.csv or move \
                              this file away";
                return Err(self.inconsistent("winners.log", reason.to_owned()));
            }
            return Ok(Recovery::default());
        }
        let mut last = [0];
        self.bets.read_exact_at(&mut last, rows_end - 1)?;
        if last != *b"\n" {
            let reason = "its last line is incomplete and there is no journal to show where the last \
                          batch ends; complete or remove that line";
            return Err(self.inconsistent("bets.csv", reason.to_owned()));
        }
        let file = self.bets.try_clone()?;
        let mut ledger = Ledger { rows_end, ..Ledger::default() };
        let mut lines = Vec::new();
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).from_reader(io::BufReader::new(file));
        for row in reader.records() {
            let row = row.map_err(|error| self.inconsistent("bets.csv", error.to_string()))?;
            let bet = bet_of(&row).ok_or_else(|| {
                let line = ledger.bets + 1;
                let columns = "agency, first name, last name, document, birthdate, number";
                self.inconsistent("bets.csv", format!("line {line} is not a bet ({columns})"))
            })?;
            ledger.bets += 1;
            if is_winner(&bet) {
                ledger.winners += 1;
                lottery::write_winner_line(&bet, &mut lines);
            }
        }
        ledger.lines_end = lines.len() as u64;
        self.winners.write_all_at(&lines, 0)?;
        Ok(Recovery { ledger, counted: true, ..Recovery::default() })
    }

    fn inconsistent(&self, file: &str, reason: String) -> StorageError {
        StorageError::Inconsistent { path: self.directory.join(file), reason }
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
    Ok(Part::of(&bytes) == part)
}

/// Parses a row of `bets.csv`. Agency 0 together with number 0 means a bet without a number, in
/// the dialect without agencies.
pub fn bet_of(row: &csv::StringRecord) -> Option<Bet<'_>> {
    let [agency, first_name, last_name, document, birthdate, number] =
        [0, 1, 2, 3, 4, 5].map(|column| row.get(column));
    let (agency, number) = (agency?.parse().ok()?, number?.parse::<u32>().ok()?);
    Some(Bet {
        agency,
        first_name: first_name?,
        last_name: last_name?,
        document: document?.into(),
        birthdate: Birthdate::from_iso(birthdate?)?,
        number: (agency, number).ne(&(0, 0)).then_some(number),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;

    use super::super::{Durability, Group};
    use super::*;

    /// Returns a group with one batch per element: this many rows and one winner line.
    fn group(batches: &[usize]) -> Group {
        let mut group = Group::default();
        for (name, bets) in batches.iter().enumerate() {
            let added = group.add(*bets, 1, |rows, lines| {
                (0..*bets).for_each(|bet| rows.extend(format!("{name}-{bet}\r\n").into_bytes()));
                lines.extend(format!("winner of {name}\n").into_bytes());
                Ok::<_, ()>(())
            });
            added.unwrap();
        }
        group
    }

    #[test]
    fn a_group_whose_records_are_torn_at_any_byte_leaves_whole_batches_and_the_rest_can_follow() {
        for durability in [Durability::Process, Durability::Disk] {
            let directory = tempfile::tempdir().unwrap();
            let path = |file| directory.path().join(file);
            let files = || ["bets.csv", "winners.log"].map(|file| fs::read(path(file)).unwrap());
            let (mut storage, start) = Storage::open(directory.path(), durability).unwrap();
            let before = storage.append(start.ledger, group(&[2]).all()).unwrap().0;
            let [rows_before, lines_before] = files();

            let batches = [3, 0, 5];
            let group_of_all = group(&batches);
            let after = storage.append(before, group_of_all.all()).unwrap().0;
            let whole = files();
            let mut records = vec![0; (after.journal_end - before.journal_end) as usize];
            let journal = File::options().read(true).write(true).open(path("journal")).unwrap();
            journal.read_exact_at(&mut records, before.journal_end).unwrap();
            for torn in 0..records.len() {
                let left = [&records[..torn], &vec![0xA5; records.len() - torn]].concat();
                journal.write_all_at(&left, before.journal_end).unwrap();
                let mut ledger = storage.recover(false).unwrap().ledger;
                let stored = (ledger.batches - before.batches) as usize;
                let prefix = group(&batches[..stored]);
                let rows = [&rows_before, prefix.all().rows].concat();
                let lines = [&lines_before, prefix.all().lines].concat();
                assert!(files() == [rows, lines], "torn at {torn}, {stored} batches");
                for batch in group_of_all.all().one_by_one().skip(stored) {
                    ledger = storage.append(ledger, batch).unwrap().0;
                }
                assert!(ledger == after && files() == whole, "torn at {torn}");
            }
        }
    }
}
