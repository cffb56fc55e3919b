//! The bytes of a segment: a header, a directory of the named objects, the objects. This page is
//! for authors of readers in other languages.
//!
//! All numbers are in the byte order of the machine (little-endian on x86-64 and AArch64). A reader
//! ignores reserved bytes and a writer sets them to 0: a later version may give them a meaning,
//! with 0 for "unknown".
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 8 | magic `SHMPROC` and NUL |
//! | 8 | 4 | layout version, now 3 |
//! | 12 | 4 | state: 0 being made, 1 ready, 2 removed, see below |
//! | 16 | 8 | bytes of the whole segment |
//! | 24 | 4 | number of objects |
//! | 28 | 4 | pid of the creator |
//! | 32 | 8 | start time of the creator, clock ticks since boot (field 22 of `/proc/PID/stat`) |
//! | 40 | 8 | time of creation, milliseconds since 1970 |
//! | 48 | 8 | the creator's pid namespace: the inode of `/proc/PID/ns/pid`; 0 if unknown |
//! | 56 | 8 | the creator's time namespace, likewise |
//! | 64 | 4 | image of the creator: the program that it executes, see below |
//! | 68 | 4 | reserved, 0 |
//! | 72 | 8 | generation, see below; 0 if unknown |
//! | 80 | 48 | reserved, 0 |
//! | 128 | 128 each | directory entries |
//!
//! The generation is the time of creation, in nanoseconds since 1970, or one more than that of the
//! segment that this one replaced, whichever is larger. The state becomes 2 just before the library
//! removes the entry in `/dev/shm`, where new programs can no longer meet those that have opened
//! the segment.
//!
//! A directory entry:
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 32 | name, padded with NUL |
//! | 32 | 4 | kind |
//! | 36 | 4 | element type |
//! | 40 | 8 | length |
//! | 48 | 8 | offset of the object in the segment |
//! | 56 | 8 | bytes of the object |
//! | 64 | 8 | fingerprint of the type, see below; 0 if unknown |
//! | 72 | 8 | offset of the schema in the segment; 0 if there is none |
//! | 80 | 8 | bytes of the schema |
//! | 88 | 40 | reserved, 0 |
//!
//! The schema describes the type of a value, of an element of an array or of a message of a queue.
//! For a number it is the name of the type, such as `u64`. For a structure it lists the fields:
//! `{bets:u64@0,name:u8*16@8}` has a number at offset 0 and an array of 16 bytes at offset 8. The
//! type of a field may be a structure again. An array has the schema of its elements. The
//! fingerprint is the 64-bit FNV-1a hash of the schema. Only the schemas of structures are stored,
//! behind the objects, because the element type names all others. The other kinds have neither.
//!
//! Version 1 had headers and entries of 64 bytes. Version 2 named a process without its image. Both
//! are refused, and can be reclaimed.
//!
//! Every object starts at a multiple of 64 bytes, the size of a cache line, so that processes that
//! write to neighbouring objects do not slow each other down:
//!
//! - **Lock** (1): a lock block. That is a `pthread_mutex_t` (48 bytes reserved; the first four are
//!   the holder's thread id, by the kernel's robust futex rules), recoveries u64, version u64.
//! - **Value** (2): a lock block, then two copies of the value, each padded to 8 bytes. The current
//!   copy is number `version % 2`.
//! - **RawValue** (3): the value.
//! - **Array** (4): a lock block, then the elements.
//! - **RawArray** (5): the elements.
//! - **RLock** (6): a lock block. Its version is the holder's depth.
//! - **Semaphore** (7): a record. Numbers: free units, most free units, units recovered from dead
//!   processes. Row: count = units held.
//! - **BoundedSemaphore** (8): as Semaphore.
//! - **Event** (9): one u32. Bit 0 is 1 if it is set, and the other bits count the changes.
//! - **Condition** (10): a record. Numbers: tickets given out, notifications passed on. Row: count
//!   = 0 while it waits, the next ticket at that moment once it is notified; mark = its ticket.
//!   The directory does not name its lock.
//! - **Barrier** (11): a record. Numbers: parties, arrived, generation, rounds, breaks, generation
//!   of the last break, cause of that break. Row: mark = the round it is a party of. Bits 0 to 7 of
//!   the cause are 0 none, 1 aborted, 2 timeout, 3 a party died, 4 the action failed, 5 reset. Of a
//!   dead party the pid is above them. Bit 63 is 1 until a reset.
//! - **Queue** (12): a record without rows, then the ring. Numbers: elements of a message, messages
//!   put, messages taken, 16 bytes unused, and the waiters. In these, bits 0 to 15 count the
//!   sleepers for room, bits 16 to 31 the sleepers for a message, and bit 32 is 1 if the queue is
//!   closed. The ring has as many places as the capacity, each for one message padded to 8 bytes.
//!   Message number `n`, from 0, is at `n` modulo the capacity. A put, a get and a close each
//!   change one number of the current copy, in one store, and leave the version. To see all numbers
//!   of one moment, a reader compares the messages taken before and after it reads the rest.
//! - **JoinableQueue** (13): as Queue, with rows. A get switches the copies. The bytes that are
//!   unused in a Queue hold: tasks finished (done or lost), tasks lost u32, number of times that
//!   the last unfinished task was finished u32. Bit 33 of the waiters is 1 if a process may be
//!   sleeping until that happens. Row: count = tasks in progress.
//! - **MessageQueue** (14): a record without rows, then a ring of bytes. Numbers: bytes of the
//!   longest message, bytes put, bytes taken, messages put, messages taken, and the waiters as of a
//!   Queue, which change in place. A message is its length (u64) and its bytes, padded to 8 bytes.
//!   A message that is put at byte `n`, from 0, starts at `n` modulo the bytes of the ring, and
//!   continues at the start of the ring where that ends.
//!
//! A record is a lock block, two copies as of a Value, and the signal line. The signal line is a
//! u32 that counts announcements and that processes sleep on, 4 bytes unused, a u64 with the time
//! of the last search for dead processes (milliseconds of the monotonic clock), and 48 bytes
//! unused. Each copy is 64 bytes of numbers (u64; the last one is the number of rows in use), then
//! the rows: pid u32, image u32, start time u64, count u64, mark u64. The image is a number made of
//! the start addresses of code and stack (fields 26 and 28 of `/proc/PID/stat`), which change when
//! the process executes another program. It is 0 if they are unknown.
//!
//! The length of an object is the number of elements; of a record, the number of rows it has room
//! for; of a queue, the number of elements in its ring, padding included. The bytes of a joinable
//! queue beyond those of its ring and its numbers are rows.

