//! A pool of workers that call functions with arguments and send the results back.

mod async_result;
mod backlog;
mod builder;
mod client;
mod dispatcher;
mod error;
mod function;
mod imap;
mod member;
mod message;
mod offers;
mod panics;
mod worker;
mod workers;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::async_result::AsyncResult;
pub use self::builder::TaskPoolBuilder;
use self::client::Client;
pub use self::error::{StartError, TaskError};
use self::function::Call;
pub use self::imap::Imap;
use self::message::TaskId;
use crate::pipe::encode;
use crate::process::Process;
use crate::sys::deadline::Deadline;

/// How long the dispatcher may take to end when it is asked to. Then it is killed.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many tasks each worker gets by default, as in Python: enough that a worker which finishes
/// early takes over from a slow one.
const TASKS_PER_WORKER: usize = 4;
/// How many tasks of an iterator of results are in flight per worker: twice as many as it may be
/// given ahead, so that there are more when these are done. With half of them one worker does half
/// as many trivial tasks per second.
const TASKS_AHEAD: usize = 2 * offers::MOST;

/// A pool of worker processes that call functions, like Python's `multiprocessing.Pool`.
///
/// | Python | here |
/// |---|---|
/// | `pool = Pool(4)` | `let pool = TaskPool::new(4)?;` |
/// | `Pool(4, initializer=f)` | `TaskPool::builder(4).initializer(f).start()?` |
/// | `Pool(4, maxtasksperchild=10)` | `TaskPool::builder(4).max_tasks_per_child(10).start()?` |
/// | `pool.apply(power, (2, 10))` | `pool.apply(power, (2, 10))?`, `power` takes a tuple |
/// | `pool.map(square, range(10))` | `pool.map(square, 0..10)?` |
/// | `pool.map(square, range(10), chunksize=5)` | `pool.map_chunked(square, 0..10, chunk)?` |
/// | `pool.starmap(pow, [(2, 10), (3, 5)])` | `pool.starmap(u64::pow, [(2, 10), (3, 5)])?` |
/// | `pool.imap(f, xs)` | `pool.imap(f, xs)`, an iterator of `Result` |
/// | `pool.imap_unordered(f, xs)` | `pool.imap_unordered(f, xs)`, an iterator of `Result` |
/// | `pool.apply_async(f, (x,))` | `pool.apply_async(f, x)`, an [`AsyncResult`] |
/// | `pool.map_async(f, xs)` | `pool.map_async(f, xs)`, an [`AsyncResult`] |
/// | `pool.close(); pool.join()` | `pool.join()?` |
/// | `pool.terminate()`, the end of a `with` block | dropping it |
///
/// ```
/// use multiprocessing::TaskPool;
///
/// let pool = TaskPool::new(2)?;
/// assert_eq!(pool.map(|n: u64| n * n, [1, 2, 3])?, [1, 4, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A task is a function that captures nothing. The workers were forked when the pool was started,
/// so they have the functions of the program, but no values that were made since. Make what all
/// tasks need before, in a `static`, or in each worker by the initializer. Handles of shared memory
/// work in both:
///
/// ```
/// use std::sync::OnceLock;
///
/// use multiprocessing::{Plan, Segment, SegmentName, TaskPool, Value};
///
/// // Python: Pool(2, initializer=init, initargs=(total,)), where init makes it global.
/// static TOTAL: OnceLock<Value<u64>> = OnceLock::new();
///
/// fn add(number: u64) -> bool {
///     TOTAL.get().is_some_and(|total| total.update(|total| *total += number).is_ok())
/// }
///
/// let name = SegmentName::new(&format!("doc.total.{}", std::process::id()))?;
/// let segment = Segment::create(&name, &Plan::new().value::<u64>("total"))?;
/// let total = segment.value::<u64>("total")?;
/// let pool = TaskPool::builder(2).initializer(|| _ = TOTAL.set(total.clone())).start()?;
/// assert_eq!(pool.map(add, [1, 2, 3])?, [true; 3]);
/// assert_eq!(total.get(), 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Arguments and results have any type that serde encodes. The initializer and the tasks have none
/// of the ends of [`pipe`](crate::pipe())s that the program had. Tasks may start processes, pools
/// and threads, though a worker in which a thread remains can start no more processes. Ctrl-C is
/// for the owner: dispatcher and workers ignore SIGINT. Like every forked child they have copies of
/// the files and sockets that were open when the pool was started: start it first.
///
/// # What happens when a process is killed
///
/// * A worker: the task that it had begun, or one of more than 4 KiB that was in flight to it,
///   fails with [`TaskError::WorkerDied`]. Nothing else fails: another worker starts and does what
///   this one was given ahead. Of a chunk of arguments all fail, because it is unknown which of
///   them were done. The task is not tried again, because it may have been the cause.
/// * The dispatcher (the process of the pool that starts the workers): every task without a result
///   fails with [`TaskError::PoolEnded`], and the workers end.
/// * The owner: the dispatcher and all workers end at once.
///
/// A *stopped* worker is waited for, like a slow one. A panic of a task is its error,
/// [`TaskError::Panicked`], with the place. The worker goes on.
///
/// A process with one thread starts the pool. From then on its owner may have many threads, and
/// each of them may use it. Tasks and results that are not taken cost memory in the dispatcher, and
/// nothing waits because of them. Those of more than 64 KiB cost a descriptor for a moment: an
/// owner that has none left loses such a result, with [`TaskError::System`].
#[derive(Debug)]
#[must_use = "the pool ends when this is dropped"]
pub struct TaskPool {
    client: Arc<Client>,
    dispatcher: Process,
    workers: usize,
}

