//! Scenarios of arrays, and of everything raw.

use multiprocessing::{ArrayGuard, LockError, Plan, Process};

use crate::accounts::{self, ACCOUNTS};
use crate::tools::{
    child, fact, join_all, kill_and_join, linger, segment, sleep_for_ever, wait_until,
};

pub fn basics() {
    let segment = segment(&Plan::new().array::<u32>("numbers", 10).raw_array::<u16>("raw", 3));
    let numbers = segment.array::<u32>("numbers").unwrap();
    assert_eq!(numbers.len(), 10);
    assert_eq!(&*numbers.lock().unwrap(), &[0; 10]);
    numbers
        .lock()
        .unwrap()
        .iter_mut()
        .enumerate()
        .for_each(|(index, number)| *number = index as u32);
    join_all([child(|| {
        let mut guard = numbers.lock().unwrap();
        for index in 1..guard.len() {
            guard[index] += guard[index - 1];
        }
    })]);
    assert_eq!(&*numbers.lock().unwrap(), &[0, 1, 3, 6, 10, 15, 21, 28, 36, 45]);
    join_all([child(|| numbers.lock().unwrap()[3..6].copy_from_slice(&[7, 8, 9]))]);
    assert_eq!(numbers.lock().unwrap()[2..7], [3, 7, 8, 9, 21]);

    let raw = segment.raw_array::<u16>("raw").unwrap();
    assert_eq!((raw.len(), raw.is_empty()), (3, false));
    join_all([child(|| {
        raw.store(0, u16::MAX);
        assert_eq!(raw.fetch_add(0, 2), u16::MAX);
        assert_eq!(raw.fetch_sub(1, 1), 0);
    })]);
    assert_eq!(raw.iter().collect::<Vec<_>>(), [1, u16::MAX, 0]);
    let mut outside = Process::spawn(|| i32::from(raw.load(3))).unwrap();
    assert_eq!(outside.join().unwrap().to_string(), "exit code 101");
}

pub fn dead_holder() {
    let segment = segment(&Plan::new().array::<u64>("numbers", 4).raw_value::<u8>("flag"));
    let numbers = segment.array::<u64>("numbers").unwrap();
    let flag = segment.raw_value::<u8>("flag").unwrap();
    let half_way = child(|| {
        let mut guard = numbers.lock().unwrap();
        guard[..2].fill(5);
        flag.store(1);
        sleep_for_ever();
    });
    wait_until("the child is half-way", || flag.load() == 1);
    kill_and_join(half_way);
    let Err(LockError::OwnerDied(mut inherited)) = numbers.lock() else {
        panic!("the death was not told")
    };
    assert_eq!(**inherited, [5, 5, 0, 0]);
    inherited.fill(0);
    drop(inherited.repaired());
    assert_eq!(&*numbers.lock().unwrap(), &[0; 4]);
}

/// The first element is the total of the rest, which are changed by account: whoever finds it otherwise is told.
pub fn soak() {
    let segment = segment(&Plan::new().array::<u64>("numbers", 1 + ACCOUNTS));
    let numbers = segment.array::<u64>("numbers").unwrap();
    let take = || -> ArrayGuard<'_, u64> {
        match numbers.lock() {
            Err(LockError::OwnerDied(mut inherited)) => {
                inherited[0] = inherited[1..].iter().sum();
                inherited.repaired()
            }
            other => other.unwrap(),
        }
    };
    let add = |account: usize, step: u64| {
        let mut guard = take();
        assert_eq!(guard[0], guard[1..].iter().sum::<u64>(), "torn and not told, or two at a time");
        guard[1 + account] += 1;
        linger(step);
        guard[0] += 1;
    };
    accounts::soak(400, add, |account| take()[1 + account]);
    fact("recoveries", numbers.get_lock().recoveries());
    assert!(numbers.get_lock().recoveries() > 0, "nobody was killed with the lock");
}

/// Additions to numbers without a lock are there whole or not at all, whoever is killed, and touch no neighbour.
pub fn raw_soak() {
    /// What is added to the sum: were it ever torn, its halves would differ.
    const ONE: u64 = 1 << 32 | 1;
    let plan = Plan::new().raw_value::<u64>("sum").raw_array::<u64>("parts", ACCOUNTS);
    let segment = segment(&plan.raw_array::<u8>("bytes", ACCOUNTS));
    let sum = segment.raw_value::<u64>("sum").unwrap();
    let parts = segment.raw_array::<u64>("parts").unwrap();
    let bytes = segment.raw_array::<u8>("bytes").unwrap();
    let halves = |sum: u64| [sum >> 32, sum & u64::from(u32::MAX)];
    let add = |account: usize, step: u64| {
        let [high, low] = halves(sum.fetch_add(ONE));
        assert_eq!(high, low, "torn");
        linger(step);
        bytes.fetch_add(account, 1);
        parts.fetch_add(account, 1);
    };
    let counted = |account: usize| {
        let part = parts.load(account);
        let ahead = bytes.load(account).wrapping_sub(part as u8);
        assert!(ahead <= 1, "byte {account} is {ahead} ahead");
        bytes.fetch_sub(account, ahead);
        part
    };
    let interrupted = accounts::soak(400, add, counted);
    let [high, low] = halves(sum.load());
    let ahead = low - parts.iter().sum::<u64>();
    assert!(
        high == low && ahead <= interrupted,
        "{high} {low}: {ahead} ahead, {interrupted} interrupted"
    );
    // There is nothing to find and repair.
    fact("recoveries", 0);
}

pub fn raw_sums() {
    const EACH: u64 = 50_000;
    let plan =
        Plan::new().raw_value::<u64>("sum").raw_value::<i64>("most").raw_array::<u8>("bytes", 2);
    let segment = segment(&plan);
    let sum = segment.raw_value::<u64>("sum").unwrap();
    let most = segment.raw_value::<i64>("most").unwrap();
    let bytes = segment.raw_array::<u8>("bytes").unwrap();
    let count = |number: i64| {
        for step in 0..EACH {
            sum.fetch_add(3);
            sum.fetch_sub(2);
            most.fetch_max(number * step as i64);
            bytes.fetch_add(1, 1);
        }
    };
    join_all([child(|| count(1)), child(|| count(2)), child(|| count(3))]);
    assert_eq!(most.load(), 3 * (EACH as i64 - 1));
    assert_eq!(bytes.iter().collect::<Vec<_>>(), [0, (3 * EACH % 256) as u8]);
    fact("sum", sum.load());
}
