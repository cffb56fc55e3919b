//! What the shared memory says about the health of a central: every reason why it could not serve a
//! batch now.

use std::fs;
use std::time::Duration;

use conventions::duration::GoDuration;
use nix::errno::Errno;

use crate::central::{Phase, Shared, StorageFailure, WorkerState};

/// A reason why a central is not healthy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not every worker accepts.
    #[error("{ready} of {workers} workers accept")]
    Missing {
        /// Workers that accept.
        ready: usize,
        /// Workers that should.
        workers: usize,
    },
    /// Every worker accepts, and the supervisor has not recorded it yet.
    #[error("the central is starting")]
    Starting,
    /// It accepts nothing new.
    #[error("the central is stopping")]
    Stopping,
    /// The supervisor shows no heartbeat.
    #[error("the supervisor (pid {pid}) has shown no heartbeat for {}", GoDuration(*.silence))]
    SilentSupervisor {
        /// Its process id.
        pid: i32,
        /// How long.
        silence: Duration,
    },
    /// A worker shows no heartbeat.
    #[error("worker {slot} (pid {pid}) has shown no heartbeat for {}", GoDuration(*.silence))]
    SilentWorker {
        /// Its slot.
        slot: usize,
        /// Its process id.
        pid: u32,
        /// How long.
        silence: Duration,
    },
    /// A worker waits for the disk.
    #[error("worker {slot} (pid {pid}) has waited for the disk for {}", GoDuration(*.silence))]
    SlowDisk {
        /// Its slot.
        slot: usize,
        /// Its process id.
        pid: u32,
        /// How long.
        silence: Duration,
    },
    /// The disk took no batch and no mark lately.
    #[error("the disk refuses batches: {}", Errno::from_raw(*.errno).desc())]
    DiskRefuses {
        /// The error number.
        errno: i32,
    },
    /// The storage cannot be used any more.
    #[error("{0}")]
    StorageFailed(StorageFailure),
    /// A worker has no connection to the engine.
    #[error("worker {slot} has no connection to the database, so its batches wait")]
    NoEngine {
        /// Its slot.
        slot: usize,
    },
    /// No worker accepts another connection.
    #[error("no place left: every worker has as many connections as it can hold")]
    Full,
    /// The draw is due and has failed.
    #[error("the draw has failed {failures} times and has not been held, see the log")]
    DrawFails {
        /// Number of failed attempts.
        failures: u32,
    },
}

/// Limits for the silence of a process.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Without a heartbeat of a worker.
    pub worker: Duration,
    /// Without a heartbeat of a worker that waits for the disk.
    pub disk: Duration,
    /// Without a heartbeat of the supervisor.
    pub supervisor: Duration,
}

/// For the question whether a batch would be served now. Heartbeats come every 250 ms. Repairs may
/// keep the supervisor busy for longer.
pub const READY: Patience = Patience {
    worker: Duration::from_secs(1),
    disk: Duration::from_secs(5),
    supervisor: Duration::from_secs(5),
};

/// Returns every reason in the shared memory why a batch would not be served now.
pub fn not_ready(shared: &Shared) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let (workers, ready) = (shared.workers.load() as usize, shared.ready_workers());
    match Phase::from_byte(shared.phase.load()) {
        Phase::Draining => reasons.push(Reason::Stopping),
        Phase::Starting | Phase::Serving if ready < workers => {
            reasons.push(Reason::Missing { ready, workers });
        }
        Phase::Starting => reasons.push(Reason::Starting),
        Phase::Serving => {}
    }
    reasons.extend(shared.storage_failure().map(Reason::StorageFailed));
    let errno = shared.disk_refused.load();
    if errno != 0 {
        reasons.push(Reason::DiskRefuses { errno: errno.cast_signed() });
    }
    if ready > 0 && shared.newest_slots().all(|slot| shared.worker_full.load(slot) != 0) {
        reasons.push(Reason::Full);
    }
    let cut_off =
        shared.newest_slots().filter(|slot| shared.worker_without_engine.load(*slot) != 0);
    reasons.extend(cut_off.map(|slot| Reason::NoEngine { slot }));
    let failures = shared.draw_failures.load();
    if failures > 0 && shared.drawn.load() == 0 {
        reasons.push(Reason::DrawFails { failures });
    }
    reasons.extend(silent(shared, READY));
    reasons
}

/// Returns the same as texts.
pub fn unhealthy(shared: &Shared) -> Vec<String> {
    not_ready(shared).iter().map(Reason::to_string).collect()
}

/// Returns the processes that have shown no heartbeat for longer than allowed.
pub fn silent(shared: &Shared, patience: Patience) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let (silence, pid) = (shared.supervisor_silence(), shared.segment.creator().as_raw());
    let limit = if waits_for_disk(pid, false) { patience.disk } else { patience.supervisor };
    if silence > limit {
        reasons.push(Reason::SilentSupervisor { pid, silence });
    }
    for slot in shared.used_slots() {
        let state = WorkerState::from_byte(shared.worker_state.load(slot));
        let silence = shared.worker_silence(slot);
        if matches!(state, WorkerState::Dead | WorkerState::Starting) || silence <= patience.worker
        {
            continue;
        }
        let pid = shared.worker_pid.load(slot);
        let on_disk = shared.worker_on_disk.load(slot) != 0;
        if !waits_for_disk(pid.cast_signed(), on_disk) {
            reasons.push(Reason::SilentWorker { slot, pid, silence });
        } else if silence > patience.disk {
            reasons.push(Reason::SlowDisk { slot, pid, silence });
        }
    }
    reasons
}

/// Returns true if a process waits for the disk: it is in an uninterruptible wait, or `on_disk`
/// says so and it is not stopped there.
fn waits_for_disk(pid: i32, on_disk: bool) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the command in parentheses, which may contain anything.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state == Some('D') || on_disk && !matches!(state, Some('T' | 't'))
}

impl Reason {
    /// Returns true if the reason may be gone in a moment: a busy process shows its heartbeat late,
    /// and a lost connection comes back.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::SilentSupervisor { .. }
                | Self::SilentWorker { .. }
                | Self::SlowDisk { .. }
                | Self::NoEngine { .. }
        )
    }
}
