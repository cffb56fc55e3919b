//! The common part of all queues: a ring of slots for messages, the record that counts them, and
//! the waits for room or for a message.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::counts::{BOTH_SIDES, Counts, Side, Standing};
use super::error::QueueError;
use crate::memory::cell::{WORD, read_words, write_words};
use crate::memory::element::{Shareable, check_copied, elements_in};
use crate::memory::layout::Object;
use crate::sync::lock::LockFailure;
use crate::sync::participant::Identity;
use crate::sync::primitive::Planned;
use crate::sync::record::{Record, State};
use crate::sys::deadline::Deadline;
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
        let put = self.repeat_until(deadline(timeout)?, Side::Put, |state, _| {
            let counts = &mut state.head;
            if counts.is_closed() {
                return Err(QueueError::Closed);
            }
            // The place was read before its message was counted as taken, so its content is free.
            write_words(&self.slots, self.slot_word(counts.put), &message);
            counts.put = counts.put.wrapping_add(1);
            Ok(())
        });
        if put? { Ok(()) } else { Err(QueueError::Full) }
    }

    /// Takes the first message by `take`. Waits for one until the deadline.
    pub(super) fn get_until<R>(
        &self,
        deadline: Deadline,
        take: impl Fn(&mut State<Counts>, Identity) -> Result<R, QueueError>,
    ) -> Result<Option<R>, QueueError> {
        // Kept here, because messages may be long, and each layer that passes one on may copy it.
        let mut taken = None;
        self.repeat_until(deadline, Side::Get, |state, own| {
            if state.head.waiting() == 0 {
                return Err(QueueError::Closed);
            }
            taken = Some(take(state, own)?);
            Ok(())
        })?;
        Ok(taken)
    }

    /// Takes the first message, which must be there. The caller holds the lock of the record.
    pub(super) fn take(&self, counts: &mut Counts) -> T {
        let message = read_words(&self.slots, self.slot_word(counts.taken));
        counts.taken = counts.taken.wrapping_add(1);
        message
    }

    /// Returns where in the ring the message of this number is, in words.
    fn slot_word(&self, number: u64) -> usize {
        (number % self.capacity) as usize * (slot_bytes::<T>() / WORD)
    }

    /// Takes a step as soon as the side can proceed or the queue is closed. Returns true if it was
    /// taken before the deadline.
    fn repeat_until(
        &self,
        deadline: Deadline,
        side: Side,
        mut step: impl FnMut(&mut State<Counts>, Identity) -> Result<(), QueueError>,
    ) -> Result<bool, QueueError> {
        // The announcements at the time when this process counted itself as asleep.
        let mut counted = None;
        loop {
            let over = deadline.has_passed().map_err(LockFailure::from)?;
            let seen = self.record.announcements();
            let (outcome, call) = self.record.update_as(|state, own| {
                if state.head.has_an_answer(side, self.capacity) {
                    let outcome = step(state, own);
                    let call = outcome.is_ok() && state.head.count_out(side.other());
                    return (Some(outcome), call);
                }
                if !over {
                    state.head.count_in(side);
                } else if counted == Some(self.record.announcements()) {
                    // No process was woken since. So this one is still counted, or the next wake-up
                    // is for another one.
                    state.head.count_out(side);
                }
                (None, false)
            })?;
            if call {
                self.record.announce(1, side.other().bits());
            }
            if let Some(outcome) = outcome {
                return outcome.map(|()| true);
            }
            if over {
                return Ok(false);
            }
            counted = Some(seen);
            self.sleep(seen, deadline, side)?;
        }
    }

    /// Sleeps until it is woken. It is counted as asleep, so it needs no lock before.
    fn sleep(&self, seen: u32, deadline: Deadline, side: Side) -> Result<(), LockFailure> {
        while self.record.announcements() == seen
            && !self.record.head().has_an_answer(side, self.capacity)
            && !deadline.has_passed()?
        {
            self.record.sleep(seen, deadline, side.bits())?;
        }
        Ok(())
    }
}

