//! The lock of the storage directory, which prevents two centrals from using it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::file::is_unsupported;
use super::{FileError, StorageError, access, journal};

/// Name of the file.
pub const FILE: &str = "lock";
/// Files that a central locks. The lock of the journal excludes a second central even if another
/// program has deleted the lock file of the first one. A new journal gets its name once it is
/// complete.
pub const LOCKED: [&str; 3] = [FILE, journal::FILE, journal::UNFINISHED];

/// How long a start waits for the last workers of a killed central to exit and release the
/// storage.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two attempts.
const RETRY: Duration = Duration::from_millis(5);

/// Takes the lock of a directory. Closing the file releases it.
pub fn lock(directory: &Path) -> Result<File, StorageError> {
    let path = directory.join(FILE);
    let mut file = open_locked(directory, &path)?;
    // The process id is only for the error message. The `flock` alone protects the storage.
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(FileError::of("writing", &path))?;
    Ok(file)
}

/// Takes both locks of a directory that no central uses. Returns `None` if one of them is taken.
pub fn try_lock(directory: &Path) -> Result<Option<Vec<File>>, StorageError> {
    let mut locks = Vec::new();
    for path in LOCKED.map(|name| directory.join(name)).iter().filter(|path| path.exists()) {
        let file = access::options(path).open(path).map_err(FileError::of("opening", path))?;
        match file.try_lock() {
            Ok(()) => locks.push(file),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => {
                return Err(FileError::of("locking", path)(source).into());
            }
        }
    }
    Ok(Some(locks))
}

/// Returns the process that the lock file of a directory names. It may have exited.
pub fn owner_pid(directory: &Path) -> Option<u32> {
    fs::read_to_string(directory.join(FILE)).ok()?.trim().parse().ok()
}

/// Takes the lock of the journal. The caller has opened the journal before.
pub fn lock_journal(directory: &Path) -> Result<File, StorageError> {
    open_locked(directory, &directory.join(journal::FILE))
}

fn open_locked(directory: &Path, path: &Path) -> Result<File, StorageError> {
    let opened = access::options(path).open(path);
    let mut file = opened.map_err(FileError::of("opening", path))?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // Without the lock, two centrals could mix their bets.
            Err(TryLockError::Error(source)) if is_without_locks(&source) => {
                return Err(StorageError::NoLocks { directory: directory.to_owned(), source });
            }
            Err(TryLockError::Error(source)) => {
                return Err(FileError::of("locking", path)(source).into());
            }
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(RETRY),
            Err(TryLockError::WouldBlock) => {
                let owner = owner(&mut file);
                return Err(StorageError::InUse { directory: directory.to_owned(), owner });
            }
        }
    }
}

/// Returns true if the file system of a file that cannot be locked has no locks.
fn is_without_locks(error: &io::Error) -> bool {
    is_unsupported(error) || error.raw_os_error() == Some(Errno::ENOLCK as i32)
}

/// Returns the owner that the lock file names, as ` (pid N)`.
fn owner(file: &mut File) -> String {
    let mut text = String::new();
    let pid: Option<u32> =
        file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
    match pid {
        None => String::new(),
        Some(pid) if Path::new(&format!("/proc/{pid}")).exists() => format!(" (pid {pid})"),
        // Workers exit with their supervisor, except one that is stopped (SIGSTOP).
        Some(pid) => {
            format!(" (pid {pid} has exited, but one of its workers has not and may be stopped)")
        }
    }
}
