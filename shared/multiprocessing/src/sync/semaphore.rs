//! Units that processes acquire and release, and that other processes recover from dead ones.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use crate::memory::element::Shareable;
use crate::memory::layout::{ElementType, Object};
use crate::sync::lock::LockFailure;
use crate::sync::participant::{Identity, Row};
use crate::sync::primitive::{Participants, Planned, Primitive};
use crate::sync::record::{Full, Head, Record, State};
use crate::sys::deadline::Deadline;
use crate::sys::futex::ANY;
use crate::sys::mapping::Place;

/// The numbers of a semaphore, as the page in `layout` lists them.
#[derive(Clone, Copy, Shareable)]
#[repr(C)]
struct Units {
    free: u64,
    /// The limit of free and held units together.
    most: u64,
    /// Number of units recovered from dead processes so far.
    recovered: u64,
}

impl Head for Units {}

/// The limit of a semaphore that is not bounded (`SEM_VALUE_MAX`).
const MOST_UNITS: u64 = i32::MAX as u64;

/// A number of units that processes acquire and release, like Python's `multiprocessing.Semaphore`.
///
/// | Python | here |
/// |---|---|
/// | `gate = Semaphore(3)` | `Plan::new().semaphore("gate", 3)`, `segment.semaphore("gate")?` |
/// | `with gate:` | `let permit = gate.acquire()?;` until it is dropped |
/// | `gate.acquire(block=False)` | `gate.try_acquire()?` |
/// | `gate.acquire(timeout=0.5)` | `gate.acquire_timeout(Duration::from_millis(500))?` |
/// | `gate.acquire()`, without a release here | `gate.acquire()?.forget()` |
/// | `gate.release()` in another process | `gate.release(1)?` |
/// | `gate.release(2)` | `gate.release(2)?` |
/// | `gate.get_value()` | `gate.get_value()` |
///
/// The semaphore records which process holds how many units by [`Permit`]s. When a process is
/// killed
///
/// * while it holds permits: their units are free again. A waiter detects the death within 200 ms
///   and gets the number from [`Permit::recovered`]; [`recovered`](Self::recovered) counts them
///   all;
/// * while it waits: it holds nothing, and other processes continue. If it had just been woken, the
///   unit goes to another waiter within 100 ms;
/// * while it acquires or releases: the operation is complete or has no effect.
///
/// A unit that was [forgotten](Permit::forget) belongs to no process; only
/// [`release`](Self::release) gives it back. The handle can be cloned and is inherited by forked
/// children. A permit stays with its process.
#[derive(Clone)]
pub struct Semaphore {
    record: Arc<Record<Units>>,
}

/// A [`Semaphore`] that refuses more units than it started with, like Python's
/// `multiprocessing.BoundedSemaphore`.
///
/// | Python | here |
/// |---|---|
/// | `gate = BoundedSemaphore(3)` | `Plan::new().bounded_semaphore("gate", 3)`, |
/// | | `segment.bounded_semaphore("gate")?` |
/// | `gate.release()` too often: `ValueError` | `gate.release(1)`: [`SemaphoreError::TooMany`] |
#[derive(Clone)]
pub struct BoundedSemaphore(Semaphore);

/// One unit of a [`Semaphore`]. The unit is released when the permit is dropped or when the process
/// dies. A permit can move to another thread. The copy that a forked child inherits holds nothing.
#[must_use = "the unit is given back when the permit is dropped"]
pub struct Permit {
    semaphore: Semaphore,
    owner: Identity,
    recovered: u64,
    held: bool,
}

/// The error of a semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SemaphoreError {
    /// There would be more units than the semaphore may have, those that permits hold included.
    #[error("releasing {released} units too many: the semaphore has no more than {most}")]
    TooMany {
        /// Number of units to be released. None of them was.
        released: u64,
        /// The limit of the semaphore.
        most: u64,
    },
    /// The record has no room for another holder of permits; see
    /// [`Plan::participants`](crate::Plan::participants).
    #[error("no more room to record which process holds a permit")]
    Full,
    /// The operating system refused.
    #[error(transparent)]
    Failed(#[from] LockFailure),
}

