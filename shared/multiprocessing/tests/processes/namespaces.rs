//! Processes in other pid and time namespaces, as containers and sandboxes create them.

use std::process::{Command, Stdio};

use multiprocessing::{Plan, Segment, SegmentError, SegmentName, segments};

use crate::common::{
    Program, apply, fact, leave_out, name, program, segment, sleep_for_ever, test,
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
