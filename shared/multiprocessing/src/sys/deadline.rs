//! The deadlines of waits, on the monotonic clock.

use std::sync::atomic::{AtomicU64, Ordering};
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

/// The time of the next check that this process computed last: seconds, and in the lowest bits
/// nanoseconds.
static KNOWN_LOOK: AtomicU64 = AtomicU64::new(0);
/// Number of bits that hold the nanoseconds of a second.
const NANOSECOND_BITS: u32 = 30;

/// The end of a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<TimeSpec>);

impl Deadline {
    /// The deadline of a wait without a limit.
    pub(crate) const NEVER: Self = Self(None);

    /// Returns the moment this far from now.
    pub(crate) fn after(timeout: Duration) -> Result<Self, Errno> {
        Ok(Self(Some(now()? + TimeSpec::from_duration(timeout.min(LONGEST_WAIT)))))
    }

    /// Returns true if the deadline has passed.
    pub(crate) fn has_passed(self) -> Result<bool, Errno> {
        self.0.map_or(Ok(false), |end| Ok(now()? >= end))
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

/// Returns a time of the next check without reading the clock, which takes as long as taking a free
/// mutex. Usually that time has passed already, so a wait until then ends at once. It is never
/// later than what [`new_look`] would return.
pub(crate) fn known_look() -> TimeSpec {
    unpacked(KNOWN_LOOK.load(Ordering::Relaxed))
}

/// Reads the clock and returns when a waiter checks next.
pub(crate) fn new_look() -> Result<TimeSpec, Errno> {
    let look = now()? + LONGEST_SLEEP;
    KNOWN_LOOK.store(packed(look), Ordering::Relaxed);
    Ok(look)
}

/// Returns a moment of the monotonic clock as one number, which can be stored in one step.
fn packed(moment: TimeSpec) -> u64 {
    moment.tv_sec().cast_unsigned() << NANOSECOND_BITS | moment.tv_nsec().cast_unsigned()
}

fn unpacked(moment: u64) -> TimeSpec {
    let nanoseconds = moment & ((1 << NANOSECOND_BITS) - 1);
    TimeSpec::new((moment >> NANOSECOND_BITS).cast_signed(), nanoseconds.cast_signed())
}

/// Returns the time of the monotonic clock.
pub(crate) fn now() -> Result<TimeSpec, Errno> {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back_from_its_number() {
        for (seconds, nanoseconds) in [(0, 0), (1, 999_999_999), (1 << 33, 5)] {
            let moment = TimeSpec::new(seconds, nanoseconds);
            assert_eq!(unpacked(packed(moment)), moment);
        }
    }
}
