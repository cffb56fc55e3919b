//! A named segment: one process creates it, any other opens it by name, and its creator removes it
//! or a later process reclaims it.

mod access;
mod claim;
pub(crate) mod declaration;
#[cfg(doctest)]
mod declared;
mod error;
mod found;
mod inspect;
mod nameless;
mod plan;
mod reclaim;
mod table;
mod view;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::unistd::Pid;
use shared_memory::ShmemConf;
use zerocopy::IntoBytes;

use self::access::Access;
pub use self::access::SegmentOptions;
use self::claim::{Claim, inode};
pub use self::declaration::SharedState;
pub use self::error::SegmentError;
use self::error::{io_error, shmem_error, system};
use self::found::{MAKING, Opening};
pub use self::inspect::{Listing, Snapshot, segments};
pub use self::plan::Plan;
use self::reclaim::Reclaimed;
pub use self::view::View;
use crate::memory::cell::{atomic, write_bytes, write_words};
use crate::memory::element::{AtomicElement, Shareable, sealed::Atomic};
use crate::memory::layout::{
    ENTRY_BYTES, HEAD_BYTES, HEADER_BYTES, Header, LAYOUT_VERSION, LOCK_BYTES, MAGIC, Object,
    ObjectKind, READY, STATE_OFFSET, Shape, fingerprint, is_structure, kinds,
};
use crate::memory::state::is_removed;
use crate::sync::condition::ConditionLock;
use crate::sync::mutex::LockPlace;
use crate::sync::participant::Identity;
use crate::sync::primitive::Primitive;
use crate::sys::generation::watch_forks;
use crate::sys::mapping::{Mapping, Place};
use crate::sys::name::{DIRECTORY, SegmentName};
use crate::sys::namespaces::Namespaces;
use crate::sys::proc::{Stamp, stamp};

/// A named segment of POSIX shared memory with a directory of the objects inside.
///
/// Its creator and the children that it forks hold a `flock` on the entry as long as one of them
/// lives. An entry without that lock is stale. The entry is removed when the creating process drops
/// its last handle, or dies while children of it live. If the creator has ended and a child goes on
/// as a daemon, that child takes its place.
#[derive(Clone, Debug)]
pub struct Segment {
    name: SegmentName,
    /// The inode of its entry in `/dev/shm`.
    inode: u64,
    header: Header,
    objects: Arc<[Object]>,
    memory: Place,
    /// The creator's claim, which removes the entry when it is dropped. `None` in a process that
    /// opened the segment by name.
    _claim: Option<Arc<Claim>>,
}

impl Segment {
    /// Creates a segment with the planned objects, all zero. The entry must not exist. Only its
    /// owner can read and write it (mode 0600, whatever the umask). Its pages are reserved at once:
    /// too small a `/dev/shm` is an error here, not a SIGBUS later.
    ///
    /// # Errors
    /// [`SegmentError::Exists`] if the name is taken (see [`reclaim`](Self::reclaim)),
    /// [`SegmentError::Plan`], [`SegmentError::NoSpace`].
    pub fn create(name: &SegmentName, plan: &Plan) -> Result<Self, SegmentError> {
        Self::create_for(name, plan, Access::Private, 0)
    }

    /// Creates a segment for these users, with a generation after this one.
    fn create_for(
        name: &SegmentName,
        plan: &Plan,
        access: Access,
        replaced: u64,
    ) -> Result<Self, SegmentError> {
        let (own, namespaces) = prepare_process(name)?;
        let (objects, bytes) = plan.laid_out().map_err(SegmentError::Plan)?;
        // The claim needs two descriptors. Without room for them it would fail after the entry was
        // made, and leave the entry behind.
        let room = File::open(DIRECTORY).and_then(|one| Ok((one.try_clone()?, one)));
        let room = room.map_err(|error| io_error(name, "making room for", error))?;
        let mapped = ShmemConf::new().os_id(name.as_str()).size(bytes).create();
        let mapped = mapped.map_err(|error| shmem_error(name, "creating", error))?;
        let mapping = Mapping::new(mapped, namespaces, false);
        drop(room);
        let claim = Claim::stake(name, bytes, own, access)?;
        let memory = Place::whole(&mapping);
        let header = Header {
            magic: MAGIC,
            layout_version: LAYOUT_VERSION,
            state: 0,
            total_bytes: bytes as u64,
            object_count: objects.len() as u32,
            creator_pid: std::process::id(),
            creator_start_ticks: own.stamp().started,
            created_unix_ms: since_1970().as_millis() as u64,
            pid_namespace: namespaces.pid,
            time_namespace: namespaces.time,
            creator_image: own.stamp().image,
            unused: 0,
            generation: (since_1970().as_nanos() as u64).max(replaced.saturating_add(1)),
            reserved: [0; 48],
        };
        // One system call writes all of it, so if this process is killed, the entry has the whole
        // header or nothing.
        let written = claim.entry.write_all_at(header.as_bytes(), 0);
        written.map_err(|error| io_error(name, "writing the header of", error))?;
        let schemas = objects.iter().filter_map(|object| object.fields.as_ref());
        let mut schema_offset = bytes - schemas.map(String::len).sum::<usize>();
        for (index, (object, head)) in objects.iter().zip(plan.heads()).enumerate() {
            let entry = memory.part(HEADER_BYTES + index * ENTRY_BYTES, ENTRY_BYTES);
            write_bytes(&entry, object.entry(schema_offset).as_bytes());
            if let Some(schema) = &object.fields {
                write_bytes(&memory.part(schema_offset, schema.len()), schema.as_bytes());
                schema_offset += schema.len();
            }
            initialise(name, &memory.part(object.offset, object.bytes), object, head)?;
        }
        u32::store(atomic::<u32>(&memory.part(STATE_OFFSET, 4), 0), READY);
        Ok(Self {
            name: name.clone(),
            inode: claim.inode,
            header,
            objects: objects.into(),
            memory,
            _claim: Some(Arc::new(claim)),
        })
    }

