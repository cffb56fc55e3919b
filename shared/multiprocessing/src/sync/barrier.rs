//! A place where processes wait for each other.

mod broken;
mod membership;
mod round;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::unistd::Pid;

pub use self::broken::{BarrierError, BreakCause};
use self::membership::Membership;
pub(crate) use self::membership::leave_all;
use self::round::{Entry, Outcome, Rounds, Ticket};
use crate::memory::layout::{ElementType, Object};
use crate::sync::lock::LockFailure;
use crate::sync::participant::Identity;
use crate::sync::primitive::{Participants, Planned, Primitive};
use crate::sync::record::{Full, Record, State};
use crate::sys::deadline::Deadline;
use crate::sys::futex::ANY;
use crate::sys::mapping::Place;

/// A place where a number of processes wait for each other, round after round, like Python's
/// `multiprocessing.Barrier`.
///
/// | Python | here |
/// |---|---|
/// | `meet = Barrier(3)` | `Plan::new().barrier("meet", 3)`, `segment.barrier("meet")?` |
/// | `Barrier(3, action=f)` | `segment.barrier("meet")?.with_action(f)` before forking |
/// | `Barrier(3, timeout=2)` | `segment.barrier("meet")?.with_timeout(secs)` before forking |
/// | `index = meet.wait()` | `let index = meet.wait()?;` |
/// | `meet.wait(timeout=0.5)` | `meet.wait_timeout(Duration::from_millis(500))?` |
/// | `except BrokenBarrierError:` | `Err(BarrierError::Broken(cause))` |
/// | `meet.abort()`, `meet.reset()` | `meet.abort()?`, `meet.reset()?` |
/// | `meet.parties`, `meet.n_waiting` | `meet.parties()`, `meet.n_waiting()` |
/// | `meet.broken` | `meet.is_broken()` |
///
/// The barrier records its parties: the processes that took part in the last round, have arrived in
/// this one, or were [enrolled](Self::enrol). When one of them is killed
///
/// * waiting, running the action, or busy elsewhere: the waiters detect that within 200 ms. The
///   barrier is broken for all parties, with [`BreakCause::PartyDied`], until a process calls
///   [`reset`](Self::reset);
/// * arriving as the last one: the round is over for all or for none.
///
/// A process leaves the barrier when it drops its last handle, and a child also when its body
/// returns. Its end is then not the death of a party, but a panic or a call of `exit` is. The
/// barrier does not notice the death of a process before its first [`wait`](Self::wait), unless its
/// parent enrols it.
///
/// The handle can be cloned and is inherited by forked children.
#[derive(Clone)]
pub struct Barrier {
    membership: Arc<Membership>,
    action: Option<Arc<dyn Fn() + Send + Sync>>,
    timeout: Option<Duration>,
}

/// How often a waiter yields before it sleeps. Parties that arrive within microseconds of each
/// other then need no sleep and no wake-up, which take longer than the rest of a round. If no other
/// process wants to run, this takes microseconds.
const YIELDS: u32 = 16;

impl Primitive for Barrier {
    type Size = usize;

    const ELEMENT: ElementType = ElementType::U64;

    fn planned(parties: Self::Size, participants: Participants) -> Result<Planned, String> {
        let participants = participants.for_all(parties as u64);
        if !(1..=participants).contains(&parties) {
            return Err(format!("has {parties} parties, not 1 to {participants} participants"));
        }
        Ok(Planned { head: [parties as u64, 0], ..Planned::elements(participants) })
    }

    fn size(&self) -> Option<Self::Size> {
        Some(self.parties())
    }

    fn wanted_with(parties: Self::Size) -> String {
        format!("{parties} parties")
    }

    fn describe(place: &Place, _object: &Object) -> Option<String> {
        Some(Self::at(place).to_string())
    }
}

impl Barrier {
    fn at(place: &Place) -> Self {
        Self {
            membership: Arc::new(Membership::new(Record::new(place))),
            action: None,
            timeout: None,
        }
    }

    /// Returns the barrier of an object.
    pub(crate) fn open(place: Place, _object: &Object) -> Option<Self> {
        Some(Self::at(&place))
    }

    /// Adds an action, which the last party to arrive runs before the others continue. Each process
    /// adds it to its own handle, or inherits a handle that has it.
    ///
    /// If the action panics, the barrier breaks, and the panic continues in the process that ran
    /// the action.
    pub fn with_action(mut self, action: impl Fn() + Send + Sync + 'static) -> Self {
        self.action = Some(Arc::new(action));
        self
    }

    /// Adds a timeout for [`wait`](Self::wait).
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits until all parties wait. Then all continue, each with its number in the order of
    /// arrival, from 0.
    pub fn wait(&self) -> Result<usize, BarrierError> {
        self.timeout
            .map_or_else(|| self.wait_until(Deadline::NEVER), |timeout| self.wait_timeout(timeout))
    }

