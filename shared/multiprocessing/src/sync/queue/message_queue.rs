//! A queue of messages of any length: bytes, or values that are encoded.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::byte_ring::{self, ByteRing};
use super::error::MessageQueueError;
use super::iter::messages;
use super::waits::Numbers;
use crate::memory::encoding::{decode, encode};
use crate::memory::layout::{ElementType, Object};
use crate::sync::lock::LockFailure;
use crate::sync::primitive::{Participants, Planned, Primitive};
use crate::sys::mapping::Place;

/// A bounded queue of messages of any length for any number of producers and consumers, like
/// Python's `multiprocessing.Queue` of any objects. Its capacity is in bytes.
///
/// | Python | here |
/// |---|---|
/// | `queue = Queue()` | `Plan::new().message_queue("queue", 65_536)`, |
/// | | `segment.message_queue("queue")?` |
/// | `queue.put(job)` | `queue.put(&job)?` |
/// | `queue.put(job, timeout=0.5)` | `queue.put_timeout(&job, Duration::from_millis(500))?` |
/// | `queue.put_nowait(job)` | `queue.try_put(&job)?` |
/// | `queue.Full` | [`MessageQueueError::Full`] |
/// | `job = queue.get()` | `let job: Job = queue.get()?;` |
/// | `queue.get(timeout=0.5)` | `queue.get_timeout(Duration::from_millis(500))?` |
/// | `queue.get_nowait()` | `queue.try_get()?` |
/// | `queue.Empty` | `None` |
/// | `for job in iter(queue.get, None):` | `for job in queue.iter::<Job>() {` |
/// | `queue.put(b'bytes')` | `queue.put_bytes(b"bytes")?`, `queue.get_bytes()?` |
/// | `queue.qsize()`, `queue.empty()` | `len()`, `is_empty()` |
///
/// A value is anything that serde serializes, encoded as in a [`pipe`](crate::pipe()). A queue does
/// not know the types of its values: the programs agree on them. Bytes travel as they are.
///
/// A message takes its length rounded up to 8 bytes, and 8 bytes more. A message of `capacity`
/// bytes fills an empty queue, and a longer one is refused with [`MessageQueueError::TooLong`]. A
/// put waits until there is room for the whole message. Shorter messages may go first.
///
/// When a process is killed, a message is whole or not there, and other processes continue, exactly
/// as with a [`Queue`](crate::Queue). No process sees a half-written message of a dead producer. A
/// message that a dead consumer was taking is lost with it or still in the queue. A wait for dead
/// processes lasts until its timeout is over, the queue is closed, or other processes come. The
/// handle can be cloned and is inherited by forked children.
#[derive(Clone)]
pub struct MessageQueue {
    ring: ByteRing,
}

impl Primitive for MessageQueue {
    type Size = usize;

    const ELEMENT: ElementType = ElementType::U8;

    fn planned(capacity: Self::Size, _participants: Participants) -> Result<Planned, String> {
        byte_ring::planned(capacity)
    }

    fn wanted() -> String {
        "messages of any length".to_owned()
    }

    fn size(&self) -> Option<Self::Size> {
        Some(self.capacity())
    }

    fn wanted_with(capacity: Self::Size) -> String {
        format!("{capacity} bytes")
    }

    fn describe(place: &Place, object: &Object) -> Option<String> {
        Some(byte_ring::describe(place, object))
    }
}

impl MessageQueue {
    /// Returns the queue of an object, if its numbers fit its size.
    pub(crate) fn open(place: Place, object: &Object) -> Option<Self> {
        ByteRing::new(&place, object).map(|ring| Self { ring })
    }

