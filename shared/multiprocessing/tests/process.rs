//! Child processes: how they end, how they are waited for, what is refused.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Probe, run};

#[test]
fn exit_codes_and_signals_come_back() {
    run("process-ends");
}

#[test]
fn a_panic_is_printed_and_exits_with_101() {
    let mut probe = Probe::start(&["process-panic"]);
    probe.succeed();
    assert_eq!(probe.fact("parent"), "goes on");
    assert!(probe.errors().contains("the child's last words"));
}

#[test]
fn joins_keep_their_time_and_answer_twice_the_same() {
    run("process-joins");
}

#[test]
fn a_process_that_got_the_number_of_a_child_reaped_by_somebody_else_is_spared() {
    let probe = run("process-number-of-another");
    assert!(["spared", "unknown"].contains(&probe.fact("another")));
}

#[test]
fn joins_keep_their_time_under_a_storm_of_signals() {
    run("process-join-storm");
}

#[test]
fn a_hundred_children_leave_no_zombie_and_no_descriptor() {
    run("process-many");
}

#[test]
fn a_process_with_threads_is_refused_until_they_are_joined() {
    run("process-threads");
}

#[test]
fn threads_of_a_child_end_with_it_unless_it_joins_them() {
    run("process-threads-of-a-child");
}

#[test]
fn a_child_ends_with_its_parent_even_if_every_signal_was_blocked() {
    run("process-deaf-child");
}

#[test]
fn nothing_is_left_of_a_killed_parent_whose_child_ends_before_it_is_told() {
    run("process-quick-child");
}

#[test]
fn nothing_is_left_of_a_killed_parent_whatever_it_was_doing() {
    run("process-soak");
}
