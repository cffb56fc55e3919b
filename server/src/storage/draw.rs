//! The result of the draw: the file with the winners of every agency.
//!
//! The first row of `draw.csv` is `draw,BETS,WINNERS,CHECKSUM`. The checksum is the CRC-32 of the
//! rows that the draw was held over; files of the first version have none. One row
//! `agency,document` per winner follows, grouped by agency, in the order of storage. The file is
//! written under another name and renamed when it is whole, so there is either a complete draw or
//! none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use csv::ByteRecord;

use super::agency_winners::AgencyWinners;
use super::files::inconsistent;
use super::{FileError, Ledger, StorageError};

/// Name of the file.
pub const FILE: &str = "draw.csv";
/// First field of the first row.
pub const TITLE: &str = "draw";

/// Reads a file with an offset of its own, because other processes share the descriptor.
#[derive(Debug)]
pub struct FromStart {
    file: File,
    position: u64,
}

impl FromStart {
    /// Returns a reader of the whole file.
    pub fn new(file: File) -> Self {
        Self::at(file, 0)
    }

    /// Returns a reader of what follows an offset.
    pub fn at(file: File, position: u64) -> Self {
        Self { file, position }
    }
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// The result of a draw.
#[derive(Debug)]
pub struct Draw {
    file: File,
    /// Number of bets that the draw was held over.
    pub bets: u64,
    /// CRC-32 of their rows; `None` in a file of the first version.
    pub checksum: Option<u32>,
    /// Byte range of the rows of each agency.
    sections: BTreeMap<u16, Range<u64>>,
}

impl Draw {
    /// Opens the result, if there is one. Fails with `InvalidData` if the file is not a complete
    /// result.
    pub fn open(directory: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(directory.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Self::read_from(file).map(Some)
    }

    /// Reads a result. Fails with `InvalidData` if the file is not a complete one.
    pub fn read_from(file: File) -> io::Result<Self> {
        let mut reader = reader(FromStart::new(file.try_clone()?));
        let mut row = ByteRecord::new();
        let damaged = || {
            let advice = "it is not the complete result of a draw; move it away to hold the draw \
                          again over the same bets";
            io::Error::new(io::ErrorKind::InvalidData, advice)
        };
        reader.read_byte_record(&mut row)?;
        if row.get(0) != Some(TITLE.as_bytes()) {
            return Err(damaged());
        }
        let (bets, winners) =
            (number(&row, 1).ok_or_else(damaged)?, number(&row, 2).ok_or_else(damaged)?);
        let checksum = match row.get(3) {
            None => None,
            Some(text) => Some(checksum_in(text).ok_or_else(damaged)?),
        };
        let mut draw = Self { file, bets, checksum, sections: BTreeMap::new() };
        let mut found = 0;
        let mut start = reader.position().byte();
        while reader.read_byte_record(&mut row)? {
            let agency =
                number(&row, 0).and_then(|agency| agency.try_into().ok()).ok_or_else(damaged)?;
            let end = reader.position().byte();
            draw.sections.entry(agency).or_insert(start..end).end = end;
            (start, found) = (end, found + 1);
        }
        // A file truncated within its last row would report a wrong document.
        let mut last = [0];
        draw.file.read_exact_at(&mut last, reader.position().byte() - 1)?;
        if found == winners && last == *b"\n" { Ok(draw) } else { Err(damaged()) }
    }

    /// Returns the winners of an agency, none of which is read yet.
    pub fn winners(&self, agency: u16) -> AgencyWinners {
        AgencyWinners::new(self.sections.get(&agency).cloned().unwrap_or_default())
    }

    /// Reads the next winners of an agency, from about `bytes` bytes of the file. Returns true once
    /// all are read.
    pub fn read(&self, winners: &mut AgencyWinners, bytes: u64) -> io::Result<bool> {
        winners.read(&self.file, bytes)
    }

    /// Returns true if this is the result of a draw over this number of bets, with these rows per
    /// agency.
    pub fn has(&self, bets: u64, sections: &BTreeMap<u16, Vec<u8>>) -> io::Result<bool> {
        let mut same = self.bets == bets && self.sections.len() == sections.len();
        for (agency, section) in sections {
            let mut winners = self.winners(*agency);
            let bytes = winners.left();
            same &= self.read(&mut winners, bytes)?;
            same &= winners.documents() == documents_in(section)?;
        }
        Ok(same)
    }
}

/// Returns the documents in rows of the file.
fn documents_in(rows: &[u8]) -> io::Result<Vec<String>> {
    let mut reader = reader(rows);
    reader.records().map(|row| Ok(row?.get(1).unwrap_or_default().to_owned())).collect()
}

fn reader<R: Read>(input: R) -> csv::Reader<R> {
    csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input)
}

fn number(row: &ByteRecord, column: usize) -> Option<u64> {
    std::str::from_utf8(row.get(column)?).ok()?.parse().ok()
}

fn checksum_in(text: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

/// Returns the result of the draw, if it has been held. Fails if it was not held over the bets in
/// the ledger.
pub fn draw_over(directory: &Path, ledger: &Ledger) -> Result<Option<Draw>, StorageError> {
    let path = directory.join(FILE);
    let draw = Draw::open(directory).map_err(FileError::of("reading", &path))?;
    let Some(held) = &draw else { return Ok(None) };
    let other = if held.bets != ledger.bets {
        format!("{} bets, but bets.csv has {}", held.bets, ledger.bets)
    } else if held.checksum.is_some_and(|checksum| checksum != ledger.rows_checksum) {
        "other bets than bets.csv has".to_owned()
    } else {
        return Ok(draw);
    };
    let advice = "restore bets.csv, or move this file away to hold another draw";
    Err(inconsistent(&path, format!("the draw was held over {other}; {advice}")))
}
