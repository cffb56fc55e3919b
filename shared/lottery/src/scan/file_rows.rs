//! Rows of an agency's file, copied to a batch: the fast path of
//! [`AgencyCodec::copy_rows`](crate::protocol::AgencyCodec::copy_rows).
//!
//! It is the reverse of the central's fast path. A row in which nothing needs care is copied, with
//! the separators of its dialect. Any other row is left to the caller, which reads it as CSV and
//! pushes its bet, so every rule and every error text exists once.

use super::plain::Plain;
use super::rows::{AppendPart, Prefix, framed_row};
use super::text::{NONE, check_date, read_plain};
use super::window::{PREFIX, SEARCHED, SHORT, Scanned, Window};

/// Rows of an agency's file that may be copied to a batch.
#[derive(Clone, Copy, Debug)]
pub struct FileRows<'b> {
    /// Valid UTF-8 that begins with a row: first name, last name, document, birthdate and perhaps a
    /// number, separated by commas, with minimal quoting and LF or CRLF.
    pub bytes: &'b [u8],
    /// True if the rows of the file have a number.
    pub has_number: bool,
    /// False if bets are sent without their numbers.
    pub with_number: bool,
    /// Largest number of rows to copy.
    pub max: usize,
}

/// The rows that were copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopiedRows {
    /// Number of rows, each on a line of its own.
    pub rows: usize,
    /// Number of their bytes. The next row begins after them.
    pub bytes: usize,
    /// The same without the second byte of the last line break, if that is CRLF.
    pub end: usize,
    /// True if the batch has no room for the next row.
    pub is_full: bool,
}

/// A row in which nothing needs care.
#[derive(Debug)]
pub(crate) struct FileRow<'w> {
    window: &'w Window,
    scanned: Scanned,
    /// Offsets of the commas; the fourth may be [`NONE`].
    separators: [usize; 4],
    /// Length of the fields to send.
    length: usize,
    /// The number to send.
    number: Option<Plain>,
    /// Length of the row without its line break.
    end: usize,
    /// Length of the line break.
    line_break: usize,
}

impl<'w> FileRow<'w> {
    /// Reads the row at the start of a window. `TO` separates the fields in the dialect; a comma if
    /// nothing does. Returns `None` if something in the row needs care, or if the row or its line
    /// break is not complete.
    #[inline(always)]
    pub(crate) fn read<const TO: u8>(window: &'w Window, rows: &FileRows<'_>) -> Option<Self> {
        let scanned = Scanned::of::<b',', TO>(window, SEARCHED);
        let end = scanned.special.trailing_zeros() as usize;
        let line_break = match (window[end], window[end + 1]) {
            (b'\n', _) => 1,
            (b'\r', b'\n') => 2,
            _ => return None,
        };
        let separators = scanned.separators_within(end)?;
        let [_, _, third, fourth] = separators;
        if rows.has_number == (fourth == NONE) {
            return None;
        }
        let person = if fourth == NONE { end } else { fourth };
        check_date(window, third + 1, person)?;
        let (number, length) = if rows.has_number && rows.with_number {
            (Some(read_plain(window, fourth + 1, end)?), end)
        } else {
            (None, person)
        };
        Some(Self { window, scanned, separators, length, number, end, line_break })
    }

    /// Returns the length of the row, and the same without the second byte of CRLF.
    #[inline(always)]
    pub(crate) fn lengths(&self) -> (usize, usize) {
        (self.end + self.line_break, self.end + 1)
    }

    /// Appends the fields with a u16 length before them.
    #[inline(always)]
    pub(crate) fn put_record(&mut self, out: &mut Vec<u8>) -> Option<()> {
        const LENGTH: usize = 2;
        let record = &mut self.scanned.row[PREFIX - LENGTH..];
        *record.first_chunk_mut()? = (self.length as u16).to_be_bytes();
        out.append_part::<{ LENGTH + SEARCHED }>(record.first_chunk()?, LENGTH + self.length);
        Some(())
    }

    /// Appends a line: the prefix and the fields, of which the number is the last.
    #[inline(always)]
    pub(crate) fn put_line(&mut self, prefix: Prefix, out: &mut Vec<u8>) -> Option<()> {
        self.number?;
        let suffix = (*b"\n\0\0\0", 1);
        let (line, length) = framed_row(&mut self.scanned.row, prefix, self.length, suffix)?;
        out.append_part(line, length);
        Some(())
    }

    /// Appends a line: the prefix, the number, and the other fields, all with commas in between.
    #[inline(always)]
    pub(crate) fn put_line_number_first(&self, prefix: &[u8], out: &mut Vec<u8>) -> Option<()> {
        self.number?;
        let person = self.separators[3];
        let number = self.window.get(person + 1..)?.first_chunk()?;
        out.extend_from_slice(prefix);
        out.append_part::<8>(number, self.length - (person + 1));
        out.push(b',');
        out.append_part::<SEARCHED>(self.window.first_chunk()?, person);
        out.push(b'\n');
        Some(())
    }

    /// Returns the fields in a binary form, if the names have at most `longest` bytes and document
    /// and number are short plain decimals.
    #[inline(always)]
    pub(crate) fn binary(&self, longest: usize) -> Option<BinaryRow<'w>> {
        debug_assert!(longest <= SHORT, "{longest}");
        let [first, second, third, _] = self.separators;
        let name = |start: usize, end: usize| {
            let length = end - start;
            let bytes = self.window.get(start..)?.first_chunk()?;
            (length <= longest).then_some(Name { bytes, length })
        };
        Some(BinaryRow {
            names: [name(0, first)?, name(first + 1, second)?],
            document: read_plain(self.window, second + 1, third)?.value(),
            birthdate: self.window.get(third + 1..)?.first_chunk()?,
            number: self.number?.value(),
        })
    }
}

/// The fields of a row for a dialect that sends integers.
#[derive(Debug)]
pub(crate) struct BinaryRow<'w> {
    /// First and last name.
    pub(crate) names: [Name<'w>; 2],
    pub(crate) document: u32,
    pub(crate) birthdate: &'w [u8; 10],
    pub(crate) number: u32,
}

/// A short name.
#[derive(Debug)]
pub(crate) struct Name<'w> {
    /// The name and whatever follows it.
    bytes: &'w [u8; SHORT],
    /// Its length in bytes.
    pub(crate) length: usize,
}

impl Name<'_> {
    /// Appends the name.
    #[inline(always)]
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.append_part(self.bytes, self.length);
    }
}
