//! Removing the entry of a segment whose creator and its children are gone.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::mman::shm_unlink;

use super::Segment;
use super::access::{Access, check_removable};
use super::claim::{inode, lock_to_remove, mark_removed};
use super::error::{SegmentError, io_error, system};
use super::found::{Opening, never_finished};
use crate::memory::layout::{CREATOR_OFFSET, LAYOUT_VERSION, MAGIC, READY, REMOVED, STATE_OFFSET};
use crate::sys::name::{DIRECTORY, SegmentName};
use crate::sys::orphans::{REMOVAL_ATTEMPTS, removal_lock};
use crate::sys::proc::attached;

/// The shortest time that a process waits for the lock of a removal before it leaves the entry.
const REMOVAL_PATIENCE: Duration = Duration::from_millis(REMOVAL_ATTEMPTS as u64);

/// The start of an entry without a header that is marked as removed.
const REMOVED_EARLY: [u8; STATE_OFFSET + 4] = {
    let mut start = [0; STATE_OFFSET + 4];
    let (_, state) = start.split_at_mut(STATE_OFFSET);
    state.copy_from_slice(&REMOVED.to_ne_bytes());
    start
};

/// What became of the entry of a name.
pub(super) enum Reclaimed {
    /// There was none.
    Nothing,
    /// It is removed. The segment had this generation; 0 if it is unknown.
    Removed(u64),
    /// This process created it, and it or a child of it lives. 0 stands for an unknown process.
    InUse(u32),
    /// Another process is removing it at this moment.
    BeingRemoved(u32),
}

impl Segment {
    /// Removes the entry of a segment whose creator and its children are gone, so that the name can
    /// be used again. Segments of older versions of this library are removed too. Returns true if
    /// there was one.
    ///
    /// # Errors
    /// [`SegmentError::InUse`] if any of these processes lives, [`SegmentError::NotPrivate`] and
    /// [`SegmentError::Foreign`] if the entry is not a segment of the effective user and of this
    /// library (remove it by hand), [`SegmentError::OtherLayout`] if a newer version created it.
    pub fn reclaim(name: &SegmentName) -> Result<bool, SegmentError> {
        Self::reclaim_for(name, Access::Private)
    }

    pub(super) fn reclaim_for(name: &SegmentName, access: Access) -> Result<bool, SegmentError> {
        match Self::try_reclaim(name, access)? {
            Reclaimed::Nothing => Ok(false),
            Reclaimed::Removed(_) => Ok(true),
            Reclaimed::InUse(creator) | Reclaimed::BeingRemoved(creator) => {
                Err(SegmentError::InUse { name: name.clone(), creator })
            }
        }
    }

