//! Configures and starts a task pool.

use std::sync::Arc;

use nix::errno::Errno;

use super::client::Client;
use super::error::StartError;
use super::function::LoadedCode;
use super::workers::WorkerOptions;
use super::{TaskPool, dispatcher};
use crate::pipe::pipe;
use crate::process::Process;
use crate::sys::spawn_error::SpawnError;

/// Configuration of a [`TaskPool`].
#[must_use = "`start` starts the pool"]
pub struct TaskPoolBuilder<F = fn()> {
    workers: usize,
    tasks_per_worker: u64,
    initializer: F,
}

impl TaskPoolBuilder {
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, tasks_per_worker: u64::MAX, initializer: || {} }
    }
}

impl<F: Fn()> TaskPoolBuilder<F> {
    /// Sets a function that every worker calls once, before its first task.
    ///
    /// If it panics, the worker ends and another one starts, after growing pauses. If all workers
    /// repeatedly end before they start a task, the pool starts no more of them, and its tasks fail
    /// with [`TaskError::NotReady`](super::TaskError::NotReady). Workers killed by another process
    /// do not count.
    pub fn initializer<G: Fn()>(self, initializer: G) -> TaskPoolBuilder<G> {
        let Self { workers, tasks_per_worker, .. } = self;
        TaskPoolBuilder { workers, tasks_per_worker, initializer }
    }

    /// Sets the number of tasks after which a worker ends and is replaced. That limits what leaking
    /// tasks can accumulate.
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.tasks_per_worker = tasks;
        self
    }

    /// Starts the dispatcher and the workers.
    ///
    /// # Errors
    /// Also fails if the program has more than one thread, or if the number of workers or of tasks
    /// per worker is 0.
    pub fn start(self) -> Result<TaskPool, StartError> {
        let Self { workers, tasks_per_worker, initializer } = self;
        if workers == 0 {
            return Err(StartError::NoWorkers);
        }
        if tasks_per_worker == 0 {
            return Err(StartError::NoTasks);
        }
        let code = LoadedCode::current();
        let (here, there) = pipe()?;
        let dispatch = |there| {
            let options = WorkerOptions { workers, tasks_per_worker, initializer: &initializer };
            dispatcher::run(there, options)
        };
        let dispatcher = Process::fork_with(there, dispatch).map_err(StartError::Dispatcher)?;
        let failed = here.recv::<Option<(usize, i32)>>();
        // On an error, dropping the pool waits for the end of the dispatcher.
        let pool = TaskPool { client: Arc::new(Client::new(here, code)), dispatcher, workers };
        match failed? {
            None => Ok(pool),
            Some((worker, errno)) => {
                Err(StartError::Worker { worker, source: SpawnError::Fork(Errno::from_raw(errno)) })
            }
        }
    }
}
