//! The rights on the storage: its owner reads and writes, the group reads at most, and other users
//! can do nothing. The umask takes further rights away.
//!
//! The files contain names and documents of people. The files that a central locks are private,
//! because every user who can open one can lock it, and so block each start.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use conventions::log_line::{Outcome, warn};
use nix::libc::O_NOFOLLOW;

use super::{FileError, lock};

/// Rights on a file.
const FILE: u32 = 0o640;
/// Rights on a file that a central locks.
const LOCKED: u32 = 0o600;
/// Rights on a directory.
const DIRECTORY: u32 = 0o750;
/// Beginnings of the names of all files of the storage. A dot and another word follow in the names
/// of files that are being written or were moved aside.
const NAMES: [&str; 9] = [
    "bets.csv",
    "winners.log",
    "winners.idx",
    "journal",
    "checkpoints",
    "finished",
    "sessions",
    "draw.csv",
    lock::FILE,
];

/// Returns the options to open a file for reading and writing, and to create it with the right
/// mode.
pub fn options(path: &Path) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(rights_of(path));
    options
}

/// Creates the directory of the storage and its parents, if they are missing.
pub fn create_directory(path: &Path) -> Result<(), FileError> {
    let creating = "creating the storage directory (SERVER_STORAGE_DIR)";
    let created = DirBuilder::new().recursive(true).mode(DIRECTORY).create(path);
    created.map_err(FileError::of(creating, path))
}

/// Returns the directory that a path leads to if it is a link, and else the path itself.
pub fn resolve(directory: &Path) -> Result<PathBuf, FileError> {
    if !directory.is_symlink() {
        return Ok(directory.to_owned());
    }
    fs::canonicalize(directory).map_err(FileError::of("resolving", directory))
}

/// Takes away the rights that files of an earlier version, or restored ones, give to other users.
/// Logs a warning about what stays open to them, because the storage works nevertheless.
///
/// The directory keeps its rights, because others may use it for other files.
pub fn restrict(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_ours = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(is_file_of_storage)
    };
    let paths = entries.map(|entry| entry.path()).filter(is_ours);
    let open: Vec<_> = paths.filter(|path| !is_restricted(path)).collect();
    if !open.is_empty() {
        let names: Vec<_> = open.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        let reason = format!(
            "other users can open {} in {}; remove their rights (chmod o=,g-w)",
            names.join(", "),
            directory.display()
        );
        warn("config", Outcome::Fail).with("error", reason).write();
    }
    let mode = fs::metadata(directory).map_or(0, |metadata| metadata.mode());
    // In a sticky directory, other users can create files but neither remove nor replace these.
    if mode & 0o1002 == 0o002 {
        let reason = format!(
            "other users can remove and replace the files in {}; remove their rights (chmod o-w)",
            directory.display()
        );
        warn("config", Outcome::Fail).with("error", reason).write();
    }
}

/// Takes the rights beyond the intended ones away from a file. Returns true if it has no others.
fn is_restricted(path: &Path) -> bool {
    let rights = rights_of(path);
    // A link may lead to a file that is not of the storage.
    let file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(path);
    file.is_ok_and(|file| {
        let mode = file.metadata().map_or(0o777, |metadata| metadata.mode() & 0o777);
        // Only the owner and root may change the rights, and some file systems have none.
        mode & !rights == 0 || file.set_permissions(Permissions::from_mode(mode & rights)).is_ok()
    })
}

fn rights_of(path: &Path) -> u32 {
    let is_locked = |name: &OsStr| lock::LOCKED.iter().any(|locked| name == *locked);
    if path.file_name().is_some_and(is_locked) { LOCKED } else { FILE }
}

fn is_file_of_storage(name: &str) -> bool {
    NAMES.iter().any(|known| {
        name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}
