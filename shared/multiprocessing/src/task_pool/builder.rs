//! Configures and starts a task pool.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::Client;
use super::error::StartError;
use super::function::LoadedCode;
use super::workers::Limits;
use super::{TaskPool, dispatcher};
use crate::pipe::{Connection, decode, encode, pipe};
use crate::process::{Process, ProgramFunction};
use crate::sys::spawn_error::SpawnError;

/// Configuration of a [`TaskPool`].
#[must_use = "`start` starts the pool"]
pub struct TaskPoolBuilder<F = fn()> {
    limits: Limits,
    initializer: F,
}

impl TaskPoolBuilder {
    pub(super) fn new(workers: usize) -> Self {
        let limits = Limits { workers, tasks_per_worker: u64::MAX, task_timeout: None };
        Self { limits, initializer: || {} }
    }
}

impl<C: 'static, F: Fn() -> C> TaskPoolBuilder<F> {
    /// Sets a function that every worker calls once, before its first task, like Python's
    /// `initializer`. It captures what Python passes as `initargs`.
    ///
    /// Its value stays in the worker, as the shared context of its tasks: see
    /// [`TaskPool::context`]. It is dropped when the worker ends in order.
    ///
    /// If it panics, the worker ends and another one starts, after growing pauses. If all workers
    /// repeatedly end before they start a task, the pool starts no more of them, and its tasks fail
    /// with [`TaskError::NotReady`](super::TaskError::NotReady). Workers killed by another process
    /// do not count.
    pub fn initializer<D: 'static, G: Fn() -> D>(self, initializer: G) -> TaskPoolBuilder<G> {
        TaskPoolBuilder { limits: self.limits, initializer }
    }

    /// Sets the number of tasks after which a worker ends and is replaced. That limits what leaking
    /// tasks can accumulate.
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.limits.tasks_per_worker = tasks;
        self
    }

    /// Sets how long a worker may take for each task. (Python has no such limit.)
    ///
    /// A worker that takes longer is killed and replaced, and the task ends with
    /// [`TaskError::TimedOut`](super::TaskError::TimedOut). The time counts from the beginning of
    /// the task, so the time in the queue is no part of it. All arguments of a chunk are one task:
    /// set the chunk to one argument where each of them should have its own limit.
    pub fn task_timeout(mut self, limit: Duration) -> Self {
        self.limits.task_timeout = Some(limit);
        self
    }

    /// Starts the dispatcher and the workers by forks.
    ///
    /// # Errors
    /// Also fails if the program has more than one thread, or if the number of workers or of tasks
    /// per worker is 0.
    pub fn start(self) -> Result<TaskPool, StartError> {
        let (here, there) = self.connect()?;
        let code = LoadedCode::current();
        let dispatch = |there| {
            let initializer = || Rc::new((self.initializer)()) as Rc<dyn Any>;
            dispatcher::run(there, self.limits, &initializer)
        };
        TaskPool::of(here, code, Process::fork_with(there, dispatch), self.limits)
    }

    /// Returns both ends of the connection to a dispatcher with these limits.
    fn connect(&self) -> Result<(Connection, Connection), StartError> {
        match self.limits {
            Limits { workers: 0, .. } => Err(StartError::NoWorkers),
            Limits { tasks_per_worker: 0, .. } => Err(StartError::NoTasks),
            _ => Ok(pipe()?),
        }
    }
}

impl TaskPoolBuilder {
    /// Works like [`start`](TaskPoolBuilder::start), but the dispatcher executes this program
    /// again, as with [`Process::spawn`](crate::Process::spawn), and forks the workers. The program
    /// may have threads and async runtimes.
    ///
    /// Every worker calls the initializer with a copy of the argument that serde makes, before its
    /// first task. Its value is their [context](TaskPool::context). Workers have no values of this
    /// process, so the argument names what they need, such as a segment. Tasks are functions of the
    /// program itself, not of libraries.
    ///
    /// ```
    /// use multiprocessing::TaskPool;
    ///
    /// multiprocessing::init();
    /// let thread = std::thread::spawn(std::thread::park);
    /// let pool = TaskPool::builder(2).start_spawned(|()| (), ())?;
    /// assert_eq!(pool.map(|n: u64| n * n, [1, 2, 3])?, [1, 4, 9]);
    /// # thread.thread().unpark();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`StartError::Dispatcher`] with [`SpawnError::NoHook`] if the program has not called
    /// [`init`](crate::init). Also fails if the number of workers or of tasks per worker is 0.
    pub fn start_spawned<A, C>(
        self,
        initializer: fn(A) -> C,
        argument: A,
    ) -> Result<TaskPool, StartError>
    where
        A: Serialize + DeserializeOwned,
        C: 'static,
    {
        let (here, there) = self.connect()?;
        let initializer = ProgramFunction::of(initializer)
            .ok_or(StartError::Dispatcher(SpawnError::NotInProgram))?;
        // Encoded, so that each worker decodes its own copy.
        let options = (there, self.limits, initializer, encode(&argument)?);
        let dispatcher = Process::spawn(dispatch_spawned::<A, C>, options);
        TaskPool::of(here, LoadedCode::of_program(), dispatcher, self.limits)
    }
}

/// The body of a dispatcher that executes the program again.
fn dispatch_spawned<A: DeserializeOwned, C: 'static>(
    (there, limits, initializer, argument): (Connection, Limits, ProgramFunction<A, C>, Vec<u8>),
) -> i32 {
    let Some(initializer) = initializer.get() else { return 1 };
    let initializer = || match decode(&argument) {
        Ok(argument) => Rc::new(initializer(argument)) as Rc<dyn Any>,
        Err(error) => panic!("the argument of the initializer: {error}"),
    };
    dispatcher::run(there, limits, &initializer)
}

impl TaskPool {
    /// Returns the pool of a dispatcher that was just started, once its workers have started.
    fn of(
        here: Connection,
        code: LoadedCode,
        dispatcher: Result<Process, SpawnError>,
        limits: Limits,
    ) -> Result<Self, StartError> {
        let dispatcher = dispatcher.map_err(StartError::Dispatcher)?;
        let failed = here.recv::<Option<(usize, i32)>>();
        // On an error, dropping the pool waits for the end of the dispatcher.
        let client = Arc::new(Client::new(here, code));
        let pool = Self { client, dispatcher, workers: limits.workers };
        match failed? {
            None => Ok(pool),
            Some((worker, errno)) => {
                Err(StartError::Worker { worker, source: SpawnError::Fork(Errno::from_raw(errno)) })
            }
        }
    }
}
