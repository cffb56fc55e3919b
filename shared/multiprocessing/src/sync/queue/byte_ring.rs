//! A ring of messages of any length, and the record that counts their bytes.

use std::fmt;
use std::mem::offset_of;
use std::sync::Arc;
use std::time::Duration;

use super::error::MessageQueueError;
use super::waits::{Numbers, Side, WAITS, Waits};
use crate::memory::cell::{WORD, copy_in, copy_out};
use crate::memory::element::Shareable;
use crate::memory::layout::Object;
use crate::sync::primitive::Planned;
use crate::sync::record::{Head, Record};
use crate::sys::mapping::Place;

/// The numbers of a queue of messages of any length, as the page in `layout` lists them.
#[derive(Clone, Copy, Shareable)]
#[repr(C)]
struct Bytes {
    /// Bytes of the longest message.
    capacity: u64,
    /// Bytes of the ring that messages have filled so far, and that were freed so far.
    put: u64,
    taken: u64,
    /// Messages put so far, and taken so far.
    messages_put: u64,
    messages_taken: u64,
    /// [`Waits`]
    waits: u64,
}

impl Head for Bytes {}

impl Numbers for Bytes {
    fn waits(&self) -> Waits {
        Waits::of(self.waits)
    }
}

const _: () = assert!(offset_of!(Bytes, waits) == WAITS * WORD);

impl Bytes {
    fn used(&self) -> u64 {
        self.put.wrapping_sub(self.taken)
    }

    fn messages(&self) -> u64 {
        self.messages_put.wrapping_sub(self.messages_taken)
    }
}

/// Returns the bytes that a message takes in the ring, with its length before it. `None` if that
/// overflows.
fn bytes_in_ring(message: usize) -> Option<usize> {
    message.checked_next_multiple_of(WORD)?.checked_add(WORD)
}

/// A ring of messages of any length.
#[derive(Clone)]
pub(super) struct ByteRing {
    record: Arc<Record<Bytes>>,
    ring: Place,
    /// Bytes of the longest message.
    capacity: usize,
}

/// Plans a ring that has room for a message of this many bytes.
pub(super) fn planned(capacity: usize) -> Result<Planned, String> {
    if capacity == 0 {
        return Err("has no room for a message".to_owned());
    }
    let ring = bytes_in_ring(capacity).unwrap_or(usize::MAX);
    Ok(Planned { head: [capacity as u64, 0], ..Planned::elements(ring) })
}

/// Describes the state of a queue in words.
pub(super) fn describe(place: &Place, object: &Object) -> String {
    ByteRing::parts(place, object).to_string()
}

impl ByteRing {
    fn parts(place: &Place, object: &Object) -> Self {
        let record_bytes = place.bytes() - object.length;
        let ring = place.part(record_bytes, object.length);
        let record = Record::<Bytes>::new(&place.part(0, record_bytes));
        let capacity = usize::try_from(record.head().capacity).unwrap_or(usize::MAX);
        Self { record: Arc::new(record), ring, capacity }
    }

    /// Returns the ring of a queue, unless its numbers contradict each other.
    pub(super) fn new(place: &Place, object: &Object) -> Option<Self> {
        let ring = Self::parts(place, object);
        let fits = ring.capacity > 0 && bytes_in_ring(ring.capacity) == Some(ring.ring.bytes());
        fits.then_some(ring)
    }

    /// Puts a message at the end. Waits for room at most this long, or without a limit.
    pub(super) fn put(
        &self,
        message: &[u8],
        timeout: Option<Duration>,
    ) -> Result<(), MessageQueueError> {
        let (bytes, capacity) = (message.len(), self.capacity);
        let in_ring = bytes_in_ring(bytes).filter(|_| bytes <= capacity);
        let in_ring = in_ring.ok_or(MessageQueueError::TooLong { bytes, capacity })? as u64;
        let ring = self.ring.bytes() as u64;
        let has_room =
            |numbers: &Bytes| numbers.used().checked_add(in_ring).is_some_and(|used| used <= ring);
        let put = self.record.step_within(timeout, (Side::Put, 1), has_room, |held, numbers| {
            if numbers.waits().is_closed() {
                return Err(MessageQueueError::Closed);
            }
            // What was here was read before it was counted as taken.
            self.write(numbers.put, &(bytes as u64).to_ne_bytes());
            self.write(numbers.put.wrapping_add(WORD as u64), message);
            held.update(|state| {
                state.head.put = numbers.put.wrapping_add(in_ring);
                state.head.messages_put = numbers.messages_put.wrapping_add(1);
            });
            Ok(())
        });
        if put? { Ok(()) } else { Err(MessageQueueError::Full) }
    }

