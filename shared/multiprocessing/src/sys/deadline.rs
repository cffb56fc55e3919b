//! The deadlines of waits, on the monotonic clock.

use std::cell::Cell;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// How long a waiter sleeps before it checks by itself. Its wake-up may be lost with a process that
/// was killed, and a process that it waits for may be dead.
pub(crate) const LONGEST_SLEEP: TimeSpec = TimeSpec::new(0, 100_000_000);

/// The longest timeout. A longer one is shortened to this length, so that the sum of clock and
/// timeout does not overflow.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1 << 32);

thread_local! {
    /// The time of the next check that this thread computed last.
    static KNOWN_LOOK: Cell<TimeSpec> = const { Cell::new(TimeSpec::new(0, 0)) };
}

/// The end of a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<TimeSpec>);

impl Deadline {
    /// The deadline of a wait without a limit.
    pub(crate) const NEVER: Self = Self(None);
    /// A moment that has passed. Its checks need no look at the clock.
    const PASSED: Self = Self(Some(TimeSpec::new(0, 0)));

    /// Returns the moment this far from now.
    pub(crate) fn after(timeout: Duration) -> Result<Self, Errno> {
        if timeout.is_zero() {
            return Ok(Self::PASSED);
        }
        Ok(Self(Some(now()? + TimeSpec::from_duration(timeout.min(LONGEST_WAIT)))))
    }

    /// Returns true if the deadline has passed.
    pub(crate) fn has_passed(self) -> Result<bool, Errno> {
        let Some(end) = self.0 else { return Ok(false) };
        Ok(self.0 == Self::PASSED.0 || now()? >= end)
    }

    /// Returns the time that is left, for poll. `None` means no limit.
    pub(crate) fn left(self) -> Result<Option<TimeSpec>, Errno> {
        let Some(end) = self.0 else { return Ok(None) };
        let now = now()?;
        Ok(Some(end.max(now) - now))
    }

    /// Returns when a waiter checks next, or the deadline if that is earlier.
    pub(crate) fn next_look(self) -> Result<TimeSpec, Errno> {
        let look = new_look()?;
        Ok(self.0.map_or(look, |end| end.min(look)))
    }

    /// Returns the same moment as a deadline.
    pub(crate) fn look(self) -> Result<Self, Errno> {
        Ok(Self(Some(self.next_look()?)))
    }
}

/// Passes a time of the next check without reading the clock, which takes as long as taking a free
/// mutex. Usually that time has passed already, so a wait until then ends at once. It is never
/// later than what [`new_look`] would return. `wait` gets it where it is, without a copy.
#[inline]
pub(crate) fn with_known_look<R>(wait: impl FnOnce(&Cell<TimeSpec>) -> R) -> R {
    KNOWN_LOOK.with(wait)
}

/// Reads the clock and returns when a waiter checks next.
pub(crate) fn new_look() -> Result<TimeSpec, Errno> {
    let look = now()? + LONGEST_SLEEP;
    KNOWN_LOOK.set(look);
    Ok(look)
}

/// Returns the time of the monotonic clock.
pub(crate) fn now() -> Result<TimeSpec, Errno> {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
}

/// Returns the time of the monotonic clock in milliseconds.
pub(crate) fn now_in_ms() -> Result<u64, Errno> {
    let now = now()?;
    Ok(now.tv_sec().cast_unsigned() * 1000 + now.tv_nsec().cast_unsigned() / 1_000_000)
}
