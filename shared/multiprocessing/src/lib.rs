//! What Python's `multiprocessing` gives to the processes of one machine, in Rust, and what Python lacks: **nothing hangs and
//! nothing is torn when a process is killed.**
//!
//! A [`Segment`] is a named piece of POSIX shared memory with a directory of the objects inside, so that any tool can decode it.
//! A [`Plan`] says which objects those are; handles to them come by name:
//!
//! | Python | here |
//! |---|---|
//! | `lock = Lock()` | `segment.lock("lock")?` |
//! | `winners = Value('Q', 0)` | `segment.value::<u64>("winners")?` |
//! | `with winners.get_lock(): winners.value += 1` | `winners.update(\|w\| *w += 1)?` |
//! | `processing = Array('H', workers)` | `segment.array::<u16>("processing")?` |
//! | `RLock()` | `segment.rlock("lock")?`, an [`RLock`] |
//! | `Semaphore(3)`, `BoundedSemaphore(3)` | `segment.semaphore("gate")?`, a [`Semaphore`]; `segment.bounded_semaphore("gate")?` |
//! | `Event()` | `segment.event("started")?`, an [`Event`] |
//! | `Condition(lock)` | `segment.condition("changed", &lock)?`, a [`Condition`] |
//! | `Barrier(3)` | `segment.barrier("meet")?`, a [`Barrier`] |
//! | `Queue(16)`, `SimpleQueue()` | `segment.queue::<u64>("queue")?`, a [`Queue`] |
//! | `JoinableQueue(16)` | `segment.joinable_queue::<u64>("queue")?`, a [`JoinableQueue`] |
//! | `RawValue('Q')`, `RawArray('H', n)` | `segment.raw_value("x")?`, `segment.raw_array("x")?` (atomic, no lock) |
//! | `Value(Structure)` | a structure that is [`Shareable`] |
//! | `p = Process(target=f); p.start(); p.join(2)` | `let mut p = Process::spawn(f)?; p.join_timeout(secs)?` |
//! | `a, b = Pipe()`; `a.send(x)`, `b.recv()` | `let (a, b) = pipe()?; a.send(&x)?; let x: T = b.recv()?`, each a [`Connection`] |
//! | `Process(target=f, args=(b,))` | `Process::spawn_with(b, f)?`, which hands the end over |
//! | `wait([a, p.sentinel], 2)` | [`wait_timeout(&[&a, &p], secs)?`](wait_timeout) |
//! | `Listener('\0name')`, `Client('\0name')` | [`Listener::bind("name")?`](Listener), `Connection::connect("name")?` |
//! | `Pool(4).map(f, xs)` | `TaskPool::new(4)?.map(f, xs)?`, a [`TaskPool`] |
//! | a pre-forked pool, by hand | [`Pool`] with a [`Workload`] |
//!
//! ```
//! use multiprocessing::{Plan, Segment, SegmentName};
//!
//! let plan = Plan::new().value::<u64>("winners").raw_array::<u16>("processing", 4);
//! let name = SegmentName::new(&format!("doc.{}", std::process::id()))?;
//! let segment = Segment::create(&name, &plan)?;
//!
//! let winners = segment.value::<u64>("winners")?;
//! winners.update(|count| *count += 3)?;
//! assert_eq!(winners.get(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # One structure declares a segment
//!
//! A program with more than a few objects declares them as the fields of one structure, with a
//! derive. [`SharedState`] then writes the plan, looks up the handles and checks a segment that
//! another program made. No object is named by a string:
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
//! let name = SegmentName::new(&format!("doc.declared.{}", std::process::id()))?;
//! let shared = Shared::create(&name, 4)?;
//! shared.winners.set(3)?;
//!
//! let seen = Shared::open(&name)?;
//! assert_eq!((seen.winners.get(), seen.processing.len()), (3, 4));
//! assert_eq!(seen.segment.name(), &name);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each part has a program of one page in `examples/`.
//!
//! # What happens when a process is killed
//!
//! | it was killed while it | then |
//! |---|---|
//! | held a [`Lock`] | the next one gets the guard inside [`LockError::OwnerDied`] and must repair before it goes on |
//! | held an [`RLock`], however deep | as a [`Lock`]; its successor's depth is 1 |
//! | held units of a [`Semaphore`] | they are free again, and the one who finds out is told by [`Permit::recovered`] |
//! | had set an [`Event`], or waited for it | the event stays as it is; the others go on |
//! | waited for a [`Condition`] | it is forgotten; what it had been notified of goes to the next one who waited |
//! | was a party of a [`Barrier`] | the barrier is broken for everybody: [`BarrierError::Broken`], until [`Barrier::reset`] |
//! | put into a [`Queue`], or took from it | the whole message is there or nothing of it; one that it had just taken is lost with it |
//! | closed a [`Queue`] | it is closed for everybody or for nobody |
//! | had a [`Task`] of a [`JoinableQueue`] in hand | the task is lost, and whoever joins does not wait for it and is told: [`QueueError::Lost`] |
//! | sent through a [`pipe()`], or received | the whole message is on its way or nothing of it; one that it had just taken is lost with it |
//! | had an end of a [`pipe()`] that was handed over to it | whoever waits at the other end is told: [`PipeError::Closed`] |
//! | was a [`Listener`] | its name is free, and who had not been accepted is told |
//! | changed a [`Value`] | the value is the old one, whole: a change is committed by one store |
//! | changed an [`Array`] under its lock | the next one gets the guard with [`LockError::OwnerDied`] and decides |
//! | was a worker of a [`TaskPool`] | the task that it had fails, and that is told; a new one starts |
//! | was a worker of a [`Pool`] | it is reaped, [`Workload::repair`] runs, and a new one starts in the same slot |
//! | was the parent | its children end at once, and its segments are removed |
//!
//! Whoever waits for a primitive wakes up by itself every tenth of a second and looks around, so that what a dead process did not
//! tell is found out. It uses no processor time otherwise. At a pipe the kernel tells, at once. Signals never end a wait, and every wait has a timed form.
//!
//! # From Python
//!
//! `python/read_segment.py` prints what a segment holds, without this library and without disturbing anybody, and
//! `python/write_segment.py` makes a segment of raw numbers that [`Segment::open`] takes like any other. How the rest of Python's
//! `multiprocessing` compares, point by point, is in `CONFORMANCE.md`.
//!
//! # What it needs, and what it does not do
//!
//! - Linux with glibc, one machine, one user. Two more pages say the rest: [what it does not do](guide::limits), and
//!   [what a forked child is](guide::fork_safety), which is worth reading before the first [`Process::spawn`].
//! - Processes are forked from a process with one thread only; [`Process::spawn`] refuses otherwise. A `#[test]` has two.
//! - A process that is *stopped* is no dead one, and is waited for.
//! - There are no read-write locks, and none of the condition variables and barriers of pthreads inside: they hang when a waiter is
//!   killed, or count it as if it lived.

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!("shm-multiprocessing needs Linux and the C library of GNU");

