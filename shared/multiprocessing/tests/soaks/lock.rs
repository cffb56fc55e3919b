//! Locks whose holders are killed.

use multiprocessing::{LockError, Plan};

use crate::common::{LIMIT, Sums, apply, fact, kill_account_holders, linger, segment, soak};

/// Every holder finds the sums as the last one left them, or learns that it was killed. No addition
/// is lost.
#[apply(soak)]
fn the_next_holder_learns_of_every_killed_holder_and_no_addition_is_lost() {
    let segment = segment(&Sums::planned(Plan::new().lock("lock")));
    let (lock, sums) = (segment.lock("lock").unwrap(), Sums::new(&segment));
    let add = |account: usize, step: u64| {
        let taken = match step % 2 {
            0 => lock.lock(),
            _ => lock.lock_timeout(LIMIT).map(|guard| guard.expect("the lock before the timeout")),
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
    kill_account_holders(400, add, |account| sums.part(account));
    fact("recoveries", lock.recoveries());
    assert!(lock.recoveries() > 0, "no process was killed with the lock");
}
