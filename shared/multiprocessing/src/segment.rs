//! A named segment: made by one process, found by name by any other, removed by its maker or reclaimed after it.

mod claim;
pub(crate) mod declaration;
#[cfg(doctest)]
mod declared;
mod error;
mod found;
mod inspect;
mod plan;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::unistd::{Pid, getpid};
use shared_memory::ShmemConf;
use zerocopy::IntoBytes;

use self::claim::Claim;
pub use self::declaration::SharedState;
pub use self::error::SegmentError;
use self::error::{io_error, shmem_error, system};
pub use self::inspect::{Listing, Snapshot, segments};
pub use self::plan::Plan;
use crate::memory::cell::{atomic, write_bytes, write_words};
use crate::memory::element::{AtomicElement, Shareable, elements_in, sealed::Atomic};
use crate::memory::layout::{
    ENTRY_BYTES, ElementType, HEAD_BYTES, HEADER_BYTES, Header, LAYOUT_VERSION, LOCK_BYTES, MAGIC,
    Object, ObjectKind, READY, STATE_OFFSET,
};
use crate::sync::array::{Array, RawArray};
use crate::sync::barrier::Barrier;
use crate::sync::condition::{Condition, ConditionLock};
use crate::sync::event::Event;
use crate::sync::lock::Lock;
use crate::sync::mutex::LockPlace;
use crate::sync::queue::{JoinableQueue, Queue};
use crate::sync::rlock::RLock;
use crate::sync::semaphore::{BoundedSemaphore, Semaphore};
use crate::sync::value::{RawValue, Value};
use crate::sys::mapping::{Mapping, Place};
use crate::sys::name::{DIRECTORY, SegmentName};
use crate::sys::proc::start_ticks;

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

impl Segment {
    /// Makes a segment with what is planned, all zero. The entry is made exclusively, readable and writable by its owner only
    /// (mode 0600), and its pages are reserved at once: too small a `/dev/shm` is an error here, not a SIGBUS later.
    ///
    /// # Errors
    /// [`SegmentError::Exists`] when the name is taken (see [`reclaim`](Self::reclaim)), [`SegmentError::Plan`],
    /// [`SegmentError::NoSpace`], or what the system says.
    pub fn create(name: &SegmentName, plan: &Plan) -> Result<Self, SegmentError> {
        let (objects, bytes) = plan.laid_out().map_err(SegmentError::Plan)?;
        // The claim needs two descriptors. Without room for them it would fail when there is an entry, and leave it behind.
        let room = File::open(DIRECTORY).and_then(|one| Ok((one.try_clone()?, one)));
        let room = room.map_err(|error| io_error(name, "making room for", error))?;
        let mapped = ShmemConf::new().os_id(name.as_str()).size(bytes).create();
        let mapping = Mapping::new(mapped.map_err(|error| shmem_error(name, "creating", error))?);
        drop(room);
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
            pid_namespace: 0,
            time_namespace: 0,
            reserved: [0; 64],
        };
        // In one system call: whenever this process is killed, there is nothing of the header or all of it.
        let written = claim.entry.write_all_at(header.as_bytes(), 0);
        written.map_err(|error| io_error(name, "writing the header of", error))?;
        for (index, (object, head)) in objects.iter().zip(plan.heads()).enumerate() {
            let entry = memory.part(HEADER_BYTES + index * ENTRY_BYTES, ENTRY_BYTES);
            write_bytes(&entry, object.entry().as_bytes());
            let place = memory.part(object.offset, object.bytes);
            if object.kind.has_lock() {
                let initialised = LockPlace::new(place.clone()).block().initialise();
                initialised.map_err(|errno| system(name, "making a lock in", errno))?;
            }
            if object.kind.has_record() {
                write_words(&place.part(LOCK_BYTES, HEAD_BYTES), 0, head);
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
        self.object(name, ObjectKind::Value, T::ELEMENT, Some(elements_in::<T>()))
            .map(|place| Value::new(&place))
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

    /// The event of this name.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn event(&self, name: &str) -> Result<Event, SegmentError> {
        self.object(name, ObjectKind::Event, ElementType::U32, Some(1)).map(Event::new)
    }

    /// The semaphore of this name.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn semaphore(&self, name: &str) -> Result<Semaphore, SegmentError> {
        self.object(name, ObjectKind::Semaphore, ElementType::U64, None).map(Semaphore::new)
    }

