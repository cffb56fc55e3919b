//! A pool of worker processes that call functions with arguments and return the results.

mod as_completed;
mod async_result;
mod builder;
mod cancel;
mod client;
mod context;
mod dispatcher;
mod end;
mod error;
mod function;
mod imap;
mod message;
mod panics;
mod progress;
mod worker;
mod worker_handle;
mod workers;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::{iter, slice};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::as_completed::AsCompleted;
pub use self::async_result::AsyncResult;
use self::async_result::{all, one};
pub use self::builder::TaskPoolBuilder;
use self::client::Client;
pub use self::error::{StartError, TaskError};
use self::function::Call;
pub use self::imap::Imap;
use crate::process::Process;

/// Number of tasks per worker into which the arguments are divided by default, as in Python.
/// Several per worker let a fast worker take over from a slow one.
const TASKS_PER_WORKER: usize = 4;
/// Most tasks in flight per worker for an [`Imap`]. This is twice the number that a worker queues,
/// so that the dispatcher can refill it. With half of it, one worker runs half as many trivial
/// tasks per second.
const IMAP_TASKS_PER_WORKER: usize = 2 * worker_handle::CAPACITY;

/// A pool of worker processes that call functions, like Python's `multiprocessing.Pool`.
///
/// | Python | here |
/// |---|---|
/// | `pool = Pool(4)` | `let pool = TaskPool::new(4)?;` |
/// | `Pool(4, initializer=f)` | `TaskPool::builder(4).initializer(f).start()?` |
/// | a global that `initializer` sets | [`TaskPool::context`] |
/// | the same in the context `spawn`, `initargs=(x,)` | `TaskPool::builder(4).start_spawned(f, x)?` |
/// | `Pool(4, maxtasksperchild=10)` | `TaskPool::builder(4).max_tasks_per_child(10).start()?` |
/// | `pool.apply(power, (2, 10))` | `pool.apply(power, (2, 10))?`, where `power` takes a tuple |
/// | `pool.map(square, range(10))` | `pool.map(square, 0..10)?` |
/// | `pool.map(square, range(10), chunksize=5)` | `pool.map_chunked(square, 0..10, chunk)?` |
/// | `pool.starmap(pow, pairs)` | `pool.starmap(u64::pow, pairs)?`; for more arguments, `map` |
/// | `pool.imap(f, xs)` | `pool.imap(f, xs)`, an iterator of `Result` |
/// | `pool.imap_unordered(f, xs)` | `pool.imap_unordered(f, xs)`, an iterator of `Result` |
/// | `pool.apply_async(f, (x,))` | `pool.apply_async(f, x)`, an [`AsyncResult`] |
/// | `pool.map_async(f, xs)` | `pool.map_async(f, xs)`, an [`AsyncResult`] |
/// | `future.cancel()` of `concurrent.futures` | [`AsyncResult::cancel`] |
/// | `as_completed(futures)` of `concurrent.futures` | [`TaskPool::as_completed`] |
/// | none: a time limit of each task | [`TaskPoolBuilder::task_timeout`] |
/// | `pool.close(); pool.join()` | `pool.join()?` |
/// | `pool.terminate()`, the end of a `with` block | dropping the pool |
///
/// ```
/// use multiprocessing::TaskPool;
///
/// let pool = TaskPool::new(2)?;
/// assert_eq!(pool.map(|n: u64| n * n, [1, 2, 3])?, [1, 4, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A task is a function that captures nothing. The workers are forked when the pool starts: they
/// have the program's functions, but no values that were created later. State that all tasks need
/// is created in each worker by the initializer. Handles of shared memory work there:
///
/// ```
/// use multiprocessing::{Plan, Segment, SegmentName, TaskPool, Value};
///
/// fn add(number: u64) -> bool {
///     let total = TaskPool::context::<Value<u64>>().expect("the pool has an initializer");
///     total.update(|total| *total += number).is_ok()
/// }
///
/// let name = SegmentName::new(&format!("doc.total.{}", std::process::id()))?;
/// let segment = Segment::create(&name, &Plan::new().value::<u64>("total"))?;
/// let total = segment.value::<u64>("total")?;
/// // Python: Pool(2, initializer=init, initargs=(total,)), where init makes it global.
/// let pool = TaskPool::builder(2).initializer(|| total.clone()).start()?;
/// assert_eq!(pool.map(add, [1, 2, 3])?, [true; 3]);
/// assert_eq!(total.get(), 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Arguments and results may have any type that serde encodes. Tasks may start processes, pools and
/// threads of their own, but a worker in which a thread is left running can start no more
/// processes. Dispatcher and workers ignore SIGINT, because Ctrl-C is for the owner.
///
/// Like every forked child, dispatcher and workers keep copies of the files and sockets that were
/// open when the pool was started, so start the pool first. Ends of a [`pipe`](crate::pipe()) are
/// closed in them.
///
/// # What happens when a process is killed
///
/// * A worker: the task that it was running fails with [`TaskError::WorkerDied`]. So does a task of
///   more than 4 KiB that was in flight to it. All arguments of a chunk fail together, because it
///   is unknown which calls had finished. The task is not retried, since it may have caused the
///   death. No other task fails: a new worker starts, and the tasks queued for the dead one run
///   elsewhere.
/// * The dispatcher (the pool's own process, which starts the workers): every task without a result
///   fails with [`TaskError::PoolEnded`], and the workers end.
/// * The owner: the dispatcher and all workers end at once.
///
/// The pool waits for a worker that is *stopped*, as for one whose task takes long, unless its
/// tasks have a [time limit](TaskPoolBuilder::task_timeout). Other workers run what is queued
/// behind it. A panic of a task becomes its error, [`TaskError::Panicked`], with its location. The
/// worker keeps running.
///
/// # Threads and memory
///
/// [`start`](TaskPoolBuilder::start) requires a process with one thread, and
/// [`start_spawned`](TaskPoolBuilder::start_spawned) does not. After that the owner may have many
/// threads, and all of them may use the pool. Unfinished tasks and untaken results occupy memory in
/// the dispatcher and block nothing. A task or result of more than 64 KiB also needs a descriptor
/// while it is sent. An owner that has none left loses such a result, with [`TaskError::System`].
#[derive(Debug)]
#[must_use = "dropping this ends the pool"]
pub struct TaskPool {
    client: Arc<Client>,
    dispatcher: Process,
    workers: usize,
}

