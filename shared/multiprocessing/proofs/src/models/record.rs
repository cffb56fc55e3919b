//! Models of a record with two numbers, which are equal to the count of its rows.

use std::sync::Arc;

use loom::thread;
use multiprocessing::Shareable;

use super::check;
use crate::memory::layout::{HEAD_BYTES, LOCK_BYTES, ROW_BYTES, SIGNAL_BYTES};
use crate::sync::participant::{Identity, Row};
use crate::sync::record::{Head, Record};
use crate::sys::mapping::Place;

const ROWS: usize = 2;

#[derive(Clone, Copy, Shareable)]
#[repr(C)]
struct Numbers {
    first: u64,
    second: u64,
}

impl Head for Numbers {}

fn record() -> Arc<Record<Numbers>> {
    let bytes = LOCK_BYTES + 2 * (HEAD_BYTES + ROWS * ROW_BYTES) + SIGNAL_BYTES;
    Arc::new(Record::new(&Place::zeros(bytes)))
}

fn add_row(record: &Record<Numbers>) {
    let added = record.update(|state| {
        state.head.first += 1;
        state.head.second += 1;
        let count = state.head.first;
        state.insert(Row { who: Identity::own().unwrap(), count, mark: count })
    });
    added.unwrap().expect("there is room for both");
}

/// Returns the count of rows in a record, which must be whole.
fn rows(record: &Record<Numbers>) -> u64 {
    let state = record.get();
    let count = state.head.first;
    assert_eq!((state.head.second, state.rows().len() as u64), (count, count), "a torn record");
    let marks = state.rows().iter().map(|row| (row.count, row.mark));
    assert!(marks.eq((1..=count).map(|number| (number, number))), "torn rows");
    count
}

pub(crate) fn readers() {
    check(2, || {
        let record = record();
        let writer = record.clone();
        let writer = thread::spawn(move || (0..2).for_each(|_| add_row(&writer)));
        assert!(rows(&record) <= 2);
        writer.join().unwrap();
        assert_eq!(rows(&record), 2);
    });
}

pub(crate) fn writers() {
    check(2, || {
        let record = record();
        let other = record.clone();
        let other = thread::spawn(move || add_row(&other));
        add_row(&record);
        other.join().unwrap();
        assert_eq!(rows(&record), 2);
    });
}