    /// The bounded semaphore of this name.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn bounded_semaphore(&self, name: &str) -> Result<BoundedSemaphore, SegmentError> {
        self.object(name, ObjectKind::BoundedSemaphore, ElementType::U64, None)
            .map(BoundedSemaphore::new)
    }

    /// The barrier of this name.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn barrier(&self, name: &str) -> Result<Barrier, SegmentError> {
        self.object(name, ObjectKind::Barrier, ElementType::U64, None).map(Barrier::new)
    }

    /// The re-entrant lock of this name.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn rlock(&self, name: &str) -> Result<RLock, SegmentError> {
        self.object(name, ObjectKind::RLock, ElementType::U8, Some(0)).map(RLock::new)
    }

    /// The condition of this name, for what this [`Lock`] or [`RLock`] guards.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    #[allow(private_bounds)] // An implementation detail; both kinds of locks have it.
    pub fn condition(
        &self,
        name: &str,
        lock: &impl ConditionLock,
    ) -> Result<Condition, SegmentError> {
        let place = self.object(name, ObjectKind::Condition, ElementType::U64, None)?;
        Ok(Condition::new(&place, lock))
    }

    /// The queue of this name.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn queue<T: Shareable>(&self, name: &str) -> Result<Queue<T>, SegmentError> {
        self.ring::<T, _>(name, ObjectKind::Queue, Queue::new)
    }

    /// The joinable queue of this name.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn joinable_queue<T: Shareable>(
        &self,
        name: &str,
    ) -> Result<JoinableQueue<T>, SegmentError> {
        self.ring::<T, _>(name, ObjectKind::JoinableQueue, JoinableQueue::new)
    }

    /// What `new` makes of a queue of this name and kind; it is told the bytes of the ring, and may find other messages there.
    fn ring<T: Shareable, Q>(
        &self,
        name: &str,
        kind: ObjectKind,
        new: impl FnOnce(&Place, usize) -> Option<Q>,
    ) -> Result<Q, SegmentError> {
        let object = self.expect(name, kind, T::ELEMENT, None)?;
        new(&self.place(object), T::ELEMENT.size() * object.length).ok_or_else(|| {
            self.no_object(
                name,
                format!("{kind} with messages of {} {}", elements_in::<T>(), T::ELEMENT),
            )
        })
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
        self.expect(name, kind, element, length).map(|object| self.place(object))
    }

    /// Returns the object of this name if it is what the caller expects.
    fn expect(
        &self,
        name: &str,
        kind: ObjectKind,
        element: ElementType,
        length: Option<usize>,
    ) -> Result<&Object, SegmentError> {
        let named = self.objects.iter().find(|object| object.name == name);
        let fits = |object: &&Object| {
            object.kind == kind
                && object.element == element
                && length.is_none_or(|length| object.length == length)
        };
        named.filter(fits).ok_or_else(|| {
            let wanted = describe(kind, element, length);
            self.no_object(name, wanted)
        })
    }

    fn no_object(&self, name: &str, wanted: String) -> SegmentError {
        let named = self.objects.iter().find(|object| object.name == name);
        let found = named.map(|it| describe(it.kind, it.element, Some(it.length)));
        SegmentError::Object { name: self.name.clone(), object: name.to_owned(), wanted, found }
    }
}

/// Describes an object for an error message: `RawArray of u16, length 4`.
fn describe(kind: ObjectKind, element: ElementType, length: Option<usize>) -> String {
    match length {
        _ if matches!(kind, ObjectKind::Lock | ObjectKind::RLock | ObjectKind::Event) => {
            kind.to_string()
        }
        Some(length) => format!("{kind} of {element}, length {length}"),
        None => format!("{kind} of {element}"),
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes())
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