/// A taken unit.
struct Taken {
    /// Number of units recovered from dead processes just before this one was taken.
    recovered: u64,
    free: u64,
}

impl State<Units> {
    /// Recovers the units of dead processes, then takes a unit if one is free.
    fn take(&mut self, own: Identity, dead: &[Identity]) -> Result<Option<Taken>, Full> {
        // Any process may have written these numbers, so no sum of them may overflow.
        let recovered = sum(&self.remove(|row| dead.contains(&row.who)));
        self.head.free = self.head.free.saturating_add(recovered);
        self.head.recovered = self.head.recovered.saturating_add(recovered);
        if self.head.free == 0 {
            return Ok(None);
        }
        match self.row(own) {
            Some(row) => row.count = row.count.saturating_add(1),
            None => self.insert(Row { who: own, count: 1, mark: 0 })?,
        }
        self.head.free -= 1;
        Ok(Some(Taken { recovered, free: self.head.free }))
    }

    /// Removes a unit from those that a process holds. Returns true if it held one.
    fn strike(&mut self, own: Identity) -> bool {
        let held = self.row(own).map(|row| row.count = row.count.saturating_sub(1)).is_some();
        self.keep(|row| row.count > 0);
        held
    }

    fn held(&self) -> u64 {
        sum(self.rows())
    }
}

/// Returns how many units these processes hold together.
fn sum(rows: &[Row]) -> u64 {
    rows.iter().fold(0, |sum, row| sum.saturating_add(row.count))
}

/// Plans a semaphore that starts with this many units and never has more than `most`.
fn planned(units: u64, most: u64, participants: Participants) -> Result<Planned, String> {
    if units > MOST_UNITS {
        return Err(format!("has more than {MOST_UNITS} units"));
    }
    Ok(Planned { head: [units, most], ..Planned::elements(participants.for_all(units)) })
}

impl Primitive for Semaphore {
    type Size = u64;

    const ELEMENT: ElementType = ElementType::U64;

    fn planned(units: Self::Size, participants: Participants) -> Result<Planned, String> {
        planned(units, MOST_UNITS, participants)
    }

    fn describe(place: &Place, _object: &Object) -> Option<String> {
        Some(Self::at(place).to_string())
    }
}

impl Semaphore {
    fn at(place: &Place) -> Self {
        Self { record: Arc::new(Record::new(place)) }
    }

    /// Returns the semaphore of an object.
    pub(crate) fn open(place: Place, _object: &Object) -> Option<Self> {
        Some(Self::at(&place))
    }

    /// Takes a unit. Waits for one without a limit.
    pub fn acquire(&self) -> Result<Permit, SemaphoreError> {
        let permit = self.acquire_until(Deadline::NEVER)?;
        // Cannot happen: a wait without a deadline ends only with a unit.
        permit.ok_or(SemaphoreError::Failed(LockFailure::System(Errno::EBUSY)))
    }

    /// Takes a unit if one is free. Returns `None` if none is.
    pub fn try_acquire(&self) -> Result<Option<Permit>, SemaphoreError> {
        self.acquire_timeout(Duration::ZERO)
    }

    /// Takes a unit. Waits for one at most this long. Returns `None` if the time is over.
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Permit>, SemaphoreError> {
        self.acquire_until(Deadline::after(timeout).map_err(LockFailure::from)?)
    }