impl<T> Ring<T> {
    /// Closes the queue in one commit, and wakes the waiters.
    pub(super) fn close(&self) -> Result<(), LockFailure> {
        self.record.update(|state| state.head.close())?;
        self.record.announce(u64::MAX, BOTH_SIDES);
        Ok(())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.record.head().is_closed()
    }

    /// Returns how many messages wait to be taken.
    pub(super) fn len(&self) -> usize {
        self.record.head().waiting() as usize
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity as usize
    }
}

/// Returns the deadline of a wait of at most this long, or without a limit.
pub(super) fn deadline(timeout: Option<Duration>) -> Result<Deadline, LockFailure> {
    Ok(timeout.map_or(Ok(Deadline::NEVER), Deadline::after)?)
}

/// Unwraps the outcome of a wait without a deadline, which always has one.
pub(super) fn endless<R>(outcome: Option<R>) -> Result<R, QueueError> {
    outcome.ok_or(QueueError::Failed(LockFailure::System(Errno::EBUSY)))
}

impl<T> fmt::Display for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Standing(self.record.get(), self.capacity).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::memory::layout::{HEAD_BYTES, LOCK_BYTES};
    use crate::sync::lock::Lock;
    use crate::{Plan, Queue, Segment, SegmentName};

    fn queue(test: &str) -> (Segment, Queue<u64>) {
        let name =
            SegmentName::new(&format!("mp-unit.queue.{test}.{}", std::process::id())).unwrap();
        let segment = Segment::create(&name, &Plan::new().queue::<u64>("queue", 2)).unwrap();
        let queue = segment.queue("queue").unwrap();
        (segment, queue)
    }

    fn place(segment: &Segment) -> Place {
        segment.place(&segment.objects()[0])
    }

    /// Returns the lock of a queue whose holder died halfway. The kernel treats the end of a thread
    /// that holds it like that of a process.
    fn left_halfway(segment: &Segment, halfway: impl FnOnce() + Send) -> Lock {
        let lock = Lock::at(place(segment).part(0, LOCK_BYTES));
        let dies_halfway = || {
            std::mem::forget(lock.lock().unwrap());
            halfway();
        };
        thread::scope(|scope| scope.spawn(dies_halfway).join().unwrap());
        lock
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
    fn a_process_that_dies_closing_a_queue_closes_it_only_with_the_commit() {
        let (segment, queue) = queue("closing");
        queue.put(1).unwrap();
        let mut closed = queue.ring.record.head();
        closed.close();
        // One commit was made, so the next one goes to the first copy.
        let copy = place(&segment).part(LOCK_BYTES, HEAD_BYTES);
        let lock = left_halfway(&segment, || write_words(&copy, 0, &closed));
        assert!(!queue.is_closed());
        assert_eq!((queue.put(2), lock.recoveries()), (Ok(()), 1));
        assert_eq!(
            [queue.try_get(), queue.try_get(), queue.try_get()],
            [Ok(Some(1)), Ok(Some(2)), Ok(None)]
        );

        // A waiter detects the close without being woken.
        let begun = Instant::now();
        let waiting = || queue.get_timeout(Duration::from_secs(30));
        thread::scope(|scope| {
            let waiter = scope.spawn(waiting);
            while queue.ring.record.head().asleep(Side::Get) != 1 {
                thread::yield_now();
            }
            queue.ring.record.update(|state| state.head.close()).unwrap();
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
        let counts = queue.ring.record.head();
        assert_eq!([Side::Put, Side::Get].map(|side| counts.asleep(side)), [0, 0]);
    }

    #[test]
    fn corrupt_numbers_lead_nowhere_outside_the_ring() {
        let (segment, queue) = queue("lies");
        let lie = |lie: &dyn Fn(&mut Counts)| {
            queue.ring.record.update(|state| lie(&mut state.head)).unwrap()
        };
        lie(&|counts| {
            (counts.put, counts.taken) = (u64::MAX, 5);
            (0..=u16::MAX).for_each(|_| {
                [Side::Put, Side::Get].into_iter().for_each(|side| counts.count_in(side))
            });
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
