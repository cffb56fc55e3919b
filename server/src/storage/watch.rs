//! The watch over the names of the storage: each must lead to the file that the central has open.
//!
//! A central writes through its descriptors. After another program has deleted or replaced a file,
//! everything written is lost with the last descriptor, and a second central can use the directory.
//! No write reports that.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{FileError, Ledger, draw, lock, winner_index};

/// The names that lead to what a central has open.
#[derive(Debug)]
pub struct Watch {
    names: Vec<Expected>,
    /// `draw.csv`, once it was seen after the draw.
    draw: Option<Expected>,
}

/// What a name must lead to.
#[derive(Debug)]
struct Expected {
    name: &'static str,
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Length at the start. Only `bets.csv` and `winners.log` are ever shorter later.
    bytes: u64,
}

/// A name that does not lead to what the central has open.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} {loss} while the central uses it, so nothing more is acknowledged; {}, then start the \
     central again",
    .path.display(), advice(.name)
)]
pub struct Lost {
    /// One of [`StorageFailure::NAMES`](central_view::StorageFailure::NAMES).
    pub name: &'static str,
    path: PathBuf,
    loss: Loss,
}

/// Name of the directory itself.
const DIRECTORY: &str = "the directory";

/// What happened to a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Loss {
    #[error("was deleted")]
    Deleted,
    #[error("was replaced by another one")]
    Replaced,
    #[error("was shortened to {bytes} of {counted} bytes")]
    Shortened { bytes: u64, counted: u64 },
}

impl Watch {
    /// Watches a directory and files in it, which the caller has open.
    pub fn new(
        directory: &Path,
        files: impl IntoIterator<Item = (&'static str, io::Result<Metadata>)>,
    ) -> Result<Self, FileError> {
        let path = |name| match name {
            DIRECTORY => directory.to_owned(),
            name => directory.join(name),
        };
        let expected = |(name, metadata): (_, io::Result<Metadata>)| {
            let path = path(name);
            match metadata {
                Ok(metadata) => Ok(Expected::new(name, path, &metadata)),
                Err(error) => Err(FileError::of("examining", &path)(error)),
            }
        };
        let names = [(DIRECTORY, fs::metadata(directory))].into_iter().chain(files);
        Ok(Self { names: names.map(expected).collect::<Result<_, _>>()?, draw: None })
    }

    /// Checks every name. `ledger` holds totals that were read before the call.
    pub fn check(&mut self, ledger: &Ledger, drawn: bool) -> Result<(), Lost> {
        for expected in &self.names {
            expected.check(match expected.name {
                "bets.csv" => ledger.rows_end,
                "winners.log" => ledger.lines_end,
                _ => expected.bytes,
            })?;
        }
        if drawn && self.draw.is_none() {
            let path = self.names[0].path.join(draw::FILE);
            self.draw = match fs::metadata(&path) {
                Ok(metadata) => Some(Expected::new(draw::FILE, path, &metadata)),
                Err(error) if is_gone(&error) => {
                    return Err(Lost { name: draw::FILE, path, loss: Loss::Deleted });
                }
                Err(_) => None,
            };
        }
        self.draw.as_ref().map_or(Ok(()), |draw| draw.check(draw.bytes))
    }
}

impl Expected {
    fn new(name: &'static str, path: PathBuf, metadata: &Metadata) -> Self {
        // The length of a directory depends on what is in it.
        let bytes = if metadata.is_dir() { 0 } else { metadata.len() };
        Self { name, path, device: metadata.dev(), inode: metadata.ino(), bytes }
    }

    /// Checks that the name leads to the same file or directory, of at least `counted` bytes.
    fn check(&self, counted: u64) -> Result<(), Lost> {
        let loss = match fs::metadata(&self.path) {
            Err(error) if is_gone(&error) => Loss::Deleted,
            // Any other error does not show that the file is gone. If the disk fails, the writes
            // report it.
            Err(_) => return Ok(()),
            Ok(now) if (now.dev(), now.ino()) != (self.device, self.inode) => Loss::Replaced,
            Ok(now) if now.len() < counted => Loss::Shortened { bytes: now.len(), counted },
            Ok(_) => return Ok(()),
        };
        Err(Lost { name: self.name, path: self.path.clone(), loss })
    }
}

/// Returns true if there is no file under the name.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Returns what to do about a lost file. The next start makes another lock file and index, and
/// holds the draw again over the same bets.
fn advice(name: &str) -> &'static str {
    match name {
        lock::FILE | draw::FILE | winner_index::FILE => "remove what replaced it",
        _ => "restore it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(directory: &Path) -> Watch {
        let file = |name| (name, fs::metadata(directory.join(name)));
        Watch::new(directory, ["bets.csv", "journal"].map(file)).unwrap()
    }

