//! Until when a wait may last, on the monotonic clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// After so long asleep a waiter looks by itself: its wake-up may be lost with a process that was killed, and somebody it waits
/// for may be dead.
pub(crate) const LONGEST_SLEEP: TimeSpec = TimeSpec::new(0, 100_000_000);

/// Longer waits than this are the same as for ever, and the sum of clock and timeout must not overflow.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1 << 32);

/// The look around that was worked out last in this process: seconds, and in the lowest bits nanoseconds.
static KNOWN_LOOK: AtomicU64 = AtomicU64::new(0);
/// Enough for the nanoseconds of a second.
const NANOSECOND_BITS: u32 = 30;

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
        let look = new_look()?;
        Ok(self.0.map_or(look, |end| end.min(look)))
    }

    /// The same as the end of a wait of its own.
    pub(crate) fn look(self) -> Result<Self, Errno> {
        Ok(Self(Some(self.next_look()?)))
    }
}

/// When a look around is due, for one who mostly need not wait: to ask the clock takes as long as to take a free mutex. As a rule
/// that moment is over, and then a wait until it ends at once; never is it later than [`new_look`] would say.
pub(crate) fn known_look() -> TimeSpec {
    unpacked(KNOWN_LOOK.load(Ordering::Relaxed))
}

/// When the next look around is due, by the clock.
pub(crate) fn new_look() -> Result<TimeSpec, Errno> {
    let look = now()? + LONGEST_SLEEP;
    KNOWN_LOOK.store(packed(look), Ordering::Relaxed);
    Ok(look)
}

/// A moment of the monotonic clock as one number, which is stored in one step.
fn packed(moment: TimeSpec) -> u64 {
    moment.tv_sec().cast_unsigned() << NANOSECOND_BITS | moment.tv_nsec().cast_unsigned()
}

fn unpacked(moment: u64) -> TimeSpec {
    let nanoseconds = moment & ((1 << NANOSECOND_BITS) - 1);
    TimeSpec::new((moment >> NANOSECOND_BITS).cast_signed(), nanoseconds.cast_signed())
}

/// The monotonic clock.
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
