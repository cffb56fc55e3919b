//! Segments: created exclusively, opened by name, refused when something does not fit.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use multiprocessing::{
    Array, Barrier, ElementType, Exit, ObjectKind, Permit, Plan, Queue, Segment, SegmentError,
    SegmentName, Value,
};
use nix::unistd::{getpid, getppid};

use crate::common::{
    LIMIT, Program, apply, child, fact, join_all, kill_and_join, name, needs_namespaces, program,
    segment, sleep_for_ever, test, unique_name, wait_until, write_entry,
};

fn plan() -> Plan {
    Plan::new().lock("lock").value::<u64>("value").raw_value::<i32>("raw").array::<f64>("array", 3)
}

#[apply(test)]
fn a_segment_is_created_exclusively_readable_by_its_owner_only_and_removed_by_its_creator() {
    let name = unique_name();
    let segment = Segment::create(&name, &plan()).unwrap();
    let metadata = fs::metadata(name.path()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    assert!(metadata.blocks() * 512 >= metadata.len(), "its pages are not reserved");
    assert!(matches!(Segment::create(&name, &plan()), Err(SegmentError::Exists { .. })));
    assert_eq!(segment.creator(), getpid());
    assert!(segment.creator_is_alive());
    assert!(SystemTime::now().duration_since(segment.created()).unwrap() < Duration::from_secs(60));
    let copy = segment.clone();
    drop(segment);
    assert!(name.path().exists(), "removed while a handle lives");
    drop(copy);
    assert!(!name.path().exists());
    assert!(matches!(Segment::open(&name), Err(SegmentError::NotFound { .. })));
}

#[apply(test)]
fn the_directory_describes_every_object_exactly() {
    let name = unique_name();
    let plan =
        plan().raw_array::<u16>("seven", 7).rlock("rlock").event("event").semaphore("gate", 1);
    let plan = plan
        .participants(3)
        .bounded_semaphore("tickets", 2)
        .condition("changed")
        .barrier("meet", 2);
    let plan = plan.queue::<u64>("numbers", 5).queue::<[u8; 9]>("odd", 2);
    let plan = plan.joinable_queue::<[u16; 5]>("tasks", 2).message_queue("texts", 100);
    let segment = Segment::create(&name, &plan).unwrap();
    let opened = Segment::open(&name).unwrap();
    assert_eq!(segment.objects(), opened.objects());
    let listed: Vec<_> = opened
        .objects()
        .iter()
        .map(|object| {
            (object.name.as_str(), object.kind, object.element, object.length, object.bytes)
        })
        .collect();
    let expected = [
        ("lock", ObjectKind::Lock, ElementType::U8, 0, 64),
        ("value", ObjectKind::Value, ElementType::U64, 1, 64 + 16),
        ("raw", ObjectKind::RawValue, ElementType::I32, 1, 4),
        ("array", ObjectKind::Array, ElementType::F64, 3, 64 + 24),
        ("seven", ObjectKind::RawArray, ElementType::U16, 7, 14),
        ("rlock", ObjectKind::RLock, ElementType::U8, 0, 64),
        ("event", ObjectKind::Event, ElementType::U32, 1, 4),
        ("gate", ObjectKind::Semaphore, ElementType::U64, 64, 64 + 2 * (64 + 64 * 32) + 64),
        ("tickets", ObjectKind::BoundedSemaphore, ElementType::U64, 3, 64 + 2 * (64 + 3 * 32) + 64),
        ("changed", ObjectKind::Condition, ElementType::U64, 3, 64 + 2 * (64 + 3 * 32) + 64),
        ("meet", ObjectKind::Barrier, ElementType::U64, 3, 64 + 2 * (64 + 3 * 32) + 64),
        ("numbers", ObjectKind::Queue, ElementType::U64, 5, 64 + 2 * 64 + 64 + 5 * 8),
        ("odd", ObjectKind::Queue, ElementType::U8, 32, 64 + 2 * 64 + 64 + 2 * 16),
        (
            "tasks",
            ObjectKind::JoinableQueue,
            ElementType::U16,
            16,
            64 + 2 * (64 + 3 * 32) + 64 + 2 * 16,
        ),
        // The longest message is padded by 4 bytes and has its length before it.
        ("texts", ObjectKind::MessageQueue, ElementType::U8, 112, 64 + 2 * 64 + 64 + 112),
    ];
    assert_eq!(listed, expected);
    assert_eq!(opened.creator(), getpid());
    drop(opened);
    assert!(name.path().exists(), "removed by a process that only opened it");
}

#[apply(test)]
fn wrong_names_kinds_and_types_are_errors() {
    let segment = Segment::create(&unique_name(), &plan()).unwrap();
    let refusals = [
        segment.value::<u64>("nothing").map(drop),
        segment.value::<i64>("value").map(drop),
        segment.value::<[u64; 2]>("value").map(drop),
        segment.raw_value::<u64>("value").map(drop),
        segment.raw_array::<i32>("raw").map(drop),
        segment.array::<u64>("array").map(drop),
        segment.lock("array").map(drop),
        segment.rlock("lock").map(drop),
        segment.event("raw").map(drop),
        segment.semaphore("lock").map(drop),
        segment.bounded_semaphore("value").map(drop),
        segment.barrier("array").map(drop),
        segment.queue::<u64>("array").map(drop),
        segment.joinable_queue::<u64>("array").map(drop),
        segment.message_queue("array").map(drop),
        segment.condition("lock", &segment.lock("lock").unwrap()).map(drop),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Err(SegmentError::Object { .. })), "{refusal:?}");
    }
    let message = segment.lock("value").unwrap_err().to_string();
    assert!(
        message.ends_with("object \"value\" is Value of u64, length 1; expected Lock"),
        "{message}"
    );
    let message = segment.lock("missing").unwrap_err().to_string();
    assert!(message.ends_with("there is no object \"missing\"; expected Lock"), "{message}");
}

