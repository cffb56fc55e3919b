//! The agency's file of bets: read row by row in constant memory, each row judged before it can be sent.
//!
//! Rows are first name, last name, document, birthdate and number, or the same without number (the assignment of 2022); the
//! first row decides which. Comma, quotes where needed, LF or CRLF, no header; a byte order mark is skipped, as spreadsheets
//! write one. Rows are counted from 1; empty lines are no rows.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use csv::{ByteRecord, Reader, ReaderBuilder};
use lottery::protocol::Unencodable;
use lottery::{Bet, Birthdate, InvalidBet};

/// Bytes of a row after which it is given up. An unclosed quote makes one field of the whole rest of a file, which must not end
/// up in memory; the longest row that can be stored has less than 2 kB.
const ROW_LIMIT: u64 = 64 * 1024;

/// Bytes read at once. Not more than [`ROW_LIMIT`], or a single read could hold a longer row.
const BUFFER_BYTES: usize = 64 * 1024;

/// Columns of a row with number, and of one without.
const COLUMNS: [usize; 2] = [5, 4];

/// What is wrong with a file of bets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatasetError {
    /// It cannot be opened or read.
    #[error("cannot read it: {source}")]
    Unreadable {
        /// What the system says.
        source: io::Error,
    },
    /// A row cannot be sent.
    #[error("{reason}")]
    Row {
        /// Which row, counted from 1.
        row: u64,
        /// Why not.
        reason: RowError,
    },
}

/// Why a row cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    /// It has another number of columns than any row of bets.
    #[error(
        "{found} columns, expected 5 (first name, last name, document, birthdate, number) or 4 (no number)"
    )]
    Columns {
        /// How many it has.
        found: usize,
    },
    /// It has another number of columns than the rows before it: a bet that lost its number would be drawn by another rule.
    #[error("{found} columns, but the rows before have {expected}")]
    OtherColumns {
        /// How many it has.
        found: usize,
        /// How many the first row has.
        expected: usize,
    },
    /// A field is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// Which field.
        field: &'static str,
    },
    /// It does not end.
    #[error("more than {ROW_LIMIT} bytes; is a quote not closed?")]
    TooLong,
    /// A field breaks a rule of bets.
    #[error(transparent)]
    Invalid(#[from] InvalidBet),
    /// The dialect cannot carry it.
    #[error(transparent)]
    Unencodable(#[from] Unencodable),
}

/// An open file of bets and the row it stands at.
#[derive(Debug)]
pub(crate) struct Dataset {
    /// Size of the file in bytes when it was opened, 0 when it has none (a pipe).
    size: u64,
    /// Whose bets they are.
    agency: u16,
    reader: Reader<RowLimiter>,
    /// Bytes read since a row was last complete; shared with the limiter, which refuses to let it grow on.
    since_row: Rc<Cell<u64>>,
    /// The current row, used again for each.
    record: ByteRecord,
    /// Number of the current row, 0 before the first.
    row: u64,
    /// Columns of the first row, 0 before it.
    columns: usize,
}

impl Dataset {
    /// Opens the file of an agency, before its first row.
    ///
    /// # Errors
    /// [`DatasetError::Unreadable`].
    pub(crate) fn open(path: &Path, agency: u16) -> Result<Self, DatasetError> {
        let unreadable = |source| DatasetError::Unreadable { source };
        let file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let since_row = Rc::new(Cell::new(0));
        let reader = ReaderBuilder::new()
            .has_headers(false)
            // Rows of another length are refused here, with a message of ours.
            .flexible(true)
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(RowLimiter { file, since_row: Rc::clone(&since_row) });
        Ok(Self { size, agency, reader, since_row, record: ByteRecord::new(), row: 0, columns: 0 })
    }

    /// Goes to the next row; false at the end of the file.
    ///
    /// # Errors
    /// When the file cannot be read, or the row does not end or has the wrong number of columns.
    pub(crate) fn advance(&mut self) -> Result<bool, DatasetError> {
        let read = self.reader.read_byte_record(&mut self.record);
        if read.as_ref().is_ok_and(|more| !more) {
            return Ok(false);
        }
        self.row += 1;
        if let Err(error) = read {
            if self.since_row.get() >= ROW_LIMIT {
                return Err(self.refuse(RowError::TooLong));
            }
            return Err(DatasetError::Unreadable { source: error.into() });
        }
        self.since_row.set(0);
        let found = self.record.len();
        if self.columns == 0 && COLUMNS.contains(&found) {
            self.columns = found;
        }
        match self.columns {
            0 => Err(self.refuse(RowError::Columns { found })),
            expected if expected != found => {
                Err(self.refuse(RowError::OtherColumns { found, expected }))
            }
            _ => Ok(true),
        }
    }

    /// The bet of the current row. Lengths and control characters are judged when it is put into a batch.
    ///
    /// # Errors
    /// When a field is not what it should be.
    pub(crate) fn bet(&self) -> Result<Bet<'_>, DatasetError> {
        self.parse().map_err(|reason| self.refuse(reason))
    }

    /// The error for the current row.
    pub(crate) fn refuse(&self, reason: impl Into<RowError>) -> DatasetError {
        DatasetError::Row { row: self.row, reason: reason.into() }
    }

    /// Size of the file in bytes when it was opened, 0 when it has none.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes up to the end of the current row.
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

/// A decimal of digits only, zeros before it allowed: `0007` is 7 in the course's data.
pub(crate) fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The file under the CSV reader. It fails instead of feeding one row for ever.
#[derive(Debug)]
struct RowLimiter {
    file: File,
    /// See [`Dataset`].
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
