//! Configures and starts a task pool.

use std::sync::Arc;

use nix::errno::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::error::StartError;
use super::function::{LoadedCode, follow_owner};
use super::workers::WorkerOptions;
use super::{TaskPool, dispatcher};
use crate::pipe::{Connection, decode, encode, pipe};
use crate::process::{Process, ProgramFunction};
use crate::sys::program::ProgramCode;
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

    /// Starts the dispatcher and the workers by forks.
    ///
    /// # Errors
    /// Also fails if the program has more than one thread, or if the number of workers or of tasks
    /// per worker is 0.
    pub fn start(self) -> Result<TaskPool, StartError> {
        self.check()?;
        let Self { workers, tasks_per_worker, initializer } = self;
        let code = LoadedCode::current();
        let (here, there) = pipe()?;
        let dispatch = |there| {
            follow_owner(None);
            let options = WorkerOptions { workers, tasks_per_worker, initializer: &initializer };
            dispatcher::run(there, options)
        };
        let dispatcher = Process::fork_with(there, dispatch).map_err(StartError::Dispatcher)?;
        connect(here, code, dispatcher, workers)
    }

    fn check(&self) -> Result<(), StartError> {
        if self.workers == 0 {
            return Err(StartError::NoWorkers);
        }
        if self.tasks_per_worker == 0 {
            return Err(StartError::NoTasks);
        }
        Ok(())
    }
}

impl TaskPoolBuilder {
    /// Works like [`start`](TaskPoolBuilder::start), but the dispatcher executes this program
    /// again, as with [`Process::spawn`](crate::Process::spawn), and forks the workers. The program
    /// may have threads and async runtimes.
    ///
    /// Every worker calls the initializer with a copy of the argument that serde makes, before its
    /// first task. Workers have no values of this process, so the argument names what they need,
    /// such as a segment. Tasks are functions of the program itself, not of libraries.
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
    pub fn start_spawned<A>(self, initializer: fn(A), argument: A) -> Result<TaskPool, StartError>
    where
        A: Serialize + DeserializeOwned,
    {
        self.check()?;
        let Self { workers, tasks_per_worker, .. } = self;
        let (here, there) = pipe()?;
        let initializer = ProgramFunction::of(initializer)
            .ok_or(StartError::Dispatcher(SpawnError::NotInProgram))?;
        let options = SpawnedOptions {
            workers,
            tasks_per_worker,
            program: ProgramCode::own().start() as u64,
            initializer,
            argument: encode(&argument)?,
        };
        let dispatcher = Process::spawn(dispatch_spawned, (there, options));
        let dispatcher = dispatcher.map_err(StartError::Dispatcher)?;
        connect(here, LoadedCode::of_program(), dispatcher, workers)
    }
}

/// What a dispatcher that executes the program again gets from the owner.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct SpawnedOptions<A> {
    workers: usize,
    tasks_per_worker: u64,
    /// Where the owner has the program.
    program: u64,
    initializer: ProgramFunction<A, ()>,
    /// Encoded, so that each worker decodes its own copy.
    argument: Vec<u8>,
}

fn dispatch_spawned<A: DeserializeOwned>((there, options): (Connection, SpawnedOptions<A>)) -> i32 {
    follow_owner(Some(options.program));
    let Some(initializer) = options.initializer.get() else { return 1 };
    let initializer = || match decode(&options.argument) {
        Ok(argument) => initializer(argument),
        Err(error) => panic!("the argument of the initializer: {error}"),
    };
    let SpawnedOptions { workers, tasks_per_worker, .. } = options;
    dispatcher::run(there, WorkerOptions { workers, tasks_per_worker, initializer: &initializer })
}

/// Returns the pool of a dispatcher that was just started, once its workers have started.
fn connect(
    here: Connection,
    code: LoadedCode,
    dispatcher: Process,
    workers: usize,
) -> Result<TaskPool, StartError> {
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
