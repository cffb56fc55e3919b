//! Segments that other processes created: opening one by name, and removing one whose creator is
//! gone.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::mman::shm_unlink;
use nix::unistd::geteuid;
use shared_memory::{ShmemConf, ShmemError};

use super::claim::inode;
use super::error::{SegmentError, io_error, shmem_error, system};
use super::{Segment, prepare_process};
use crate::memory::cell::{atomic, read_elements, read_structure};
use crate::memory::element::sealed::Atomic;
use crate::memory::layout::{
    CREATOR_OFFSET, ENTRY_BYTES, Entry, HEADER_BYTES, Header, LAYOUT_VERSION, MAGIC, Object,
    PREAMBLE_BYTES, Preamble, READY, STATE_OFFSET,
};
use crate::sys::mapping::{Mapping, Place};
use crate::sys::name::{DIRECTORY, SegmentName};
use crate::sys::namespaces::Namespaces;
use crate::sys::orphans::removal_lock;
use crate::sys::proc::attached;

/// How long a creator may take from creating the entry to declaring the segment ready, which
/// normally takes microseconds. After this time the creator counts as killed.
const MAKING: Duration = Duration::from_secs(1);

impl Segment {
    /// Opens an existing segment. Waits up to a second for one that is being created at this
    /// moment. Never removes the entry.
    ///
    /// # Errors
    /// [`SegmentError::NotFound`], [`SegmentError::NotPrivate`] if the effective user does not own
    /// it or other users may open it, [`SegmentError::OtherLayout`] if a version of this library
    /// with another layout created it, [`SegmentError::OtherNamespace`] if its creator is in
    /// another pid or time namespace, [`SegmentError::Foreign`] if it is not a segment of this
    /// library.
    pub fn open(name: &SegmentName) -> Result<Self, SegmentError> {
        Self::open_finished(name)?.ok_or_else(|| never_finished(name))
    }

    /// Works like [`open`](Self::open), without waiting.
    pub(crate) fn open_now(name: &SegmentName) -> Result<Self, SegmentError> {
        Self::try_open(name)?.ok_or_else(|| never_finished(name))
    }

