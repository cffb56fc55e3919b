//! Reads `bets.csv`: counts its rows and finds those that may be of winners.
//!
//! [`scan_stored_rows`] counts ordinary rows without a parser. A row in which something needs care
//! is parsed on its own, as the `csv` crate parses it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use csv_core::ReadRecordResult;
use lottery::{Bet, bet_of_row, possible_winner, scan_stored_rows};

use super::ledger::checksum;

/// Columns of a row.
const COLUMNS: usize = 6;
/// Length at which a row is not taken for one. The longest that the central writes has 1.6 kB.
const MAX_ROW_BYTES: usize = 1 << 20;
/// Mark that some programs write at the start of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The rows of the file, read from its start piece by piece.
#[derive(Debug)]
pub struct Rows {
    file: File,
    /// End of what is to be read.
    end: u64,
    /// Offset of `bytes`.
    position: u64,
    /// A buffer, never smaller than before, because clearing its bytes takes time.
    bytes: Vec<u8>,
    /// How many of these bytes were read and are not parsed yet.
    filled: usize,
    parser: RowParser,
    /// Rows so far.
    pub count: u64,
    /// CRC-32 of the bytes that were read.
    pub checksum: u32,
}

impl Rows {
    /// Begins to read the first `end` bytes of the file, none of which may change any more.
    pub fn new(file: File, end: u64) -> Self {
        let (bytes, parser) = (Vec::new(), RowParser::default());
        Self { file, end, position: 0, bytes, filled: 0, parser, count: 0, checksum: 0 }
    }

    /// Reads about `bytes` bytes more. Calls `winner` for each row that may be that of a winner,
    /// with its offset and the [`possible_winner`]. Returns true once all bytes are read. Fails
    /// with `InvalidData` if a row is not a bet.
    pub fn advance(
        &mut self,
        bytes: u64,
        winner: impl FnMut(u64, &Bet<'_>) -> io::Result<()>,
    ) -> io::Result<bool> {
        self.read_more(bytes)?;
        let scanned = self.parser.scan(&self.bytes[..self.filled], self.position, winner)?;
        self.count += scanned.rows;
        let left = self.filled - scanned.bytes;
        let is_end = self.position + self.filled as u64 == self.end;
        if scanned.ends_in_no_bet || left > if is_end { 0 } else { MAX_ROW_BYTES } {
            return Err(io::Error::new(ErrorKind::InvalidData, no_bet(self.count + 1)));
        }
        self.bytes.copy_within(scanned.bytes..self.filled, 0);
        self.filled = left;
        self.position += scanned.bytes as u64;
        Ok(is_end)
    }

    fn read_more(&mut self, bytes: u64) -> io::Result<()> {
        let from = self.position + self.filled as u64;
        let end = self.filled + bytes.min(self.end - from) as usize;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let more = &mut self.bytes[self.filled..end];
        self.file.read_exact_at(more, from)?;
        self.checksum = checksum(self.checksum, more);
        self.filled = end;
        Ok(())
    }
}

/// Says that a line is not a row of a bet.
fn no_bet(line: u64) -> String {
    let columns = "agency, first name, last name, document, birthdate, number";
    format!("line {line} is not a bet ({columns})")
}

/// Rows at the start of some bytes.
#[derive(Clone, Copy, Debug)]
pub struct ScannedRows {
    /// How many rows there are.
    pub rows: u64,
    /// Their length in bytes. Less than a row follows, unless it is none of a bet.
    pub bytes: usize,
    /// True if a row follows that is none of a bet.
    pub ends_in_no_bet: bool,
}

/// Parses rows in any form that the `csv` crate reads.
#[derive(Debug, Default)]
pub struct RowParser {
    /// Made for the first row that needs care, because that takes longer than parsing many.
    reader: Option<Box<csv_core::Reader>>,
    /// The fields of the last row, without quotes.
    text: Vec<u8>,
}

/// What there is at the start of some bytes.
#[derive(Debug)]
enum Parsed<'t> {
    /// A row of a bet.
    Row {
        /// The bet, with the number 0 if it has none.
        bet: Bet<'t>,
        /// Where the row starts, behind empty lines.
        start: usize,
        /// Where the next row starts.
        end: usize,
    },
    /// A row of no bet.
    NoBet,
    /// A row without its end.
    Incomplete,
    /// At most empty lines.
    Nothing,
}

