//! Structures, numbers and arrays in shared memory, and the plans that place them.

use std::fs::File;
use std::os::unix::fs::FileExt;

use multiprocessing::{AtomicElement, ElementType, Plan, Scalar, Segment, Shareable};
use proptest::prelude::*;

use crate::common::{apply, child, join_all, segment, test, unique_name};

#[derive(Clone, Copy, Debug, PartialEq, Shareable)]
#[repr(C)]
struct Record {
    number: i32,
    short: i16,
    bytes: [u8; 2],
    ratio: f64,
}

impl Record {
    fn new(number: i32) -> Self {
        Self { number, short: -2, bytes: [1, 2], ratio: f64::from(number) / 4.0 }
    }

    fn double(&mut self) {
        self.number *= 2;
        self.short *= 2;
        self.bytes.iter_mut().for_each(|byte| *byte *= 2);
        self.ratio *= 2.0;
    }
}

/// Lets a child double everything.
#[apply(test)]
fn a_child_changes_structures_numbers_and_text_for_all_processes() {
    let plan = Plan::new().value::<Record>("record").array::<Record>("records", 3);
    let segment = segment(&plan.array::<f64>("doubles", 10).array::<u8>("text", 5));
    let record = segment.value::<Record>("record").unwrap();
    let records = segment.array::<Record>("records").unwrap();
    let doubles = segment.array::<f64>("doubles").unwrap();
    let text = segment.array::<u8>("text").unwrap();
    record.set(Record::new(7)).unwrap();
    records.lock().unwrap().copy_from_slice(&[1, 2, 3].map(Record::new));
    doubles
        .lock()
        .unwrap()
        .iter_mut()
        .enumerate()
        .for_each(|(index, number)| *number = index as f64 / 8.0);
    text.lock().unwrap().copy_from_slice(b"hello");
    join_all([child(|| {
        record.update(Record::double).unwrap();
        records.lock().unwrap().iter_mut().for_each(Record::double);
        doubles.lock().unwrap().iter_mut().for_each(|number| *number *= 2.0);
        let mut text = text.lock().unwrap();
        text.copy_within(..3, 2);
    })]);
    let expected = |number: i32| Record {
        number: 2 * number,
        short: -4,
        bytes: [2, 4],
        ratio: f64::from(number) / 2.0,
    };
    assert_eq!(record.get(), expected(7));
    assert_eq!(*records.lock().unwrap(), [1, 2, 3].map(expected));
    assert!(
        doubles
            .lock()
            .unwrap()
            .iter()
            .enumerate()
            .all(|(index, number)| *number == index as f64 / 4.0)
    );
    assert_eq!(&*text.lock().unwrap(), b"hehel");
}

/// Checks that parent and child see the same number, for every type.
#[apply(test)]
fn every_process_sees_raw_values_of_every_type() {
    let plan = Plan::new().raw_value::<u8>("u8").raw_value::<u16>("u16").raw_value::<u32>("u32");
    let plan = plan.raw_value::<u64>("u64").raw_value::<i8>("i8").raw_value::<i16>("i16");
    let segment = segment(&plan.raw_value::<i32>("i32").raw_value::<i64>("i64"));
    fn check<T: AtomicElement + Default + PartialEq + std::fmt::Debug>(
        segment: &multiprocessing::Segment,
        name: &str,
        [first, second]: [T; 2],
    ) {
        let value = segment.raw_value::<T>(name).unwrap();
        assert_eq!(value.load(), T::default());
        value.store(first);
        join_all([child(|| {
            assert_eq!(value.load(), first);
            value.store(second);
        })]);
        assert_eq!(value.load(), second);
    }
    check(&segment, "u8", [1, u8::MAX]);
    check(&segment, "u16", [1, u16::MAX]);
    check(&segment, "u32", [1, u32::MAX]);
    check(&segment, "u64", [1, u64::MAX]);
    check(&segment, "i8", [-1, i8::MIN]);
    check(&segment, "i16", [-1, i16::MIN]);
    check(&segment, "i32", [-1, i32::MIN]);
    check(&segment, "i64", [-1, i64::MIN]);
}

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

#[apply(test)]
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
    // Their recorded types differ, so neither opens as the other.
    assert!(segment.value::<Mixed>("point").is_err() && segment.value::<Point>("mixed").is_err());
}

#[apply(test)]
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