impl TaskPool {
    /// Starts a pool with this many workers.
    ///
    /// # Errors
    /// The same as for [`TaskPoolBuilder::start`].
    pub fn new(workers: usize) -> Result<Self, StartError> {
        Self::builder(workers).start()
    }

    /// Returns a builder for a pool with this many workers.
    pub fn builder(workers: usize) -> TaskPoolBuilder {
        TaskPoolBuilder::new(workers)
    }

    /// Calls the function in a worker and waits for the result.
    pub fn apply<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.apply_async(function, argument).get()
    }

    /// Calls the function in a worker, without waiting for the result.
    pub fn apply_async<A, R>(&self, function: fn(A) -> R, argument: A) -> AsyncResult<R>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let chunk = iter::once(slice::from_ref(&argument));
        AsyncResult::submit(&self.client, Call::of(function), chunk, one)
    }

    /// Calls the function with each argument, in chunks, and returns the results in the order of
    /// the arguments. Waits for all calls even if one has failed.
    ///
    /// # Errors
    /// The error of the first failed call, in the order of the arguments. [`imap`](Self::imap) also
    /// returns the other results.
    pub fn map<A, R>(
        &self,
        function: fn(A) -> R,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.map_async(function, arguments).get()
    }

    /// Works like [`map`](Self::map), with this many arguments per task. Larger chunks reduce the
    /// number of messages, smaller ones spread the work more evenly.
    ///
    /// # Errors
    /// The same as for [`map`](Self::map).
    pub fn map_chunked<A, R>(
        &self,
        function: fn(A) -> R,
        arguments: impl IntoIterator<Item = A>,
        chunk: NonZeroUsize,
    ) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.submit_all(Call::of(function), arguments, Some(chunk)).get()
    }

    /// Works like [`map`](Self::map), without waiting for the results.
    pub fn map_async<A, R>(
        &self,
        function: fn(A) -> R,
        arguments: impl IntoIterator<Item = A>,
    ) -> AsyncResult<Vec<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.submit_all(Call::of(function), arguments, None)
    }

    /// Works like [`map`](Self::map), with a function of two arguments.
    ///
    /// # Errors
    /// The same as for [`map`](Self::map).
    pub fn starmap<A, B, R>(
        &self,
        function: fn(A, B) -> R,
        arguments: impl IntoIterator<Item = (A, B)>,
    ) -> Result<Vec<R>, TaskError>
    where
        (A, B): Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.starmap_async(function, arguments).get()
    }

    /// Works like [`starmap`](Self::starmap), without waiting for the results.
    pub fn starmap_async<A, B, R>(
        &self,
        function: fn(A, B) -> R,
        arguments: impl IntoIterator<Item = (A, B)>,
    ) -> AsyncResult<Vec<R>>
    where
        (A, B): Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.submit_all(Call::of_pair(function), arguments, None)
    }

    /// Calls the function with each argument, and returns an iterator over the results in the order
    /// of the arguments.
    pub fn imap<A, R, I>(&self, function: fn(A) -> R, arguments: I) -> Imap<R, I::IntoIter>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        self.imap_chunked(function, arguments, NonZeroUsize::MIN)
    }

    /// Works like [`imap`](Self::imap), with this many arguments per task.
    pub fn imap_chunked<A, R, I>(
        &self,
        function: fn(A) -> R,
        arguments: I,
        chunk: NonZeroUsize,
    ) -> Imap<R, I::IntoIter>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        self.results(Call::of(function), arguments, chunk, true)
    }

    /// Works like [`imap`](Self::imap), but returns each result as soon as it arrives.
    pub fn imap_unordered<A, R, I>(
        &self,
        function: fn(A) -> R,
        arguments: I,
    ) -> Imap<R, I::IntoIter>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        self.imap_unordered_chunked(function, arguments, NonZeroUsize::MIN)
    }

    /// Works like [`imap_unordered`](Self::imap_unordered), with this many arguments per task.
    pub fn imap_unordered_chunked<A, R, I>(
        &self,
        function: fn(A) -> R,
        arguments: I,
        chunk: NonZeroUsize,
    ) -> Imap<R, I::IntoIter>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        self.results(Call::of(function), arguments, chunk, false)
    }

    fn results<R, I: IntoIterator>(
        &self,
        call: Call,
        arguments: I,
        chunk: NonZeroUsize,
        in_order: bool,
    ) -> Imap<R, I::IntoIter> {
        Imap {
            client: self.client.clone(),
            call,
            arguments: arguments.into_iter().fuse(),
            chunk,
            window: self.workers.saturating_mul(IMAP_TASKS_PER_WORKER),
            in_order,
            in_flight: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }

    fn submit_all<A: Serialize, R: DeserializeOwned>(
        &self,
        call: Call,
        arguments: impl IntoIterator<Item = A>,
        chunk: Option<NonZeroUsize>,
    ) -> AsyncResult<Vec<R>> {
        let arguments: Vec<A> = arguments.into_iter().collect();
        let tasks = self.workers.saturating_mul(TASKS_PER_WORKER);
        let chunk = chunk.map_or_else(|| arguments.len().div_ceil(tasks).max(1), NonZeroUsize::get);
        AsyncResult::submit(&self.client, call, arguments.chunks(chunk), all)
    }
}
