//! Python's `Event`, and what Python does not say of it: processes that are killed.
#![allow(clippy::unwrap_used)]

mod common;

use common::run;

#[test]
fn an_event_is_set_and_cleared_for_all_and_ends_every_wait() {
    run("event-basics");
}

#[test]
fn waits_keep_their_time_also_under_a_storm_of_signals() {
    run("event-times");
}

#[test]
fn an_idle_waiter_uses_no_processor() {
    run("event-idle");
}

#[test]
fn waiters_go_on_whoever_is_killed_beside_them_and_the_event_survives_its_setter() {
    run("event-soak");
}
