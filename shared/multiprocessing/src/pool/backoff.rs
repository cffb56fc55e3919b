//! The restart policy of a slot: replace a dead worker at once, after a pause, or give up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::sys::exit::Exit;

/// Minimum uptime of a ready worker whose death is not early, and is followed by no pause.
const HEALTHY: Duration = Duration::from_secs(5);
/// Pause after the second early death in a row. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause. Once the cause of the deaths is gone, a slot serves again within a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);
/// Crashes within [`CRASH_WINDOW`] after which the supervisor gives up. If all of them are early,
/// the pauses in between sum to about 0.7 s.
const CRASHES_TO_GIVE_UP: usize = 8;
/// Time in which crashes count together. A slot whose workers crash every 90 s is kept: most of the
/// time it serves.
const CRASH_WINDOW: Duration = Duration::from_secs(600);

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
    /// Leaves the slot free, because a newer generation has replaced the worker.
    Replaced,
}

impl Next {
    /// Returns the pause before a replacement starts, or `None` if there is no replacement.
    pub(crate) fn pause(self) -> Option<Duration> {
        match self {
            Self::Restart => Some(Duration::ZERO),
            Self::RestartAfter(pause) => Some(pause),
            Self::GiveUp | Self::CannotServe | Self::Stay | Self::Replaced => None,
        }
    }
}

/// Counts of recent deaths in one slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    /// Early deaths in a row, of any cause.
    early_deaths: u32,
    /// Times of the last deaths that the workers caused themselves, oldest first. Fewer than
    /// [`CRASHES_TO_GIVE_UP`].
    crashes: VecDeque<Instant>,
}

impl Backoff {
    /// Counts a death at the time `now` and decides what happens to the slot.
    ///
    /// A worker that another process killed (SIGKILL) or asked to end (SIGTERM, after which a ready
    /// worker exits with 0) never counts as a crash. The pool must not give up because of an
    /// operator or the kernel's OOM killer.
    pub(super) fn after_death(
        &mut self,
        exit: Exit,
        uptime: Duration,
        was_ready: bool,
        now: Instant,
    ) -> Next {
        let killed = exit.is_signal(Signal::SIGKILL) || exit.is_signal(Signal::SIGTERM);
        let asked = was_ready && exit.is_success();
        if !killed && !asked {
            self.crashes.push_back(now);
            self.crashes.retain(|crash| now.duration_since(*crash) < CRASH_WINDOW);
            if self.crashes.len() >= CRASHES_TO_GIVE_UP {
                return Next::GiveUp;
            }
        }
        if was_ready && (killed || uptime >= HEALTHY) {
            self.early_deaths = 0;
            return Next::Restart;
        }
        self.early_deaths += 1;
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

    /// Returns the decisions after deaths of ready workers, each of which lived this long.
    fn decisions(exit: Exit, uptime: Duration, deaths: u32) -> Vec<Next> {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        (1..=deaths)
            .map(|death| backoff.after_death(exit, uptime, true, start + uptime * death))
            .collect()
    }

    #[test]
    fn a_crash_loop_is_given_up_after_growing_pauses() {
        let pauses =
            [10, 20, 40, 80, 160, 320].map(|ms| Next::RestartAfter(Duration::from_millis(ms)));
        let expected = [&[Next::Restart][..], &pauses, &[Next::GiveUp]].concat();
        assert_eq!(decisions(ABORT, Duration::ZERO, 8), expected);
    }

    #[test]
    fn a_slow_crash_loop_is_given_up_without_pauses() {
        for uptime in [HEALTHY, CRASH_WINDOW / 8] {
            let expected = [&[Next::Restart; 7][..], &[Next::GiveUp]].concat();
            assert_eq!(decisions(ABORT, uptime, 8), expected, "{uptime:?}");
        }
    }

    #[test]
    fn crashes_that_do_not_fit_into_the_window_are_never_given_up() {
        assert_eq!(decisions(ABORT, CRASH_WINDOW / 6, 100), [Next::Restart; 100]);
    }

    #[test]
    fn crashes_of_different_causes_count_together() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let causes = [ABORT, Exit::Code(1), Exit::Code(101)].into_iter().cycle();
        let decisions = causes.map(|exit| backoff.after_death(exit, HEALTHY, true, now));
        assert_eq!(decisions.take(8).last(), Some(Next::GiveUp));
    }

    #[test]
    fn killed_ready_workers_are_always_replaced_at_once() {
        assert_eq!(decisions(KILL, Duration::ZERO, 10_000), [Next::Restart; 10_000]);
    }

    #[test]
    fn ready_workers_that_exit_with_0_are_always_replaced_within_a_second() {
        let last = decisions(Exit::Code(0), Duration::ZERO, 10_000).pop();
        assert_eq!(last, Some(Next::RestartAfter(LONGEST_PAUSE)));
    }

    #[test]
    fn workers_killed_while_starting_are_always_replaced_within_a_second() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let deaths = (0..10_000).map(|_| backoff.after_death(KILL, Duration::ZERO, false, now));
        assert_eq!(deaths.last(), Some(Next::RestartAfter(LONGEST_PAUSE)));
    }
}