#[apply(test)]
fn impossible_plans_are_errors_and_leave_nothing() {
    let name = unique_name();
    let plans = [
        Plan::new().lock("a").lock("a"),
        Plan::new().lock(""),
        Plan::new().lock("nul\0"),
        Plan::new().lock(&"x".repeat(32)),
        Plan::new().raw_array::<u64>("a", usize::MAX),
        Plan::new().array::<[u64; 9]>("a", usize::MAX / 9),
        Plan::new().raw_array::<u8>("a", usize::MAX - 500).lock("b"),
        Plan::new().queue::<u64>("a", 0),
        Plan::new().queue::<[u64; 9]>("a", usize::MAX / 9),
        Plan::new().joinable_queue::<u64>("a", 0),
        Plan::new().participants(usize::MAX / 2).joinable_queue::<u64>("a", 1),
    ];
    for plan in plans {
        let outcome = Segment::create(&name, &plan);
        assert!(matches!(outcome, Err(SegmentError::Plan(_))), "{outcome:?}");
    }
    // A valid plan, for more memory than any machine has.
    let outcome = Segment::create(&name, &Plan::new().raw_array::<u64>("a", usize::MAX >> 5));
    assert!(
        matches!(outcome, Err(SegmentError::System { .. } | SegmentError::NoSpace { .. })),
        "{outcome:?}"
    );
    assert!(!name.path().exists());
}

#[apply(test)]
fn entries_of_another_layout_are_refused() {
    let name = unique_name();
    let segment = Segment::create(&name, &plan()).unwrap();
    let good = fs::read(name.path()).unwrap();
    drop(segment);
    let altered = |offset: usize, bytes: &[u8]| {
        let mut altered = good.clone();
        altered[offset..offset + bytes.len()].copy_from_slice(bytes);
        altered
    };
    let cases: [(&str, Vec<u8>); 7] = [
        ("not SHMPROC", altered(0, b"PROCSHM\0")),
        ("does not fit", altered(24, &u32::MAX.to_ne_bytes())),
        ("entry 1 makes no sense", altered(128 + 128 + 40, &u32::MAX.to_ne_bytes())),
        ("does not fit", good[..good.len() - 1].to_vec()),
        ("it has 5 bytes", b"short".to_vec()),
        ("it is too short", good[..100].to_vec()),
        ("never finished", Vec::new()),
    ];
    for (reason, bytes) in cases {
        write_entry(&name, bytes);
        let outcome = Segment::open(&name);
        fs::remove_file(name.path()).unwrap();
        let Err(error @ SegmentError::Foreign { .. }) = outcome else {
            panic!("{reason}: {outcome:?}")
        };
        assert!(error.to_string().contains(reason), "{error} for {reason}");
    }
}

