//! A supervised pool of worker processes: `n` copies of one function. Each worker runs in a
//! numbered slot, and its replacement runs in the same slot.
//!
//! The supervisor starts the workers. After that it only reaps dead workers, runs the repair of the
//! state they left, starts replacements, and stops the pool gracefully. It handles no requests. A
//! supervisor that forks has one thread, so that it can safely fork at any time.
//!
//! Life cycle of a slot: *starting* (forked) → *ready* (reported by the worker) → *dead* → repaired
//! → *starting* again, at once or after a back-off. While the pool stops, a dead worker is not
//! replaced.
//!
//! A *reload* (SIGHUP) starts a new generation of workers in free slots. Once all of them are
//! ready, the workers of older generations retire: they take no new work and return when they have
//! finished what they have. So a pool that reloads needs more slots than workers. SIGTTIN and
//! SIGTTOU change the number of workers by one, and SIGUSR1 asks every process to reopen its log
//! files.
//!
//! A pool whose workload has a [heartbeat timeout](Workload::heartbeat_timeout) also ends workers
//! that are stopped or stuck: the watchdog sends SIGABRT, and two seconds later SIGKILL.

mod backoff;
mod refusal;
mod slot;
mod supervisor;
mod watchdog;
mod worker;

use std::num::NonZeroUsize;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

pub use backoff::Next;
pub use refusal::Refusal;
pub(crate) use slot::{Running, SPAWN_PAUSE, Slot};
pub use supervisor::Pool;
pub use watchdog::Progress;
pub use worker::{StopRequest, Worker};

use crate::sys::exit::Exit;
use crate::sys::spawn_error::SpawnError;

/// Exit code of a worker whose replacement would fail as well, for example because of a corrupt
/// file or a failed disk. The pool stops instead of starting a replacement.
pub const CANNOT_SERVE: i32 = 3;

/// Signals that have a meaning for other servers. Their default action would end this one.
const IGNORED: [Signal; 2] = [Signal::SIGUSR2, Signal::SIGWINCH];
/// Asks the program to reopen its log files. The supervisor forwards it to the workers.
const REOPEN: Signal = Signal::SIGUSR1;
/// Asks a worker to retire. Workers obey it only if the supervisor sends it.
const RETIRE: Signal = Signal::SIGUSR2;

/// The program that a pool runs. The supervisor uses the value itself, and each worker uses a copy:
/// the one that fork makes, or in [`Pool::run_spawned`] the one that serde makes.
pub trait Workload {
    /// Serves in a worker process until [`Worker::stop_requested`], then returns the exit code. It
    /// calls [`Worker::ready`] once it can serve. Returning [`CANNOT_SERVE`] stops the pool.
    ///
    /// [`Worker::requested`] distinguishes a stop within the grace period from retirement after a
    /// reload, which has no time limit.
    fn work(&mut self, worker: &Worker) -> i32;

    /// Repairs, in the supervisor, the shared state that a dead worker left. Runs before the slot
    /// is used again.
    ///
    /// It must not wait for a living worker without a limit, since the supervisor watches no other
    /// worker meanwhile. If a living process blocks the repair, it returns
    /// [`RepairOutcome::Again`]. The slot then stays empty until a repair succeeds or the pool
    /// stops.
    fn repair(&mut self, slot: usize, exit: Exit) -> RepairOutcome;

    /// Returns true if the worker that has just died in this slot had done useful work. Runs in the
    /// supervisor.
    ///
    /// The pool gives up a slot whose workers crash in a loop. Useful work ends such a loop.
    fn has_worked(&mut self, slot: usize) -> bool {
        let _ = slot;
        false
    }

    /// Reads again what the workers depend on, in the supervisor, because of a SIGHUP. Returns the
    /// options that apply from now on, of which `slots` cannot change, or `None` to change nothing.
    ///
    /// The pool accepts the options with [`PoolEvent::Reloading`], before it forks the new workers,
    /// or refuses them with [`PoolEvent::Refused`]. So the workload applies what it has read only
    /// when it observes the former. The default keeps the options and replaces all workers.
    fn reload(&mut self, options: PoolOptions) -> Option<PoolOptions> {
        Some(options)
    }

    /// Handles an event of the pool, in the supervisor.
    fn observe(&mut self, event: &PoolEvent);

    /// Does what the supervisor has to do regularly. Runs about four times per second, later after
    /// a repair that takes long. It must not wait.
    fn tick(&mut self) {}

    /// Returns how long a worker may show no progress before the watchdog ends it, or `None` for
    /// no limit. It also limits the time from the fork of a worker to [`Worker::ready`]. The
    /// supervisor asks at every tick.
    ///
    /// The watchdog sends SIGABRT, so that [`PoolEvent::Backtrace`] shows what the worker did, and
    /// SIGKILL two seconds later. A stopped process gets SIGKILL at once. After that the worker is
    /// repaired and replaced like any dead one. A timeout below a second is imprecise.
    fn heartbeat_timeout(&self) -> Option<Duration> {
        None
    }

    /// Returns the progress of the worker in a slot, which the worker usually writes to shared
    /// memory. The watchdog asks at every tick.
    fn progress(&self, _slot: usize) -> Progress {
        Progress::default()
    }
}

