//! Python's `JoinableQueue`, and what Python does not say of it: processes that are killed with tasks in hand.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{run, unique_name};
use multiprocessing::{Plan, Segment};

#[test]
fn a_join_ends_when_every_task_that_was_put_is_done() {
    run("joinable-queue-join");
}

#[test]
fn all_who_join_are_told_at_once() {
    let told: u64 = run("joinable-queue-call").fact("told_ms").parse().unwrap();
    assert!(told < 2500, "60 times it was told after {told} ms in all");
}

#[test]
fn a_task_is_unfinished_from_its_put_until_it_is_dropped_wherever_it_is() {
    run("joinable-queue-tasks");
}

#[test]
fn what_was_refused_is_no_task_that_a_join_waits_for() {
    run("joinable-queue-refused");
}

#[test]
fn a_closed_one_gives_what_is_left_and_a_join_waits_for_that() {
    run("joinable-queue-close");
}

#[test]
fn what_a_killed_process_had_in_hand_is_lost_and_all_who_join_are_told() {
    let probe = run("joinable-queue-death");
    for fact in ["noticed_ms", "told_ms"] {
        let took: u64 = probe.fact(fact).parse().unwrap();
        assert!(took < 1500, "{fact}={took}");
    }
}

#[test]
fn one_holder_more_than_there_is_room_for_is_told_so_and_takes_nothing() {
    run("joinable-queue-full");
}

#[test]
fn a_forked_child_that_drops_an_inherited_task_has_not_done_it() {
    run("joinable-queue-inherited-task");
}

#[test]
fn a_task_that_a_panic_drops_is_lost() {
    run("joinable-queue-panic");
}

#[test]
fn waits_keep_their_time_also_under_a_storm_of_signals() {
    run("joinable-queue-times");
}

#[test]
fn an_idle_waiter_uses_no_processor() {
    run("joinable-queue-idle");
}

#[test]
fn every_task_is_done_once_or_lost_with_one_killed_and_joins_tell_how_many() {
    run("joinable-queue-soak");
}

#[test]
fn one_of_other_messages_or_a_plain_one_is_not_this_one() {
    let plan = Plan::new().joinable_queue::<[u8; 8]>("eight", 6).queue::<[u8; 8]>("plain", 6);
    // Of one participant and of many: the ring is found behind the rows.
    let plan = plan.participants(1).joinable_queue::<[u32; 3]>("three", 2);
    let name = unique_name();
    let segment = Segment::create(&name, &plan).unwrap();
    let here = segment.joinable_queue::<[u32; 3]>("three").unwrap();
    let there = Segment::open(&name).unwrap().joinable_queue::<[u32; 3]>("three").unwrap();
    for round in 0..5 {
        (0..2).for_each(|number| here.try_put([round, u32::MAX, number]).unwrap());
        (0..2).for_each(|number| assert_eq!(*there.get().unwrap(), [round, u32::MAX, number]));
        assert_eq!(here.join_timeout(Duration::from_secs(10)), Ok(true));
    }
    for refused in [
        segment.joinable_queue::<[u8; 7]>("eight").map(drop),
        segment.joinable_queue::<[u8; 16]>("eight").map(drop),
        segment.joinable_queue::<u64>("eight").map(drop),
        segment.joinable_queue::<[u32; 4]>("three").map(drop),
        segment.joinable_queue::<[u8; 8]>("plain").map(drop),
    ] {
        let message = refused.unwrap_err().to_string();
        assert!(message.contains(" has no JoinableQueue "), "{message}");
    }
    let message = segment.queue::<[u8; 8]>("eight").map(drop).unwrap_err().to_string();
    assert!(message.contains(" has no Queue "), "{message}");
}