/// A segment as layout version 1 has it, with nothing in it or with one lock.
fn version_1(objects: u32) -> Vec<u8> {
    let mut bytes = vec![0; 64 + 128 * objects as usize];
    bytes[..8].copy_from_slice(b"SHMPROC\0");
    bytes[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    bytes[12..16].copy_from_slice(&1_u32.to_ne_bytes());
    let total = bytes.len() as u64;
    bytes[16..24].copy_from_slice(&total.to_ne_bytes());
    bytes[24..28].copy_from_slice(&objects.to_ne_bytes());
    bytes[28..32].copy_from_slice(&4711_u32.to_ne_bytes());
    bytes
}

#[apply(test)]
fn a_segment_of_another_layout_version_is_refused_with_both_versions() {
    let name = unique_name();
    let newer = [version_1(1), vec![0; 128]].concat();
    let newer = [&newer[..8], &4_u32.to_ne_bytes(), &newer[12..]].concat();
    for (version, bytes) in [(1, version_1(0)), (1, version_1(1)), (4, newer)] {
        write_entry(&name, bytes);
        let refused = Segment::open(&name).unwrap_err();
        fs::remove_file(name.path()).unwrap();
        assert!(matches!(refused, SegmentError::OtherLayout { .. }), "{refused:?}");
        let expected = format!("has layout version {version}; this program reads version 3");
        assert!(refused.to_string().ends_with(&expected), "{refused}");
    }
}

#[apply(test)]
fn a_segment_of_an_older_layout_is_reclaimed_once_its_processes_are_gone() {
    let name = unique_name();
    write_entry(&name, version_1(1));
    let entry = OpenOptions::new().write(true).read(true).open(name.path()).unwrap();
    entry.lock().unwrap();
    let refused = Segment::reclaim(&name);
    assert!(
        matches!(refused, Err(SegmentError::InUse { creator: 4711, .. })),
        "its lock is held: {refused:?}"
    );
    drop(entry);
    assert_eq!(Segment::reclaim_all(name.as_str()).unwrap(), std::slice::from_ref(&name));
    assert!(!name.path().exists());
    // What a newer version does with the lock is unknown.
    let newer = [&version_1(1)[..8], &4_u32.to_ne_bytes(), &version_1(1)[12..]].concat();
    write_entry(&name, newer);
    let refused = Segment::reclaim(&name);
    assert!(matches!(refused, Err(SegmentError::OtherLayout { version: 4, .. })), "{refused:?}");
    assert!(name.path().exists());
    fs::remove_file(name.path()).unwrap();
}

#[apply(test)]
fn an_open_waits_for_a_segment_that_is_being_created() {
    let name = unique_name();
    let segment = Segment::create(&name, &plan()).unwrap();
    let entry = OpenOptions::new().write(true).open(name.path()).unwrap();
    entry.write_all_at(&[0; 4], 12).unwrap();
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| Segment::open(&name));
        std::thread::sleep(Duration::from_millis(50)); // The opener may wait already or not.
        entry.write_all_at(&1_u32.to_ne_bytes(), 12).unwrap();
        assert!(opener.join().unwrap().is_ok());
    });
    drop(segment);
}

#[apply(test)]
fn segments_exist_side_by_side_even_under_the_longest_names() {
    let short = unique_name();
    let long =
        SegmentName::new(&format!("{short}.{}", "x".repeat(254 - short.as_str().len()))).unwrap();
    assert_eq!(long.as_str().len(), 255);
    let segments = [&short, &long].map(|name| Segment::create(name, &plan()).unwrap());
    let values = segments.each_ref().map(|segment| segment.value::<u64>("value").unwrap());
    values[0].set(1).unwrap();
    values[1].set(2).unwrap();
    assert_eq!(values.each_ref().map(|value| value.get()), [1, 2]);
    drop(segments);
    assert!(!short.path().exists() && !long.path().exists());
    // The memory stays as long as any handle to an object in it exists.
    assert_eq!(values[1].update(|value| *value += 1), Ok(3));
}

#[apply(test)]
fn a_dev_shm_that_is_too_small_is_an_error_that_leaves_no_entry() {
    needs_namespaces();
    let script = "mount -t tmpfs -o size=64k tmpfs /dev/shm && exec \"$0\" \"$@\"";
    let wrapper = ["unshare", "--mount", "sh", "-c", script];
    let mut program = Program::start_through(&wrapper, no_space, &[]);
    program.succeed();
    assert!(program.fact("message").contains("--shm-size"));
}

/// An unrelated program that knows only the name.
#[apply(program)]
fn attach(arguments: &[&str]) {
    let segment = Segment::open(&SegmentName::new(arguments[0]).unwrap()).unwrap();
    assert_eq!(segment.creator(), getppid());
    assert!(segment.creator_is_alive());
    let (value, lock) = (segment.value::<u64>("value").unwrap(), segment.lock("lock").unwrap());
    assert_eq!(value.update(|value| *value *= 2).unwrap(), 42);
    assert_eq!(lock.holder(), Some(getppid()));
    assert!(lock.lock_timeout(Duration::from_millis(10)).unwrap().is_none());
    segment.raw_array::<i8>("raw").unwrap().store(1, -1);
}

#[apply(test)]
fn an_unrelated_process_attaches_by_name() {
    let segment =
        segment(&Plan::new().lock("lock").value::<u64>("value").raw_array::<i8>("raw", 2));
    segment.value::<u64>("value").unwrap().set(21).unwrap();
    let lock = segment.lock("lock").unwrap();
    let guard = lock.lock().unwrap();
    Program::start(attach, &[name().as_str()]).succeed();
    drop(guard);
    assert_eq!(segment.value::<u64>("value").unwrap().get(), 42);
    assert_eq!(segment.raw_array::<i8>("raw").unwrap().load(1), -1);
    assert!(name().path().exists(), "the other program removed the entry");
    drop(segment);
    assert!(!name().path().exists());
}

