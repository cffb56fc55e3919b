//! A named segment: made by one process, found by name by any other, removed by its maker or reclaimed after it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{OFlag, posix_fallocate};
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpid};
use shared_memory::{ShmemConf, ShmemError};
use zerocopy::IntoBytes;

use crate::array::{Array, RawArray};
use crate::cell::{atomic, read_structure, write_bytes};
use crate::element::{AtomicElement, ElementType, Shareable, sealed::Atomic};
use crate::fork::{forget_segment, remember_segment};
use crate::inspect::{attached, maps, start_ticks};
use crate::layout::{
    ENTRY_BYTES, Entry, HEADER_BYTES, Header, LAYOUT_VERSION, MAGIC, Object, ObjectKind, Plan, READY,
    STATE_OFFSET,
};
use crate::lock::Lock;
use crate::mapping::{Mapping, Place};
use crate::mutex::LockBlock;
use crate::name::SegmentName;
use crate::value::{RawValue, Value};

/// How long another process may take between making a segment's entry and declaring it ready. It takes microseconds; a
/// creator that was killed in between is told from one that is slow by this.
const MAKING: Duration = Duration::from_secs(1);

/// A named segment of POSIX shared memory and the directory of what is inside.
///
/// Its creator holds a `flock` on the entry as long as it or a forked child lives; that is how a stale entry is told from one
/// in use. When the creating process drops its last handle, or dies while children of it live, the entry is removed.
#[derive(Clone, Debug)]
pub struct Segment {
    name: SegmentName,
    header: Header,
    objects: Arc<[Object]>,
    memory: Place,
    /// The creator's claim; `None` in a process that opened the segment by name. Kept for its drop.
    _claim: Option<Arc<Claim>>,
}

/// The creator's hold on the entry in `/dev/shm`.
#[derive(Debug)]
struct Claim {
    name: SegmentName,
    creator: Pid,
    inode: u64,
    /// Carries the `flock`. Forked children inherit it, so the claim lasts until the last of them ends.
    entry: File,
}

/// Why a segment cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The name is taken.
    #[error("shared memory {name} exists already")]
    Exists {
        /// Which one.
        name: SegmentName,
    },
    /// The name is taken by processes that live.
    #[error("shared memory {name} is in use by the living process {creator} or its children")]
    InUse {
        /// Which one.
        name: SegmentName,
        /// Who made it.
        creator: u32,
    },
    /// There is no such segment.
    #[error("there is no shared memory {name}")]
    NotFound {
        /// Which one.
        name: SegmentName,
    },
    /// The entry is no segment of this library, or one of another layout.
    #[error("/dev/shm/{name} is no segment of this library: {reason}")]
    Foreign {
        /// Which one.
        name: SegmentName,
        /// What gave it away.
        reason: String,
    },
    /// The plan asks for something impossible.
    #[error("segment plan: {0}")]
    Plan(String),
    /// `/dev/shm` has not enough room.
    #[error(
        "/dev/shm has no room for {bytes} bytes: enlarge it (Docker: --shm-size) or remove what fills it"
    )]
    NoSpace {
        /// How many were asked for.
        bytes: usize,
    },
    /// The segment has no such object, or it is of another kind or type.
    #[error("shared memory {name} has no {wanted} named {object:?}")]
    Object {
        /// Which segment.
        name: SegmentName,
        /// The name asked for.
        object: String,
        /// Kind and type asked for.
        wanted: String,
    },
    /// The operating system refused.
    #[error("{action} shared memory {name}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// On which segment.
        name: SegmentName,
        /// Why not.
        source: io::Error,
    },
}

