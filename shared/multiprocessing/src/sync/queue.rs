//! A bounded queue of messages between processes, in a ring of fixed size.

mod byte_ring;
mod counts;
mod error;
mod iter;
mod joinable;
mod message_queue;
mod ring;
mod task;
mod waits;

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;

use self::counts::TAKEN;
pub use self::error::{MessageQueueError, QueueError};
use self::iter::messages;
pub use self::joinable::JoinableQueue;
pub use self::message_queue::MessageQueue;
use self::ring::Ring;
pub use self::task::Task;
use crate::memory::element::{Shareable, elements_in};
use crate::memory::layout::{ElementType, Object};
use crate::sync::lock::LockFailure;
use crate::sync::primitive::{Participants, Planned, Primitive};
use crate::sys::mapping::Place;

/// A bounded queue of messages for any number of producers and consumers, like Python's
/// `multiprocessing.Queue(maxsize)`.
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
/// | `for job in iter(queue.get, None):` | `for job in queue.iter() {` |
/// | `queue.qsize()`, `queue.empty()`, `queue.full()` | `len()`, `is_empty()`, `is_full()` |
/// | a last message `None` for each taker | `queue.close()?`, once, for all takers |
/// | `queue.close()`: this process puts no more | dropping its handles is enough |
/// | `queue.join_thread()` | not needed: once `put` returns the message is in the queue |
/// | `ValueError`: the queue is closed | [`QueueError::Closed`] |
/// | `SimpleQueue()` | a queue, bounded as all memory is |
///
/// Messages are of one type, which is [`Shareable`], of at most 64 KiB, and are copied. They come
/// out in the order in which they were put. A [`MessageQueue`] takes messages of any length.
///
/// A message is written to a free place of the ring, and becomes visible by one store. When a
/// process is killed
///
/// * while it puts a message: the queue has the whole message, or nothing of it, and no gap;
/// * while it takes a message: the message is lost with the process, or is still in the queue (a
///   [`JoinableQueue`] reports lost ones);
/// * while it waits: other processes continue. If it had just been woken, the message or the free
///   place goes to the next process that comes, or to a waiter, within 100 ms;
/// * while it closes the queue: the queue is closed for all processes or for none. Waiters detect
///   that within 100 ms.
///
/// A queue does not know which processes are expected to put, take or close. So a put on a full
/// queue whose consumers are all dead, like a get whose producers are dead, waits until its timeout
/// is over, the queue is closed, or a new process of the other side comes. If those processes may
/// be killed, wait with a timeout. The handle can be cloned and is inherited by forked children.
#[derive(Clone)]
pub struct Queue<T, K = Plain> {
    ring: Ring<T>,
    kind: K,
}

/// The state that a handle keeps about taken messages: none, or what a [`JoinableQueue`] needs for
/// joins.
pub trait Kind: Default {
    /// Name of the handle's type.
    const NAME: &'static str;
    /// True if the record has a row per process that holds messages.
    const HAS_ROWS: bool;
}

/// The kind of a plain queue: a taken message is a plain value.
#[derive(Clone, Default)]
pub struct Plain;

impl Kind for Plain {
    const NAME: &'static str = "Queue";
    const HAS_ROWS: bool = false;
}

impl<T: Shareable, K: Kind> Primitive for Queue<T, K> {
    type Size = usize;

    const ELEMENT: ElementType = T::ELEMENT;

    fn schema() -> Option<String> {
        Some(T::schema())
    }

