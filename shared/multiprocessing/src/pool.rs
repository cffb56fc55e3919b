//! A supervised pool of forked workers: n copies of one function, each with a slot number that its
//! successors keep.
//!
//! The supervisor forks the workers and then only watches them. It reaps dead workers, has the
//! workload repair what they left, starts new ones in the same slots, and stops all of them in
//! order. It has one thread and serves no clients, so little can go wrong in it.
//!
//! Life of a slot: *starting* (forked) → *ready* (reported by the worker) → *dead* → repaired →
//! *starting* again, at once or after a back-off; or, while the pool stops, *dead* for good.

mod backoff;
mod slot;
mod supervisor;
mod worker;

use std::num::NonZeroUsize;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

pub use backoff::Next;
pub(crate) use slot::{Running, SPAWN_PAUSE, Slot};
pub use supervisor::Pool;
pub use worker::Worker;

use crate::sys::exit::Exit;
use crate::sys::fork::SpawnError;

/// Exit code by which a worker reports that it cannot serve and no other could either (a bad file,
/// a failed disk). The pool stops instead of trying again.
pub const CANNOT_SERVE: i32 = 3;

/// Signals that operators use on other servers. They must not end this one by their default action.
const IGNORED: [Signal; 5] =
    [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH, Signal::SIGTTIN, Signal::SIGTTOU];

/// The work of a pool. The supervisor uses the value, and every worker uses the copy that fork
/// makes.
pub trait Workload {
    /// Serves in a worker process until [`Worker::stop_requested`] returns true, then returns the
    /// exit code. It calls [`Worker::ready`] once it can serve. Returning [`CANNOT_SERVE`] stops
    /// the pool.
    fn work(&mut self, worker: &Worker) -> i32;

    /// Repairs, in the supervisor, what a dead worker left in shared memory. Runs before the slot
    /// is used again. It must not wait for a living worker without a limit, because the supervisor
    /// watches all of them. If something is in the way it returns [`RepairOutcome::Again`], and the
    /// slot stays empty until a repair succeeds or the pool stops.
    fn repair(&mut self, slot: usize, exit: Exit) -> RepairOutcome;

    /// Receives each event, in the supervisor.
    fn observe(&mut self, event: &PoolEvent);
}

/// The outcome of an attempt to repair what a dead worker left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairOutcome {
    /// The slot can be used again.
    Done,
    /// A living process is in the way. The supervisor tries again soon.
    Again,
}

/// An event in a pool.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PoolEvent {
    /// A worker was forked.
    Started {
        /// The slot.
        slot: usize,
        /// The process.
        pid: Pid,
    },
    /// A worker can serve.
    Ready {
        /// The slot.
        slot: usize,
    },
    /// Every worker can serve. Occurs once per pool.
    AllReady,
    /// A worker ended without being asked to. It was repaired already.
    Died {
        /// The slot.
        slot: usize,
        /// Its process.
        pid: Pid,
        /// How it ended.
        exit: Exit,
        /// How long it ran.
        uptime: Duration,
        /// What the supervisor does next.
        next: Next,
    },
    /// Forking a worker failed. The supervisor tries again after a pause.
    SpawnFailed {
        /// The slot.
        slot: usize,
        /// The cause.
        reason: String,
    },
    /// The pool begins to stop: it asks the workers to finish within the grace.
    Stopping {
        /// The signal that asked for it. `None` if the pool gave up by itself.
        signal: Option<Signal>,
    },
    /// Workers that had not ended were killed: the grace was over, or a second stop signal came.
    Killed {
        /// Number of workers.
        workers: usize,
    },
    /// A signal came that has no meaning for the pool.
    Ignored {
        /// The signal.
        signal: Signal,
    },
}

/// How a pool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A signal asked it to stop, and every worker is gone.
    Stopped,
    /// A worker reported that no other could serve in its place ([`CANNOT_SERVE`]).
    CannotServe {
        /// The slot.
        slot: usize,
    },
    /// The workers of a slot died again and again.
    CrashLoop {
        /// The slot.
        slot: usize,
        /// How the last one ended.
        exit: Exit,
    },
}

/// The options of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Number of workers.
    pub workers: NonZeroUsize,
    /// How long workers may take to stop before they are killed.
    pub grace: Duration,
}

/// The error of a pool that could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The first workers could not all be started. Those that were are gone again.
    #[error("starting worker {slot}: {source}")]
    Start {
        /// The slot.
        slot: usize,
        /// The cause.
        source: SpawnError,
    },
    /// The operating system returned an error.
    #[error("{action}: {source}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// The cause.
        source: Errno,
    },
}
