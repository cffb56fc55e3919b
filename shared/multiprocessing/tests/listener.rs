//! Python's `Listener` and `Client`, between processes that need not be of one family.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Probe, run, unique_name};

#[test]
fn a_name_is_bound_once_and_free_when_its_listener_is_dropped_or_killed() {
    run("listener-names");
}

#[test]
fn who_sent_and_left_or_was_killed_before_it_was_accepted_is_still_read() {
    run("listener-left-before");
}

#[test]
fn several_processes_accept_and_every_client_is_served_once() {
    run("listener-crowd");
}

#[test]
fn a_listener_is_handed_over_and_no_other_child_of_spawn_with_keeps_its_name() {
    run("listener-handed-over");
}

#[test]
fn who_waits_to_connect_goes_on_when_there_is_room_and_is_told_when_nobody_listens_any_more() {
    let longest: u64 = run("listener-full").fact("longest_ms").parse().unwrap();
    assert!(longest < 3000, "told after {longest} ms");
}

#[test]
fn accepting_and_connecting_keep_their_time_also_under_a_storm_of_signals() {
    run("listener-times");
}

#[test]
fn signals_end_neither_accepting_nor_connecting() {
    run("listener-storms");
}

#[test]
fn a_wait_to_connect_ends_in_time_also_when_every_attempt_is_interrupted() {
    run("listener-interrupted-connect");
}

#[test]
fn an_idle_listener_or_client_uses_no_processor() {
    run("listener-idle");
}

#[test]
fn a_connection_that_finds_no_room_is_accepted_later() {
    run("listener-no-room");
}

#[test]
fn processes_of_other_users_are_refused_on_both_sides() {
    let probe = run("listener-other-users");
    if probe.fact("other_users") == "unknown" {
        println!("SKIPPED, needs root");
    }
}

#[test]
fn programs_that_are_not_of_one_family_exchange_messages_and_ends() {
    let name = unique_name();
    let mut server = Probe::start(&["listener-server", name.as_str()]);
    server.line("listening=");
    Probe::start(&["listener-client", name.as_str()]).succeed();
    server.succeed();
}
