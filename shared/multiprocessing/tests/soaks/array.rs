//! Arrays whose lock holders are killed.

use multiprocessing::{ArrayGuard, LockError, Plan};

use crate::common::{ACCOUNTS, apply, fact, kill_account_holders, linger, segment, soak};

/// The first element is the total of the rest, which has a part per account. A holder that finds
/// another total has learned of a death.
#[apply(soak)]
fn no_addition_to_an_array_is_lost_and_the_next_holder_learns_of_a_torn_one() {
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
        assert_eq!(
            guard[0],
            guard[1..].iter().sum::<u64>(),
            "torn without a dead holder, or two holders"
        );
        guard[1 + account] += 1;
        linger(step);
        guard[0] += 1;
    };
    kill_account_holders(400, add, |account| take()[1 + account]);
    fact("recoveries", numbers.get_lock().recoveries());
    assert!(numbers.get_lock().recoveries() > 0, "no process was killed with the lock");
}
