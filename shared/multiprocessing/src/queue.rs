//! A line of messages from processes to processes, in a ring of fixed size.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use crate::cell::{WORD, read_words, write_words};
use crate::deadline::Deadline;
use crate::element::{Shareable, elements_in};
use crate::layout::{HEAD_BYTES, LOCK_BYTES, SIGNAL_BYTES};
use crate::lock::LockFailure;
use crate::mapping::Place;
use crate::record::{Head, Record};

/// Bytes of a record without rows; the ring is behind it.
const RECORD_BYTES: usize = LOCK_BYTES + 2 * HEAD_BYTES + SIGNAL_BYTES;

/// The numbers of a queue, as the table in `layout` lists them.
#[derive(Clone, Copy, Shareable)]
#[repr(C)]
struct Counts {
    capacity: u64,
    /// Of how many elements a message is.
    message: u64,
    /// Messages put so far, and taken so far.
    put: u64,
    taken: u64,
    /// For each [`Side`], how many sleep and were not called since. Never too few of those that live, unless somebody was killed
    /// between counting one out and calling it; too many where sleepers are gone, and then somebody calls in vain.
    asleep: [u64; 2],
}

impl Head for Counts {}

impl Counts {
    fn waiting(&self) -> u64 {
        self.put.wrapping_sub(self.taken)
    }
}

/// What a process does to the queue, and the kind of sleeper it is.
#[derive(Clone, Copy)]
enum Side {
    Put = 0,
    Get = 1,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Put => Self::Get,
            Self::Get => Self::Put,
        }
    }

    fn bits(self) -> u32 {
        1 << self as u32
    }

    fn asleep(self, counts: &mut Counts) -> &mut u64 {
        let [putting, getting] = &mut counts.asleep;
        match self {
            Self::Put => putting,
            Self::Get => getting,
        }
    }
}

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
/// | `queue.qsize()`, `queue.empty()`, `queue.full()` | `queue.len()`, `queue.is_empty()`, `queue.is_full()` |
/// | `queue.close()`, `queue.join_thread()` | nothing: no thread stands between a message and the queue, and once `put` returns it is there |
/// | `SimpleQueue()` | a queue, and the two calls without a timeout: it would be no simpler. It is bounded, as all memory is |
///
/// Messages are of one type, which is [`Shareable`], and are copied. They come out in the order in which they were put; of those of
/// one process this is the order in which it put them. A queue has no end of its own: who is to stop is told so by a message.
///
/// A message is written to a place of the ring that is free, and then is there by one store. When a process is killed
///
/// * while it puts: the whole message is there, or nothing of it, and no gap either;
/// * while it takes one: the message is taken and lost with it, or is still there;
/// * while it waits: nobody is hindered. If it had just been woken, the message or the free place goes to the next one who comes,
///   or to one who waits, within a tenth of a second.
///
/// A queue does not know who ought to put or take: where those processes may be killed, wait with a timeout. The handle can be
/// cloned and is inherited by forked children.
#[derive(Clone)]
pub struct Queue<T> {
    record: Arc<Record<Counts>>,
    ring: Place,
    capacity: u64,
    kind: PhantomData<T>,
}

/// Why a message was not put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// There was no room for it, all the time that was given.
    #[error("the queue is full")]
    Full,
    /// The operating system refused.
    #[error(transparent)]
    Failed(#[from] LockFailure),
}

/// Bytes of a message in the ring.
const fn slot_bytes<T>() -> usize {
    size_of::<T>().next_multiple_of(WORD)
}

/// The elements that so many messages take in the ring, and the numbers the record starts with.
pub(crate) fn planned<T: Shareable>(capacity: usize) -> (usize, [u64; 2]) {
    let elements = capacity.saturating_mul(slot_bytes::<T>() / T::ELEMENT.size());
    (elements, [capacity as u64, elements_in::<T>() as u64])
}

