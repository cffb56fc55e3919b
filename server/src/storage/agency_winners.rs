//! The winners of one agency, read from the result of the draw piece by piece.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// The documents of an agency's winners, in the order of storage, as far as they were read. Their
/// texts are in one buffer, because there may be hundreds of thousands.
#[derive(Debug, Default)]
pub struct AgencyWinners {
    /// Range of the file that is still to be read.
    left: Range<u64>,
    /// The documents, one after the other.
    texts: String,
    /// The end of each document in `texts`.
    ends: Vec<usize>,
}

impl AgencyWinners {
    /// Returns the winners in this range of the file, none of which is read yet.
    pub fn new(section: Range<u64>) -> Self {
        Self { left: section, ..Self::default() }
    }

    /// Returns the bytes of the file that are still to be read.
    pub fn left(&self) -> u64 {
        self.left.end - self.left.start
    }

    /// Reads the rows in about the next `bytes` bytes of the file. Returns true once all are read.
    pub fn read(&mut self, file: &File, bytes: u64) -> io::Result<bool> {
        let mut rows = vec![0; self.left().min(bytes) as usize];
        file.read_exact_at(&mut rows, self.left.start)?;
        // No field of a row contains CR or LF, so a piece may end behind any of them. The range may
        // begin and end between the two, because the csv reader's positions do.
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let whole = rows.iter().rposition(is_break).map_or(0, |last| last + 1);
        if whole == 0 && !rows.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a row has no end"));
        }
        self.left.start += whole as u64;
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&rows[..whole]);
        let mut row = csv::StringRecord::new();
        while reader.read_record(&mut row)? {
            self.texts.push_str(row.get(1).unwrap_or_default());
            self.ends.push(self.texts.len());
        }
        Ok(self.left.is_empty())
    }

    /// Returns the documents that were read.
    pub fn documents(&self) -> Vec<&str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.texts[start..*end]).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pieces_of_any_size_give_the_same_documents() {
        let text = "2,\"1,1\"\r\n2,22\r\n2,\r\n2,\"3\"\"3\"\r\n3,other\r\n";
        let end = text.find("\n3,other").unwrap() as u64;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        for bytes in 10..=end + 10 {
            let mut winners = AgencyWinners::new(0..end);
            while !winners.read(&file, bytes).unwrap() {}
            assert_eq!(winners.documents(), ["1,1", "22", "", "3\"3"], "{bytes} bytes");
        }
        let mut none = AgencyWinners::new(0..0);
        assert!(none.read(&file, 1).unwrap() && none.documents().is_empty());
    }

    #[test]
    fn a_row_without_an_end_is_an_error_and_not_an_endless_loop() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"2,111111111111").unwrap();
        assert!(AgencyWinners::new(0..14).read(&file, 5).is_err());
    }
}
