//! Python's `Array` and `RawArray`: changes under a lock, and atomic additions without one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use multiprocessing::{LockError, Plan, Process};

use crate::common::{
    apply, child, join_all, kill_and_join, segment, sleep_for_ever, test, wait_until,
};

#[apply(test)]
fn the_holder_of_its_lock_changes_an_array_in_place() {
    let segment = segment(&Plan::new().array::<u32>("numbers", 10).raw_array::<u16>("raw", 3));
    let numbers = segment.array::<u32>("numbers").unwrap();
    assert_eq!(numbers.len(), 10);
    assert_eq!(&*numbers.lock().unwrap(), &[0; 10]);
    numbers
        .lock()
        .unwrap()
        .iter_mut()
        .enumerate()
        .for_each(|(index, number)| *number = index as u32);
    join_all([child(|| {
        let mut guard = numbers.lock().unwrap();
        for index in 1..guard.len() {
            guard[index] += guard[index - 1];
        }
    })]);
    assert_eq!(&*numbers.lock().unwrap(), &[0, 1, 3, 6, 10, 15, 21, 28, 36, 45]);
    join_all([child(|| numbers.lock().unwrap()[3..6].copy_from_slice(&[7, 8, 9]))]);
    assert_eq!(numbers.lock().unwrap()[2..7], [3, 7, 8, 9, 21]);

    let raw = segment.raw_array::<u16>("raw").unwrap();
    assert_eq!((raw.len(), raw.is_empty()), (3, false));
    join_all([child(|| {
        raw.store(0, u16::MAX);
        assert_eq!(raw.fetch_add(0, 2), u16::MAX);
        assert_eq!(raw.fetch_sub(1, 1), 0);
    })]);
    assert_eq!(raw.iter().collect::<Vec<_>>(), [1, u16::MAX, 0]);
    let mut outside = Process::fork(|| i32::from(raw.load(3))).unwrap();
    assert_eq!(outside.join().unwrap().to_string(), "exit code 101");
}

#[apply(test)]
fn processes_exchange_elements_only_for_the_value_that_they_expect() {
    const EACH: u64 = 2_000;
    let segment = segment(&Plan::new().raw_array::<u64>("raw", 2).raw_value::<i8>("value"));
    let (raw, value) =
        (segment.raw_array::<u64>("raw").unwrap(), segment.raw_value::<i8>("value").unwrap());
    let count_up = || {
        for _ in 0..EACH {
            let mut seen = raw.load(1);
            while let Err(other) = raw.compare_exchange(1, seen, seen + 1) {
                seen = other;
            }
        }
    };
    join_all([child(count_up), child(count_up), child(count_up)]);
    assert_eq!((raw.load(0), raw.load(1)), (0, 3 * EACH));
    assert_eq!((raw.fetch_max(1, 5), raw.fetch_max(0, 5), raw.load(0)), (3 * EACH, 0, 5));

    assert_eq!(value.compare_exchange(0, -1), Ok(0));
    join_all([child(|| assert_eq!(value.compare_exchange(0, 7), Err(-1)))]);
    assert_eq!(value.load(), -1);
}

#[apply(test)]
fn slices_of_raw_elements_are_read_and_written_in_place_and_only_inside() {
    let segment = segment(&Plan::new().raw_array::<u16>("raw", 5));
    let raw = segment.raw_array::<u16>("raw").unwrap();
    join_all([child(|| raw.store_slice(1, &[7, 8, 9]))]);
    assert!(raw.iter().eq([0, 7, 8, 9, 0]));
    let mut some = [1; 2];
    raw.load_slice(3, &mut some);
    assert_eq!(some, [9, 0]);
    raw.load_slice(5, &mut []);
    raw.store_slice(5, &[]);
    for first in [4, 5, 6, usize::MAX] {
        let panics = |call: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(call)).is_err();
        assert!(panics(&mut || raw.store_slice(first, &[1, 1])), "from {first} on");
        assert!(panics(&mut || raw.load_slice(first, &mut some)), "from {first} on");
    }
    assert!(raw.iter().eq([0, 7, 8, 9, 0]), "a part of a refused slice was written");
    assert_eq!(some, [9, 0]);
}

#[apply(test)]
fn the_next_holder_sees_the_array_as_a_killed_holder_left_it() {
    let segment = segment(&Plan::new().array::<u64>("numbers", 4).raw_value::<u8>("flag"));
    let numbers = segment.array::<u64>("numbers").unwrap();
    let flag = segment.raw_value::<u8>("flag").unwrap();
    let half_way = child(|| {
        let mut guard = numbers.lock().unwrap();
        guard[..2].fill(5);
        flag.store(1);
        sleep_for_ever();
    });
    wait_until("the child is half-way", || flag.load() == 1);
    kill_and_join(half_way);
    let Err(LockError::OwnerDied(mut inherited)) = numbers.lock() else {
        panic!("the death was not reported")
    };
    assert_eq!(**inherited, [5, 5, 0, 0]);
    inherited.fill(0);
    drop(inherited.repaired());
    assert_eq!(&*numbers.lock().unwrap(), &[0; 4]);
}

#[apply(test)]
fn raw_additions_by_several_processes_add_up() {
    const EACH: u64 = 50_000;
    let plan =
        Plan::new().raw_value::<u64>("sum").raw_value::<i64>("most").raw_array::<u8>("bytes", 2);
    let segment = segment(&plan);
    let sum = segment.raw_value::<u64>("sum").unwrap();
    let most = segment.raw_value::<i64>("most").unwrap();
    let bytes = segment.raw_array::<u8>("bytes").unwrap();
    let count = |number: i64| {
        for step in 0..EACH {
            sum.fetch_add(3);
            sum.fetch_sub(2);
            most.fetch_max(number * step as i64);
            bytes.fetch_add(1, 1);
        }
    };
    join_all([child(|| count(1)), child(|| count(2)), child(|| count(3))]);
    assert_eq!(most.load(), 3 * (EACH as i64 - 1));
    assert_eq!(bytes.iter().collect::<Vec<_>>(), [0, (3 * EACH % 256) as u8]);
    assert_eq!(sum.load(), 3 * EACH);
}
