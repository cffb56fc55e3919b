//! Python's `Barrier`, and what Python does not say of it: parties that are killed.
#![allow(clippy::unwrap_used)]

mod common;

use common::{run, unique_name};
use multiprocessing::{Plan, Segment, SegmentError};

#[test]
fn parties_go_in_lockstep_through_a_thousand_rounds_and_one_of_them_is_number_0() {
    run("barrier-rounds");
}

#[test]
fn the_action_runs_once_before_anybody_goes_on_and_breaks_the_barrier_when_it_fails() {
    run("barrier-action");
}

#[test]
fn abort_reset_and_a_time_limit_throw_everybody_out_and_a_reset_mends() {
    run("barrier-broken");
}

#[test]
fn a_killed_party_breaks_the_barrier_and_every_survivor_is_told() {
    let probe = run("barrier-death");
    let told: u64 = probe.fact("told_ms").parse().unwrap();
    assert!(told < 1000, "told after {told} ms");
}

#[test]
fn a_party_that_ends_in_order_is_not_missed() {
    run("barrier-orderly-end");
}

#[test]
fn one_party_more_than_there_is_room_for_is_told_so() {
    run("barrier-full");
}

#[test]
fn waits_keep_their_time_also_under_a_storm_of_signals() {
    run("barrier-times");
}

#[test]
fn an_idle_waiter_uses_no_processor() {
    run("barrier-idle");
}

#[test]
fn every_round_is_completed_for_all_or_for_none_and_nobody_hangs_whoever_is_killed() {
    run("barrier-soak");
}

#[test]
fn a_barrier_for_nobody_or_for_more_than_can_take_part_is_no_plan() {
    for plan in [Plan::new().barrier("meet", 0), Plan::new().participants(4).barrier("meet", 5)] {
        assert!(matches!(Segment::create(&unique_name(), &plan), Err(SegmentError::Plan(_))));
    }
}
