//! Objects that belong to no segment: a process and its forked children share them as they share
//! those of a segment, and nothing remains in `/dev/shm`.

use multiprocessing::{
    Array, Barrier, BoundedSemaphore, Condition, Event, JoinableQueue, Lock, LockError, Process,
    Queue, RLock, RawArray, RawValue, SegmentError, Semaphore, Value,
};

use crate::common::{apply, child, join_all, kill_and_join, sleep_for_ever, test};

#[apply(test)]
fn children_share_every_primitive_without_a_segment() {
    let (lock, rlock) = (Lock::new().unwrap(), RLock::new().unwrap());
    let (value, raw) = (Value::<u64>::new().unwrap(), RawValue::<i32>::new().unwrap());
    let (array, bytes) = (Array::<u16>::new(3).unwrap(), RawArray::<u8>::new(2).unwrap());
    let (gate, bounded) = (Semaphore::new(1).unwrap(), BoundedSemaphore::new(1).unwrap());
    let (started, meet) = (Event::new().unwrap(), Barrier::new(3).unwrap());
    let (changed, jobs) = (Condition::new(&lock).unwrap(), Queue::<u32>::new(4).unwrap());
    let tasks = JoinableQueue::<u32>::new(4).unwrap();
    let work = |number: u32| {
        started.wait().unwrap();
        let guard = rlock.lock().unwrap();
        raw.store(raw.load() + 1);
        drop(guard);
        value.update(|sum| *sum += 10).unwrap();
        array.lock().unwrap()[number as usize] += 7;
        bytes.fetch_add(1, 2);
        drop((gate.acquire().unwrap(), bounded.acquire().unwrap()));
        jobs.put(number).unwrap();
        drop(tasks.get().unwrap());
        meet.wait().unwrap();
        let held = lock.lock().unwrap();
        changed.notify_all(&held).unwrap();
    };
    let children = [child(|| work(1)), child(|| work(2))];
    tasks.put(1).unwrap();
    tasks.put(2).unwrap();
    started.set();
    tasks.join().unwrap();
    let mut held = lock.lock().unwrap();
    meet.wait().unwrap();
    held = changed.wait(held).unwrap();
    drop(held);
    join_all(children);
    assert_eq!((raw.load(), value.get()), (2, 20));
    assert_eq!(*array.lock().unwrap(), [0, 7, 7]);
    assert_eq!(bytes.iter().collect::<Vec<_>>(), [0, 4]);
    assert_eq!((gate.get_value(), bounded.get_value()), (1, 1));
    let mut numbers = [jobs.get().unwrap(), jobs.get().unwrap()];
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("/dev/shm/"), "{maps}");
}

#[apply(test)]
fn the_death_of_an_owner_is_reported_without_a_segment_too() {
    let (lock, gate) = (Lock::new().unwrap(), Semaphore::new(2).unwrap());
    let ready = Event::new().unwrap();
    let owner = child(|| {
        let _held = (lock.lock().unwrap(), gate.acquire().unwrap());
        ready.set();
        sleep_for_ever();
    });
    ready.wait().unwrap();
    kill_and_join(owner);
    let Err(LockError::OwnerDied(inherited)) = lock.lock() else {
        panic!("the death was not reported")
    };
    drop(inherited.repaired());
    // The unit of the dead holder comes back.
    let _both = (gate.acquire().unwrap(), gate.acquire().unwrap());
}

#[apply(test)]
fn an_object_that_is_dropped_by_a_child_stays_with_its_parent() {
    let value = Value::<u64>::new().unwrap();
    let copy = value.clone();
    let mut dropping = Process::fork(move || {
        drop(copy);
        0
    })
    .unwrap();
    assert!(dropping.join().unwrap().is_success());
    value.update(|number| *number = 5).unwrap();
    assert_eq!(value.get(), 5);
}

#[apply(test)]
fn an_impossible_size_is_refused() {
    assert!(RawArray::<u64>::new(0).unwrap().is_empty());
    assert!(matches!(Barrier::new(0), Err(SegmentError::Plan(_))));
    assert!(matches!(RawArray::<u64>::new(usize::MAX), Err(SegmentError::Plan(_))));
    assert!(matches!(RawArray::<u64>::new(1 << 45), Err(SegmentError::NoSpace { .. })));
}
