//! The agencies that have finished: a file with one byte per possible agency number, 1 when it has.
//!
//! A byte is never written torn, so the file needs no journal.

use std::path::Path;

use super::file::{StoredFile, sync_directory};
use super::{FileError, StorageError};

/// Name of the file.
pub const FILE: &str = "finished";
/// One byte per u16.
const BYTES: u64 = 1 << 16;

/// The open file.
#[derive(Debug)]
pub struct Finished {
    file: StoredFile,
}

impl Finished {
    /// Opens the file, creating it if there is none. Fails if it has another length, because marks
    /// may be missing.
    pub fn open(directory: &Path) -> Result<Self, StorageError> {
        let path = directory.join(FILE);
        if !path.exists() {
            // The file is created under another name and renamed when it is complete, so that
            // neither a crash nor a power loss leaves one that looks damaged.
            let mut file = StoredFile::create(directory.join("finished.new"))?;
            file.set_length(BYTES)?;
            file.sync()?;
            file.rename(path.clone())?;
            sync_directory(directory)?;
        }
        let file = StoredFile::open(path)?;
        let length = file.length()?;
        if length != BYTES {
            let advice =
                "restore it; or remove it, and every agency must report again that it has finished";
            let reason = format!("it has {length} bytes instead of {BYTES}: {advice}");
            return Err(StorageError::Inconsistent { path: file.path().to_owned(), reason });
        }
        Ok(Self { file })
    }

    /// Returns the file.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// Returns true if an agency has finished.
    pub fn contains(&self, agency: u16) -> Result<bool, FileError> {
        let mut mark = [0];
        self.file.read_exact_at(&mut mark, agency.into())?;
        Ok(mark != [0])
    }

    /// Marks an agency as finished.
    pub fn insert(&self, agency: u16) -> Result<(), FileError> {
        self.file.write_all_at(&[1], agency.into())
    }

    /// Removes the marks of all agencies.
    pub fn clear(&self) -> Result<(), FileError> {
        self.file.write_all_at(&[0; BYTES as usize], 0)
    }

    /// Returns the agencies that have finished.
    pub fn agencies(&self) -> Result<Vec<u16>, FileError> {
        let mut marks = vec![0; BYTES as usize];
        self.file.read_exact_at(&mut marks, 0)?;
        let marked = (0..=u16::MAX).zip(marks).filter(|(_, mark)| *mark != 0);
        Ok(marked.map(|(agency, _)| agency).collect())
    }

    /// Makes every mark survive a power loss. After a failure, the marks since the last success may
    /// be lost.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn every_agency_is_marked_once_and_found_again_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let finished = Finished::open(directory.path()).unwrap();
        assert!(finished.agencies().unwrap().is_empty());
        for agency in [1, 5, 5, u16::MAX] {
            finished.insert(agency).unwrap();
        }
        let reopened = Finished::open(directory.path()).unwrap();
        assert_eq!(reopened.agencies().unwrap(), [1, 5, u16::MAX]);
        assert!(reopened.contains(5).unwrap() && reopened.contains(u16::MAX).unwrap());
        assert!(!reopened.contains(2).unwrap());
    }

    #[test]
    fn a_shortened_file_is_refused_with_advice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        Finished::open(directory.path()).unwrap().insert(1).unwrap();
        for length in [0, 100, BYTES - 1] {
            File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
            let error = Finished::open(directory.path()).unwrap_err().to_string();
            assert!(error.contains("remove it"), "{length}: {error}");
        }
    }
}
