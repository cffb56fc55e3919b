//! Re-entrant locks whose holders are killed.

use multiprocessing::{LockError, Plan};
use nix::unistd::getpid;

use crate::common::{Sums, apply, fact, kill_account_holders, linger, segment, soak};

/// As the soak of the lock, with holders that lock it again in between.
#[apply(soak)]
fn every_torn_change_is_reported_to_the_next_holder() {
    let segment = segment(&Sums::planned(Plan::new().rlock("lock")));
    let (lock, sums) = (segment.rlock("lock").unwrap(), Sums::new(&segment));
    let take = || match lock.lock() {
        Err(LockError::OwnerDied(inherited)) => {
            sums.repair();
            inherited.repaired()
        }
        other => other.unwrap(),
    };
    let add = |account: usize, step: u64| {
        let outer = take();
        sums.check();
        sums.add(account, || {
            let _inner = take();
            linger(step);
            assert_eq!(lock.depth(), 2);
        });
        assert_eq!((lock.holder(), lock.depth()), (Some(getpid()), 1));
        drop(outer);
    };
    kill_account_holders(400, add, |account| sums.part(account));
    drop(take());
    assert_eq!((lock.holder(), lock.depth()), (None, 0));
    fact("recoveries", lock.recoveries());
    assert!(lock.recoveries() > 0, "no process was killed with the lock");
}
