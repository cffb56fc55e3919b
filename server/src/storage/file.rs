//! The file operations of the storage. Every write, truncation, sync and rename goes through this
//! module, so that a test can record them or make one of them fail.

use std::fs::{self, File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use multiprocessing::RawArray;
use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise, posix_fallocate};
use nix::unistd::syncfs;

use super::{FileError, StorageError, access};

/// Bytes of zeros per write where the file system cannot reserve space.
const FILLING: usize = 1024 * 1024;

/// A file of the storage. All reads and writes name their offset.
#[derive(Debug)]
pub struct StoredFile {
    file: File,
    path: PathBuf,
}

impl StoredFile {
    /// Opens a file, creating it if there is none.
    pub fn open(path: PathBuf) -> Result<Self, FileError> {
        match access::options(&path).open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(error) => Err(FileError::of("opening", &path)(error)),
        }
    }

    /// Opens a file that must exist, for reading only.
    pub fn open_to_read(path: PathBuf) -> Result<Self, FileError> {
        match File::open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(error) => Err(FileError::of("opening", &path)(error)),
        }
    }

    /// Creates an empty file. A file that has this name already is emptied.
    pub fn create(path: PathBuf) -> Result<Self, FileError> {
        let created = Self::open(path)?;
        created.set_length(0)?;
        Ok(created)
    }

    /// Opens the same file again, and returns it with the description that it had before. Fails if
    /// its name leads to another file.
    pub fn open_again(&mut self) -> Result<Self, FileError> {
        let open = || {
            let file = File::options().read(true).write(true).open(&self.path)?;
            let (now, before) = (file.metadata()?, self.file.metadata()?);
            if (now.dev(), now.ino()) != (before.dev(), before.ino()) {
                return Err(io::Error::other("another program has replaced it"));
            }
            Ok(file)
        };
        let file = open().map_err(self.failed("opening"))?;
        Ok(Self { file: std::mem::replace(&mut self.file, file), path: self.path.clone() })
    }

    /// Returns the path that the file was opened under.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the attributes of the open file, whatever its path leads to now.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Returns the length in bytes.
    pub fn length(&self) -> Result<u64, FileError> {
        // Each commit asks for it, and a seek costs a fraction of reading all attributes. The
        // position of the file is free, because all reads and writes name their offset.
        (&self.file).seek(SeekFrom::End(0)).map_err(self.failed("examining"))
    }

    /// Fills `bytes` from an offset.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), FileError> {
        self.file.read_exact_at(bytes, offset).map_err(self.failed("reading"))
    }

    /// Returns another handle to the open file.
    pub fn try_clone(&self) -> Result<File, FileError> {
        self.file.try_clone().map_err(self.failed("reading"))
    }

    /// Writes all of `bytes` at an offset. If it fails, some of them may be written.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), FileError> {
        let operation = Operation::Write { path: &self.path, bytes, offset };
        perform(&operation, || self.file.write_all_at(bytes, offset))
            .map_err(self.failed("writing"))
    }

    /// Cuts or extends the file to a length.
    pub fn set_length(&self, length: u64) -> Result<(), FileError> {
        let operation = Operation::SetLength { path: &self.path, length };
        perform(&operation, || self.file.set_len(length)).map_err(self.failed("truncating"))
    }

    /// Reserves space on the disk for the first `length` bytes. A shorter file grows, filled with
    /// zeros.
    pub fn reserve(&self, length: u64) -> Result<(), FileError> {
        let operation = Operation::Reserve { path: &self.path, length };
        let reserve =
            || posix_fallocate(&self.file, 0, length.cast_signed()).map_err(io::Error::from);
        match perform(&operation, reserve) {
            Err(error) if is_unsupported(&error) => self.fill(length),
            reserved => reserved.map_err(self.failed("reserving space for")),
        }
    }

    /// Writes zeros behind the end of the file up to a length: this reserves space on any file
    /// system that does not move data when it is overwritten.
    fn fill(&self, length: u64) -> Result<(), FileError> {
        let mut end = self.length()?;
        while end < length {
            let bytes = FILLING.min((length - end) as usize);
            self.write_all_at(&vec![0; bytes], end)?;
            end += bytes as u64;
        }
        Ok(())
    }

    /// Lets the kernel begin to write a part of the file to the disk, so that a later sync has less
    /// to wait for.
    pub fn start_writing(&self, part: Range<u64>) {
        let (start, length) = (part.start.cast_signed(), (part.end - part.start).cast_signed());
        // Linux starts to write dirty pages that are not needed, and keeps those that it writes.
        let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        let operation = Operation::StartWriting { path: &self.path, part };
        // If this fails, the next sync writes the pages.
        let _: io::Result<()> = perform(&operation, || {
            posix_fadvise(&self.file, start, length, advice).map_err(io::Error::from)
        });
    }

    /// Makes everything written so far survive a power loss. After a failure, what was written may
    /// be lost, and a second sync does not bring it back.
    pub fn sync(&self) -> Result<(), StorageError> {
        let operation = Operation::Sync { path: &self.path };
        perform(&operation, || or_sync_all(self.file.sync_data(), &self.file))
            .map_err(|source| StorageError::NotDurable { path: self.path.clone(), source })
    }

    /// Gives the file another name. A file that has this name already is replaced.
    pub fn rename(&mut self, to: PathBuf) -> Result<(), FileError> {
        let operation = Operation::Rename { from: &self.path, to: &to };
        perform(&operation, || fs::rename(&self.path, &to)).map_err(self.failed("renaming"))?;
        self.path = to;
        Ok(())
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> FileError {
        FileError::of(action, &self.path)
    }
}

