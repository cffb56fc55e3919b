//! Python's `Semaphore` and `BoundedSemaphore`, also when holders and waiters are killed.

use std::time::{Duration, Instant};

use multiprocessing::{Plan, Process, Segment, SegmentError, Semaphore, SemaphoreError};

use crate::common::{
    LIMIT, apply, assert_less, child, fact, join_all, keeps_time, kill_and_join, reap, segment,
    sleep_for_ever, test, unique_name, wait_until, wait_until_blocked, waits_idly,
};

fn semaphore(units: u64) -> (Segment, Semaphore) {
    let segment = segment(&Plan::new().semaphore("gate", units));
    let semaphore = segment.semaphore("gate").unwrap();
    (segment, semaphore)
}

/// Starts a child that holds this many units.
fn holder(semaphore: &Semaphore, units: usize) -> Process {
    let before = semaphore.get_value();
    let holder = child(|| {
        let _permits: Vec<_> = (0..units).map(|_| semaphore.acquire().unwrap()).collect();
        sleep_for_ever();
    });
    wait_until("the child has its units", || semaphore.get_value() + units as u64 == before);
    holder
}

/// Checks what both kinds of semaphores do with two units.
fn counts_down_and_up(gate: &Semaphore) {
    assert_eq!(gate.get_value(), 2);
    let first = gate.acquire().unwrap();
    assert_eq!(gate.get_value(), 1);
    let second = gate.acquire().unwrap();
    assert_eq!(gate.get_value(), 0);
    assert!(gate.try_acquire().unwrap().is_none());
    assert_eq!(gate.get_value(), 0);
    let begun = Instant::now();
    assert!(gate.acquire_timeout(Duration::from_millis(100)).unwrap().is_none());
    assert!(begun.elapsed() >= Duration::from_millis(100));
    drop(first);
    assert_eq!(gate.get_value(), 1);
    drop(second);
    assert_eq!((gate.get_value(), gate.recovered()), (2, 0));
}

/// _TestSemaphore.test_semaphore and test_timeout.
#[apply(test)]
fn any_process_acquires_and_releases_units() {
    let (_segment, gate) = semaphore(2);
    counts_down_and_up(&gate);
    // Above the initial value, as Python allows.
    gate.release(3).unwrap();
    assert_eq!(gate.get_value(), 5);
    let most = i32::MAX as u64;
    assert_eq!(gate.release(most), Err(SemaphoreError::TooMany { released: most, most }));
    assert_eq!(gate.release(u64::MAX), Err(SemaphoreError::TooMany { released: u64::MAX, most }));
    assert_eq!(gate.get_value(), 5);

    // Units that one process forgets and another one releases have no holder in between.
    (0..5).for_each(|_| gate.acquire().unwrap().forget());
    assert_eq!((gate.get_value(), format!("{gate:?}")), (0, "Semaphore(0 free)".to_owned()));
    let waiters: Vec<_> = (0..3).map(|_| child(|| gate.acquire().unwrap().forget())).collect();
    waiters.iter().for_each(|waiter| wait_until_blocked(waiter.pid()));
    let begun = Instant::now();
    join_all([child(|| gate.release(3).unwrap())]);
    join_all(waiters);
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!((gate.get_value(), gate.recovered()), (0, 0));
}

/// TestBoundedSemaphore.test_bounded_semaphore, with the assertion that Python leaves out.
#[apply(test)]
fn a_bounded_semaphore_refuses_more_units_than_it_started_with() {
    let segment = segment(&Plan::new().bounded_semaphore("gate", 2));
    let gate = segment.bounded_semaphore("gate").unwrap();
    counts_down_and_up(&gate);
    let too_many = Err(SemaphoreError::TooMany { released: 1, most: 2 });
    assert_eq!(gate.release(1), too_many);
    let permit = gate.acquire().unwrap();
    assert_eq!(gate.get_value(), 1);
    // The permit will release the held unit, so others must not.
    assert_eq!(gate.release(1), too_many);
    permit.forget();
    assert_eq!(gate.get_value(), 1);
    gate.release(1).unwrap();
    assert_eq!(gate.get_value(), 2);
    assert_eq!(gate.release(1), too_many);
    kill_and_join(holder(&gate, 2));
    let permit = gate.acquire_timeout(LIMIT).unwrap().unwrap();
    assert_eq!((permit.recovered(), gate.get_value()), (2, 1));
    drop(permit);
    assert_eq!((gate.get_value(), gate.release(1)), (2, too_many));
}

