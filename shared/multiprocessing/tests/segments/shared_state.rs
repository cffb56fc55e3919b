//! One declaration makes the plan, the handles and the directory, and a segment that differs from
//! it is refused with the name of the object.

use multiprocessing::{
    Array, Barrier, BoundedSemaphore, Condition, Event, JoinableQueue, Lock, MessageQueue,
    ObjectKind, Plan, Queue, RLock, RawArray, RawValue, Segment, SegmentError, Semaphore,
    SharedState, Value,
};

use crate::common::{apply, test, unique_name};

#[derive(Clone, SharedState)]
#[shared(args(workers: usize, units: u64), participants = 2 * workers)]
struct Everything {
    #[shared(lock = rlock)]
    changed: Condition,
    lock: Lock,
    rlock: RLock,
    event: Event,
    value: Value<[u32; 3]>,
    raw_value: RawValue<i16>,
    #[shared(len = workers + 1)]
    array: Array<[f64; 2]>,
    #[shared(len = workers)]
    raw_array: RawArray<u8>,
    #[shared(units = units)]
    semaphore: Semaphore,
    #[shared(units = 2)]
    bounded: BoundedSemaphore,
    #[shared(parties = workers)]
    barrier: Barrier,
    #[shared(capacity = workers * 4)]
    queue: Queue<u64>,
    #[shared(capacity = 7)]
    jobs: JoinableQueue<[u8; 12]>,
    #[shared(capacity = 100)]
    texts: MessageQueue,
    #[shared(segment)]
    segment: Segment,
}

#[derive(SharedState)]
#[shared(args(workers: usize))]
struct Workers {
    #[shared(segment)]
    segment: Segment,
    winners: Value<u64>,
    #[shared(len = workers)]
    processing: RawArray<u8>,
    #[shared(len = workers)]
    in_flight: RawArray<u16>,
    #[shared(len = 2 * workers)]
    pairs: Array<u32>,
    #[shared(len = 5)]
    fixed: RawArray<u64>,
    #[shared(capacity = 4)]
    queue: Queue<u64>,
    #[shared(parties = 2)]
    barrier: Barrier,
}

/// Adds an object to a plan.
type Add = fn(Plan) -> Plan;

/// Returns the plan of `Workers` for three workers, with one object replaced.
fn plan_with(replaced: &str, replacement: Add) -> Plan {
    let objects: [(&str, Add); 7] = [
        ("winners", |plan| plan.value::<u64>("winners")),
        ("processing", |plan| plan.raw_array::<u8>("processing", 3)),
        ("in_flight", |plan| plan.raw_array::<u16>("in_flight", 3)),
        ("pairs", |plan| plan.array::<u32>("pairs", 6)),
        ("fixed", |plan| plan.raw_array::<u64>("fixed", 5)),
        ("queue", |plan| plan.queue::<u64>("queue", 4)),
        ("barrier", |plan| plan.barrier("barrier", 2)),
    ];
    objects.into_iter().fold(Plan::new(), |plan, (name, object)| {
        if name == replaced { replacement(plan) } else { object(plan) }
    })
}

#[apply(test)]
fn every_kind_is_declared_made_and_opened() {
    let name = unique_name();
    let made = Everything::create(&name, (3, 5)).unwrap();
    let kinds = made.segment.objects().iter().map(|object| (object.name.as_str(), object.kind));
    let expected = [
        ("changed", ObjectKind::Condition),
        ("lock", ObjectKind::Lock),
        ("rlock", ObjectKind::RLock),
        ("event", ObjectKind::Event),
        ("value", ObjectKind::Value),
        ("raw_value", ObjectKind::RawValue),
        ("array", ObjectKind::Array),
        ("raw_array", ObjectKind::RawArray),
        ("semaphore", ObjectKind::Semaphore),
        ("bounded", ObjectKind::BoundedSemaphore),
        ("barrier", ObjectKind::Barrier),
        ("queue", ObjectKind::Queue),
        ("jobs", ObjectKind::JoinableQueue),
        ("texts", ObjectKind::MessageQueue),
    ];
    assert!(kinds.eq(expected), "{:?}", made.segment.objects());
    let seen = Everything::open(&name).unwrap();
    assert_eq!((seen.array.len(), seen.raw_array.len(), seen.barrier.parties()), (4, 3, 3));
    assert_eq!((seen.queue.capacity(), seen.jobs.capacity()), (12, 7));
    assert_eq!(seen.texts.capacity(), 100);
    let (permit, bounded) = (seen.semaphore.acquire().unwrap(), seen.bounded.acquire().unwrap());
    drop((permit, bounded));
    // Of a condition, a semaphore and a barrier the length is the number of participants.
    assert!([0, 8, 9, 10].iter().all(|index| seen.segment.objects()[*index].length == 6));
    let state = |index: usize| seen.segment.snapshot(&seen.segment.objects()[index]).to_string();
    assert!(state(8).starts_with('5') && state(9).starts_with('2'), "{} {}", state(8), state(9));
}