impl TaskPool {
    /// Starts a pool of this many workers.
    pub fn new(workers: usize) -> Result<Self, StartError> {
        Self::builder(workers).start()
    }

    /// Returns a builder of a pool of this many workers.
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
        // As a slice, because an array would be encoded without its length.
        let task = encode(&[argument][..]).map_err(TaskError::from);
        let task = task.and_then(|bytes| self.client.submit(Call::of(function), &bytes));
        AsyncResult::of_one(self.client.clone(), task)
    }

    /// Calls the function with each argument, in chunks, and returns the results in order. Waits
    /// until all are done, also if one of them failed.
    ///
    /// # Errors
    /// The error of the first argument that failed. [`imap`](Self::imap) returns the other results
    /// nevertheless.
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

    /// As [`map`](Self::map), with `chunk` arguments per task: more mean less to send, fewer a more
    /// even share.
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

    /// As [`map`](Self::map), without waiting for the results.
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

    /// As [`map`](Self::map) with a function of two arguments.
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

    /// As [`starmap`](Self::starmap), without waiting for the results.
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

    /// Calls the function with each argument and yields the results one by one, in order.
    pub fn imap<A, R, I>(&self, function: fn(A) -> R, arguments: I) -> Imap<R, I::IntoIter>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        self.imap_chunked(function, arguments, NonZeroUsize::MIN)
    }

    /// As [`imap`](Self::imap), with `chunk` arguments per task.
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

    /// As [`imap`](Self::imap), each result as soon as it arrives.
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

    /// As [`imap_unordered`](Self::imap_unordered), with `chunk` arguments per task.
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

    fn results<A, R, I>(
        &self,
        call: Call,
        arguments: I,
        chunk: NonZeroUsize,
        in_order: bool,
    ) -> Imap<R, I::IntoIter>
    where
        A: Serialize,
        R: DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        let ahead = self.workers.saturating_mul(TASKS_AHEAD);
        Imap::new(self.client.clone(), call, arguments.into_iter(), chunk, ahead, in_order)
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
        AsyncResult::of_all(self.client.clone(), self.submit_chunks(call, &arguments, chunk))
    }

    /// Adds all tasks or none: an argument that cannot be encoded is found before anything is done.
    fn submit_chunks<A: Serialize>(
        &self,
        call: Call,
        arguments: &[A],
        chunk: usize,
    ) -> Result<Vec<TaskId>, TaskError> {
        let encoded = arguments.chunks(chunk).map(encode).collect::<Result<Vec<_>, _>>()?;
        let mut tasks = Vec::with_capacity(encoded.len());
        for bytes in encoded {
            match self.client.submit(call, &bytes) {
                Ok(task) => tasks.push(task),
                Err(error) => {
                    tasks.into_iter().for_each(|task| self.client.forget(task));
                    return Err(error);
                }
            }
        }
        Ok(tasks)
    }

    /// Accepts no more tasks, and waits until all are done and the workers have ended, like
    /// Python's `close()` and `join()`. Results that were not taken yet stay. Workers that are
    /// still preparing get five seconds.
    ///
    /// # Errors
    /// [`TaskError::PoolEnded`] if the dispatcher was killed, [`TaskError::Inherited`] in a forked
    /// child.
    pub fn join(&mut self) -> Result<(), TaskError> {
        self.join_until(Deadline::NEVER).map(drop)
    }

    /// As [`join`](Self::join), at most this long. Returns true if all is done.
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<bool, TaskError> {
        self.join_until(Deadline::after(timeout)?)
    }

    fn join_until(&mut self, deadline: Deadline) -> Result<bool, TaskError> {
        if !self.client.close(deadline)? || !self.client.wait_for_end(deadline)? {
            return Ok(false);
        }
        if self.client.is_cut_off() {
            // The dispatcher goes on, and its results will never be taken.
            let _ = self.dispatcher.kill();
        }
        // Otherwise it has closed the connection as its last action.
        match self.dispatcher.join_until(deadline) {
            Ok(Some(exit)) if exit.is_success() => Ok(true),
            Ok(None) => Ok(false),
            // Where SIGCHLD is ignored, the kernel reports no child's end.
            Err(Errno::ECHILD) if self.client.has_all() => Ok(true),
            Ok(Some(_)) | Err(Errno::ECHILD) => Err(TaskError::PoolEnded),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for TaskPool {
    /// Ends the workers at once, whatever they do.
    fn drop(&mut self) {
        if !self.client.is_ours() || self.dispatcher.exit().is_some() {
            return;
        }
        let asked = self.client.terminate(PATIENCE);
        if !asked || matches!(self.dispatcher.join_timeout(PATIENCE), Ok(None)) {
            // Its workers end with it.
            let _ = self.dispatcher.kill();
            let _ = self.dispatcher.join();
        }
    }
}
