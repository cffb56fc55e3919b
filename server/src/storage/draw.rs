//! The draw: one pass over `bets.csv` that finds the winners of every agency, and the file that
//! keeps them.
//!
//! The first row of `draw.csv` is `draw,BETS,WINNERS`. One row `agency,document` per winner
//! follows, grouped by agency, in the order of storage. The file is written under another name and
//! renamed when it is whole, so there is either a complete draw or none.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use csv::{ByteRecord, StringRecord, Terminator, WriterBuilder};
use lottery::is_winner;

use super::access;
use super::agency_winners::AgencyWinners;
use super::file::{sync_all, sync_directory};
use super::recovery::bet_of;

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
    /// Rows of the file, per agency. Memory holds only the winners, which are few.
    sections: BTreeMap<u16, Vec<u8>>,
}

/// Reads a file from its start with an offset of its own, because other processes share the
/// descriptor.
#[derive(Debug)]
struct FromStart {
    file: File,
    position: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Drawing {
    /// Begins a draw over the first `end` bytes of `bets`. Nothing may be appended to the file
    /// from then on.
    pub fn new(bets: File, end: u64) -> Self {
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .buffer_capacity(64 * 1024)
            .from_reader(FromStart { file: bets, position: 0 }.take(end));
        Self { reader, row: StringRecord::new(), bets: 0, winners: 0, sections: BTreeMap::new() }
    }

    /// Continues for about `bytes` bytes. Returns true once it has read every bet.
    pub fn advance(&mut self, bytes: u64) -> io::Result<bool> {
        let enough = self.reader.position().byte() + bytes;
        while self.reader.position().byte() < enough {
            if !self.reader.read_record(&mut self.row)? {
                return Ok(true);
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

    /// Returns the number of bets read so far.
    pub fn bets(&self) -> u64 {
        self.bets
    }

    /// Writes the result. If this fails, the draw has not been held.
    pub fn write(&self, directory: &Path, durable: bool) -> io::Result<()> {
        let unfinished = directory.join(UNFINISHED);
        let mut file = access::options(&unfinished).truncate(true).open(&unfinished)?;
        let mut title = Vec::new();
        put_row(&[TITLE, &self.bets.to_string(), &self.winners.to_string()], &mut title)?;
        file.write_all(&title)?;
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
        let mut reader = reader(FromStart { file: file.try_clone()?, position: 0 });
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
        let mut draw = Self { file, bets, sections: BTreeMap::new() };
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

fn reader<R: Read>(input: R) -> csv::Reader<R> {
    csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input)
}

fn number(row: &ByteRecord, column: usize) -> Option<u64> {
    std::str::from_utf8(row.get(column)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BETS: &[u8] = b"2,Ana,Lorca,11,1999-03-17,7574\r\n\
        1,Eva,Paz,22,1999-03-17,7573\r\n\
        1,Leo,Rey,\"3,3\",1999-03-17,7574\r\n\
        0,Nadie,Nadie,44,1999-03-17,7574\r\n\
        2,Luz,Sol,55,1999-03-17,7574\r\n";

    fn documents_of(draw: &Draw, agency: u16) -> Vec<String> {
        let mut winners = draw.winners(agency);
        while !draw.read(&mut winners, 1000).unwrap() {}
        winners.documents().into_iter().map(str::to_owned).collect()
    }

    fn drawing(bets: &[u8]) -> (tempfile::TempDir, Drawing) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bets.csv");
        fs::write(&path, bets).unwrap();
        (directory, Drawing::new(File::open(path).unwrap(), bets.len() as u64))
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
        assert!(fs::read(directory.path().join(FILE)).unwrap().starts_with(b"draw,5,3\r\n"));
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
        drawing = Drawing::new(drawing.reader.into_inner().into_inner().file, first);
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
    fn the_error_names_the_line_that_is_not_a_bet() {
        let (_directory, mut drawing) =
            drawing(b"1,Ana,Lorca,11,1999-03-17,1\r\n1,Ana,Lorca,11,never,1\r\n");
        let error = drawing.advance(1000).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
