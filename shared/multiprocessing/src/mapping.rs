//! A piece of shared memory mapped into this process, and the places inside it.
#![allow(unsafe_code)]

use std::sync::Arc;

use shared_memory::Shmem;

/// Mapped shared memory. It stays mapped as long as any handle to anything inside lives.
pub(crate) struct Mapping {
    memory: Shmem,
}

// SAFETY: the mapping is plain memory of the whole process; `Shmem` is not Send only because it holds a raw pointer. All
// access goes through atomics or under a lock (see `cell` and `mutex`), and unmapping happens once, in the last owner's drop.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Takes over mapped memory. It is never removed from `/dev/shm` by this: the crate's own ownership would unlink the
    /// entry under everybody when a forked child drops its copy.
    pub(crate) fn new(mut memory: Shmem) -> Arc<Self> {
        memory.set_owner(false);
        Arc::new(Self { memory })
    }

    /// Bytes mapped.
    pub(crate) fn bytes(&self) -> usize {
        self.memory.len()
    }

    fn start(&self) -> *mut u8 {
        self.memory.as_ptr()
    }
}

/// A range of a mapping that is known to lie inside it.
#[derive(Clone)]
pub(crate) struct Place {
    /// Keeps it mapped.
    mapping: Arc<Mapping>,
    /// Kept, though it follows from the mapping: finding it again takes a twentieth of the time of a locked increment.
    start: *mut u8,
    bytes: usize,
}

// SAFETY: as for the mapping; the pointer is into it, and the same in all threads.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    /// All of a mapping.
    pub(crate) fn whole(mapping: &Arc<Mapping>) -> Self {
        Self { mapping: Arc::clone(mapping), start: mapping.start(), bytes: mapping.bytes() }
    }

    /// A range inside this one.
    ///
    /// # Panics
    /// When it is not inside: offsets come from the layout, so that would be a bug here.
    pub(crate) fn part(&self, offset: usize, bytes: usize) -> Self {
        assert!(offset.checked_add(bytes).is_some_and(|end| end <= self.bytes), "part outside of its place");
        // SAFETY: the offset lies inside this place, checked above, which lies inside the mapping.
        let start = unsafe { self.start.add(offset) };
        Self { mapping: Arc::clone(&self.mapping), start, bytes }
    }

    /// Bytes of the range.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the range starts in this process. Valid for reads and writes of [`bytes`](Self::bytes) bytes while `self` lives.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }
}
