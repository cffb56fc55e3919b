//! What the supervisor does regularly: the work of its workload, and the check of the heartbeats.

use std::time::Instant;

use super::{Supervised, Supervisor};
use crate::pool::slot::Slot;
use crate::pool::watchdog::{Stuck, TICK};
use crate::pool::{PoolEvent, Progress, Workload};
use crate::sys::backtrace::read_backtrace;
use crate::sys::proc::activity;

impl<W: Workload> Supervisor<'_, W> {
    /// Lets the workload do its regular work, and signals the workers that are stuck.
    pub(super) fn tick(&mut self) {
        self.handle_backtraces();
        let now = Instant::now();
        let pause = now.saturating_duration_since(self.ticked);
        if pause < TICK {
            return;
        }
        self.ticked = now;
        self.workload.tick();
        let Some(timeout) = self.workload.heartbeat_timeout() else { return };
        for slot in 0..self.slots.len() {
            let Some(running) = self.slots[slot].running_mut() else { continue };
            if pause >= timeout / 2 {
                // This process was suspended or busy. The workers may have been suspended too.
                running.worker.watch.restart(now);
                continue;
            }
            let progress = self.workload.progress(slot);
            // Before the worker is ready, only its report that it is ready counts as progress.
            let heartbeat = if running.is_ready { progress.heartbeat } else { 0 };
            let (progress, pid) = (Progress { heartbeat, ..progress }, running.process.pid());
            let stuck = running.worker.watch.judge(now, timeout, progress, || activity(pid));
            let Some(Stuck { signal, silent, state }) = stuck else { continue };
            // An error means that the worker is dead already. The loop reaps it next.
            let _ = running.process.signal(signal);
            self.workload.observe(&PoolEvent::Stuck { slot, pid, silent, state, signal });
        }
    }

    /// Reads the backtraces of workers that abort.
    pub(super) fn handle_backtraces(&mut self) {
        while let Some((pid, calls)) = read_backtrace(&self.pool.backtrace_reader) {
            let is_sender = |slot: &Slot<Supervised>| {
                slot.running().is_some_and(|running| running.process.pid() == pid)
            };
            if let Some(slot) = self.slots.iter().position(is_sender) {
                self.workload.observe(&PoolEvent::Backtrace { slot, pid, calls });
            }
        }
    }
}
