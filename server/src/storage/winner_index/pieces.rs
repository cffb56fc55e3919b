//! Rows that may be those of winners, compared with the lines of `winners.log`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use lottery::{Bet, write_winner_line};

use super::super::rows::RowParser;
use super::Entry;

/// Bytes of `winners.log` that are read at a time.
const LINES_BYTES: usize = 64 * 1024;

/// A file that is read at rising offsets.
#[derive(Debug)]
pub struct Pieces {
    file: File,
    /// Bytes that are read at a time.
    size: usize,
    /// Offset of `bytes`.
    start: u64,
    bytes: Vec<u8>,
}

impl Pieces {
    /// Returns the file, to be read in pieces of this size.
    pub fn new(file: File, size: usize) -> Self {
        Self { file, size, start: 0, bytes: Vec::new() }
    }

    /// Returns `length` bytes from an offset, or fewer at the end of the file.
    pub fn read(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let end = offset + length as u64;
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            self.bytes.resize(length.max(self.size), 0);
            let mut read = 0;
            loop {
                let more = self.file.read_at(&mut self.bytes[read..], offset + read as u64)?;
                read += more;
                if more == 0 || read >= length {
                    break;
                }
            }
            self.bytes.truncate(read);
            self.start = offset;
        }
        let bytes = &self.bytes[(offset - self.start) as usize..];
        Ok(&bytes[..bytes.len().min(length)])
    }
}

/// Finds the winners among the rows that may be theirs: their lines follow each other in
/// `winners.log`.
#[derive(Debug)]
pub struct LineMatch {
    lines: Pieces,
    /// End of the lines of the winners so far.
    end: u64,
    line: Vec<u8>,
}

impl LineMatch {
    /// Begins with the first line.
    pub fn new(lines: File) -> Self {
        Self { lines: Pieces::new(lines, LINES_BYTES), end: 0, line: Vec::new() }
    }

    /// Returns true if this bet is the next winner.
    pub fn is_next(&mut self, bet: &Bet<'_>) -> io::Result<bool> {
        self.line.clear();
        write_winner_line(bet, &mut self.line);
        let is_next = self.lines.read(self.end, self.line.len())? == self.line;
        self.end += if is_next { self.line.len() as u64 } else { 0 };
        Ok(is_next)
    }
}

/// Returns the entries of a batch whose rows start at an offset of `bets.csv`, or `None` if its
/// rows and lines do not show them.
pub fn entries_of(
    parser: &mut RowParser,
    rows: &[u8],
    mut lines: &[u8],
    offset: u64,
) -> Option<Vec<Entry>> {
    let (mut entries, mut line) = (Vec::new(), Vec::new());
    let add = |offset, bet: &Bet<'_>| {
        line.clear();
        write_winner_line(bet, &mut line);
        if let Some(later) = lines.strip_prefix(&line[..]) {
            lines = later;
            entries.push(Entry { offset, has_number: bet.number.is_some() });
        }
        Ok(())
    };
    let scanned = parser.scan(rows, offset, add).ok()?;
    (scanned.bytes == rows.len() && lines.is_empty()).then_some(entries)
}
