//! The causes of a broken barrier, in words and as a number in shared memory.

use nix::unistd::Pid;

use crate::sync::lock::LockFailure;

/// The cause of a broken barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BreakCause {
    /// A process called [`abort`](crate::Barrier::abort).
    #[error("it was aborted")]
    Aborted,
    /// A party waited until its timeout.
    #[error("a party ran out of time")]
    TimedOut,
    /// A party died.
    #[error("a party was killed ({0})")]
    PartyDied(Pid),
    /// The action panicked.
    #[error("the action failed")]
    ActionFailed,
    /// A process called [`reset`](crate::Barrier::reset) while others waited.
    #[error("it was reset")]
    Reset,
}

/// The error of a wait at a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// The barrier is broken, or broke during the wait. Python's `BrokenBarrierError`.
    #[error("the barrier is broken: {0}")]
    Broken(BreakCause),
    /// The record has no room for another party; see
    /// [`Plan::participants`](crate::Plan::participants).
    #[error("no more room to record another party")]
    Full,
    /// The operating system refused.
    #[error(transparent)]
    Failed(#[from] LockFailure),
}

impl BreakCause {
    /// Returns the cause as a number that is not 0: the kind, and above it the pid if there is one.
    pub(super) fn code(self) -> u64 {
        match self {
            Self::Aborted => 1,
            Self::TimedOut => 2,
            Self::PartyDied(pid) => 3 | u64::from(pid.as_raw().cast_unsigned()) << 8,
            Self::ActionFailed => 4,
            Self::Reset => 5,
        }
    }

    pub(super) fn from_code(code: u64) -> Self {
        match code & 0xff {
            2 => Self::TimedOut,
            3 => Self::PartyDied(Pid::from_raw((code >> 8) as i32)),
            4 => Self::ActionFailed,
            5 => Self::Reset,
            _ => Self::Aborted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_reads_back_from_its_code() {
        let death = BreakCause::PartyDied(Pid::from_raw(4_194_304));
        for cause in [
            BreakCause::Aborted,
            BreakCause::TimedOut,
            death,
            BreakCause::ActionFailed,
            BreakCause::Reset,
        ] {
            assert_eq!(BreakCause::from_code(cause.code()), cause);
            assert!(cause.code() != 0 && cause.code() >> 62 == 0);
        }
    }
}