    /// Puts a value at the end. Waits for room without a limit.
    ///
    /// # Errors
    /// [`MessageQueueError::TooLong`], [`MessageQueueError::Encode`], or
    /// [`MessageQueueError::Closed`] if the queue is closed, even if that happens during the wait.
    /// Nothing was put.
    pub fn put<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), MessageQueueError> {
        self.put_bytes(&encoded(value)?)
    }

    /// Puts a value at the end if there is room.
    ///
    /// # Errors
    /// [`MessageQueueError::Full`] if there is none. Otherwise the same as for [`put`](Self::put).
    pub fn try_put<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), MessageQueueError> {
        self.try_put_bytes(&encoded(value)?)
    }

    /// Puts a value at the end. Waits for room at most this long.
    ///
    /// # Errors
    /// [`MessageQueueError::Full`] if the time is over. Otherwise the same as for
    /// [`put`](Self::put).
    pub fn put_timeout<T: Serialize + ?Sized>(
        &self,
        value: &T,
        timeout: Duration,
    ) -> Result<(), MessageQueueError> {
        self.put_bytes_timeout(&encoded(value)?, timeout)
    }

    /// Works like [`put`](Self::put) for bytes, which are not encoded.
    pub fn put_bytes(&self, message: &[u8]) -> Result<(), MessageQueueError> {
        self.ring.put(message, None)
    }

    /// Works like [`try_put`](Self::try_put) for bytes.
    pub fn try_put_bytes(&self, message: &[u8]) -> Result<(), MessageQueueError> {
        self.put_bytes_timeout(message, Duration::ZERO)
    }

    /// Works like [`put_timeout`](Self::put_timeout) for bytes.
    pub fn put_bytes_timeout(
        &self,
        message: &[u8],
        timeout: Duration,
    ) -> Result<(), MessageQueueError> {
        self.ring.put(message, Some(timeout))
    }

    /// Takes the first message, which is a value of this type. Waits for one without a limit.
    ///
    /// # Errors
    /// [`MessageQueueError::Closed`] if the queue is closed, even if that happens during the wait,
    /// and empty. [`MessageQueueError::Decode`] if the message is no such value; it was taken.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, MessageQueueError> {
        decoded(&self.get_bytes()?)
    }

    /// Takes the first message. Returns `None` if there is none.
    pub fn try_get<T: DeserializeOwned>(&self) -> Result<Option<T>, MessageQueueError> {
        self.get_timeout(Duration::ZERO)
    }

    /// Takes the first message. Waits for one at most this long. Returns `None` if the time is
    /// over.
    pub fn get_timeout<T: DeserializeOwned>(
        &self,
        timeout: Duration,
    ) -> Result<Option<T>, MessageQueueError> {
        self.get_bytes_timeout(timeout)?.map(|message| decoded(&message)).transpose()
    }

    /// Works like [`get`](Self::get), and returns the bytes of the message as they are.
    pub fn get_bytes(&self) -> Result<Vec<u8>, MessageQueueError> {
        super::endless(self.ring.get(None)?)
    }

    /// Works like [`try_get`](Self::try_get) for bytes.
    pub fn try_get_bytes(&self) -> Result<Option<Vec<u8>>, MessageQueueError> {
        self.get_bytes_timeout(Duration::ZERO)
    }

    /// Works like [`get_timeout`](Self::get_timeout) for bytes.
    pub fn get_bytes_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<Vec<u8>>, MessageQueueError> {
        self.ring.get(Some(timeout))
    }

    /// Takes values until the queue is closed and empty. Each step waits for a message without a
    /// limit. A message that is no value of this type is an error, after which the next ones
    /// follow.
    pub fn iter<T: DeserializeOwned>(&self) -> impl Iterator<Item = Result<T, MessageQueueError>> {
        messages(|| self.get().map(Some))
    }

    /// Works like [`iter`](Self::iter), and also ends if no message came for this long. Then
    /// [`is_closed`](Self::is_closed) tells which it was.
    pub fn iter_timeout<T: DeserializeOwned>(
        &self,
        timeout: Duration,
    ) -> impl Iterator<Item = Result<T, MessageQueueError>> {
        messages(move || self.get_timeout(timeout))
    }

    /// Works like [`iter`](Self::iter) for bytes.
    pub fn iter_bytes(&self) -> impl Iterator<Item = Result<Vec<u8>, MessageQueueError>> {
        messages(|| self.get_bytes().map(Some))
    }

    /// Closes the queue permanently, for all processes, as [`Queue::close`](crate::Queue::close)
    /// does.
    pub fn close(&self) -> Result<(), LockFailure> {
        self.ring.record().close()
    }

    /// Returns true if the queue is closed. There may be messages left.
    pub fn is_closed(&self) -> bool {
        self.ring.record().head().waits().is_closed()
    }

    /// Returns how many messages are in the queue at this moment.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Returns true if the queue has no message at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of the longest message that the queue takes.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }
}

fn encoded<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, MessageQueueError> {
    encode(value).map_err(MessageQueueError::Encode)
}

fn decoded<T: DeserializeOwned>(message: &[u8]) -> Result<T, MessageQueueError> {
    decode(message).map_err(MessageQueueError::Decode)
}

impl fmt::Display for MessageQueue {
    /// `3 messages in 120 of 1032 bytes, closed`, without what does not apply.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ring.fmt(f)
    }
}

impl fmt::Debug for MessageQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageQueue({self})")
    }
}
