//! Waiting for something to become true that a lock guards.

mod held;
mod waiters;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::held::ConditionError;
pub(crate) use self::held::ConditionLock;
use self::held::Held;
use self::waiters::{Given, Waiters};
use crate::memory::layout::{ElementType, Object};
use crate::sync::lock::{Lock, LockFailure};
use crate::sync::participant::Identity;
use crate::sync::primitive::{Planned, Primitive};
use crate::sync::record::{Full, Record, State};
use crate::sys::deadline::Deadline;
use crate::sys::mapping::Place;

/// Waiting for something to become true that a [`Lock`] or an [`RLock`](crate::RLock) guards, like Python's
/// `multiprocessing.Condition`.
///
/// | Python | here |
/// |---|---|
/// | `changed = Condition(lock)` | `Plan::new().condition("changed")`, `segment.condition("changed", &lock)?` |
/// | `with changed:` | `let guard = lock.lock()?;` |
/// | `changed.wait()` | `let guard = changed.wait(guard)?;` |
/// | `ok = changed.wait(0.5)` | `let (guard, ok) = changed.wait_timeout(guard, Duration::from_millis(500))?;` |
/// | `changed.wait_for(f)`, `changed.wait_for(f, 0.5)` | `changed.wait_for(guard, f)?`, `changed.wait_for_timeout(guard, half, f)?` |
/// | `changed.notify(2)`, `changed.notify_all()` | `changed.notify(&guard, 2)?`, `changed.notify_all(&guard)?` |
///
/// A wait takes the guard and returns it: while it waits, the lock is free; an `RLock` however often it was taken. Give every
/// handle of one condition the same lock.
///
/// The condition writes down who waits, in the order they came, and who of them was notified. When a process is killed
///
/// * while it waits: it is forgotten;
/// * notified, before its wait has returned: within a fifth of a second its notification goes to the next one who was waiting when
///   it was given, so that the dead swallow nothing;
/// * while it holds the lock: whoever has the lock next is told, by [`LockError::OwnerDied`](crate::LockError::OwnerDied), the waits that end included;
/// * while it notifies: all of those it meant are notified, or none.
///
/// The handle can be cloned and is inherited by forked children.
#[derive(Clone)]
pub struct Condition {
    record: Arc<Record<Waiters>>,
    lock: Lock,
}

#[allow(private_bounds)] // `Held` is an implementation detail; the guards of `Lock` and `RLock` have it.
impl Condition {
    /// Returns the condition of an object, for what this lock guards.
    pub(crate) fn open(place: Place, _object: &Object, lock: &impl ConditionLock) -> Option<Self> {
        Some(Self { record: Arc::new(Record::new(&place)), lock: lock.lock().clone() })
    }

    /// Gives the lock back, waits until it is notified, however long that takes, and takes the lock again.
    ///
    /// # Errors
    /// [`ConditionError::Full`], or [`ConditionError::Lock`] as for locking: after [`LockError::OwnerDied`](crate::LockError::OwnerDied) nothing is said of
    /// whether it was notified, so ask for what is waited for.
    pub fn wait<G: Held>(&self, guard: G) -> Result<G, ConditionError<G>> {
        self.wait_until(guard, Deadline::NEVER).map(|(guard, _)| guard)
    }

