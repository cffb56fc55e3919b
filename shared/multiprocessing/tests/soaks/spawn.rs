//! Parents with threads that are killed while they spawn children.

use std::time::{Duration, Instant};

use multiprocessing::{
    Connection, PipeError, Plan, Process, RawArray, Segment, SegmentError, SegmentName, pipe,
};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::common::{
    LIMIT, Random, apply, child, children_of, descriptors, fact, kill_and_count, kill_and_join,
    kills, name, reap, segment, sleep_for_ever, soak, wait_until,
};

/// Number of parents that run side by side.
const PARENTS: usize = 3;
/// Longest life of a parent that has begun to spawn: enough for several children.
const LIFE: Duration = Duration::from_millis(30);

fn segment_name(parent: usize) -> SegmentName {
    SegmentName::new(&format!("{}.{parent}", name())).unwrap()
}

fn holds(name: SegmentName) -> Result<(), String> {
    let _segment = Segment::open(&name).map_err(|error| error.to_string())?;
    sleep_for_ever();
}

fn echo((end, number): (Connection, u64)) -> Result<u64, PipeError> {
    end.send(&number)?;
    Ok(number)
}

/// Starts a parent that creates a segment and spawns children for ever: some hold it, some return a
/// value, and some are killed. Orphans of the previous parent may still run.
fn parent(slot: usize, begun: &RawArray<i32>) -> Process {
    child(|| {
        let name = segment_name(slot);
        while let Err(error) = Segment::reclaim(&name) {
            assert!(matches!(error, SegmentError::InUse { .. }), "{error}");
            std::thread::sleep(Duration::from_micros(100));
        }
        let _segment = Segment::create(&name, &Plan::new().lock("lock")).unwrap();
        std::thread::spawn(std::thread::park);
        begun.store(slot, std::process::id().cast_signed());
        let _holder = Process::spawn(holds, name.clone()).unwrap();
        for number in 0.. {
            let (here, there) = pipe().unwrap();
            let mut echoes = Process::spawn(echo, (there, number)).unwrap();
            assert_eq!(here.recv::<u64>().unwrap(), number);
            assert_eq!(echoes.join(), Ok(number));
            let mut killed = Process::spawn(holds, name.clone()).unwrap();
            killed.kill().unwrap();
            assert!(killed.join().is_err());
        }
    })
}

/// Reaps the orphans, which the kernel gives to this process, until only the living children
/// remain. Returns how many. Each was killed, ended because of its parent, or found its pipe
/// closed.
fn reap_orphans(living: &[Pid]) -> u64 {
    let mut orphans = 0;
    wait_until("the children of a killed parent end", || {
        let others: Vec<_> =
            children_of(Pid::this()).into_iter().filter(|pid| !living.contains(pid)).collect();
        for &orphan in &others {
            match waitpid(orphan, Some(WaitPidFlag::WNOHANG)).unwrap() {
                WaitStatus::StillAlive => continue,
                WaitStatus::Exited(_, 0 | 1 | 102)
                | WaitStatus::Signaled(_, Signal::SIGKILL, _) => {}
                other => panic!("an orphan ended with {other:?}"),
            }
            orphans += 1;
        }
        others.is_empty()
    });
    orphans
}

/// Kills parents at any moment of a spawn. All their children end, and their segments are gone or
/// can be reclaimed.
#[apply(soak)]
fn nothing_is_left_of_a_parent_that_is_killed_while_it_spawns() {
    prctl::set_child_subreaper(true).unwrap();
    let segment = segment(&Plan::new().raw_array::<i32>("begun", PARENTS));
    let begun = segment.raw_array("begun").unwrap();
    let (open, mut random) = (descriptors(), Random::new());
    let mut parents: Vec<_> = (0..PARENTS).map(|slot| parent(slot, &begun)).collect();
    let (kills, mut orphans) = (kills(60), 0);
    for killed in 0..kills as usize {
        let slot = killed % PARENTS;
        let started = Instant::now();
        while begun.load(slot) != parents[slot].pid().as_raw() {
            assert!(started.elapsed() < LIMIT, "parent {slot} cannot begin");
            std::thread::sleep(Duration::from_micros(100));
        }
        random.pause(LIFE);
        // Not only at work: while it spawns, all signals are blocked in it.
        kill_and_count(&parents[slot]);
        reap(&mut parents[slot]);
        parents[slot] = parent(slot, &begun);
        orphans += reap_orphans(&parents.iter().map(Process::pid).collect::<Vec<_>>());
    }
    parents.into_iter().for_each(kill_and_join);
    orphans += reap_orphans(&[]);
    assert_eq!(descriptors(), open, "descriptors are left open");
    for slot in 0..PARENTS {
        Segment::reclaim(&segment_name(slot)).unwrap();
    }
    assert!(orphans > u64::from(kills) / 2, "{orphans} children of {kills} parents");
    fact("recoveries", orphans);
}
