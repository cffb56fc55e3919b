//! A flag that processes wait for.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::memory::cell::atomic;
use crate::memory::layout::{ElementType, Object};
use crate::memory::state::is_removed;
use crate::sync::lock::LockFailure;
use crate::sync::primitive::{Participants, Planned, Primitive};
use crate::sys::deadline::Deadline;
use crate::sys::futex;
use crate::sys::mapping::Place;

/// The bit that is 1 while the event is set. The other bits of the word count the changes.
const SET: u32 = 1;
/// What a change adds to the word.
const CHANGE: u32 = 2;

/// A flag that processes wait for, like Python's `multiprocessing.Event`. It starts unset.
///
/// | Python | here |
/// |---|---|
/// | `started = Event()` | `Plan::new().event("started")`, `segment.event("started")?` |
/// | `started.set()`, `started.clear()` | `started.set()`, `started.clear()` |
/// | `started.is_set()` | `started.is_set()` |
/// | `started.wait()` | `started.wait()?` |
/// | `if started.wait(2.5):` | `if started.wait_timeout(Duration::from_millis(2500))? {` |
///
/// It is one word that changes in one step, so it cannot be torn. When a process is killed
///
/// * while it waits: other processes continue;
/// * while it sets the event: the event is set or not, and stays so without its setter. If the
///   setter is killed between its two steps, storing and waking, the waiters detect the change
///   within 100 ms.
///
/// An event does not know which process is expected to set it. If that process may be killed, wait
/// with a timeout. The handle can be cloned and is inherited by forked children.
#[derive(Clone)]
pub struct Event {
    place: Place,
}

impl Primitive for Event {
    type Size = ();

    const ELEMENT: ElementType = ElementType::U32;

    fn planned((): Self::Size, _participants: Participants) -> Result<Planned, String> {
        Ok(Planned::elements(1))
    }

    fn describe(place: &Place, _object: &Object) -> Option<String> {
        Some(Self { place: place.clone() }.to_string())
    }
}

impl Event {
    /// Returns the event of an object, if the object is a single word.
    pub(crate) fn open(place: Place, object: &Object) -> Option<Self> {
        (object.length == 1).then_some(Self { place })
    }

    /// Returns true if it is set now.
    pub fn is_set(&self) -> bool {
        self.word().load(Ordering::Acquire) & SET != 0
    }

    /// Sets it and wakes all waiters. They see what this process wrote to shared memory before.
    pub fn set(&self) {
        let change = |word: u32| (word & SET == 0).then(|| word.wrapping_add(CHANGE) | SET);
        // Fails if the event is set already. Then the process that set it wakes the waiters.
        if self.word().fetch_update(Ordering::AcqRel, Ordering::Acquire, change).is_ok() {
            futex::wake(self.word(), u32::MAX, futex::ANY);
        }
    }

    /// Clears it. Later waits wait until it is set again.
    pub fn clear(&self) {
        let change = |word: u32| (word & SET != 0).then(|| word.wrapping_add(CHANGE) & !SET);
        // Fails if the event is not set, which is the wanted result.
        let _ = self.word().fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
    }

    /// Waits without a limit until it is set. An event that is set and cleared during the wait ends
    /// the wait too.
    pub fn wait(&self) -> Result<(), LockFailure> {
        self.wait_until(Deadline::NEVER).map(drop)
    }

    /// Works like [`wait`](Self::wait), but waits at most this long. Returns true if the event was
    /// set.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, LockFailure> {
        self.wait_until(Deadline::after(timeout)?)
    }

    fn wait_until(&self, deadline: Deadline) -> Result<bool, LockFailure> {
        let before = self.word().load(Ordering::Acquire);
        if before & SET != 0 {
            return Ok(true);
        }
        loop {
            futex::wait(self.word(), before, deadline.next_look()?, futex::ANY)?;
            // The event was not set. If the word differs, it was set since, even if it was cleared
            // again.
            if self.word().load(Ordering::Acquire) != before {
                return Ok(true);
            }
            if deadline.has_passed()? {
                return Ok(false);
            }
            if is_removed(&self.place) {
                return Err(LockFailure::Removed);
            }
        }
    }

    fn word(&self) -> &AtomicU32 {
        atomic::<u32>(&self.place, 0)
    }
}

impl fmt::Display for Event {
    /// `set` or `unset`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if self.is_set() { "set" } else { "unset" })
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({self})")
    }
}
