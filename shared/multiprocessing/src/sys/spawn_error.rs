//! Why a process cannot be started.

use std::io;
use std::time::Duration;

use nix::errno::Errno;

use crate::sys::exit::Exit;

/// The error of starting a process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The process has more than one thread. A forked child has only the forking thread, so a lock
    /// that another thread holds at that moment stays locked in the child forever.
    #[error(
        "fork from a process with {threads} threads: fork before the threads start, or use \
         Process::spawn"
    )]
    ManyThreads {
        /// Number of threads.
        threads: usize,
    },
    /// `/proc/self/task` is not readable, so the number of threads is unknown.
    #[error("counting the threads in /proc/self/task: {0}")]
    Threads(io::Error),
    /// The operating system refuses, usually because of too many processes or too little memory.
    #[error("fork: {0}")]
    Fork(Errno),
    /// A child that executes this program would not know what to do: the program has not called
    /// [`init`](crate::init), or the tests have no [`test_hook`](crate::test_hook). No process was
    /// started.
    #[error(
        "this program cannot spawn processes: call multiprocessing::init() in the first line of \
         main, or write multiprocessing::test_hook!(); into the tests"
    )]
    NoHook,
    /// The function belongs to a library that is loaded at run time. The child could not find it.
    #[error("the function is not part of the program itself")]
    NotInProgram,
    /// The argument cannot be encoded, or the child cannot decode it.
    #[error("the argument of the function: {0}")]
    Argument(String),
    /// The operating system refuses to execute this program again.
    #[error("executing this program again: {0}")]
    Execute(io::Error),
    /// The child ended before it reached [`init`](crate::init).
    #[error(
        "the process ended with {0} before it reached multiprocessing::init(), which must be the \
         first line of main"
    )]
    EndedEarly(Exit),
    /// The child did not reach [`init`](crate::init) in time, and was killed.
    #[error(
        "the process did not reach multiprocessing::init(), which must be the first line of main, \
         within {} s, and was killed", .0.as_secs()
    )]
    Unanswered(Duration),
}

impl SpawnError {
    /// Returns the error number that describes it best.
    pub(crate) fn errno(&self) -> Errno {
        let number = |error: &io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        match self {
            Self::Fork(errno) => *errno,
            // Only a library that is linked into the program can have started a thread there.
            Self::ManyThreads { .. } => Errno::EDEADLK,
            Self::Threads(error) | Self::Execute(error) => number(error),
            _ => Errno::EIO,
        }
    }
}