/// Makes the entries of a directory survive a power loss. A file whose entry is lost is lost too.
pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    let sync = || sync_all(&File::open(path)?);
    perform(&Operation::SyncDirectory { path }, sync).map_err(FileError::of("syncing", path))
}

/// Makes the path of a directory survive a power loss, and the entries in it. Any run may have
/// created a part of the path, so all of it is synced.
pub fn sync_path(directory: &Path) -> Result<(), FileError> {
    let path = fs::canonicalize(directory).map_err(FileError::of("examining", directory))?;
    sync_directory(&path)?;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let parents = path.ancestors().skip(1);
    parents.take_while(|parent| device(parent) == device(&path)).try_for_each(|parent| {
        // A directory that this user cannot read was not created by a central of this user.
        match File::open(parent) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            _ => sync_directory(parent),
        }
    })
}

/// Makes a file or a directory survive a power loss.
pub fn sync_all(file: &File) -> io::Result<()> {
    or_sync_all(file.sync_all(), file)
}

/// Syncs the whole file system of a file whose own sync is not supported.
fn or_sync_all(synced: io::Result<()>, file: &File) -> io::Result<()> {
    match synced {
        Err(error) if is_unsupported(&error) => syncfs(file).map_err(io::Error::from),
        synced => synced,
    }
}

/// Returns true if the file system, or the sandbox of the process, does not have an operation.
pub fn is_unsupported(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS))
}

