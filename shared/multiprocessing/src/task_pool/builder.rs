//! The builder of a pool of tasks.

use std::sync::Arc;

use nix::errno::Errno;

use super::client::Client;
use super::error::StartError;
use super::function::Code;
use super::workers::Duties;
use super::{TaskPool, dispatcher};
use crate::pipe::pipe;
use crate::process::Process;
use crate::sys::fork::SpawnError;

/// The options of a pool of tasks.
#[must_use = "nothing is started before `start`"]
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
    /// Sets what every worker calls once, before its first task. If it panics, the worker ends and
    /// another one is tried, with growing pauses. If workers only end before they begin a task,
    /// again and again, the tasks fail with [`TaskError::NotReady`](super::TaskError::NotReady),
    /// and no more workers start. Workers that are killed from outside do not count.
    pub fn initializer<G: Fn()>(self, initializer: G) -> TaskPoolBuilder<G> {
        let Self { workers, tasks_per_worker, .. } = self;
        TaskPoolBuilder { workers, tasks_per_worker, initializer }
    }

    /// Lets a worker end after this many tasks, and another take its place. This limits what tasks
    /// leak.
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.tasks_per_worker = tasks;
        self
    }

    /// Starts the dispatcher and the workers.
    ///
    /// # Errors
    /// [`StartError`], for instance in a program with more than one thread, or with 0 workers or
    /// tasks.
    pub fn start(self) -> Result<TaskPool, StartError> {
        let Self { workers, tasks_per_worker, initializer } = self;
        if workers == 0 {
            return Err(StartError::NoWorkers);
        }
        if tasks_per_worker == 0 {
            return Err(StartError::NoTasks);
        }
        let code = Code::known();
        let (here, there) = pipe()?;
        let dispatch = |there| {
            dispatcher::run(there, Duties { workers, tasks_per_worker, initializer: &initializer })
        };
        let dispatcher = Process::spawn_with(there, dispatch).map_err(StartError::Dispatcher)?;
        let failed = here.recv::<Option<(usize, i32)>>();
        // On an error it is dropped, which waits for the end of the dispatcher.
        let pool = TaskPool { client: Arc::new(Client::new(here, code)), dispatcher, workers };
        match failed? {
            None => Ok(pool),
            Some((worker, errno)) => {
                Err(StartError::Worker { worker, source: SpawnError::Fork(Errno::from_raw(errno)) })
            }
        }
    }
}