    /// Opens the segment of this name, or creates it if there is none or its creator is dead.
    ///
    /// For a service that may restart, and for programs of which any may be the first. Exactly one
    /// caller creates the segment, even if many call this at the same time and some are killed in
    /// the middle. A segment whose creator and its children are gone is replaced by one with a
    /// higher [`generation`](Self::generation). The programs that opened the old one learn of it:
    /// see [`ensure_current`](Self::ensure_current).
    ///
    /// The plan counts only if this call creates the segment. A handle of another kind or type is
    /// an error, as after [`open`](Self::open).
    ///
    /// Takes up to a second if a creator was killed before it had finished.
    ///
    /// # Errors
    /// Those of [`create`](Self::create), [`open`](Self::open) and [`reclaim`](Self::reclaim).
    pub fn open_or_create(name: &SegmentName, plan: &Plan) -> Result<Self, SegmentError> {
        Self::open_or_create_for(name, plan, Access::Private)
    }

    fn open_or_create_for(
        name: &SegmentName,
        plan: &Plan,
        access: Access,
    ) -> Result<Self, SegmentError> {
        let in_use = |creator| SegmentError::InUse { name: name.clone(), creator };
        let mut removal = None;
        loop {
            let replaced = match Self::try_reclaim(name, access)? {
                Reclaimed::Nothing => 0,
                Reclaimed::Removed(generation) => generation,
                Reclaimed::BeingRemoved(creator) => {
                    // A process that takes longer is stopped.
                    if removal.get_or_insert_with(Instant::now).elapsed() >= MAKING {
                        return Err(in_use(creator));
                    }
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                Reclaimed::InUse(creator) => {
                    match Self::open_finished(name, Opening::to_use(access)) {
                        // Its creator has ended at this moment.
                        Err(SegmentError::NotFound { .. }) => continue,
                        // Its creator is stopped.
                        opened => return opened?.ok_or_else(|| in_use(creator)),
                    }
                }
            };
            // Another process may be faster. The kernel lets one of them create the entry.
            match Self::create_for(name, plan, access, replaced) {
                Err(SegmentError::Exists { .. }) => {}
                created => return created,
            }
        }
    }

    /// Returns its name.
    pub fn name(&self) -> &SegmentName {
        &self.name
    }

    /// Returns the objects, in the order of the directory.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Returns the process that created it. That process may be gone and its pid reused: see
    /// [`creator_is_alive`](Self::creator_is_alive).
    pub fn creator(&self) -> Pid {
        Pid::from_raw(self.header.creator_pid.cast_signed())
    }

    /// Returns true if the process that created it is alive and has not executed another program.
    /// Compares pid, start time, and where the kernel has put the program.
    pub fn creator_is_alive(&self) -> bool {
        let header = &self.header;
        let creator = Stamp { started: header.creator_start_ticks, image: header.creator_image };
        stamp(self.creator()).is_some_and(|now| !now.differs_from(creator))
    }

    /// Returns a number that is higher than that of every earlier segment of this name: the
    /// nanoseconds from 1970 to its creation, as long as the clock is not set back. 0 if it is
    /// unknown.
    pub fn generation(&self) -> u64 {
        self.header.generation
    }

    /// Fails if the entry in `/dev/shm` no longer leads to this segment: its creator has ended, or
    /// another process has replaced it. New programs open another segment, so this one is of no use
    /// any more. Costs one system call.
    ///
    /// A program that has opened the segment by name need not ask. Every wait for another process
    /// fails by itself, within 200 ms, with [`LockFailure::Removed`](crate::LockFailure::Removed):
    /// for a semaphore, an event, a condition, a barrier or a queue. A new handle is refused with
    /// the error of this function. What does not wait works on the old memory: locks, values and
    /// raw objects.
    ///
    /// # Errors
    /// [`SegmentError::Removed`].
    pub fn ensure_current(&self) -> Result<(), SegmentError> {
        let removed = || SegmentError::Removed { name: self.name.clone() };
        if self.has_entry() { Ok(()) } else { Err(removed()) }
    }

    /// Returns true if its entry in `/dev/shm` still leads to this segment. If another program has
    /// removed or replaced the entry, no process can open the segment any more.
    pub fn has_entry(&self) -> bool {
        inode(&self.name) == Some(self.inode)
    }

    /// Returns when it was created.
    pub fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.header.created_unix_ms)
    }

    /// Returns the bytes of an object of this segment.
    pub(crate) fn place(&self, object: &Object) -> Place {
        self.memory.part(object.offset, object.bytes)
    }

    /// Opens the object of this name, kind and element type with `open`.
    fn handle<P: Primitive>(
        &self,
        name: &str,
        kind: ObjectKind,
        open: impl FnOnce(Place, &Object) -> Option<P>,
    ) -> Result<P, SegmentError> {
        if is_removed(&self.memory) {
            return Err(SegmentError::Removed { name: self.name.clone() });
        }
        let named = self.objects.iter().find(|object| object.name == name);
        let schema = P::schema();
        // Another program may not know the type, only its elements.
        let is_known = |object: &&Object| schema.is_some() && object.fingerprint != 0;
        let expected = schema.as_deref().map_or(0, fingerprint);
        let fits = named.filter(|object| object.kind == kind && object.element == P::ELEMENT);
        let fits = fits.filter(|object| !is_known(object) || object.fingerprint == expected);
        fits.and_then(|object| open(self.place(object), object)).ok_or_else(|| {
            let has_elements = |object: &&Object| object.kind.shape() != Shape::Lock;
            let fields = |fields: Option<&String>| {
                fields.map(|fields| format!(", fields {fields}")).unwrap_or_default()
            };
            let found = named.map(|object| match has_elements(&object) {
                true => {
                    let Object { kind, element, length, .. } = object;
                    let fields = fields(object.fields.as_ref());
                    format!("{kind} of {element}, length {length}{fields}")
                }
                false => object.kind.to_string(),
            });
            let structure = schema.as_ref().filter(|schema| is_structure(schema));
            let wanted = match kind.shape() {
                Shape::Lock => kind.to_string(),
                _ => format!("{kind} of {}{}", P::wanted(), fields(structure)),
            };
            self.mismatch(name, wanted, found)
        })
    }

    fn mismatch(&self, object: &str, wanted: String, found: Option<String>) -> SegmentError {
        SegmentError::Object { name: self.name.clone(), object: object.to_owned(), wanted, found }
    }
}

