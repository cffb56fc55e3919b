//! Forks that the library did not make: those of a daemon, of a C library, or of another crate.
#![allow(unsafe_code)]

use std::time::Duration;

use multiprocessing::{Plan, Segment};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::common::{apply, child, join_all, segment, test};

/// Forks by the C library, which knows the thread ids of the child.
fn by_the_c_library() -> Option<Pid> {
    // SAFETY: a test runs in a process with one thread, so its child may run any code.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => None,
        ForkResult::Parent { child } => Some(child),
    }
}

/// Forks without the C library, which then takes the child's thread for that of its parent.
fn by_the_kernel() -> Option<Pid> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: without flags clone(2) is a fork; see also above.
    let child = unsafe {
        libc::syscall(libc::SYS_clone, libc::SIGCHLD, nothing, nothing, nothing, nothing)
    };
    assert!(child >= 0);
    (child > 0).then(|| Pid::from_raw(child as i32))
}

const FORKS: [fn() -> Option<Pid>; 2] = [by_the_c_library, by_the_kernel];

/// Runs `body` in a child that `fork` makes, and waits for its end.
fn in_child(fork: fn() -> Option<Pid>, body: impl FnOnce()) {
    let Some(child) = fork() else {
        body();
        // SAFETY: ends this process, without the exit handlers of its parent.
        unsafe { libc::_exit(0) }
    };
    assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
}

/// Asserts that the lock of this name is held, as another process sees it.
fn assert_held(segment: &Segment, name: &str) {
    let held = || {
        let free = match name {
            "rlock" => segment.rlock(name).unwrap().try_lock().unwrap().is_some(),
            _ => segment.lock(name).unwrap().try_lock().unwrap().is_some(),
        };
        assert!(!free, "a child has freed the {name} of its parent");
    };
    join_all([child(held)]);
}

#[apply(test)]
fn an_inherited_guard_of_a_value_commits_nothing_and_frees_nothing() {
    let segment = segment(&Plan::new().value::<[u64; 2]>("value"));
    let value = segment.value::<[u64; 2]>("value").unwrap();
    for (round, fork) in (1..).zip(FORKS) {
        let mut guard = Some(value.lock().unwrap());
        guard.as_mut().unwrap()[0] = round;
        in_child(fork, || drop(guard.take()));
        assert_eq!(value.get(), [round - 1; 2], "the child has committed");
        let freed = || assert!(value.lock_timeout(Duration::ZERO).unwrap().is_none());
        join_all([child(freed)]);
        drop(guard);
        assert_eq!(value.get(), [round, round - 1]);
        value.set([round; 2]).unwrap();
    }
}

#[apply(test)]
fn inherited_guards_of_locks_free_nothing() {
    let segment = segment(&Plan::new().lock("lock").rlock("rlock").condition("changed"));
    let (lock, rlock) = (segment.lock("lock").unwrap(), segment.rlock("rlock").unwrap());
    let changed = segment.condition("changed", &lock).unwrap();
    for fork in FORKS {
        let (guard, outer, inner) =
            (lock.lock().unwrap(), rlock.lock().unwrap(), rlock.lock().unwrap());
        let mut guards = Some((guard, outer, inner));
        in_child(fork, || {
            let (guard, outer, inner) = guards.take().unwrap();
            assert!(changed.notify_all(&guard).is_err());
            drop((guard, outer, inner));
        });
        assert_eq!(rlock.depth(), 2);
        assert_held(&segment, "lock");
        assert_held(&segment, "rlock");
    }
}

#[apply(test)]
fn inherited_permits_and_tasks_give_nothing_back() {
    let plan = Plan::new().semaphore("units", 1).joinable_queue::<u64>("tasks", 1);
    let segment = segment(&plan);
    let units = segment.semaphore("units").unwrap();
    let tasks = segment.joinable_queue::<u64>("tasks").unwrap();
    tasks.put(1).unwrap();
    let mut held = Some((units.acquire().unwrap(), tasks.get().unwrap()));
    in_child(by_the_c_library, || drop(held.take()));
    assert_eq!((units.get_value(), tasks.unfinished()), (0, 1));
    drop(held);
    assert_eq!((units.get_value(), tasks.unfinished(), tasks.lost()), (1, 0, 0));
}

#[apply(test)]
fn a_grandchild_knows_the_guards_of_each_of_its_ancestors() {
    let segment = segment(&Plan::new().lock("first").lock("second"));
    let (first, second) = (segment.lock("first").unwrap(), segment.lock("second").unwrap());
    let mut outer = Some(first.lock().unwrap());
    in_child(by_the_c_library, || {
        let mut inner = Some(second.lock().unwrap());
        in_child(by_the_c_library, || drop((outer.take(), inner.take())));
        assert_held(&segment, "first");
        assert_held(&segment, "second");
    });
}
