//! Waiting until something that a lock guards becomes true.

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
use crate::sync::primitive::{Participants, Planned, Primitive};
use crate::sync::record::{Full, Record, State};
use crate::sys::deadline::Deadline;
use crate::sys::mapping::Place;

/// A variable for waiting until something that a [`Lock`] or an [`RLock`](crate::RLock) guards
/// becomes true, like Python's `multiprocessing.Condition`.
///
/// | Python | here |
/// |---|---|
/// | `changed = Condition(lock)` | `Plan::new().condition("changed")`, |
/// | | `segment.condition("changed", &lock)?` |
/// | `with changed:` | `let guard = lock.lock()?;` |
/// | `changed.wait()` | `let guard = changed.wait(guard)?;` |
/// | `ok = changed.wait(0.5)` | `let (guard, ok) = changed.wait_timeout(guard, half)?;` |
/// | `changed.wait_for(f)` | `changed.wait_for(guard, f)?` |
/// | `changed.wait_for(f, 0.5)` | `changed.wait_for_timeout(guard, half, f)?` |
/// | `changed.notify(2)` | `changed.notify(&guard, 2)?` |
/// | `changed.notify_all()` | `changed.notify_all(&guard)?` |
///
/// A wait takes the guard and returns it. During the wait the lock is free, even if an `RLock` was
/// held at a greater depth. Give every handle of one condition the same lock.
///
/// The condition records who waits, in order of arrival, and which of them were notified. When a
/// process is killed
///
/// * while it waits: it is removed from the waiters;
/// * notified, before its wait has returned: within 200 ms its notification goes to the next
///   process that was waiting when it was given, so none is lost;
/// * while it holds the lock: the next holder gets
///   [`LockError::OwnerDied`](crate::LockError::OwnerDied), even at the end of a wait;
/// * while it notifies: either all of the waiters are notified, or none.
///
/// The handle can be cloned and is inherited by forked children.
#[derive(Clone)]
pub struct Condition {
    record: Arc<Record<Waiters>>,
    lock: Lock,
}

#[allow(private_bounds)] // `Held` is an implementation detail of the guards of both locks.
impl Condition {
    /// Returns the condition of an object, for the data that this lock guards.
    pub(crate) fn open(place: Place, _object: &Object, lock: &impl ConditionLock) -> Option<Self> {
        Some(Self { record: Arc::new(Record::new(&place)), lock: lock.lock().clone() })
    }

    /// Releases the lock, waits without a limit until it is notified, and takes the lock again.
    ///
    /// # Errors
    /// [`ConditionError::Full`], or [`ConditionError::Lock`] as for locking. After
    /// [`LockError::OwnerDied`](crate::LockError::OwnerDied) the caller does not learn whether it
    /// was notified, and must check the state that it waits for.
    pub fn wait<G: Held>(&self, guard: G) -> Result<G, ConditionError<G>> {
        self.wait_until(guard, Deadline::NEVER).map(|(guard, _)| guard)
    }

    /// Works like [`wait`](Self::wait), for at most this long plus the wait for the lock. Returns
    /// true if the process was notified.
    pub fn wait_timeout<G: Held>(
        &self,
        guard: G,
        timeout: Duration,
    ) -> Result<(G, bool), ConditionError<G>> {
        self.wait_until(guard, Deadline::after(timeout).map_err(LockFailure::from)?)
    }

    /// Waits until the predicate is true. The lock is free during each wait, and held while the
    /// predicate runs.
    ///
    /// # Errors
    /// The same as for [`wait`](Self::wait). After
    /// [`LockError::OwnerDied`](crate::LockError::OwnerDied) the predicate did not run again.
    pub fn wait_for<G: Held>(
        &self,
        guard: G,
        predicate: impl FnMut() -> bool,
    ) -> Result<G, ConditionError<G>> {
        self.wait_for_until(guard, Deadline::NEVER, predicate).map(|(guard, _)| guard)
    }

    /// Works like [`wait_for`](Self::wait_for), for at most this long plus the wait for the lock.
    /// Returns the last result of the predicate.
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
        // Only with the lock held: a process that is killed before this counts as not notified, and
        // its notification goes to another one.
        let notified = self.record.update(|waiters| waiters.leave(ticket))?;
        let guard = resumed?;
        slept?;
        Ok((guard, notified))
    }

    /// Records this process as waiting.
    fn line_up(&self) -> Result<Result<u64, Full>, LockFailure> {
        let lined_up = self.record.update_as(State::line_up)?;
        if lined_up.is_ok() {
            return Ok(lined_up);
        }
        self.remove_dead(&self.record.dead())?;
        self.record.update_as(State::line_up)
    }

    /// Sleeps until the ticket is notified or the deadline passes.
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

    /// Removes dead processes, and passes their notifications on.
    fn remove_dead(&self, dead: &[Identity]) -> Result<(), LockFailure> {
        let given = self.record.update(|waiters| waiters.remove_dead(dead))?;
        self.announce(given);
        Ok(())
    }

    /// Notifies this many waiters, in order of arrival. Returns how many were notified.
    /// Notifications of dead waiters pass to living ones.
    ///
    /// # Errors
    /// [`LockFailure::NotHeld`] if the guard belongs to another lock or was inherited by fork.
    pub fn notify<G: Held>(&self, guard: &G, waiters: usize) -> Result<usize, LockFailure> {
        if !guard.holds(&self.lock) {
            return Err(LockFailure::NotHeld);
        }
        let given = self.record.update(|line| line.notify(waiters))?;
        self.announce(given);
        Ok(given.count)
    }

    /// Notifies all waiters. Returns how many were notified.
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

    fn planned((): Self::Size, participants: Participants) -> Result<Planned, String> {
        Ok(Planned::elements(participants.number()))
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
