//! One row of a file, read as CSV.

use std::io;

use csv_core::{ReadRecordResult, Reader};
use memchr::memchr_iter;

use super::ROW_LIMIT;
use super::buffer::Buffer;

/// The fields of a row, and the reader that finds them.
#[derive(Debug)]
pub(super) struct Record {
    reader: Reader,
    /// The bytes of all fields.
    bytes: Vec<u8>,
    /// The end of each field in `bytes`.
    ends: Vec<usize>,
    /// Number of fields.
    fields: usize,
    /// True if the reader has seen the beginning of the file, where it skips a byte order mark.
    has_begun: bool,
}

/// The result of reading a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    /// The fields were read.
    Row {
        /// Number of line breaks (LF) up to the end of the row.
        line_breaks: u64,
    },
    /// The row is longer than [`ROW_LIMIT`]. No other row can be read.
    TooLong,
    /// The file has no other row.
    End,
}

impl Record {
    /// Creates a record without fields.
    pub(super) fn new() -> Self {
        let (bytes, ends) = (vec![0; 1024], vec![0; 16]);
        Self { reader: Reader::new(), bytes, ends, fields: 0, has_begun: false }
    }

    /// Reads the row at the beginning of the buffer, and more bytes of the file while it is not
    /// complete. A line break of two bytes is consumed up to its first byte.
    pub(super) fn read(&mut self, buffer: &mut Buffer) -> io::Result<Read> {
        self.has_begun = true;
        self.fields = 0;
        let (mut length, mut read, mut line_breaks) = (0, 0, 0);
        loop {
            if buffer.unread().is_empty() && !buffer.is_at_end() {
                buffer.read()?;
                continue;
            }
            if read > ROW_LIMIT {
                return Ok(Read::TooLong);
            }
            let unread = buffer.unread();
            let input = &unread[..unread.len().min(ROW_LIMIT + 1 - read)];
            let (result, consumed, written, ended) = self.reader.read_record(
                input,
                &mut self.bytes[length..],
                &mut self.ends[self.fields..],
            );
            line_breaks += memchr_iter(b'\n', &input[..consumed]).count() as u64;
            buffer.consume(consumed);
            read += consumed;
            length += written;
            self.fields += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.bytes.resize(2 * self.bytes.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record if read > ROW_LIMIT => return Ok(Read::TooLong),
                ReadRecordResult::Record => return Ok(Read::Row { line_breaks }),
                ReadRecordResult::End => return Ok(Read::End),
            }
        }
    }

    /// Notes that the caller has skipped an empty line: what follows is not the beginning of the
    /// file.
    pub(super) fn note_blank_line(&mut self) {
        if !self.has_begun {
            self.has_begun = true;
            self.reader.read_record(b"\n", &mut self.bytes, &mut self.ends);
        }
    }

    /// Returns the number of fields.
    pub(super) fn len(&self) -> usize {
        self.fields
    }

    /// Returns a field.
    pub(super) fn field(&self, index: usize) -> Option<&[u8]> {
        let ends = &self.ends[..self.fields];
        let start = if index == 0 { 0 } else { *ends.get(index - 1)? };
        self.bytes.get(start..*ends.get(index)?)
    }

    /// Returns the bytes of all fields.
    pub(super) fn bytes(&self) -> &[u8] {
        let end = self.ends[..self.fields].last();
        &self.bytes[..end.copied().unwrap_or(0)]
    }
}