/// Creates a segment in a `/dev/shm` of 64 kB.
#[apply(program)]
fn no_space(_: &[&str]) {
    let outcome = Segment::create(&name(), &Plan::new().raw_array::<u8>("bytes", 1 << 20));
    assert!(
        matches!(outcome, Err(SegmentError::NoSpace { bytes }) if bytes > 1 << 20),
        "{outcome:?}"
    );
    assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 0);
    drop(segment(&Plan::new().raw_array::<u8>("bytes", 1 << 12)));
    fact("message", outcome.unwrap_err());
}

/// Everything that a program may drop at a bad moment.
struct Everything {
    _permit: Permit,
    _barrier: Barrier,
    _queue: Queue<u64>,
    _value: Value<u64>,
    _array: Array<u16>,
    _segment: Segment,
}

/// Drops handles, permits and segments while this process and another one hold locks, in a
/// destructor that a panic runs, and in a child that inherited them.
#[apply(test)]
fn dropping_handles_permits_and_segments_never_waits() {
    let plan = Plan::new()
        .lock("lock")
        .value::<u64>("value")
        .array::<u16>("array", 3)
        .semaphore("gate", 9);
    let segment =
        segment(&plan.barrier("meet", 1).queue::<u64>("queue", 2).raw_value::<u64>("held"));
    let everything = || {
        let (gate, meet) = (segment.semaphore("gate").unwrap(), segment.barrier("meet").unwrap());
        // From here on, this process is a party of the barrier, until it drops its last handle.
        meet.wait().unwrap();
        Everything {
            _permit: gate.acquire().unwrap(),
            _barrier: meet,
            _queue: segment.queue("queue").unwrap(),
            _value: segment.value("value").unwrap(),
            _array: segment.array("array").unwrap(),
            _segment: segment.clone(),
        }
    };
    let held = segment.raw_value::<u64>("held").unwrap();
    let (lock, value) = (segment.lock("lock").unwrap(), segment.value::<u64>("value").unwrap());
    let array = segment.array::<u16>("array").unwrap();
    let holder = child(|| {
        let _guards = (value.lock().unwrap(), array.lock().unwrap());
        held.store(1);
        sleep_for_ever();
    });
    wait_until("the other process holds its locks", || held.load() == 1);
    let guard = lock.lock().unwrap();
    drop(everything());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _everything = everything();
        panic!("with everything in hand");
    }));
    assert!(panicked.is_err());
    let mut inherited = Some(everything());
    join_all([child(|| drop(inherited.take()))]);
    let mut dying = child(|| {
        let _inherited = inherited.take();
        panic!("with what its parent has in hand");
    });
    assert_eq!(dying.join_timeout(LIMIT).unwrap(), Some(Exit::Code(101)));
    drop((inherited, guard));
    kill_and_join(holder);
    assert!(name().path().exists(), "removed while a handle lives");
    assert_eq!(segment.semaphore("gate").unwrap().get_value(), 9, "a permit is lost");
    drop(segment);
    assert!(!name().path().exists());
}

/// Two handles to the same bytes would hand out two exclusive references to them.
#[apply(test)]
fn a_directory_whose_objects_overlap_or_share_a_name_is_refused() {
    const ENTRY: u64 = 128;
    let plan = Plan::new().array::<u64>("a", 24).array::<u64>("b", 8).lock("c");
    let segment = segment(&plan);
    let (name, objects) = (segment.name(), segment.objects());
    let file = File::options().read(true).write(true).open(name.path()).unwrap();
    let start = |object: usize| objects[object].offset as u64;
    let entry = |object: u64| ENTRY + object * ENTRY;
    for (at, bytes, reason) in [
        (entry(1) + 48, (start(0) + 64).to_ne_bytes(), "overlaps"),
        (entry(1) + 48, start(0).to_ne_bytes(), "overlaps"),
        (entry(0) + 48, (start(1) - 64).to_ne_bytes(), "overlaps"),
        (entry(2) + 48, (2 * ENTRY).to_ne_bytes(), "overlaps"),
        (entry(1), *b"a\0\0\0\0\0\0\0", "named \"a\""),
    ] {
        let mut truth = [0; 8];
        file.read_exact_at(&mut truth, at).unwrap();
        file.write_all_at(&bytes, at).unwrap();
        let refused = Segment::open(name).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
        file.write_all_at(&truth, at).unwrap();
        assert!(Segment::open(name).is_ok());
    }
}
