//! Python's `Condition`, also when waiters, notifiers and lock holders are killed.

use std::time::{Duration, Instant};

use multiprocessing::{
    Condition, ConditionError, Lock, LockError, LockFailure, LockGuard, Plan, Process, RawValue,
    Segment,
};

use crate::common::{
    LIMIT, apply, assert_less, child, join_all, keeps_time, kill_and_join, segment, sleep_for_ever,
    test, wait_until, wait_until_blocked, waits_idly,
};

struct Fixture {
    segment: Segment,
    lock: Lock,
    changed: Condition,
    /// The number of waits that have ended.
    woken: RawValue<u64>,
}

fn fixture() -> Fixture {
    let plan = Plan::new().lock("lock").condition("changed").raw_value::<u64>("woken");
    let segment = segment(&plan.raw_value::<u64>("number").lock("other"));
    let lock = segment.lock("lock").unwrap();
    let changed = segment.condition("changed", &lock).unwrap();
    let woken = segment.raw_value("woken").unwrap();
    Fixture { segment, lock, changed, woken }
}

impl Fixture {
    fn wait_once(&self) {
        let guard = self.changed.wait(self.lock.lock().unwrap()).unwrap();
        self.woken.fetch_add(1);
        drop(guard);
    }

    /// Starts children that wait, one after the other.
    fn waiters(&self, count: usize) -> Vec<Process> {
        let start = |_| {
            let waiter = child(|| self.wait_once());
            self.wait_until_waiting(&waiter);
            waiter
        };
        (0..count).map(start).collect()
    }

    fn wait_until_waiting(&self, waiter: &Process) {
        wait_until_blocked(waiter.pid());
        // The lock is free once the child waits.
        drop(self.lock.lock().unwrap());
    }

    fn notify(&self, count: usize) -> usize {
        self.changed.notify(&self.lock.lock().unwrap(), count).unwrap()
    }

    fn has_woken(&self, count: u64) {
        wait_until("the waiters are woken", || self.woken.load() == count);
        std::thread::sleep(Duration::from_millis(20)); // Time for a wrong extra wake-up to show.
        assert_eq!(self.woken.load(), count);
    }
}

/// _TestCondition.test_notify, test_notify_all, test_notify_n, test_timeout and test_wait_result.
#[apply(test)]
fn a_notification_wakes_exactly_as_many_waiters_as_it_names() {
    let fixture = fixture();
    let Fixture { lock, changed, woken, .. } = &fixture;
    let two = fixture.waiters(2);
    assert_eq!(format!("{changed:?}"), "Condition(2 wait)");
    assert_eq!(fixture.notify(1), 1);
    fixture.has_woken(1);
    assert_eq!(fixture.notify(1), 1);
    fixture.has_woken(2);
    join_all(two);
    assert_eq!(fixture.notify(1), 0, "a notification was kept for later");

    let times_out = || {
        for timeout in [Duration::ZERO, Duration::from_millis(100)] {
            let begun = Instant::now();
            let (guard, notified) = changed.wait_timeout(lock.lock().unwrap(), timeout).unwrap();
            assert!(!notified && begun.elapsed() >= timeout);
            drop(guard);
        }
    };
    join_all((0..6).map(|_| child(times_out)).collect::<Vec<_>>());
    woken.store(0);
    let six = fixture.waiters(6);
    assert_eq!(changed.notify_all(&lock.lock().unwrap()), Ok(6));
    join_all(six);
    assert_eq!(woken.load(), 6);

    woken.store(0);
    let six = fixture.waiters(6);
    assert_eq!(fixture.notify(2), 2);
    fixture.has_woken(2);
    assert_eq!(fixture.notify(9), 4);
    join_all(six);
    assert_eq!((woken.load(), fixture.notify(3)), (6, 0));

    let waiter = child(|| {
        let (_guard, notified) = changed.wait_timeout(lock.lock().unwrap(), LIMIT).unwrap();
        assert!(notified);
    });
    fixture.wait_until_waiting(&waiter);
    fixture.notify(1);
    join_all([waiter]);

    // A process, and a thread of the process that notifies.
    woken.store(0);
    let process = fixture.waiters(1);
    std::thread::scope(|scope| {
        scope.spawn(|| fixture.wait_once());
        wait_until("the thread waits, too", || format!("{changed:?}") == "Condition(2 wait)");
        for count in 1..=2 {
            assert_eq!(fixture.notify(1), 1);
            fixture.has_woken(count);
        }
    });
    join_all(process);
    assert_eq!(format!("{changed:?}"), "Condition(0 wait)");
}

