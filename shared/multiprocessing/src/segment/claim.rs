//! The creator's claim on a segment: the lock that marks it as in use, and the duty to remove it.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl, posix_fallocate};
use nix::sys::mman::shm_unlink;
use nix::unistd::{Pid, geteuid, getpid};

use super::access::Access;
use super::error::{SegmentError, io_error, system};
use crate::memory::layout::{REMOVED, STATE_OFFSET};
use crate::sync::participant::Identity;
use crate::sys::generation::generation;
use crate::sys::name::SegmentName;
use crate::sys::orphans::{REMOVAL_ATTEMPTS, forget_segment, remember_segment, removal_lock};
use crate::sys::proc::{attached, maps, parent};

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
        access: Access,
    ) -> Result<Self, SegmentError> {
        let entry = open_granted(name, access).map_err(|error| {
            // This process maps the entry, so no other process has replaced it.
            if inode(name).is_some_and(|inode| maps(getpid().as_raw(), inode)) {
                let _ = shm_unlink(name.as_str());
            }
            io_error(name, "opening", error)
        })?;
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
        let is_locked = || entry.is_ok_and(|entry| lock_to_remove(&entry, &self.name, self.inode));
        if (created || is_locked()) && inode(&self.name) == Some(self.inode) {
            mark_removed(&self.entry);
            let _ = shm_unlink(self.name.as_str());
        }
        forget_segment(self.inode);
    }
}

/// Takes the lock of a removal. Returns false if the entry of this name is no longer this inode, or
/// if another process keeps the lock. A process that finds the segment in use gives it back at
/// once.
pub(super) fn lock_to_remove(entry: &File, name: &SegmentName, own: u64) -> bool {
    (0..REMOVAL_ATTEMPTS).any(|attempt| {
        if attempt > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        inode(name) != Some(own) || fcntl(entry, FcntlArg::F_OFD_SETLK(&removal_lock())).is_ok()
    }) && inode(name) == Some(own)
}

/// Marks a segment as removed, just before its entry is. A process that is killed between the two
/// leaves an entry that the next creator removes, and no program that waits for ever.
pub(super) fn mark_removed(entry: &File) {
    // An entry that is too short was never finished, so no program has opened it.
    if entry.metadata().is_ok_and(|metadata| metadata.len() >= STATE_OFFSET as u64 + 4) {
        // The entry can be removed all the same if this fails.
        let _ = entry.write_all_at(&REMOVED.to_ne_bytes(), STATE_OFFSET as u64);
    }
}

/// Opens an entry that this process has created, after it has given the entry to these users.
fn open_granted(name: &SegmentName, access: Access) -> io::Result<File> {
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
    access.grant(Path::new(&path), &metadata)?;
    File::options().read(true).write(true).open(path)
}

/// Returns the inode that an entry refers to now.
pub(super) fn inode(name: &SegmentName) -> Option<u64> {
    fs::symlink_metadata(name.path()).ok().map(|metadata| metadata.ino())
}
