//! Errors of the storage: one refused file operation, or a storage that cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use conventions::access::Explained;
use nix::errno::Errno;

use super::watch::Lost;

/// An operation on one file that the operating system refused. The storage stays usable.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {}", .path.display(), Explained { path, error: source })]
pub struct FileError {
    /// The operation, as a participle: `writing`.
    action: &'static str,
    /// The file.
    path: PathBuf,
    /// The reason.
    source: io::Error,
}

impl FileError {
    /// Returns a function for `map_err` that turns an I/O error of this operation into a
    /// [`FileError`].
    pub fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }

    /// Returns the error number of the operating system, or EIO if the error has none.
    pub fn errno(&self) -> u32 {
        self.source.raw_os_error().unwrap_or(Errno::EIO as i32).unsigned_abs()
    }
}

/// A storage that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another central uses the directory.
    #[error(
        "storage {} is in use by another central{owner}: stop it or choose another \
         SERVER_STORAGE_DIR",
        .directory.display()
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// ` (pid N)`, where known.
        owner: String,
    },
    /// The file system has no locks, so two centrals could use the directory.
    #[error(
        "storage {} is on a file system without locks ({source}): two centrals could mix their \
         bets there; choose a SERVER_STORAGE_DIR on a local disk, or mount this file system with \
         locks",
        .directory.display()
    )]
    NoLocks {
        /// The directory.
        directory: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another program deleted, replaced or shortened a file.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The operating system refused an operation.
    #[error(transparent)]
    File(#[from] FileError),
    /// A sync failed, so what was written may not be on the disk. A second sync would prove
    /// nothing: the kernel reports a lost page once.
    #[error(
        "making {} durable: {source}; what is on the disk is unknown, restart the central to \
         recover",
        .path.display()
    )]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The files contradict each other in a way that no crash of a central leaves behind.
    #[error("{}: {reason}", .path.display())]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do about it.
        reason: String,
    },
}
