//! What Python's `multiprocessing` provides for the processes of one machine, in Rust, with one
//! guarantee that Python does not give: **a killed process leaves no lock locked, no wake-up lost,
//! and no value or message half written.** What a program changes in place under a lock may be half
//! changed, and the next owner of the lock gets an error that says so.
//!
//! # One structure declares what processes share
//!
//! The fields of a structure are the shared objects. A derive places them in a named piece of POSIX
//! shared memory, and every process that has the declaration reaches them by its fields:
//!
//! ```
//! use multiprocessing::{RawArray, Segment, SegmentName, SharedState, Value};
//!
//! #[derive(SharedState)]
//! #[shared(args(workers: usize))]
//! struct Shared {
//!     #[shared(segment)]
//!     segment: Segment,
//!     /// Written by the holder of its lock.
//!     winners: Value<u64>,
//!     /// Per worker: 1 while a batch is in flight. Written by that worker alone.
//!     #[shared(len = workers)]
//!     processing: RawArray<u8>,
//! }
//!
//! let name = SegmentName::unique("lottery")?;
//! let shared = Shared::open_or_create(&name, 4)?; // children inherit it
//! shared.winners.update(|winners| *winners += 3)?;
//! shared.processing.store(2, 1);
//!
//! // In another program. It reads the number of workers back from the segment.
//! let seen = Shared::open(&name)?;
//! assert_eq!((seen.winners.get(), seen.processing.len(), seen.processing.load(2)), (3, 4, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`SharedState::open`] checks the segment against the declaration, and names the object that
//!   differs.
//! - [`SharedState::open_or_create`] lets any of several programs be the first, and survives the
//!   restart of the creator. Programs that opened the segment before get an error from the next
//!   wait ([`LockFailure::Removed`]).
//! - A structure of [`View`]s maps the segment without the right to write.
//! - [`SegmentOptions`] shares it with a group of users. By default no other user can open it.
//! - The segment has a directory of its objects, so any tool can decode it: the command `shm`, the
//!   Python package in `python`, or a program that names objects by strings ([`Plan`],
//!   [`Segment::value`]).
//!
//! # In terms of Python
//!
//! | Python | here, with a field `lock: Lock` of `shared`, and so on |
//! |---|---|
//! | `lock = Lock()`, `with lock:` | [`Lock`], `let guard = shared.lock.lock()?` |
//! | `winners = Value('Q', 0)` | [`Value<u64>`](Value) |
//! | `with winners.get_lock(): winners.value += 1` | `shared.winners.update(\|w\| *w += 1)?` |
//! | `processing = Array('H', workers)` | [`Array<u16>`](Array), `#[shared(len = workers)]` |
//! | `RLock()` | [`RLock`] |
//! | `Semaphore(3)` | [`Semaphore`], `#[shared(units = 3)]` |
//! | `BoundedSemaphore(3)` | [`BoundedSemaphore`], `#[shared(units = 3)]` |
//! | `Event()` | [`Event`] |
//! | `Condition(lock)` | [`Condition`], `#[shared(lock = lock)]` |
//! | `Barrier(3)` | [`Barrier`], `#[shared(parties = 3)]` |
//! | `Queue(16)`, `SimpleQueue()` | [`Queue<u64>`](Queue), `#[shared(capacity = 16)]` |
//! | `Queue()` of any objects | [`MessageQueue`], `#[shared(capacity = 65536)]` |
//! | `JoinableQueue(16)` | [`JoinableQueue<u64>`](JoinableQueue), `#[shared(capacity = 16)]` |
//! | `RawValue('Q')` | [`RawValue<u64>`](RawValue) (atomic, no lock) |
//! | `RawArray('H', n)` | [`RawArray<u16>`](RawArray), `#[shared(len = n)]` (atomic, no lock) |
//! | `Value(Structure)` | a structure that is [`Shareable`] |
//! | `p = Process(target=f); p.start()` | `let mut p = Process::fork(f)?;` |
//! | the same in the context `spawn` | `let mut p = Process::spawn(f, x)?;`, with [`init`] in `main` |
//! | `p.join(2)` | `p.join_timeout(secs)?` |
//! | `a, b = Pipe()` | `let (a, b) = pipe()?;`, each a [`Connection`] |
//! | `a.send(x)`, `b.recv()` | `a.send(&x)?`, `let x: T = b.recv()?` |
//! | `Process(target=f, args=(b,))` | `Process::fork_with(b, f)?`, which hands the end over |
//! | `wait([a, p.sentinel], 2)` | [`wait_timeout(&[&a, &p], secs)?`](wait_timeout) |
//! | `Listener('\0name')` | [`Listener::bind("name")?`](Listener) |
//! | `Client('\0name')` | `Connection::connect("name")?` |
//! | `Pool(4).map(f, xs)` | `TaskPool::new(4)?.map(f, xs)?`, a [`TaskPool`] |
//! | a pre-forked pool, by hand | [`Pool`] with a [`Workload`] |
//! | reloading such a pool, by hand | [`Workload::reload`] at SIGHUP |
//!
//! `examples/` has a one-page program for each part.
//!
//! # What happens when a process is killed
//!
//! - **Holding a [`Lock`]**: the next holder gets the guard inside [`LockError::OwnerDied`] and
//!   must repair the data before it continues.
//! - **Holding an [`RLock`]**, at any depth: as with a [`Lock`]. The depth of the next holder is 1.
//! - **Holding units of a [`Semaphore`]**: they are free again, and the process that finds them
//!   gets their number from [`Permit::recovered`].
//! - **Having set an [`Event`], or waiting for it**: the event stays as it is, and the others
//!   continue.
//! - **Waiting for a [`Condition`]**: the waiter is removed. If it was notified and its wait had
//!   not returned, the notification goes to the next waiter.
//! - **As a party of a [`Barrier`]**: the barrier is broken for all parties
//!   ([`BarrierError::Broken`]) until [`Barrier::reset`].
//! - **Putting into a [`Queue`] or a [`MessageQueue`], or taking from it**: the queue has the whole
//!   message, or nothing of it. A message that the process had just taken is lost.
//! - **Closing a queue**: it is closed for all processes or for none.
//! - **With a [`Task`] of a [`JoinableQueue`] in progress**: the task is lost. A join does not wait
//!   for it and returns [`QueueError::Lost`].
//! - **Sending through a [`pipe()`], or receiving**: the whole message is in flight, or nothing of
//!   it. A message that the process had just taken is lost.
//! - **Owning an end of a [`pipe()`]** that was handed over to it: a waiter at the other end gets
//!   [`PipeError::Closed`].
//! - **As a [`Listener`]**: its name is free, and clients that were not accepted get an error.
//! - **Changing a [`Value`]**: the value is whole, and has all of the change or nothing of it. One
//!   store commits a change.
//! - **Changing an [`Array`] under its lock**: the next holder gets the guard inside
//!   [`LockError::OwnerDied`] and decides what to do with the elements.
//! - **As a worker of a [`TaskPool`]**: the task that it was running fails with an error that says
//!   so, and a new worker starts.
//! - **As a worker of a [`Pool`]**: it is reaped, [`Workload::repair`] runs, and a new worker
//!   starts in the same slot.
//! - **As the parent**: its children end at once, and its segments are removed.
//!
//! Every waiter of a primitive wakes each 100 ms and checks for dead participants, so a lost
//! wake-up never hangs it. Otherwise waiting uses no processor time. At a pipe the kernel reports a
//! death at once. Signals never end a wait, and every wait has a timed form.
//!
//! # From Python
//!
//! The package in `python` has no dependencies (`pip install ./python`). It reads every kind of
//! object, and structures by the names of their fields, without this library and without stopping a
//! process. It also creates segments of raw numbers that [`Segment::open`] accepts like any other.
//! `CONFORMANCE.md` compares the rest of Python's `multiprocessing` point by point.
//!
//! # What it needs, and what it does not do
//!
//! - It needs 64-bit Linux with glibc, and works on one machine for one user, or for the members of
//!   a group that choose to share. Two pages have the details: [its limits](guide::limits) and
//!   [fork safety](guide::fork_safety). Read the second one before you use [`Process::fork`].
//! - Only a process with one thread can fork; [`Process::fork`] refuses otherwise.
//!   [`Process::spawn`] works in programs with threads, in async runtimes, and in a `#[test]`, but
//!   needs one line in `main` or in the tests: see [start methods](guide::start_methods).
//! - A *stopped* process counts as alive: others wait for it. Only the watchdog of a [`Pool`] ends
//!   stopped and stuck workers ([`Workload::heartbeat_timeout`]).
//! - There are no read-write locks. Condition variables and barriers of pthreads are not used
//!   inside, because they hang if a waiter is killed, or count it as alive.

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64")))]
compile_error!("shm-multiprocessing needs 64-bit Linux and the C library of GNU");

