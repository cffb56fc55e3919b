//! The lock among real processes that are killed.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{run, unique_name};
use multiprocessing::{LockError, LockFailure, Plan, Segment};

#[test]
fn processes_exclude_each_other_and_no_update_is_lost() {
    assert_eq!(run("lock-exclusion").fact("total"), "80000");
}

#[test]
fn the_successor_of_a_killed_holder_is_told_and_repairs() {
    assert_eq!(run("lock-dead-holder").fact("recoveries"), "3");
}

#[test]
fn a_process_that_already_waits_is_woken_when_the_holder_is_killed() {
    let probe = run("lock-dead-holder-waiter");
    let woken: u64 = probe.fact("woken_ms").parse().unwrap();
    assert!(woken < 1000, "woken after {woken} ms");
}

#[test]
fn a_free_lock_is_had_within_a_second_though_the_process_that_was_woken_for_it_is_killed() {
    let probe = run("lock-woken-waiter-killed");
    let longest: u64 = probe.fact("longest_ms").parse().unwrap();
    assert!(longest < 1000, "had after {longest} ms");
}

#[test]
fn a_lock_given_back_without_repair_is_lost_for_everyone() {
    run("lock-unrepaired");
}

#[test]
fn time_limits_below_a_second_are_kept_also_under_a_storm_of_signals() {
    run("lock-times");
}

#[test]
fn a_forked_child_that_drops_an_inherited_guard_does_not_free_its_parents_lock() {
    run("lock-inherited-guard");
}

#[test]
fn a_lock_names_the_process_that_holds_it() {
    run("lock-holder");
}

#[test]
fn whoever_is_killed_the_next_holder_is_told_and_no_addition_is_lost() {
    run("lock-soak");
}

#[test]
fn locking_twice_in_one_thread_is_an_error_and_trying_to_is_none() {
    let segment = Segment::create(&unique_name(), &Plan::new().lock("lock")).unwrap();
    let lock = segment.lock("lock").unwrap();
    let guard = lock.lock().unwrap();
    assert!(matches!(lock.lock(), Err(LockError::Failed(LockFailure::Deadlock))));
    let timed = lock.lock_timeout(Duration::from_secs(9));
    assert!(matches!(timed, Err(LockError::Failed(LockFailure::Deadlock))));
    assert!(lock.try_lock().unwrap().is_none());
    drop(guard);
    assert!(lock.try_lock().unwrap().is_some());
    assert!(lock.lock_timeout(Duration::MAX).unwrap().is_some());
}

#[test]
fn a_panic_under_a_lock_gives_it_back_and_tells_nobody() {
    let plan = Plan::new().lock("lock").rlock("rlock").array::<u16>("array", 2);
    let segment = Segment::create(&unique_name(), &plan).unwrap();
    let (lock, rlock) = (segment.lock("lock").unwrap(), segment.rlock("rlock").unwrap());
    let array = segment.array::<u16>("array").unwrap();
    let panicked = std::panic::catch_unwind(|| {
        let (_lock, _rlock) = (lock.lock().unwrap(), rlock.lock().unwrap());
        let mut elements = array.lock().unwrap();
        elements[0] = 1;
        panic!("half-way");
    });
    assert!(panicked.is_err());
    assert!(lock.try_lock().unwrap().is_some() && rlock.try_lock().unwrap().is_some());
    assert_eq!(array.lock().unwrap()[..], [1, 0], "an array is changed in place");
    assert_eq!((lock.recoveries(), rlock.recoveries(), array.get_lock().recoveries()), (0, 0, 0));
}

#[test]
fn threads_of_one_process_exclude_each_other_too() {
    let segment =
        Segment::create(&unique_name(), &Plan::new().lock("lock").raw_value::<u64>("n")).unwrap();
    let (lock, number) = (segment.lock("lock").unwrap(), segment.raw_value::<u64>("n").unwrap());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    let _guard = lock.lock().unwrap();
                    number.store(number.load() + 1);
                }
            });
        }
    });
    assert_eq!(number.load(), 20_000);
}

#[test]
fn a_forgotten_guard_keeps_its_memory_mapped_and_other_locks_sound() {
    let other = Segment::create(&unique_name(), &Plan::new().lock("lock")).unwrap();
    let other = other.lock("lock").unwrap();
    let segment = Segment::create(&unique_name(), &Plan::new().lock("lock")).unwrap();
    std::mem::forget(segment.lock("lock").unwrap().lock().unwrap());
    drop(segment);
    // The C library's list of held locks leads through the forgotten one.
    for _ in 0..3 {
        drop(other.lock().unwrap());
    }
}

#[test]
fn a_thread_that_ends_with_the_lock_is_a_dead_holder() {
    let segment = Segment::create(&unique_name(), &Plan::new().lock("lock")).unwrap();
    let lock = segment.lock("lock").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| std::mem::forget(lock.lock().unwrap()));
    });
    let outcome = lock.lock_timeout(Duration::from_secs(9));
    let Err(LockError::OwnerDied(inherited)) = outcome else { panic!("{outcome:?}") };
    drop(inherited.repaired());
    assert!(lock.try_lock().unwrap().is_some());
}
