//! Processes in other pid and time namespaces, as containers and sandboxes create them.
#![allow(unsafe_code)]

use std::process::{Command, Stdio};
use std::time::Duration;

use multiprocessing::{
    LockError, LockFailure, Plan, Segment, SegmentError, SegmentName, SemaphoreError, segments,
};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::common::{
    Program, apply, child, fact, is_gone, join_all, leave_out, name, program, segment,
    sleep_for_ever, test, wait_until,
};

/// Words of util-linux that run the rest of a command in a new namespace.
const NEW_PID: [&str; 4] = ["unshare", "--pid", "--fork", "--mount-proc"];
const NEW_TIME: [&str; 5] = ["unshare", "--time", "--boottime", "100000", "--fork"];

/// Leaves the test out if this user cannot create such a namespace, or the machine has none.
fn needs(wrapper: &[&str]) {
    let mut command = Command::new(wrapper[0]);
    let made = command.args(&wrapper[1..]).arg("true").stderr(Stdio::null()).status();
    if !made.is_ok_and(|status| status.success()) {
        leave_out("new namespaces need root, and unshare of util-linux");
    }
}

/// Prints what becomes of opening, listing and reclaiming a segment of another namespace.
#[apply(program)]
fn opens(arguments: &[&str]) {
    let name = SegmentName::new(arguments[0]).unwrap();
    fact("opened", Segment::open(&name).map(drop).unwrap_err());
    let listed = segments().unwrap().into_iter().find(|listing| listing.name == name).unwrap();
    assert!(
        matches!(listed.segment, Err(SegmentError::OtherNamespace { .. })) && !listed.is_stale()
    );
    fact("reclaimed", Segment::reclaim(&name).unwrap_err());
}

#[apply(program)]
fn creates(_: &[&str]) {
    let segment = segment(&Plan::new().rlock("rlock"));
    let rlock = segment.rlock("rlock").unwrap();
    let _guard = rlock.lock().unwrap();
    fact("created", name());
    sleep_for_ever();
}

#[apply(test)]
fn a_segment_of_another_pid_or_time_namespace_is_refused_with_the_namespace() {
    for (wrapper, namespace) in [(&NEW_PID[..], "pid"), (&NEW_TIME[..], "time")] {
        needs(wrapper);
        let segment = segment(&Plan::new().rlock("rlock"));
        assert!(Segment::open(segment.name()).is_ok());
        let mut program = Program::start_through(wrapper, opens, &[segment.name().as_str()]);
        assert!(program.join().success(), "{}", program.errors);
        let refused = format!("was created in another {namespace} namespace");
        assert!(program.fact("opened").contains(&refused), "{}", program.fact("opened"));
        assert!(program.fact("reclaimed").contains("is in use"), "{}", program.fact("reclaimed"));

        // And in the other direction.
        let mut program = Program::start_through(wrapper, creates, &[]);
        let name = SegmentName::new(&program.line("created=")).unwrap();
        let opened = Segment::open(&name);
        let expected = namespace;
        assert!(
            matches!(opened, Err(SegmentError::OtherNamespace { namespace, .. }) if namespace == expected),
            "{opened:?}"
        );
        assert!(matches!(Segment::reclaim(&name), Err(SegmentError::InUse { .. })));
        drop(program);
    }
}

/// A container that is started again has other namespaces than before.
#[apply(program)]
fn leaves_a_segment(_: &[&str]) {
    fact("created", name());
    std::mem::forget(segment(&Plan::new().lock("lock")));
}

#[apply(test)]
fn a_dead_segment_of_another_namespace_is_reclaimed() {
    needs(&NEW_PID);
    let mut program = Program::start_through(&NEW_PID, leaves_a_segment, &[]);
    assert!(program.wait().success());
    let left = SegmentName::new(&program.line("created=")).unwrap();
    assert!(matches!(Segment::open(&left), Err(SegmentError::OtherNamespace { .. })));
    assert_eq!(Segment::reclaim(&left).ok(), Some(true));

    let mut program = Program::start_through(&NEW_PID, leaves_a_segment, &[]);
    assert!(program.wait().success());
    let left = SegmentName::new(&program.line("created=")).unwrap();
    assert_eq!(Segment::reclaim_all(left.as_str()).unwrap(), [left]);
}

