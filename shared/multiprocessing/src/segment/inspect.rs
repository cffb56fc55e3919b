//! Inspection of segments from outside, without locks and without stopping a process: creators,
//! users and contents.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::sync::atomic::Ordering;

use nix::unistd::Pid;

use super::access::Access;
use super::error::{SegmentError, io_error};
use super::{Segment, View};
use crate::memory::cell::{read_bytes, read_elements};
use crate::memory::layout::{
    LOCK_BYTES, MAGIC, Object, ObjectKind, Scalar, Shape, Structure, kinds, structures,
};
use crate::sync::copies::Copies;
use crate::sync::mutex::LockPlace;
use crate::sync::primitive::Primitive;
use crate::sys::mapping::Place;
use crate::sys::name::{DIRECTORY, SegmentName};
use crate::sys::proc::attached;

/// A segment of this library as `/dev/shm` lists it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listing {
    /// Its name.
    pub name: SegmentName,
    /// User id of its owner.
    pub owner: u32,
    /// Permission bits, such as 0o600.
    pub permissions: u32,
    /// Its size in bytes.
    pub bytes: u64,
    /// Processes that map it, as far as this user may see them. Their number is `nattch` in the
    /// terms of `ipcs`.
    pub attached: Vec<Pid>,
    /// The segment, or why it cannot be opened.
    pub segment: Result<View<Segment>, SegmentError>,
}

impl Listing {
    /// Returns true if the segment is no longer in use: its creator is gone and no process maps it.
    pub fn is_stale(&self) -> bool {
        self.attached.is_empty()
            && self.segment.as_ref().is_ok_and(|segment| !segment.creator_is_alive())
    }
}

/// What an object holds at the moment of the query.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The elements; none for a lock.
    pub elements: Vec<Scalar>,
    /// The structures that the elements are. None if they are numbers, or if the directory
    /// describes the fields in a way that makes no sense.
    pub structures: Vec<Structure>,
    /// The thread that holds the lock, and the number of repairs after dead holders. `None` for an
    /// object without a lock, and for one with a `state`.
    pub lock: Option<(Option<Pid>, u64)>,
    /// The state in words, for a primitive that processes wait for.
    pub state: Option<String>,
}

impl fmt::Display for Snapshot {
    /// `7574`, `[0, 2, 0]`, `{bets: 9}`, and for a pure lock `free` or `held by 4711`, followed by
    /// the holder of an object's lock and the number of recoveries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(state) = &self.state {
            return f.write_str(state);
        }
        match self.structures.as_slice() {
            [] => write_all(f, &self.elements)?,
            structures => write_all(f, structures)?,
        }
        let Some((holder, recoveries)) = self.lock else { return Ok(()) };
        match (holder, self.elements.is_empty()) {
            (Some(holder), true) => write!(f, "held by {holder}")?,
            (Some(holder), false) => write!(f, " (held by {holder})")?,
            (None, true) => f.write_str("free")?,
            (None, false) => {}
        }
        if recoveries > 0 {
            write!(f, " (recovered {recoveries} times)")?;
        }
        Ok(())
    }
}

/// Writes `7574` or `[0, 2, 0]`.
fn write_all(f: &mut fmt::Formatter<'_>, values: &[impl fmt::Display]) -> fmt::Result {
    match values {
        [] => Ok(()),
        [one] => one.fmt(f),
        many => {
            f.write_str("[")?;
            for (index, value) in many.iter().enumerate() {
                write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
            }
            f.write_str("]")
        }
    }
}