#[apply(test)]
fn the_units_of_a_killed_holder_are_free_again_and_one_waiter_learns_of_it() {
    let (_segment, gate) = semaphore(3);
    let dying = holder(&gate, 3);
    assert_eq!(format!("{gate}"), format!("0 free, 3 held by {}", dying.pid()));
    assert!(gate.try_acquire().unwrap().is_none());
    // A process that already waits learns of the death, and the other units are free.
    let waiter = child(|| {
        let permit = gate.acquire().unwrap();
        assert_eq!(permit.recovered(), 3);
        permit.forget();
    });
    wait_until_blocked(waiter.pid());
    let killed = Instant::now();
    kill_and_join(dying);
    join_all([waiter]);
    assert_less("the waiter goes on", killed.elapsed(), Duration::from_secs(1));
    assert_eq!((gate.get_value(), gate.recovered()), (2, 3));
    gate.release(1).unwrap();

    // One of several waiters learns of the death, and all units are acquired.
    let dying = holder(&gate, 3);
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            child(|| {
                let permit = gate.acquire().unwrap();
                assert!([0, 3].contains(&permit.recovered()));
                permit.forget();
            })
        })
        .collect();
    waiters.iter().for_each(|waiter| wait_until_blocked(waiter.pid()));
    kill_and_join(dying);
    join_all(waiters);
    assert_eq!((gate.get_value(), gate.recovered()), (0, 6));

    // A killed waiter held no unit and swallows none.
    let dying = child(|| drop(gate.acquire().unwrap()));
    let living = child(|| drop(gate.acquire().unwrap()));
    wait_until_blocked(dying.pid());
    wait_until_blocked(living.pid());
    kill_and_join(dying);
    gate.release(1).unwrap();
    join_all([living]);
    assert_eq!((gate.get_value(), gate.recovered()), (1, 6));
    assert_eq!(format!("{gate}"), "1 free (6 recovered from dead processes)");
}

#[apply(test)]
fn one_permit_holder_too_many_gets_an_error() {
    let segment = segment(&Plan::new().participants(1).semaphore("gate", 5));
    let gate = segment.semaphore("gate").unwrap();
    let only = holder(&gate, 2);
    assert_eq!(gate.acquire().map(drop), Err(SemaphoreError::Full));
    assert_eq!(gate.get_value(), 3);
    kill_and_join(only);
    let permit = gate.acquire().unwrap();
    assert_eq!((permit.recovered(), gate.get_value()), (2, 4));
    let second = gate.acquire().unwrap();
    assert_eq!((second.recovered(), gate.get_value()), (0, 3));
}

#[apply(test)]
fn as_many_processes_as_there_are_units_hold_one_each_and_kills_bring_all_back() {
    for (units, holders) in [(100, 70), (300, 300)] {
        let plan = Plan::new().semaphore("gate", units).bounded_semaphore("bounded", units);
        let segment = Segment::create(&unique_name(), &plan).unwrap();
        let (gate, bounded) =
            (segment.semaphore("gate").unwrap(), segment.bounded_semaphore("bounded").unwrap());
        let hold = || {
            let _permits = (gate.acquire().unwrap(), bounded.acquire().unwrap());
            sleep_for_ever();
        };
        let mut processes: Vec<_> = (0..holders).map(|_| child(hold)).collect();
        wait_until("all hold their units", || {
            [gate.get_value(), bounded.get_value()] == [units - holders; 2]
        });
        processes.iter().for_each(|holder| holder.kill().unwrap());
        processes.iter_mut().for_each(reap);
        let begun = Instant::now();
        let permits: Vec<_> = (0..units).map(|_| gate.acquire().unwrap()).collect();
        fact("recovered_ms", begun.elapsed().as_millis());
        assert_less("the units come back", begun.elapsed(), Duration::from_secs(2));
        assert_eq!((permits.len() as u64, gate.recovered()), (units, holders));
        let recovered = wait_until("the bounded units come back", || {
            let permits: Vec<_> =
                (0..units).map_while(|_| bounded.try_acquire().unwrap()).collect();
            permits.len() as u64 == units
        });
        assert_less("the bounded units come back", recovered, Duration::from_secs(2));
    }
}

#[apply(test)]
fn a_forked_child_that_drops_an_inherited_permit_releases_nothing() {
    let (_segment, gate) = semaphore(1);
    let mut permit = Some(gate.acquire().unwrap());
    join_all([child(|| drop(permit.take()))]);
    assert_eq!(gate.get_value(), 0, "the child released its parent's unit");
    join_all([child(|| permit.take().into_iter().for_each(|permit| permit.forget()))]);
    let elsewhere = std::thread::spawn(move || drop(permit));
    elsewhere.join().unwrap();
    assert_eq!((gate.get_value(), gate.recovered()), (1, 0));
}

#[apply(test)]
fn waits_time_out_on_time_even_under_a_storm_of_signals() {
    let (_segment, gate) = semaphore(0);
    keeps_time(|_, timeout| assert!(gate.acquire_timeout(timeout).unwrap().is_none()));
}

#[apply(test)]
fn an_idle_waiter_uses_no_processor_time() {
    let (_segment, gate) = semaphore(1);
    let holder = holder(&gate, 1);
    waits_idly(child(|| drop(gate.acquire().unwrap())));
    kill_and_join(holder);
}

#[apply(test)]
fn a_plan_with_more_units_than_a_semaphore_can_count_is_refused() {
    for plan in
        [Plan::new().semaphore("gate", 1 << 31), Plan::new().bounded_semaphore("gate", u64::MAX)]
    {
        assert!(matches!(Segment::create(&unique_name(), &plan), Err(SegmentError::Plan(_))));
    }
}
