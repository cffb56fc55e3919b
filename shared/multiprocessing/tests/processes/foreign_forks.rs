//! Forks that the library did not make: those of a daemon, of a C library, or of another crate.
#![allow(unsafe_code)]

use std::fs;
use std::time::Duration;

use multiprocessing::{Plan, Process, Segment, SegmentName};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use crate::common::{
    apply, child, is_gone, join_all, segment, sleep_for_ever, test, unique_name, wait_until,
};

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

/// Ends this process as a parent that makes a daemon of its child does.
fn end() -> ! {
    // SAFETY: no exit handler of this process is needed.
    unsafe { libc::_exit(0) }
}

/// Creates a segment, ends, and lets a child go on with the segment, as daemon(3) does.
fn daemonize(name: &SegmentName, daemon: impl FnOnce(Segment)) {
    in_child(by_the_c_library, || {
        let mut segment =
            Some(Segment::create(name, &Plan::new().raw_value::<u32>("daemon")).unwrap());
        let creator = getpid();
        if by_the_c_library().is_none() {
            wait_until("the creator has ended", || getppid() != creator);
            daemon(segment.take().unwrap());
        }
        end();
    });
}

#[apply(test)]
fn a_daemon_removes_the_segment_that_it_inherited_from_its_creator() {
    let name = unique_name();
    daemonize(&name, |segment| {
        let pid = segment.raw_value::<u32>("daemon").unwrap();
        pid.store(std::process::id());
        wait_until("another process uses it", || pid.load() == 0);
    });
    let other = wait_for(|| Segment::open(&name).ok());
    let pid = other.raw_value::<u32>("daemon").unwrap();
    let daemon = wait_for(|| Some(pid.load()).filter(|pid| *pid != 0));
    pid.store(0);
    wait_until("the daemon has ended", || is_gone(Pid::from_raw(daemon.cast_signed())));
    assert!(other.has_entry(), "this process uses it");
    assert_eq!(Segment::reclaim(&name).ok(), Some(true));

    daemonize(&name, |segment| {
        // A child of its own does not keep the entry, as with any creator.
        let mut child = Process::fork(|| -> i32 { sleep_for_ever() }).unwrap();
        drop(segment);
        let gone = !name.path().exists();
        child.kill().unwrap();
        child.join().unwrap();
        assert!(gone);
        fs::write(name.path(), "removed").unwrap();
    });
    wait_until("the daemon has removed its entry", || {
        fs::read(name.path()).is_ok_and(|text| text == b"removed")
    });
    fs::remove_file(name.path()).unwrap();
}

/// Waits until there is a result.
fn wait_for<R>(mut result: impl FnMut() -> Option<R>) -> R {
    let mut found = None;
    wait_until("there is a result", || {
        found = result();
        found.is_some()
    });
    found.unwrap()
}

#[apply(test)]
fn the_segment_of_a_killed_daemon_is_removed_by_its_children() {
    let name = unique_name();
    daemonize(&name, |segment| {
        let started = Process::fork(|| -> i32 { sleep_for_ever() });
        assert!(started.is_ok() && segment.has_entry());
        nix::sys::signal::kill(getpid(), Signal::SIGKILL).unwrap();
    });
    wait_until("a child has removed the entry", || !name.path().exists());
}