// Its example is run with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

// The derives name this crate, also when they are used inside it.
extern crate self as multiprocessing;

#[cfg(doc)]
pub mod guide;
/// What the derive of [`SharedState`] names. No program needs it.
#[doc(hidden)]
pub mod declaration {
    pub use crate::segment::declaration::{Capacity, Declared, Len, NoAttribute, Parties, Units};
}
mod memory;
mod pipe;
mod pool;
mod process;
mod segment;
mod sync;
mod sys;
mod task_pool;

pub use memory::element::{AtomicElement, Shareable};
pub use memory::layout::{ElementType, Object, ObjectKind, Scalar};
pub use pipe::{
    Connection, Duplex, Ends, Listener, PipeError, ReceiveOnly, Receives, SendOnly, Sends,
    one_way_pipe, pipe,
};
pub use pool::{
    CANNOT_SERVE, Next, Outcome, Pool, PoolError, PoolEvent, PoolOptions, RepairOutcome, Worker,
    Workload,
};
pub use process::Process;
pub use segment::{Listing, Plan, Segment, SegmentError, SharedState, Snapshot, segments};
pub use sync::array::{Array, ArrayGuard, RawArray};
pub use sync::barrier::{Barrier, BarrierError, BreakCause};
pub use sync::condition::{Condition, ConditionError};
pub use sync::event::Event;
pub use sync::lock::{Inherited, Lock, LockError, LockFailure, LockGuard};
pub use sync::queue::{JoinableQueue, Queue, QueueError, Task};
pub use sync::rlock::{RLock, RLockGuard};
pub use sync::semaphore::{BoundedSemaphore, Permit, Semaphore, SemaphoreError};
pub use sync::value::{RawValue, Value, ValueGuard};
pub use sys::exit::Exit;
pub use sys::fork::SpawnError;
pub use sys::name::{InvalidName, SegmentName};
pub use sys::wait::{wait, wait_timeout};
pub use task_pool::{AsyncResult, Imap, StartError, TaskError, TaskPool, TaskPoolBuilder};