    fn planned(capacity: usize, participants: Participants) -> Result<Planned, String> {
        let rows = if K::HAS_ROWS { participants.number() } else { 0 };
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

/// The methods that a [`JoinableQueue`] has too.
impl<T: Shareable, K: Kind> Queue<T, K> {
    /// Returns the queue of an object, if its messages have this type.
    pub(crate) fn open(place: Place, object: &Object) -> Option<Self> {
        Ring::new(&place, object).map(|ring| Self { ring, kind: K::default() })
    }

    /// Puts a message at the end. Waits for room without a limit.
    ///
    /// # Errors
    /// [`QueueError::Closed`] if the queue is closed, even if that happens during the wait.
    pub fn put(&self, message: T) -> Result<(), QueueError> {
        self.ring.put(message, None)
    }

    /// Puts a message at the end if there is room.
    ///
    /// # Errors
    /// [`QueueError::Full`] if there is none. Otherwise the same as for [`put`](Self::put).
    pub fn try_put(&self, message: T) -> Result<(), QueueError> {
        self.put_timeout(message, Duration::ZERO)
    }

    /// Puts a message at the end. Waits for room at most this long.
    ///
    /// # Errors
    /// [`QueueError::Full`] if the time is over. Otherwise the same as for [`put`](Self::put).
    pub fn put_timeout(&self, message: T, timeout: Duration) -> Result<(), QueueError> {
        self.ring.put(message, Some(timeout))
    }

    /// Closes the queue permanently, for all processes. No more messages can be put. Consumers,
    /// including those that wait already, get the remaining messages and then
    /// [`QueueError::Closed`]. A join waits for the remaining tasks. Closing a closed queue has no
    /// effect.
    pub fn close(&self) -> Result<(), LockFailure> {
        self.ring.close()
    }

    /// Returns true if the queue is closed. There may be messages left.
    pub fn is_closed(&self) -> bool {
        self.ring.is_closed()
    }

    /// Returns how many messages are in the queue at this moment.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Returns true if the queue has no message at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true if there is no room for another message at this moment.
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity()
    }

    /// Returns how many messages the queue has room for. Tasks in progress take no room.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }
}

impl<T: Shareable> Queue<T> {
    /// Takes the first message. Waits for one without a limit.
    ///
    /// # Errors
    /// [`QueueError::Closed`] if the queue is closed, even if that happens during the wait, and
    /// empty.
    pub fn get(&self) -> Result<T, QueueError> {
        endless(self.get_within(None)?)
    }

    /// Takes the first message. Returns `None` if there is none.
    pub fn try_get(&self) -> Result<Option<T>, QueueError> {
        self.get_timeout(Duration::ZERO)
    }

    /// Takes the first message. Waits for one at most this long. Returns `None` if the time is
    /// over.
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<T>, QueueError> {
        self.get_within(Some(timeout))
    }

    /// Takes messages until the queue is closed and empty. Each step waits for a message without a
    /// limit. This is Python's `for job in iter(queue.get, None)`, where [`close`](Self::close)
    /// takes the place of the last message.
    ///
    /// The only error is [`QueueError::Failed`], which is also the last step.
    pub fn iter(&self) -> impl Iterator<Item = Result<T, QueueError>> {
        messages(|| self.get_within(None))
    }

    /// Works like [`iter`](Self::iter), and also ends if no message came for this long. Then
    /// [`is_closed`](Self::is_closed) tells which it was. For consumers whose producers may be
    /// killed.
    pub fn iter_timeout(&self, timeout: Duration) -> impl Iterator<Item = Result<T, QueueError>> {
        messages(move || self.get_within(Some(timeout)))
    }

    fn get_within(&self, timeout: Option<Duration>) -> Result<Option<T>, QueueError> {
        self.ring.get(timeout, |held, counts| {
            held.number(TAKEN).store(counts.taken.wrapping_add(1), Ordering::Release);
            Ok(())
        })
    }
}

/// Unwraps the outcome of a wait without a deadline, which always has one.
fn endless<R, E: From<LockFailure>>(outcome: Option<R>) -> Result<R, E> {
    outcome.ok_or_else(|| LockFailure::System(Errno::EBUSY).into())
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

#[cfg(test)]
mod testing {
    use std::thread;

    use crate::Segment;
    use crate::memory::layout::LOCK_BYTES;
    use crate::sync::lock::Lock;

    /// Returns the lock of a queue whose holder died halfway. The kernel treats the end of a thread
    /// that holds it like that of a process.
    pub(super) fn left_halfway(segment: &Segment, halfway: impl FnOnce() + Send) -> Lock {
        let lock = Lock::at(segment.place(&segment.objects()[0]).part(0, LOCK_BYTES));
        let dies_halfway = || {
            std::mem::forget(lock.lock().unwrap());
            halfway();
        };
        thread::scope(|scope| scope.spawn(dies_halfway).join().unwrap());
        lock
    }
}