/// _TestCondition.test_waitfor and test_waitfor_timeout.
#[apply(test)]
fn a_process_waits_for_a_predicate_that_others_make_true() {
    let Fixture { segment, lock, changed, .. } = &fixture();
    let number = segment.raw_value::<u64>("number").unwrap();
    let waiter = child(|| {
        let guard = changed.wait_for(lock.lock().unwrap(), || number.load() == 4).unwrap();
        number.store(5);
        drop(guard);
    });
    for step in 1..=4 {
        wait_until_blocked(waiter.pid());
        let guard = lock.lock().unwrap();
        assert_eq!(number.load(), step - 1, "it went on too early");
        number.store(step);
        changed.notify(&guard, 1).unwrap();
    }
    join_all([waiter]);
    assert_eq!(number.load(), 5);

    // The predicate stays false although the waiter is notified again and again.
    let in_vain = child(|| {
        let timeout = Duration::from_millis(500);
        let begun = Instant::now();
        let guard = lock.lock().unwrap();
        let (guard, so) = changed.wait_for_timeout(guard, timeout, || number.load() == 9).unwrap();
        assert!(!so && begun.elapsed() >= timeout);
        number.store(9);
        drop(guard);
    });
    let mut notified = 0;
    wait_until("the waiter gives up", || {
        notified += changed.notify(&lock.lock().unwrap(), 1).unwrap();
        number.load() == 9
    });
    assert!(notified > 0, "the wait ended before it was notified");
    join_all([in_vain]);
    let guard = lock.lock().unwrap();
    let (_guard, so) = changed.wait_for_timeout(guard, Duration::ZERO, || true).unwrap();
    assert!(so);
}

#[apply(test)]
fn waiting_and_notifying_require_the_lock() {
    let Fixture { segment, lock, changed, .. } = &fixture();
    let other = segment.lock("other").unwrap();
    let not_held = |outcome: Result<LockGuard<'_>, ConditionError<LockGuard<'_>>>| {
        matches!(outcome, Err(ConditionError::Lock(LockError::Failed(LockFailure::NotHeld))))
    };
    assert_eq!(changed.notify_all(&other.lock().unwrap()), Err(LockFailure::NotHeld));
    assert!(not_held(changed.wait(other.lock().unwrap())));
    let mut guard = Some(lock.lock().unwrap());
    join_all([child(|| {
        let inherited = guard.take().unwrap();
        assert_eq!(changed.notify(&inherited, 1), Err(LockFailure::NotHeld));
        assert!(not_held(changed.wait(inherited)));
    })]);
    assert_eq!(changed.notify_all(guard.as_ref().unwrap()), Ok(0));
}

/// A wait releases an RLock completely and restores its depth.
#[apply(test)]
fn a_wait_releases_a_re_entrant_lock_completely_and_restores_its_depth() {
    let plan = Plan::new().rlock("lock").condition("changed").raw_value::<u64>("number");
    let segment = segment(&plan);
    let lock = segment.rlock("lock").unwrap();
    let changed = segment.condition("changed", &lock).unwrap();
    let number = segment.raw_value::<u64>("number").unwrap();
    let waiter = child(|| {
        let outer = lock.lock().unwrap();
        let inner = changed.wait_for(lock.lock().unwrap(), || number.load() == 1).unwrap();
        assert_eq!(lock.depth(), 2);
        drop(inner);
        assert_eq!(lock.depth(), 1);
        drop(outer);
    });
    wait_until_blocked(waiter.pid());
    let guard = lock.lock_timeout(LIMIT).unwrap().unwrap();
    number.store(1);
    assert_eq!(changed.notify(&guard, 1), Ok(1));
    drop(guard);
    join_all([waiter]);
    assert_eq!((lock.holder(), lock.depth()), (None, 0));

    let mut inherited = Some(lock.lock().unwrap());
    join_all([child(|| {
        assert_eq!(changed.notify_all(inherited.as_ref().unwrap()), Err(LockFailure::NotHeld));
        drop(inherited.take());
    })]);
    assert_eq!(lock.depth(), 1);
}

