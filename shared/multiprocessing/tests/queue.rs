//! Python's `Queue`, and what Python does not say of it: processes that are killed.
#![allow(clippy::unwrap_used)]

mod common;

use common::{run, unique_name};
use multiprocessing::{Plan, Segment, Shareable};

#[test]
fn a_full_queue_takes_no_message_at_once_or_after_its_time() {
    run("queue-put");
}

#[test]
fn messages_come_out_in_order_and_an_empty_queue_gives_none_at_once_or_after_its_time() {
    run("queue-get");
}

#[test]
fn a_forked_child_puts_into_its_parents_queue_in_order() {
    run("queue-fork");
}

#[test]
fn its_length_follows_what_any_process_puts_and_takes() {
    run("queue-length");
}

#[test]
fn a_message_that_is_refused_is_told_leaves_no_trace_and_stops_no_later_one() {
    run("queue-refused");
}

#[test]
fn a_closed_queue_takes_nothing_gives_what_is_left_and_says_how_long_it_is() {
    run("queue-close");
}

#[test]
fn a_close_ends_every_wait_for_room_and_for_a_message_at_once() {
    let told: u64 = run("queue-close-waiters").fact("told_ms").parse().unwrap();
    assert!(told < 2500, "60 closes were told after {told} ms");
}

#[test]
fn a_queue_whose_closer_was_killed_is_closed_for_everybody_or_for_nobody() {
    let probe = run("queue-close-death");
    let closed: u64 = probe.fact("closed").parse().unwrap();
    assert!(
        (75..150).contains(&closed),
        "{closed} of 150 were closed, where 75 at least were, and some not"
    );
    let longest: u64 = probe.fact("longest_ms").parse().unwrap();
    assert!(longest < 2000, "somebody went on for {longest} ms");
}

#[test]
fn queues_need_no_descriptor_open_or_closed() {
    run("queue-descriptors");
}

#[test]
fn what_several_put_and_several_take_arrives_once_and_in_the_order_of_each() {
    run("queue-crowd");
}

#[test]
fn the_dead_leave_what_they_put_and_hinder_nobody_who_waits() {
    run("queue-death");
}

#[test]
fn the_message_of_a_waiter_killed_as_it_was_woken_goes_to_another() {
    let probe = run("queue-woken-waiter-killed");
    let longest: u64 = probe.fact("longest_ms").parse().unwrap();
    assert!(longest < 1000, "it came after {longest} ms");
}

#[test]
fn waits_keep_their_time_also_under_a_storm_of_signals() {
    run("queue-times");
}

#[test]
fn an_idle_waiter_uses_no_processor() {
    run("queue-idle");
}

#[test]
fn no_message_is_torn_doubled_or_lost_but_in_the_hand_of_one_killed() {
    run("queue-soak");
}

#[derive(Clone, Copy, Debug, PartialEq, Shareable)]
#[repr(C)]
struct Bet {
    agency: u32,
    number: u16,
    name: [u8; 7],
    day: u8,
    rest: u16,
}

/// More than twice around, by a handle that was opened by name.
fn goes_around<T: Shareable + PartialEq + std::fmt::Debug>(message: impl Fn(u8) -> T) {
    let name = unique_name();
    let segment = Segment::create(&name, &Plan::new().queue::<T>("queue", 3)).unwrap();
    let (here, there) = (segment.queue::<T>("queue").unwrap(), Segment::open(&name).unwrap());
    let there = there.queue::<T>("queue").unwrap();
    assert_eq!(there.capacity(), 3);
    for round in 0..5 {
        (0..3).for_each(|number| here.try_put(message(3 * round + number)).unwrap());
        assert!(here.try_put(message(99)).is_err());
        (0..3)
            .for_each(|number| assert_eq!(there.try_get(), Ok(Some(message(3 * round + number)))));
        assert_eq!(there.try_get(), Ok(None));
    }
}

#[test]
fn messages_of_any_size_come_out_as_they_went_in() {
    goes_around(|number| number);
    goes_around(|number| [number; 9]);
    goes_around(|number| f64::from(number) / 4.0);
    goes_around(|number| [u64::from(number); 100]);
    goes_around(|number| Bet {
        agency: u32::MAX - u32::from(number),
        number: 7574,
        name: *b"Lorenzo",
        day: number,
        rest: u16::MAX,
    });
}

#[test]
fn a_queue_of_other_messages_is_not_this_one() {
    let plan = Plan::new().queue::<[u8; 8]>("eight", 6).queue::<[u32; 3]>("three", 2);
    let segment = Segment::create(&unique_name(), &plan).unwrap();
    assert!(
        segment.queue::<[u8; 8]>("eight").is_ok() && segment.queue::<[u32; 3]>("three").is_ok()
    );
    // Of the same size in the ring, or a divisor of it, or of another type.
    for refused in [
        segment.queue::<u8>("eight").map(drop),
        segment.queue::<[u8; 7]>("eight").map(drop),
        segment.queue::<[u8; 16]>("eight").map(drop),
        segment.queue::<u64>("eight").map(drop),
        segment.queue::<[u32; 4]>("three").map(drop),
        segment.queue::<[u32; 2]>("three").map(drop),
        segment.queue::<[u32; 3]>("eight").map(drop),
    ] {
        let message = refused.unwrap_err().to_string();
        assert!(message.contains(" has no Queue "), "{message}");
    }
}
