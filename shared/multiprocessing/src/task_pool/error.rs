//! Errors of starting a task pool and of running a task.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::pipe::PipeError;
use crate::sys::exit::Exit;
use crate::sys::spawn_error::SpawnError;

/// Error of starting a task pool. The processes that were started have ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The number of workers is 0.
    #[error("a task pool needs at least 1 worker")]
    NoWorkers,
    /// The number of tasks per worker is 0.
    #[error("a worker must be allowed at least 1 task")]
    NoTasks,
    /// The dispatcher, which starts the workers, could not be started.
    #[error("starting the dispatcher: {0}")]
    Dispatcher(#[source] SpawnError),
    /// A worker could not be started.
    #[error("starting worker {worker}: {source}")]
    Worker {
        /// Number of the worker, from 0.
        worker: usize,
        /// Error of the fork.
        source: SpawnError,
    },
    /// The connection to the dispatcher failed.
    #[error("connection to the dispatcher: {0}")]
    Pipe(#[from] PipeError),
}

/// Error of a task that has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskError {
    /// The worker ended during the task: it was killed, or the task ended the process. The task may
    /// have run in full, in part, or not at all.
    ///
    /// Tasks that the worker had not begun are not affected, except one of more than 4 KiB that
    /// was in flight to it and may have caused its death. The worker is replaced.
    #[error("worker {pid} ended during the task: {exit}")]
    WorkerDied {
        /// The worker's process id.
        pid: i32,
        /// How the worker ended.
        #[serde(with = "crate::sys::exit::as_status")]
        exit: Exit,
    },
    /// The task took longer than the [limit](super::TaskPoolBuilder::task_timeout), so its worker
    /// was killed and replaced. The task has run in part.
    #[error("the task took too long, and worker {pid} was killed")]
    TimedOut {
        /// The worker's process id.
        pid: i32,
    },
    /// The task was [cancelled](super::AsyncResult::cancel) before it began.
    #[error("the task was cancelled")]
    Cancelled,
    /// The function panicked. The worker keeps running.
    #[error("the task panicked in worker {pid} at {place}: {message}")]
    Panicked {
        /// Message of the panic.
        message: String,
        /// File, line and column, followed by the backtrace if `RUST_BACKTRACE` enables it.
        place: String,
        /// The worker's process id.
        pid: i32,
    },
    /// Encoding the argument or the result failed.
    #[error("{0}")]
    Encode(String),
    /// Decoding the argument or the result failed, because its type does not decode its own
    /// encoding.
    #[error("{0}")]
    Decode(String),
    /// The function's code may not exist in the workers. Its library was loaded after the pool was
    /// started, or a library was unloaded since.
    #[error("the function's library was loaded after the pool was started, or one was unloaded")]
    UnknownFunction,
    /// All workers repeatedly ended before they started a task, most likely in the initializer. The
    /// pool starts no more of them.
    #[error("no worker becomes ready: the last one ended with {exit} before its first task")]
    NotReady {
        /// How the last worker ended.
        #[serde(with = "crate::sys::exit::as_status")]
        exit: Exit,
    },
    /// The pool was joined, terminated or dropped, or its dispatcher was killed, before the task
    /// had a result.
    #[error("the pool ended before the task was done")]
    PoolEnded,
    /// A system call failed with this errno.
    #[error("system call failed: {}", Errno::from_raw(*.0))]
    System(i32),
    /// This process is a forked child of the pool's owner and has only a copy of the handle.
    #[error("the pool belongs to the process that started it")]
    Inherited,
}

impl From<Errno> for TaskError {
    fn from(errno: Errno) -> Self {
        Self::System(errno as i32)
    }
}

impl From<PipeError> for TaskError {
    fn from(error: PipeError) -> Self {
        match error {
            PipeError::Closed => Self::PoolEnded,
            PipeError::System(errno) => errno.into(),
            PipeError::NoRoom => Errno::EMFILE.into(),
            PipeError::Encode(_) => Self::Encode(error.to_string()),
            _ => Self::Decode(error.to_string()),
        }
    }
}
