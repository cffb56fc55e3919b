//! DOC

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

/// A child that holds the lock so often.
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
fn its_holder_may_take_it_again_and_it_is_free_when_all_is_given_back() {
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
        // In any order: the first one goes first.
        drop(guards.remove(0));
    }
    assert_eq!((lock.holder(), lock.depth()), (None, 0));
    join_all([child(|| assert!(lock.try_lock().unwrap().is_some()))]);

    // Another thread of the same process is another one, too.
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
fn the_successor_of_a_killed_holder_is_told_and_starts_counting_anew() {
    let (_segment, lock) = rlock();
    let dying = holder(&lock, 3);
    let told = child(|| {
        let Err(LockError::OwnerDied(inherited)) = lock.lock() else {
            panic!("the death was not told")
        };
        assert_eq!(lock.depth(), 1, "the dead one's depth was counted on");
        let guard = inherited.repaired();
        let again = lock.lock().unwrap();
        assert_eq!(lock.depth(), 2);
        drop((guard, again));
        assert_eq!(lock.holder(), None);
    });
    wait_until_blocked(told.pid());
    kill_and_join(dying);
    join_all([told]);
    assert_eq!((lock.recoveries(), format!("{lock}")), (1, "free (recovered 1 times)".to_owned()));

    // Not repaired: lost for everybody.
    kill_and_join(holder(&lock, 1));
    drop(lock.try_lock());
    for outcome in [lock.lock(), lock.try_lock().map(|_| panic!("it was had"))] {
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
fn waits_keep_their_time_also_under_a_storm_of_signals() {
    let (_segment, lock) = rlock();
    let holder = holder(&lock, 2);
    keeps_time(|_, timeout| assert!(lock.lock_timeout(timeout).unwrap().is_none()));
    kill_and_join(holder);
}

#[apply(test)]
fn an_idle_waiter_uses_no_processor() {
    let (_segment, lock) = rlock();
    let holder = holder(&lock, 1);
    waits_idly(child(|| drop(lock.lock())));
    kill_and_join(holder);
}
