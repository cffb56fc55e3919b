//! Mutexes and events of raw_sync in shared memory.
#![allow(unsafe_code)] // raw_sync creates them in memory given as a pointer.

use std::error::Error;

use raw_sync::events::{Event, EventImpl, EventInit};
use raw_sync::locks::{LockGuard, LockImpl, LockInit, Mutex};
use shared_memory::{Shmem, ShmemConf};

/// Distance from the start of the memory to the number that its mutex guards.
const NUMBER_OFFSET: usize = 64;
/// Distance from one event to the next.
const EVENT_BYTES: usize = 192;

/// A mutex and the number that it guards.
pub struct GuardedNumber {
    mutex: Box<dyn LockImpl>,
    number: *mut u64,
    /// Keeps the memory mapped.
    _memory: Shmem,
}

impl GuardedNumber {
    pub fn new() -> Result<Self, Box<dyn Error>> {
        let memory = ShmemConf::new().size(NUMBER_OFFSET + size_of::<u64>()).create()?;
        let number = memory.as_ptr().wrapping_add(NUMBER_OFFSET);
        // SAFETY: the memory has room for a mutex before the number, and is mapped as long as the
        // mutex is there.
        let (mutex, used) = unsafe { Mutex::new(memory.as_ptr(), number) }?;
        assert!(used <= NUMBER_OFFSET, "the mutex needs {used} bytes");
        Ok(Self { mutex, number: number.cast(), _memory: memory })
    }

    /// Locks the mutex.
    pub fn lock(&self) -> Option<LockGuard<'_>> {
        self.mutex.lock().ok()
    }

    /// Locks the mutex and adds one.
    pub fn increment(&self) -> bool {
        let Some(_guard) = self.lock() else { return false };
        // SAFETY: inside the memory and aligned; only the holder of the mutex reads and writes it.
        let before = unsafe { self.number.read_volatile() };
        // SAFETY: as above.
        unsafe { self.number.write_volatile(before + 1) };
        true
    }

    /// Returns the number, or `None` when the mutex cannot be locked.
    pub fn get(&self) -> Option<u64> {
        let _guard = self.lock()?;
        // SAFETY: as in `increment`.
        Some(unsafe { self.number.read_volatile() })
    }
}

/// Events, each of which its waiter clears.
pub struct Events {
    pub events: Vec<Box<dyn EventImpl>>,
    /// Keeps the memory mapped.
    _memory: Shmem,
}

impl Events {
    pub fn new(count: usize) -> Result<Self, Box<dyn Error>> {
        let memory = ShmemConf::new().size(count * EVENT_BYTES).create()?;
        let event = |index: usize| {
            // SAFETY: aligned and inside the memory, with room for an event, and mapped as long as
            // the event is there.
            let (event, used) =
                unsafe { Event::new(memory.as_ptr().wrapping_add(index * EVENT_BYTES), true) }?;
            assert!(used <= EVENT_BYTES, "an event needs {used} bytes");
            Ok(event)
        };
        let events: Result<_, Box<dyn Error>> = (0..count).map(event).collect();
        Ok(Self { events: events?, _memory: memory })
    }
}
