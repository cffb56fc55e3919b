//! Python's `Lock`: exclusion, dead holders, timeouts and inherited guards.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use multiprocessing::{Lock, LockError, LockFailure, Plan, Process, RawValue, Segment};
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;

use crate::common::{
    apply, assert_less, child, join_all, keeps_time, kill_and_join, process_state, run_beside_idly,
    segment, sleep_for_ever, test, unique_name, wait_until, wait_until_blocked,
};

/// Creates a lock, and a flag by which children announce their progress.
fn lock_and_flag() -> (Segment, Lock, RawValue<u64>) {
    let segment = segment(&Plan::new().lock("lock").raw_value::<u64>("flag"));
    let (lock, flag) = (segment.lock("lock").unwrap(), segment.raw_value("flag").unwrap());
    (segment, lock, flag)
}

/// Starts a child that holds the lock.
fn holding_child(lock: &Lock, flag: &RawValue<u64>) -> Process {
    let before = flag.load();
    let holder = child(|| {
        let _guard = lock.lock().unwrap();
        flag.fetch_add(1);
        sleep_for_ever();
    });
    wait_until("the child has the lock", || flag.load() > before);
    holder
}

#[apply(test)]
fn processes_exclude_each_other_and_no_update_is_lost() {
    const EACH: u64 = 20_000;
    let (_segment, lock, total) = lock_and_flag();
    let count = || {
        for _ in 0..EACH {
            let _guard = lock.lock().unwrap();
            // Two steps, so that additions of others would be lost in between without the lock.
            let before = total.load();
            std::hint::black_box(before);
            total.store(before + 1);
        }
    };
    join_all([child(count), child(count), child(count), child(count)]);
    assert_eq!(total.load(), 4 * EACH);
}

#[apply(test)]
fn the_next_holder_learns_of_a_killed_holder_and_repairs() {
    let (_segment, lock, flag) = lock_and_flag();
    kill_and_join(holding_child(&lock, &flag));
    let Err(LockError::OwnerDied(inherited)) = lock.lock() else {
        panic!("the death was not reported")
    };
    assert_eq!(lock.recoveries(), 0);
    let guard = inherited.repaired();
    assert_eq!(lock.holder(), Some(getpid()));
    drop(guard);
    assert_eq!((lock.holder(), lock.recoveries()), (None, 1));
    drop(lock.lock().unwrap());

    // The same for the other calls that lock.
    kill_and_join(holding_child(&lock, &flag));
    let Err(LockError::OwnerDied(inherited)) = lock.try_lock() else {
        panic!("try_lock did not report the death")
    };
    drop(inherited.repaired());
    kill_and_join(holding_child(&lock, &flag));
    let outcome = lock.lock_timeout(Duration::from_secs(5));
    let Err(LockError::OwnerDied(inherited)) = outcome else {
        panic!("lock_timeout did not report the death")
    };
    drop(inherited.repaired());
    assert!(lock.try_lock().unwrap().is_some());
    assert_eq!(lock.recoveries(), 3);
}

#[apply(test)]
fn a_process_that_already_waits_is_woken_when_the_holder_is_killed() {
    let (_segment, lock, flag) = lock_and_flag();
    let holder = holding_child(&lock, &flag);
    let waiter = child(|| match lock.lock() {
        Err(LockError::OwnerDied(inherited)) => drop(inherited.repaired()),
        other => panic!("expected an inheritance, got {other:?}"),
    });
    let timed = child(|| match lock.lock_timeout(Duration::from_secs(20)) {
        // The first waiter inherits the lock. The second one finds it repaired.
        Err(LockError::OwnerDied(inherited)) => drop(inherited.repaired()),
        Ok(Some(_)) => {}
        other => panic!("expected the lock, got {other:?}"),
    });
    wait_until_blocked(timed.pid());
    wait_until_blocked(waiter.pid());
    let killed = Instant::now();
    kill(timed.pid(), Signal::SIGSTOP).unwrap();
    wait_until("the timed waiter stops", || process_state(timed.pid()) == Some('T'));
    kill_and_join(holder);
    join_all([waiter]);
    assert_less("the waiter is woken", killed.elapsed(), Duration::from_secs(1));
    kill(timed.pid(), Signal::SIGCONT).unwrap();
    join_all([timed]);
}

/// A waiter is woken and killed before it runs, while a third process takes the mutex. The other
/// waiter gets no wake-up then.
#[apply(test)]
fn a_free_lock_is_taken_within_a_second_although_the_woken_waiter_is_killed() {
    let (_segment, lock, _) = lock_and_flag();
    let take = || match lock.lock() {
        Err(LockError::OwnerDied(inherited)) => inherited.repaired(),
        other => other.unwrap(),
    };
    let mut longest = Duration::ZERO;
    for _ in 0..10 {
        let guard = take();
        let woken = child(|| {
            let _guard = take();
            sleep_for_ever();
        });
        wait_until_blocked(woken.pid());
        // The child runs only when this processor is idle, so not between the next two steps.
        run_beside_idly(woken.pid());
        let other = child(|| drop(take()));
        wait_until_blocked(other.pid());
        drop(guard);
        let again = lock.lock_timeout(Duration::from_millis(50));
        kill_and_join(woken);
        let begun = Instant::now();
        drop(again);
        join_all([other]);
        longest = longest.max(begun.elapsed());
    }
    assert_less("the other waiter gets the lock", longest, Duration::from_secs(1));
}

