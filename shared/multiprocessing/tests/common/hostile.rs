//! A segment with an object of every kind, some bytes of which are changed, opened and used in
//! every way. It may lead to errors and wrong results, but to no panic, no hang and no crash. The
//! fuzz target includes this file.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use multiprocessing::{Object, ObjectKind, Plan, Segment, SegmentName, Shareable, View};

const NOW: Duration = Duration::ZERO;
/// Bytes of a word that stays as it is: the state in the header, and at the start of each lock
/// block the thread that holds it. A hostile program can hold a lock for ever, so waiting for it is
/// right.
const KEPT_BYTES: usize = 4;
const STATE_OFFSET: usize = 12;
/// Numbers at which calculations go wrong.
const SPECIAL: [u64; 12] = [
    0,
    1,
    2,
    64,
    128,
    u8::MAX as u64,
    u32::MAX as u64,
    u32::MAX as u64 + 1,
    i64::MAX as u64,
    u64::MAX - 63,
    u64::MAX - 1,
    u64::MAX,
];

#[derive(Clone, Copy, Shareable)]
#[repr(C)]
struct Mixed {
    id: u32,
    name: [u8; 4],
}

/// The bytes of a sound segment that has been in use, and where its locks are.
pub struct Sound {
    bytes: Vec<u8>,
    locks: Vec<usize>,
}

impl Sound {
    /// Creates such a segment under this name, and removes it.
    pub fn new(name: &SegmentName) -> Self {
        let plan = Plan::new().participants(3).lock("lock").rlock("rlock").event("event");
        let plan = plan.value::<[u64; 3]>("value").value::<Mixed>("mixed").array::<u64>("array", 8);
        let plan = plan.raw_value::<u64>("raw").raw_array::<u64>("many", 8).condition("condition");
        let plan = plan.semaphore("semaphore", 2).bounded_semaphore("bounded", 2);
        let plan = plan.queue::<u64>("queue", 3).joinable_queue::<Mixed>("joinable", 3);
        let plan = plan.barrier("barrier", 1).barrier("two", 2).array::<Mixed>("structures", 2);
        let segment = Segment::create(name, &plan).unwrap();
        use_all(&segment);
        let with_lock = |object: &&Object| {
            !matches!(object.kind, ObjectKind::Event | ObjectKind::RawValue | ObjectKind::RawArray)
        };
        let locks = segment.objects().iter().filter(with_lock).map(|object| object.offset);
        Self { locks: locks.collect(), bytes: fs::read(name.path()).unwrap() }
    }

    /// Changes the bytes as the input says, in steps of four bytes: a place of two bytes, what to
    /// do, and with which number. Opens the result and uses all of it. Returns true if it opened.
    pub fn check(&self, name: &SegmentName, input: &[u8]) -> bool {
        let mut bytes = self.bytes.clone();
        for step in input.chunks_exact(4) {
            let at = usize::from(u16::from_le_bytes([step[0], step[1]])) % self.bytes.len();
            let number = SPECIAL[usize::from(step[3]) % SPECIAL.len()];
            let (place, number) = match step[2] % 8 {
                0 => (at, vec![step[3]]),
                1 => (at, vec![self.bytes[at] ^ step[3]]),
                2 => (at & !3, (number as u32).to_le_bytes().to_vec()),
                3 => (at & !7, (number.wrapping_add(at as u64)).to_le_bytes().to_vec()),
                4 => (at & !7, (at as u64 & !63).to_le_bytes().to_vec()),
                5 if step[3] < 16 => {
                    bytes.truncate(at);
                    continue;
                }
                _ => (at & !7, number.to_le_bytes().to_vec()),
            };
            let end = (place + number.len()).min(bytes.len());
            if place < end {
                bytes[place..end].copy_from_slice(&number[..end - place]);
            }
        }
        // An unfinished segment is waited for.
        for &kept in [STATE_OFFSET].iter().chain(&self.locks) {
            let end = (kept + KEPT_BYTES).min(bytes.len());
            if kept < end {
                bytes[kept..end].copy_from_slice(&self.bytes[kept..end]);
            }
        }
        let options = File::options().write(true).create(true).truncate(true).mode(0o600).clone();
        options.open(name.path()).unwrap().write_all(&bytes).unwrap();
        // Both read the same bytes, so they agree.
        let (used, seen) = (Segment::open(name), View::open(name));
        assert_eq!(used.is_ok(), seen.is_ok(), "{used:?} {seen:?}");
        let (Ok(segment), Ok(view)) = (used, seen) else { return false };
        for object in view.objects() {
            let _ = view.snapshot(object).to_string();
        }
        use_all(&segment);
        true
    }
}

