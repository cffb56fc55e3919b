//! The check of every byte of a storage that no central uses.
//!
//! The checksums in a ledger run over whole files. So any two ledgers delimit a *span*, whose bytes
//! can be checked on their own. The entries of `checkpoints` and the records of the journal have
//! the ledgers of earlier moments.

use std::io::Read;
use std::path::Path;

use lottery::bet_of_row;

use super::draw::{FromStart, draw_over};
use super::drawing::Drawing;
use super::file::StoredFile;
use super::files::{BETS, Files, WINNERS};
use super::journal::{self, Found, Journal};
use super::ledger::checksum;
use super::recovery::line_range;
use super::winner_index::{self, IndexedWinners};
use super::{FileError, Ledger, StorageError, boot, finished, lock};

/// Bytes that are read at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// Lines of a damaged span that are named.
const NAMED_LINES: usize = 5;

/// What a check has found.
#[derive(Debug, Default)]
pub struct Report {
    /// The totals of what is stored, as far as they can be read.
    pub ledger: Ledger,
    /// What is not as it was acknowledged.
    pub problems: Vec<String>,
    /// What the next start will repair or move aside.
    pub notes: Vec<String>,
}

impl Report {
    /// Adds what is wrong with a file.
    fn problem(&mut self, file: &str, what: &str) {
        self.problems.push(format!("{file}: {what}"));
    }
}

/// Checks the storage in a directory. Changes none of its files, but takes its locks.
pub fn verify(directory: &Path) -> Result<Report, StorageError> {
    let mut report = Report::default();
    let names = [BETS, WINNERS, finished::FILE, journal::FILE];
    let missing = |name: &&str| !directory.join(name).exists();
    names
        .into_iter()
        .filter(missing)
        .for_each(|name| report.problem(name, "there is no such file"));
    if !report.problems.is_empty() {
        return Ok(report);
    }
    let _locks = [lock::lock(directory)?, lock::lock_journal(directory)?];
    let files = Files::open(directory)?;
    let Found::Current(journal) = Journal::open(directory)? else {
        let what = "it is blank or of the first version, and does not show what was acknowledged; \
                    start the central once, which converts it";
        report.problem(journal::FILE, what);
        return Ok(report);
    };
    let moments = files.moments(&journal, &mut report)?;
    for span in moments.windows(2) {
        files.check_span(&span[0], &span[1], &mut report)?;
    }
    match files.examine(&journal, boot::current()) {
        Ok(found) => report.ledger = found.last,
        Err(error @ StorageError::Inconsistent { .. }) => {
            report.problems.push(format!("a start refuses this storage: {error}"));
            report.ledger = moments.last().copied().unwrap_or_default();
        }
        Err(error) => return Err(error),
    }
    if let Err(error) = files.finished.marks() {
        report.problems.push(error.to_string());
    }
    files.check_index(&mut report)?;
    files.check_draw(&mut report)?;
    files.note_tails(&mut report)?;
    Ok(report)
}

impl Files {
    /// Returns the known totals, in order, from the empty storage on.
    fn moments(&self, journal: &Journal, report: &mut Report) -> Result<Vec<Ledger>, StorageError> {
        let mut moments = vec![Ledger::default()];
        for (number, entry) in (1..).zip(self.checkpoints.read()?) {
            match entry {
                Some(entry) => moments.push(entry.ledger),
                None => report.problem("checkpoints", &format!("entry {number} is damaged")),
            }
        }
        let damaged = |place| format!("journal: a copy at byte {place} is damaged, another is not");
        report.notes.extend(journal.damaged_checkpoints()?.into_iter().map(damaged));
        let Some(start) = journal.newest_checkpoint()? else { return Ok(moments) };
        let mut last = start.ledger;
        moments.push(last);
        while let Some(record) = journal.record_after(&last)? {
            if !record.has_all_copies {
                report.notes.push(damaged(last.journal_end));
            }
            last = record.after;
            moments.push(last);
        }
        // Entries behind the last record are of batches that were never acknowledged.
        moments.retain(|moment| moment.records <= last.records);
        moments.sort_by_key(|moment| (moment.rows_end, moment.lines_end));
        Ok(moments)
    }

