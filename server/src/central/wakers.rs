//! The descriptors that wake workers when the sync of another process has ended.

use std::sync::atomic::{Ordering, fence};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Central, Files, Shared};

/// Number of descriptors. Slots share them, because each one costs every worker a place for a
/// connection.
const WAKERS: usize = 4;

/// Eventfds that were created before the fork. A worker watches that of its slot edge-triggered.
/// They are never read: each write wakes the workers again. An overflow would take 2^64 writes.
#[derive(Debug)]
pub struct Wakers([EventFd; WAKERS]);

impl Wakers {
    /// Creates the descriptors of a central.
    pub fn new() -> Result<Self, Errno> {
        let new = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        Ok(Self([new()?, new()?, new()?, new()?]))
    }

    /// Returns the descriptor that wakes the worker in a slot.
    pub fn of(&self, slot: usize) -> &EventFd {
        &self.0[slot % WAKERS]
    }
}

impl Shared {
    /// Records that the worker in a slot waits for the end of a sync. The caller then tries the
    /// lock of `sync`: either it gets the lock, or the holder sees the record when it releases it.
    pub(super) fn await_sync(&self, slot: usize) {
        self.worker_awaits_sync.store(slot, 1);
        fence(Ordering::SeqCst);
    }
}

impl Central<Files> {
    /// Wakes the workers that wait for the end of a sync. The caller has released the lock of
    /// `sync`. If it dies before, the supervisor wakes them after the repair, and they look by
    /// themselves soon.
    pub(super) fn wake_waiters(&self) {
        fence(Ordering::SeqCst);
        let mut wakes = [false; WAKERS];
        for (slot, awaits) in self.shared.worker_awaits_sync.iter().enumerate() {
            wakes[slot % WAKERS] |= awaits != 0;
        }
        for (waker, _) in self.store.wakers.0.iter().zip(wakes).filter(|(_, wakes)| *wakes) {
            let _ = waker.write(1);
        }
    }
}
