//! Scenarios of the lock: exclusion, dead holders, time limits, inherited guards.

use std::time::{Duration, Instant};

use multiprocessing::{Lock, LockError, LockFailure, Plan, Process, RawValue, Segment};
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;

use crate::accounts::{self, Sums};
use crate::tools::{
    LIMIT, child, fact, join_all, keeps_time, kill_and_join, linger, process_state,
    run_beside_idly, segment, sleep_for_ever, wait_until, wait_until_blocked,
};

/// The lock, and a flag for children to say how far they are.
fn lock_and_flag() -> (Segment, Lock, RawValue<u64>) {
    let segment = segment(&Plan::new().lock("lock").raw_value::<u64>("flag"));
    let (lock, flag) = (segment.lock("lock").unwrap(), segment.raw_value("flag").unwrap());
    (segment, lock, flag)
}

/// A child that holds the lock.
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

pub fn exclusion() {
    const EACH: u64 = 20_000;
    let (_segment, lock, total) = lock_and_flag();
    let count = || {
        for _ in 0..EACH {
            let _guard = lock.lock().unwrap();
            // Two steps on purpose: without the lock, others' additions would be lost in between.
            let before = total.load();
            std::hint::black_box(before);
            total.store(before + 1);
        }
    };
    join_all([child(count), child(count), child(count), child(count)]);
    assert_eq!(total.load(), 4 * EACH);
    fact("total", total.load());
}

pub fn dead_holder() {
    let (_segment, lock, flag) = lock_and_flag();
    kill_and_join(holding_child(&lock, &flag));
    let Err(LockError::OwnerDied(inherited)) = lock.lock() else {
        panic!("the death was not told")
    };
    assert_eq!(lock.recoveries(), 0);
    let guard = inherited.repaired();
    assert_eq!(lock.holder(), Some(getpid()));
    drop(guard);
    assert_eq!((lock.holder(), lock.recoveries()), (None, 1));
    drop(lock.lock().unwrap());

    // The same through the other ways in.
    kill_and_join(holding_child(&lock, &flag));
    let Err(LockError::OwnerDied(inherited)) = lock.try_lock() else {
        panic!("try_lock did not tell")
    };
    drop(inherited.repaired());
    kill_and_join(holding_child(&lock, &flag));
    let outcome = lock.lock_timeout(Duration::from_secs(5));
    let Err(LockError::OwnerDied(inherited)) = outcome else { panic!("lock_timeout did not tell") };
    drop(inherited.repaired());
    assert!(lock.try_lock().unwrap().is_some());
    fact("recoveries", lock.recoveries());
}

pub fn dead_holder_with_a_waiter() {
    let (_segment, lock, flag) = lock_and_flag();
    let holder = holding_child(&lock, &flag);
    let waiter = child(|| match lock.lock() {
        Err(LockError::OwnerDied(inherited)) => drop(inherited.repaired()),
        other => panic!("expected an inheritance, got {other:?}"),
    });
    let timed = child(|| match lock.lock_timeout(Duration::from_secs(20)) {
        // Whichever comes first inherits; the other one finds it repaired.
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
    fact("woken_ms", killed.elapsed().as_millis());
    kill(timed.pid(), Signal::SIGCONT).unwrap();
    join_all([timed]);
}

/// A waiter is woken, killed before it runs, and the mutex is taken by a third meanwhile: nobody wakes the other waiter.
pub fn woken_waiter_killed() {
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
        // It shares this process's processor and runs only when that idles: not between the next two steps.
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
    fact("longest_ms", longest.as_millis());
}

pub fn unrepaired() {
    let (_segment, lock, flag) = lock_and_flag();
    let lost = |outcome: Result<_, LockError<_>>| {
        matches!(outcome, Err(LockError::Failed(LockFailure::Unrecoverable)))
    };
    kill_and_join(holding_child(&lock, &flag));
    let Err(LockError::OwnerDied(inherited)) = lock.lock() else {
        panic!("the death was not told")
    };
    let blocked = child(|| assert!(lost(lock.lock().map(drop))));
    wait_until_blocked(blocked.pid());
    drop(inherited);
    join_all([blocked]);
    assert!(lost(lock.lock().map(drop)));
    // After a look without waiting, which in glibc 2.36 takes a lost mutex and keeps it.
    assert!(lost(lock.try_lock().map(drop)));
    let outcome = lock.lock_timeout(Duration::from_secs(9)).map(drop);
    assert!(matches!(outcome, Err(LockError::Failed(LockFailure::Unrecoverable))), "{outcome:?}");
    join_all([child(|| assert!(lost(lock.lock().map(drop))))]);
    assert_eq!(lock.holder(), None);
}

pub fn times() {
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

pub fn inherited_guard() {
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

pub fn holder() {
    let (_segment, lock, flag) = lock_and_flag();
    let told = |holder: Option<i32>| format!("Lock {{ holder: {holder:?}, recoveries: 0 }}");
    assert_eq!((lock.holder(), format!("{lock:?}")), (None, told(None)));
    let own = lock.lock().unwrap();
    assert_eq!(
        (lock.holder(), format!("{lock:?}")),
        (Some(getpid()), told(Some(getpid().as_raw())))
    );
    drop(own);
    let holder = holding_child(&lock, &flag);
    assert_eq!(
        (lock.holder(), format!("{lock:?}")),
        (Some(holder.pid()), told(Some(holder.pid().as_raw())))
    );
    kill_and_join(holder);
    assert_eq!(lock.holder(), None);
}

/// Whoever gets the lock finds everything as its last holder left it, or is told that it was killed; and no addition is lost.
pub fn soak() {
    let segment = segment(&Sums::planned(Plan::new().lock("lock")));
    let (lock, sums) = (segment.lock("lock").unwrap(), Sums::new(&segment));
    let add = |account: usize, step: u64| {
        let taken = match step % 2 {
            0 => lock.lock(),
            _ => lock.lock_timeout(LIMIT).map(|guard| guard.expect("the lock within its time")),
        };
        let guard = match taken {
            Err(LockError::OwnerDied(inherited)) => {
                sums.repair();
                inherited.repaired()
            }
            other => other.unwrap(),
        };
        sums.check();
        sums.add(account, || linger(step));
        drop(guard);
    };
    accounts::soak(400, add, |account| sums.part(account));
    fact("recoveries", lock.recoveries());
    assert!(lock.recoveries() > 0, "nobody was killed with the lock");
}