mod element_type;
mod kind;
mod schema;
mod structure;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use self::element_type::{ElementType, Scalar};
pub use self::kind::ObjectKind;
pub(crate) use self::kind::{Shape, kinds};
pub use self::schema::structure;
pub(crate) use self::schema::{fingerprint, is_structure};
pub(crate) use self::structure::structures;
pub use self::structure::{FieldValue, Structure};
pub(crate) use crate::sys::orphans::{REMOVED, STATE_OFFSET};

/// First bytes of every segment of this library.
pub(crate) const MAGIC: [u8; 8] = *b"SHMPROC\0";
/// Version of everything this module describes.
pub(crate) const LAYOUT_VERSION: u32 = 3;
/// State of the header when all objects are initialised.
pub(crate) const READY: u32 = 1;
/// Bytes of a lock block.
pub(crate) const LOCK_BYTES: usize = 64;
/// Bytes of the numbers of a record.
pub(crate) const HEAD_BYTES: usize = 64;
/// Bytes of the signal line of a record.
pub(crate) const SIGNAL_BYTES: usize = 64;
/// Bytes of a row of a record.
pub(crate) const ROW_BYTES: usize = 32;
/// Every object starts at a multiple of this.
pub(crate) const ALIGNMENT: usize = 64;
/// Longest name of an object. Its field holds one NUL more.
pub(crate) const MAX_OBJECT_NAME_BYTES: usize = 31;

/// The first bytes, which are the same in every version of the layout. The state follows. It is
/// read alone, because it may be changing.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Preamble {
    pub(crate) magic: [u8; 8],
    pub(crate) layout_version: u32,
}

/// The first 128 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: [u8; 8],
    pub(crate) layout_version: u32,
    pub(crate) state: u32,
    pub(crate) total_bytes: u64,
    pub(crate) object_count: u32,
    pub(crate) creator_pid: u32,
    pub(crate) creator_start_ticks: u64,
    pub(crate) created_unix_ms: u64,
    pub(crate) pid_namespace: u64,
    pub(crate) time_namespace: u64,
    pub(crate) creator_image: u32,
    pub(crate) unused: u32,
    pub(crate) generation: u64,
    pub(crate) reserved: [u8; 48],
}

/// One directory entry.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Entry {
    name: [u8; 32],
    kind: u32,
    element: u32,
    length: u64,
    offset: u64,
    bytes: u64,
    fingerprint: u64,
    pub(crate) schema_offset: u64,
    pub(crate) schema_bytes: u64,
    reserved: [u8; 40],
}

/// Bytes of the preamble with the state.
pub(crate) const PREAMBLE_BYTES: usize = STATE_OFFSET + 4;
pub(crate) const HEADER_BYTES: usize = size_of::<Header>();
pub(crate) const ENTRY_BYTES: usize = size_of::<Entry>();
/// Offset of the creator's pid in a header, the same in every version of the layout.
pub(crate) const CREATOR_OFFSET: usize = std::mem::offset_of!(Header, creator_pid);
const _: () = assert!(PREAMBLE_BYTES == 16 && HEADER_BYTES == 128 && ENTRY_BYTES == 128);
const _: () = assert!(CREATOR_OFFSET == 28 && size_of::<Preamble>() == STATE_OFFSET);

