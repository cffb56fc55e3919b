//! Opening a segment that another process created, by its name.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use shared_memory::{ShmemConf, ShmemError};

use super::access::Access;
use super::claim::inode;
use super::error::{SegmentError, io_error, shmem_error, system};
use super::{Segment, prepare_process};
use crate::memory::cell::{atomic, read_elements, read_structure};
use crate::memory::element::sealed::Atomic;
use crate::memory::layout::{
    ENTRY_BYTES, Entry, HEADER_BYTES, Header, LAYOUT_VERSION, LOCK_BYTES, MAGIC, Object,
    PREAMBLE_BYTES, Preamble, READY, REMOVED, STATE_OFFSET,
};
use crate::sync::mutex::LockPlace;
use crate::sys::mapping::{Mapping, Place};
use crate::sys::name::SegmentName;
use crate::sys::namespaces::Namespaces;

/// How long a creator may take from creating the entry to declaring the segment ready, which
/// normally takes microseconds. After this time the creator counts as killed.
pub(super) const MAKING: Duration = Duration::from_secs(1);

/// How to open a segment.
#[derive(Clone, Copy)]
pub(super) struct Opening {
    /// Who may use the segment; it is refused if others may.
    access: Access,
    /// True if this process cannot write to it.
    read_only: bool,
}

impl Opening {
    /// To read and write.
    pub(super) fn to_use(access: Access) -> Self {
        Self { access, read_only: false }
    }

    /// To read. Then this process cannot change the segment, not even by a mistake.
    pub(super) fn to_read(access: Access) -> Self {
        Self { access, read_only: true }
    }
}

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
        Self::open_for(name, Opening::to_use(Access::Private))
    }

    pub(super) fn open_for(name: &SegmentName, opening: Opening) -> Result<Self, SegmentError> {
        Self::open_finished(name, opening)?.ok_or_else(|| never_finished(name))
    }

    /// Works like [`open`](Self::open), without waiting.
    pub(super) fn open_now(name: &SegmentName, opening: Opening) -> Result<Self, SegmentError> {
        Self::try_open(name, opening)?.ok_or_else(|| never_finished(name))
    }

    /// Works like [`open`](Self::open). Returns `None` if the segment stays unfinished for so long
    /// that its creator must be dead.
    pub(super) fn open_finished(
        name: &SegmentName,
        opening: Opening,
    ) -> Result<Option<Self>, SegmentError> {
        let deadline = Instant::now() + MAKING;
        loop {
            let opened = Self::try_open(name, opening)?;
            if opened.is_some() || Instant::now() >= deadline {
                return Ok(opened);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Tries to open the segment. Returns `None` if it may be unfinished.
    pub(super) fn try_open(
        name: &SegmentName,
        opening: Opening,
    ) -> Result<Option<Self>, SegmentError> {
        let foreign = |reason: String| SegmentError::Foreign { name: name.clone(), reason };
        let (_, namespaces) = prepare_process(name)?;
        let Some((mapping, inode)) = map(name, opening, namespaces)? else { return Ok(None) };
        let memory = Place::whole(&mapping);
        let too_short = || foreign("it is too short".to_owned());
        if memory.bytes() < PREAMBLE_BYTES {
            return Err(too_short());
        }
        // Read before the rest, which is complete only once the state says so.
        let state = u32::load(atomic::<u32>(&memory.part(STATE_OFFSET, 4), 0));
        let preamble: Preamble = read_structure(&memory).ok_or_else(too_short)?;
        // The header may be arriving at this moment, byte by byte. Or a process is removing the
        // entry, or was killed when it did.
        let arriving = |(&byte, &last): (&u8, &u8)| byte == 0 || byte == last;
        if matches!(state, 0 | REMOVED) && preamble.magic.iter().zip(&MAGIC).all(arriving) {
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
        check_objects(name, &memory, &objects)?;
        Ok(Some(Self {
            name: name.clone(),
            inode,
            header,
            objects: objects.into(),
            memory,
            _claim: None,
        }))
    }
}

/// Maps the entry and returns its inode, if only these users may open it. Returns `None` if it has
/// no content yet or is being replaced.
fn map(
    name: &SegmentName,
    opening: Opening,
    namespaces: Namespaces,
) -> Result<Option<(Arc<Mapping>, u64)>, SegmentError> {
    let entry = fs::symlink_metadata(name.path());
    let entry = entry.map_err(|error| io_error(name, "opening", error))?;
    opening.access.check(name, &entry)?;
    match entry.len() {
        0 => return Ok(None),
        size if size < PREAMBLE_BYTES as u64 => {
            let reason = format!("it has {size} bytes");
            return Err(SegmentError::Foreign { name: name.clone(), reason });
        }
        _ => {}
    }
    let mapping = if opening.read_only {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = File::options().read(true).custom_flags(flags).open(name.path());
        let mapped = file.and_then(|file| Mapping::read_only(&file, namespaces));
        let Some(mapping) = mapped.map_err(|error| io_error(name, "opening", error))? else {
            return Ok(None);
        };
        mapping
    } else {
        match ShmemConf::new().os_id(name.as_str()).open() {
            // The entry has been replaced by one that has no size yet, which cannot be mapped.
            Err(ShmemError::MapOpenFailed(errno)) if errno == Errno::EINVAL as u32 => {
                return Ok(None);
            }
            mapped => {
                let mapped = mapped.map_err(|error| shmem_error(name, "opening", error))?;
                Mapping::new(mapped, namespaces, true)
            }
        }
    };
    // The owner of the examined entry may have removed it before it was mapped, and another user
    // may have created one of the same name.
    let same = inode(name) == Some(entry.ino());
    Ok(same.then(|| (mapping, entry.ino())))
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

/// Fails if the objects of a directory contradict each other, or one of them is not what it should
/// be.
fn check_objects(
    name: &SegmentName,
    memory: &Place,
    objects: &[Object],
) -> Result<(), SegmentError> {
    let foreign = |reason: String| SegmentError::Foreign { name: name.clone(), reason };
    // Two handles to the same bytes would hand out two exclusive references to them.
    if let Some(problem) = conflict(objects) {
        return Err(foreign(problem));
    }
    for object in objects.iter().filter(|object| object.kind.has_lock()) {
        let lock = LockPlace::new(memory.part(object.offset, LOCK_BYTES));
        let is_ours = lock.block().has_our_kind();
        if !is_ours.map_err(|errno| system(name, "examining a lock in", errno))? {
            return Err(foreign(format!("its object {:?} is no lock", object.name)));
        }
    }
    Ok(())
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

pub(super) fn never_finished(name: &SegmentName) -> SegmentError {
    SegmentError::Foreign { name: name.clone(), reason: "it was never finished".to_owned() }
}