    /// Checks what both files hold between two moments.
    fn check_span(
        &self,
        before: &Ledger,
        after: &Ledger,
        report: &mut Report,
    ) -> Result<(), FileError> {
        let rows = (before.rows_end, before.rows_checksum, after.rows_end, after.rows_checksum);
        if let Some(what) = damage(&self.bets, rows)? {
            let lines = line_range(before.bets, after.bets);
            let bad = self.bad_lines(before, after)?;
            report.problem(BETS, &format!("{lines} {what}{bad}"));
        }
        let lines =
            (before.lines_end, before.lines_checksum, after.lines_end, after.lines_checksum);
        if let Some(what) = damage(&self.winners, lines)? {
            report
                .problem(WINNERS, &format!("{} {what}", line_range(before.winners, after.winners)));
        }
        Ok(())
    }

    /// Names the first lines between two moments that are not bets.
    fn bad_lines(&self, before: &Ledger, after: &Ledger) -> Result<String, FileError> {
        let rows = FromStart::at(self.bets.try_clone()?, before.rows_end);
        let length = after.rows_end.saturating_sub(before.rows_end);
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(rows.take(length));
        let rows = (before.bets + 1..).zip(reader.records());
        let bad = rows.filter(|(_, row)| !row.as_ref().is_ok_and(|row| bet_of_row(row).is_some()));
        let bad: Vec<_> = bad.take(NAMED_LINES).map(|(line, _)| line.to_string()).collect();
        Ok(if bad.is_empty() { String::new() } else { format!("; not bets: {}", bad.join(", ")) })
    }

    /// Notes it if the index does not name the winners. The draw does not depend on it.
    fn check_index(&self, report: &mut Report) -> Result<(), FileError> {
        let (index, bets) = (self.index.file().try_clone()?, self.bets.try_clone()?);
        let mut winners = IndexedWinners::new(index, bets, &report.ledger);
        if let Err(reason) = winners.advance(u64::MAX, |_| Ok(())) {
            let file = winner_index::FILE;
            report.notes.push(format!("{file}: {reason}; the draw reads all bets instead"));
        }
        Ok(())
    }

    /// Checks the result of the draw, if there is one: it must be that of a draw over these bets.
    fn check_draw(&self, report: &mut Report) -> Result<(), FileError> {
        let draw = match draw_over(&self.directory, &report.ledger) {
            Ok(None) => return Ok(()),
            Ok(Some(draw)) => draw,
            Err(error) => {
                report.problems.push(error.to_string());
                return Ok(());
            }
        };
        let mut drawing = Drawing::of_all_bets(self, &report.ledger)?;
        // Rows that are not those that were stored are a problem that was found before.
        if drawing.advance(u64::MAX / 2).is_ok() && !drawing.has_written(&draw).unwrap_or(false) {
            let what = "its winners are not those of bets.csv; move it away to hold the draw again";
            report.problem(super::draw::FILE, what);
        }
        Ok(())
    }

    /// Notes bytes behind the end of what is stored.
    fn note_tails(&self, report: &mut Report) -> Result<(), FileError> {
        let ledger = &report.ledger;
        for (name, file, end) in
            [(BETS, &self.bets, ledger.rows_end), (WINNERS, &self.winners, ledger.lines_end)]
        {
            let more = file.length()?.saturating_sub(end);
            if more > 0 {
                report.notes.push(format!(
                    "{name}: {more} bytes behind byte {end} were never acknowledged; the next \
                     start moves them to {name}.cut-TIME"
                ));
            }
        }
        Ok(())
    }
}

/// Returns what is wrong with the bytes of a file between two ends with known checksums.
fn damage(
    file: &StoredFile,
    (start, sum_before, end, sum_after): (u64, u32, u64, u32),
) -> Result<Option<String>, FileError> {
    let length = file.length()?;
    if length < end {
        return Ok(Some(format!("(bytes {start} to {end}) are cut off at byte {length}")));
    }
    let (mut sum, mut bytes) = (sum_before, Vec::new());
    for at in (start..end).step_by(PIECE_BYTES as usize) {
        bytes.resize((end - at).min(PIECE_BYTES) as usize, 0);
        file.read_exact_at(&mut bytes, at)?;
        sum = checksum(sum, &bytes);
    }
    let what = format!("(bytes {start} to {end}) are not what was acknowledged");
    Ok((sum != sum_after).then_some(what))
}
