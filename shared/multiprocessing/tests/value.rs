//! Values and arrays among real processes that are killed.
#![allow(clippy::unwrap_used)]

mod common;

use common::{run, unique_name};
use multiprocessing::{Plan, Segment, Value};

#[test]
fn values_start_as_zero_and_a_child_changes_them_for_all() {
    run("value-basics");
}

#[test]
fn increments_of_several_processes_add_up() {
    assert_eq!(run("value-sum").fact("sum"), "100000");
}

#[test]
fn a_big_value_is_never_torn_nor_goes_back_while_its_writers_are_killed() {
    run("value-soak");
}

#[test]
fn an_update_by_a_killed_process_leaves_the_old_value_whole() {
    assert_eq!(run("value-killed-update").fact("recoveries"), "2");
}

#[test]
fn a_forked_child_that_drops_an_inherited_guard_does_not_commit_its_parents_change() {
    run("value-inherited-guard");
}

#[test]
fn an_array_is_changed_in_place_by_whoever_holds_its_lock() {
    run("array-basics");
}

#[test]
fn no_addition_to_an_array_is_lost_whoever_is_killed_and_torn_ones_are_told() {
    run("array-soak");
}

#[test]
fn raw_additions_of_killed_processes_are_there_whole_or_not_at_all() {
    run("raw-soak");
}

#[test]
fn the_successor_of_a_killed_holder_sees_the_array_as_it_was_left() {
    run("array-dead-holder");
}

#[test]
fn raw_additions_of_several_processes_add_up() {
    assert_eq!(run("raw-sums").fact("sum"), "150000");
}

fn value(segment: &Segment) -> Value<u64> {
    segment.value("value").unwrap()
}

#[test]
fn a_panic_under_the_lock_gives_the_change_up_and_the_lock_back() {
    let segment = Segment::create(&unique_name(), &Plan::new().value::<u64>("value")).unwrap();
    let value = value(&segment);
    let panicked = std::panic::catch_unwind(|| {
        value.update(|number| {
            *number = 5;
            panic!("half-way");
        })
    });
    assert!(panicked.is_err());
    assert_eq!(value.get(), 0);
    assert_eq!(value.update(|number| *number += 1), Ok(1));
}

#[test]
fn a_destructor_that_a_panic_runs_can_change_a_value() {
    struct CountsDown(Value<u64>);
    impl Drop for CountsDown {
        fn drop(&mut self) {
            self.0.update(|number| *number -= 1).unwrap();
        }
    }
    let segment = Segment::create(&unique_name(), &Plan::new().value::<u64>("value")).unwrap();
    value(&segment).set(1).unwrap();
    let in_flight = CountsDown(value(&segment));
    let panicked = std::panic::catch_unwind(move || {
        let _in_flight = in_flight;
        panic!("in mid-batch");
    });
    assert!(panicked.is_err());
    assert_eq!(value(&segment).get(), 0);
}

#[test]
fn a_guard_that_changes_nothing_commits_nothing() {
    let segment = Segment::create(&unique_name(), &Plan::new().value::<u64>("value")).unwrap();
    let value = value(&segment);
    let guard = value.lock().unwrap();
    assert_eq!(*guard, 0);
    drop(guard);
    let mut guard = value.lock_timeout(std::time::Duration::ZERO).unwrap().unwrap();
    *guard += 3;
    assert_eq!(value.get(), 0);
    drop(guard);
    assert_eq!(value.get(), 3);
}