impl<T: Shareable> Queue<T> {
    /// The queue that fills the place; `None` when it is one of other messages.
    pub(crate) fn new(place: &Place) -> Option<Self> {
        let (record, ring) = parts(place);
        let counts = record.head();
        let slots = ring.bytes() / slot_bytes::<T>();
        let fits = slots > 0
            && ring.bytes().is_multiple_of(slot_bytes::<T>())
            && counts.capacity == slots as u64
            && counts.message == elements_in::<T>() as u64;
        let record = Arc::new(record);
        fits.then_some(Self { record, ring, capacity: slots as u64, kind: PhantomData })
    }

    /// Puts a message at the end; waits for room, however long that takes.
    ///
    /// # Errors
    /// What the system says.
    pub fn put(&self, message: T) -> Result<(), LockFailure> {
        done(self.put_until(message, Deadline::NEVER)?)
    }

    /// Puts a message at the end if there is room.
    ///
    /// # Errors
    /// [`QueueError::Full`] when there is none, or what the system says.
    pub fn try_put(&self, message: T) -> Result<(), QueueError> {
        self.put_timeout(message, Duration::ZERO)
    }

    /// Puts a message at the end; waits for room at most this long.
    ///
    /// # Errors
    /// [`QueueError::Full`] when the time is over, or what the system says.
    pub fn put_timeout(&self, message: T, timeout: Duration) -> Result<(), QueueError> {
        let deadline = Deadline::after(timeout).map_err(LockFailure::from)?;
        self.put_until(message, deadline)?.ok_or(QueueError::Full)
    }

    /// Takes the first message; waits for one, however long that takes.
    ///
    /// # Errors
    /// What the system says.
    pub fn get(&self) -> Result<T, LockFailure> {
        done(self.get_until(Deadline::NEVER)?)
    }

    /// Takes the first message; `None` when there is none.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn try_get(&self) -> Result<Option<T>, LockFailure> {
        self.get_timeout(Duration::ZERO)
    }

    /// Takes the first message; waits for one at most this long. `None` when the time is over.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<T>, LockFailure> {
        self.get_until(Deadline::after(timeout)?)
    }

    /// How many messages wait to be taken at this moment.
    pub fn len(&self) -> usize {
        self.record.head().waiting() as usize
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
        self.capacity as usize
    }

    fn put_until(&self, message: T, deadline: Deadline) -> Result<Option<()>, LockFailure> {
        self.repeat_until(deadline, Side::Put, |counts| {
            // The place was read before its message was counted as taken, so nobody needs what is there.
            write_words(&self.ring, self.slot_word(counts.put), &message);
            counts.put = counts.put.wrapping_add(1);
        })
    }

    fn get_until(&self, deadline: Deadline) -> Result<Option<T>, LockFailure> {
        self.repeat_until(deadline, Side::Get, |counts| {
            let message = read_words(&self.ring, self.slot_word(counts.taken));
            counts.taken = counts.taken.wrapping_add(1);
            message
        })
    }

    /// Takes a step as soon as there is something to put into or to take from. `None` when the time is over.
    fn repeat_until<R>(
        &self,
        deadline: Deadline,
        side: Side,
        step: impl Fn(&mut Counts) -> R,
    ) -> Result<Option<R>, LockFailure> {
        // What the announcements were when this process counted itself as asleep.
        let mut counted = None;
        loop {
            let over = deadline.has_passed()?;
            let seen = self.record.announcements();
            let (outcome, call) = self.record.update(|state| {
                let counts = &mut state.head;
                if self.can(side, counts) {
                    let outcome = step(counts);
                    let others = side.other().asleep(counts);
                    let call = *others > 0;
                    *others = others.saturating_sub(1);
                    return (Some(outcome), call);
                }
                let asleep = side.asleep(counts);
                if !over {
                    *asleep = asleep.saturating_add(1);
                } else if counted == Some(self.record.announcements()) {
                    // Nobody was called since: it is still counted, or the call that is to come is for another one then.
                    *asleep = asleep.saturating_sub(1);
                }
                (None, false)
            })?;
            if call {
                self.record.announce(1, side.other().bits());
            }
            if over || outcome.is_some() {
                return Ok(outcome);
            }
            counted = Some(seen);
            // Counted as asleep until it is called: no need to ask for the lock before.
            while self.record.announcements() == seen
                && !self.can(side, &self.record.head())
                && !deadline.has_passed()?
            {
                self.record.sleep(seen, deadline, side.bits())?;
            }
        }
    }

    fn can(&self, side: Side, counts: &Counts) -> bool {
        match side {
            Side::Put => counts.waiting() < self.capacity,
            Side::Get => counts.waiting() > 0,
        }
    }

    /// Where in the ring the message of this number is, in words.
    fn slot_word(&self, number: u64) -> usize {
        (number % self.capacity) as usize * (slot_bytes::<T>() / WORD)
    }
}

