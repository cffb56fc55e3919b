//! The draw: one pass over `bets.csv` that finds the winners of every agency, and the file that
//! keeps them.
//!
//! The first row of `draw.csv` is `draw,BETS,WINNERS,CHECKSUM`. The checksum is the CRC-32 of the
//! rows that the draw was held over; files of the first version have none. One row
//! `agency,document` per winner follows, grouped by agency, in the order of storage. The file is
//! written under another name and renamed when it is whole, so there is either a complete draw or
//! none.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use csv::{ByteRecord, StringRecord, Terminator, WriterBuilder};
use lottery::is_winner;

use super::agency_winners::AgencyWinners;
use super::file::{sync_all, sync_directory};
use super::ledger::checksum;
use super::recovery::bet_of;
use super::{Ledger, access};

/// Name of the file.
pub const FILE: &str = "draw.csv";
/// Name of the file until it is complete.
const UNFINISHED: &str = "draw.csv.new";
/// First field of the first row.
const TITLE: &str = "draw";

/// A draw in progress. It advances in pieces, so that its worker can serve connections in between.
#[derive(Debug)]
pub struct Drawing {
    reader: csv::Reader<io::Take<FromStart>>,
    row: StringRecord,
    bets: u64,
    winners: u64,
    /// CRC-32 of the rows that the draw is held over.
    checksum: u32,
    /// Rows of the file, per agency. Memory holds only the winners, which are few.
    sections: BTreeMap<u16, Vec<u8>>,
}

/// Reads a file with an offset of its own, because other processes share the descriptor.
#[derive(Debug)]
pub struct FromStart {
    file: File,
    position: u64,
    /// CRC-32 of the bytes that were read.
    checksum: u32,
}

impl FromStart {
    /// Returns a reader of the whole file.
    pub fn new(file: File) -> Self {
        Self::at(file, 0)
    }

    /// Returns a reader of what follows an offset.
    pub fn at(file: File, position: u64) -> Self {
        Self { file, position, checksum: 0 }
    }
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        self.checksum = checksum(self.checksum, &buffer[..read]);
        Ok(read)
    }
}

impl Drawing {
    /// Begins a draw over what `ledger` counts. Nothing may be appended to the file from then on.
    pub fn new(bets: File, ledger: &Ledger) -> Self {
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .buffer_capacity(64 * 1024)
            .from_reader(FromStart::new(bets).take(ledger.rows_end));
        let (row, checksum) = (StringRecord::new(), ledger.rows_checksum);
        Self { reader, row, bets: 0, winners: 0, checksum, sections: BTreeMap::new() }
    }

    /// Continues for about `bytes` bytes. Returns true once it has read every bet.
    pub fn advance(&mut self, bytes: u64) -> io::Result<bool> {
        let enough = self.reader.position().byte() + bytes;
        while self.reader.position().byte() < enough {
            if !self.reader.read_record(&mut self.row)? {
                return self.check_rows().map(|()| true);
            }
            self.bets += 1;
            // The reader's own line numbers are one behind when lines end in CRLF.
            let bet = bet_of(&self.row)
                .ok_or_else(|| io::Error::other(format!("line {} is not a bet", self.bets)))?;
            // Agency 0 stands for dialects without agencies: no agency can ask for its winners.
            if bet.agency != 0 && is_winner(&bet) {
                self.winners += 1;
                let section = self.sections.entry(bet.agency).or_default();
                put_row(&[&bet.agency.to_string(), bet.document.as_str()], section)?;
            }
        }
        Ok(false)
    }

