//! What is left of a segment when its makers are killed, and who may take its name.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{self, File};
use std::time::{Duration, Instant};

use common::{Probe, is_gone, parse_pid, run, state, unique_name, wait_until};
use multiprocessing::{Plan, Segment, SegmentError};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

/// A creator with children, all running.
fn family(children: usize) -> (Probe, Vec<Pid>) {
    let mut probe = Probe::start(&["segment-family", &children.to_string()]);
    let pids = (0..children).map(|_| parse_pid(&probe.line("child="))).collect();
    probe.line("ready");
    (probe, pids)
}

/// Stops children so that they cannot do anything about their parent's death.
fn freeze(children: &[Pid]) {
    for child in children {
        kill(*child, Signal::SIGSTOP).unwrap();
        wait_until("the child is stopped", || state(*child) == Some('T'));
    }
}

#[test]
fn children_of_a_killed_creator_end_within_a_second_and_remove_its_entry() {
    let (mut probe, children) = family(5);
    probe.signal(Signal::SIGKILL);
    let took = wait_until("the children end", || children.iter().all(|child| is_gone(*child)));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(!probe.name.path().exists());
    probe.wait();
    assert!(!Segment::reclaim(&probe.name).unwrap());
}

#[test]
fn what_a_kill_of_everybody_leaves_is_reclaimed_and_the_name_used_again() {
    let (mut probe, children) = family(2);
    freeze(&children);
    probe.signal(Signal::SIGKILL);
    probe.wait();
    assert!(probe.name.path().exists());

    let Err(SegmentError::InUse { creator, .. }) = Segment::reclaim(&probe.name) else {
        panic!("reclaimed while children live")
    };
    assert_eq!(creator, probe.pid().as_raw().cast_unsigned());
    let stale = Segment::open(&probe.name).unwrap();
    assert!(!stale.creator_is_alive());
    drop(stale);

    children.iter().for_each(|child| kill(*child, Signal::SIGKILL).unwrap());
    wait_until("the children end", || children.iter().all(|child| is_gone(*child)));
    // Their end and the end of their lock are not the same moment.
    wait_until("the entry can be reclaimed", || matches!(Segment::reclaim(&probe.name), Ok(true)));
    assert!(!probe.name.path().exists());
    assert!(!Segment::reclaim(&probe.name).unwrap());
    drop(Segment::create(&probe.name, &Plan::new().lock("lock")).unwrap());
}

#[test]
fn a_segment_whose_creator_lives_is_not_reclaimed() {
    let name = unique_name();
    let segment = Segment::create(&name, &Plan::new().lock("lock")).unwrap();
    let refused = Segment::reclaim(&name);
    assert!(
        matches!(refused, Err(SegmentError::InUse { creator, .. }) if creator == std::process::id())
    );
    assert!(refused.unwrap_err().to_string().contains(&std::process::id().to_string()));
    assert!(segment.lock("lock").unwrap().lock().is_ok());
}

#[test]
fn entries_that_were_never_finished_are_reclaimed() {
    let name = unique_name();
    let segment = Segment::create(&name, &Plan::new().lock("lock")).unwrap();
    let mut half_made = fs::read(name.path()).unwrap();
    half_made[12] = 0;
    drop(segment);
    for bytes in [Vec::new(), vec![0; 4096], half_made] {
        fs::write(name.path(), bytes).unwrap();
        assert!(Segment::reclaim(&name).unwrap());
        assert!(!name.path().exists());
    }
}

#[test]
fn an_entry_that_an_orphan_is_removing_is_left_to_it() {
    let name = unique_name();
    let segment = Segment::create(&name, &Plan::new().lock("lock")).unwrap();
    let stale = fs::read(name.path()).unwrap();
    drop(segment);
    fs::write(name.path(), stale).unwrap();
    let orphan = File::options().write(true).open(name.path()).unwrap();
    let whole = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&orphan, FcntlArg::F_OFD_SETLK(&whole)).unwrap();
    let refused = Segment::reclaim(&name);
    assert!(matches!(refused, Err(SegmentError::InUse { .. })), "{refused:?}");
    assert!(name.path().exists());
    drop(orphan);
    assert!(Segment::reclaim(&name).unwrap());
}

#[test]
fn entries_of_others_are_refused_and_untouched() {
    let name = unique_name();
    let mut sparse = vec![0; 9000];
    sparse[8999] = 1;
    for bytes in [b"somebody's text".to_vec(), sparse, vec![b'x'; 4096]] {
        fs::write(name.path(), &bytes).unwrap();
        let refused = Segment::reclaim(&name);
        assert!(matches!(refused, Err(SegmentError::Foreign { .. })), "{refused:?}");
        assert_eq!(fs::read(name.path()).unwrap(), bytes);
        fs::remove_file(name.path()).unwrap();
    }
    mkfifo(&name.path(), Mode::S_IRWXU).unwrap();
    let begun = Instant::now();
    assert!(Segment::reclaim(&name).is_err() && Segment::open(&name).is_err());
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(name.path().exists());
    fs::remove_file(name.path()).unwrap();
}

#[test]
fn a_child_that_drops_its_copy_or_panics_does_not_remove_the_entry() {
    run("segment-drop-in-child");
}

#[test]
fn a_grandchild_does_not_remove_the_entry_of_its_living_grandparent() {
    run("segment-grandchild");
}

#[test]
fn entries_of_many_generations_are_removed_as_one_after_the_other_dies() {
    run("segment-generations");
}

#[test]
fn an_orphan_removes_its_parents_entries_and_its_own_and_nobody_elses() {
    run("segment-orphan");
}

#[test]
fn dropping_handles_permits_and_segments_waits_for_nobody_wherever_it_happens() {
    run("segment-drop-anywhere");
}

#[test]
fn processes_that_contend_for_a_name_and_are_killed_never_share_it() {
    run("segment-soak");
}

#[test]
fn everything_stale_with_a_prefix_is_reclaimed_and_what_is_in_use_stays() {
    let (mut dead, children) = family(1);
    let (alive, _) = family(1);
    freeze(&children);
    dead.signal(Signal::SIGKILL);
    dead.wait();
    children.iter().for_each(|child| kill(*child, Signal::SIGKILL).unwrap());
    wait_until("the child ends", || children.iter().all(|child| is_gone(*child)));

    let mut reclaimed = Vec::new();
    // Its end and the end of its lock are not the same moment.
    wait_until("reclaimed", || {
        reclaimed.extend(Segment::reclaim_all(dead.name.as_str()).unwrap());
        !reclaimed.is_empty()
    });
    assert_eq!(reclaimed, [dead.name.clone()]);
    assert_eq!(Segment::reclaim_all(alive.name.as_str()).unwrap(), []);
    assert!(alive.name.path().exists() && !dead.name.path().exists());
}

#[test]
fn reclaiming_says_whether_a_maker_left_something_behind() {
    let orderly = unique_name();
    drop(Segment::create(&orderly, &Plan::new().lock("lock")).unwrap());
    assert_eq!(Segment::reclaim_all(orderly.as_str()).unwrap(), []);
    let (mut killed, _) = family(0);
    killed.signal(Signal::SIGKILL);
    killed.wait();
    assert_eq!(Segment::reclaim_all(killed.name.as_str()).unwrap(), [killed.name.clone()]);
    assert_eq!(Segment::reclaim_all(killed.name.as_str()).unwrap(), []);
}