    /// Takes the first message. Waits for one at most this long, or without a limit.
    pub(super) fn get(
        &self,
        timeout: Option<Duration>,
    ) -> Result<Option<Vec<u8>>, MessageQueueError> {
        let mut taken = None;
        let has_message = |numbers: &Bytes| numbers.used() > 0;
        // The room of one message may be enough for several waiters, or for none but the last one.
        let wakes = u64::MAX;
        self.record.step_within(timeout, (Side::Get, wakes), has_message, |held, numbers| {
            if numbers.used() == 0 {
                return Err(MessageQueueError::Closed);
            }
            let mut length = [0; WORD];
            self.read(numbers.taken, &mut length);
            let length = u64::from_ne_bytes(length);
            let in_ring = usize::try_from(length).ok().and_then(bytes_in_ring);
            let in_ring = in_ring.map(|bytes| bytes as u64);
            let in_ring = in_ring.filter(|&in_ring| {
                in_ring <= numbers.used() && numbers.used() <= self.ring.bytes() as u64
            });
            let in_ring = in_ring.ok_or(MessageQueueError::Damaged)?;
            let mut message = vec![0; length as usize];
            self.read(numbers.taken.wrapping_add(WORD as u64), &mut message);
            held.update(|state| {
                state.head.taken = numbers.taken.wrapping_add(in_ring);
                state.head.messages_taken = numbers.messages_taken.wrapping_add(1);
            });
            taken = Some(message);
            Ok(())
        })?;
        Ok(taken)
    }

    /// Returns the word of the ring at a position, and the bytes from there to its end.
    fn place_of(&self, position: u64) -> (usize, usize) {
        let ring = self.ring.bytes();
        let at = (position % ring as u64) as usize / WORD * WORD;
        (at / WORD, ring - at)
    }

    fn write(&self, position: u64, bytes: &[u8]) {
        let (word, to_end) = self.place_of(position);
        let (here, at_start) = bytes.split_at(to_end.min(bytes.len()));
        copy_in(&self.ring, word, here);
        copy_in(&self.ring, 0, at_start);
    }

    fn read(&self, position: u64, bytes: &mut [u8]) {
        let (word, to_end) = self.place_of(position);
        let (here, at_start) = bytes.split_at_mut(to_end.min(bytes.len()));
        copy_out(&self.ring, word, here);
        copy_out(&self.ring, 0, at_start);
    }

    pub(super) fn record(&self) -> &Record<impl Numbers + use<>> {
        &self.record
    }

    /// Returns how many messages wait to be taken.
    pub(super) fn len(&self) -> usize {
        self.record.head().messages() as usize
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }
}

impl fmt::Display for ByteRing {
    /// `3 messages in 120 of 1032 bytes, closed`, without what does not apply.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.record.head();
        let (messages, used) = (numbers.messages(), numbers.used());
        write!(f, "{messages} messages in {used} of {} bytes", self.ring.bytes())?;
        if numbers.waits().is_closed() { f.write_str(", closed") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::queue::testing::left_halfway;
    use crate::{MessageQueue, Plan, Segment, SegmentName};

    fn queue(test: &str) -> (Segment, MessageQueue, ByteRing) {
        let name =
            SegmentName::new(&format!("mp-unit.bytes.{test}.{}", std::process::id())).unwrap();
        let segment = Segment::create(&name, &Plan::new().message_queue("queue", 40)).unwrap();
        let queue = segment.message_queue("queue").unwrap();
        let object = &segment.objects()[0];
        let ring = ByteRing::new(&segment.place(object), object).unwrap();
        (segment, queue, ring)
    }

    #[test]
    fn a_message_of_a_process_that_died_writing_it_is_never_seen() {
        let (segment, queue, ring) = queue("dead");
        queue.put_bytes(b"first").unwrap();
        let lock = left_halfway(&segment, || {
            ring.write(16, &100_u64.to_ne_bytes());
            ring.write(24, b"half of a mess");
        });
        assert_eq!(queue.len(), 1);
        queue.put_bytes(b"second").unwrap();
        assert_eq!(lock.recoveries(), 1);
        let taken = [queue.try_get_bytes(), queue.try_get_bytes()].map(Result::unwrap);
        assert_eq!(taken, [Some(b"first".to_vec()), Some(b"second".to_vec())]);
        assert_eq!(queue.try_get_bytes().unwrap(), None);
    }

    #[test]
    fn a_message_whose_taker_died_before_counting_it_is_still_there() {
        let (segment, queue, ring) = queue("taker");
        queue.put_bytes(b"first").unwrap();
        left_halfway(&segment, || ring.read(8, &mut [0; 5]));
        assert_eq!(queue.get_bytes().unwrap(), b"first");
    }

    #[test]
    fn corrupt_numbers_are_an_error_and_lead_nowhere_outside_the_ring() {
        let (_segment, queue, ring) = queue("lies");
        queue.put_bytes(b"first").unwrap();
        for length in [41, 1 << 20, u64::MAX - 7, u64::MAX] {
            ring.write(0, &length.to_ne_bytes());
            assert!(matches!(queue.try_get_bytes(), Err(MessageQueueError::Damaged)));
        }
        ring.write(0, &5_u64.to_ne_bytes());
        for (put, taken) in [(u64::MAX, 0), (8, 0), (0, 8), (1 << 60, 0), (17, 1)] {
            let lie = |bytes: &mut Bytes| (bytes.put, bytes.taken) = (put, taken);
            ring.record.update(|state| lie(&mut state.head)).unwrap();
            let (message, full) = (queue.try_get_bytes(), queue.try_put_bytes(&[7; 40]));
            assert!(message.is_err() || message.unwrap().is_some_and(|it| it.len() <= 40));
            assert!(matches!(full, Err(MessageQueueError::Full) | Ok(())));
        }
    }
}
