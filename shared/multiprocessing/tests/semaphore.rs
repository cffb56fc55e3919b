//! Python's `Semaphore` and `BoundedSemaphore`, and what Python does not say of them: processes that are killed.
#![allow(clippy::unwrap_used)]

mod common;

use common::{run, unique_name};
use multiprocessing::{Plan, Segment, SegmentError};

#[test]
fn units_are_taken_and_given_back_by_any_process() {
    run("semaphore-basics");
}

#[test]
fn a_bounded_semaphore_refuses_more_units_than_it_started_with() {
    run("semaphore-bounded");
}

#[test]
fn the_units_of_a_killed_holder_are_free_again_and_a_survivor_is_told() {
    let probe = run("semaphore-death");
    let told: u64 = probe.fact("told_ms").parse().unwrap();
    assert!(told < 1000, "told after {told} ms");
}

#[test]
fn one_holder_more_than_there_is_room_for_is_told_so() {
    run("semaphore-full");
}

#[test]
fn a_forked_child_that_drops_an_inherited_permit_gives_nothing_back() {
    run("semaphore-inherited-permit");
}

#[test]
fn waits_keep_their_time_also_under_a_storm_of_signals() {
    run("semaphore-times");
}

#[test]
fn an_idle_waiter_uses_no_processor() {
    run("semaphore-idle");
}

#[test]
fn no_unit_is_lost_or_held_twice_whoever_is_killed() {
    run("semaphore-soak");
}

#[test]
fn there_is_room_for_as_many_units_as_at_first_whoever_is_killed_before_it_gives_them_back() {
    run("bounded-semaphore-soak");
}

#[test]
fn more_units_than_a_semaphore_can_count_are_no_plan() {
    for plan in
        [Plan::new().semaphore("gate", 1 << 31), Plan::new().bounded_semaphore("gate", u64::MAX)]
    {
        assert!(matches!(Segment::create(&unique_name(), &plan), Err(SegmentError::Plan(_))));
    }
}