impl Segment {
    /// Makes a segment with what is planned, all zero. The entry is made exclusively, readable and writable by its owner only
    /// (mode 0600), and its pages are reserved at once: too small a `/dev/shm` is an error here, not a SIGBUS later.
    ///
    /// # Errors
    /// [`SegmentError::Exists`] when the name is taken (see [`reclaim`](Self::reclaim)), [`SegmentError::Plan`],
    /// [`SegmentError::NoSpace`], or what the system says.
    pub fn create(name: &SegmentName, plan: &Plan) -> Result<Self, SegmentError> {
        let (objects, bytes) = plan.laid_out().map_err(SegmentError::Plan)?;
        let mapped = ShmemConf::new().os_id(name.as_str()).size(bytes).create();
        let mapping = Mapping::new(mapped.map_err(|error| shmem_error(name, "creating", error))?);
        let claim = Claim::stake(name, bytes)?;
        let memory = Place::whole(&mapping);
        let header = Header {
            magic: MAGIC,
            layout_version: LAYOUT_VERSION,
            state: 0,
            total_bytes: bytes as u64,
            object_count: objects.len() as u32,
            creator_pid: std::process::id(),
            creator_start_ticks: start_ticks(getpid()).unwrap_or(0),
            created_unix_ms: unix_ms(),
            reserved: [0; 16],
        };
        // In one system call: whenever this process is killed, there is nothing of the header or all of it.
        let written = claim.entry.write_all_at(header.as_bytes(), 0);
        written.map_err(|error| io_error(name, "writing the header of", error))?;
        for (index, object) in objects.iter().enumerate() {
            let entry = memory.part(HEADER_BYTES + index * ENTRY_BYTES, ENTRY_BYTES);
            write_bytes(&entry, object.entry().as_bytes());
            if matches!(object.kind, ObjectKind::Lock | ObjectKind::Value | ObjectKind::Array) {
                let initialised = LockBlock::at(&memory.part(object.offset, object.bytes)).initialise();
                initialised.map_err(|errno| system(name, "making a lock in", errno))?;
            }
        }
        u32::store(atomic::<u32>(&memory.part(STATE_OFFSET, 4), 0), READY);
        Ok(Self {
            name: name.clone(),
            header,
            objects: objects.into(),
            memory,
            _claim: Some(Arc::new(claim)),
        })
    }

    /// Opens an existing segment. Waits up to a second for one that is being made at this moment. It never removes the entry.
    ///
    /// # Errors
    /// [`SegmentError::NotFound`], [`SegmentError::Foreign`] when it is none of ours or of another layout, or what the system says.
    pub fn open(name: &SegmentName) -> Result<Self, SegmentError> {
        Self::open_finished(name)?.ok_or_else(|| never_finished(name))
    }

    /// As [`open`](Self::open), without waiting for anybody.
    pub(crate) fn open_now(name: &SegmentName) -> Result<Self, SegmentError> {
        Self::try_open(name)?.ok_or_else(|| never_finished(name))
    }

    /// As [`open`](Self::open); `None` when it is in the making for so long that its creator must be dead.
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

