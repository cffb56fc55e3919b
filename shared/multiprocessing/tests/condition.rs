//! Python's `Condition`, and what Python does not say of it: processes that are killed.
#![allow(clippy::unwrap_used)]

mod common;

use common::run;

#[test]
fn as_many_are_woken_as_are_notified_and_nobody_else() {
    run("condition-notify");
}

#[test]
fn a_predicate_is_waited_for_across_processes() {
    run("condition-wait-for");
}

#[test]
fn waiting_and_notifying_need_the_lock() {
    run("condition-not-held");
}

#[test]
fn a_wait_gives_a_re_entrant_lock_back_whole_and_restores_its_depth() {
    run("condition-rlock");
}

#[test]
fn dead_waiters_are_forgotten_and_what_they_were_notified_of_is_passed_on() {
    let probe = run("condition-death");
    for fact in ["forgotten_ms", "passed_on_ms"] {
        let milliseconds: u64 = probe.fact(fact).parse().unwrap();
        assert!(milliseconds < 1000, "{fact} is {milliseconds}");
    }
}

#[test]
fn one_waiter_more_than_there_is_room_for_is_told_so_and_keeps_the_lock() {
    run("condition-full");
}

#[test]
fn waits_keep_their_time_also_under_a_storm_of_signals() {
    run("condition-times");
}

#[test]
fn an_idle_waiter_uses_no_processor() {
    run("condition-idle");
}

#[test]
fn every_notification_reaches_somebody_alive_whoever_is_killed() {
    let probe = run("condition-soak");
    let longest: u64 = probe.fact("longest_ms").parse().unwrap();
    assert!(longest < 2000, "{longest} ms");
}