    /// Works like [`open`](Self::open). Returns `None` if the segment stays unfinished for so long
    /// that its creator must be dead.
    fn open_finished(name: &SegmentName) -> Result<Option<Self>, SegmentError> {
        let deadline = Instant::now() + MAKING;
        loop {
            let opened = Self::try_open(name)?;
            if opened.is_some() || Instant::now() >= deadline {
                return Ok(opened);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Tries to open the segment. Returns `None` if it may be unfinished.
    fn try_open(name: &SegmentName) -> Result<Option<Self>, SegmentError> {
        let foreign = |reason: String| SegmentError::Foreign { name: name.clone(), reason };
        let (_, namespaces) = prepare_process(name)?;
        let Some((mapping, inode)) = map_private(name, namespaces)? else { return Ok(None) };
        let memory = Place::whole(&mapping);
        let too_short = || foreign("it is too short".to_owned());
        if memory.bytes() < PREAMBLE_BYTES {
            return Err(too_short());
        }
        // Read before the rest, which is complete only once the state says so.
        let state = u32::load(atomic::<u32>(&memory.part(STATE_OFFSET, 4), 0));
        let preamble: Preamble = read_structure(&memory).ok_or_else(too_short)?;
        // The header may be arriving at this moment, byte by byte.
        let arriving = |(&byte, &last): (&u8, &u8)| byte == 0 || byte == last;
        if state == 0 && preamble.magic.iter().zip(&MAGIC).all(arriving) {
            return Ok(None);
        }
        if preamble.magic != MAGIC {
            return Err(foreign("its first bytes are not SHMPROC".to_owned()));
        }
        if preamble.layout_version != LAYOUT_VERSION {
            let version = preamble.layout_version;
            return Err(SegmentError::OtherLayout { name: name.clone(), version });
        }
        let header: Header = read_structure(&memory).ok_or_else(too_short)?;
        if state != READY {
            return Err(foreign(format!("its state is {state}")));
        }
        let creators = Namespaces { pid: header.pid_namespace, time: header.time_namespace };
        if let Some(namespace) = namespaces.difference(creators) {
            return Err(SegmentError::OtherNamespace { name: name.clone(), namespace });
        }
        let bytes = memory.bytes();
        let count = header.object_count as usize;
        let directory =
            count.checked_mul(ENTRY_BYTES).and_then(|bytes| bytes.checked_add(HEADER_BYTES));
        if header.total_bytes != bytes as u64 || directory.is_none_or(|end| end > bytes) {
            return Err(foreign(format!("its header does not fit its {bytes} bytes")));
        }
        let object = |index: usize| {
            let entry = memory.part(HEADER_BYTES + index * ENTRY_BYTES, ENTRY_BYTES);
            let object = read_structure::<Entry>(&entry).and_then(|entry| {
                let object = Object::from_entry(&entry, bytes)?;
                Some(Object { fields: read_schema(&memory, &entry)?, ..object })
            });
            object.ok_or_else(|| foreign(format!("its directory entry {index} makes no sense")))
        };
        let objects = (0..count).map(object).collect::<Result<Vec<_>, _>>()?;
        // Two handles to the same bytes would hand out two exclusive references to them.
        if let Some(problem) = conflict(&objects) {
            return Err(foreign(problem));
        }
        Ok(Some(Self {
            name: name.clone(),
            inode,
            header,
            objects: objects.into(),
            memory,
            _claim: None,
        }))
    }

    /// Removes the entry of a segment whose creator and its children are gone, so that the name can
    /// be used again. Segments of older versions of this library are removed too. Returns true if
    /// there was one.
    ///
    /// # Errors
    /// [`SegmentError::InUse`] if any of these processes lives, [`SegmentError::NotPrivate`] and
    /// [`SegmentError::Foreign`] if the entry is not a segment of the effective user and of this
    /// library (remove it by hand), [`SegmentError::OtherLayout`] if a newer version created it.
    pub fn reclaim(name: &SegmentName) -> Result<bool, SegmentError> {
        let creator = match Self::open_finished(name) {
            Ok(Some(segment)) => segment.header.creator_pid,
            Err(error) if is_sound(&error) => read_creator(name)?,
            Ok(None) if is_unfinished(name) => {
                // Its creator is slow, not dead, or another program created the entry and has
                // written nothing yet.
                if let Some(pid) = inode(name).map(attached).unwrap_or_default().first() {
                    let creator = pid.as_raw().cast_unsigned();
                    return Err(SegmentError::InUse { name: name.clone(), creator });
                }
                0
            }
            // Another program created the entry, or another process has reclaimed it first and
            // created a new one.
            Ok(None) => match Self::try_open(name) {
                Ok(Some(segment)) => segment.header.creator_pid,
                Ok(None) => return Err(never_finished(name)),
                Err(SegmentError::NotFound { .. }) => return Ok(false),
                Err(error) => return Err(error),
            },
            Err(SegmentError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let entry = match File::options().read(true).write(true).open(name.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(|error| io_error(name, "opening", error))?,
        };
        match entry.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SegmentError::InUse { name: name.clone(), creator });
            }
            Err(TryLockError::Error(error)) => return Err(io_error(name, "locking", error)),
        }
        // A child of the dead creator that has released its claim may be removing the entry at this
        // moment.
        match fcntl(&entry, FcntlArg::F_OFD_SETLK(&removal_lock())) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => {
                return Err(SegmentError::InUse { name: name.clone(), creator });
            }
            Err(errno) => return Err(system(name, "locking", errno)),
        }
        // Between opening and locking another process may have reclaimed it and created a new one
        // of the same name.
        let locked = entry.metadata().map_err(|error| io_error(name, "examining", error))?.ino();
        if inode(name) != Some(locked) {
            return Self::reclaim(name);
        }
        shm_unlink(name.as_str()).map_err(|errno| system(name, "removing", errno))?;
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
        let finished = ours.filter(|name| match Self::open_now(name) {
            Ok(_) => true,
            Err(error) => is_sound(&error),
        });
        Ok(finished.filter(|name| matches!(Self::reclaim(name), Ok(true))).collect())
    }
}

/// Maps the entry and returns its inode, if it is private to this user. Returns `None` if it has no
/// content yet or is being replaced.
fn map_private(
    name: &SegmentName,
    namespaces: Namespaces,
) -> Result<Option<(Arc<Mapping>, u64)>, SegmentError> {
    let entry = private_entry(name)?;
    match entry.len() {
        0 => return Ok(None),
        size if size < PREAMBLE_BYTES as u64 => {
            let reason = format!("it has {size} bytes");
            return Err(SegmentError::Foreign { name: name.clone(), reason });
        }
        _ => {}
    }
    let mapped = match ShmemConf::new().os_id(name.as_str()).open() {
        // The entry has been replaced by one that has no size yet, which cannot be mapped.
        Err(ShmemError::MapOpenFailed(errno)) if errno == Errno::EINVAL as u32 => return Ok(None),
        mapped => mapped.map_err(|error| shmem_error(name, "opening", error))?,
    };
    // The owner of the examined entry may have removed it before it was mapped, and another user
    // may have created one of the same name.
    let same = inode(name) == Some(entry.ino());
    Ok(same.then(|| (Mapping::new(mapped, namespaces), entry.ino())))
}

/// Returns the attributes of an entry. Fails unless it is a file of the effective user that no
/// other user may open.
fn private_entry(name: &SegmentName) -> Result<fs::Metadata, SegmentError> {
    let entry = fs::symlink_metadata(name.path());
    let entry = entry.map_err(|error| io_error(name, "opening", error))?;
    let (owner, permissions) = (entry.uid(), entry.mode() & 0o7777);
    if owner != geteuid().as_raw() || permissions & 0o077 != 0 {
        return Err(SegmentError::NotPrivate { name: name.clone(), owner, permissions });
    }
    if !entry.is_file() {
        let reason = "it is not a file".to_owned();
        return Err(SegmentError::Foreign { name: name.clone(), reason });
    }
    Ok(entry)
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

/// Returns true if the entry was created and never finished: nothing was written, or the header is
/// not declared ready.
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
    let Ok(entry) = File::open(name.path()) else { return false };
    let mut start = [0; STATE_OFFSET + 4];
    match entry.read_exact_at(&mut start, 0) {
        Ok(()) if start.starts_with(&MAGIC) => start[STATE_OFFSET..] == [0; 4],
        _ => nothing_written(&entry),
    }
}

/// Returns the schema of a directory entry, if it has one. Returns `None` if it is not a text
/// inside the segment.
fn read_schema(memory: &Place, entry: &Entry) -> Option<Option<String>> {
    let offset = usize::try_from(entry.schema_offset).ok()?;
    let bytes = usize::try_from(entry.schema_bytes).ok()?;
    if offset == 0 && bytes == 0 {
        return Some(None);
    }
    let is_inside = offset.checked_add(bytes).is_some_and(|end| end <= memory.bytes());
    let schema = is_inside.then(|| read_elements(&memory.part(offset, bytes), 1))?;
    String::from_utf8(schema).ok().map(Some)
}

/// Returns how the objects of a directory contradict each other, if they do.
fn conflict(objects: &[Object]) -> Option<String> {
    let mut end = HEADER_BYTES + objects.len() * ENTRY_BYTES;
    let mut placed: Vec<_> = objects.iter().collect();
    placed.sort_by_key(|object| (object.offset, object.bytes));
    for object in placed {
        if object.offset < end {
            return Some(format!("its object {:?} overlaps what is before it", object.name));
        }
        end = object.offset + object.bytes;
    }
    let mut names: Vec<_> = objects.iter().map(|object| &object.name).collect();
    names.sort();
    let repeated = names.windows(2).find(|pair| pair[0] == pair[1]);
    repeated.map(|pair| format!("two of its objects are named {:?}", pair[0]))
}

fn never_finished(name: &SegmentName) -> SegmentError {
    SegmentError::Foreign { name: name.clone(), reason: "it was never finished".to_owned() }
}
