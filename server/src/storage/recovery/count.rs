//! Counting: the totals of a storage without a journal, from `bets.csv`.

use std::collections::HashSet;

use lottery::{Bet, Birthdate, is_winner, write_winner_line};

use super::super::draw::FromStart;
use super::super::file::StoredFile;
use super::super::files::{Files, inconsistent};
use super::super::ledger::checksum;
use super::super::{FileError, Ledger, StorageError};
use super::Recovery;

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 1 << 20;

impl Files {
    /// Counts the totals from `bets.csv` and writes `winners.log` again. The storage is new, or its
    /// journal was moved away, or a program without a journal wrote it.
    pub fn count(&self) -> Result<Recovery, StorageError> {
        let rows_end = self.bets.length()?;
        let before = self.read_winners()?;
        let mut ledger = self.empty_ledger()?;
        if rows_end == 0 {
            if !before.is_empty() {
                let reason = "it has winners, but bets.csv is empty; restore bets.csv or move \
                              this file away";
                return Err(inconsistent(self.winners.path(), reason.to_owned()));
            }
            ledger.epoch = self.epoch_with_sessions(&ledger)?;
            return Ok(Recovery { ledger, ..Recovery::default() });
        }
        self.check_last_line(rows_end)?;
        let counted_before: HashSet<&[u8]> = before.split_inclusive(|&b| b == b'\n').collect();
        ledger.rows_end = rows_end;
        let mut lines = Vec::new();
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(FromStart::new(self.bets.try_clone()?));
        for row in reader.records() {
            let row = row.map_err(|error| inconsistent(self.bets.path(), error.to_string()))?;
            let bet = bet_of(&row).ok_or_else(|| {
                let line = ledger.bets + 1;
                let columns = "agency, first name, last name, document, birthdate, number";
                let reason = format!("line {line} is not a bet ({columns})");
                inconsistent(self.bets.path(), reason)
            })?;
            ledger.bets += 1;
            if is_winner(&bet) {
                let end = lines.len();
                write_winner_line(&bet, &mut lines);
                // The row of a bet with the number 0 looks like that of a bet without a number,
                // which has another winner rule. Only `winners.log` shows which it was.
                if bet.number.is_none()
                    && !before.is_empty()
                    && !counted_before.contains(&lines[end..])
                {
                    lines.truncate(end);
                } else {
                    ledger.winners += 1;
                }
            }
        }
        ledger.lines_end = lines.len() as u64;
        ledger.lines_checksum = checksum(0, &lines);
        ledger.rows_checksum = checksum_of(&self.bets, rows_end)?;
        ledger.epoch = self.epoch_with_sessions(&ledger)?;
        self.winners.write_all_at(&lines, 0)?;
        let kept_in = self.move_tails(&ledger)?;
        Ok(Recovery { ledger, kept_in, unclean: true, counted: true, ..Recovery::default() })
    }

    /// Returns the totals of an empty storage. Its epoch follows all earlier ones, so that a
    /// journal of one of them is recognized as older.
    fn empty_ledger(&self) -> Result<Ledger, StorageError> {
        let finished = self.finished.marks()?.count();
        let entries = self.checkpoints.read()?;
        let epoch = entries.iter().flatten().map(|entry| entry.ledger.epoch).max();
        Ok(Ledger { finished, epoch: epoch.unwrap_or_default(), ..Ledger::default() })
    }

    /// Returns an epoch that also follows those in the file of the sessions. Fails if they may not
    /// match the counted bets.
    fn epoch_with_sessions(&self, counted: &Ledger) -> Result<u64, StorageError> {
        let Some(sessions) = &self.sessions else { return Ok(counted.epoch) };
        Ok(sessions.check_counted(counted)?.max(counted.epoch))
    }

    fn read_winners(&self) -> Result<Vec<u8>, FileError> {
        let mut bytes = vec![0; self.winners.length()? as usize];
        self.winners.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn check_last_line(&self, rows_end: u64) -> Result<(), StorageError> {
        let mut last = [0];
        self.bets.read_exact_at(&mut last, rows_end - 1)?;
        if last == *b"\n" {
            return Ok(());
        }
        let reason = "its last line is incomplete and there is no journal to show where the last \
                      batch ends; complete or remove that line";
        Err(inconsistent(self.bets.path(), reason.to_owned()))
    }
}

/// Returns the CRC-32 of the first `end` bytes of a file.
pub fn checksum_of(file: &StoredFile, end: u64) -> Result<u32, FileError> {
    let (mut sum, mut at) = (0, 0);
    let mut bytes = vec![0; PIECE_BYTES];
    while at < end {
        let length = (end - at).min(PIECE_BYTES as u64) as usize;
        file.read_exact_at(&mut bytes[..length], at)?;
        sum = checksum(sum, &bytes[..length]);
        at += length as u64;
    }
    Ok(sum)
}

/// Names the lines of `bets.csv` behind the first `before` up to `last`.
pub fn line_range(before: u64, last: u64) -> String {
    format!("lines {} to {last}", before + 1)
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