// Runs the example of the README with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

// The derives refer to this crate by its name, even inside the crate itself.
extern crate self as multiprocessing;

// On other machines nothing else is compiled, so that the message above is the only one.
#[cfg(doc)]
pub mod guide;
/// The items that the derive of [`SharedState`] refers to. Programs do not use them.
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#[doc(hidden)]
pub mod declaration {
    pub use crate::memory::layout::structure;
    pub use crate::segment::declaration::{Capacity, Declared, Len, NoAttribute, Parties, Units};
}
/// The items that [`test_hook`] refers to. Programs do not use them.
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#[doc(hidden)]
pub mod hook {
    pub use linkme;

    pub use crate::process::hook::{TEST_HOOKS, run_test_hook};
}
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod memory;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod pipe;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod pool;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod process;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod segment;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod sync;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod sys;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod task_pool;

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use memory::element::{AtomicElement, Shareable};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use memory::layout::{ElementType, FieldValue, Object, ObjectKind, Scalar, Structure};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use pipe::{
    Connection, Duplex, Ends, Listener, PipeError, ReceiveOnly, Receives, SendOnly, Sends,
    one_way_pipe, pipe,
};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use pool::{
    CANNOT_SERVE, Next, Outcome, Pool, PoolError, PoolEvent, PoolOptions, Progress, Refusal,
    RepairOutcome, StopRequest, Worker, Workload,
};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use process::{JoinError, Process, Return, init};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use segment::{
    Listing, Plan, Segment, SegmentError, SegmentOptions, SharedState, Snapshot, View, segments,
};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use sync::array::{Array, ArrayGuard, RawArray};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use sync::barrier::{Barrier, BarrierError, BreakCause};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use sync::condition::{Condition, ConditionError};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use sync::event::Event;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use sync::lock::{Inherited, Lock, LockError, LockFailure, LockGuard};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use sync::queue::{JoinableQueue, MessageQueue, MessageQueueError, Queue, QueueError, Task};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use sync::rlock::{RLock, RLockGuard};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use sync::semaphore::{BoundedSemaphore, Permit, Semaphore, SemaphoreError};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use sync::value::{RawValue, Value, ValueGuard};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use sys::exit::Exit;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use sys::name::{InvalidName, SegmentName};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use sys::spawn_error::SpawnError;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use sys::wait::{wait, wait_timeout};
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub use task_pool::{
    AsCompleted, AsyncResult, Imap, StartError, TaskError, TaskPool, TaskPoolBuilder,
};
