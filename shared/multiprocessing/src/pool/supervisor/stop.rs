//! The signals of a pool, and its stop: gracefully, or at once.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{STOP, Supervised, Supervisor, deadline_after};
use crate::pool::slot::Slot;
use crate::pool::{PoolEvent, REOPEN, Workload};

/// Time after the first request to stop before another one counts. One stop often sends
/// several signals: to the process and to its group, by `timeout` and by a service manager.
const REPEAT_COUNTS_AFTER: Duration = Duration::from_secs(1);
/// Minimum pause between two attempts to kill a worker that outlives a stop.
const KILL_PAUSE: Duration = Duration::from_secs(1);

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
                Signal::SIGHUP if !self.stopping => self.reload(),
                Signal::SIGTTIN if !self.stopping => self.grow(),
                Signal::SIGTTOU if !self.stopping => self.shrink(),
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

    /// Asks every worker to finish, and starts their grace periods.
    pub(super) fn stop_gracefully(&mut self, signal: Option<Signal>) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        self.workload.observe(&PoolEvent::Stopping { signal });
        for slot in &mut self.slots {
            slot.stop();
            if let Some(running) = slot.running_mut() {
                running.worker.kill_at = Some(deadline_after(running.worker.grace));
                // An error means that the worker is dead already. The loop reaps it next.
                let _ = running.process.terminate();
            }
        }
    }

    fn stop_now(&mut self, signal: Signal) {
        self.stop_gracefully(Some(signal));
        self.kill(|_| true);
    }

    /// Kills the running workers for which `is_due` returns true.
    pub(super) fn kill(&mut self, is_due: impl Fn(&Supervised) -> bool) {
        let mut workers = 0;
        let running = self.slots.iter_mut().filter_map(Slot::running_mut);
        for running in running.filter(|running| is_due(&running.worker)) {
            workers += 1;
            // An error means the same as in `stop_gracefully`.
            let _ = running.process.kill();
            // A killed worker may take long to end only inside the kernel.
            let pause = running.worker.grace.max(KILL_PAUSE);
            running.worker.kill_at = Some(deadline_after(pause));
        }
        if workers > 0 {
            self.workload.observe(&PoolEvent::Killed { workers });
        }
    }
}
