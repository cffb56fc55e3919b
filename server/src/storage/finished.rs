//! The agencies that have finished: a file with one byte per possible agency number, 1 when it has.
//!
//! The journal commits a mark, as it commits a batch. The byte is written after the record, and the
//! file is synced before the record is overwritten.

use std::path::Path;

use super::file::{StoredFile, sync_directory};
use super::{FileError, StorageError};

/// Name of the file.
pub const FILE: &str = "finished";
/// One byte per u16.
const BYTES: u64 = 1 << 16;

/// What to do about a damaged file.
const ADVICE: &str = "restore it from a backup; or remove it together with the journal, and every \
                      agency must report again that it has finished";

/// The marks of all agency numbers: 0 or 1 each.
#[derive(Debug)]
pub struct Marks(Vec<u8>);

impl Marks {
    /// Marks an agency as finished.
    pub fn insert(&mut self, agency: u16) {
        self.0[usize::from(agency)] = 1;
    }

    /// Removes all marks.
    pub fn clear(&mut self) {
        self.0.fill(0);
    }

    /// Returns the agencies that have finished, in ascending order.
    pub fn agencies(&self) -> Vec<u16> {
        let marked = (0..=u16::MAX).zip(&self.0).filter(|(_, mark)| **mark != 0);
        marked.map(|(agency, _)| agency).collect()
    }

    /// Returns how many agencies have finished.
    pub fn count(&self) -> u32 {
        self.0.as_chunks().0.iter().map(|eight| u64::from_ne_bytes(*eight).count_ones()).sum()
    }
}

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
            file.reserve(BYTES)?;
            file.sync()?;
            file.rename(path.clone())?;
            sync_directory(directory)?;
        }
        let file = StoredFile::open(path)?;
        let length = file.length()?;
        if length != BYTES {
            let finished = Self { file };
            return Err(finished.damaged(&format!("it has {length} bytes instead of {BYTES}")));
        }
        // A full disk must not refuse the marks.
        file.reserve(BYTES)?;
        Ok(Self { file })
    }

    /// Returns the file.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// Returns the file.
    pub fn file_mut(&mut self) -> &mut StoredFile {
        &mut self.file
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

    /// Returns all marks.
    pub fn marks(&self) -> Result<Marks, StorageError> {
        let mut bytes = vec![0; BYTES as usize];
        self.file.read_exact_at(&mut bytes, 0)?;
        match bytes.iter().position(|mark| *mark > 1) {
            None => Ok(Marks(bytes)),
            Some(agency) => {
                let reason =
                    format!("the byte of agency {agency} is {}, not 0 or 1", bytes[agency]);
                Err(self.damaged(&reason))
            }
        }
    }

    /// Writes all marks again, so that the next sync makes each of them durable, even if an earlier
    /// sync has failed and the kernel has forgotten it.
    pub fn rewrite(&self, marks: &Marks) -> Result<(), FileError> {
        self.file.write_all_at(&marks.0, 0)
    }

    /// Removes the marks of all agencies.
    pub fn clear(&self) -> Result<(), FileError> {
        self.file.write_all_at(&[0; BYTES as usize], 0)
    }

    /// Returns the error for marks that are not those of the agencies that have finished.
    pub fn damaged(&self, what: &str) -> StorageError {
        let reason = format!("{what}: {ADVICE}");
        StorageError::Inconsistent { path: self.file.path().to_owned(), reason }
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
        assert_eq!(finished.marks().unwrap().count(), 0);
        for agency in [1, 5, 5, u16::MAX] {
            finished.insert(agency).unwrap();
        }
        let reopened = Finished::open(directory.path()).unwrap();
        assert_eq!(reopened.marks().unwrap().agencies(), [1, 5, u16::MAX]);
        assert!(reopened.contains(5).unwrap() && reopened.contains(u16::MAX).unwrap());
        assert!(!reopened.contains(2).unwrap());
    }

    #[test]
    fn a_shortened_file_and_a_byte_that_is_no_mark_are_refused_with_advice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let finished = Finished::open(directory.path()).unwrap();
        finished.file.write_all_at(&[3], 77).unwrap();
        let error = finished.marks().unwrap_err().to_string();
        assert!(error.contains("agency 77") && error.contains("remove it"), "{error}");
        for length in [0, 100, BYTES - 1] {
            File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
            let error = Finished::open(directory.path()).unwrap_err().to_string();
            assert!(error.contains("remove it"), "{length}: {error}");
        }
    }
}
