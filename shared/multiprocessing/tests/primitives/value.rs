//! Python's `Value`: shared, added up, and never torn.

use multiprocessing::{LockError, Plan, Segment, Value};

use crate::common::{
    apply, child, join_all, kill_and_join, segment, sleep_for_ever, test, unique_name, wait_until,
};

/// A value so large that a kill probably finds its writer half-way.
type Big = [u64; 64];

#[apply(test)]
fn values_start_as_zero_and_a_child_changes_them_for_all_processes() {
    let plan =
        Plan::new().value::<u64>("u").value::<i32>("i").value::<f64>("f").value::<[u16; 5]>("a");
    let segment = segment(&plan.value::<u8>("b"));
    let unsigned = segment.value::<u64>("u").unwrap();
    let signed = segment.value::<i32>("i").unwrap();
    let float = segment.value::<f64>("f").unwrap();
    let array = segment.value::<[u16; 5]>("a").unwrap();
    let byte = segment.value::<u8>("b").unwrap();
    assert_eq!((unsigned.get(), signed.get(), float.get(), array.get()), (0, 0, 0.0, [0; 5]));
    join_all([child(|| {
        unsigned.set(u64::MAX).unwrap();
        assert_eq!(signed.update(|value| *value -= 7).unwrap(), -7);
        float.set(1.5).unwrap();
        array.update(|value| value[4] = 9).unwrap();
        let mut guard = byte.lock().unwrap();
        *guard = 1;
        assert_eq!(byte.get(), 0, "not committed yet");
        guard.commit();
        assert_eq!(byte.get(), 1);
        *guard += 1;
    })]);
    assert_eq!(
        (unsigned.get(), signed.get(), float.get(), array.get()),
        (u64::MAX, -7, 1.5, [0, 0, 0, 0, 9])
    );
    assert_eq!(byte.get(), 2);
}

#[apply(test)]
fn increments_by_several_processes_add_up() {
    const EACH: u64 = 25_000;
    let segment = segment(&Plan::new().value::<u64>("sum"));
    let sum = segment.value::<u64>("sum").unwrap();
    let count = || (0..EACH).for_each(|_| assert!(sum.update(|value| *value += 1).unwrap() > 0));
    join_all([child(count), child(count), child(count), child(count)]);
    assert_eq!(sum.get(), 4 * EACH);
}

/// Kills a child after its change and before its guard is dropped.
fn kill_in_mid_update(segment: &Segment, value: &Value<Big>) {
    let flag = segment.raw_value::<u8>("flag").unwrap();
    flag.store(0);
    let updating = child(|| {
        value
            .update(|words| {
                *words = [99; 64];
                flag.store(1);
                sleep_for_ever();
            })
            .map(drop)
            .unwrap();
    });
    wait_until("the child is changing the value", || flag.load() == 1);
    assert_eq!(value.get(), [0; 64]);
    kill_and_join(updating);
}

#[apply(test)]
fn an_update_by_a_killed_process_leaves_the_old_value_whole() {
    let segment = segment(&Plan::new().value::<Big>("big").raw_value::<u8>("flag"));
    let value = segment.value::<Big>("big").unwrap();
    kill_in_mid_update(&segment, &value);
    let Err(LockError::OwnerDied(inherited)) = value.lock() else {
        panic!("the death was not reported")
    };
    assert_eq!(**inherited, [0; 64]);
    drop(inherited.repaired());
    kill_in_mid_update(&segment, &value);
    assert_eq!(value.get(), [0; 64]);
    assert_eq!(value.update(|words| words[1] = 1).unwrap()[..3], [0, 1, 0]);
    assert_eq!(value.get_lock().recoveries(), 2);
}

#[apply(test)]
fn a_forked_child_that_drops_an_inherited_guard_does_not_commit_its_parents_change() {
    let segment = segment(&Plan::new().value::<u64>("value"));
    let value = segment.value::<u64>("value").unwrap();
    let mut guard = Some(value.lock().unwrap());
    if let Some(guard) = &mut guard {
        **guard = 7;
    }
    join_all([child(|| drop(guard.take()))]);
    assert_eq!(value.get(), 0, "the child committed its parent's change");
    drop(guard);
    assert_eq!(value.get(), 7);
}

fn value(segment: &Segment) -> Value<u64> {
    segment.value("value").unwrap()
}

#[apply(test)]
fn a_panic_under_the_lock_discards_the_change_and_releases_the_lock() {
    let segment = Segment::create(&unique_name(), &Plan::new().value::<u64>("value")).unwrap();
    let value = value(&segment);
    let panicked = std::panic::catch_unwind(|| {
        value.update(|number| {
            *number = 5;
            panic!("half-way");
        })
    });
    assert!(panicked.is_err());
    assert_eq!(value.get(), 0);
    assert_eq!(value.update(|number| *number += 1), Ok(1));
}

#[apply(test)]
fn a_destructor_that_a_panic_runs_can_change_a_value() {
    struct CountsDown(Value<u64>);
    impl Drop for CountsDown {
        fn drop(&mut self) {
            self.0.update(|number| *number -= 1).unwrap();
        }
    }
    let segment = Segment::create(&unique_name(), &Plan::new().value::<u64>("value")).unwrap();
    value(&segment).set(1).unwrap();
    let in_flight = CountsDown(value(&segment));
    let panicked = std::panic::catch_unwind(move || {
        let _in_flight = in_flight;
        panic!("in mid-batch");
    });
    assert!(panicked.is_err());
    assert_eq!(value(&segment).get(), 0);
}

#[apply(test)]
fn a_guard_that_changes_nothing_commits_nothing() {
    let segment = Segment::create(&unique_name(), &Plan::new().value::<u64>("value")).unwrap();
    let value = value(&segment);
    let guard = value.lock().unwrap();
    assert_eq!(*guard, 0);
    drop(guard);
    let mut guard = value.lock_timeout(std::time::Duration::ZERO).unwrap().unwrap();
    *guard += 3;
    assert_eq!(value.get(), 0);
    drop(guard);
    assert_eq!(value.get(), 3);
}

/// An ordinary thread has 2 MiB of stack, and a build without optimization copies more often.
#[apply(test)]
fn the_largest_values_and_messages_fit_the_stack_of_a_thread() {
    type Large = [u64; 64 * 1024 / 8];
    let plan = Plan::new().value::<Large>("value").queue::<Large>("queue", 1);
    let segment = segment(&plan.joinable_queue::<Large>("tasks", 1));
    let use_all = || {
        let value = segment.value::<Large>("value").unwrap();
        value.update(|numbers| numbers[0] += 1).unwrap();
        value.lock().unwrap()[8191] = 2;
        value.set(value.get().map(|number| 10 * number)).unwrap();
        let queue = segment.queue::<Large>("queue").unwrap();
        queue.put(value.get()).unwrap();
        let tasks = segment.joinable_queue::<Large>("tasks").unwrap();
        tasks.put(queue.get().unwrap()).unwrap();
        let task = tasks.get().unwrap();
        (task[0], task[8191])
    };
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let ends = std::thread::scope(|scope| thread.spawn_scoped(scope, use_all).unwrap().join());
    assert_eq!(ends.unwrap(), (10, 20));
}