    fn acquire_until(&self, deadline: Deadline) -> Result<Option<Permit>, SemaphoreError> {
        // The dead processes that the last check found, if there was a check.
        let mut found: Option<Vec<Identity>> = None;
        let mut made_room = false;
        loop {
            let seen = self.record.announcements();
            let dead = found.as_deref().unwrap_or_default();
            match self.record.update_as(|units, own| (units.take(own, dead), own))? {
                (Ok(Some(taken)), own) => {
                    if taken.recovered > 0 {
                        self.record.announce(taken.free, ANY);
                    }
                    let (semaphore, recovered) = (self.clone(), taken.recovered);
                    return Ok(Some(Permit { semaphore, owner: own, recovered, held: true }));
                }
                (Err(Full), _) if made_room => return Err(SemaphoreError::Full),
                (Err(Full), _) => {
                    found = Some(self.record.dead());
                    made_room = true;
                    continue;
                }
                (Ok(None), _) => {}
            }
            let over = deadline.has_passed().map_err(LockFailure::from)?;
            if over && found.is_some() {
                return Ok(None);
            }
            if !over {
                self.record.sleep(seen, deadline, ANY)?;
            }
            found = Some(self.record.look_for_dead()?);
        }
    }

    /// Adds units that no permit holds: forgotten ones, or new ones. Any process may do this.
    ///
    /// # Errors
    /// [`SemaphoreError::TooMany`], without adding any, if the semaphore would exceed its bound, or
    /// `i32::MAX` without a bound.
    pub fn release(&self, units: u64) -> Result<(), SemaphoreError> {
        self.record.update(|state| {
            let sum = state.head.free.saturating_add(state.held()).saturating_add(units);
            if sum > state.head.most {
                return Err(SemaphoreError::TooMany { released: units, most: state.head.most });
            }
            state.head.free = state.head.free.saturating_add(units);
            Ok(())
        })??;
        self.record.announce(units, ANY);
        Ok(())
    }

    /// Returns how many units are free at this moment. Units of dead processes count once another
    /// process has noticed the death.
    pub fn get_value(&self) -> u64 {
        self.record.head().free
    }

    /// Returns how many units were recovered from dead processes so far.
    pub fn recovered(&self) -> u64 {
        self.record.head().recovered
    }
}

impl Permit {
    /// Returns how many units were recovered from dead processes when this one was taken: their
    /// work may be half done.
    pub fn recovered(&self) -> u64 {
        self.recovered
    }

    /// Detaches the unit without releasing it. After that it belongs to no process, and any process
    /// may return it by [`Semaphore::release`].
    pub fn forget(mut self) {
        self.stop_holding(false);
    }

    /// Stops counting the unit as held by this process. The unit becomes free if `free` is true.
    fn stop_holding(&mut self, free: bool) {
        if !std::mem::take(&mut self.held) {
            return;
        }
        let freed = self.semaphore.record.update_as(|units, own| {
            let freed = own == self.owner && units.strike(own) && free;
            units.head.free = units.head.free.saturating_add(u64::from(freed));
            freed
        });
        // The lock of a record never becomes unrecoverable, and other failures cannot be repaired
        // here. The unit comes back when this process ends.
        if freed == Ok(true) {
            self.semaphore.record.announce(1, ANY);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.stop_holding(true);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("recovered", &self.recovered).finish()
    }
}

impl fmt::Display for Semaphore {
    /// `1 free, 2 held by 4711`, followed by the number of units recovered from dead processes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.record.get();
        write!(f, "{} free", state.head.free)?;
        for row in state.rows() {
            write!(f, ", {} held by {}", row.count, row.who.pid())?;
        }
        match state.head.recovered {
            0 => Ok(()),
            recovered => write!(f, " ({recovered} recovered from dead processes)"),
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Semaphore({self})")
    }
}

impl Primitive for BoundedSemaphore {
    type Size = u64;

    const ELEMENT: ElementType = ElementType::U64;

    fn planned(units: Self::Size, participants: Participants) -> Result<Planned, String> {
        planned(units, units, participants)
    }

    fn describe(place: &Place, object: &Object) -> Option<String> {
        Semaphore::describe(place, object)
    }
}

impl BoundedSemaphore {
    /// Returns the semaphore of an object.
    pub(crate) fn open(place: Place, object: &Object) -> Option<Self> {
        Semaphore::open(place, object).map(Self)
    }
}

impl Deref for BoundedSemaphore {
    type Target = Semaphore;
    /// As in Python, it is a semaphore in everything except its bound.
    fn deref(&self) -> &Semaphore {
        &self.0
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bounded{:?}", self.0)
    }
}