/// An operation that changes a file, makes it durable, or changes memory that processes share.
#[derive(Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "only tests look at the fields"))]
pub enum Operation<'a> {
    /// Writes bytes at an offset.
    Write { path: &'a Path, bytes: &'a [u8], offset: u64 },
    /// Cuts or extends a file.
    SetLength { path: &'a Path, length: u64 },
    /// Reserves space.
    Reserve { path: &'a Path, length: u64 },
    /// Begins to write a part of a file to the disk.
    StartWriting { path: &'a Path, part: Range<u64> },
    /// Syncs a file.
    Sync { path: &'a Path },
    /// Renames a file.
    Rename { from: &'a Path, to: &'a Path },
    /// Syncs a directory.
    SyncDirectory { path: &'a Path },
    /// Stores words in memory that processes share.
    Store { memory: &'a RawArray<u64>, first: usize, words: &'a [u64] },
}

/// Performs an operation.
#[cfg(not(test))]
pub fn perform(
    _operation: &Operation<'_>,
    action: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    action()
}

/// Performs an operation, unless the test makes it fail.
#[cfg(test)]
pub fn perform(
    operation: &Operation<'_>,
    action: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    interposed::decide(operation)?;
    action()
}

#[cfg(test)]
pub mod interposed {
    //! A function of a test that sees every operation of its thread before it is performed.

    use std::cell::RefCell;
    use std::io;

    use super::Operation;

    /// Performs the operation if it returns `Ok`. To tear a write, it writes a part of the bytes
    /// itself and returns an error.
    type Interposer = Box<dyn FnMut(&Operation<'_>) -> io::Result<()>>;

    thread_local! {
        static INTERPOSER: RefCell<Option<Interposer>> = const { RefCell::new(None) };
    }

    /// Removes the function when it is dropped.
    #[must_use]
    #[derive(Debug)]
    pub struct Interposed(());

    impl Drop for Interposed {
        fn drop(&mut self) {
            INTERPOSER.set(None);
        }
    }

    /// Lets a function see every later operation of this thread.
    pub fn interpose(
        function: impl FnMut(&Operation<'_>) -> io::Result<()> + 'static,
    ) -> Interposed {
        INTERPOSER.set(Some(Box::new(function)));
        Interposed(())
    }

    pub(super) fn decide(operation: &Operation<'_>) -> io::Result<()> {
        INTERPOSER.with_borrow_mut(|interposer| {
            interposer.as_mut().map_or(Ok(()), |function| function(operation))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::fd::AsRawFd;
    use std::rc::Rc;

    use nix::errno::Errno;

    use super::*;

    /// Describes an operation by the names of its files.
    fn describe(operation: &Operation<'_>) -> String {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        match operation {
            Operation::Write { path, bytes, offset } => {
                format!("write {} {}..+{}", name(path), offset, bytes.len())
            }
            Operation::SetLength { path, length } => format!("cut {} {length}", name(path)),
            Operation::Reserve { path, length } => format!("reserve {} {length}", name(path)),
            Operation::StartWriting { path, part } => format!("start {} {part:?}", name(path)),
            Operation::Sync { path } => format!("sync {}", name(path)),
            Operation::Rename { from, to } => format!("rename {} {}", name(from), name(to)),
            Operation::SyncDirectory { path } => format!("sync the directory {}", path.is_dir()),
            Operation::Store { first, words, .. } => format!("store {first}..+{}", words.len()),
        }
    }

    #[test]
    fn a_file_is_opened_again_unless_its_name_leads_to_another_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut file = StoredFile::create(path.clone()).unwrap();
        file.write_all_at(b"row", 0).unwrap();
        let before = file.open_again().unwrap();
        assert_ne!(before.file.as_raw_fd(), file.file.as_raw_fd());
        file.write_all_at(b"!", 3).unwrap();
        assert_eq!((before.length().unwrap(), fs::read(&path).unwrap()), (4, b"row!".to_vec()));

        fs::rename(&path, directory.path().join("aside")).unwrap();
        let gone = file.open_again().unwrap_err().to_string();
        assert!(gone.contains("opening") && !path.exists(), "{gone}");
        fs::write(&path, "row!").unwrap();
        let replaced = file.open_again().unwrap_err().to_string();
        assert!(replaced.contains("another program has replaced it"), "{replaced}");
    }

    #[test]
    fn a_test_sees_every_operation_before_it_is_performed_and_can_make_it_fail() {
        let directory = tempfile::tempdir().unwrap();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let record = Rc::clone(&seen);
        let interposed = interposed::interpose(move |operation| {
            record.borrow_mut().push(describe(operation));
            match operation {
                Operation::Write { offset: 3, .. } => Err(Errno::EIO.into()),
                _ => Ok(()),
            }
        });
        let mut file = StoredFile::create(directory.path().join("a")).unwrap();
        file.reserve(8).unwrap();
        file.write_all_at(b"row", 0).unwrap();
        let refused = file.write_all_at(b"more", 3).unwrap_err().to_string();
        assert!(refused.contains("writing") && refused.contains("Input/output"), "{refused}");
        file.sync().unwrap();
        file.rename(directory.path().join("b")).unwrap();
        sync_directory(directory.path()).unwrap();
        drop(interposed);
        file.set_length(3).unwrap();

        assert_eq!(fs::read(directory.path().join("b")).unwrap(), b"row");
        let expected = [
            "cut a 0",
            "reserve a 8",
            "write a 0..+3",
            "write a 3..+4",
            "sync a",
            "rename a b",
            "sync the directory true",
        ];
        assert_eq!(*seen.borrow(), expected);
    }
}
