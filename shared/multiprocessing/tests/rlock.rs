//! Python's `RLock`, and what Python does not say of it: processes that are killed.
#![allow(clippy::unwrap_used)]

mod common;

use common::run;

#[test]
fn its_holder_may_take_it_again_and_it_is_free_when_all_is_given_back() {
    run("rlock-basics");
}

#[test]
fn the_successor_of_a_killed_holder_is_told_and_starts_counting_anew() {
    run("rlock-death");
}

#[test]
fn a_forked_child_that_drops_inherited_guards_does_not_free_its_parents_lock() {
    run("rlock-inherited-guard");
}

#[test]
fn waits_keep_their_time_also_under_a_storm_of_signals() {
    run("rlock-times");
}

#[test]
fn an_idle_waiter_uses_no_processor() {
    run("rlock-idle");
}

#[test]
fn nothing_is_torn_without_being_told_whoever_is_killed() {
    run("rlock-soak");
}