    /// `None` when the entry is one that may be in the making.
    fn try_open(name: &SegmentName) -> Result<Option<Self>, SegmentError> {
        let foreign = |reason: String| SegmentError::Foreign { name: name.clone(), reason };
        let size = fs::metadata(name.path()).map_err(|error| io_error(name, "opening", error))?.len();
        if size == 0 {
            return Ok(None);
        }
        if size < HEADER_BYTES as u64 {
            return Err(foreign(format!("it has {size} bytes")));
        }
        let mapped = match ShmemConf::new().os_id(name.as_str()).open() {
            // It was replaced since, by one that has no size yet: such a one cannot be mapped.
            Err(ShmemError::MapOpenFailed(errno)) if errno == Errno::EINVAL as u32 => return Ok(None),
            mapped => mapped.map_err(|error| shmem_error(name, "opening", error))?,
        };
        let mapping = Mapping::new(mapped);
        let memory = Place::whole(&mapping);
        if memory.bytes() < HEADER_BYTES {
            return Err(foreign("it is too short".to_owned()));
        }
        // First, for the rest is only there to be read once this says so.
        let state = u32::load(atomic::<u32>(&memory.part(STATE_OFFSET, 4), 0));
        let header: Header = read_structure(&memory).ok_or_else(|| foreign("it is too short".to_owned()))?;
        // The header may be arriving at this moment, byte by byte.
        let arriving = |(&byte, &last): (&u8, &u8)| byte == 0 || byte == last;
        if state == 0 && header.magic.iter().zip(&MAGIC).all(arriving) {
            return Ok(None);
        }
        if header.magic != MAGIC {
            return Err(foreign("its first bytes are not SHMPROC".to_owned()));
        }
        if header.layout_version != LAYOUT_VERSION {
            return Err(foreign(format!(
                "its layout is version {}, not {LAYOUT_VERSION}",
                header.layout_version
            )));
        }
        if state != READY {
            return Err(foreign(format!("its state is {state}")));
        }
        let bytes = memory.bytes();
        let count = header.object_count as usize;
        let directory = count.checked_mul(ENTRY_BYTES).and_then(|bytes| bytes.checked_add(HEADER_BYTES));
        if header.total_bytes != bytes as u64 || directory.is_none_or(|end| end > bytes) {
            return Err(foreign(format!("its header does not fit its {bytes} bytes")));
        }
        let object = |index: usize| {
            let entry = memory.part(HEADER_BYTES + index * ENTRY_BYTES, ENTRY_BYTES);
            let object = read_structure::<Entry>(&entry).and_then(|entry| Object::from_entry(&entry, bytes));
            object.ok_or_else(|| foreign(format!("its directory entry {index} makes no sense")))
        };
        let objects = (0..count).map(object).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Self { name: name.clone(), header, objects: objects.into(), memory, _claim: None }))
    }

    /// Removes the entry of a segment whose creator and its children are gone, so that the name can be used again. Whether
    /// there was one.
    ///
    /// # Errors
    /// [`SegmentError::InUse`] when any of them lives; [`SegmentError::Foreign`] when the entry is none of ours (remove it by
    /// hand); or what the system says.
    pub fn reclaim(name: &SegmentName) -> Result<bool, SegmentError> {
        let creator = match Self::open_finished(name) {
            Ok(Some(segment)) => segment.header.creator_pid,
            Ok(None) if is_unfinished(name) => {
                // Its creator is slow, not dead, or it is another program's that has written nothing yet.
                if let Some(pid) = inode(name).map(attached).unwrap_or_default().first() {
                    let creator = pid.as_raw().cast_unsigned();
                    return Err(SegmentError::InUse { name: name.clone(), creator });
                }
                0
            }
            // Another program's after all, or somebody was faster and has made a new one.
            Ok(None) => match Self::try_open(name) {
                Ok(Some(segment)) => segment.header.creator_pid,
                Ok(None) => return Err(never_finished(name)),
                Err(SegmentError::NotFound { .. }) => return Ok(false),
                Err(error) => return Err(error),
            },
            Err(SegmentError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let entry = match File::open(name.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(|error| io_error(name, "opening", error))?,
        };
        match entry.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SegmentError::InUse { name: name.clone(), creator }),
            Err(TryLockError::Error(error)) => return Err(io_error(name, "locking", error)),
        }
        // Between opening and locking somebody else may have reclaimed it and made a new one of the same name.
        let locked = entry.metadata().map_err(|error| io_error(name, "examining", error))?.ino();
        if inode(name) != Some(locked) {
            return Self::reclaim(name);
        }
        shm_unlink(name.as_str()).map_err(|errno| system(name, "removing", errno))?;
        Ok(true)
    }

    /// Its name.
    pub fn name(&self) -> &SegmentName {
        &self.name
    }

    /// What is inside, in the order of the directory.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The process that made it. It may be gone, and another may have its number: compare with
    /// [`creator_is_alive`](Self::creator_is_alive).
    pub fn creator(&self) -> Pid {
        Pid::from_raw(self.header.creator_pid.cast_signed())
    }

    /// Whether the process that made it lives: same number and same start time.
    pub fn creator_is_alive(&self) -> bool {
        start_ticks(self.creator()) == Some(self.header.creator_start_ticks)
    }

    /// When it was made.
    pub fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.header.created_unix_ms)
    }

    /// The lock of this name.
    ///
    /// # Errors
    /// [`SegmentError::Object`] when there is none; so for the other kinds, also when the type differs.
    pub fn lock(&self, name: &str) -> Result<Lock, SegmentError> {
        self.object(name, ObjectKind::Lock, ElementType::U8, Some(0)).map(Lock::new)
    }

    /// The value of this name.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn value<T: Shareable>(&self, name: &str) -> Result<Value<T>, SegmentError> {
        let length = size_of::<T>() / T::ELEMENT.size();
        self.object(name, ObjectKind::Value, T::ELEMENT, Some(length)).map(|place| Value::new(&place))
    }

    /// The raw value of this name.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn raw_value<T: AtomicElement>(&self, name: &str) -> Result<RawValue<T>, SegmentError> {
        self.object(name, ObjectKind::RawValue, T::ELEMENT, Some(1)).map(RawValue::new)
    }

    /// The array of this name.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn array<T: Shareable>(&self, name: &str) -> Result<Array<T>, SegmentError> {
        self.object(name, ObjectKind::Array, T::ELEMENT, None).map(|place| Array::new(&place))
    }

    /// The raw array of this name.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn raw_array<T: AtomicElement>(&self, name: &str) -> Result<RawArray<T>, SegmentError> {
        self.object(name, ObjectKind::RawArray, T::ELEMENT, None).map(RawArray::new)
    }

    /// The bytes of an object of this segment.
    pub(crate) fn place(&self, object: &Object) -> Place {
        self.memory.part(object.offset, object.bytes)
    }

    fn object(
        &self,
        name: &str,
        kind: ObjectKind,
        element: ElementType,
        length: Option<usize>,
    ) -> Result<Place, SegmentError> {
        let fits = |object: &&Object| {
            object.name == name
                && object.kind == kind
                && object.element == element
                && length.is_none_or(|length| object.length == length)
        };
        self.objects.iter().find(fits).map(|object| self.place(object)).ok_or_else(|| SegmentError::Object {
            name: self.name.clone(),
            object: name.to_owned(),
            wanted: format!("{kind} of {element}"),
        })
    }
}

