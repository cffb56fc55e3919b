//! The agency's CSV file of bets, read row by row in constant memory and validated.
//!
//! A row has first name, last name, document, birthdate and number, or the same without the number
//! (the assignment of 2022); the first row decides which. Fields are separated by commas and quoted
//! where needed, lines end with LF or CRLF, and there is no header. A byte order mark is skipped,
//! because spreadsheets write one. Rows are counted from 1, and empty lines are not counted.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use csv::{ByteRecord, Reader, ReaderBuilder};
use lottery::protocol::Unencodable;
use lottery::{Bet, Birthdate, InvalidBet};

/// Largest row in bytes. An unclosed quote turns the rest of the file into one field; without this
/// limit it would be read into memory. The longest row that can be stored has less than 2 kB.
const ROW_LIMIT: u64 = 64 * 1024;

/// Size of one read in bytes. At most [`ROW_LIMIT`], or a single read could hold a longer row.
const BUFFER_BYTES: usize = 64 * 1024;

/// Number of columns with and without the number.
const COLUMNS: [usize; 2] = [5, 4];

/// Fault of a file of bets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatasetError {
    /// The file cannot be opened or read.
    #[error("cannot read the file: {source}")]
    Unreadable {
        /// The system's error.
        source: io::Error,
    },
    /// A row cannot be sent.
    #[error("{reason}")]
    Row {
        /// Number of the row, counted from 1.
        row: u64,
        /// Fault of the row.
        reason: RowError,
    },
}

/// Why a row cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    /// The first row has neither 5 nor 4 columns.
    #[error(
        "{found} columns, expected 5 (first name, last name, document, birthdate, number) or 4 (no number)"
    )]
    Columns {
        /// Number of its columns.
        found: usize,
    },
    /// The row has another number of columns than the first one. A bet that lost its number would
    /// win by another rule.
    #[error("{found} columns, but the rows before have {expected}")]
    OtherColumns {
        /// Number of its columns.
        found: usize,
        /// Number of columns of the first row.
        expected: usize,
    },
    /// A field is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// Name of the field.
        field: &'static str,
    },
    /// The row is longer than [`ROW_LIMIT`].
    #[error("more than {ROW_LIMIT} bytes; is a quote not closed?")]
    TooLong,
    /// A field breaks a rule of bets.
    #[error(transparent)]
    Invalid(#[from] InvalidBet),
    /// The dialect cannot encode it.
    #[error(transparent)]
    Unencodable(#[from] Unencodable),
}

/// An open file of bets and its current row.
#[derive(Debug)]
pub(crate) struct Dataset {
    /// Size of the file in bytes when it was opened, 0 for a pipe.
    size: u64,
    /// Agency that the bets belong to.
    agency: u16,
    reader: Reader<RowLimiter>,
    /// Bytes read since the last complete row. Shared with the limiter, which ends the reading at
    /// [`ROW_LIMIT`].
    since_row: Rc<Cell<u64>>,
    /// The current row; a buffer that is reused.
    record: ByteRecord,
    /// Number of the current row, 0 before the first.
    row: u64,
    /// Columns of the first row, 0 before it.
    columns: usize,
}

impl Dataset {
    /// Opens the file of an agency, positioned before its first row.
    pub(crate) fn open(path: &Path, agency: u16) -> Result<Self, DatasetError> {
        let unreadable = |source| DatasetError::Unreadable { source };
        let file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let since_row = Rc::new(Cell::new(0));
        let reader = ReaderBuilder::new()
            .has_headers(false)
            // `advance` checks the number of columns, with a better error text.
            .flexible(true)
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(RowLimiter { file, since_row: Rc::clone(&since_row) });
        Ok(Self { size, agency, reader, since_row, record: ByteRecord::new(), row: 0, columns: 0 })
    }

    /// Reads the next row and checks its length and number of columns. Returns false at the end of
    /// the file.
    pub(crate) fn advance(&mut self) -> Result<bool, DatasetError> {
        let read = self.reader.read_byte_record(&mut self.record);
        if read.as_ref().is_ok_and(|more| !more) {
            return Ok(false);
        }
        self.row += 1;
        if let Err(error) = read {
            if self.since_row.get() >= ROW_LIMIT {
                return Err(self.row_error(RowError::TooLong));
            }
            return Err(DatasetError::Unreadable { source: error.into() });
        }
        self.since_row.set(0);
        let found = self.record.len();
        if self.columns == 0 && COLUMNS.contains(&found) {
            self.columns = found;
        }
        match self.columns {
            0 => Err(self.row_error(RowError::Columns { found })),
            expected if expected != found => {
                Err(self.row_error(RowError::OtherColumns { found, expected }))
            }
            _ => Ok(true),
        }
    }

    /// Returns the bet of the current row. The dialect checks lengths and control characters when
    /// it encodes the bet.
    pub(crate) fn bet(&self) -> Result<Bet<'_>, DatasetError> {
        self.parse().map_err(|reason| self.row_error(reason))
    }

    /// Returns an error for the current row.
    pub(crate) fn row_error(&self, reason: impl Into<RowError>) -> DatasetError {
        DatasetError::Row { row: self.row, reason: reason.into() }
    }

    /// Returns the size of the file in bytes when it was opened, 0 for a pipe.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the number of bytes up to the end of the current row.
    pub(crate) fn position(&self) -> u64 {
        self.reader.position().byte()
    }

    fn parse(&self) -> Result<Bet<'_>, RowError> {
        let date = self.text(3, "birthdate")?;
        Ok(Bet {
            agency: self.agency,
            first_name: self.text(0, "first name")?,
            last_name: self.text(1, "last name")?,
            document: self.text(2, "document")?.into(),
            birthdate: Birthdate::from_unpadded(date).ok_or_else(|| InvalidBet::birthdate(date))?,
            number: match self.record.get(4) {
                None => None,
                Some(_) => {
                    let digits = self.text(4, "number")?;
                    Some(decimal(digits).ok_or_else(|| InvalidBet::number(digits))?)
                }
            },
        })
    }

    fn text(&self, column: usize, field: &'static str) -> Result<&str, RowError> {
        let bytes = self.record.get(column).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| RowError::NotUtf8 { field })
    }
}

/// Parses a decimal of digits only. Leading zeros are allowed: the course's data has `0007`.
pub(crate) fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The file under the CSV reader. A read fails when the current row exceeds [`ROW_LIMIT`].
#[derive(Debug)]
struct RowLimiter {
    file: File,
    /// Shared with [`Dataset`].
    since_row: Rc<Cell<u64>>,
}

impl Read for RowLimiter {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_row.get() >= ROW_LIMIT {
            return Err(io::Error::other("the row is too long"));
        }
        let bytes = self.file.read(buffer)?;
        self.since_row.set(self.since_row.get() + bytes as u64);
        Ok(bytes)
    }
}
