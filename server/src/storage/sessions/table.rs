//! Where the slot of a session is: a hash table with a fixed number of buckets.
//!
//! A session is in the first of its buckets that had a free slot when its first batch was stored.
//! Sessions are never removed, except those that were placed last, when a start finds that their
//! batches are not stored. So a search ends at the first bucket with a free slot. Each further
//! bucket of a session depends on its own hash, so sessions that collide in one bucket are spread
//! over others.

use super::super::journal::header::hash;
use super::PAGE_BYTES;
use super::slot::{SLOT_BYTES, Slot};

/// Largest number of sessions. Tests need few, and open many files.
pub const MAX_SESSIONS: usize = if cfg!(any(test, fuzzing)) { 64 } else { 16_384 };
/// Slots of a bucket.
const SLOTS: usize = 4;
/// Size of a bucket: that of a sector, which a disk writes whole.
pub const BUCKET_BYTES: usize = SLOTS * SLOT_BYTES;
/// Number of buckets. At most half of the slots are ever used.
const BUCKETS: usize = 2 * MAX_SESSIONS / SLOTS;
/// Size of the table.
pub const TABLE_BYTES: usize = BUCKETS * BUCKET_BYTES;
/// Number of pages of the table.
pub const PAGES: usize = TABLE_BYTES.div_ceil(PAGE_BYTES as usize);
/// Buckets that a search looks at. At most half of all buckets are full, so it practically never
/// needs all of these.
const PROBES: u8 = 64;

/// A slot and its place.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Offset of the slot in the table.
    pub at: usize,
    /// What is in it.
    pub slot: Slot,
}

/// Returns the slot of a session, or the free slot for it if it is new. Returns `None` if there is
/// no room. `bucket` reads the bucket at an offset in the table.
pub fn find<E>(
    session: &[u8; 16],
    mut bucket: impl FnMut(usize) -> Result<[u8; BUCKET_BYTES], E>,
) -> Result<Option<Place>, E> {
    for probe in 0..PROBES {
        let start = bucket_of(session, probe) * BUCKET_BYTES;
        let mut free = None;
        for (bytes, at) in bucket(start)?.as_chunks().0.iter().zip((start..).step_by(SLOT_BYTES)) {
            let place = Place { at, slot: Slot::parse(bytes) };
            match place.slot.newest() {
                Some(entry) if entry.key.session == *session => return Ok(Some(place)),
                None if free.is_none() => free = Some(place),
                _ => {}
            }
        }
        if free.is_some() {
            return Ok(free);
        }
    }
    Ok(None)
}

/// Returns the number of a bucket of a session.
fn bucket_of(session: &[u8; 16], probe: u8) -> usize {
    let mut bytes = [probe; 17];
    bytes[..16].copy_from_slice(session);
    hash(&bytes) as usize % BUCKETS
}
