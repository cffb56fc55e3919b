//! The agencies that have finished: a file with one byte per possible agency number, 1 when it has.
//!
//! A byte is never written torn, so the file needs no journal.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// One byte per u16.
const BYTES: u64 = 1 << 16;

/// The open file. Processes share its descriptor.
#[derive(Debug)]
pub struct Finished {
    file: File,
}

impl Finished {
    /// Opens the file, creating it if there is none. Fails with `InvalidData` if it has another
    /// length, because marks may be missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !path.exists() {
            // The file is created under another name and renamed when it is complete, so that
            // neither a crash nor a power loss leaves one that looks damaged.
            let unfinished = path.with_extension("new");
            let file = File::create(&unfinished)?;
            file.set_len(BYTES)?;
            file.sync_data()?;
            fs::rename(&unfinished, path)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        if length != BYTES {
            let advice =
                "restore it; or remove it, and every agency must report again that it has finished";
            let reason = format!("it has {length} bytes instead of {BYTES}: {advice}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(Self { file })
    }

    /// Returns true if an agency has finished.
    pub fn contains(&self, agency: u16) -> io::Result<bool> {
        let mut mark = [0];
        self.file.read_exact_at(&mut mark, agency.into())?;
        Ok(mark != [0])
    }

    /// Marks an agency as finished.
    pub fn insert(&self, agency: u16) -> io::Result<()> {
        self.file.write_all_at(&[1], agency.into())
    }

    /// Removes the marks of all agencies.
    pub fn clear(&self) -> io::Result<()> {
        self.file.write_all_at(&[0; BYTES as usize], 0)
    }

    /// Returns the agencies that have finished.
    pub fn agencies(&self) -> io::Result<Vec<u16>> {
        let mut marks = vec![0; BYTES as usize];
        self.file.read_exact_at(&mut marks, 0)?;
        let marked = (0..=u16::MAX).zip(marks).filter(|(_, mark)| *mark != 0);
        Ok(marked.map(|(agency, _)| agency).collect())
    }

    /// Makes every mark survive a power loss. After a failure, the marks since the last success may
    /// be lost.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_agency_is_marked_once_and_found_again_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("finished");
        let finished = Finished::open(&path).unwrap();
        assert!(finished.agencies().unwrap().is_empty());
        for agency in [1, 5, 5, u16::MAX] {
            finished.insert(agency).unwrap();
        }
        let reopened = Finished::open(&path).unwrap();
        assert_eq!(reopened.agencies().unwrap(), [1, 5, u16::MAX]);
        assert!(reopened.contains(5).unwrap() && reopened.contains(u16::MAX).unwrap());
        assert!(!reopened.contains(2).unwrap());
    }

    #[test]
    fn a_shortened_file_is_refused_with_advice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("finished");
        Finished::open(&path).unwrap().insert(1).unwrap();
        for length in [0, 100, BYTES - 1] {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
            let error = Finished::open(&path).unwrap_err().to_string();
            assert!(error.contains("remove it"), "{length}: {error}");
        }
    }
}
