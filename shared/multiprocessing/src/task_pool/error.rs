//! The errors of starting a pool and of tasks.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::pipe::PipeError;
use crate::sys::exit::Exit;
use crate::sys::fork::SpawnError;

/// The error of starting a pool of tasks. Everything that was started is gone again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There would be no worker.
    #[error("a pool of 0 workers would do nothing: ask for at least 1")]
    NoWorkers,
    /// Every worker would end before its first task.
    #[error("workers for 0 tasks each would do nothing: ask for at least 1")]
    NoTasks,
    /// The dispatcher was not started.
    #[error("starting the dispatcher: {0}")]
    Dispatcher(#[source] SpawnError),
    /// A worker was not started.
    #[error("starting worker {worker}: {source}")]
    Worker {
        /// The worker, from 0.
        worker: usize,
        /// The cause.
        source: SpawnError,
    },
    /// The connection to the dispatcher failed.
    #[error("talking to the dispatcher: {0}")]
    Pipe(#[from] PipeError),
}

/// The error of a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskError {
    /// The worker ended during the task: it was killed, or the task ended the process. How much of
    /// the task was done is unknown. Tasks that it had not begun are not affected, except one of
    /// more than 4 KiB that was in flight to it and may have been the cause. Another worker takes
    /// its place.
    #[error("worker {pid} ended during the task: {exit}")]
    WorkerDied {
        /// The worker's process id.
        pid: i32,
        /// How it ended.
        #[serde(with = "crate::sys::exit::as_status")]
        exit: Exit,
    },
    /// The function panicked. The worker goes on.
    #[error("the task panicked in worker {pid} at {place}: {message}")]
    Panicked {
        /// The message of the panic.
        message: String,
        /// File, line and column, and below them the backtrace if `RUST_BACKTRACE` asks for one.
        place: String,
        /// The worker's process id.
        pid: i32,
    },
    /// The argument or the result cannot be encoded.
    #[error("{0}")]
    Encode(String),
    /// The argument or the result does not decode as its type: encoding and decoding of that type
    /// differ.
    #[error("{0}")]
    Decode(String),
    /// The function is in a library that was loaded after the pool was started, so the workers lack
    /// it. Or it is in any library, and one was unloaded since, so the workers may have another one
    /// at that address.
    #[error("the function's library was loaded after the pool was started, or one was unloaded")]
    UnknownFunction,
    /// Workers end before they begin a task, most likely in the initializer, again and again, and
    /// no more are started.
    #[error("no worker becomes ready: the last one ended with {exit} before its first task")]
    NotReady {
        /// How the last one ended.
        #[serde(with = "crate::sys::exit::as_status")]
        exit: Exit,
    },
    /// The pool was joined, terminated or dropped, or its dispatcher was killed, before the task
    /// had a result.
    #[error("the pool ended before the task was done")]
    PoolEnded,
    /// The operating system returned this error number (errno).
    #[error("the operating system refused: {}", Errno::from_raw(*.0))]
    System(i32),
    /// This process was forked from the owner of the pool, and has only a copy of the handle.
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