    /// Works like [`reclaim`](Self::reclaim), and says more about the outcome.
    pub(super) fn try_reclaim(
        name: &SegmentName,
        access: Access,
    ) -> Result<Reclaimed, SegmentError> {
        let (creator, generation) = match Self::open_finished(name, Opening::to_read(access)) {
            Ok(Some(segment)) => (segment.header.creator_pid, segment.header.generation),
            Err(error) if is_sound(&error) => (read_creator(name)?, 0),
            Ok(None) if is_unfinished(name) => {
                // Its creator is slow, not dead, or another program created the entry and has
                // written nothing yet.
                if let Some(pid) = inode(name).map(attached).unwrap_or_default().first() {
                    return Ok(Reclaimed::InUse(pid.as_raw().cast_unsigned()));
                }
                (0, 0)
            }
            // Another program created the entry, or another process has reclaimed it first and
            // created a new one.
            Ok(None) => match Self::try_open(name, Opening::to_read(access)) {
                Ok(Some(segment)) => (segment.header.creator_pid, segment.header.generation),
                Ok(None) => return Err(never_finished(name)),
                Err(SegmentError::NotFound { .. }) => return Ok(Reclaimed::Nothing),
                Err(error) => return Err(error),
            },
            Err(SegmentError::NotFound { .. }) => return Ok(Reclaimed::Nothing),
            Err(error) => return Err(error),
        };
        let entry = match File::options().read(true).write(true).open(name.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Reclaimed::Nothing),
            opened => opened.map_err(|error| io_error(name, "opening", error))?,
        };
        // A child of the dead creator that has released its claim may be removing the entry at this
        // moment. This lock comes first: a process that has it and finds the other one taken knows
        // that the creator or a child of it lives.
        let begun = Instant::now();
        match fcntl(&entry, FcntlArg::F_OFD_SETLK(&removal_lock())) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(Reclaimed::BeingRemoved(creator)),
            Err(errno) => return Err(system(name, "locking", errno)),
        }
        match entry.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                drop(entry);
                if begun.elapsed() < REMOVAL_PATIENCE {
                    return Ok(Reclaimed::InUse(creator));
                }
                // This process was stopped with the lock. Children of a creator that has died may
                // have left the entry to this process, and be about to end.
                thread::sleep(REMOVAL_PATIENCE);
                return Self::try_reclaim(name, access);
            }
            Err(TryLockError::Error(error)) => return Err(io_error(name, "locking", error)),
        }
        // Between opening and locking another process may have reclaimed it and created a new one
        // of the same name.
        let metadata = entry.metadata().map_err(|error| io_error(name, "examining", error))?;
        if inode(name) != Some(metadata.ino()) {
            return Self::try_reclaim(name, access);
        }
        check_removable(name, &metadata)?;
        mark_removed(&entry);
        shm_unlink(name.as_str()).map_err(|errno| system(name, "removing", errno))?;
        Ok(Reclaimed::Removed(generation))
    }

    /// Removes the entry of a segment even if processes use it. Those keep the memory: the creator
    /// and its children go on, and the programs that opened it by name get errors, as when the
    /// creator ends. Returns true if there was one.
    ///
    /// # Errors
    /// [`SegmentError::Foreign`] if the entry is not a segment of this library,
    /// [`SegmentError::OfOtherUser`] if another user owns it.
    pub fn remove(name: &SegmentName) -> Result<bool, SegmentError> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let entry = File::options().read(true).write(true).custom_flags(flags).open(name.path());
        let entry = match entry {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(|error| io_error(name, "opening", error))?,
        };
        let metadata = entry.metadata().map_err(|error| io_error(name, "examining", error))?;
        let mut start = [0; MAGIC.len()];
        if !metadata.is_file() || entry.read_exact_at(&mut start, 0).is_err() || start != MAGIC {
            let reason = "its first bytes are not SHMPROC".to_owned();
            return Err(SegmentError::Foreign { name: name.clone(), reason });
        }
        check_removable(name, &metadata)?;
        // A process that keeps this lock removes the entry itself.
        let is_locked = lock_to_remove(&entry, name, metadata.ino());
        mark_removed(&entry);
        if is_locked {
            shm_unlink(name.as_str()).map_err(|errno| system(name, "removing", errno))?;
        }
        Ok(true)
    }

    /// Reclaims every segment whose name starts with `prefix` and whose creator and its children
    /// are gone, as [`reclaim`](Self::reclaim) does. Skips those that are in use or belong to
    /// another user. Returns the reclaimed names.
    ///
    /// # Errors
    /// If `/dev/shm` cannot be listed.
    pub fn reclaim_all(prefix: &str) -> io::Result<Vec<SegmentName>> {
        let entries = fs::read_dir(DIRECTORY)?.flatten();
        let names = entries.filter_map(|entry| SegmentName::new(entry.file_name().to_str()?).ok());
        let ours = names.filter(|name| name.as_str().starts_with(prefix));
        // Does not wait for unfinished ones, which would take up to a second for each of them.
        let finished =
            ours.filter(|name| match Self::open_now(name, Opening::to_read(Access::Private)) {
                Ok(_) => true,
                Err(error) => is_sound(&error),
            });
        Ok(finished.filter(|name| matches!(Self::reclaim(name), Ok(true))).collect())
    }
}

/// Returns true if a segment that cannot be opened can be reclaimed all the same: an older version
/// of this library created it, or a process of another namespace. The rules for the lock on its
/// entry are the same.
fn is_sound(error: &SegmentError) -> bool {
    match error {
        SegmentError::OtherLayout { version, .. } => *version < LAYOUT_VERSION,
        error => matches!(error, SegmentError::OtherNamespace { .. }),
    }
}

/// Returns the creator of a segment of any version.
fn read_creator(name: &SegmentName) -> Result<u32, SegmentError> {
    let mut pid = [0; 4];
    File::open(name.path())
        .and_then(|entry| entry.read_exact_at(&mut pid, CREATOR_OFFSET as u64))
        .map_err(|error| io_error(name, "reading", error))?;
    Ok(u32::from_ne_bytes(pid))
}

/// Returns true if the entry is not a segment that is ready: nothing was written to it, the header
/// is not declared ready, or a process was killed while it removed the entry.
fn is_unfinished(name: &SegmentName) -> bool {
    let nothing_written = |mut entry: &File| {
        let mut chunk = [0; 4096];
        loop {
            match entry.read(&mut chunk) {
                Ok(0) => return true,
                Ok(bytes) if chunk[..bytes].iter().all(|&byte| byte == 0) => {}
                _ => return false,
            }
        }
    };
    // Opening anything but a file might block: a pipe waits for its writer.
    if !fs::symlink_metadata(name.path()).is_ok_and(|metadata| metadata.is_file()) {
        return false;
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let Ok(entry) = File::options().read(true).custom_flags(flags).open(name.path()) else {
        return false;
    };
    let mut start = [0; STATE_OFFSET + 4];
    match entry.read_exact_at(&mut start, 0) {
        Ok(()) if start.starts_with(&MAGIC) => start[STATE_OFFSET..] != READY.to_ne_bytes(),
        // The creator was killed before it wrote the header, and a child of it marked the entry.
        Ok(()) if start == REMOVED_EARLY => true,
        _ => nothing_written(&entry),
    }
}
