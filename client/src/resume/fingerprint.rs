//! Hashes of a file's content, which show where the file has changed.

use std::fs::File;
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::FileExt;

use siphasher::sip::SipHasher13;

/// Smallest length of a block in bytes. About 80 rows of the course's data.
const SMALLEST_BLOCK: u64 = 4096;

/// Largest number of blocks. The blocks of a longer file are longer, so that its hashes stay a
/// small file.
const MAX_BLOCKS: u64 = 4096;

/// Largest number of bytes that one read asks for, unless a block is longer.
const READ_BYTES: u64 = 64 * 1024;

/// The first bytes of a file: their number and a hash per block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// Number of bytes.
    pub(super) length: u64,
    /// Length of a block in bytes, a power of two. The last block may be shorter.
    pub(super) block: u64,
    /// SipHash-1-3 of each block, with zero keys.
    pub(super) hashes: Vec<u64>,
}

impl Fingerprint {
    /// Hashes the whole file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut block = SMALLEST_BLOCK;
        while length.div_ceil(block) > MAX_BLOCKS {
            block *= 2;
        }
        Self::of_blocks(file, length, block)
    }

    /// Hashes the first `length` bytes, or all bytes of a shorter file.
    pub(super) fn of_blocks(file: &File, length: u64, block: u64) -> io::Result<Self> {
        let mut hashes = Vec::new();
        // Both lengths are powers of two, so a read holds whole blocks.
        let mut buffer = vec![0; READ_BYTES.max(block) as usize];
        let mut offset = 0;
        while offset < length {
            let wanted = (length - offset).min(buffer.len() as u64) as usize;
            let bytes = &mut buffer[..wanted];
            let read = read_at(file, bytes, offset)?;
            hashes.extend(bytes[..read].chunks(block as usize).map(hash));
            offset += read as u64;
            if read < wanted {
                break;
            }
        }
        Ok(Self { length: offset, block, hashes })
    }

    /// Returns the number of bytes up to the first block in which the file differs; `length` if
    /// none does.
    ///
    /// The file may be longer. Its next row must then begin after a line break, because otherwise
    /// the last row has changed: the last block counts as different.
    pub(crate) fn intact(&self, file: &File) -> io::Result<u64> {
        let found = Self::of_blocks(file, self.length, self.block)?;
        let same = self.hashes.iter().zip(&found.hashes).take_while(|(a, b)| a == b).count();
        let blocks = if same < self.hashes.len() {
            same
        } else if self.ends_a_row(file)? {
            return Ok(self.length);
        } else {
            same.saturating_sub(1)
        };
        Ok(blocks as u64 * self.block)
    }

    /// Returns the fingerprint of the first `length` bytes only. Returns `None` if the file has
    /// changed in the last block of the result.
    pub(crate) fn truncated(&self, file: &File, length: u64) -> io::Result<Option<Self>> {
        if length >= self.length {
            return Ok(Some(self.clone()));
        }
        let whole = length / self.block;
        let start = whole * self.block;
        let mut bytes = vec![0; (self.length - start).min(self.block) as usize];
        let read = read_at(file, &mut bytes, start)?;
        if self.hashes.get(whole as usize) != Some(&hash(&bytes[..read])) {
            return Ok(None);
        }
        let mut hashes = self.hashes[..whole as usize].to_vec();
        if length > start {
            hashes.push(hash(&bytes[..(length - start) as usize]));
        }
        Ok(Some(Self { length, block: self.block, hashes }))
    }

    /// Returns true if the last byte or the one after it ends a row, or the file ends there.
    fn ends_a_row(&self, file: &File) -> io::Result<bool> {
        let mut bytes = [b'\n'; 2];
        if self.length > 0 {
            read_at(file, &mut bytes, self.length - 1)?;
        }
        Ok(bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')))
    }
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

/// Returns the hash of some bytes.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn lines(bytes: usize) -> Vec<u8> {
        b"a row of a file\n".iter().copied().cycle().take(bytes).collect()
    }

    #[test]
    fn a_changed_byte_is_found_in_its_block() {
        let content = lines(3 * 4096);
        let recorded = Fingerprint::of(&file(&content)).unwrap();
        assert_eq!(recorded.intact(&file(&content)).unwrap(), 3 * 4096);
        for (changed, intact) in [(0, 0), (4095, 0), (4096, 4096), (3 * 4096 - 1, 2 * 4096)] {
            let mut other = content.clone();
            other[changed] ^= 1;
            assert_eq!(recorded.intact(&file(&other)).unwrap(), intact, "byte {changed}");
        }
        assert_eq!(recorded.intact(&file(&content[..5000])).unwrap(), 4096);
        assert_eq!(recorded.intact(&file(b"")).unwrap(), 0);
    }

    #[test]
    fn appended_rows_are_no_change_but_an_extended_row_is() {
        for (content, more, is_intact) in [
            ("a\nb\n", "c\n", true),
            ("a\nb", "\nc\n", true),
            ("a\nb", "\r\nc\r\n", true),
            ("a\nb\r", "\nc", true),
            ("a\nb", "c\n", false),
            ("", "a\n", true),
        ] {
            let recorded = Fingerprint::of(&file(content.as_bytes())).unwrap();
            let grown = file(format!("{content}{more}").as_bytes());
            let expected = if is_intact { content.len() as u64 } else { 0 };
            assert_eq!(recorded.intact(&grown).unwrap(), expected, "{content:?} and {more:?}");
        }
    }

    #[test]
    fn a_truncated_fingerprint_is_that_of_the_shorter_file() {
        let content = lines(2 * 4096 + 100);
        let whole = Fingerprint::of(&file(&content)).unwrap();
        for length in [0, 1, 4095, 4096, 4097, 2 * 4096, 2 * 4096 + 99, 2 * 4096 + 100] {
            let expected = Fingerprint::of(&file(&content[..length])).unwrap();
            let found = whole.truncated(&file(&content), length as u64).unwrap();
            assert_eq!(found, Some(expected), "{length}");
        }
        let mut other = content.clone();
        other[5000] ^= 1;
        assert_eq!(whole.truncated(&file(&other), 4500).unwrap(), None);
    }
}
