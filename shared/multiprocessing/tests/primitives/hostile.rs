//! Numbers that another process has overwritten: they may lead to errors and wrong results, but to
//! no panic, no hang and no access outside of the segment.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use multiprocessing::{Object, ObjectKind, Plan, Process, Segment};
use nix::unistd::getpid;

use crate::common::{LIMIT, apply, segment, test};

const NOW: Duration = Duration::ZERO;
/// Bytes at the start of a lock block that belong to the C library.
const MUTEX_BYTES: u64 = 48;

fn plan() -> Plan {
    let plan = Plan::new().participants(3).lock("lock").rlock("rlock").condition("condition");
    let plan = plan.semaphore("semaphore", 2).bounded_semaphore("bounded", 2).event("event");
    let plan = plan.queue::<u64>("queue", 2).joinable_queue::<u64>("joinable", 2);
    let plan = plan.message_queue("messages", 50);
    plan.barrier("barrier", 1).barrier("two", 2).value::<[u64; 3]>("value").array::<u64>("array", 2)
}

/// Calls everything that reads or changes these numbers. The outcomes do not matter.
fn use_all(segment: &Segment) {
    let semaphore = segment.semaphore("semaphore").unwrap();
    let bounded = segment.bounded_semaphore("bounded").unwrap();
    for semaphore in [&semaphore, &*bounded] {
        let (one, two) = (semaphore.acquire_timeout(NOW), semaphore.acquire_timeout(NOW));
        let _ = (semaphore.release(1), semaphore.release(u64::MAX));
        drop((one, two.map(|permit| permit.map(|permit| permit.forget()))));
    }
    if let Ok(queue) = segment.queue::<u64>("queue") {
        let _ = (queue.try_put(1), queue.try_get(), queue.len(), queue.is_full());
    }
    if let Ok(queue) = segment.joinable_queue::<u64>("joinable") {
        let tasks = (queue.try_put(1), queue.try_put(2), queue.try_get(), queue.try_get());
        drop(tasks);
        let _ = (queue.join_timeout(NOW), queue.unfinished(), queue.lost());
    }
    if let Ok(queue) = segment.message_queue("messages") {
        let _ = (queue.try_put_bytes(&[7; 50]), queue.try_get_bytes(), queue.try_get_bytes());
        let _ = (queue.try_put(&1_u8), queue.try_get::<u8>(), queue.len(), queue.to_string());
    }
    for barrier in ["barrier", "two"].map(|name| segment.barrier(name).unwrap()) {
        let _ = (barrier.enrol(getpid()), barrier.wait_timeout(NOW), barrier.is_broken());
        let _ = (barrier.reset(), barrier.wait_timeout(NOW), barrier.abort(), barrier.reset());
    }
    let lock = segment.lock("lock").unwrap();
    let condition = segment.condition("condition", &lock).unwrap();
    for wake in [0, 3] {
        let guard = lock.lock().unwrap();
        let _ = condition.notify(&guard, wake);
        drop(condition.wait_timeout(guard, NOW).ok());
    }
    let rlock = segment.rlock("rlock").unwrap();
    drop((rlock.lock().unwrap(), rlock.lock().unwrap(), rlock.depth()));
    let event = segment.event("event").unwrap();
    event.set();
    event.clear();
    let _ = (event.wait_timeout(NOW), event.set());
    let value = segment.value::<[u64; 3]>("value").unwrap();
    value.update(|numbers| numbers[0] = 1).unwrap();
    drop((value.lock(), segment.array::<u64>("array").unwrap().lock()));
    for object in segment.objects() {
        let _ = segment.snapshot(object).to_string();
    }
}

/// Writes each of some numbers to each word of the object, in turn, and uses everything.
fn lie_about(segment: &Segment, object: &Object) {
    let file = File::options().read(true).write(true).open(segment.name().path()).unwrap();
    let skipped = if object.kind == ObjectKind::Event { 0 } else { MUTEX_BYTES };
    let (start, bytes) = (object.offset as u64 + skipped, object.bytes - skipped as usize);
    use_all(segment);
    let mut truth = vec![0; bytes];
    file.read_exact_at(&mut truth, start).unwrap();
    let pid = u64::from(std::process::id());
    for number in [0, 1, u64::MAX, i64::MAX as u64, u32::MAX.into(), pid | 7 << 32] {
        for at in (0..bytes).step_by(8) {
            let mut lie = truth.clone();
            let width = 8.min(bytes - at);
            lie[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
            file.write_all_at(&lie, start).unwrap();
            use_all(segment);
        }
    }
    file.write_all_at(&truth, start).unwrap();
}

#[apply(test)]
fn overwritten_numbers_end_no_process_and_no_wait() {
    let segment = segment(&plan());
    for object in segment.objects() {
        let mut process = Process::fork(|| {
            lie_about(&segment, object);
            0
        });
        let exit = process.as_mut().unwrap().join_timeout(LIMIT).unwrap();
        assert!(exit.is_some_and(|exit| exit.is_success()), "{} {exit:?}", object.name);
    }
}

/// The depth is the only number beside the mutex that decides when the lock is free.
#[apply(test)]
fn an_overwritten_depth_does_not_keep_an_rlock() {
    let segment = segment(&Plan::new().rlock("rlock"));
    let (rlock, object) = (segment.rlock("rlock").unwrap(), &segment.objects()[0]);
    let file = File::options().write(true).open(segment.name().path()).unwrap();
    let guard = rlock.lock().unwrap();
    file.write_all_at(&[0; 8], object.offset as u64 + 56).unwrap();
    drop(guard);
    assert_eq!(rlock.holder(), None);
}
