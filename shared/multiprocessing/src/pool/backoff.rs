//! When a dead worker is replaced: at once, after a pause, or never again because its slot only crashes.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::sys::exit::Exit;

/// A worker that served at least this long before it died did not crash at its start: the count begins anew.
const HEALTHY: Duration = Duration::from_secs(5);
/// Pause before the third start in a row; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause, so that a slot is served again within a second of its cause going away.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);
/// Crashes in a row after which the slot is given up. With the pauses in between this takes about 0.7 s plus the crashes.
const CRASHES_TO_GIVE_UP: u32 = 8;

/// What the supervisor does about a dead worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Starts another at once.
    Restart,
    /// Starts another after this pause.
    RestartAfter(Duration),
    /// Stops the pool: this slot only crashes.
    GiveUp,
    /// Stops the pool: the worker said that nobody could serve in its place.
    CannotServe,
    /// Nothing: the pool is stopping.
    Stay,
}

impl Next {
    /// Returns the pause before another worker starts in the slot, if one shall.
    pub(crate) fn pause(self) -> Option<Duration> {
        match self {
            Self::Restart => Some(Duration::ZERO),
            Self::RestartAfter(pause) => Some(pause),
            Self::GiveUp | Self::CannotServe | Self::Stay => None,
        }
    }
}

/// The history of one slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    /// Early deaths in a row, whatever the cause.
    early_deaths: u32,
    /// Those among them that the worker brought on itself.
    crashes: u32,
}

impl Backoff {
    /// Notes a death and decides. A worker that somebody else killed (SIGKILL) or asked to end (SIGTERM, which a worker answers
    /// with exit code 0) never counts as a crash: an operator or the kernel's memory killer is no reason to give up serving.
    pub(super) fn after_death(&mut self, exit: Exit, uptime: Duration, was_ready: bool) -> Next {
        let killed = exit.is_signal(Signal::SIGKILL) || exit.is_signal(Signal::SIGTERM);
        if was_ready && (killed || uptime >= HEALTHY) {
            *self = Self::default();
            return Next::Restart;
        }
        self.early_deaths += 1;
        let asked = was_ready && exit.is_success();
        self.crashes += u32::from(!killed && !asked);
        if self.crashes >= CRASHES_TO_GIVE_UP {
            return Next::GiveUp;
        }
        match self.early_deaths.checked_sub(2) {
            None => Next::Restart,
            Some(doublings) => {
                let pause =
                    FIRST_PAUSE.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
                Next::RestartAfter(pause.min(LONGEST_PAUSE))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABORT: Exit = Exit::Signal { signal: Signal::SIGABRT, core_dumped: false };
    const KILL: Exit = Exit::Signal { signal: Signal::SIGKILL, core_dumped: false };

    #[test]
    fn a_slot_that_only_crashes_is_given_up_after_growing_pauses() {
        let mut backoff = Backoff::default();
        let decisions: Vec<_> = (0..CRASHES_TO_GIVE_UP)
            .map(|_| backoff.after_death(ABORT, Duration::ZERO, true))
            .collect();
        let pauses =
            [10, 20, 40, 80, 160, 320].map(|ms| Next::RestartAfter(Duration::from_millis(ms)));
        assert_eq!(decisions, [&[Next::Restart][..], &pauses, &[Next::GiveUp]].concat());
    }

    #[test]
    fn serving_for_a_while_makes_up_for_earlier_crashes() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            assert_ne!(backoff.after_death(ABORT, Duration::ZERO, true), Next::GiveUp);
            assert_eq!(backoff.after_death(ABORT, HEALTHY, true), Next::Restart);
        }
    }

    #[test]
    fn ready_workers_that_others_kill_are_replaced_at_once_for_ever() {
        let mut backoff = Backoff::default();
        for _ in 0..10_000 {
            assert_eq!(backoff.after_death(KILL, Duration::ZERO, true), Next::Restart);
        }
    }

    #[test]
    fn ready_workers_that_end_when_asked_are_replaced_for_ever_with_pauses_of_less_than_a_second() {
        let mut backoff = Backoff::default();
        let last =
            (0..10_000).map(|_| backoff.after_death(Exit::Code(0), Duration::ZERO, true)).last();
        assert_eq!(last, Some(Next::RestartAfter(LONGEST_PAUSE)));
    }

    #[test]
    fn workers_killed_while_starting_are_replaced_for_ever_with_pauses_of_less_than_a_second() {
        let mut backoff = Backoff::default();
        let last = (0..10_000).map(|_| backoff.after_death(KILL, Duration::ZERO, false)).last();
        assert_eq!(last, Some(Next::RestartAfter(LONGEST_PAUSE)));
    }
}
