//! Models of a queue with room for one message. Its waits have no limit, and a lost wake-up is a
//! deadlock.

use std::sync::Arc;

use loom::thread;

use super::counts::TAKEN;
use super::error::QueueError;
use super::ring::Ring;
use crate::memory::cell::write_words;
use crate::memory::layout::{ElementType, HEAD_BYTES, LOCK_BYTES, Object, SIGNAL_BYTES};
use crate::models::check;
use crate::sys::atomic::Ordering;
use crate::sys::mapping::Place;

fn ring() -> Arc<Ring<u64>> {
    let record = LOCK_BYTES + 2 * HEAD_BYTES + SIGNAL_BYTES;
    let place = Place::zeros(record + 8);
    // The first number of the record: the elements of a message.
    write_words(&place.part(LOCK_BYTES, HEAD_BYTES), 0, &1_u64);
    Arc::new(Ring::new(&place, &Object { element: ElementType::U64, length: 1 }).unwrap())
}

fn get(ring: &Ring<u64>) -> Result<u64, QueueError> {
    let taken = ring.get(None, |held, counts| {
        held.number(TAKEN).store(counts.taken.wrapping_add(1), Ordering::Release);
        Ok(())
    })?;
    Ok(taken.expect("no deadline passes"))
}

pub(crate) fn one_to_one() {
    check(1, || {
        let ring = ring();
        let producer = ring.clone();
        let producer = thread::spawn(move || {
            (1..=2).for_each(|message| producer.put(message, None).unwrap());
        });
        assert_eq!([get(&ring), get(&ring)], [Ok(1), Ok(2)]);
        producer.join().unwrap();
        assert_eq!(ring.len(), 0);
    });
}

pub(crate) fn two_producers() {
    check(1, || {
        let ring = ring();
        let producers = [1, 2].map(|message| {
            let ring = ring.clone();
            thread::spawn(move || ring.put(message, None).unwrap())
        });
        let sum = get(&ring).unwrap() + get(&ring).unwrap();
        assert_eq!(sum, 3);
        producers.into_iter().for_each(|producer| producer.join().unwrap());
    });
}

pub(crate) fn close() {
    check(2, || {
        let ring = ring();
        let closing = ring.clone();
        let closing = thread::spawn(move || closing.close().unwrap());
        assert_eq!(get(&ring), Err(QueueError::Closed));
        closing.join().unwrap();
        assert_eq!(ring.put(1, None), Err(QueueError::Closed));
    });
}

pub(crate) fn length() {
    check(2, || {
        let ring = ring();
        let user = ring.clone();
        let user = thread::spawn(move || {
            for message in 1..=2 {
                user.put(message, None).unwrap();
                assert_eq!(get(&user), Ok(message));
            }
        });
        assert!(ring.len() <= 1, "{} messages", ring.len());
        user.join().unwrap();
        assert_eq!(ring.len(), 0);
    });
}
