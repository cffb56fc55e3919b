//! What is shared: structures of one's own, every type of number, memory that starts as zeros and does not overlap.
#![allow(clippy::unwrap_used)]

mod common;

use common::{run, unique_name};
use multiprocessing::{ElementType, Plan, Scalar, Segment, Shareable};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Shareable)]
#[repr(C)]
struct Mixed {
    number: u16,
    bytes: [u8; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Shareable)]
#[repr(C)]
struct Point {
    x: i32,
    y: i32,
}

#[test]
fn a_child_doubles_structures_numbers_and_text_for_all() {
    run("record-doubled");
}

#[test]
fn raw_values_of_every_type_are_seen_by_all() {
    run("record-raw-types");
}

#[test]
fn a_structure_is_recorded_as_numbers_of_one_type_or_as_bytes() {
    let plan =
        Plan::new().value::<Mixed>("mixed").array::<Mixed>("many", 3).value::<Point>("point");
    let segment = Segment::create(&unique_name(), &plan.array::<Point>("line", 2)).unwrap();
    let recorded = segment.objects().iter().map(|object| (object.element, object.length));
    let expected =
        [(ElementType::U8, 4), (ElementType::U8, 12), (ElementType::I32, 2), (ElementType::I32, 4)];
    assert!(recorded.eq(expected), "{:?}", segment.objects());
    let point = segment.value::<Point>("point").unwrap();
    point.set(Point { x: -1, y: 2 }).unwrap();
    assert_eq!(
        segment.snapshot(&segment.objects()[2]).elements,
        [Scalar::Signed(-1), Scalar::Signed(2)]
    );
    assert_eq!(segment.array::<Point>("line").unwrap().len(), 2);
    assert_eq!(segment.array::<Mixed>("many").unwrap().len(), 3);
    // What is recorded of them differs, so neither can be had as the other.
    assert!(segment.value::<Mixed>("point").is_err() && segment.value::<Point>("mixed").is_err());
}

#[test]
fn a_copy_of_a_shared_structure_is_independent() {
    let segment = Segment::create(&unique_name(), &Plan::new().value::<Point>("point")).unwrap();
    let point = segment.value::<Point>("point").unwrap();
    point.set(Point { x: 1, y: 2 }).unwrap();
    let mut copy = point.get();
    point.set(Point { x: 3, y: 4 }).unwrap();
    assert_eq!(copy, Point { x: 1, y: 2 });
    copy.x = 9;
    assert_eq!((copy.x, point.get()), (9, Point { x: 3, y: 4 }));
}

#[test]
fn an_array_starts_as_zeros_also_where_a_full_one_was_before() {
    let name = unique_name();
    for _ in 0..3 {
        let segment = Segment::create(&name, &Plan::new().array::<u64>("numbers", 5000)).unwrap();
        let numbers = segment.array::<u64>("numbers").unwrap();
        let mut guard = numbers.lock().unwrap();
        assert!(guard.iter().all(|number| *number == 0));
        guard.fill(u64::MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn objects_of_any_plan_are_aligned_inside_the_segment_and_apart(
        kinds in prop::collection::vec((0..5_usize, 1..300_usize), 0..40)
    ) {
        let name = unique_name();
        let plan = kinds.iter().enumerate().fold(Plan::new(), |plan, (index, (kind, length))| {
            let name = index.to_string();
            match kind {
                0 => plan.lock(&name),
                1 => plan.value::<Mixed>(&name),
                2 => plan.raw_value::<i64>(&name),
                3 => plan.array::<Point>(&name, *length),
                _ => plan.raw_array::<u16>(&name, *length),
            }
        });
        let segment = Segment::create(&name, &plan).unwrap();
        let objects = segment.objects();
        prop_assert_eq!(objects.len(), kinds.len());
        // After the header and the directory entries, 128 bytes each.
        let mut end = 128 * (1 + objects.len());
        for object in objects {
            prop_assert!(object.offset >= end && object.offset < end + 64);
            prop_assert_eq!(object.offset % 64, 0);
            end = object.offset + object.bytes;
        }
        prop_assert_eq!(std::fs::metadata(name.path()).unwrap().len(), end as u64);
    }
}
