//! Scenarios of structures that are shared, and of every type of number.

use multiprocessing::{AtomicElement, Plan, Shareable};

use crate::tools::{child, join_all, segment};

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

/// A child doubles everything.
pub fn doubled() {
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

/// The same number in the parent and in the child, for every type.
pub fn raw_types() {
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
