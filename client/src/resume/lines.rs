//! The lines of a file and the running hash of its bytes, in constant memory.

use std::fs::File;
use std::hash::Hasher;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use memchr::memchr2;
use siphasher::sip::SipHasher13;

/// Largest number of bytes that one read asks for.
const READ_BYTES: usize = 256 * 1024;

/// What may end a line. The assignment's files have CRLF, and the CSV reader accepts all three.
const LINE_BREAKS: [&[u8]; 3] = [b"\n", b"\r\n", b"\r"];

/// A reader of the lines of a file. It does not move the position of the file.
#[derive(Debug)]
pub(super) struct Lines<'f> {
    file: &'f File,
    /// Bytes of the file that are read. Later ones are ignored.
    limit: u64,
    buffer: Vec<u8>,
    /// The bytes of the buffer that belong to the next lines.
    unread: Range<usize>,
    /// Offset in the file after the last line.
    position: u64,
    /// True if the buffer ends where the file or its limit does.
    is_at_end: bool,
    /// SipHash-1-3 with zero keys of all bytes up to `position`.
    hasher: SipHasher13,
}

/// A line of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Offset of its first byte.
    pub(super) start: u64,
    /// Hash of the file up to its end, including its line break.
    pub(super) hash: u64,
}

impl<'f> Lines<'f> {
    /// Begins before the first line. Bytes of the file after the first `limit` ones are ignored.
    pub(super) fn new(file: &'f File, limit: u64) -> Self {
        Self {
            file,
            limit,
            buffer: vec![0; READ_BYTES],
            unread: 0..0,
            position: 0,
            is_at_end: false,
            hasher: SipHasher13::new(),
        }
    }

    /// Returns the offset after the last line.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Reads the next line. Returns `None` at the end. Only the last line may have no line break.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let start = self.position;
        loop {
            let bytes = &self.buffer[self.unread.clone()];
            let end = line_end(bytes, self.is_at_end);
            // A carriage return at the end of the buffer waits for the byte after it.
            let waits = end.is_none() && !self.is_at_end && bytes.ends_with(b"\r");
            self.consume(end.unwrap_or(bytes.len() - usize::from(waits)));
            if end.is_some() || self.is_at_end {
                let line = Line { start, hash: self.hasher.finish() };
                return Ok((self.position > start).then_some(line));
            }
            self.read()?;
        }
    }

    /// Returns true if no line follows.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end && self.unread.is_empty()
    }

    /// Returns the hash that the last line would have with each line break after it, and the length
    /// of that line break.
    pub(super) fn hashes_with_break(&self) -> [(u64, u64); LINE_BREAKS.len()] {
        LINE_BREAKS.map(|line_break| {
            let mut hasher = self.hasher;
            hasher.write(line_break);
            (hasher.finish(), line_break.len() as u64)
        })
    }

    fn consume(&mut self, bytes: usize) {
        let end = self.unread.start + bytes;
        self.hasher.write(&self.buffer[self.unread.start..end]);
        self.unread.start = end;
        self.position += bytes as u64;
    }

    /// Reads the bytes after the unread ones.
    fn read(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        let offset = self.position + self.unread.len() as u64;
        let room = &mut self.buffer[self.unread.end..];
        let wanted = self.limit.saturating_sub(offset).min(room.len() as u64) as usize;
        let read = read_at(self.file, &mut room[..wanted], offset)?;
        self.unread.end += read;
        self.is_at_end = read < wanted || offset + read as u64 == self.limit;
        Ok(())
    }
}

/// Returns the length of the first line, or `None` if the bytes do not contain its end.
fn line_end(bytes: &[u8], is_at_end: bool) -> Option<usize> {
    let found = memchr2(b'\n', b'\r', bytes)?;
    match (bytes[found], bytes.get(found + 1)) {
        (b'\r', Some(b'\n')) => Some(found + 2),
        (b'\r', None) => is_at_end.then_some(found + 1),
        _ => Some(found + 1),
    }
}

/// Returns true if the bytes of a file before `offset` end a line, or if the file ends there or has
/// a line break there.
pub(super) fn ends_a_line(file: &File, offset: u64) -> io::Result<bool> {
    let mut bytes = [b'\n'; 2];
    if offset > 0 {
        read_at(file, &mut bytes, offset - 1)?;
    }
    Ok(bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')))
}

/// Reads until the buffer is full or the file ends. Returns the number of bytes.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn starts(content: &[u8]) -> Vec<u64> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let mut lines = Lines::new(&file, u64::MAX);
        let mut starts = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            starts.push(line.start);
        }
        assert_eq!(lines.position(), content.len() as u64);
        starts
    }

    #[test]
    fn each_kind_of_line_break_ends_a_line() {
        for (content, expected) in [
            ("", &[][..]),
            ("a", &[0]),
            ("a\nb", &[0, 2]),
            ("a\r\nb\r\n", &[0, 3]),
            ("a\rb\r", &[0, 2]),
            ("\n\r\n\r\r\n", &[0, 1, 3, 4]),
        ] {
            assert_eq!(starts(content.as_bytes()), expected, "{content:?}");
        }
    }

    #[test]
    fn a_line_break_at_the_end_of_a_read_is_one_line_break() {
        for (line_break, next) in [("\r\n", 2), ("\rx", 1), ("\nx", 1)] {
            for before in READ_BYTES - 2..=READ_BYTES + 1 {
                let content = format!("{}{line_break}y\n", "x".repeat(before));
                let expected = [0, (before + next) as u64];
                assert_eq!(starts(content.as_bytes()), expected, "{line_break:?} at {before}");
            }
        }
    }
}