macro_rules! handles {
    ($(
        $(#[$_doc:meta])*
        $_code:literal: $module:ident::$kind:ident $(<$type:ident: $bound:ident>)?, $_shape:ident,
        $method:ident($($_size:ident: $_size_type:ty)?) $(with ($with:ident: $with_type:ty))?;
    )*) => {
        /// One method for each kind of object. Each returns a handle, or [`SegmentError::Object`]
        /// if the segment has no object of this name, kind and type.
        #[allow(private_bounds)] // `ConditionLock` is an implementation detail of both locks.
        impl Segment {
            $(
                #[doc = concat!(
                    "Returns the [`", stringify!($kind), "`](crate::", stringify!($kind),
                    ") of this name."
                )]
                pub fn $method $(<$type: $bound>)? (
                    &self, name: &str $(, $with: $with_type)?
                ) -> Result<crate::sync::$module::$kind $(<$type>)?, SegmentError> {
                    self.handle(name, ObjectKind::$kind, |place, object| {
                        crate::sync::$module::$kind::open(place, object $(, $with)?)
                    })
                }
            )*
        }
    };
}
kinds!(handles);

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes())
    }
}

/// Gives a new object, all zeros, its lock and the first numbers of its record.
fn initialise(
    name: &SegmentName,
    place: &Place,
    object: &Object,
    head: &[u64; 2],
) -> Result<(), SegmentError> {
    if object.kind.has_lock() {
        let initialised = LockPlace::new(place.clone()).block().initialise();
        initialised.map_err(|errno| system(name, "making a lock in", errno))?;
    }
    if object.kind.has_record() {
        write_words(&place.part(LOCK_BYTES, HEAD_BYTES), 0, head);
    }
    Ok(())
}

/// Prepares this process for the use of segments. What may fail is done here, so that it cannot
/// fail in a primitive. Returns the identity of this process and its namespaces.
fn prepare_process(name: &SegmentName) -> Result<(Identity, Namespaces), SegmentError> {
    watch_forks().map_err(|errno| system(name, "preparing forks for", errno))?;
    let namespaces = Namespaces::read().map_err(|source| {
        let action = "finding out the namespaces for";
        SegmentError::System { action, name: name.clone(), source }
    })?;
    let own = Identity::own();
    let own = own.map_err(|errno| system(name, "identifying this process for", errno))?;
    Ok((own, namespaces))
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