#[apply(test)]
fn dead_waiters_are_forgotten_and_their_notifications_are_passed_on() {
    let fixture = fixture();
    let Fixture { lock, changed, .. } = &fixture;
    // A waiter killed while it waits is forgotten at the next check of another waiter.
    let mut waiters = fixture.waiters(2);
    kill_and_join(waiters.remove(0));
    let begun = Instant::now();
    wait_until("the dead waiter is forgotten", || format!("{changed:?}") == "Condition(1 wait)");
    assert_less("the dead waiter is forgotten", begun.elapsed(), Duration::from_secs(1));
    assert_eq!(fixture.notify(1), 1);
    join_all(waiters);

    // The notification of a waiter killed before it has the lock is passed on.
    let killed_notified = |waiter: Process| {
        let guard = lock.lock().unwrap();
        assert_eq!(changed.notify(&guard, 1), Ok(1));
        std::thread::sleep(Duration::from_millis(50)); // Time to wake up and wait for the lock.
        kill_and_join(waiter);
    };
    let mut waiters = fixture.waiters(2);
    killed_notified(waiters.remove(0));
    let begun = Instant::now();
    join_all(waiters);
    assert_less("the notification is passed on", begun.elapsed(), Duration::from_secs(1));
    // But a later waiter does not get it: without other waiters it is gone.
    killed_notified(fixture.waiters(1).remove(0));
    let (guard, notified) =
        changed.wait_timeout(lock.lock().unwrap(), Duration::from_millis(400)).unwrap();
    assert!(!notified, "it inherited an earlier notification");
    drop(guard);
    assert_eq!(
        format!("{changed:?}"),
        "Condition(0 wait (1 notifications passed on from dead processes))"
    );

    // A waiter learns of a holder killed with the lock when its wait ends.
    let waiter = child(|| match changed.wait(lock.lock().unwrap()) {
        Err(ConditionError::Lock(LockError::OwnerDied(inherited))) => drop(inherited.repaired()),
        other => panic!("expected an inheritance, got {other:?}"),
    });
    fixture.wait_until_waiting(&waiter);
    kill_and_join({
        let notifier = child(|| {
            let guard = lock.lock().unwrap();
            changed.notify_all(&guard).unwrap();
            sleep_for_ever();
        });
        wait_until("the notifier holds the lock", || lock.holder() == Some(notifier.pid()));
        wait_until_blocked(notifier.pid());
        notifier
    });
    join_all([waiter]);
    drop(lock.lock().unwrap());
}

#[apply(test)]
fn one_waiter_too_many_gets_an_error_and_keeps_the_lock() {
    let segment = segment(&Plan::new().lock("lock").participants(1).condition("changed"));
    let lock = segment.lock("lock").unwrap();
    let changed = segment.condition("changed", &lock).unwrap();
    let only = child(|| drop(changed.wait(lock.lock().unwrap())));
    wait_until("the child waits", || format!("{changed:?}") == "Condition(1 wait)");
    let Err(ConditionError::Full(guard)) = changed.wait(lock.lock().unwrap()) else {
        panic!("there was room for two")
    };
    assert!(lock.try_lock().unwrap().is_none(), "the lock was released");
    kill_and_join(only);
    let (_guard, notified) = changed.wait_timeout(guard, Duration::from_millis(1)).unwrap();
    assert!(!notified);
}

#[apply(test)]
fn waits_time_out_on_time_even_under_a_storm_of_signals() {
    let Fixture { lock, changed, .. } = &fixture();
    keeps_time(|_, timeout| {
        let (_guard, notified) = changed.wait_timeout(lock.lock().unwrap(), timeout).unwrap();
        assert!(!notified);
    });
}

#[apply(test)]
fn an_idle_waiter_uses_no_processor_time() {
    let Fixture { lock, changed, .. } = &fixture();
    waits_idly(child(|| drop(changed.wait(lock.lock().unwrap()))));
}
