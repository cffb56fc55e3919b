//! A supervised pool of forked workers: n copies of one function, each with a slot number that outlives it.
//!
//! The supervisor forks the workers and then only watches: it reaps what died, has its mess repaired, starts a new one in the
//! same slot, and stops everything in order. It runs no thread and serves nobody, so little can go wrong in it.
//!
//! Life of a slot: *starting* (forked) → *ready* (the worker said so) → *dead* → repaired → *starting* again, at once or after
//! a back-off; or, while the pool stops, *dead* for good.

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

/// Exit code by which a worker says that it cannot serve and another could not either (a bad file, a failed disk): the pool
/// stops instead of trying again.
pub const CANNOT_SERVE: i32 = 3;

/// Signals that operators try on other servers. They must not end this one by their default action.
const IGNORED: [Signal; 5] =
    [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH, Signal::SIGTTIN, Signal::SIGTTOU];

/// What a pool does. The same value is used by the supervisor and, as the copy that fork makes, by every worker.
pub trait Workload {
    /// Serves in a worker process until [`Worker::stop_requested`], then returns the exit code. It calls [`Worker::ready`] once it
    /// can serve. Returning [`CANNOT_SERVE`] stops the pool.
    fn work(&mut self, worker: &Worker) -> i32;

    /// Puts right, in the supervisor, what a dead worker left in shared memory. Runs before the slot is used again. It must
    /// not wait for a living worker without a limit, for the supervisor has everybody to watch: when something is in the way, it
    /// answers [`RepairOutcome::Again`], and the slot stays empty until it has succeeded or the pool stops.
    fn repair(&mut self, slot: usize, exit: Exit) -> RepairOutcome;

    /// Is told what happens, in the supervisor.
    fn observe(&mut self, event: &PoolEvent);
}

/// What came of an attempt to put right what a dead worker left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairOutcome {
    /// The slot can be used again.
    Done,
    /// A living process is in the way; it shall be tried again in a moment.
    Again,
}

/// Something that happened in a pool.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PoolEvent {
    /// A worker was forked.
    Started {
        /// In which slot.
        slot: usize,
        /// As which process.
        pid: Pid,
    },
    /// A worker can serve.
    Ready {
        /// Which.
        slot: usize,
    },
    /// Every worker can serve. Once in a pool's life.
    AllReady,
    /// A worker ended though nobody had asked it to. Repaired already.
    Died {
        /// In which slot.
        slot: usize,
        /// Which process.
        pid: Pid,
        /// How.
        exit: Exit,
        /// After how long.
        uptime: Duration,
        /// What the supervisor does about it.
        next: Next,
    },
    /// No worker could be forked; tried again after a pause.
    SpawnFailed {
        /// For which slot.
        slot: usize,
        /// Why not.
        reason: String,
    },
    /// The pool begins to stop: workers are asked to finish, within the grace.
    Stopping {
        /// The signal that asked for it; `None` when the pool gave up by itself.
        signal: Option<Signal>,
    },
    /// Workers that had not ended were killed: the grace was over, or a second signal asked for haste.
    Killed {
        /// How many.
        workers: usize,
    },
    /// A signal came that means nothing to the pool.
    Ignored {
        /// Which.
        signal: Signal,
    },
}

/// How a pool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A signal asked it to, and every worker is gone.
    Stopped,
    /// A worker said that nobody could serve in its place ([`CANNOT_SERVE`]).
    CannotServe {
        /// In which slot.
        slot: usize,
    },
    /// A slot's workers died again and again.
    CrashLoop {
        /// Which slot.
        slot: usize,
        /// How the last one ended.
        exit: Exit,
    },
}

/// How a pool shall be.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Number of workers.
    pub workers: NonZeroUsize,
    /// How long workers may take to stop before they are killed.
    pub grace: Duration,
}

/// Why a pool could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The first workers could not be started; those that were are gone again.
    #[error("starting worker {slot}: {source}")]
    Start {
        /// For which slot.
        slot: usize,
        /// Why not.
        source: SpawnError,
    },
    /// The operating system refused.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: Errno,
    },
}