    /// Checks that the rows are those that were stored, after all of them were read.
    fn check_rows(&self) -> io::Result<()> {
        if self.reader.get_ref().get_ref().checksum == self.checksum {
            return Ok(());
        }
        let reason = "its rows are not those that were stored; stop the central and run `server \
                      verify` to see which, then restore them";
        Err(io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    /// Returns the number of bets read so far.
    pub fn bets(&self) -> u64 {
        self.bets
    }

    fn title(&self) -> io::Result<Vec<u8>> {
        let (bets, winners) = (self.bets.to_string(), self.winners.to_string());
        let mut title = Vec::new();
        put_row(&[TITLE, &bets, &winners, &format!("{:08x}", self.checksum)], &mut title)?;
        Ok(title)
    }

    /// Writes the result. If this fails, the draw has not been held.
    pub fn write(&self, directory: &Path, durable: bool) -> io::Result<()> {
        let unfinished = directory.join(UNFINISHED);
        let mut file = access::options(&unfinished).truncate(true).open(&unfinished)?;
        file.write_all(&self.title()?)?;
        self.sections.values().try_for_each(|section| file.write_all(section))?;
        if durable {
            sync_all(&file)?;
        }
        // Some file systems cannot rename an open file.
        drop(file);
        fs::rename(&unfinished, directory.join(FILE))?;
        if durable {
            sync_directory(directory).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Returns true if `draw.csv` is the result of this draw, which has read every bet.
    pub fn has_written(&self, draw: &Draw) -> io::Result<bool> {
        let mut same = draw.bets == self.bets && draw.sections.len() == self.sections.len();
        for (agency, section) in &self.sections {
            let mut winners = draw.winners(*agency);
            let bytes = winners.left();
            same &= draw.read(&mut winners, bytes)?;
            same &= winners.documents() == documents_in(section)?;
        }
        Ok(same)
    }
}

fn put_row(fields: &[&str], out: &mut Vec<u8>) -> io::Result<()> {
    let mut writer =
        WriterBuilder::new().terminator(Terminator::CRLF).flexible(true).from_writer(out);
    writer.write_record(fields)?;
    writer.flush()
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
        if found == winners && last == *b"\n" { Ok(Some(draw)) } else { Err(damaged()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    const BETS: &[u8] = b"2,Ana,Lorca,11,1999-03-17,7574\r\n\
        1,Eva,Paz,22,1999-03-17,7573\r\n\
        1,Leo,Rey,\"3,3\",1999-03-17,7574\r\n\
        0,Nadie,Nadie,44,1999-03-17,7574\r\n\
        2,Luz,Sol,55,1999-03-17,7574\r\n";

    fn ledger(bets: &[u8]) -> Ledger {
        let (rows_end, rows_checksum) = (bets.len() as u64, checksum(0, bets));
        Ledger { rows_end, rows_checksum, ..Ledger::default() }
    }

    fn documents_of(draw: &Draw, agency: u16) -> Vec<String> {
        let mut winners = draw.winners(agency);
        while !draw.read(&mut winners, 1000).unwrap() {}
        winners.documents().into_iter().map(str::to_owned).collect()
    }

    fn drawing(bets: &[u8]) -> (tempfile::TempDir, Drawing) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bets.csv");
        fs::write(&path, bets).unwrap();
        let drawing = Drawing::new(File::open(path).unwrap(), &ledger(bets));
        (directory, drawing)
    }

    #[test]
    fn every_agency_gets_its_own_winners_in_the_order_of_storage() {
        let (directory, mut drawing) = drawing(BETS);
        assert!(drawing.advance(u64::MAX / 2).unwrap());
        assert!(
            Draw::open(directory.path()).unwrap().is_none(),
            "the draw has been held only once its result is written"
        );
        drawing.write(directory.path(), true).unwrap();
        let draw = Draw::open(directory.path()).unwrap().unwrap();
        assert_eq!(draw.bets, 5);
        let title = format!("draw,5,3,{:08x}\r\n", checksum(0, BETS));
        assert!(fs::read(directory.path().join(FILE)).unwrap().starts_with(title.as_bytes()));
        assert_eq!(draw.checksum, Some(checksum(0, BETS)));
        assert!(drawing.has_written(&draw).unwrap());
        for (agency, documents) in
            [(1, vec!["3,3"]), (2, vec!["11", "55"]), (3, vec![]), (0, vec![])]
        {
            assert_eq!(documents_of(&draw, agency), documents, "agency {agency}");
        }
    }

    #[test]
    fn a_draw_made_in_pieces_is_the_same() {
        let (directory, mut drawing) = drawing(BETS);
        let mut pieces = 0;
        while !drawing.advance(1).unwrap() {
            pieces += 1;
        }
        assert!(pieces >= 5, "one bet per piece: {pieces}");
        drawing.write(directory.path(), false).unwrap();
        assert_eq!(documents_of(&Draw::open(directory.path()).unwrap().unwrap(), 2), ["11", "55"]);
    }

    #[test]
    fn a_draw_stops_at_the_given_end() {
        let (_directory, mut drawing) = drawing(BETS);
        let first = BETS.iter().position(|&byte| byte == b'\n').unwrap() as u64 + 1;
        let file = drawing.reader.into_inner().into_inner().file;
        drawing = Drawing::new(file, &ledger(&BETS[..first as usize]));
        assert!(drawing.advance(1000).unwrap());
        assert_eq!((drawing.bets, drawing.winners), (1, 1));
    }

    #[test]
    fn a_truncated_result_is_rejected() {
        let (directory, mut drawing) = drawing(BETS);
        drawing.advance(u64::MAX / 2).unwrap();
        drawing.write(directory.path(), false).unwrap();
        let path = directory.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        let last_row = whole.len() - b"2,55\r\n".len();
        for cut in [0, 3, last_row, whole.len() - 3, whole.len() - 2] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(Draw::open(directory.path()).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_draw_over_other_rows_than_were_stored_is_not_held() {
        let (_directory, mut drawing) = drawing(BETS);
        drawing.checksum ^= 1;
        let error = drawing.advance(u64::MAX / 2).unwrap_err().to_string();
        assert!(error.contains("server verify"), "{error}");
    }

    #[test]
    fn a_result_of_the_first_version_has_no_checksum() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "draw,1,1\r\n1,22\r\n").unwrap();
        let draw = Draw::open(directory.path()).unwrap().unwrap();
        assert_eq!(
            (draw.bets, draw.checksum, documents_of(&draw, 1)),
            (1, None, vec!["22".into()])
        );
        fs::write(directory.path().join(FILE), "draw,1,1,x\r\n1,22\r\n").unwrap();
        assert!(Draw::open(directory.path()).is_err());
    }

    #[test]
    fn the_error_names_the_line_that_is_not_a_bet() {
        let (_directory, mut drawing) =
            drawing(b"1,Ana,Lorca,11,1999-03-17,1\r\n1,Ana,Lorca,11,never,1\r\n");
        let error = drawing.advance(1000).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
