//! Python's `Pipe`, `Connection` and `wait`, and what Python does not say of them: processes that are killed, and who has which end.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Probe, run};

/// Told by the end of a process and not by a look around later on.
fn told_at_once(probe: &Probe) {
    let longest: u64 = probe.fact("longest_ms").parse().unwrap();
    assert!(longest < 3000, "told after {longest} ms");
}

#[test]
fn messages_go_both_ways_up_to_sixteen_mebibytes_and_their_end_is_told() {
    run("pipe-messages");
}

#[test]
fn messages_keep_their_limits_and_looking_takes_nothing_away() {
    run("pipe-limits");
}

#[test]
fn a_descriptor_that_was_sent_works_also_one_of_a_high_number_and_a_missing_one_is_an_error() {
    run("pipe-sent-descriptors");
}

#[test]
fn ends_and_sockets_are_sent_to_other_processes_and_keep_their_direction() {
    run("pipe-sent-ends");
}

#[test]
fn waiting_for_pipes_sockets_and_processes_at_once_delivers_everything() {
    run("pipe-waits");
}

#[test]
fn waiting_for_several_keeps_its_time_and_names_what_is_ready() {
    run("pipe-waits-in-vain");
}

#[test]
fn more_than_a_thousand_connections_are_waited_for_and_handed_over() {
    run("pipe-many");
}

#[test]
fn a_sender_that_waits_for_room_goes_on_when_there_is_some() {
    run("pipe-room");
}

#[test]
fn waits_keep_their_time_also_under_a_storm_of_signals() {
    run("pipe-times");
}

#[test]
fn an_idle_waiter_uses_no_processor() {
    run("pipe-idle");
}

#[test]
fn signals_end_no_wait_no_large_send_and_no_join() {
    run("pipe-storms");
}

#[test]
fn sending_to_nobody_is_an_error_and_no_sigpipe() {
    run("pipe-broken");
}

#[test]
fn of_a_killed_sender_the_first_messages_arrive_whole_and_then_the_end() {
    run("pipe-sender-killed");
}

#[test]
fn a_sender_that_waits_is_told_when_the_receiver_is_killed() {
    told_at_once(&run("pipe-receiver-killed"));
}

#[test]
fn the_message_of_a_receiver_killed_as_it_was_woken_goes_to_another() {
    told_at_once(&run("pipe-woken-receiver-killed"));
}

#[test]
fn siblings_with_an_end_each_are_told_of_their_deaths_and_those_that_inherited_both_are_not() {
    told_at_once(&run("pipe-told"));
}

#[test]
fn an_end_that_was_not_handed_over_says_so_and_closes_nobody_elses() {
    run("pipe-not-handed-over");
}

#[test]
fn a_child_that_cannot_give_an_end_up_does_not_run() {
    run("pipe-cannot-be-given-up");
}

#[test]
fn no_descriptor_leaks_by_large_messages_given_up_sends_and_deaths() {
    run("pipe-leaks");
}

#[test]
fn descriptors_on_their_way_are_closed_when_both_sides_are_gone() {
    run("pipe-in-flight");
}

#[test]
fn what_finds_no_room_for_its_descriptor_is_told_and_the_next_message_arrives() {
    run("pipe-no-room");
}

#[test]
fn too_many_descriptors_on_their_way_are_waited_for_and_the_end_is_told() {
    told_at_once(&run("pipe-too-many-in-flight"));
}

#[test]
fn no_message_is_torn_doubled_or_lost_but_in_the_hand_of_one_killed() {
    run("pipe-soak");
}

#[test]
fn whoever_is_killed_the_other_end_is_told_and_has_what_was_sent_before() {
    run("pipe-handed-over-soak");
}
