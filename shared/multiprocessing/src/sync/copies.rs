//! Two copies of some data and the lock that guards them. One copy is whole at every moment, at
//! whatever point a process is killed.

use crate::memory::cell::word;
use crate::memory::layout::LOCK_BYTES;
use crate::sync::lock::Lock;
use crate::sys::atomic::{Ordering, fence};
use crate::sys::mapping::Place;

/// A lock block and two copies behind it. The current copy is number `version % 2`. A change is
/// written to the other one and committed by one store to the version.
#[derive(Clone)]
pub(crate) struct Copies {
    lock: Lock,
    copies: [Place; 2],
}

impl Copies {
    /// Returns the copies that fill the place behind its lock block.
    pub(crate) fn new(place: &Place) -> Self {
        let bytes = (place.bytes() - LOCK_BYTES) / 2;
        let copy = |index: usize| place.part(LOCK_BYTES + index * bytes, bytes);
        Self { lock: Lock::at(place.part(0, LOCK_BYTES)), copies: [copy(0), copy(1)] }
    }

    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Returns the result of `read` for the current copy. Takes no lock and never waits for a
    /// holder. Calls `read` again if a commit has overlapped with it.
    pub(crate) fn read<R>(&self, read: impl Fn(&Place) -> R) -> R {
        let version = &self.lock.block().version;
        loop {
            let before = version.load(Ordering::Acquire);
            let value = read(self.copy(before));
            // Commit number `before + 2` is the first to write to the copy that was read, and it
            // starts only after `before + 1` is done. So an unchanged version means that nothing
            // was written there meanwhile.
            fence(Ordering::Acquire);
            if version.load(Ordering::Relaxed) == before {
                return value;
            }
        }
    }

    /// Returns the current copy. The caller holds the lock.
    #[inline]
    pub(crate) fn current(&self) -> &Place {
        // This load only serves to fill the cache. Both copies of a small value are in one line.
        // Its address does not depend on the version, so that line comes from the last holder's
        // processor together with the version's line and not after it. Under contention an update
        // takes a sixth less time.
        word(&self.copies[0], 0).load(Ordering::Relaxed);
        self.copy(self.lock.block().version.load(Ordering::Acquire))
    }

    /// Lets `write` fill the other copy, and makes that the current one. The caller holds the lock.
    pub(crate) fn commit(&self, write: impl FnOnce(&Place)) {
        let version = &self.lock.block().version;
        let next = version.load(Ordering::Relaxed).wrapping_add(1);
        // Pairs with the fence in `read`: a reader that sees one of the words below also sees the
        // version before them.
        fence(Ordering::Release);
        write(self.copy(next));
        version.store(next, Ordering::Release);
    }

    fn copy(&self, version: u64) -> &Place {
        &self.copies[(version % 2) as usize]
    }
}
