//! A line of messages from processes to processes, in a ring of fixed size.

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
pub(crate) use self::ring::{describe, planned};
pub use self::task::Task;
use crate::memory::element::Shareable;
use crate::sync::lock::LockFailure;
use crate::sys::mapping::Place;

/// A line of at most so many messages, put and taken by any number of processes, like Python's `multiprocessing.Queue(maxsize)`.
///
/// | Python | here |
/// |---|---|
/// | `queue = Queue(16)` | `Plan::new().queue::<u64>("queue", 16)`, `segment.queue::<u64>("queue")?` |
/// | `queue.put(7)` | `queue.put(7)?` |
/// | `queue.put(7, timeout=0.5)`, `queue.put_nowait(7)` | `queue.put_timeout(7, Duration::from_millis(500))?`, `queue.try_put(7)?` |
/// | `queue.Full` | [`QueueError::Full`] |
/// | `queue.get()` | `queue.get()?` |
/// | `queue.get(timeout=0.5)`, `queue.get_nowait()` | `queue.get_timeout(Duration::from_millis(500))?`, `queue.try_get()?` |
/// | `queue.Empty` | `None` |
/// | `queue.qsize()`, `queue.empty()`, `queue.full()` | `queue.len()`, `queue.is_empty()`, `queue.is_full()`, also of a closed one |
/// | a last message for each who takes: `None`, by habit | `queue.close()?`, once, for all: they get what is left and then [`QueueError::Closed`] |
/// | `queue.close()`: this process puts no more | nothing: dropping its handles is enough, and the others go on |
/// | `queue.join_thread()` | nothing: no thread stands between a message and the queue, and once `put` returns it is there |
/// | `ValueError`: the queue is closed | [`QueueError::Closed`] |
/// | `SimpleQueue()` | a queue, and the two calls without a timeout: it would be no simpler. It is bounded, as all memory is |
///
/// Messages are of one type, which is [`Shareable`], and are copied. They come out in the order in which they were put; of those of
/// one process this is the order in which it put them.
///
/// A message is written to a place of the ring that is free, and then is there by one store. When a process is killed
///
/// * while it puts: the whole message is there, or nothing of it, and no gap either;
/// * while it takes one: the message is taken and lost with it, or is still there (a [`JoinableQueue`] tells of lost ones);
/// * while it waits: nobody is hindered. If it had just been woken, the message or the free place goes to the next one who comes,
///   or to one who waits, within a tenth of a second;
/// * while it closes the queue: the queue is closed for everybody, or for nobody. Those who wait find out within a tenth of a second.
///
/// A queue does not know who ought to put or take, or to close it: where those processes may be killed, wait with a timeout. The
/// handle can be cloned and is inherited by forked children.
#[derive(Clone)]
pub struct Queue<T> {
    ring: Ring<T>,
}

impl<T: Shareable> Queue<T> {
    /// The queue that fills the place, with a ring of so many bytes; `None` when it is one of other messages.
    pub(crate) fn new(place: &Place, ring: usize) -> Option<Self> {
        Ring::new(place, ring).map(|ring| Self { ring })
    }

    /// Puts a message at the end; waits for room, however long that takes.
    ///
    /// # Errors
    /// [`QueueError::Closed`] when the queue is closed, or is closed meanwhile, or what the system says.
    pub fn put(&self, message: T) -> Result<(), QueueError> {
        self.ring.put(message, None)
    }

    /// Puts a message at the end if there is room.
    ///
    /// # Errors
    /// [`QueueError::Full`] when there is none; else as [`put`](Self::put).
    pub fn try_put(&self, message: T) -> Result<(), QueueError> {
        self.put_timeout(message, Duration::ZERO)
    }

    /// Puts a message at the end; waits for room at most this long.
    ///
    /// # Errors
    /// [`QueueError::Full`] when the time is over; else as [`put`](Self::put).
    pub fn put_timeout(&self, message: T, timeout: Duration) -> Result<(), QueueError> {
        self.ring.put(message, Some(timeout))
    }

    /// Takes the first message; waits for one, however long that takes.
    ///
    /// # Errors
    /// [`QueueError::Closed`] when the queue is closed, or is closed meanwhile, and nothing is left in it, or what the system says.
    pub fn get(&self) -> Result<T, QueueError> {
        endless(self.get_within(None)?)
    }

    /// Takes the first message; `None` when there is none now.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn try_get(&self) -> Result<Option<T>, QueueError> {
        self.get_timeout(Duration::ZERO)
    }

    /// Takes the first message; waits for one at most this long. `None` when the time is over.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<T>, QueueError> {
        self.get_within(Some(timeout))
    }

    fn get_within(&self, timeout: Option<Duration>) -> Result<Option<T>, QueueError> {
        self.ring.get_until(deadline(timeout)?, |state, _| Ok(self.ring.take(&mut state.head)))
    }

    /// Closes the queue for everybody and for ever: nobody puts anything more, and who takes gets what is left in it and then
    /// [`QueueError::Closed`], also one who waits already. Closing it again changes nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn close(&self) -> Result<(), LockFailure> {
        self.ring.close()
    }

    /// Whether somebody has closed it. There may be messages left.
    pub fn is_closed(&self) -> bool {
        self.ring.is_closed()
    }

    /// How many messages wait to be taken at this moment.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether no message waits at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room for another message at this moment.
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity()
    }

    /// How many messages there is room for.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }
}

impl<T> fmt::Display for Queue<T> {
    /// `3 of 16 messages`, or `3 of 16 messages, closed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ring.fmt(f)
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({self})")
    }
}
