//! The agency's CSV file of bets, read row by row in constant memory and validated.
//!
//! Ordinary rows are copied to a batch straight from the bytes that were read, see
//! [`Dataset::copy_rows`]. Any other row is read as CSV.
//!
//! A row has first name, last name, document, birthdate and number, or the same without the number
//! (the assignment of 2022); the first row decides which. Fields are separated by commas and quoted
//! where needed, lines end with LF or CRLF, and there is no header. A byte order mark is skipped,
//! because spreadsheets write one. Rows are counted from 1, and empty lines are not counted, so
//! errors also name the line of the file.

mod buffer;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod record;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use conventions::access::Explained;
use lottery::protocol::{AgencyCodec, Unencodable};
use lottery::{Bet, Birthdate, FileRows, InvalidBet};

use self::buffer::Buffer;
use self::record::{Read, Record};

/// Largest row in bytes. An unclosed quote turns the rest of the file into one field; without this
/// limit it would be read into memory. The longest row that can be stored has less than 2 kB.
const ROW_LIMIT: usize = 64 * 1024;

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
    buffer: Buffer,
    /// Fields of the current row, if it was read as CSV.
    record: Record,
    /// Number of the current row, 0 before the first.
    row: u64,
    /// Line of the file on which the current row begins, counted from 1.
    line: u64,
    /// Line breaks (LF) before the unread bytes of the buffer.
    line_breaks: u64,
    /// Bytes up to the end of the current row.
    end: u64,
    /// Columns of the first row, 0 before it.
    columns: usize,
}

impl Dataset {
    /// Opens the file of an agency, positioned before its first row.
    pub(crate) fn open(path: &Path, agency: u16) -> Result<Self, DatasetError> {
        let unreadable = |source| DatasetError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        Ok(Self {
            path: path.to_owned(),
            size: metadata.len(),
            is_regular: metadata.is_file(),
            agency,
            buffer: Buffer::new(file),
            record: Record::new(),
            row: 0,
            line: 1,
            line_breaks: 0,
            end: 0,
            columns: 0,
        })
    }

    /// Returns the open file. Reads must not move its position.
    pub(crate) fn file(&self) -> &File {
        self.buffer.file()
    }

    /// Reads the next row and checks its length and number of columns. Returns false at the end of
    /// the file.
    pub(crate) fn advance(&mut self) -> Result<bool, DatasetError> {
        self.skip_blank_lines()?;
        self.line = 1 + self.line_breaks;
        let read = self.record.read(&mut self.buffer).map_err(|error| self.unreadable(error))?;
        let line_breaks = match read {
            Read::End => return Ok(false),
            Read::Row { line_breaks } => line_breaks,
            Read::TooLong => {
                self.row += 1;
                self.end = self.buffer.position();
                return Err(self.row_error(RowError::TooLong));
            }
        };
        self.row += 1;
        self.end = self.buffer.position();
        self.line_breaks += line_breaks;
        if self.row == 1 && is_utf_16(self.record.bytes()) {
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

    /// Copies rows to a batch, up to the first one that needs care or for which there is no room.
    /// No row is copied that ends more than one byte after byte `end` of the file.
    ///
    /// A row that was not copied can be read with [`advance`](Self::advance). The first row of a
    /// file is never copied.
    pub(crate) fn copy_rows(
        &mut self,
        codec: &mut dyn AgencyCodec,
        end: u64,
        with_number: bool,
        max: usize,
    ) -> Result<Copied, DatasetError> {
        if self.columns == 0 {
            return Ok(Copied::default());
        }
        self.skip_blank_lines()?;
        let position = self.buffer.position();
        let first_line = 1 + self.line_breaks;
        let within = end.saturating_add(1).saturating_sub(position);
        let valid = self.buffer.valid();
        let bytes = &valid[..usize::try_from(within).map_or(valid.len(), |it| it.min(valid.len()))];
        let has_number = self.columns == COLUMNS[0];
        let copied = codec.copy_rows(FileRows { bytes, has_number, with_number, max });
        let rows = copied.rows as u64;
        if rows > 0 {
            self.buffer.consume(copied.bytes);
            self.row += rows;
            self.line = first_line + rows - 1;
            self.line_breaks += rows;
            self.end = position + copied.end as u64;
        }
        Ok(Copied { rows, first_line, is_full: copied.is_full })
    }

    /// Returns the bet of the current row, without its number unless `with_number`. The dialect
    /// checks lengths and control characters when it encodes the bet.
    pub(crate) fn bet(&self, with_number: bool) -> Result<Bet<'_>, DatasetError> {
        self.parse(with_number).map_err(|reason| self.row_error(reason))
    }

    /// Returns an error for the current row.
    pub(crate) fn row_error(&self, reason: impl Into<RowError>) -> DatasetError {
        DatasetError::Row { row: self.row, line: self.line, reason: reason.into() }
    }

    /// Returns the number of the current row, 0 before the first.
    pub(crate) fn row(&self) -> u64 {
        self.row
    }

    /// Returns the line of the file on which the current row begins, counted from 1. Quoted fields
    /// may contain line breaks.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Returns the size of the file in bytes when it was opened, 0 for a pipe.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Returns true if the file can be read twice.
    pub(crate) fn is_regular(&self) -> bool {
        self.is_regular
    }

    /// Returns the number of bytes up to the end of the current row, including the first byte of
    /// its line break.
    pub(crate) fn position(&self) -> u64 {
        self.end
    }

    /// Skips the empty lines before the next row.
    fn skip_blank_lines(&mut self) -> Result<(), DatasetError> {
        loop {
            match self.buffer.unread().first() {
                Some(byte @ (b'\n' | b'\r')) => {
                    self.line_breaks += u64::from(*byte == b'\n');
                    self.buffer.consume(1);
                    self.record.note_blank_line();
                }
                Some(_) => return Ok(()),
                None if self.buffer.is_at_end() => return Ok(()),
                None => self.buffer.read().map_err(|error| self.unreadable(error))?,
            }
        }
    }

    fn unreadable(&self, source: io::Error) -> DatasetError {
        DatasetError::Unreadable { path: self.path.clone(), source }
    }

    fn parse(&self, with_number: bool) -> Result<Bet<'_>, RowError> {
        let date = self.text(3, "birthdate")?;
        Ok(Bet {
            agency: self.agency,
            first_name: self.text(0, "first name")?,
            last_name: self.text(1, "last name")?,
            document: self.text(2, "document")?.into(),
            birthdate: Birthdate::from_unpadded(date).ok_or_else(|| InvalidBet::birthdate(date))?,
            number: match self.record.field(4) {
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
        let bytes = self.record.field(column).unwrap_or_default();
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
fn other_separator(record: &Record) -> Option<&'static str> {
    let columns = |separator: u8| 1 + record.bytes().iter().filter(|it| **it == separator).count();
    let found = OTHER_SEPARATORS.iter().find(|(byte, _)| COLUMNS.contains(&columns(*byte)));
    found.map(|(_, name)| *name)
}

/// The rows that were copied to a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Copied {
    /// Their number.
    pub(crate) rows: u64,
    /// Line of the file on which the first one begins.
    pub(crate) first_line: u64,
    /// True if the batch has no room for the next row.
    pub(crate) is_full: bool,
}
