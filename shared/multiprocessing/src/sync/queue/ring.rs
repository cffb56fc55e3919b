//! A ring of slots for messages of one type, and the record that counts them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::counts::{Counts, PUT, Standing};
use super::error::QueueError;
use super::waits::{Numbers, Side};
use crate::memory::cell::{WORD, read_words, write_words};
use crate::memory::element::{Shareable, check_copied, elements_in};
use crate::memory::layout::Object;
use crate::sync::lock::LockFailure;
use crate::sync::primitive::Planned;
use crate::sync::record::{Held, Record};
use crate::sys::mapping::Place;

/// A ring of messages.
#[derive(Clone)]
pub(super) struct Ring<T> {
    pub(super) record: Arc<Record<Counts>>,
    slots: Place,
    capacity: u64,
    kind: PhantomData<T>,
}

/// Returns the bytes of a message in the ring.
const fn slot_bytes<T>() -> usize {
    size_of::<T>().next_multiple_of(WORD)
}

/// Plans a ring of this many messages.
pub(super) fn planned<T: Shareable>(capacity: usize) -> Result<Planned, String> {
    const { check_copied::<T>() };
    if capacity == 0 {
        return Err("has no room for a message".to_owned());
    }
    let elements = capacity.saturating_mul(slot_bytes::<T>() / T::ELEMENT.size());
    Ok(Planned { head: [elements_in::<T>() as u64, 0], ..Planned::elements(elements) })
}

/// Returns the record of a queue, and the slots behind it.
fn parts(place: &Place, object: &Object) -> (Record<Counts>, Place) {
    let slots = object.element.size() * object.length;
    let record = place.bytes() - slots;
    (Record::new(&place.part(0, record)), place.part(record, slots))
}

/// Describes the state of a queue in words.
pub(super) fn describe(place: &Place, object: &Object) -> String {
    let (record, slots) = parts(place, object);
    let state = record.get();
    // Any process can have written this number, so it may have any value.
    let message = object.element.size().saturating_mul(state.head.message as usize);
    let slot = message.checked_next_multiple_of(WORD).unwrap_or(usize::MAX);
    let capacity = slots.bytes().checked_div(slot).unwrap_or(0);
    Standing(state, capacity as u64).to_string()
}

impl<T: Shareable> Ring<T> {
    /// Returns the ring of a queue, if its messages have this type.
    pub(super) fn new(place: &Place, object: &Object) -> Option<Self> {
        const { check_copied::<T>() };
        let (record, slots) = parts(place, object);
        let capacity = (slots.bytes() / slot_bytes::<T>()) as u64;
        let fits = capacity > 0
            && slots.bytes().is_multiple_of(slot_bytes::<T>())
            && record.head().message == elements_in::<T>() as u64;
        fits.then(|| Self { record: Arc::new(record), slots, capacity, kind: PhantomData })
    }

    /// Puts a message at the end. Waits for room at most this long, or without a limit.
    pub(super) fn put(&self, message: T, timeout: Option<Duration>) -> Result<(), QueueError> {
        let has_room = |counts: &Counts| counts.waiting() < self.capacity;
        let put = self.record.step_within(timeout, (Side::Put, 1), has_room, |held, counts| {
            if counts.waits().is_closed() {
                return Err(QueueError::Closed);
            }
            // The place was read before its message was counted as taken, so its content is free.
            write_words(&self.slots, self.slot_word(counts.put), &message);
            held.number(PUT).store(counts.put.wrapping_add(1), Ordering::Release);
            Ok(())
        });
        if put? { Ok(()) } else { Err(QueueError::Full) }
    }

    /// Takes the first message. `count` counts it as taken in one commit. Waits for a message at
    /// most this long, or without a limit.
    pub(super) fn get(
        &self,
        timeout: Option<Duration>,
        count: impl Fn(&Held<Counts>, &Counts) -> Result<(), QueueError>,
    ) -> Result<Option<T>, QueueError> {
        // Kept here, because messages may be long, and each layer that passes one on may copy it.
        let mut taken = None;
        let has_message = |counts: &Counts| counts.waiting() > 0;
        self.record.step_within(timeout, (Side::Get, 1), has_message, |held, counts| {
            if counts.waiting() == 0 {
                return Err(QueueError::Closed);
            }
            taken = Some(read_words(&self.slots, self.slot_word(counts.taken)));
            count(held, counts)
        })?;
        Ok(taken)
    }

    /// Returns where in the ring the message of this number is, in words.
    fn slot_word(&self, number: u64) -> usize {
        (number % self.capacity) as usize * (slot_bytes::<T>() / WORD)
    }
}