impl Claim {
    /// Locks the entry of a segment just made and mapped, and reserves its pages.
    fn stake(name: &SegmentName, bytes: usize) -> Result<Self, SegmentError> {
        let entry = shm_open(name.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
        let entry = File::from(entry.map_err(|errno| system(name, "opening", errno))?);
        // Before this lock anybody may take the entry for a dead creator's: remove it, and make another of the name.
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
        // From here on the entry is ours, and an error below removes it by dropping this.
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
    /// Removes the entry, in the process that made it only: a forked child that drops its copy must not.
    fn drop(&mut self) {
        if getpid() == self.creator {
            if inode(&self.name) == Some(self.inode) {
                let _ = shm_unlink(self.name.as_str());
            }
            forget_segment(self.inode);
        }
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes())
    }
}

/// Whether the entry was made and never finished: nothing written at all, or a header that is not declared ready.
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
    // Opening anything but a file might wait: a pipe, for its writer.
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

fn never_finished(name: &SegmentName) -> SegmentError {
    SegmentError::Foreign { name: name.clone(), reason: "it was never finished".to_owned() }
}

fn inode(name: &SegmentName) -> Option<u64> {
    fs::metadata(name.path()).ok().map(|metadata| metadata.ino())
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn io_error(name: &SegmentName, action: &'static str, source: io::Error) -> SegmentError {
    match source.kind() {
        io::ErrorKind::NotFound => SegmentError::NotFound { name: name.clone() },
        _ => SegmentError::System { action, name: name.clone(), source },
    }
}

fn system(name: &SegmentName, action: &'static str, errno: Errno) -> SegmentError {
    io_error(name, action, errno.into())
}

fn shmem_error(name: &SegmentName, action: &'static str, error: ShmemError) -> SegmentError {
    let errno = match error {
        ShmemError::MappingIdExists | ShmemError::LinkExists => {
            return SegmentError::Exists { name: name.clone() };
        }
        ShmemError::MapCreateFailed(errno)
        | ShmemError::MapOpenFailed(errno)
        | ShmemError::UnknownOsError(errno) => errno,
        other => {
            return SegmentError::System {
                action,
                name: name.clone(),
                source: io::Error::other(other.to_string()),
            };
        }
    };
    io_error(name, action, io::Error::from_raw_os_error(errno.cast_signed()))
}
