//! What a child has from its parent, and what it must not have.
#![allow(clippy::unwrap_used)]

mod common;

use common::run;

#[test]
fn a_child_has_what_its_closure_captured_also_after_the_parent_gave_its_copy_up() {
    run("child-captures");
}

#[test]
fn a_child_drops_what_its_closure_owns_and_nothing_else_of_its_parents() {
    run("child-destructors");
}

#[test]
fn a_child_is_a_copy_and_neither_sees_what_the_other_changes_in_its_own_memory() {
    run("child-copies");
}

#[test]
fn a_program_that_takes_a_childs_place_ends_with_the_parent_and_one_beside_it_does_not() {
    run("child-replaced");
}

#[test]
fn a_child_has_a_pid_and_a_thread_of_its_own_and_knows_its_parent() {
    run("child-identity");
}

#[test]
fn children_start_children_of_their_own_and_end_in_their_order() {
    run("child-recursion");
}

#[test]
fn a_childs_descriptor_is_readable_once_it_has_ended_and_waits_beside_others() {
    run("child-sentinel");
}

#[test]
fn a_child_that_does_not_handle_sigint_is_ended_by_it() {
    run("child-interrupt");
}

#[test]
fn a_spawn_leaves_the_signal_mask_as_it_was_and_the_child_has_the_same() {
    run("child-signal-mask");
}

#[test]
fn closed_standard_streams_keep_no_child_from_its_work() {
    run("child-closed-streams");
}

#[test]
fn what_a_parent_had_buffered_is_written_once() {
    let probe = run("child-buffered-output");
    assert_eq!(probe.fact("once"), "1");
    assert_eq!((probe.count("once="), probe.count("child=1")), (1, 1));
}

#[test]
fn programs_that_are_started_inherit_no_descriptor_of_segments_and_children() {
    run("child-programs");
}