#[apply(test)]
fn an_array_starts_as_zeros_where_a_full_one_was_before() {
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
    #[apply(test)]
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
        // Behind the header and the directory entries, each of 128 bytes.
        let mut end = 128 * (1 + objects.len());
        for object in objects {
            prop_assert!(object.offset >= end && object.offset < end + 64);
            prop_assert_eq!(object.offset % 64, 0);
            end = object.offset + object.bytes;
        }
        // The fields of the structures are behind the objects.
        let fields = objects.iter().filter_map(|object| object.fields.as_ref());
        let end = end + fields.map(String::len).sum::<usize>();
        prop_assert_eq!(std::fs::metadata(name.path()).unwrap().len(), end as u64);
    }
}

/// Two structures with the same bytes and different meanings.
mod meanings {
    use super::Shareable;

    #[derive(Clone, Copy, Debug, PartialEq, Shareable)]
    #[repr(C)]
    pub struct Written {
        pub number: u64,
        pub ratio: f64,
        pub inner: [Pair; 2],
        pub r#type: u32,
        pub text: [u8; 4],
    }

    #[derive(Clone, Copy, Debug, PartialEq, Shareable)]
    #[repr(C)]
    pub struct Pair(pub u16, pub i16);

    #[derive(Clone, Copy, Debug, Shareable)]
    #[repr(C)]
    pub struct Swapped {
        pub ratio: f64,
        pub number: u64,
        pub inner: [Pair; 2],
        pub r#type: u32,
        pub text: [u8; 4],
    }

    #[derive(Clone, Copy, Debug, Shareable)]
    #[repr(C)]
    pub struct Renamed {
        pub amount: u64,
        pub ratio: f64,
        pub inner: [Pair; 2],
        pub r#type: u32,
        pub text: [u8; 4],
    }
}

#[apply(test)]
fn a_structure_does_not_open_as_another_one_of_the_same_size() {
    use meanings::{Pair, Renamed, Swapped, Written};

    let plan = Plan::new().value::<Written>("value").array::<Written>("array", 2);
    let plan = plan.queue::<Written>("queue", 2).value::<[u64; 4]>("numbers").value::<Pair>("pair");
    let segment = segment(&plan.joinable_queue::<Written>("tasks", 2));
    let opened = Segment::open(segment.name()).unwrap();
    assert_eq!(opened.objects(), segment.objects());
    let fields = "{number:u64@0,ratio:f64@8,inner:{0:u16@0,1:i16@2}*2@16,type:u32@24,text:u8*4@28}";
    assert_eq!(opened.objects()[0].fields.as_deref(), Some(fields));
    assert_eq!(opened.objects()[3].fields, None, "numbers have no fields");

    assert!(opened.value::<Written>("value").is_ok() && opened.array::<Written>("array").is_ok());
    assert!(opened.queue::<Written>("queue").is_ok());
    assert!(opened.joinable_queue::<Written>("tasks").is_ok());
    assert!(opened.value::<[[u64; 2]; 2]>("numbers").is_ok(), "an array is its elements");
    let refused = [
        opened.value::<Swapped>("value").err(),
        opened.value::<Renamed>("value").err(),
        opened.value::<[u8; 32]>("value").err(),
        opened.array::<Swapped>("array").err(),
        opened.array::<u8>("array").err(),
        opened.queue::<Swapped>("queue").err(),
        opened.joinable_queue::<Renamed>("tasks").err(),
    ];
    for refused in refused {
        let refused = refused.unwrap().to_string();
        assert!(refused.contains(&format!("fields {fields}; expected")), "{refused}");
    }
}

/// A program in another language may know the numbers of a structure without its fields.
#[apply(test)]
fn an_object_without_a_fingerprint_opens_by_its_elements() {
    let segment = segment(&Plan::new().value::<meanings::Written>("value"));
    let file = File::options().write(true).open(segment.name().path()).unwrap();
    file.write_all_at(&[0; 24], 128 + 64).unwrap();
    let opened = Segment::open(segment.name()).unwrap();
    assert_eq!(opened.objects()[0].fields, None);
    assert!(opened.value::<meanings::Swapped>("value").is_ok());
    // A schema that is not inside the segment.
    file.write_all_at(&[0xff; 24], 128 + 64).unwrap();
    assert!(Segment::open(segment.name()).is_err());
}