    /// Works like [`wait`](Self::wait), but waits at most this long. If the time is over, the
    /// barrier breaks for all parties.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, BarrierError> {
        self.wait_until(Deadline::after(timeout).map_err(LockFailure::from)?)
    }

    fn wait_until(&self, deadline: Deadline) -> Result<usize, BarrierError> {
        let at_once = self.action.is_none();
        loop {
            let seen = self.record().announcements();
            let (entry, own) =
                self.record().update_as(|rounds, own| (rounds.enter(own, at_once), own))?;
            self.membership.joins(own);
            let ticket = match entry {
                Ok(Entry::Broken(cause)) => return Err(BarrierError::Broken(cause)),
                Ok(Entry::Last(ticket)) => return self.finish(ticket),
                Ok(Entry::Waits(ticket)) => ticket,
                // The process waits for the end of the current round, and its wait ends with that
                // of the others.
                Ok(Entry::TooMany(ticket)) => {
                    self.sleep_through(ticket, seen, deadline)?;
                    continue;
                }
                Err(Full) => return Err(BarrierError::Full),
            };
            self.sleep_through(ticket, seen, deadline)?;
            return Ok(ticket.index);
        }
    }

    /// Sleeps until the round of the ticket is over.
    fn sleep_through(
        &self,
        ticket: Ticket,
        mut seen: u32,
        deadline: Deadline,
    ) -> Result<(), BarrierError> {
        for _ in 0..YIELDS {
            if self.record().announcements() != seen {
                break;
            }
            thread::yield_now();
        }
        loop {
            self.record().sleep(seen, deadline, ANY)?;
            seen = self.record().announcements();
            match self.record().head().outcome(ticket) {
                Outcome::Completed => return Ok(()),
                Outcome::Broken(cause) => return Err(BarrierError::Broken(cause)),
                Outcome::Waiting => {}
            }
            if deadline.has_passed().map_err(LockFailure::from)? {
                return self.end(ticket, |rounds| rounds.break_by(BreakCause::TimedOut));
            }
            let dead = self.record().look_for_dead()?;
            if !dead.is_empty() {
                self.remove_dead(&dead)?;
            }
        }
    }

    /// Runs the action, if there is one, and completes the round. Called by the last party to
    /// arrive.
    fn finish(&self, ticket: Ticket) -> Result<usize, BarrierError> {
        let Some(action) = &self.action else {
            // The round was completed on arrival.
            self.announce();
            return Ok(ticket.index);
        };
        // Outside the lock of the record, because an action may take time, and may read the
        // barrier.
        let acted = catch_unwind(AssertUnwindSafe(|| action()));
        let Err(panic) = acted else {
            self.end(ticket, State::complete)?;
            return Ok(ticket.index);
        };
        // The panic matters more than this outcome.
        let _ = self.end(ticket, |rounds| rounds.break_by(BreakCause::ActionFailed));
        resume_unwind(panic)
    }

    /// Ends the round of the ticket with `end`, unless it has ended already, and returns how it
    /// ended.
    fn end(
        &self,
        ticket: Ticket,
        end: impl FnOnce(&mut State<Rounds>),
    ) -> Result<(), BarrierError> {
        let outcome = self.record().update(|rounds| {
            if rounds.head.outcome(ticket) == Outcome::Waiting {
                end(rounds);
            }
            rounds.head.outcome(ticket)
        })?;
        self.announce();
        match outcome {
            Outcome::Broken(cause) => Err(BarrierError::Broken(cause)),
            _ => Ok(()),
        }
    }

    /// Removes dead processes, and breaks the barrier if one of them was a party.
    fn remove_dead(&self, dead: &[Identity]) -> Result<(), LockFailure> {
        if self.record().update(|rounds| rounds.remove_dead(dead))? {
            self.announce();
        }
        Ok(())
    }

    fn announce(&self) {
        self.record().announce(u64::MAX, ANY);
    }

    /// Counts a process as a party before it arrives, such as a child that was just started.
    /// Otherwise its death before that would not be noticed. The process must arrive in this round.
    ///
    /// # Errors
    /// [`BarrierError::Broken`] if there is no such process: then the barrier is broken for all
    /// parties.
    pub fn enrol(&self, process: Pid) -> Result<(), BarrierError> {
        let Some(party) = Identity::of(process) else {
            let cause = BreakCause::PartyDied(process);
            self.break_by(cause)?;
            return Err(BarrierError::Broken(cause));
        };
        self.record().update(|rounds| rounds.enrol(party))?.map_err(|Full| BarrierError::Full)
    }

    /// Breaks the barrier. All waits, present and later, fail with [`BarrierError::Broken`] until
    /// [`reset`](Self::reset).
    pub fn abort(&self) -> Result<(), LockFailure> {
        self.break_by(BreakCause::Aborted)
    }

    fn break_by(&self, cause: BreakCause) -> Result<(), LockFailure> {
        self.record().update(|rounds| rounds.break_by(cause))?;
        self.announce();
        Ok(())
    }

    /// Makes the barrier usable and empty again. Present waiters get [`BarrierError::Broken`].
    /// Later waits belong to a new round. Dead parties are removed.
    pub fn reset(&self) -> Result<(), LockFailure> {
        let dead = self.record().dead();
        self.record().update(|rounds| rounds.reset(&dead))?;
        self.announce();
        Ok(())
    }

    /// Returns the number of parties.
    pub fn parties(&self) -> usize {
        self.record().head().parties()
    }

    /// Returns how many wait at this moment.
    pub fn n_waiting(&self) -> usize {
        self.record().head().arrived()
    }

    /// Returns true if it is broken.
    pub fn is_broken(&self) -> bool {
        self.record().head().broken().is_some()
    }

    fn record(&self) -> &Record<Rounds> {
        self.membership.record()
    }
}

impl fmt::Display for Barrier {
    /// `2 of 3 wait`, or `broken: a party was killed (4711)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.record().head();
        match head.broken() {
            Some(cause) => write!(f, "broken: {cause}"),
            None => write!(f, "{} of {} wait", head.arrived(), head.parties()),
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Barrier({self})")
    }
}
