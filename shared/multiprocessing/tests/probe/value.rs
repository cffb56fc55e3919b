//! Scenarios of the value: sharing, adding up, and never being torn.

use std::time::{Duration, Instant};

use multiprocessing::{LockError, Plan, Process, Segment, Value};

use crate::tools::{Random, child, fact, join_all, kill_and_join, segment, sleep_for_ever, wait_until};

/// A value big enough that killing its writer half-way is likely.
type Big = [u64; 64];

pub fn basics() {
    let plan = Plan::new().value::<u64>("u").value::<i32>("i").value::<f64>("f").value::<[u16; 5]>("a");
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

fn writer(value: &Value<Big>) -> Process {
    child(|| {
        loop {
            value.update(|words| words.iter_mut().for_each(|word| *word += 1)).unwrap();
        }
    })
}

pub fn torn() {
    const KILLS: usize = 300;
    let mut random = Random::new();
    let segment = segment(&Plan::new().value::<Big>("big"));
    let value = segment.value::<Big>("big").unwrap();
    let mut writers: Vec<_> = (0..3).map(|_| writer(&value)).collect();
    let (mut reads, mut last) = (0_u64, 0);
    for _ in 0..KILLS {
        let until = Instant::now() + Duration::from_micros(random.below(4000));
        while Instant::now() < until {
            let words = value.get();
            assert!(words.iter().all(|word| *word == words[0]), "torn: {words:?}");
            assert!(words[0] >= last, "from {last} back to {}", words[0]);
            last = words[0];
            reads += 1;
        }
        let victim = random.below(3) as usize;
        let next = writer(&value);
        kill_and_join(std::mem::replace(&mut writers[victim], next));
    }
    writers.into_iter().for_each(kill_and_join);
    // Nobody changes it any more, and it can still be changed.
    let whole = value.get();
    let next = value.update(|words| words[0] += 1).unwrap();
    assert_eq!(next[0], whole[0] + 1);
    assert!(last > 0 && reads > 0);
    fact("recoveries", value.get_lock().recoveries());
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
    let Err(LockError::OwnerDied(inherited)) = value.lock() else { panic!("the death was not told") };
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