    /// Returns a storage directory with bets of 5 bytes, a journal of 8 bytes and a watch over
    /// both.
    fn watched() -> (tempfile::TempDir, PathBuf, Watch) {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("storage");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("bets.csv"), "row\r\n").unwrap();
        fs::write(directory.join("journal"), [0; 8]).unwrap();
        let watch = watch(&directory);
        (parent, directory, watch)
    }

    fn ledger(rows_end: u64) -> Ledger {
        Ledger { rows_end, ..Ledger::default() }
    }

    fn lost(watch: &mut Watch, rows_end: u64, drawn: bool) -> (&'static str, Loss) {
        let lost = watch.check(&ledger(rows_end), drawn).unwrap_err();
        assert!(lost.to_string().contains("start the central again"), "{lost}");
        (lost.name, lost.loss)
    }

    #[test]
    fn files_that_grow_are_not_lost() {
        let (_parent, directory, mut watch) = watched();
        fs::write(directory.join("bets.csv"), "row\r\nrow\r\n").unwrap();
        watch.check(&ledger(10), false).unwrap();
        fs::write(directory.join("another"), "").unwrap();
        watch.check(&ledger(10), false).unwrap();
    }

    #[test]
    fn a_file_that_is_shorter_than_counted_is_lost() {
        let (_parent, directory, mut watch) = watched();
        assert_eq!(
            lost(&mut watch, 6, false),
            ("bets.csv", Loss::Shortened { bytes: 5, counted: 6 })
        );
        fs::write(directory.join("journal"), [0; 7]).unwrap();
        assert_eq!(
            lost(&mut watch, 5, false),
            ("journal", Loss::Shortened { bytes: 7, counted: 8 })
        );
    }

    #[test]
    fn a_deleted_or_replaced_file_or_directory_is_lost() {
        for name in ["bets.csv", "journal"] {
            let (_parent, directory, mut watch) = watched();
            let path = directory.join(name);
            let bytes = fs::read(&path).unwrap();
            // The old inode must not be free, or the new file could get it.
            fs::rename(&path, directory.join("aside")).unwrap();
            assert_eq!(lost(&mut watch, 5, false), (name, Loss::Deleted));
            fs::write(&path, bytes).unwrap();
            assert_eq!(lost(&mut watch, 5, false), (name, Loss::Replaced));
        }
        let (parent, directory, mut watch) = watched();
        let aside = parent.path().join("aside");
        fs::rename(&directory, &aside).unwrap();
        assert_eq!(lost(&mut watch, 5, false), (DIRECTORY, Loss::Deleted));
        fs::create_dir(&directory).unwrap();
        assert_eq!(lost(&mut watch, 5, false), (DIRECTORY, Loss::Replaced));
        fs::remove_dir(&directory).unwrap();
        fs::rename(&aside, &directory).unwrap();
        watch.check(&ledger(5), false).unwrap();
    }

    #[test]
    fn the_result_of_the_draw_counts_from_the_draw_on() {
        let (_parent, directory, mut watch) = watched();
        watch.check(&ledger(5), false).unwrap();
        assert_eq!(lost(&mut watch, 5, true), ("draw.csv", Loss::Deleted));
        let path = directory.join("draw.csv");
        fs::write(&path, "draw,1,0\r\n").unwrap();
        watch.check(&ledger(5), true).unwrap();
        fs::write(&path, "").unwrap();
        let shortened = Loss::Shortened { bytes: 0, counted: 10 };
        assert_eq!(lost(&mut watch, 5, true), ("draw.csv", shortened));
    }
}