impl Segment {
    /// Returns what an object of this segment holds now. Takes no lock. Each raw number is whole,
    /// and so is a value. The elements of an [`Array`](crate::Array) are copied as they are, so one
    /// that its holder changes at this moment may be half changed.
    pub fn snapshot(&self, object: &Object) -> Snapshot {
        let place = self.place(object);
        let in_words = |state| Snapshot {
            elements: Vec::new(),
            structures: Vec::new(),
            lock: None,
            state: Some(state),
        };
        if let Some(state) = describe(&place, object) {
            return in_words(state);
        }
        let size = object.element.size();
        let data_bytes = size * object.length;
        let elements = match object.kind.shape() {
            Shape::Elements => Ok(read_elements(&place, size)),
            // A holder of the lock may be changing them through a reference.
            Shape::LockedElements => place.part(LOCK_BYTES, data_bytes).copy_by_kernel(),
            Shape::Copies => Ok(Copies::new(&place).read(|copy| read_bytes(copy, data_bytes))),
            Shape::Lock | Shape::Record | Shape::Ring | Shape::RingWithRows => Ok(Vec::new()),
        };
        let elements = match elements {
            Ok(elements) => elements,
            Err(errno) => return in_words(format!("not readable: {errno}")),
        };
        let fields = object.fields.as_ref();
        let structures = fields.and_then(|schema| structures(schema, &elements));
        let elements =
            elements.chunks_exact(size).map(|bytes| object.element.scalar(bytes)).collect();
        let lock = object.kind.has_lock().then(|| LockPlace::new(place)).map(|lock| {
            let block = lock.block();
            (block.holder(), block.recoveries.load(Ordering::Acquire))
        });
        Snapshot { elements, structures: structures.unwrap_or_default(), lock, state: None }
    }
}

/// Names the type of the handles of a kind. If it is generic, names the one for bytes.
macro_rules! of_bytes {
    ($module:ident::$kind:ident) => {
        crate::sync::$module::$kind
    };
    ($module:ident::$kind:ident $type:ident) => {
        crate::sync::$module::$kind<u8>
    };
}

macro_rules! descriptions {
    ($(
        $(#[$_doc:meta])*
        $_code:literal: $module:ident::$kind:ident $(<$type:ident: $_bound:ident>)?, $_shape:ident,
        $_method:ident($($_size:ident: $_size_type:ty)?) $(with ($($_with:tt)*))?;
    )*) => {
        /// Describes the state of an object in words, if it consists of more than elements and a
        /// lock.
        fn describe(place: &Place, object: &Object) -> Option<String> {
            match object.kind {
                $(
                    ObjectKind::$kind => {
                        <of_bytes!($module::$kind $($type)?) as Primitive>::describe(place, object)
                    }
                )*
            }
        }
    };
}
kinds!(descriptions);

impl Listing {
    /// Returns the segment of this name as `/dev/shm` lists it.
    ///
    /// # Errors
    /// [`SegmentError::NotFound`], or [`SegmentError::Foreign`] if it is not a segment of this
    /// library. A segment that cannot be opened is no error: see
    /// [`segment`](Self::segment).
    pub fn of(name: &SegmentName) -> Result<Self, SegmentError> {
        Self::read(name, Access::Private)
    }

    pub(super) fn read(name: &SegmentName, access: Access) -> Result<Self, SegmentError> {
        let metadata = fs::symlink_metadata(name.path());
        let metadata = metadata.map_err(|error| io_error(name, "examining", error))?;
        if !metadata.is_file() || !has_magic(name).map_err(|e| io_error(name, "reading", e))? {
            let reason = "its first bytes are not SHMPROC".to_owned();
            return Err(SegmentError::Foreign { name: name.clone(), reason });
        }
        let segment = View::open_now(name, access);
        Ok(Self {
            attached: attached(metadata.ino()),
            owner: metadata.uid(),
            permissions: metadata.mode() & 0o7777,
            bytes: metadata.len(),
            name: name.clone(),
            segment,
        })
    }
}

/// Returns every segment of this library in `/dev/shm` that this user may read, by name.
///
/// # Errors
/// If `/dev/shm` cannot be listed.
pub fn segments() -> std::io::Result<Vec<Listing>> {
    list(Access::Private)
}

pub(super) fn list(access: Access) -> std::io::Result<Vec<Listing>> {
    let mut listings = Vec::new();
    for entry in fs::read_dir(DIRECTORY)? {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| SegmentName::new(name).ok());
        // The entry may be gone since the listing, or no segment.
        listings.extend(name.and_then(|name| Listing::read(&name, access).ok()));
    }
    listings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(listings)
}

/// Returns true if an entry starts with the magic of this library.
fn has_magic(name: &SegmentName) -> std::io::Result<bool> {
    let mut start = [0; MAGIC.len()];
    // Another user may replace the entry by a pipe, which must not block this process.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let entry = File::options().read(true).custom_flags(flags).open(name.path())?;
    Ok(entry.read_exact_at(&mut start, 0).is_ok() && start == MAGIC)
}