/// Puts the children of this process into a new pid namespace.
fn unshare_pids() {
    // SAFETY: unshare(2) touches no memory. The calling process stays where it is.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWPID) };
    if Errno::result(unshared).is_err() {
        leave_out("a new pid namespace needs root");
    }
}

fn is_refused<T, G>(outcome: Result<T, LockError<G>>) -> bool {
    matches!(outcome, Err(LockError::Failed(LockFailure::OtherNamespace)))
}

/// The first process of a pid namespace has the number 1, as the first one of any other has.
#[apply(test)]
fn a_child_in_another_pid_namespace_takes_no_lock_and_no_unit() {
    let plan = Plan::new().lock("lock").rlock("rlock").value::<u64>("value").semaphore("unit", 1);
    let segment = segment(&plan.event("event").condition("changed").raw_value::<u64>("raw"));
    let (lock, rlock) = (segment.lock("lock").unwrap(), segment.rlock("rlock").unwrap());
    let (value, unit) =
        (segment.value::<u64>("value").unwrap(), segment.semaphore("unit").unwrap());
    let changed = segment.condition("changed", &lock).unwrap();
    let event = segment.event("event").unwrap();
    value.set(7).unwrap();
    let guard = lock.lock().unwrap();
    unshare_pids();
    join_all([child(|| {
        assert!(is_refused(lock.lock()) && is_refused(lock.try_lock()));
        assert!(is_refused(lock.lock_timeout(Duration::ZERO)));
        assert!(is_refused(rlock.lock()) && is_refused(rlock.try_lock()));
        assert!(is_refused(value.lock()));
        assert_eq!(value.set(8), Err(LockFailure::OtherNamespace));
        let refused = SemaphoreError::Failed(LockFailure::OtherNamespace);
        assert_eq!(unit.try_acquire().err(), Some(refused));
        // What names no process works.
        assert_eq!(value.get(), 7);
        segment.raw_value::<u64>("raw").unwrap().store(9);
        event.set();
        // Its own children are no better.
        join_all([child(|| assert!(is_refused(lock.lock())))]);
    })]);
    assert!(event.is_set() && segment.has_entry());
    // The parent itself is where it was.
    let (guard, notified) = changed.wait_timeout(guard, Duration::ZERO).unwrap();
    drop((guard, unit.acquire().unwrap()));
    assert!(!notified);
}

/// Starts a child in another pid namespace, and one of that child, and waits to be killed.
#[apply(program)]
fn starts_children_elsewhere(_: &[&str]) {
    let segment = segment(&Plan::new().raw_array::<u8>("started", 2));
    let started = segment.raw_array::<u8>("started").unwrap();
    unshare_pids();
    let first = child(|| {
        started.store(0, 1);
        let _second = child(|| {
            started.store(1, 1);
            sleep_for_ever();
        });
        sleep_for_ever();
    });
    wait_until("both have started", || started.iter().all(|one| one == 1));
    fact("started", first.pid());
    sleep_for_ever();
}

#[apply(test)]
fn a_child_in_another_pid_namespace_ends_with_its_parent_and_not_before() {
    needs(&NEW_PID);
    let mut program = Program::start(starts_children_elsewhere, &[]);
    let first = Pid::from_raw(program.line("started=").parse().unwrap());
    // The signal of a parent's end, which this process has not sent for that reason.
    nix::sys::signal::kill(first, Signal::SIGPWR).unwrap();
    assert!(program.entries().len() == 1 && !is_gone(first));
    program.signal(Signal::SIGKILL);
    program.wait();
    wait_until("the child is gone", || is_gone(first));
    wait_until("the entry is gone", || program.entries().is_empty());
}
