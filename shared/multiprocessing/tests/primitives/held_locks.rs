//! How many locks a thread may hold: as many as the kernel frees when it dies.

use std::thread;
use std::time::Duration;

use multiprocessing::{Lock, LockError, LockFailure, Plan};

use crate::common::{apply, child, join_all, kill_and_join, segment, sleep_for_ever, test};

/// More than the kernel frees.
const LOCKS: usize = 2_100;

fn failure<T, G>(outcome: Result<T, LockError<G>>) -> Option<LockFailure> {
    match outcome {
        Err(LockError::Failed(failure)) => Some(failure),
        _ => None,
    }
}

/// Returns true if the lock is free, or freed by the death of its holder.
fn is_free(lock: &Lock) -> bool {
    match lock.lock_timeout(Duration::ZERO) {
        Err(LockError::OwnerDied(inherited)) => {
            drop(inherited.repaired());
            true
        }
        taken => matches!(taken, Ok(Some(_))),
    }
}

#[apply(test)]
fn a_thread_cannot_hold_more_locks_than_the_kernel_frees_at_its_death() {
    let plan = Plan::new().semaphore("unit", 1).rlock("outer").event("full").value::<u8>("value");
    let plan = (0..LOCKS).fold(plan.array::<u8>("array", 1), |plan, at| plan.lock(&at.to_string()));
    let segment = segment(&plan);
    let locks: Vec<_> = (0..LOCKS).map(|at| segment.lock(&at.to_string()).unwrap()).collect();
    let (outer, full) = (segment.rlock("outer").unwrap(), segment.event("full").unwrap());
    let (array, value) = (segment.array::<u8>("array").unwrap(), segment.value("value").unwrap());
    let unit = segment.semaphore("unit").unwrap();
    let process = child(|| {
        let _outer = outer.lock().unwrap();
        let guards: Vec<_> = locks.iter().map_while(|lock| lock.lock().ok()).collect();
        assert_eq!(guards.len(), 1_999, "with the outer one 2,000");
        let free = &locks[guards.len()];
        let refused = [
            failure(free.lock()),
            failure(free.lock_timeout(Duration::ZERO)),
            failure(free.try_lock()),
            failure(array.lock()),
            value.set(1_u8).err(),
        ];
        assert_eq!(refused, [Some(LockFailure::TooMany); 5]);
        // Taking a lock again adds none. The locks inside a primitive are held only for a moment.
        drop((outer.lock().unwrap(), unit.acquire().unwrap()));
        // Every thread has a number of its own.
        thread::scope(|scope| scope.spawn(|| drop(free.lock().unwrap())).join().unwrap());
        full.set();
        sleep_for_ever();
    });
    full.wait().unwrap();
    kill_and_join(process);
    let held: Vec<_> = (0..LOCKS).filter(|&at| !is_free(&locks[at])).collect();
    assert_eq!(held, [0; 0], "locked by a dead thread");
    let Err(LockError::OwnerDied(_)) = outer.lock() else { panic!("its holder was killed") };
}

#[apply(test)]
fn released_locks_and_those_of_a_parent_do_not_count() {
    let plan = (0..LOCKS).fold(Plan::new().rlock("rlock"), |plan, at| plan.lock(&at.to_string()));
    let segment = segment(&plan);
    let locks: Vec<_> = (0..LOCKS).map(|at| segment.lock(&at.to_string()).unwrap()).collect();
    let rlock = segment.rlock("rlock").unwrap();
    for _ in 0..LOCKS {
        drop((rlock.lock().unwrap(), rlock.lock().unwrap(), locks[0].lock().unwrap()));
    }
    let guards: Vec<_> = locks.iter().map_while(|lock| lock.lock().ok()).collect();
    assert_eq!(guards.len(), 2_000);
    let hold = || {
        drop(rlock.lock().unwrap());
        assert_eq!(failure(locks[0].lock_timeout(Duration::ZERO)), None);
    };
    join_all([child(hold)]);
    drop(guards);
    assert!(locks.iter().all(is_free));
}
