//! How a pool of tasks is described and started.

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

/// How a pool of tasks shall be.
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
    /// Every worker calls this once, before its first task. When it panics the worker ends and another one is tried, with growing
    /// pauses. If there is nobody but workers that end before they have begun a task, again and again, the tasks fail as well, with
    /// [`TaskError::NotReady`](super::TaskError::NotReady), and no more are started. Those that somebody kills do not count.
    pub fn initializer<G: Fn()>(self, initializer: G) -> TaskPoolBuilder<G> {
        let Self { workers, tasks_per_worker, .. } = self;
        TaskPoolBuilder { workers, tasks_per_worker, initializer }
    }

    /// A worker ends after so many tasks, and another takes its place: what they leak is limited.
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.tasks_per_worker = tasks;
        self
    }

    /// Starts the dispatcher and the workers.
    ///
    /// # Errors
    /// [`StartError`]; among them a program with more than one thread, and no workers or tasks at all.
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
        // On an error it is dropped, and so the dispatcher's end waited for.
        let pool = TaskPool { client: Arc::new(Client::new(here, code)), dispatcher, workers };
        match failed? {
            None => Ok(pool),
            Some((worker, errno)) => {
                Err(StartError::Worker { worker, source: SpawnError::Fork(Errno::from_raw(errno)) })
            }
        }
    }
}