impl RowParser {
    /// Counts the whole rows at the start of `bytes`, which are at this offset of the file. Calls
    /// `winner` for each row that may be that of a winner, with its offset in the file and the
    /// [`possible_winner`]. Fails if `winner` does.
    pub fn scan(
        &mut self,
        bytes: &[u8],
        offset: u64,
        mut winner: impl FnMut(u64, &Bet<'_>) -> io::Result<()>,
    ) -> io::Result<ScannedRows> {
        let mut scanned = ScannedRows { rows: 0, bytes: 0, ends_in_no_bet: false };
        loop {
            let mut outcome = Ok(());
            let from = offset + scanned.bytes as u64;
            let ordinary = scan_stored_rows(&bytes[scanned.bytes..], |start, bet| {
                if outcome.is_ok() {
                    outcome = winner(from + start as u64, &bet);
                }
            });
            outcome?;
            scanned.rows += ordinary.rows;
            scanned.bytes += ordinary.bytes;
            let from = offset + scanned.bytes as u64;
            match self.parse(&bytes[scanned.bytes..], from) {
                Parsed::Row { bet, start, end } => {
                    if let Some(bet) = possible_winner(&bet) {
                        winner(from + start as u64, &bet)?;
                    }
                    scanned.rows += 1;
                    scanned.bytes += end;
                }
                Parsed::Nothing => {
                    scanned.bytes = bytes.len();
                    return Ok(scanned);
                }
                Parsed::Incomplete => return Ok(scanned),
                Parsed::NoBet => return Ok(ScannedRows { ends_in_no_bet: true, ..scanned }),
            }
        }
    }

    /// Returns the [`possible_winner`] whose row `bytes` begin with, at this offset of the file,
    /// and the length of the row.
    pub fn winner(&mut self, bytes: &[u8], offset: u64) -> Option<(Bet<'_>, usize)> {
        match self.parse(bytes, offset) {
            Parsed::Row { bet, start: 0, end } => Some((possible_winner(&bet)?, end)),
            _ => None,
        }
    }

    /// Parses the row at the start of `bytes`, which are at this offset of the file.
    fn parse(&mut self, bytes: &[u8], offset: u64) -> Parsed<'_> {
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let Some(start) = bytes.iter().position(|byte| !is_break(byte)) else {
            return Parsed::Nothing;
        };
        if offset > 0 && bytes[start..].starts_with(BYTE_ORDER_MARK) {
            return Parsed::NoBet;
        }
        let mut ends = [0; COLUMNS + 1];
        let (mut read, mut written, mut columns) = (start, 0, 0);
        let reader = self.reader.get_or_insert_with(|| Box::new(csv_core::Reader::new()));
        reader.reset();
        loop {
            let (result, input, output, fields) =
                reader.read_record(&bytes[read..], &mut self.text[written..], &mut ends[columns..]);
            (read, written, columns) = (read + input, written + output, columns + fields);
            match result {
                ReadRecordResult::Record => break,
                ReadRecordResult::OutputFull => self.text.resize(2 * self.text.len() + 256, 0),
                ReadRecordResult::OutputEndsFull => return Parsed::NoBet,
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return Parsed::Incomplete,
            }
        }
        // The reader stops between CR and LF.
        let is_between = bytes[..read].ends_with(b"\r") && bytes[read..].starts_with(b"\n");
        let end = read + usize::from(is_between);
        match self.bet(&ends[..columns]) {
            Some(bet) => Parsed::Row { bet, start, end },
            None => Parsed::NoBet,
        }
    }

    /// Returns the bet whose fields have these ends.
    fn bet(&self, ends: &[usize]) -> Option<Bet<'_>> {
        let text = std::str::from_utf8(&self.text[..*ends.last()?]).ok()?;
        let starts = std::iter::once(&0).chain(ends);
        let mut fields = starts.zip(ends).map(|(start, end)| text.get(*start..*end));
        // A field whose end is within a character is not UTF-8.
        fields.clone().all(|field| field.is_some()).then_some(())?;
        bet_of_row(fields.by_ref().flatten())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    /// What a reader finds: the number of rows, and offset, agency, document and number of each
    /// that may win; `None` if a row is not a bet.
    type Found = Option<(u64, Vec<(u64, u16, String, Option<u32>)>)>;

