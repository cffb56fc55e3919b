//! The agency's CSV file of bets, read row by row in constant memory and validated.
//!
//! A row has first name, last name, document, birthdate and number, or the same without the number
//! (the assignment of 2022); the first row decides which. Fields are separated by commas and quoted
//! where needed, lines end with LF or CRLF, and there is no header. A byte order mark is skipped,
//! because spreadsheets write one. Rows are counted from 1, and empty lines are not counted, so
//! errors also name the line of the file.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use conventions::access::Explained;
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

/// Bytes that other programs put between the columns.
const OTHER_SEPARATORS: [(u8, &str); 3] = [(b';', ";"), (b'\t', "tabs"), (b'|', "|")];

/// The first two bytes of a UTF-16 file, in both byte orders.
const UTF_16_MARKS: [&[u8]; 2] = [b"\xFF\xFE", b"\xFE\xFF"];

/// Fault of a file of bets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatasetError {
    /// The file cannot be opened or read.
    #[error("cannot read the file: {}", Explained { path, error: source })]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A row cannot be sent.
    #[error("{reason}")]
    Row {
        /// Number of the row, counted from 1.
        row: u64,
        /// Line of the file on which the row begins, counted from 1.
        line: u64,
        /// Fault of the row.
        reason: RowError,
    },
}

impl DatasetError {
    /// Returns true if a row has the wrong number of columns. Rows after it can be read.
    pub(crate) fn is_of_columns(&self) -> bool {
        use RowError::{Columns, OtherColumns, Separator};
        let Self::Row { reason, .. } = self else { return false };
        matches!(reason, Columns { .. } | OtherColumns { .. } | Separator { .. })
    }
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
    /// The first row has the columns of a bet, separated by another character.
    #[error(
        "the columns are separated by {separator}, expected commas: save the file as comma-separated CSV"
    )]
    Separator {
        /// The separator in words.
        separator: &'static str,
    },
    /// The file is in UTF-16.
    #[error("the file is in UTF-16: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)")]
    Utf16,
    /// A field is not UTF-8.
    #[error(
        "{field} is not UTF-8: save the file as UTF-8 (if it is in Latin-1: iconv -f LATIN1 -t UTF-8)"
    )]
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
    path: PathBuf,
    /// Size of the file in bytes when it was opened, 0 for a pipe.
    size: u64,
    /// True if it is a regular file, which can be read twice.
    is_regular: bool,
    /// Agency that the bets belong to.
    agency: u16,
    reader: Reader<RowLimiter>,
    /// Bytes read since the last complete row. Shared with the limiter, which ends the reading at
    /// [`ROW_LIMIT`].
    since_row: Rc<Cell<u64>>,
    /// Line breaks that the limiter has read and that are not counted in `lines`.
    line_breaks: Rc<RefCell<LineBreaks>>,
    /// The current row; a buffer that is reused.
    record: ByteRecord,
    /// Number of the current row, 0 before the first.
    row: u64,
    /// Line breaks before the last line of the current row.
    lines: u64,
    /// Columns of the first row, 0 before it.
    columns: usize,
}

impl Dataset {
    /// Opens the file of an agency, positioned before its first row.
    pub(crate) fn open(path: &Path, agency: u16) -> Result<Self, DatasetError> {
        let unreadable = |source| DatasetError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        let (size, is_regular) = (metadata.len(), metadata.is_file());
        let since_row = Rc::new(Cell::new(0));
        let line_breaks = Rc::new(RefCell::new(LineBreaks::default()));
        let limiter = RowLimiter {
            file,
            since_row: Rc::clone(&since_row),
            line_breaks: Rc::clone(&line_breaks),
        };
        let reader = ReaderBuilder::new()
            .has_headers(false)
            // `advance` checks the number of columns, with a better error text.
            .flexible(true)
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(limiter);
        Ok(Self {
            path: path.to_owned(),
            size,
            is_regular,
            agency,
            reader,
            since_row,
            line_breaks,
            record: ByteRecord::new(),
            row: 0,
            lines: 0,
            columns: 0,
        })
    }

