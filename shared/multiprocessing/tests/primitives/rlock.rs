//! Python's `RLock`: depth, exclusion and dead holders.

use multiprocessing::{LockError, LockFailure, Plan, Process, RLock, Segment};
use nix::unistd::getpid;

use crate::common::{
    LIMIT, apply, child, join_all, keeps_time, kill_and_join, segment, sleep_for_ever, test,
    wait_until, wait_until_blocked, waits_idly,
};

fn rlock() -> (Segment, RLock) {
    let segment = segment(&Plan::new().rlock("lock"));
    let lock = segment.rlock("lock").unwrap();
    (segment, lock)
}

/// Starts a child that holds the lock at this depth.
fn holder(lock: &RLock, depth: usize) -> Process {
    let holder = child(|| {
        let _guards: Vec<_> = (0..depth).map(|_| lock.lock().unwrap()).collect();
        sleep_for_ever();
    });
    let held = || lock.holder() == Some(holder.pid()) && lock.depth() == depth as u64;
    wait_until("the child has the lock", held);
    holder
}

/// _TestRLock.test_rlock, test_rlock_context, test_rlock_locked_2processes and test_repr_rlock.
#[apply(test)]
fn the_holder_may_lock_again_and_the_lock_is_free_after_the_last_release() {
    let (_segment, lock) = rlock();
    let parent = getpid();
    let seen_by_another = |depth: u64| {
        join_all([child(|| {
            assert!(lock.try_lock().unwrap().is_none());
            assert_eq!(format!("{lock:?}"), format!("RLock(held by {parent}, depth {depth})"));
        })]);
    };
    assert_eq!((lock.holder(), format!("{lock:?}")), (None, "RLock(free)".to_owned()));
    let mut guards = vec![lock.lock().unwrap(), lock.try_lock().unwrap().unwrap()];
    guards.push(lock.lock_timeout(LIMIT).unwrap().unwrap());
    assert_eq!(lock.holder(), Some(parent));
    for depth in (1..=3).rev() {
        assert_eq!((lock.depth(), guards.len()), (depth, depth as usize));
        assert_eq!(format!("{lock:?}"), format!("RLock(held by {parent}, depth {depth})"));
        seen_by_another(depth);
        // Guards may be dropped in any order; here the first one goes first.
        drop(guards.remove(0));
    }
    assert_eq!((lock.holder(), lock.depth()), (None, 0));
    join_all([child(|| assert!(lock.try_lock().unwrap().is_some()))]);

    // Another thread of the same process is another holder.
    let guard = lock.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(lock.try_lock().unwrap().is_none()));
    });
    drop(guard);

    let holder = holder(&lock, 2);
    assert!(lock.try_lock().unwrap().is_none());
    kill_and_join(holder);
}

#[apply(test)]
fn the_next_holder_learns_of_a_killed_holder_and_counts_the_depth_from_one() {
    let (_segment, lock) = rlock();
    let dying = holder(&lock, 3);
    let waiter = child(|| {
        let Err(LockError::OwnerDied(inherited)) = lock.lock() else {
            panic!("the death was not reported")
        };
        assert_eq!(lock.depth(), 1, "the depth of the dead holder was kept");
        let guard = inherited.repaired();
        let again = lock.lock().unwrap();
        assert_eq!(lock.depth(), 2);
        drop((guard, again));
        assert_eq!(lock.holder(), None);
    });
    wait_until_blocked(waiter.pid());
    kill_and_join(dying);
    join_all([waiter]);
    assert_eq!((lock.recoveries(), format!("{lock}")), (1, "free (recovered 1 times)".to_owned()));

    // Without a repair, the lock is unrecoverable for every process.
    kill_and_join(holder(&lock, 1));
    drop(lock.try_lock());
    for outcome in [lock.lock(), lock.try_lock().map(|_| panic!("it was locked"))] {
        assert!(
            matches!(outcome, Err(LockError::Failed(LockFailure::Unrecoverable))),
            "{outcome:?}"
        );
    }
}

#[apply(test)]
fn a_forked_child_that_drops_inherited_guards_does_not_free_its_parents_lock() {
    let (_segment, lock) = rlock();
    let mut guards = Some([lock.lock().unwrap(), lock.lock().unwrap()]);
    join_all([child(|| {
        drop(guards.take());
        assert!(lock.try_lock().unwrap().is_none(), "the child freed its parent's lock");
    })]);
    assert_eq!((lock.holder(), lock.depth()), (Some(getpid()), 2));
    drop(guards);
    assert_eq!(lock.holder(), None);
}

#[apply(test)]
fn waits_time_out_on_time_even_under_a_storm_of_signals() {
    let (_segment, lock) = rlock();
    let holder = holder(&lock, 2);
    keeps_time(|_, timeout| assert!(lock.lock_timeout(timeout).unwrap().is_none()));
    kill_and_join(holder);
}

#[apply(test)]
fn an_idle_waiter_uses_no_processor_time() {
    let (_segment, lock) = rlock();
    let holder = holder(&lock, 1);
    waits_idly(child(|| drop(lock.lock())));
    kill_and_join(holder);
}