/// The record and the ring of a queue.
fn parts(place: &Place) -> (Record<Counts>, Place) {
    let ring = place.part(RECORD_BYTES, place.bytes() - RECORD_BYTES);
    (Record::new(&place.part(0, RECORD_BYTES)), ring)
}

/// A wait without end never ends in vain; this keeps the types honest without a panic.
fn done<R>(outcome: Option<R>) -> Result<R, LockFailure> {
    outcome.ok_or(LockFailure::System(Errno::EBUSY))
}

/// How a queue stands: `3 of 16 messages`.
pub(crate) fn describe(place: &Place) -> String {
    parts(place).0.head().to_string()
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} messages", self.waiting(), self.capacity)
    }
}

impl<T> fmt::Display for Queue<T> {
    /// `3 of 16 messages`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record.head().fmt(f)
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copies::Copies;
    use crate::{Plan, Segment, SegmentName};

    fn queue(test: &str) -> (Segment, Queue<u64>) {
        let name = SegmentName::new(&format!("mp-unit.queue.{test}.{}", std::process::id())).unwrap();
        let segment = Segment::create(&name, &Plan::new().queue::<u64>("queue", 2)).unwrap();
        let queue = segment.queue("queue").unwrap();
        (segment, queue)
    }

    #[test]
    fn a_message_written_by_one_who_died_before_it_was_counted_is_not_there() {
        let (segment, queue) = queue("dead");
        queue.put(1).unwrap();
        let record = segment.place(&segment.objects()[0]).part(0, RECORD_BYTES);
        // The kernel treats the end of a thread that holds the lock like that of a process.
        let dies_halfway = || {
            let copies = Copies::new(&record);
            std::mem::forget(copies.lock().lock().unwrap());
            write_words(&queue.ring, 1, &u64::MAX);
        };
        std::thread::scope(|scope| scope.spawn(dies_halfway).join().unwrap());
        assert_eq!(queue.len(), 1);
        queue.put(2).unwrap();
        assert_eq!(Copies::new(&record).lock().recoveries(), 1);
        assert_eq!([queue.try_get(), queue.try_get(), queue.try_get()], [Ok(Some(1)), Ok(Some(2)), Ok(None)]);
    }

    #[test]
    fn whoever_waited_in_vain_is_not_counted_as_asleep() {
        let (_segment, queue) = queue("vain");
        let timeout = Duration::from_millis(1);
        for _ in 0..10 {
            assert_eq!((queue.try_get(), queue.get_timeout(timeout)), (Ok(None), Ok(None)));
        }
        assert_eq!((queue.put(1), queue.put(2)), (Ok(()), Ok(())));
        for _ in 0..10 {
            assert_eq!(queue.try_put(3), Err(QueueError::Full));
            assert_eq!(queue.put_timeout(3, timeout), Err(QueueError::Full));
        }
        assert_eq!(queue.record.head().asleep, [0, 0]);
    }

    #[test]
    fn numbers_that_lie_lead_nowhere_outside_of_the_ring() {
        let (segment, queue) = queue("lies");
        let lie = |counts: Counts| queue.record.update(|state| state.head = counts).unwrap();
        lie(Counts { capacity: 2, message: 1, put: u64::MAX, taken: 5, asleep: [u64::MAX; 2] });
        assert!(queue.is_full());
        assert_eq!(queue.try_put(1), Err(QueueError::Full));
        assert!(queue.try_get().unwrap().is_some());
        for (capacity, message) in [(0, 1), (3, 1), (u64::MAX, 1), (2, 2)] {
            lie(Counts { capacity, message, put: 0, taken: 0, asleep: [0; 2] });
            assert!(segment.queue::<u64>("queue").is_err());
        }
    }
}
