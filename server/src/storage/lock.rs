//! The lock of the storage directory, which keeps a second central out.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{FileError, StorageError};

/// How long a start waits for the last workers of a killed central to exit and release the
/// storage.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two attempts.
const RETRY: Duration = Duration::from_millis(5);

/// Takes the lock of a directory. Closing the file releases it.
pub fn lock(directory: &Path) -> Result<File, StorageError> {
    let path = directory.join("lock");
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(FileError::of("opening", &path))?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => {
                return Err(FileError::of("locking", &path)(source).into());
            }
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(RETRY),
            Err(TryLockError::WouldBlock) => {
                let owner = owner(&mut file);
                return Err(StorageError::InUse { directory: directory.to_owned(), owner });
            }
        }
    }
    // The process id is only for the error above. The `flock` alone protects the storage.
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(FileError::of("writing", &path))?;
    Ok(file)
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
