//! Scenarios of the event: what Python asserts of it, and waiters and setters that are killed.

use std::time::{Duration, Instant};

use multiprocessing::{Event, Plan, Segment};

use crate::tools::{
    child, fact, join_all, keeps_time, kill_and_join, kill_at_random, segment, sleep_for_ever, wait_until,
    wait_until_blocked, waits_idly,
};

fn event() -> (Segment, Event) {
    let segment = segment(&Plan::new().event("event").raw_array::<u64>("seen", 2).raw_value::<u8>("last"));
    let event = segment.event("event").unwrap();
    (segment, event)
}

/// _TestEvent.test_event and test_repr.
pub fn basics() {
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

    // Set for a moment only, which Python's waiters sleep through.
    event.clear();
    let waiter = child(|| assert!(event.wait_timeout(Duration::from_secs(9)).unwrap()));
    wait_until_blocked(waiter.pid());
    event.set();
    event.clear();
    join_all([waiter]);
}

pub fn times() {
    let (_segment, event) = event();
    keeps_time(|_, timeout| assert!(!event.wait_timeout(timeout).unwrap()));
}

pub fn idle() {
    let (_segment, event) = event();
    waits_idly(child(|| event.wait().unwrap()));
}

/// Survivors that wait go on, whatever happens to those who set, clear and wait beside them.
pub fn soak() {
    let (segment, event) = event();
    let seen = segment.raw_array::<u64>("seen").unwrap();
    let last = segment.raw_value::<u8>("last").unwrap();
    let survivor = |number: usize| {
        child(|| {
            while last.load() == 0 {
                event.wait().unwrap();
                seen.fetch_add(number, 1);
            }
        })
    };
    let survivors = [survivor(0), survivor(1)];
    let set_and_clear = || {
        child(|| {
            loop {
                event.set();
                event.clear();
            }
        })
    };
    let wait = || {
        child(|| {
            loop {
                event.wait().unwrap();
            }
        })
    };
    kill_at_random(300, &[&set_and_clear, &wait, &set_and_clear, &wait], |kill| {
        if kill % 10 == 0 {
            let before: Vec<_> = seen.iter().collect();
            wait_until("the survivors go on", || seen.iter().zip(&before).all(|(now, &before)| now > before));
        }
    });
    // What a setter has set stays so without it.
    event.clear();
    last.store(1);
    let setter = child(|| {
        event.set();
        sleep_for_ever();
    });
    wait_until("it is set", || event.is_set());
    kill_and_join(setter);
    join_all(survivors);
    assert!(event.is_set());
    fact("waits", seen.iter().sum::<u64>());
}
