//! The creator's claim on a segment: the lock that marks it as in use, and the duty to remove it.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl, posix_fallocate};
use nix::sys::mman::shm_unlink;
use nix::unistd::{Pid, geteuid, getpid};

use super::error::{SegmentError, io_error, system};
use crate::sync::participant::Identity;
use crate::sys::generation::generation;
use crate::sys::name::SegmentName;
use crate::sys::orphans::{forget_segment, remember_segment, removal_lock};
use crate::sys::proc::{attached, maps, parent};

/// Permission bits of an entry: only its owner may read and write it.
const PRIVATE: u32 = 0o600;

/// Bytes of zeros per write where space cannot be reserved.
const FILLING: usize = 4096;

/// The creator's claim on the entry in `/dev/shm`.
#[derive(Debug)]
pub(super) struct Claim {
    name: SegmentName,
    /// The process that created the entry, by its [`generation`].
    creator: u32,
    /// The same process, for one that outlives it.
    identity: Identity,
    pub(super) inode: u64,
    /// Carries the `flock`. Forked children inherit it, so the claim lasts until the last of them
    /// ends.
    pub(super) entry: File,
}

impl Claim {
    /// Locks the entry of a segment that was just created and mapped, and reserves its pages.
    pub(super) fn stake(
        name: &SegmentName,
        bytes: usize,
        identity: Identity,
    ) -> Result<Self, SegmentError> {
        let entry = open_made_private(name).map_err(|error| io_error(name, "opening", error))?;
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
        let (name, creator) = (name.clone(), generation());
        let claim = Self { name, creator, identity, inode: locked, entry };
        claim.reserve(bytes)?;
        remember_segment(&claim.name.path(), locked, identity.stamp().started);
        Ok(claim)
    }

    fn reserve(&self, bytes: usize) -> Result<(), SegmentError> {
        loop {
            match posix_fallocate(&self.entry, 0, bytes as libc::off_t) {
                Ok(()) => return Ok(()),
                Err(Errno::EINTR) => {}
                // A sandbox may lack this operation. No other process writes to the entry yet, so
                // zeros change nothing in it.
                Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => break,
                Err(Errno::ENOSPC) => return Err(SegmentError::NoSpace { bytes }),
                Err(errno) => return Err(system(&self.name, "reserving", errno)),
            }
        }
        let zeros = [0; FILLING];
        for start in (0..bytes).step_by(FILLING) {
            let filled =
                self.entry.write_all_at(&zeros[..FILLING.min(bytes - start)], start as u64);
            filled.map_err(|error| match error.kind() {
                ErrorKind::StorageFull => SegmentError::NoSpace { bytes },
                _ => io_error(&self.name, "reserving", error),
            })?;
        }
        Ok(())
    }
}

impl Claim {
    /// Returns true if this process has outlived the creator, which made a daemon of it, and no
    /// process but its own children uses the segment any more.
    fn is_inherited(&self) -> bool {
        let is_child = |pid: &Pid| parent(*pid) == Some(getpid());
        self.identity.is_dead() && attached(self.inode).iter().all(is_child)
    }
}

impl Drop for Claim {
    /// Removes the entry, in the process that created it. A forked child that drops its copy must
    /// not, unless the creator has ended.
    fn drop(&mut self) {
        let created = generation() == self.creator;
        if !created && !self.is_inherited() {
            return;
        }
        // Another process that has inherited the segment may be removing the entry, and a new
        // creator may create one of the same name.
        let entry = File::options().read(true).write(true).open(self.name.path());
        let lock = || fcntl(entry.as_ref().ok()?, FcntlArg::F_OFD_SETLK(&removal_lock())).ok();
        if (created || lock().is_some()) && inode(&self.name) == Some(self.inode) {
            let _ = shm_unlink(self.name.as_str());
        }
        forget_segment(self.inode);
    }
}

/// Opens an entry that this process has created and gives it mode 0600. The umask may have removed
/// even the rights of the owner.
fn open_made_private(name: &SegmentName) -> io::Result<File> {
    // All steps use this one descriptor, which refers to the same file even if the name does not.
    let entry = File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(name.path())?;
    let metadata = entry.metadata()?;
    if metadata.uid() != geteuid().as_raw() || !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "another user has replaced it"));
    }
    let path = format!("/proc/self/fd/{}", entry.as_raw_fd());
    if metadata.mode() & 0o7777 != PRIVATE {
        fs::set_permissions(&path, Permissions::from_mode(PRIVATE))?;
    }
    File::options().read(true).write(true).open(path)
}

/// Returns the inode that an entry refers to now.
pub(super) fn inode(name: &SegmentName) -> Option<u64> {
    fs::symlink_metadata(name.path()).ok().map(|metadata| metadata.ino())
}
