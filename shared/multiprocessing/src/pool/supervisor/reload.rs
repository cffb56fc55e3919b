//! Generations of workers: a reload replaces all workers with new ones, and signals change their
//! number.

use std::num::NonZeroUsize;

use nix::sys::signal::Signal;

use super::Supervisor;
use crate::pool::slot::Slot;
use crate::pool::{PoolEvent, PoolOptions, REOPEN, RETIRE, Refusal, Workload};

impl<W: Workload> Supervisor<'_, W> {
    /// Starts a new generation of workers. The old ones go on until all new ones are ready.
    pub(super) fn reload(&mut self) {
        let Some(options) = self.workload.reload(self.options) else { return };
        let needed = options.workers.get();
        if let Some(reason) = self.lacks_slots(needed) {
            self.workload.observe(&PoolEvent::Refused { signal: Signal::SIGHUP, reason });
            return;
        }
        self.options = PoolOptions { slots: self.options.slots, ..options };
        self.all_ready_reported = false;
        self.workload.observe(&PoolEvent::Reloading { workers: needed });
        (0..self.slots.len()).for_each(|slot| self.leave_generation(slot));
        for _ in 0..needed {
            self.start_in_free_slot();
        }
    }

    /// Adds a worker to the newest generation.
    pub(super) fn grow(&mut self) {
        if let Some(reason) = self.lacks_slots(1) {
            self.workload.observe(&PoolEvent::Refused { signal: Signal::SIGTTIN, reason });
            return;
        }
        self.options.workers = self.options.workers.saturating_add(1);
        self.workload.observe(&PoolEvent::Resized { workers: self.options.workers.get() });
        self.start_in_free_slot();
    }

    /// Retires the worker of the newest generation with the highest slot.
    pub(super) fn shrink(&mut self) {
        let workers = NonZeroUsize::new(self.options.workers.get() - 1);
        let last = self.slots.iter().rposition(Slot::is_current);
        let (Some(workers), Some(last)) = (workers, last) else {
            let reason = Refusal::LastWorker;
            self.workload.observe(&PoolEvent::Refused { signal: Signal::SIGTTOU, reason });
            return;
        };
        self.options.workers = workers;
        self.workload.observe(&PoolEvent::Resized { workers: workers.get() });
        self.leave_generation(last);
        if self.all_ready_reported {
            self.retire_replaced();
        }
    }

    /// Removes a slot from the newest generation.
    fn leave_generation(&mut self, slot: usize) {
        if self.slots[slot].leave_generation() {
            self.workload.observe(&PoolEvent::NotReplaced { slot });
        }
    }

    /// Asks the workers of older generations to retire.
    pub(super) fn retire_replaced(&self) {
        let replaced = self.slots.iter().filter(|slot| !slot.is_current());
        for running in replaced.filter_map(Slot::running) {
            // An error means that the worker is dead already. The loop reaps it next. Asking a
            // worker twice changes nothing.
            let _ = running.process.signal(RETIRE);
        }
    }

    /// Asks the workload and every worker to reopen the log files.
    pub(super) fn reopen(&mut self) {
        self.workload.observe(&PoolEvent::Reopen);
        for running in self.running() {
            // An error means the same as in `retire_replaced`.
            let _ = running.process.signal(REOPEN);
        }
    }

    fn lacks_slots(&self, needed: usize) -> Option<Refusal> {
        let (free, slots) =
            (self.slots.iter().filter(|slot| slot.is_free()).count(), self.slots.len());
        (needed > free).then_some(Refusal::NoFreeSlot { needed, free, slots })
    }

    fn start_in_free_slot(&mut self) {
        if let Some(slot) = self.slots.iter().position(Slot::is_free) {
            self.slots[slot].join_generation();
            self.start_or_retry(slot);
        }
    }
}
