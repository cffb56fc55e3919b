//! DOC

use multiprocessing::{LockError, Plan};
use nix::unistd::getpid;

use crate::common::{Sums, apply, fact, kill_account_holders, linger, segment, soak};

/// As with a lock, by holders who take it again in between.
#[apply(soak)]
fn nothing_is_torn_without_being_told_whoever_is_killed() {
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
    assert!(lock.recoveries() > 0, "nobody was killed with the lock");
}