    /// As [`wait`](Self::wait), at most this long, and then for the lock. Whether it was notified.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout<G: Held>(
        &self,
        guard: G,
        timeout: Duration,
    ) -> Result<(G, bool), ConditionError<G>> {
        self.wait_until(guard, Deadline::after(timeout).map_err(LockFailure::from)?)
    }

    /// Waits, with the lock free in between, until the predicate is true. It is asked with the lock held.
    ///
    /// # Errors
    /// As [`wait`](Self::wait). After a dead holder of the lock the predicate was not asked again.
    pub fn wait_for<G: Held>(
        &self,
        guard: G,
        predicate: impl FnMut() -> bool,
    ) -> Result<G, ConditionError<G>> {
        self.wait_for_until(guard, Deadline::NEVER, predicate).map(|(guard, _)| guard)
    }

    /// As [`wait_for`](Self::wait_for), at most this long, and then for the lock. What the predicate said last.
    ///
    /// # Errors
    /// As [`wait_for`](Self::wait_for).
    pub fn wait_for_timeout<G: Held>(
        &self,
        guard: G,
        timeout: Duration,
        predicate: impl FnMut() -> bool,
    ) -> Result<(G, bool), ConditionError<G>> {
        self.wait_for_until(guard, Deadline::after(timeout).map_err(LockFailure::from)?, predicate)
    }

    fn wait_for_until<G: Held>(
        &self,
        mut guard: G,
        deadline: Deadline,
        mut predicate: impl FnMut() -> bool,
    ) -> Result<(G, bool), ConditionError<G>> {
        loop {
            if predicate() {
                return Ok((guard, true));
            }
            if deadline.has_passed().map_err(LockFailure::from)? {
                return Ok((guard, false));
            }
            (guard, _) = self.wait_until(guard, deadline)?;
        }
    }

    fn wait_until<G: Held>(
        &self,
        guard: G,
        deadline: Deadline,
    ) -> Result<(G, bool), ConditionError<G>> {
        if !guard.holds(&self.lock) {
            return Err(LockFailure::NotHeld.into());
        }
        let Ok(ticket) = self.line_up()? else { return Err(ConditionError::Full(guard)) };
        let suspended = guard.suspend();
        let slept = self.sleep_until(ticket, deadline);
        let resumed = G::resume(suspended);
        // Not before the lock is had: who is killed until here has not been notified, and another one shall be.
        let notified = self.record.update(|waiters| waiters.leave(ticket))?;
        let guard = resumed?;
        slept?;
        Ok((guard, notified))
    }

    /// Writes this process down as waiting.
    fn line_up(&self) -> Result<Result<u64, Full>, LockFailure> {
        let lined_up = self.record.update_as(State::line_up)?;
        if lined_up.is_ok() {
            return Ok(lined_up);
        }
        self.remove_dead(&self.record.dead())?;
        self.record.update_as(State::line_up)
    }

    /// Sleeps until the ticket is notified, or the time is over.
    fn sleep_until(&self, ticket: u64, deadline: Deadline) -> Result<(), LockFailure> {
        loop {
            let seen = self.record.announcements();
            if self.record.get().is_notified(ticket) || deadline.has_passed()? {
                return Ok(());
            }
            self.record.sleep(seen, deadline, waiters::kind(ticket))?;
            let dead = self.record.look_for_dead()?;
            if !dead.is_empty() {
                self.remove_dead(&dead)?;
            }
        }
    }

    /// Forgets the dead, and passes their notifications on.
    fn remove_dead(&self, dead: &[Identity]) -> Result<(), LockFailure> {
        let given = self.record.update(|waiters| waiters.remove_dead(dead))?;
        self.announce(given);
        Ok(())
    }

    /// Notifies this many of those who wait, those first who came first. Returns how many there were; it is given to the living
    /// among them in the end.
    ///
    /// # Errors
    /// [`LockFailure::NotHeld`] when the guard is of another lock, or inherited by fork; or what the system says.
    pub fn notify<G: Held>(&self, guard: &G, waiters: usize) -> Result<usize, LockFailure> {
        if !guard.holds(&self.lock) {
            return Err(LockFailure::NotHeld);
        }
        let given = self.record.update(|line| line.notify(waiters))?;
        self.announce(given);
        Ok(given.count)
    }

    /// Notifies all who wait. Returns how many there were.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn notify_all<G: Held>(&self, guard: &G) -> Result<usize, LockFailure> {
        self.notify(guard, usize::MAX)
    }

    fn announce(&self, given: Given) {
        if given.count > 0 {
            self.record.announce(u64::MAX, given.kinds);
        }
    }
}

impl Primitive for Condition {
    type Size = ();

    const ELEMENT: ElementType = ElementType::U64;

    fn planned((): Self::Size, participants: usize) -> Result<Planned, String> {
        Ok(Planned::elements(participants))
    }

    fn describe(place: &Place, _object: &Object) -> Option<String> {
        Some(Record::<Waiters>::new(place).get().to_string())
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({})", self.record.get())
    }
}
