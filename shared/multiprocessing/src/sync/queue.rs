//! A line of messages between processes, in a ring of fixed size.

mod counts;
mod error;
mod joinable;
mod ring;
mod task;

use std::fmt;
use std::time::Duration;

pub use self::error::QueueError;
pub use self::joinable::JoinableQueue;
use self::ring::{Ring, deadline, endless};
pub use self::task::Task;
use crate::memory::element::{Shareable, elements_in};
use crate::memory::layout::{ElementType, Object};
use crate::sync::lock::LockFailure;
use crate::sync::primitive::{Planned, Primitive};
use crate::sys::mapping::Place;

/// A line of messages with a capacity, into and out of which any number of processes put and take,
/// like Python's `multiprocessing.Queue(maxsize)`.
///
/// | Python | here |
/// |---|---|
/// | `queue = Queue(16)` | `Plan::new().queue::<u64>("queue", 16)`, |
/// | | `segment.queue::<u64>("queue")?` |
/// | `queue.put(7)` | `queue.put(7)?` |
/// | `queue.put(7, timeout=0.5)` | `queue.put_timeout(7, Duration::from_millis(500))?` |
/// | `queue.put_nowait(7)` | `queue.try_put(7)?` |
/// | `queue.Full` | [`QueueError::Full`] |
/// | `queue.get()` | `queue.get()?` |
/// | `queue.get(timeout=0.5)` | `queue.get_timeout(Duration::from_millis(500))?` |
/// | `queue.get_nowait()` | `queue.try_get()?` |
/// | `queue.Empty` | `None` |
/// | `queue.qsize()`, `queue.empty()`, `queue.full()` | `len()`, `is_empty()`, `is_full()` |
/// | a last message `None` for each taker | `queue.close()?`, once, for all takers |
/// | `queue.close()`: this process puts no more | dropping its handles is enough |
/// | `queue.join_thread()` | not needed: once `put` returns the message is in the queue |
/// | `ValueError`: the queue is closed | [`QueueError::Closed`] |
/// | `SimpleQueue()` | a queue, bounded as all memory is |
///
/// Messages are of one type, which is [`Shareable`], and are copied. They come out in the order in
/// which they were put. The messages of one process keep the order in which it put them.
///
/// A message is written to a free place of the ring, and becomes visible by one store. When a
/// process is killed
///
/// * while it puts: the whole message is there, or nothing of it, and no gap;
/// * while it takes one: the message is taken and lost with it, or is still there (a
///   [`JoinableQueue`] reports lost ones);
/// * while it waits: other processes go on. If it had just been woken, the message or the free
///   place goes to the next process that comes, or to a waiter, within 100 ms;
/// * while it closes the queue: the queue is closed for all processes or for none. Waiters detect
///   that within 100 ms.
///
/// A queue does not know which processes shall put, take or close: where those may be killed, wait
/// with a timeout. The handle can be cloned and is inherited by forked children.
#[derive(Clone)]
pub struct Queue<T, K = Plain> {
    ring: Ring<T>,
    kind: K,
}

/// What a handle keeps about what becomes of the messages that were taken: nothing, or what a
/// [`JoinableQueue`] needs for joins.
pub trait Kind: Default {
    /// Name of the handle's type.
    const NAME: &'static str;
    /// True if the record has a row per process that holds messages.
    const HAS_ROWS: bool;
}

/// A taken message is the taker's.
#[derive(Clone, Default)]
pub struct Plain;

impl Kind for Plain {
    const NAME: &'static str = "Queue";
    const HAS_ROWS: bool = false;
}

impl<T: Shareable, K: Kind> Primitive for Queue<T, K> {
    type Size = usize;

    const ELEMENT: ElementType = T::ELEMENT;

    fn planned(capacity: usize, participants: usize) -> Result<Planned, String> {
        let rows = if K::HAS_ROWS { participants } else { 0 };
        Ok(Planned { rows, ..ring::planned::<T>(capacity)? })
    }

    fn wanted() -> String {
        format!("messages of {} {}", elements_in::<T>(), T::ELEMENT)
    }

    fn size(&self) -> Option<Self::Size> {
        Some(self.capacity())
    }

    fn wanted_with(capacity: Self::Size) -> String {
        format!("{capacity} messages")
    }

    fn describe(place: &Place, object: &Object) -> Option<String> {
        Some(ring::describe(place, object))
    }
}

/// What a [`JoinableQueue`] does too.
impl<T: Shareable, K: Kind> Queue<T, K> {
    /// Returns the queue of an object, if that is one of messages of this type.
    pub(crate) fn open(place: Place, object: &Object) -> Option<Self> {
        Ring::new(&place, object).map(|ring| Self { ring, kind: K::default() })
    }

    /// Puts a message at the end; waits for room without a limit.
    ///
    /// # Errors
    /// [`QueueError::Closed`] if the queue is closed, also while this waits.
    pub fn put(&self, message: T) -> Result<(), QueueError> {
        self.ring.put(message, None)
    }

    /// Puts a message at the end if there is room.
    ///
    /// # Errors
    /// [`QueueError::Full`] if there is none; otherwise as [`put`](Self::put).
    pub fn try_put(&self, message: T) -> Result<(), QueueError> {
        self.put_timeout(message, Duration::ZERO)
    }

    /// Puts a message at the end; waits for room at most this long.
    ///
    /// # Errors
    /// [`QueueError::Full`] if the time is over; otherwise as [`put`](Self::put).
    pub fn put_timeout(&self, message: T, timeout: Duration) -> Result<(), QueueError> {
        self.ring.put(message, Some(timeout))
    }

    /// Closes the queue for all processes, for ever. Nothing more can be put. A taker, also one
    /// that waits already, gets what is left and then [`QueueError::Closed`]; a join waits for what
    /// is left. Closing it again changes nothing.
    pub fn close(&self) -> Result<(), LockFailure> {
        self.ring.close()
    }

    /// Returns true if the queue is closed. There may be messages left.
    pub fn is_closed(&self) -> bool {
        self.ring.is_closed()
    }

    /// Returns how many messages wait to be taken at this moment.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Returns true if no message waits to be taken at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true if there is no room for another message at this moment.
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity()
    }

    /// Returns how many messages there is room for, besides tasks in progress.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }
}

impl<T: Shareable> Queue<T> {
    /// Takes the first message; waits for one without a limit.
    ///
    /// # Errors
    /// [`QueueError::Closed`] if the queue is closed, also while this waits, and empty.
    pub fn get(&self) -> Result<T, QueueError> {
        endless(self.get_within(None)?)
    }

    /// Takes the first message; `None` if there is none now.
    pub fn try_get(&self) -> Result<Option<T>, QueueError> {
        self.get_timeout(Duration::ZERO)
    }

    /// Takes the first message; waits for one at most this long. `None` if the time is over.
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<T>, QueueError> {
        self.get_within(Some(timeout))
    }

    fn get_within(&self, timeout: Option<Duration>) -> Result<Option<T>, QueueError> {
        self.ring.get_until(deadline(timeout)?, |state, _| Ok(self.ring.take(&mut state.head)))
    }
}

impl<T, K> fmt::Display for Queue<T, K> {
    /// `3 of 16 messages, closed, 2 held by 4711 (1 lost)`, without what does not apply.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ring.fmt(f)
    }
}

impl<T, K: Kind> fmt::Debug for Queue<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({self})", K::NAME)
    }
}
