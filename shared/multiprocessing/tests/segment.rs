//! Segments: made exclusively, found by name, refused when they are not what they should be.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime};

use common::{can_unshare, run, unique_name};
use multiprocessing::{ElementType, ObjectKind, Plan, Segment, SegmentError, SegmentName};
use nix::unistd::getpid;

fn plan() -> Plan {
    Plan::new().lock("lock").value::<u64>("value").raw_value::<i32>("raw").array::<f64>("array", 3)
}

#[test]
fn a_segment_is_made_exclusively_readable_by_its_owner_only_and_removed_by_its_maker() {
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

#[test]
fn the_directory_tells_every_object_exactly() {
    let name = unique_name();
    let plan =
        plan().raw_array::<u16>("seven", 7).rlock("rlock").event("event").semaphore("gate", 1);
    let plan = plan
        .participants(3)
        .bounded_semaphore("tickets", 2)
        .condition("changed")
        .barrier("meet", 2);
    let plan = plan.queue::<u64>("numbers", 5).queue::<[u8; 9]>("odd", 2);
    let plan = plan.joinable_queue::<[u16; 5]>("tasks", 2);
    let segment = Segment::create(&name, &plan).unwrap();
    let opened = Segment::open(&name).unwrap();
    assert_eq!(segment.objects(), opened.objects());
    let told: Vec<_> = opened
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
    ];
    assert_eq!(told, expected);
    assert_eq!(opened.creator(), getpid());
    drop(opened);
    assert!(name.path().exists(), "removed by somebody who only opened it");
}

#[test]
fn an_unrelated_process_attaches_by_name() {
    run("segment-share");
}

#[test]
fn wrong_names_kinds_and_types_are_typed_errors() {
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

#[test]
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
    // Possible on paper, and more than any machine has.
    let outcome = Segment::create(&name, &Plan::new().raw_array::<u64>("a", usize::MAX >> 5));
    assert!(
        matches!(outcome, Err(SegmentError::System { .. } | SegmentError::NoSpace { .. })),
        "{outcome:?}"
    );
    assert!(!name.path().exists());
}

#[test]
fn entries_that_are_no_segment_of_this_layout_are_refused() {
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
        fs::write(name.path(), bytes).unwrap();
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

#[test]
fn a_segment_of_another_layout_version_is_refused_with_both_versions() {
    let name = unique_name();
    let newer = [version_1(1), vec![0; 128]].concat();
    let newer = [&newer[..8], &3_u32.to_ne_bytes(), &newer[12..]].concat();
    for (version, bytes) in [(1, version_1(0)), (1, version_1(1)), (3, newer)] {
        fs::write(name.path(), bytes).unwrap();
        let refused = Segment::open(&name).unwrap_err();
        fs::remove_file(name.path()).unwrap();
        assert!(matches!(refused, SegmentError::OtherLayout { .. }), "{refused:?}");
        let expected = format!("has layout version {version}; this program reads version 2");
        assert!(refused.to_string().ends_with(&expected), "{refused}");
    }
}

#[test]
fn a_segment_of_an_older_layout_is_reclaimed_once_its_processes_are_gone() {
    let name = unique_name();
    fs::write(name.path(), version_1(1)).unwrap();
    let entry = OpenOptions::new().write(true).read(true).open(name.path()).unwrap();
    entry.lock().unwrap();
    let refused = Segment::reclaim(&name);
    assert!(
        matches!(refused, Err(SegmentError::InUse { creator: 4711, .. })),
        "its lock is held: {refused:?}"
    );
    drop(entry);
    assert_eq!(Segment::reclaim_all(name.as_str()).unwrap(), [name.clone()]);
    assert!(!name.path().exists());
    // What a newer version does with the lock is unknown.
    let newer = [&version_1(1)[..8], &3_u32.to_ne_bytes(), &version_1(1)[12..]].concat();
    fs::write(name.path(), newer).unwrap();
    let refused = Segment::reclaim(&name);
    assert!(matches!(refused, Err(SegmentError::OtherLayout { version: 3, .. })), "{refused:?}");
    assert!(name.path().exists());
    fs::remove_file(name.path()).unwrap();
}

#[test]
fn a_segment_that_is_being_made_is_waited_for() {
    let name = unique_name();
    let segment = Segment::create(&name, &plan()).unwrap();
    let entry = OpenOptions::new().write(true).open(name.path()).unwrap();
    entry.write_all_at(&[0; 4], 12).unwrap();
    std::thread::scope(|scope| {
        let opener = scope.spawn(|| Segment::open(&name));
        std::thread::sleep(Duration::from_millis(50)); // Whether it waits already or not must not matter.
        entry.write_all_at(&1_u32.to_ne_bytes(), 12).unwrap();
        assert!(opener.join().unwrap().is_ok());
    });
    drop(segment);
}

#[test]
fn segments_live_side_by_side_under_the_longest_names_too() {
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
    // The memory stays as long as anybody has a handle to anything in it.
    assert_eq!(values[1].update(|value| *value += 1), Ok(3));
}

#[test]
fn too_small_a_dev_shm_is_an_error_that_leaves_no_entry() {
    if !can_unshare("a small /dev/shm") {
        return;
    }
    let script = "mount -t tmpfs -o size=64k tmpfs /dev/shm && exec \"$0\" \"$@\"";
    let wrapper = ["unshare", "--mount", "sh", "-c", script];
    let mut probe = common::Probe::start_through(&wrapper, &["segment-no-space"]);
    probe.succeed();
    assert!(probe.fact("message").contains("--shm-size"));
}
