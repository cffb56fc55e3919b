//! Values whose writers are killed.

use multiprocessing::{LockError, Plan};

use crate::common::{ACCOUNTS, apply, fact, kill_account_holders, linger, segment, soak};

/// A value so large that a kill probably finds its writer half-way.
type Big = [u64; 64];

/// Checks the words of a value and returns its total. The first word is the total, then follow the
/// parts per account, and all other words repeat the total.
fn check(words: Big) -> u64 {
    let (total, parts) = (words[0], words[1..=ACCOUNTS].iter().sum::<u64>());
    assert!(
        parts == total && words[ACCOUNTS + 1..].iter().all(|word| *word == total),
        "torn: {words:?}"
    );
    total
}

/// The value is whole at every moment and never goes back, and no committed change is lost.
#[apply(soak)]
fn a_large_value_is_never_torn_and_never_goes_back() {
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
    kill_account_holders(400, change, |account| value.get()[1 + account]);
    fact("recoveries", value.get_lock().recoveries());
    assert!(value.get_lock().recoveries() > 0, "no process was killed with the lock");
}
