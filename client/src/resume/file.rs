//! The state file on disk: locked by one agency at a time and replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::ResumeError;

/// Permissions of the files. The rows that they describe are in the file of bets.
pub(super) const MODE: u32 = 0o644;

/// A state file that this process has locked.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    /// See [`next_path`].
    next: PathBuf,
    /// Holds the lock: the file that `path` names.
    locked: Flock<File>,
}

impl StateFile {
    /// Opens and locks the file, which is created if it does not exist. Returns its content as
    /// well.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<u8>), ResumeError> {
        let unusable = |source| ResumeError::Unusable { path: path.to_owned(), source };
        let next = next_path(path);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(MODE)
                .open(path)
                .map_err(unusable)?;
            let mut locked = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => locked,
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(ResumeError::Busy { path: path.to_owned() });
                }
                Err((_, error)) => return Err(unusable(error.into())),
            };
            // The agency that held the lock may have replaced the file in between.
            if is_same_file(&locked, path).map_err(unusable)? {
                let mut content = Vec::new();
                locked.read_to_end(&mut content).map_err(unusable)?;
                return Ok((Self { path: path.to_owned(), next, locked }, content));
            }
        }
    }

    /// Replaces the content. It is on disk when the call returns. If it fails, the file is
    /// still whole.
    pub(super) fn write(&mut self, content: &str) -> Result<(), ResumeError> {
        let replaced = self.replace(content);
        if replaced.is_err() {
            let _ignored = fs::remove_file(&self.next);
        }
        replaced.map_err(|source| ResumeError::Unusable { path: self.path.clone(), source })
    }

    fn replace(&mut self, content: &str) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(&self.next)?;
        // Locked before it has the name: no other agency can lock it in between.
        let mut next =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
        next.write_all(content.as_bytes())?;
        next.sync_all()?;
        fs::rename(&self.next, &self.path)?;
        self.locked = next;
        sync_directory(&self.path)
    }
}

/// Returns true if the path still names this file.
fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((opened.dev(), opened.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the path of the next content of a file until it replaces the file.
pub(super) fn next_path(path: &Path) -> PathBuf {
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    next.into()
}

/// Makes the name of a file durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stays_locked_when_its_content_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let (mut first, content) = StateFile::open(&path).unwrap();
        assert_eq!(content, b"");
        for content in ["one", "two"] {
            first.write(content).unwrap();
            assert!(matches!(StateFile::open(&path), Err(ResumeError::Busy { .. })));
        }
        drop(first);
        let (_second, content) = StateFile::open(&path).unwrap();
        assert_eq!(content, b"two");
    }
}
