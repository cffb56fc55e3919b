//! Models of two copies of a value of two words, which are equal in every whole value.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use loom::thread;

use super::check;
use crate::memory::cell::{read_words, word, write_words};
use crate::memory::layout::LOCK_BYTES;
use crate::sync::copies::Copies;
use crate::sync::lock::{Lock, LockError};
use crate::sys::atomic::Ordering;
use crate::sys::mapping::Place;

fn copies() -> Arc<Copies> {
    Arc::new(Copies::new(&Place::zeros(LOCK_BYTES + 2 * 16)))
}

/// Returns the current value, which must be whole.
fn read(copies: &Copies) -> u64 {
    let [first, second] = copies.read(|copy| read_words::<[u64; 2]>(copy, 0));
    assert_eq!(first, second, "a torn value");
    first
}

/// Adds 1 under the lock. Returns true if the last holder has died.
fn increment(copies: &Copies) -> bool {
    let (_guard, inherited) = match copies.lock().lock_briefly() {
        Ok(guard) => (guard, false),
        Err(LockError::OwnerDied(inherited)) => (inherited.repaired(), true),
        Err(LockError::Failed(failure)) => panic!("{failure}"),
    };
    let [first, second] = read_words::<[u64; 2]>(copies.current(), 0);
    assert_eq!(first, second, "the holder sees a torn value");
    copies.commit(|copy| write_words(copy, 0, &[first + 1, second + 1]));
    inherited
}

/// Two commits, so that the writer comes back to the copy that a reader may be reading.
pub(crate) fn readers() {
    check(3, || {
        let copies = copies();
        let writer = copies.clone();
        let writer = thread::spawn(move || (0..2).for_each(|_| _ = increment(&writer)));
        let (before, after) = (read(&copies), read(&copies));
        assert!(before <= after, "{after} after {before}");
        writer.join().unwrap();
        assert_eq!(read(&copies), 2);
    });
}

pub(crate) fn writers() {
    check(3, || {
        let copies = copies();
        let other = copies.clone();
        let other = thread::spawn(move || (0..2).for_each(|_| _ = increment(&other)));
        increment(&copies);
        other.join().unwrap();
        assert_eq!(read(&copies), 3);
    });
}

pub(crate) fn death() {
    check(3, || {
        let copies = copies();
        increment(&copies);
        let dying = copies.clone();
        let dying = thread::spawn(move || {
            let Ok(guard) = dying.lock().lock_briefly() else { panic!("no holder has died") };
            let commit = || {
                dying.commit(|copy| {
                    word(copy, 0).store(u64::MAX, Ordering::Relaxed);
                    resume_unwind(Box::new("killed"));
                });
            };
            assert!(catch_unwind(AssertUnwindSafe(commit)).is_err());
            Lock::free_of_dead(guard);
        });
        assert_eq!(read(&copies), 1);
        dying.join().unwrap();
        assert!(increment(&copies));
        assert_eq!(read(&copies), 2);
    });
}
