//! The bytes of the file that were read and not yet consumed, and which of them are UTF-8.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

use simdutf8::compat::from_utf8;

/// Size of the buffer in bytes, and of most reads.
const BUFFER_BYTES: usize = 256 * 1024;

/// A buffered file.
#[derive(Debug)]
pub(super) struct Buffer {
    file: File,
    bytes: Vec<u8>,
    unread: Range<usize>,
    /// Number of bytes before the unread ones.
    position: u64,
    /// End of the bytes that are known to be UTF-8.
    valid: usize,
    /// True if the byte after them is known not to be.
    is_invalid: bool,
    is_at_end: bool,
}

impl Buffer {
    /// Begins before the first byte.
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            bytes: vec![0; BUFFER_BYTES],
            unread: 0..0,
            position: 0,
            valid: 0,
            is_invalid: false,
            is_at_end: false,
        }
    }

    /// Returns the file. Its position must not be moved.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Returns the bytes that were read and not yet consumed.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.unread.clone()]
    }

    /// Returns the number of bytes that were consumed.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Returns true if the file has no bytes after the unread ones.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Removes the first unread bytes.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.unread.start += bytes;
        self.position += bytes as u64;
    }

    /// Reads the bytes after the unread ones, which must not fill the buffer: as many as one read
    /// returns, at the end none.
    pub(super) fn read(&mut self) -> io::Result<()> {
        debug_assert!(self.unread.len() < self.bytes.len(), "no room for another byte");
        self.bytes.copy_within(self.unread.clone(), 0);
        self.valid = self.valid.saturating_sub(self.unread.start);
        self.unread = 0..self.unread.len();
        let read = loop {
            match self.file.read(&mut self.bytes[self.unread.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.is_at_end = read == 0;
        self.unread.end += read;
        Ok(())
    }

    /// Returns the first unread bytes, as far as they are UTF-8. The consumed ones must end at a
    /// character.
    pub(super) fn valid(&mut self) -> &[u8] {
        if self.valid < self.unread.start {
            (self.valid, self.is_invalid) = (self.unread.start, false);
        }
        if !self.is_invalid && self.valid < self.unread.end {
            match from_utf8(&self.bytes[self.valid..self.unread.end]) {
                Ok(_) => self.valid = self.unread.end,
                Err(error) => {
                    self.valid += error.valid_up_to();
                    self.is_invalid = error.error_len().is_some();
                }
            }
        }
        &self.bytes[self.unread.start..self.valid]
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn buffer(content: &[u8]) -> Buffer {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        Buffer::new(file)
    }

    #[test]
    fn bytes_are_valid_up_to_the_first_one_that_is_not_utf_8() {
        let mut buffer = buffer("añb\u{1F3B2}".as_bytes());
        assert_eq!(buffer.valid(), b"");
        buffer.read().unwrap();
        assert_eq!(buffer.valid(), "añb\u{1F3B2}".as_bytes());
        let mut buffer = self::buffer(b"ab\xFFcd\xFFe");
        buffer.read().unwrap();
        for (consumed, valid) in [(0, &b"ab"[..]), (1, b"b"), (1, b""), (1, b"cd"), (3, b"e")] {
            buffer.consume(consumed);
            assert_eq!(buffer.valid(), valid);
        }
    }

    #[test]
    fn a_character_that_two_reads_split_is_valid() {
        for before in BUFFER_BYTES - 4..=BUFFER_BYTES {
            let content = format!("{}\u{1F3B2}b", "a".repeat(before));
            let mut buffer = buffer(content.as_bytes());
            buffer.read().unwrap();
            let whole = before.min(BUFFER_BYTES) + if before + 4 <= BUFFER_BYTES { 4 } else { 0 };
            assert!(buffer.valid().len() >= whole, "{before}");
            buffer.consume(before - 1);
            buffer.read().unwrap();
            assert_eq!(buffer.valid(), "a\u{1F3B2}b".as_bytes(), "{before}");
            assert_eq!(buffer.position(), before as u64 - 1);
            assert!(!buffer.is_at_end());
            buffer.read().unwrap();
            assert!(buffer.is_at_end());
        }
    }
}
