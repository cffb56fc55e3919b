//! The heartbeats of the processes, by which the supervisor and `loteria-central health` recognize
//! one that is stopped or stuck.

use std::time::Duration;

use multiprocessing::{Progress, RawArray};
use nix::time::{ClockId, clock_gettime};

use super::Shared;

/// The heartbeat of this process, if it is a worker. The supervisor's own is a plain value.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    times: RawArray<u64>,
    on_disk: RawArray<u8>,
    /// Slot of this worker.
    slot: Option<usize>,
}

impl Heartbeat {
    /// Returns the heartbeat of a process that is no worker: it writes nothing.
    pub(super) fn none(shared: &Shared) -> Self {
        let (times, on_disk) = (&shared.worker_heartbeat_ms, &shared.worker_on_disk);
        Self { times: times.clone(), on_disk: on_disk.clone(), slot: None }
    }

    /// Makes this the heartbeat of the worker in a slot.
    pub(super) fn start(&mut self, slot: usize) {
        self.slot = Some(slot);
        self.beat();
    }

    /// Returns the slot of this worker; `None` in a process that is no worker.
    pub(super) fn slot(&self) -> Option<usize> {
        self.slot
    }

    /// Writes the heartbeat of this process.
    pub fn beat(&self) {
        if let Some(slot) = self.slot {
            self.times.store(slot, monotonic_ms());
        }
    }

    /// Runs an operation whose duration depends on the disk. The watchdog does not count its
    /// time: killing the worker would not make the disk faster.
    pub fn on_disk<T>(&self, operation: impl FnOnce() -> T) -> T {
        let Some(slot) = self.slot else { return operation() };
        let before = self.on_disk.load(slot);
        self.on_disk.store(slot, 1);
        let result = operation();
        self.beat();
        self.on_disk.store(slot, before);
        result
    }
}

impl Shared {
    /// Returns what the worker in a slot shows of its progress.
    pub fn progress(&self, slot: usize) -> Progress {
        Progress {
            heartbeat: self.worker_heartbeat_ms.load(slot),
            excused: self.worker_on_disk.load(slot) != 0,
        }
    }

    /// Writes the heartbeat of the supervisor.
    pub fn beat_as_supervisor(&self) {
        self.supervisor_heartbeat_ms.store(monotonic_ms());
    }
}

/// Returns the time of the monotonic clock, which all processes of the machine share. It stands
/// still while the machine is suspended. The coarse clock is exact to some milliseconds, and
/// reading it for each request costs next to nothing.
fn monotonic_ms() -> u64 {
    let clock = ClockId::CLOCK_MONOTONIC_COARSE;
    let now = clock_gettime(clock).map(Duration::from).unwrap_or_default();
    now.as_millis() as u64
}