    /// Returns the open file. Reads must not move its position.
    pub(crate) fn file(&self) -> &File {
        &self.reader.get_ref().file
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
                // The reader does not report where the row begins: after the row before it.
                self.record.clear();
                self.lines += u64::from(self.row > 1);
                return Err(self.row_error(RowError::TooLong));
            }
            return Err(DatasetError::Unreadable { path: self.path.clone(), source: error.into() });
        }
        self.since_row.set(0);
        // The line break at the end of the row does not begin one of its lines.
        self.lines += self.line_breaks.borrow_mut().take_before(self.position().saturating_sub(1));
        if self.row == 1 && is_utf_16(self.record.as_slice()) {
            return Err(self.row_error(RowError::Utf16));
        }
        let found = self.record.len();
        if self.columns == 0 && COLUMNS.contains(&found) {
            self.columns = found;
        }
        match self.columns {
            0 => Err(self.row_error(match other_separator(&self.record) {
                Some(separator) => RowError::Separator { separator },
                None => RowError::Columns { found },
            })),
            expected if expected != found => {
                Err(self.row_error(RowError::OtherColumns { found, expected }))
            }
            _ => Ok(true),
        }
    }

    /// Returns the bet of the current row, without its number unless `with_number`. The dialect
    /// checks lengths and control characters when it encodes the bet.
    pub(crate) fn bet(&self, with_number: bool) -> Result<Bet<'_>, DatasetError> {
        self.parse(with_number).map_err(|reason| self.row_error(reason))
    }

    /// Returns an error for the current row.
    pub(crate) fn row_error(&self, reason: impl Into<RowError>) -> DatasetError {
        DatasetError::Row { row: self.row, line: self.line(), reason: reason.into() }
    }

    /// Returns the number of the current row, 0 before the first.
    pub(crate) fn row(&self) -> u64 {
        self.row
    }

    /// Returns the line of the file on which the current row begins, counted from 1. Quoted fields
    /// may contain line breaks.
    pub(crate) fn line(&self) -> u64 {
        let inside = self.record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
        1 + self.lines.saturating_sub(inside)
    }

    /// Returns the size of the file in bytes when it was opened, 0 for a pipe.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Returns true if the file can be read twice.
    pub(crate) fn is_regular(&self) -> bool {
        self.is_regular
    }

    /// Returns the number of bytes up to the end of the current row.
    pub(crate) fn position(&self) -> u64 {
        self.reader.position().byte()
    }

    fn parse(&self, with_number: bool) -> Result<Bet<'_>, RowError> {
        let date = self.text(3, "birthdate")?;
        Ok(Bet {
            agency: self.agency,
            first_name: self.text(0, "first name")?,
            last_name: self.text(1, "last name")?,
            document: self.text(2, "document")?.into(),
            birthdate: Birthdate::from_unpadded(date).ok_or_else(|| InvalidBet::birthdate(date))?,
            number: match self.record.get(4) {
                None => None,
                Some(_) if !with_number => None,
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

/// Returns true if the first row of a file is UTF-16: it begins with the mark of UTF-16, or at
/// least a quarter of its bytes are zero. Text in Latin letters has one such byte per character.
fn is_utf_16(row: &[u8]) -> bool {
    let zeros = row.iter().filter(|byte| **byte == 0).count();
    UTF_16_MARKS.iter().any(|mark| row.starts_with(mark)) || zeros > row.len() / 4
}

/// Returns the separator of a row that has the columns of a bet if it is split there.
fn other_separator(record: &ByteRecord) -> Option<&'static str> {
    let columns =
        |separator: u8| 1 + record.as_slice().iter().filter(|it| **it == separator).count();
    let found = OTHER_SEPARATORS.iter().find(|(byte, _)| COLUMNS.contains(&columns(*byte)));
    found.map(|(_, name)| *name)
}

/// Offsets of the line breaks that were read and not yet counted.
#[derive(Debug, Default)]
struct LineBreaks {
    /// Number of bytes that were read.
    read: u64,
    /// The offsets, in ascending order.
    offsets: VecDeque<u64>,
}

impl LineBreaks {
    /// Adds the line breaks of the next bytes.
    fn add(&mut self, bytes: &[u8]) {
        let start = self.read;
        let breaks = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        self.offsets.extend(breaks.map(|(index, _)| start + index as u64));
        self.read += bytes.len() as u64;
    }

    /// Removes the line breaks before an offset and returns their number.
    fn take_before(&mut self, offset: u64) -> u64 {
        let count = self.offsets.partition_point(|found| *found < offset);
        self.offsets.drain(..count);
        count as u64
    }
}

/// The file under the CSV reader. A read fails when the current row exceeds [`ROW_LIMIT`].
#[derive(Debug)]
struct RowLimiter {
    file: File,
    /// Shared with [`Dataset`].
    since_row: Rc<Cell<u64>>,
    /// Shared with [`Dataset`].
    line_breaks: Rc<RefCell<LineBreaks>>,
}

impl Read for RowLimiter {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_row.get() >= ROW_LIMIT {
            return Err(io::Error::other("the row is too long"));
        }
        let bytes = self.file.read(buffer)?;
        self.since_row.set(self.since_row.get() + bytes as u64);
        self.line_breaks.borrow_mut().add(&buffer[..bytes]);
        Ok(bytes)
    }
}
