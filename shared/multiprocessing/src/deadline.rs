//! Until when a wait may last, on the monotonic clock.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// After so long asleep a waiter looks by itself: its wake-up may be lost with a process that was killed, and somebody it waits
/// for may be dead.
pub(crate) const LONGEST_SLEEP: TimeSpec = TimeSpec::new(0, 100_000_000);

/// Longer waits than this are the same as for ever, and the sum of clock and timeout must not overflow.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1 << 32);

/// The end of a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<TimeSpec>);

impl Deadline {
    /// However long it takes.
    pub(crate) const NEVER: Self = Self(None);

    /// So long from now.
    pub(crate) fn after(timeout: Duration) -> Result<Self, Errno> {
        Ok(Self(Some(now()? + TimeSpec::from_duration(timeout.min(LONGEST_WAIT)))))
    }

    /// Whether it is over.
    pub(crate) fn has_passed(self) -> Result<bool, Errno> {
        self.0.map_or(Ok(false), |end| Ok(now()? >= end))
    }

    /// How long there is left, for poll; `None` for ever.
    pub(crate) fn left(self) -> Result<Option<TimeSpec>, Errno> {
        let Some(end) = self.0 else { return Ok(None) };
        let now = now()?;
        Ok(Some(end.max(now) - now))
    }

    /// When the next look around is due, or the end if that is earlier.
    pub(crate) fn next_look(self) -> Result<TimeSpec, Errno> {
        let look = now()? + LONGEST_SLEEP;
        Ok(self.0.map_or(look, |end| end.min(look)))
    }

    /// The same as the end of a wait of its own.
    pub(crate) fn look(self) -> Result<Self, Errno> {
        Ok(Self(Some(self.next_look()?)))
    }
}

/// The monotonic clock.
pub(crate) fn now() -> Result<TimeSpec, Errno> {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
}
