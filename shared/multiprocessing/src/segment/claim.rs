//! The creator's claim on a segment: the lock that marks it as in use, and the duty to remove it.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, posix_fallocate};
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpid};

use super::error::{SegmentError, io_error, system};
use crate::sys::name::SegmentName;
use crate::sys::orphans::{forget_segment, remember_segment};
use crate::sys::proc::maps;

/// The creator's claim on the entry in `/dev/shm`.
#[derive(Debug)]
pub(super) struct Claim {
    name: SegmentName,
    creator: Pid,
    inode: u64,
    /// Carries the `flock`. Forked children inherit it, so the claim lasts until the last of them
    /// ends.
    pub(super) entry: File,
}

impl Claim {
    /// Locks the entry of a segment that was just created and mapped, and reserves its pages.
    pub(super) fn stake(name: &SegmentName, bytes: usize) -> Result<Self, SegmentError> {
        let entry = shm_open(name.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
        let entry = File::from(entry.map_err(|errno| system(name, "opening", errno))?);
        // Before this process has the lock, another process may mistake the entry for that of a
        // dead creator, remove it, and create another one of the same name.
        let exists = || SegmentError::Exists { name: name.clone() };
        match entry.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(exists()),
            Err(TryLockError::Error(error)) => return Err(io_error(name, "locking", error)),
        }
        let locked = entry.metadata().map_err(|error| io_error(name, "examining", error))?.ino();
        if inode(name) != Some(locked) || !maps(getpid().as_raw(), locked) {
            return Err(exists());
        }
        // From here on the entry belongs to this claim. An error below drops the claim, which
        // removes it.
        let claim = Self { name: name.clone(), creator: getpid(), inode: locked, entry };
        claim.reserve(bytes)?;
        remember_segment(&name.path(), locked);
        Ok(claim)
    }

    fn reserve(&self, bytes: usize) -> Result<(), SegmentError> {
        loop {
            match posix_fallocate(&self.entry, 0, bytes as libc::off_t) {
                Ok(()) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOSPC) => return Err(SegmentError::NoSpace { bytes }),
                Err(errno) => return Err(system(&self.name, "reserving", errno)),
            }
        }
    }
}

impl Drop for Claim {
    /// Removes the entry, in the process that created it. A forked child that drops its copy must
    /// not.
    fn drop(&mut self) {
        if getpid() == self.creator {
            if inode(&self.name) == Some(self.inode) {
                let _ = shm_unlink(self.name.as_str());
            }
            forget_segment(self.inode);
        }
    }
}

/// Returns the inode that an entry refers to now.
pub(super) fn inode(name: &SegmentName) -> Option<u64> {
    fs::metadata(name.path()).ok().map(|metadata| metadata.ino())
}
