//! The restart policy of a slot: replace a dead worker at once, after a pause, or give up.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::sys::exit::Exit;

/// Minimum uptime of a ready worker whose death is not part of a crash loop. It resets the counts.
const HEALTHY: Duration = Duration::from_secs(5);
/// Pause after the second early death in a row. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause. Once the cause of the deaths is gone, a slot serves again within a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);
/// Crashes in a row after which the supervisor gives up. The pauses in between sum to about 0.7 s.
const CRASHES_TO_GIVE_UP: u32 = 8;

/// The supervisor's decision after the death of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Starts a replacement at once.
    Restart,
    /// Starts a replacement after this pause.
    RestartAfter(Duration),
    /// Stops the pool, because the workers of this slot crash in a loop.
    GiveUp,
    /// Stops the pool, because the worker ended with [`CANNOT_SERVE`](crate::CANNOT_SERVE).
    CannotServe,
    /// Leaves the slot empty, because the pool is stopping.
    Stay,
}

impl Next {
    /// Returns the pause before a replacement starts, or `None` if there is no replacement.
    pub(crate) fn pause(self) -> Option<Duration> {
        match self {
            Self::Restart => Some(Duration::ZERO),
            Self::RestartAfter(pause) => Some(pause),
            Self::GiveUp | Self::CannotServe | Self::Stay => None,
        }
    }
}

/// Counts of recent deaths in one slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    /// Early deaths in a row, of any cause.
    early_deaths: u32,
    /// Early deaths in a row that the worker caused itself.
    crashes: u32,
}

impl Backoff {
    /// Counts a death and decides what happens to the slot.
    ///
    /// A worker that another process killed (SIGKILL) or asked to end (SIGTERM, after which a ready
    /// worker exits with 0) never counts as a crash. The pool must not give up because of an
    /// operator or the kernel's OOM killer.
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
    fn a_crash_loop_is_given_up_after_growing_pauses() {
        let mut backoff = Backoff::default();
        let decisions: Vec<_> = (0..CRASHES_TO_GIVE_UP)
            .map(|_| backoff.after_death(ABORT, Duration::ZERO, true))
            .collect();
        let pauses =
            [10, 20, 40, 80, 160, 320].map(|ms| Next::RestartAfter(Duration::from_millis(ms)));
        assert_eq!(decisions, [&[Next::Restart][..], &pauses, &[Next::GiveUp]].concat());
    }

    #[test]
    fn a_death_after_healthy_uptime_resets_the_crash_count() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            assert_ne!(backoff.after_death(ABORT, Duration::ZERO, true), Next::GiveUp);
            assert_eq!(backoff.after_death(ABORT, HEALTHY, true), Next::Restart);
        }
    }

    #[test]
    fn killed_ready_workers_are_always_replaced_at_once() {
        let mut backoff = Backoff::default();
        for _ in 0..10_000 {
            assert_eq!(backoff.after_death(KILL, Duration::ZERO, true), Next::Restart);
        }
    }

    #[test]
    fn ready_workers_that_exit_with_0_are_always_replaced_within_a_second() {
        let mut backoff = Backoff::default();
        let last =
            (0..10_000).map(|_| backoff.after_death(Exit::Code(0), Duration::ZERO, true)).last();
        assert_eq!(last, Some(Next::RestartAfter(LONGEST_PAUSE)));
    }

    #[test]
    fn workers_killed_while_starting_are_always_replaced_within_a_second() {
        let mut backoff = Backoff::default();
        let last = (0..10_000).map(|_| backoff.after_death(KILL, Duration::ZERO, false)).last();
        assert_eq!(last, Some(Next::RestartAfter(LONGEST_PAUSE)));
    }
}