#[apply(test)]
fn a_lock_released_without_repair_is_unrecoverable_for_every_process() {
    let (_segment, lock, flag) = lock_and_flag();
    let lost = |outcome: Result<_, LockError<_>>| {
        matches!(outcome, Err(LockError::Failed(LockFailure::Unrecoverable)))
    };
    kill_and_join(holding_child(&lock, &flag));
    let Err(LockError::OwnerDied(inherited)) = lock.lock() else {
        panic!("the death was not reported")
    };
    let blocked = child(|| assert!(lost(lock.lock().map(drop))));
    wait_until_blocked(blocked.pid());
    drop(inherited);
    join_all([blocked]);
    assert!(lost(lock.lock().map(drop)));
    // After `try_lock`, with which glibc 2.36 takes an unrecoverable mutex and keeps it.
    assert!(lost(lock.try_lock().map(drop)));
    let outcome = lock.lock_timeout(Duration::from_secs(9)).map(drop);
    assert!(matches!(outcome, Err(LockError::Failed(LockFailure::Unrecoverable))), "{outcome:?}");
    join_all([child(|| assert!(lost(lock.lock().map(drop))))]);
    assert_eq!(lock.holder(), None);
}

#[apply(test)]
fn timeouts_below_a_second_are_kept_even_under_a_storm_of_signals() {
    let (_segment, lock, flag) = lock_and_flag();
    let holder = holding_child(&lock, &flag);
    keeps_time(|_, timeout| assert!(lock.lock_timeout(timeout).unwrap().is_none()));
    join_all([child(|| {
        let begun = Instant::now();
        assert!(lock.try_lock().unwrap().is_none());
        assert!(begun.elapsed() < Duration::from_millis(500));
    })]);
    kill_and_join(holder);
}

#[apply(test)]
fn trying_a_held_lock_asks_the_kernel_for_nothing_and_does_not_slow_its_release_down() {
    let (segment, lock, _) = lock_and_flag();
    let guard = lock.lock().unwrap();
    join_all([child(|| assert!(lock.try_lock().unwrap().is_none()))]);
    // The first word is the holder, and a flag if unlocking has to call the kernel.
    let place = segment.objects().iter().find(|object| object.name == "lock").unwrap().offset;
    let mut word = [0; 4];
    let file = File::open(segment.name().path()).unwrap();
    file.read_exact_at(&mut word, place as u64).unwrap();
    assert_eq!(u32::from_ne_bytes(word), getpid().as_raw().cast_unsigned());
    drop(guard);
}

#[apply(test)]
fn a_forked_child_that_drops_an_inherited_guard_does_not_free_its_parents_lock() {
    let (_segment, lock, _) = lock_and_flag();
    let mut guard = Some(lock.lock().unwrap());
    let dropping = child(|| {
        drop(guard.take());
        assert!(lock.try_lock().unwrap().is_none(), "the child freed its parent's lock");
    });
    join_all([dropping]);
    assert_eq!(lock.holder(), Some(getpid()));
    join_all([child(|| assert!(lock.try_lock().unwrap().is_none()))]);
    drop(guard);
    join_all([child(|| assert!(lock.try_lock().unwrap().is_some()))]);
}

#[apply(test)]
fn a_lock_names_the_process_that_holds_it() {
    let (_segment, lock, flag) = lock_and_flag();
    let shown = |holder: Option<i32>| format!("Lock {{ holder: {holder:?}, recoveries: 0 }}");
    assert_eq!((lock.holder(), format!("{lock:?}")), (None, shown(None)));
    let own = lock.lock().unwrap();
    assert_eq!(
        (lock.holder(), format!("{lock:?}")),
        (Some(getpid()), shown(Some(getpid().as_raw())))
    );
    drop(own);
    let holder = holding_child(&lock, &flag);
    assert_eq!(
        (lock.holder(), format!("{lock:?}")),
        (Some(holder.pid()), shown(Some(holder.pid().as_raw())))
    );
    kill_and_join(holder);
    assert_eq!(lock.holder(), None);
}

#[apply(test)]
fn locking_twice_in_one_thread_is_an_error_and_try_lock_returns_none() {
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

#[apply(test)]
fn a_panic_under_a_lock_releases_it_like_any_drop() {
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

#[apply(test)]
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

#[apply(test)]
fn a_forgotten_guard_keeps_its_memory_mapped_and_other_locks_sound() {
    let other = Segment::create(&unique_name(), &Plan::new().lock("lock")).unwrap();
    let other = other.lock("lock").unwrap();
    let segment = Segment::create(&unique_name(), &Plan::new().lock("lock")).unwrap();
    std::mem::forget(segment.lock("lock").unwrap().lock().unwrap());
    drop(segment);
    // The C library's list of held locks contains the forgotten lock.
    for _ in 0..3 {
        drop(other.lock().unwrap());
    }
}

#[apply(test)]
fn a_thread_that_ends_with_the_lock_counts_as_a_dead_holder() {
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
