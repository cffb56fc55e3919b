//! The sleepers of a queue, and the wait of a call until it can proceed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::sync::lock::LockFailure;
use crate::sync::record::{Head, Held, Record};
use crate::sys::deadline::Deadline;

/// The sleepers of a queue, and whether it is closed. They are one number, so that one store
/// changes it.
#[derive(Clone, Copy)]
pub(crate) struct Waits(u64);

/// The index of that number in the records of all queues.
pub(crate) const WAITS: usize = 5;

/// Most sleepers of a [`Side`] that the number counts, in its lowest bits or above them. Further
/// ones detect changes by themselves.
const MOST_ASLEEP: u64 = 0xffff;
/// The bit that is set once the queue is closed.
const CLOSED: u64 = 1 << 32;
/// The bit that is set while a process may be sleeping until all tasks are finished.
const JOINED: u64 = 1 << 33;

/// What a process does with the queue, and the kind of sleeper that it is.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Put = 0,
    Get = 1,
}

/// The kind of sleeper that waits until all tasks are finished.
pub(crate) const JOINS: u32 = 1 << 2;

/// The kinds of sleepers that a close wakes.
const BOTH_SIDES: u32 = 1 << Side::Put as u32 | 1 << Side::Get as u32;

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Put => Self::Get,
            Self::Get => Self::Put,
        }
    }

    fn bits(self) -> u32 {
        1 << self as u32
    }

    /// Returns the lowest bit of the count of this side.
    fn shift(self) -> u32 {
        MOST_ASLEEP.count_ones() * self as u32
    }
}

impl Waits {
    pub(crate) fn of(number: u64) -> Self {
        Self(number)
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }

    pub(crate) fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// Only joins sleep at a closed queue.
    fn closed(self) -> Self {
        Self(self.0 & JOINED | CLOSED)
    }

    /// Returns how many processes of a side sleep and were not woken since. It is never too low for
    /// living ones, unless a process was killed between counting one out and waking it. It is too
    /// high if sleepers are gone, which costs a needless wake-up.
    pub(crate) fn asleep(self, side: Side) -> u64 {
        self.0 >> side.shift() & MOST_ASLEEP
    }

    pub(crate) fn with_one_more(self, side: Side) -> Self {
        let counts = self.asleep(side) < MOST_ASLEEP;
        Self(self.0 + (u64::from(counts) << side.shift()))
    }

    /// Counts out at most this many sleepers.
    fn without(self, sleepers: u64, side: Side) -> Self {
        Self(self.0 - (self.asleep(side).min(sleepers) << side.shift()))
    }

    /// Returns true if the process that finishes the last task will wake sleepers.
    pub(crate) fn is_joined(self) -> bool {
        self.0 & JOINED != 0
    }

    pub(crate) fn with_join(self, joined: bool) -> Self {
        Self(self.0 & !JOINED | if joined { JOINED } else { 0 })
    }
}

/// The numbers of a queue, of which [`WAITS`] is the index of the waits.
pub(crate) trait Numbers: Head {
    fn waits(&self) -> Waits;
}

impl<H: Numbers> Record<H> {
    /// Closes the queue in one store, and wakes the waiters.
    pub(crate) fn close(&self) -> Result<(), LockFailure> {
        let held = self.lock()?;
        held.set_waits(held.head().waits().closed());
        drop(held);
        self.announce(u64::MAX, BOTH_SIDES);
        Ok(())
    }

    /// Takes a step as soon as it is possible by the numbers, or the queue is closed. After the
    /// step, wakes at most `wakes` sleepers of the other side. Returns true if the step was taken
    /// before the end of the timeout.
    pub(crate) fn step_within<E: From<LockFailure>>(
        &self,
        timeout: Option<Duration>,
        (side, wakes): (Side, u64),
        is_possible: impl Fn(&H) -> bool,
        mut step: impl FnMut(&Held<H>, &H) -> Result<(), E>,
    ) -> Result<bool, E> {
        let is_possible = |numbers: &H| is_possible(numbers) || numbers.waits().is_closed();
        // The deadline, and the announcements when this process counted itself as asleep. Most
        // calls need no wait and no look at the clock.
        let mut wait: Option<(Deadline, u32)> = None;
        loop {
            let over = match wait {
                None => timeout == Some(Duration::ZERO),
                Some((deadline, _)) => deadline.has_passed().map_err(LockFailure::from)?,
            };
            let held = self.lock()?;
            let numbers = held.head();
            if is_possible(&numbers) {
                step(&held, &numbers)?;
                let sleepers = held.count_out(wakes, side.other());
                drop(held);
                if sleepers > 0 {
                    self.announce(wakes, side.other().bits());
                }
                return Ok(true);
            }
            let seen = self.announcements();
            if over {
                // If no process was woken since, this one is still counted, or the next wake-up is
                // for another one.
                if wait.is_some_and(|(_, counted)| counted == seen) {
                    held.count_out(1, side);
                }
                return Ok(false);
            }
            held.set_waits(numbers.waits().with_one_more(side));
            drop(held);
            let deadline = match wait {
                None => deadline(timeout)?,
                Some((deadline, _)) => deadline,
            };
            wait = Some((deadline, seen));
            // It is counted as asleep, so it needs no lock before it sleeps.
            while self.announcements() == seen
                && !is_possible(&self.head())
                && !deadline.has_passed().map_err(LockFailure::from)?
            {
                self.sleep(seen, deadline, side.bits())?;
            }
        }
    }
}

impl<H: Numbers> Held<'_, H> {
    fn set_waits(&self, waits: Waits) {
        self.number(WAITS).store(waits.number(), Ordering::Release);
    }

    /// Counts out at most this many sleepers. Returns how many there were.
    fn count_out(&self, sleepers: u64, side: Side) -> u64 {
        let waits = Waits::of(self.number(WAITS).load(Ordering::Relaxed));
        let asleep = waits.asleep(side);
        if asleep > 0 {
            self.set_waits(waits.without(sleepers, side));
        }
        asleep
    }
}

/// Returns the deadline of a wait of at most this long, or without a limit.
pub(crate) fn deadline(timeout: Option<Duration>) -> Result<Deadline, LockFailure> {
    Ok(timeout.map_or(Ok(Deadline::NEVER), Deadline::after)?)
}
