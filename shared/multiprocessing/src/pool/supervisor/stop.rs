//! The signals of a pool, and its stop: gracefully, or at once.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{STOP, Supervisor, deadline_after};
use crate::pool::{PoolEvent, REOPEN, Workload};

/// Time after the first request to stop before another one counts. One stop often sends
/// several signals: to the process and to its group, by `timeout` and by a service manager.
const REPEAT_COUNTS_AFTER: Duration = Duration::from_secs(1);
impl<W: Workload> Supervisor<'_, W> {
    /// Handles the signals that have arrived.
    pub(super) fn handle_signals(&mut self) {
        while let Ok(Some(info)) = self.pool.signals.read_signal() {
            let Ok(signal) = Signal::try_from(info.ssi_signo.cast_signed()) else { continue };
            match signal {
                Signal::SIGCHLD => {}
                Signal::SIGQUIT => self.stop_now(signal),
                _ if STOP.contains(&signal) => self.stop_or_repeat(signal),
                REOPEN => self.reopen(),
                Signal::SIGHUP if self.kill_at.is_none() => self.reload(),
                Signal::SIGTTIN if self.kill_at.is_none() => self.grow(),
                Signal::SIGTTOU if self.kill_at.is_none() => self.shrink(),
                _ => self.workload.observe(&PoolEvent::Ignored { signal }),
            }
        }
    }

    fn stop_or_repeat(&mut self, signal: Signal) {
        match self.repeat_counts_at {
            None => {
                self.repeat_counts_at = Some(deadline_after(REPEAT_COUNTS_AFTER));
                self.stop_gracefully(Some(signal));
            }
            Some(time) if Instant::now() >= time => self.stop_now(signal),
            Some(_) => self.workload.observe(&PoolEvent::StopRepeated { signal }),
        }
    }

    /// Asks every worker to finish, and starts the grace period.
    pub(super) fn stop_gracefully(&mut self, signal: Option<Signal>) {
        if self.kill_at.is_some() {
            return;
        }
        self.kill_at = Some(deadline_after(self.options.grace));
        self.workload.observe(&PoolEvent::Stopping { signal });
        for slot in &mut self.slots {
            slot.stop();
            if let Some(running) = slot.running() {
                // An error means that the worker is dead already. The loop reaps it next.
                let _ = running.process.terminate();
            }
        }
    }

    fn stop_now(&mut self, signal: Signal) {
        self.stop_gracefully(Some(signal));
        self.kill_all();
    }

    /// Kills every worker that runs.
    pub(super) fn kill_all(&mut self) {
        let mut workers = 0;
        for running in self.running() {
            workers += 1;
            // An error means the same as in `stop_gracefully`.
            let _ = running.process.kill();
        }
        if workers > 0 {
            self.workload.observe(&PoolEvent::Killed { workers });
        }
    }
}