    /// Reads bytes in pieces.
    fn read(bytes: &[u8], piece: u64) -> Found {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut rows = Rows::new(file, bytes.len() as u64);
        let mut winners = Vec::new();
        loop {
            let read = rows.advance(piece, |start, bet| {
                winners.push((start, bet.agency, bet.document.to_string(), bet.number));
                Ok(())
            });
            match read {
                Ok(false) => {}
                Ok(true) => {
                    assert_eq!(rows.checksum, checksum(0, bytes));
                    return Some((rows.count, winners));
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::InvalidData);
                    return None;
                }
            }
        }
    }

    /// Reads bytes with the `csv` crate.
    fn read_by_crate(bytes: &[u8]) -> Found {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
        let (mut row, mut count, mut winners) = (csv::StringRecord::new(), 0, Vec::new());
        loop {
            let position = reader.position().byte() as usize;
            let blanks = bytes[position..].iter().position(|byte| !b"\r\n".contains(byte));
            if !reader.read_record(&mut row).ok()? {
                return Some((count, winners));
            }
            count += 1;
            let bet = bet_of_row(&row)?;
            if let Some(bet) = possible_winner(&bet) {
                let start = position + blanks.unwrap();
                let document = bet.document.to_string();
                winners.push((start as u64, bet.agency, document, bet.number));
            }
        }
    }

    /// Generates rows: mostly as the central writes them, and some as other programs may.
    fn row() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            6 => "[A-Za-z ]{0,12}",
            1 => "[ñÑáéª¡🎲]{0,6}",
            1 => "[a-z]{0,80}",
        ];
        let quoted =
            prop_oneof![Just("\"a,b\""), Just("\"\"\"x\"\"\""), Just("\"a\nb\""), Just("a\tb")];
        let name = prop_oneof![12 => name.boxed(), 1 => quoted.prop_map(str::to_owned).boxed()];
        let agency = prop_oneof![
            6 => (0_u32..5).prop_map(|agency| agency.to_string()),
            1 => (60_000_u32..65_536).prop_map(|agency| agency.to_string()),
        ];
        let number = prop_oneof![
            4 => "[0-9]{1,4}",
            2 => Just("7574".to_owned()),
            2 => Just("0".to_owned()),
            1 => prop::sample::select(vec!["4294967295", "007574", "+7574", "\"7574\"", "00"])
                .prop_map(str::to_owned),
        ];
        let end = prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r\n\r\n")];
        (agency, name.clone(), name, 0_u32..100, 1_u8..29, number, end).prop_map(
            |(agency, first, last, document, day, number, end)| {
                format!("{agency},{first},{last},{document},1999-03-{day:02},{number}{end}")
            },
        )
    }

    proptest! {
        #[test]
        fn rows_in_pieces_are_read_as_the_csv_crate_reads_them(
            rows in prop::collection::vec(row(), 1..40), piece in 1_u64..400,
        ) {
            let text = rows.concat();
            let found = read(text.as_bytes(), piece);
            prop_assert!(found.is_some(), "{text:?}");
            prop_assert_eq!(found, read_by_crate(text.as_bytes()), "{:?}", text);
        }

        #[test]
        fn a_changed_row_is_read_as_the_csv_crate_reads_it_or_refused_as_there(
            rows in prop::collection::vec(row(), 1..6), place: prop::sample::Index, byte: u8,
            piece in 1_u64..400,
        ) {
            let mut bytes = rows.concat().into_bytes();
            let place = place.index(bytes.len() - 1);
            bytes[place] = byte;
            // The storage ends every file with a line break.
            prop_assume!(bytes.ends_with(b"\n") && bytes.iter().filter(|b| **b == b'"').count() % 2 == 0);
            prop_assert_eq!(read(&bytes, piece), read_by_crate(&bytes), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn the_line_that_is_not_a_bet_is_named() {
        for bad in [
            "1,Ana,Lorca,11,never,1\r\n",
            "1,Ana,Lorca,11,1999-03-17,1,1\r\n",
            "1,\"Ana,Lorca,11,1999-03-17,1\r\n",
            "\u{feff}1,Ana,Lorca,11,1999-03-17,1\r\n",
        ] {
            let bytes = ["1,Ana,Lorca,11,1999-03-17,1\r\n", bad].concat();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes.as_bytes()).unwrap();
            let mut rows = Rows::new(file, bytes.len() as u64);
            let error = rows.advance(1000, |_, _| Ok(())).unwrap_err().to_string();
            assert!(error.contains("line 2 is not a bet"), "{bad:?}: {error}");
        }
    }
}
