//! The watchdog of a pool: detects a worker that makes no progress, and ends it.
//!
//! A worker is stuck if its heartbeat has not changed for the whole timeout, with two exceptions.
//! Time in an operation that the worker has declared, or in an uninterruptible wait of the kernel,
//! does not count, because killing the worker would not shorten it. A worker that could run but
//! gets no processor is not stuck either. A stopped process (SIGSTOP) has no exceptions.
//!
//! The supervisor measures the time between changes with its own clock. After a suspension of the
//! supervisor itself, or of the whole machine, every worker gets the whole timeout again.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::sys::proc::Activity;

/// Time between two calls of [`Workload::tick`](super::Workload::tick), and two checks of the
/// heartbeats.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// How long an aborted worker may take to end before it is killed. Its handler of SIGABRT only
/// writes the backtrace.
const ABORT_PAUSE: Duration = Duration::from_secs(2);
/// Part of the timeout that a runnable worker must have spent on a processor, without a heartbeat,
/// to count as stuck.
const PROCESSOR_PART: u32 = 8;

/// What a worker shows of its progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// A number that changes with each heartbeat, such as a counter or a time.
    pub heartbeat: u64,
    /// True during an operation whose duration depends on a device, such as `fdatasync`. Its time
    /// does not count, unless the process is stopped.
    pub excused: bool,
}

/// The watchdog's knowledge about one running worker.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The last heartbeat.
    heartbeat: u64,
    /// When it last changed, as far as it counts.
    since: Instant,
    /// Processor time of the worker when the watchdog first had a doubt.
    doubt: Option<Duration>,
    stage: Stage,
}

/// How far the watchdog is with a worker.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Watched,
    /// Got SIGABRT at this time.
    Aborted(Instant),
    Killed,
}

/// The decision to signal a stuck worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stuck {
    /// SIGABRT, or SIGKILL for a process that does not react to it.
    pub(super) signal: Signal,
    /// How long there was no heartbeat.
    pub(super) silent: Duration,
    /// State of the process as the letter in `/proc/PID/stat`.
    pub(super) state: char,
}

impl Watch {
    /// Returns the watch of a worker that starts now.
    pub(super) fn new(now: Instant) -> Self {
        Self { heartbeat: 0, since: now, doubt: None, stage: Stage::Watched }
    }

    /// Starts to count again from now.
    pub(super) fn restart(&mut self, now: Instant) {
        self.since = now;
        self.doubt = None;
    }

    /// Decides what to do about the worker, given its progress now. `look` reads what its process
    /// does; it is called only about a silent worker.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        timeout: Duration,
        progress: Progress,
        look: impl FnOnce() -> Option<Activity>,
    ) -> Option<Stuck> {
        let silent = now.saturating_duration_since(self.since);
        match self.stage {
            Stage::Watched => {}
            Stage::Aborted(at) if now.saturating_duration_since(at) >= ABORT_PAUSE => {
                self.stage = Stage::Killed;
                let state = look().map_or('?', |activity| activity.state);
                return Some(Stuck { signal: Signal::SIGKILL, silent, state });
            }
            Stage::Aborted(_) | Stage::Killed => return None,
        }
        if progress.heartbeat != self.heartbeat {
            self.heartbeat = progress.heartbeat;
            self.restart(now);
            return None;
        }
        // Half of the timeout is for doubts: reading /proc for each worker at each tick would be
        // wasteful.
        if silent < timeout / 2 {
            return None;
        }
        let Activity { state, processor } = look()?;
        let is_stopped = matches!(state, 'T' | 't');
        if !is_stopped && (progress.excused || state == 'D') {
            self.restart(now);
            return None;
        }
        let used = processor.saturating_sub(*self.doubt.get_or_insert(processor));
        let is_starved = state == 'R' && used < timeout / PROCESSOR_PART;
        if silent < timeout || is_starved {
            return None;
        }
        let signal = if is_stopped {
            // It would not react to SIGABRT, and the others would wait for longer.
            self.stage = Stage::Killed;
            Signal::SIGKILL
        } else {
            self.stage = Stage::Aborted(now);
            Signal::SIGABRT
        };
        Some(Stuck { signal, silent, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(8);

    /// Lets a worker be watched for `seconds`, and returns when it got which signal. `worker` says
    /// what it shows in each second.
    fn watched(
        seconds: u64,
        worker: impl Fn(u64) -> (Progress, char, Duration),
    ) -> Vec<(u64, Signal)> {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        let second = |second| {
            let (progress, state, processor) = worker(second);
            let now = start + Duration::from_secs(second);
            let look = || Some(Activity { state, processor });
            Some((second, watch.judge(now, TIMEOUT, progress, look)?.signal))
        };
        (0..seconds).filter_map(second).collect()
    }

    fn beat(heartbeat: u64) -> Progress {
        Progress { heartbeat, excused: false }
    }

    const EXCUSED: Progress = Progress { heartbeat: 0, excused: true };

    #[test]
    fn a_worker_that_shows_progress_is_left_alone() {
        let slow = |second| (beat(second / 7), 'R', Duration::from_secs(second));
        assert_eq!(watched(1000, slow), []);
    }

    #[test]
    fn a_worker_that_only_computes_is_aborted_after_the_timeout_and_killed_after_two_more_seconds()
    {
        let spins = |second| (beat(0), 'R', Duration::from_secs(second));
        assert_eq!(watched(100, spins), [(8, Signal::SIGABRT), (10, Signal::SIGKILL)]);
    }

    #[test]
    fn a_worker_that_waits_for_something_else_is_aborted_after_the_timeout() {
        let waits = |_| (beat(0), 'S', Duration::ZERO);
        assert_eq!(watched(100, waits), [(8, Signal::SIGABRT), (10, Signal::SIGKILL)]);
    }

    #[test]
    fn a_stopped_worker_is_killed_after_the_timeout_even_in_a_declared_operation() {
        for state in ['T', 't'] {
            assert_eq!(watched(100, |_| (EXCUSED, state, Duration::ZERO)), [(8, Signal::SIGKILL)]);
        }
    }

    #[test]
    fn a_worker_in_a_declared_operation_or_an_uninterruptible_wait_is_left_alone() {
        assert_eq!(watched(1000, |_| (EXCUSED, 'S', Duration::ZERO)), []);
        assert_eq!(watched(1000, |_| (beat(0), 'D', Duration::ZERO)), []);
    }

    #[test]
    fn the_timeout_counts_from_the_end_of_a_declared_operation() {
        let ends = |second| match second {
            0..=100 => (EXCUSED, 'S', Duration::ZERO),
            _ => (beat(0), 'S', Duration::ZERO),
        };
        let signals = watched(200, ends);
        assert!(matches!(signals[0], (105..=109, Signal::SIGABRT)), "{signals:?}");
    }

    #[test]
    fn a_worker_without_a_processor_is_left_alone_until_it_has_used_one() {
        let starved = |_| (beat(0), 'R', Duration::from_millis(500));
        assert_eq!(watched(1000, starved), []);
        let slowed = |second| (beat(0), 'R', Duration::from_millis(second * 10));
        assert_eq!(watched(1000, slowed)[0], (104, Signal::SIGABRT));
    }
}
