//! raw_sync's mutex beside the lock of this crate, when the process that holds both is killed.
#![allow(unsafe_code)] // raw_sync makes its mutex in memory given as a pointer.

use std::ptr::null_mut;
use std::time::{Duration, Instant};

use ::raw_sync::Timeout;
use ::raw_sync::locks::{LockImpl, LockInit, Mutex};
use multiprocessing::{LockError, Plan};
use nix::libc::ETIMEDOUT;
use shared_memory::{Shmem, ShmemConf};

use crate::common::{
    apply, assert_less, child, join_all, kill_and_join, process_state, segment, sleep_for_ever,
    test, wait_until, wait_until_blocked,
};

/// Its timed lock works for whole seconds only: it adds nanoseconds without a carry.
const SECOND: Duration = Duration::from_secs(1);
const TRIES: u32 = 3;

/// Creates a mutex of raw_sync, and the memory that it is in, which must stay mapped.
fn mutex() -> (Box<dyn LockImpl>, Shmem) {
    let mut memory = ShmemConf::new().size(Mutex::size_of(None)).create().unwrap();
    // Children inherit the mapping. The entry is removed now, so nothing is left in /dev/shm later.
    std::fs::remove_file(format!("/dev/shm/{}", memory.get_os_id().trim_start_matches('/')))
        .unwrap();
    memory.set_owner(false);
    // SAFETY: the memory has the size that the mutex asks for, is page-aligned and outlives the
    // mutex, which has no data.
    let (mutex, used) = unsafe { Mutex::new(memory.as_ptr(), null_mut()) }.unwrap();
    assert!(used <= memory.len());
    (mutex, memory)
}

#[apply(test)]
fn a_killed_holder_leaves_raw_syncs_mutex_locked_for_ever_and_ours_to_the_next_waiter() {
    let (theirs, _memory) = mutex();
    let segment = segment(&Plan::new().lock("lock").raw_value::<u64>("flag"));
    let (ours, flag) = (segment.lock("lock").unwrap(), segment.raw_value::<u64>("flag").unwrap());

    // Both locks work between processes, and a living holder leaves both free.
    join_all([child(|| drop((theirs.lock().unwrap(), ours.lock().unwrap())))]);
    drop((
        theirs.try_lock(Timeout::Val(SECOND)).unwrap(),
        ours.lock_timeout(SECOND).unwrap().unwrap(),
    ));

    let holder = child(|| {
        let _both = (theirs.lock().unwrap(), ours.lock().unwrap());
        flag.store(1);
        sleep_for_ever();
    });
    wait_until("the child has both locks", || flag.load() == 1);
    let waiter = child(|| drop(theirs.lock().unwrap()));
    wait_until_blocked(waiter.pid());
    kill_and_join(holder);

    let begun = Instant::now();
    let outcome = ours.lock_timeout(SECOND);
    assert_less("our lock is inherited", begun.elapsed(), Duration::from_millis(500));
    let Err(LockError::OwnerDied(inherited)) = outcome else {
        panic!("expected the lock, got {outcome:?}")
    };
    drop(inherited.repaired());
    assert!(ours.try_lock().unwrap().is_some());

    for _ in 0..TRIES {
        let begun = Instant::now();
        let error =
            theirs.try_lock(Timeout::Val(SECOND)).err().expect("raw_sync's mutex was locked");
        assert_eq!(error.to_string(), format!("Failed to acquire mutex : {ETIMEDOUT}"));
        // Its clock is the wall clock, which may be set while it waits.
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(900), "raw_sync gave up after {waited:?}");
    }
    assert_eq!(process_state(waiter.pid()), Some('S'), "raw_sync's waiter goes on");
    kill_and_join(waiter);
}
