//! Scenarios of the value: sharing, adding up, and never being torn.

use multiprocessing::{LockError, Plan, Segment, Value};

use crate::accounts::{self, ACCOUNTS};
use crate::tools::{
    child, fact, join_all, kill_and_join, linger, segment, sleep_for_ever, wait_until,
};

/// A value big enough that killing its writer half-way is likely.
type Big = [u64; 64];

pub fn basics() {
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

pub fn sum() {
    const EACH: u64 = 25_000;
    let segment = segment(&Plan::new().value::<u64>("sum"));
    let sum = segment.value::<u64>("sum").unwrap();
    let count = || (0..EACH).for_each(|_| assert!(sum.update(|value| *value += 1).unwrap() > 0));
    join_all([child(count), child(count), child(count), child(count)]);
    assert_eq!(sum.get(), 4 * EACH);
    fact("sum", sum.get());
}

/// The first word is the total; behind it are the parts, by account; the rest repeat the total.
fn check(words: Big) -> u64 {
    let (total, parts) = (words[0], words[1..=ACCOUNTS].iter().sum::<u64>());
    assert!(
        parts == total && words[ACCOUNTS + 1..].iter().all(|word| *word == total),
        "torn: {words:?}"
    );
    total
}

/// Whoever is killed, the value is whole at every moment, never goes back, and no change that was committed is lost.
pub fn soak() {
    let segment = segment(&Plan::new().value::<Big>("big"));
    let value = segment.value::<Big>("big").unwrap();
    let change = |account: usize, step: u64| {
        let change = |words: &mut Big| {
            words[1 + account] += 1;
            linger(step);
            words
                .iter_mut()
                .enumerate()
                .filter(|(word, _)| !(1..=ACCOUNTS).contains(word))
                .for_each(|(_, word)| *word += 1);
        };
        let before = check(value.get());
        let after = if step.is_multiple_of(2) {
            check(value.update(change).unwrap())
        } else {
            let mut guard = match value.lock() {
                Err(LockError::OwnerDied(inherited)) => inherited.repaired(),
                other => other.unwrap(),
            };
            change(&mut guard);
            if step % 4 == 1 {
                guard.commit();
                linger(step);
                assert_eq!(value.get(), *guard);
            }
            check(*guard)
        };
        assert!(after > before, "from {before} to {after}");
    };
    accounts::soak(400, change, |account| value.get()[1 + account]);
    fact("recoveries", value.get_lock().recoveries());
    assert!(value.get_lock().recoveries() > 0, "nobody was killed with the lock");
}

/// Kills a child between its change and the end of its guard.
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

pub fn killed_update() {
    let segment = segment(&Plan::new().value::<Big>("big").raw_value::<u8>("flag"));
    let value = segment.value::<Big>("big").unwrap();
    kill_in_mid_update(&segment, &value);
    let Err(LockError::OwnerDied(inherited)) = value.lock() else {
        panic!("the death was not told")
    };
    assert_eq!(**inherited, [0; 64]);
    drop(inherited.repaired());
    kill_in_mid_update(&segment, &value);
    assert_eq!(value.get(), [0; 64]);
    assert_eq!(value.update(|words| words[1] = 1).unwrap()[..3], [0, 1, 0]);
    fact("recoveries", value.get_lock().recoveries());
}

pub fn inherited_guard() {
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
