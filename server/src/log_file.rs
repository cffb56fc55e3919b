//! The file to which the log goes instead of standard error.
//!
//! The file takes the place of descriptor 2, so it also gets what is not a log line, such as the
//! message of a panic. Each line is one `write` in append mode. So lines of different processes do
//! not mix, and a line that is written while the file is renamed is in one file or the other.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::dup2_stderr;

/// Mode of a new file: it has addresses of clients, and documents at level DEBUG.
const MODE: u32 = 0o640;

/// Failure to log to a file.
#[derive(Debug, thiserror::Error)]
#[error("SERVER_LOG_FILE = {}: {source}", .path.display())]
pub struct LogFileError {
    path: PathBuf,
    source: io::Error,
}

/// Opens the file, or creates it, and logs to it from now on. Called again, it does the same with
/// the file that has this path then. After an error the log stays where it is.
pub fn log_to(path: &Path) -> Result<(), LogFileError> {
    let replace = |file: File| dup2_stderr(&file).map_err(Errno::into);
    open(path).and_then(replace).map_err(|source| LogFileError { path: path.to_owned(), source })
}

fn open(path: &Path) -> io::Result<File> {
    // A named pipe without a reader must be an error, and must not block.
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    OpenOptions::new().append(true).create(true).mode(MODE).custom_flags(flags).open(path)
}
