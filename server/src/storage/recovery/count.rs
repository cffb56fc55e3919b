//! Counting: the totals of a storage without a journal, from `bets.csv`.

use std::collections::HashSet;
use std::io;

use lottery::{Bet, write_winner_line};

use super::super::file::StoredFile;
use super::super::files::{Files, inconsistent};
use super::super::ledger::checksum;
use super::super::rows::Rows;
use super::super::winner_index::Entry;
use super::super::{FileError, Ledger, StorageError};
use super::Recovery;

/// Bytes that are read at a time: they stay in the cache of the processor until they are parsed.
const PIECE_BYTES: usize = 1 << 18;

impl Files {
    /// Counts the totals from `bets.csv`, and writes `winners.log` and the index again. The storage
    /// is new, or its journal was moved away, or a program without a journal wrote it.
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
        let (mut lines, mut entries) = (Vec::new(), Vec::new());
        let mut rows = Rows::new(self.bets.try_clone()?, rows_end);
        let mut add = |offset, bet: &Bet<'_>| {
            let end = lines.len();
            write_winner_line(bet, &mut lines);
            // The row of a bet with the number 0 looks like that of a bet without a number, which
            // has another winner rule. Only `winners.log` shows which it was.
            let is_ambiguous = bet.number.is_none() && (bet.agency != 0 || !before.is_empty());
            if is_ambiguous && !counted_before.contains(&lines[end..]) {
                lines.truncate(end);
            } else {
                entries.push(Entry { offset, has_number: bet.number.is_some() });
            }
            Ok(())
        };
        let refused = |error: io::Error| inconsistent(self.bets.path(), error.to_string());
        while !rows.advance(PIECE_BYTES as u64, &mut add).map_err(refused)? {}
        ledger.bets = rows.count;
        ledger.rows_checksum = rows.checksum;
        ledger.winners = entries.len() as u64;
        ledger.lines_end = lines.len() as u64;
        ledger.lines_checksum = checksum(0, &lines);
        ledger.epoch = self.epoch_with_sessions(&ledger)?;
        self.winners.write_all_at(&lines, 0)?;
        self.index.write(0, &entries)?;
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