/// One named object of a segment, as the directory describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Object {
    /// Its name, unique in the segment.
    pub name: String,
    /// Its kind.
    pub kind: ObjectKind,
    /// The type of its elements; `U8` for a lock.
    pub element: ElementType,
    /// Number of elements. 0 for a lock. For a semaphore, condition or barrier, the number of
    /// processes that can take part. For a queue, the elements in its ring, where each message is
    /// padded to 8 bytes.
    pub length: usize,
    /// Where it starts in the segment, in bytes.
    pub offset: usize,
    /// Its size in bytes, with the lock.
    pub bytes: usize,
    /// The fields of the structure that its value, its elements or its messages are, such as
    /// `{bets:u64@0,name:u8*16@8}`: names, types, numbers of elements and offsets. `None` if they
    /// are numbers.
    pub fields: Option<String>,
    /// The fingerprint of the type; 0 if it is unknown.
    pub(crate) fingerprint: u64,
}

impl Object {
    /// Returns the directory entry of the object. The schema is at this offset, if there is one.
    pub(crate) fn entry(&self, schema_offset: usize) -> Entry {
        let schema_bytes = self.fields.as_ref().map_or(0, String::len);
        let mut name = [0; 32];
        name[..self.name.len()].copy_from_slice(self.name.as_bytes());
        Entry {
            name,
            kind: self.kind as u32,
            element: self.element as u32,
            length: self.length as u64,
            offset: self.offset as u64,
            bytes: self.bytes as u64,
            fingerprint: self.fingerprint,
            schema_offset: if schema_bytes > 0 { schema_offset as u64 } else { 0 },
            schema_bytes: schema_bytes as u64,
            reserved: [0; 40],
        }
    }

    /// Reads a directory entry of a segment of `total` bytes, without the fields. Returns `None` if
    /// it is invalid, because any process that can write the segment can write the directory.
    pub(crate) fn from_entry(entry: &Entry, total: usize) -> Option<Self> {
        let name_bytes = entry.name.iter().position(|&byte| byte == 0)?;
        let kind = ObjectKind::from_code(entry.kind)?;
        let object = Self {
            name: std::str::from_utf8(&entry.name[..name_bytes]).ok()?.to_owned(),
            kind,
            element: ElementType::from_code(entry.element)?,
            length: usize::try_from(entry.length).ok()?,
            offset: usize::try_from(entry.offset).ok()?,
            bytes: usize::try_from(entry.bytes).ok()?,
            fields: None,
            fingerprint: entry.fingerprint,
        };
        let sized = kind.takes(object.bytes, object.element, object.length);
        let inside = object.offset.checked_add(object.bytes).is_some_and(|end| end <= total);
        let behind_header =
            object.offset >= HEADER_BYTES && object.offset.is_multiple_of(ALIGNMENT);
        (sized && inside && behind_header).then_some(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Plan;

    fn plan() -> Plan {
        Plan::new()
            .lock("l")
            .value::<u64>("v")
            .raw_array::<u16>("a", 33)
            .array::<f64>("b", 3)
            .value::<[u64; 5]>("w")
            .participants(3)
            .joinable_queue::<u64>("q", 2)
    }

    #[test]
    fn an_entry_reads_back_as_the_object_it_was_made_from() {
        let (objects, total) = plan().laid_out().unwrap();
        for object in objects {
            assert_eq!(Object::from_entry(&object.entry(0), total), Some(object));
        }
    }

    #[test]
    fn entries_with_a_wrong_place_or_size_are_refused() {
        let (objects, total) = plan().laid_out().unwrap();
        let good = objects[1].entry(0);
        let lies = [
            Entry { offset: total as u64, ..good },
            Entry { offset: u64::MAX - 8, ..good },
            Entry { offset: good.offset + 8, ..good },
            Entry { offset: 0, ..good },
            Entry { length: u64::MAX, ..good },
            Entry { bytes: good.bytes + 8, ..good },
            Entry { kind: 99, ..good },
            Entry { element: 99, ..good },
            Entry { name: [b'x'; 32], ..good },
        ];
        for lie in lies {
            assert_eq!(Object::from_entry(&lie, total), None, "{lie:?}");
        }
    }

    #[test]
    fn a_joinable_queue_has_whole_rows_besides_its_ring() {
        let (objects, total) = plan().laid_out().unwrap();
        let good = objects[5].entry(0);
        assert_eq!(
            good.bytes as usize,
            LOCK_BYTES + 2 * (HEAD_BYTES + 3 * ROW_BYTES) + SIGNAL_BYTES + 2 * 8
        );
        for (length, bytes, is_one) in [
            (good.length, good.bytes - 64, true),
            (good.length + 8, good.bytes, true),
            (good.length, good.bytes - 8, false),
            (good.length + 1, good.bytes, false),
            (good.length, good.bytes - 4 * 64, false),
            (good.length, good.bytes + 64, false),
        ] {
            let entry = Entry { length, bytes, ..good };
            assert_eq!(Object::from_entry(&entry, total).is_some(), is_one, "{entry:?}");
        }
    }
}