impl<T> Ring<T> {
    pub(super) fn close(&self) -> Result<(), LockFailure> {
        self.record.close()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.record.head().waits().is_closed()
    }

    /// Returns how many messages wait to be taken.
    pub(super) fn len(&self) -> usize {
        self.record.head().waiting() as usize
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity as usize
    }
}

impl<T> fmt::Display for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Standing(self.record.get(), self.capacity).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Instant;

    use super::super::testing::left_halfway;
    use super::super::waits::WAITS;
    use super::*;
    use crate::{Plan, Queue, Segment, SegmentName};

    fn queue(test: &str) -> (Segment, Queue<u64>) {
        let name =
            SegmentName::new(&format!("mp-unit.queue.{test}.{}", std::process::id())).unwrap();
        let segment = Segment::create(&name, &Plan::new().queue::<u64>("queue", 2)).unwrap();
        let queue = segment.queue("queue").unwrap();
        (segment, queue)
    }

    #[test]
    fn a_message_of_a_process_that_died_before_counting_it_is_not_there() {
        let (segment, queue) = queue("dead");
        queue.put(1).unwrap();
        let lock = left_halfway(&segment, || write_words(&queue.ring.slots, 1, &u64::MAX));
        assert_eq!(queue.len(), 1);
        queue.put(2).unwrap();
        assert_eq!(lock.recoveries(), 1);
        assert_eq!(
            [queue.try_get(), queue.try_get(), queue.try_get()],
            [Ok(Some(1)), Ok(Some(2)), Ok(None)]
        );
    }

    #[test]
    fn a_process_that_dies_before_it_closes_a_queue_leaves_it_open() {
        let (segment, queue) = queue("closing");
        queue.put(1).unwrap();
        let lock = left_halfway(&segment, || ());
        assert!(!queue.is_closed());
        assert_eq!((queue.put(2), lock.recoveries()), (Ok(()), 1));
        assert_eq!(
            [queue.try_get(), queue.try_get(), queue.try_get()],
            [Ok(Some(1)), Ok(Some(2)), Ok(None)]
        );
    }

    #[test]
    fn a_waiter_detects_a_close_without_being_woken() {
        let (_segment, queue) = queue("uncalled");
        let begun = Instant::now();
        let waiting = || queue.get_timeout(Duration::from_secs(30));
        thread::scope(|scope| {
            let waiter = scope.spawn(waiting);
            while queue.ring.record.head().waits().asleep(Side::Get) != 1 {
                thread::yield_now();
            }
            queue.ring.record.lock().unwrap().number(WAITS).store(1 << 32, Ordering::Release);
            assert_eq!(waiter.join().unwrap(), Err(QueueError::Closed));
        });
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_waiter_that_timed_out_is_not_counted_as_asleep() {
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
        let waits = queue.ring.record.head().waits();
        assert_eq!([Side::Put, Side::Get].map(|side| waits.asleep(side)), [0, 0]);
    }

    #[test]
    fn a_reader_without_the_lock_sees_puts_and_gets_of_one_moment() {
        let (_segment, queue) = queue("moment");
        let done = AtomicBool::new(false);
        let counts_up = |step: &dyn Fn()| (0..100_000).for_each(|_| step());
        let longest = thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let mut longest = 0;
                while !done.load(Ordering::Relaxed) {
                    longest = longest.max(queue.len());
                }
                longest
            });
            scope.spawn(|| counts_up(&|| queue.put(7).unwrap()));
            counts_up(&|| _ = queue.get().unwrap());
            done.store(true, Ordering::Relaxed);
            looking.join().unwrap()
        });
        assert!((1..=2).contains(&longest), "{longest} messages in a queue of 2");
    }

    #[test]
    fn corrupt_numbers_lead_nowhere_outside_the_ring() {
        let (segment, queue) = queue("lies");
        let lie = |lie: &dyn Fn(&mut Counts)| {
            queue.ring.record.update(|state| lie(&mut state.head)).unwrap()
        };
        lie(&|counts| {
            (counts.put, counts.taken) = (u64::MAX, 5);
            counts.waits = 0xffff_ffff;
        });
        assert!(queue.is_full());
        assert_eq!(queue.try_put(1), Err(QueueError::Full));
        assert!(queue.try_get().unwrap().is_some());
        for message in [0, 2, 1 << 61, u64::MAX] {
            lie(&|counts| counts.message = message);
            assert!(segment.queue::<u64>("queue").is_err());
            assert!(segment.snapshot(&segment.objects()[0]).state.is_some());
        }
    }
}
