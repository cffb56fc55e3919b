//! DOC

use multiprocessing::{LockError, Plan};

use crate::common::{LIMIT, Sums, apply, fact, kill_account_holders, linger, segment, soak};

/// Whoever gets the lock finds everything as its last holder left it, or is told that it was killed; and no addition is lost.
#[apply(soak)]
fn whoever_is_killed_the_next_holder_is_told_and_no_addition_is_lost() {
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
    kill_account_holders(400, add, |account| sums.part(account));
    fact("recoveries", lock.recoveries());
    assert!(lock.recoveries() > 0, "nobody was killed with the lock");
}