/// Outcome of an attempt to repair the state that a dead worker left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairOutcome {
    /// The slot can be used again.
    Done,
    /// A living process blocks the repair. The supervisor retries it shortly.
    Again,
}

/// An event in the life of a pool.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PoolEvent {
    /// A worker was forked.
    Started {
        /// The worker's slot.
        slot: usize,
        /// The worker's process id.
        pid: Pid,
    },
    /// A worker can serve.
    Ready {
        /// The worker's slot.
        slot: usize,
    },
    /// Every worker of the newest generation can serve. Reported once after the start and once per
    /// reload. Then the workers of older generations are asked to retire.
    AllReady,
    /// A reload begins: new workers are forked next.
    Reloading {
        /// Number of new workers.
        workers: usize,
    },
    /// A worker that newer ones have replaced has ended with exit code 0. The repair was attempted
    /// before this event.
    Retired {
        /// The worker's slot, which is free once the repair has succeeded.
        slot: usize,
        /// The worker's process id.
        pid: Pid,
        /// How long the worker had run.
        uptime: Duration,
    },
    /// The replacement that [`PoolEvent::Died`] announced will not start, because newer workers
    /// have taken over or the number of workers was reduced.
    NotReplaced {
        /// The slot, which is free once the state of the dead worker is repaired.
        slot: usize,
    },
    /// A signal changed the number of workers by one.
    Resized {
        /// The new number.
        workers: usize,
    },
    /// The pool cannot do what a signal requests, and changes nothing.
    Refused {
        /// The signal.
        signal: Signal,
        /// Why it cannot.
        reason: Refusal,
    },
    /// A signal asks the program to reopen its log files. The workers are asked next
    /// ([`Worker::take_reopen`]).
    Reopen,
    /// A worker ended although the pool had not asked it to. The repair was attempted before this
    /// event.
    Died {
        /// The worker's slot.
        slot: usize,
        /// The worker's process id.
        pid: Pid,
        /// How the worker ended.
        exit: Exit,
        /// How long the worker had run.
        uptime: Duration,
        /// The supervisor's decision about the slot.
        next: Next,
    },
    /// A worker has shown no progress for the heartbeat timeout, so the watchdog signals it. Its
    /// death follows as [`PoolEvent::Died`].
    Stuck {
        /// The worker's slot.
        slot: usize,
        /// The worker's process id.
        pid: Pid,
        /// How long it has shown no progress.
        silent: Duration,
        /// What the process does, as the letter in `/proc/PID/stat`: `R` computes, `S` waits, `T`
        /// is stopped.
        state: char,
        /// SIGABRT, or SIGKILL if that does not end it.
        signal: Signal,
    },
    /// A worker aborted (SIGABRT), because of the watchdog or by itself.
    Backtrace {
        /// The worker's slot.
        slot: usize,
        /// The worker's process id.
        pid: Pid,
        /// The calls in progress from the innermost one on, each as `FILE+OFFSET`, which
        /// `addr2line -e FILE OFFSET` explains.
        calls: Vec<String>,
    },
    /// Forking a replacement failed. The supervisor retries after a pause.
    SpawnFailed {
        /// The slot that stays empty.
        slot: usize,
        /// Text of the error.
        reason: String,
    },
    /// The pool begins to stop: it asks the workers to finish within the grace period.
    Stopping {
        /// The signal that requested the stop, or `None` if a worker's death caused it.
        signal: Option<Signal>,
    },
    /// A request to stop arrived less than a second after the first one. It changes nothing.
    StopRepeated {
        /// The signal.
        signal: Signal,
    },
    /// The supervisor killed workers, either because their grace period was over or because a
    /// signal requested an immediate stop.
    Killed {
        /// Number of workers killed.
        workers: usize,
    },
    /// The supervisor received a signal that has no effect on the pool.
    Ignored {
        /// The signal.
        signal: Signal,
    },
}

/// How a pool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A signal requested the stop, and every worker has ended.
    Stopped,
    /// A worker ended with [`CANNOT_SERVE`].
    CannotServe {
        /// The worker's slot.
        slot: usize,
    },
    /// The workers of a slot crashed too many times within ten minutes, without useful work.
    CrashLoop {
        /// The slot.
        slot: usize,
        /// How its last worker ended.
        exit: Exit,
    },
}

/// Configuration of a [`Pool`].
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Number of workers.
    pub workers: NonZeroUsize,
    /// Number of slots, at least that of the workers. The others are for reloads and for SIGTTIN: a
    /// slot is in use until its last worker has ended.
    pub slots: usize,
    /// How long workers may take to stop before they are killed. After a reload, workers of older
    /// generations keep the value with which they were started.
    pub grace: Duration,
}

/// Error of creating or starting a [`Pool`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// One of the first workers could not be started. Those started before it were killed and
    /// reaped.
    #[error("starting worker {slot}: {source}")]
    Start {
        /// The slot of the worker.
        slot: usize,
        /// Error of the fork.
        source: SpawnError,
    },
    /// A system call failed.
    #[error("{action}: {source}")]
    System {
        /// The action that failed.
        action: &'static str,
        /// Error of the system call.
        source: Errno,
    },
}
