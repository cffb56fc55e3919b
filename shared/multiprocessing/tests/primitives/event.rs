//! Python's `Event` between processes.

use std::time::{Duration, Instant};

use multiprocessing::{Event, Plan, Segment};

use crate::common::{
    apply, child, join_all, keeps_time, segment, test, wait_until_blocked, waits_idly,
};

fn event() -> (Segment, Event) {
    let segment = segment(&Plan::new().event("event"));
    let event = segment.event("event").unwrap();
    (segment, event)
}

/// _TestEvent.test_event and test_repr.
#[apply(test)]
fn an_event_is_set_and_cleared_for_all_processes_and_ends_every_wait() {
    let (_segment, event) = event();
    let shown = |event: &Event| format!("{event:?}");
    assert!(!event.is_set());
    assert_eq!(shown(&event), "Event(unset)");
    assert!(!event.wait_timeout(Duration::ZERO).unwrap());
    let begun = Instant::now();
    assert!(!event.wait_timeout(Duration::from_millis(100)).unwrap());
    assert!(begun.elapsed() >= Duration::from_millis(100));
    for _ in 0..2 {
        event.set();
        assert!(event.is_set());
        assert!(event.wait_timeout(Duration::ZERO).unwrap());
        event.wait().unwrap();
    }
    assert_eq!(shown(&event), "Event(set)");
    for _ in 0..2 {
        event.clear();
        assert!(!event.is_set());
        assert!(!event.wait_timeout(Duration::ZERO).unwrap());
    }
    let waiters: Vec<_> = (0..3).map(|_| child(|| event.wait().unwrap())).collect();
    waiters.iter().for_each(|waiter| wait_until_blocked(waiter.pid()));
    let begun = Instant::now();
    join_all([child(|| event.set())]);
    assert!(event.is_set());
    join_all(waiters);
    assert!(begun.elapsed() < Duration::from_secs(1));

    // The event is set for a moment only, which Python's waiters would miss.
    event.clear();
    let waiter = child(|| assert!(event.wait_timeout(Duration::from_secs(9)).unwrap()));
    wait_until_blocked(waiter.pid());
    event.set();
    event.clear();
    join_all([waiter]);
}

#[apply(test)]
fn waits_time_out_on_time_even_under_a_storm_of_signals() {
    let (_segment, event) = event();
    keeps_time(|_, timeout| assert!(!event.wait_timeout(timeout).unwrap()));
}

#[apply(test)]
fn an_idle_waiter_uses_no_processor_time() {
    let (_segment, event) = event();
    waits_idly(child(|| event.wait().unwrap()));
}