#[apply(test)]
fn handles_of_two_processes_are_the_same_objects() {
    let name = unique_name();
    let made = Everything::create(&name, (2, 1)).unwrap();
    let seen = Everything::open(&name).unwrap();
    made.value.set([1, 2, 3]).unwrap();
    made.raw_value.store(-4);
    made.raw_array.store(1, 9);
    made.queue.put(7).unwrap();
    made.jobs.put([8; 12]).unwrap();
    made.event.set();
    assert_eq!((seen.value.get(), seen.raw_value.load()), ([1, 2, 3], -4));
    assert_eq!((seen.raw_array.load(1), seen.queue.get().unwrap()), (9, 7));
    assert_eq!((seen.jobs.len(), seen.event.is_set()), (1, true));
    let _held = made.lock.lock().unwrap();
    assert!(matches!(seen.lock.try_lock(), Ok(None)));
    let held = seen.rlock.lock().unwrap();
    seen.changed.notify_all(&held).unwrap();
}

#[apply(test)]
fn a_segment_that_differs_is_refused_with_the_name_of_the_object() {
    let cases: [(&str, Add, &str); 11] = [
        ("winners", |plan| plan, "there is no object \"winners\"; expected Value of u64"),
        ("winners", |plan| plan.lock("winners"), "is Lock; expected Value of u64, length 1"),
        ("winners", |plan| plan.value::<i64>("winners"), "is Value of i64, length 1; expected"),
        (
            "winners",
            |plan| plan.value::<[u64; 2]>("winners"),
            "is Value of u64, length 2; expected Value of u64, length 1",
        ),
        (
            "processing",
            |plan| plan.raw_array::<u16>("processing", 3),
            "is RawArray of u16, length 3; expected RawArray of u8",
        ),
        (
            "in_flight",
            |plan| plan.raw_array::<u16>("in_flight", 2),
            "is RawArray of u16, length 2; expected RawArray of u16, length 3",
        ),
        (
            "pairs",
            |plan| plan.array::<u32>("pairs", 7),
            "is Array of u32, length 7; expected Array of u32, length 6",
        ),
        (
            "fixed",
            |plan| plan.raw_array::<u64>("fixed", 4),
            "is RawArray of u64, length 4; expected RawArray of u64, length 5",
        ),
        (
            "queue",
            |plan| plan.queue::<u64>("queue", 5),
            "is Queue of 5 messages; expected Queue of 4 messages",
        ),
        (
            "queue",
            |plan| plan.joinable_queue::<u64>("queue", 4),
            "expected Queue of messages of 1 u64",
        ),
        (
            "barrier",
            |plan| plan.barrier("barrier", 3),
            "is Barrier of 3 parties; expected Barrier of 2 parties",
        ),
    ];
    for (object, replacement, text) in cases {
        let name = unique_name();
        let _segment = Segment::create(&name, &plan_with(object, replacement)).unwrap();
        let refused = Workers::open(&name).err().unwrap();
        assert!(
            matches!(&refused, SegmentError::Object { object: named, .. } if named == object),
            "{refused:?}"
        );
        let message = refused.to_string();
        assert!(message.contains(&format!("object {object:?}")), "{message}");
        assert!(message.contains(text), "{message} for {text}");
    }
}

#[apply(test)]
fn objects_that_are_not_declared_are_ignored() {
    let name = unique_name();
    let plan = plan_with("winners", |plan| plan.event("newer").value::<u64>("winners"));
    let made = Segment::create(&name, &plan).unwrap();
    let seen = Workers::open(&name).unwrap();
    assert_eq!((seen.winners.get(), seen.pairs.len(), seen.fixed.len()), (0, 6, 5));
    assert_eq!((seen.processing.len(), seen.in_flight.len()), (3, 3));
    assert_eq!((seen.queue.capacity(), seen.barrier.parties()), (4, 2));
    assert_eq!(seen.segment.objects().len(), 1 + 7);
    drop(made);
}

#[apply(test)]
fn the_segment_is_removed_with_the_last_clone_of_its_creator() {
    let name = unique_name();
    let made = Everything::create(&name, (2, 1)).unwrap();
    let clone = made.clone();
    drop(made);
    assert!(name.path().exists());
    drop(clone);
    assert!(!name.path().exists());
}