/// Calls everything that reads or changes shared numbers, on every object that opens. The outcomes
/// do not matter.
fn use_all(segment: &Segment) {
    for Object { name, .. } in segment.objects() {
        use_locks(segment, name);
        use_records(segment, name);
        use_queues(segment, name);
    }
    for object in segment.objects() {
        let _ = segment.snapshot(object).to_string();
    }
}

fn use_locks(segment: &Segment, name: &str) {
    if let Ok(lock) = segment.lock(name) {
        drop((lock.try_lock(), lock.lock_timeout(NOW), lock.recoveries(), lock.holder()));
    }
    if let Ok(rlock) = segment.rlock(name) {
        drop((rlock.lock_timeout(NOW), rlock.lock_timeout(NOW), rlock.depth()));
    }
    if let Ok(value) = segment.value::<[u64; 3]>(name) {
        drop((value.update(|numbers| numbers[0] = 1), value.lock_timeout(NOW), value.get()));
    }
    if let Ok(value) = segment.value::<Mixed>(name) {
        let _ = (value.update(|mixed| mixed.name[3] ^= mixed.id as u8), value.get().id);
    }
    if let Ok(array) = segment.array::<u64>(name) {
        let _ = array.lock_timeout(NOW).map(|elements| elements.map(|mut it| it.fill(7)));
    }
    if let Ok(array) = segment.array::<Mixed>(name) {
        let _ = array.lock_timeout(NOW).map(|elements| elements.map(|mixed| mixed.len()));
    }
    if let Ok(raw) = segment.raw_value::<u64>(name) {
        raw.fetch_add(1);
    }
    if let Ok(raw) = segment.raw_array::<u64>(name) {
        let _ = raw.iter().sum::<u64>().checked_add(raw.len() as u64);
    }
    if let Ok(event) = segment.event(name) {
        event.set();
        event.clear();
        let _ = (event.wait_timeout(NOW), event.is_set());
    }
}

fn use_records(segment: &Segment, name: &str) {
    let semaphore = segment.semaphore(name);
    let bounded = segment.bounded_semaphore(name);
    for semaphore in [semaphore.as_ref().ok(), bounded.as_deref().ok()].into_iter().flatten() {
        let (one, two) = (semaphore.acquire_timeout(NOW), semaphore.acquire_timeout(NOW));
        let _ = (semaphore.release(1), semaphore.release(u64::MAX), semaphore.get_value());
        drop((one, two.map(|permit| permit.map(|permit| permit.forget()))));
    }
    if let Ok(barrier) = segment.barrier(name) {
        let own = nix::unistd::getpid();
        let _ = (barrier.enrol(own), barrier.wait_timeout(NOW), barrier.is_broken());
        let _ = (barrier.reset(), barrier.wait_timeout(NOW), barrier.abort(), barrier.reset());
        let _ = (barrier.parties(), barrier.n_waiting());
    }
    let Ok(lock) = segment.lock("lock") else { return };
    let Ok(condition) = segment.condition(name, &lock) else { return };
    for wake in [0, 3, usize::MAX] {
        if let Ok(Some(guard)) = lock.lock_timeout(NOW) {
            let _ = condition.notify(&guard, wake);
            drop(condition.wait_timeout(guard, NOW).ok());
        }
    }
}

fn use_queues(segment: &Segment, name: &str) {
    if let Ok(queue) = segment.queue::<u64>(name) {
        let _ = (queue.try_put(1), queue.try_get(), queue.len(), queue.is_full());
        let _ = (queue.put_timeout(2, NOW), queue.get_timeout(NOW), queue.capacity());
    }
    if let Ok(queue) = segment.joinable_queue::<Mixed>(name) {
        let mixed = Mixed { id: 1, name: *b"name" };
        let tasks = (queue.try_put(mixed), queue.try_put(mixed), queue.try_get(), queue.try_get());
        let _ = (queue.join_timeout(NOW), queue.unfinished(), queue.lost());
        drop(tasks);
    }
}
