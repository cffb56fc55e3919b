//! The winners that the index names, each checked against `bets.csv` and `winners.log`.

use std::fs::File;
use std::io::{self, ErrorKind};

use lottery::{Bet, write_winner_line};

use super::super::Ledger;
use super::super::ledger::checksum;
use super::super::rows::RowParser;
use super::{ENTRY_BYTES, Entry, Pieces};

/// Bytes of the index that are read at a time.
const INDEX_BYTES: usize = 64 * 1024;
/// Length in which the row of a winner must end. The longest that the central writes has 1.6 kB.
const ROW_BYTES: usize = 2048;
/// Bytes of rows that are read at a time if the rows of winners are close to each other.
const NEAR_BYTES: usize = 64 * 1024;
/// Average distance of winners' rows that is close.
const NEAR: u64 = 16 * 1024;

/// A reader of the index.
///
/// Damage cannot change what it yields: there are as many entries as the ledger counts winners, the
/// offsets rise, each entry names a row that may be that of a winner with or without a number as
/// the entry says, and the lines of all of them have the length and the checksum of `winners.log`
/// in the ledger. If one of that is not so, reading fails.
#[derive(Debug)]
pub struct IndexedWinners {
    index: Pieces,
    bets: Pieces,
    parser: RowParser,
    /// What is stored.
    ledger: Ledger,
    /// Entries so far.
    count: u64,
    /// Where the next row can start: behind that of the last entry.
    next_row: u64,
    line: Vec<u8>,
    lines_end: u64,
    lines_checksum: u32,
}

impl IndexedWinners {
    /// Begins to read what the ledger counts.
    pub fn new(index: File, bets: File, ledger: &Ledger) -> Self {
        let distance = ledger.rows_end / ledger.winners.max(1);
        let piece = if distance < NEAR { NEAR_BYTES } else { ROW_BYTES };
        Self {
            index: Pieces::new(index, INDEX_BYTES),
            bets: Pieces::new(bets, piece),
            parser: RowParser::default(),
            ledger: *ledger,
            count: 0,
            next_row: 0,
            line: Vec::new(),
            lines_end: 0,
            lines_checksum: 0,
        }
    }

    /// Reads up to `winners` more winners, and calls `winner` for each. Returns true once all are
    /// read. If it fails, what it has yielded may be wrong.
    pub fn advance(
        &mut self,
        winners: u64,
        mut winner: impl FnMut(&Bet<'_>) -> io::Result<()>,
    ) -> io::Result<bool> {
        for _ in 0..winners.min(self.ledger.winners - self.count) {
            self.read_next(&mut winner)?;
            self.count += 1;
        }
        if self.count < self.ledger.winners {
            return Ok(false);
        }
        let lines = (self.lines_end, self.lines_checksum);
        if lines == (self.ledger.lines_end, self.ledger.lines_checksum) {
            return Ok(true);
        }
        Err(disagrees("its winners are not those of winners.log".to_owned()))
    }

    fn read_next(&mut self, winner: impl FnOnce(&Bet<'_>) -> io::Result<()>) -> io::Result<()> {
        let bytes = self.index.read(self.count * ENTRY_BYTES, ENTRY_BYTES as usize)?;
        let Some(word) = bytes.first_chunk() else {
            let reason = format!("it has {} of {} entries", self.count, self.ledger.winners);
            return Err(disagrees(reason));
        };
        let entry = Entry::from(u64::from_le_bytes(*word));
        let number = self.count + 1;
        let is_wrong = || disagrees(format!("entry {number} does not name the row of a winner"));
        if !(self.next_row..self.ledger.rows_end).contains(&entry.offset) {
            return Err(is_wrong());
        }
        // The byte before the row shows that the row starts there.
        let before = entry.offset.min(1);
        let from = entry.offset - before;
        let length = ROW_BYTES.min((self.ledger.rows_end - from) as usize);
        let bytes = self.bets.read(from, length)?;
        let (before, row) = bytes.split_at(bytes.len().min(before as usize));
        if !(entry.offset == 0 || before == b"\n") {
            return Err(is_wrong());
        }
        let (bet, row_bytes) = self.parser.winner(row, entry.offset).ok_or_else(is_wrong)?;
        if bet.number.is_some() != entry.has_number {
            return Err(is_wrong());
        }
        self.next_row = entry.offset + row_bytes as u64;
        self.line.clear();
        write_winner_line(&bet, &mut self.line);
        self.lines_end += self.line.len() as u64;
        self.lines_checksum = checksum(self.lines_checksum, &self.line);
        winner(&bet)
    }
}

/// Returns the error for an index that does not match the other files.
fn disagrees(reason: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}
