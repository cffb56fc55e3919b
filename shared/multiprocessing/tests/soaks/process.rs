//! Parents that are killed while they create a segment and start children.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use multiprocessing::{Plan, Process, RawArray, Segment, SegmentError, SegmentName};
use nix::sys::prctl;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getsid};

use crate::common::{
    LIMIT, Random, apply, child, children_of, descriptors, fact, join_all, kill_and_join,
    kill_at_work, kills, name, reap, segment, sleep_for_ever, soak, wait_until,
};

/// Number of families that run side by side. A new parent waits for a second when a segment was
/// left half-made.
const FAMILIES: usize = 6;
/// Longest life of a parent that has begun to make its segment.
const LIFE: Duration = Duration::from_millis(4);

/// What families announce.
struct Families {
    /// The parent of each family that has begun to create its segment.
    begun: RawArray<i32>,
    /// For each family, the inode of a segment whose creator has a running child that has the
    /// segment too.
    inherited: RawArray<u64>,
}

fn segment_name(family: usize) -> SegmentName {
    SegmentName::new(&format!("{}.{family}", name())).unwrap()
}

/// Returns the inode of the segment of a family.
fn inode(family: usize) -> Option<u64> {
    std::fs::metadata(segment_name(family).path()).ok().map(|metadata| metadata.ino())
}

impl Families {
    /// Starts a parent with a segment and children: one with a child of its own, two that hold or
    /// want a lock, and others that end at once. Orphans of the previous parent may still run.
    fn parent(&self, family: usize) -> Process {
        child(|| {
            let name = segment_name(family);
            while let Err(error) = Segment::reclaim(&name) {
                assert!(matches!(error, SegmentError::InUse { .. }), "{error}");
                std::thread::sleep(Duration::from_micros(100));
            }
            self.begun.store(family, std::process::id().cast_signed());
            let segment = Segment::create(&name, &Plan::new().lock("lock")).unwrap();
            let own = inode(family).unwrap();
            let lock = segment.lock("lock").unwrap();
            let _grandparent = child(|| {
                self.inherited.store(family, own);
                let _grandchild = child(|| sleep_for_ever());
                sleep_for_ever()
            });
            let _holders = [0, 1].map(|_| {
                child(|| {
                    let _guard = lock.lock();
                    sleep_for_ever()
                })
            });
            loop {
                join_all([child(|| ())]);
                kill_and_join(child(|| sleep_for_ever()));
                assert_eq!(
                    inode(family),
                    Some(own),
                    "another process removed the segment of a living one"
                );
                std::thread::sleep(Duration::from_micros(300));
            }
        })
    }
}

/// Reaps the orphans, which the kernel gives to this process, until only the living children
/// remain. Returns how many.
fn reap_orphans(living: &[Pid]) -> u64 {
    let mut orphans = 0;
    wait_until("the children of a killed parent end", || {
        let others: Vec<_> =
            children_of(Pid::this()).into_iter().filter(|pid| !living.contains(pid)).collect();
        for &orphan in &others {
            let status = waitpid(orphan, Some(WaitPidFlag::WNOHANG)).unwrap();
            orphans += u64::from(status.pid().is_some());
        }
        others.is_empty()
    });
    orphans
}

/// Kills parents. All their descendants end, and their segments are gone or can be reclaimed. The
/// next parent uses the same name at once and keeps its own segment.
#[apply(soak)]
fn nothing_is_left_of_a_killed_parent() {
    // Orphans become children of this process, so that it finds all of them.
    prctl::set_child_subreaper(true).unwrap();
    let plan =
        Plan::new().raw_array::<i32>("begun", FAMILIES).raw_array::<u64>("inherited", FAMILIES);
    let segment = segment(&plan);
    let (begun, inherited) =
        (segment.raw_array("begun").unwrap(), segment.raw_array("inherited").unwrap());
    let families = Families { begun, inherited };
    let open = descriptors();
    let mut random = Random::new();
    let mut parents: Vec<_> = (0..FAMILIES).map(|family| families.parent(family)).collect();
    let mut started = [Instant::now(); FAMILIES];
    let mut dies = [None; FAMILIES];
    let (kills, mut killed, mut orphans) = (kills(300), 0, 0);
    while killed < kills {
        std::thread::sleep(Duration::from_micros(100));
        for family in 0..FAMILIES {
            if families.begun.load(family) != parents[family].pid().as_raw() {
                assert!(started[family].elapsed() < LIMIT, "family {family} cannot begin");
                continue;
            }
            let mut life = || Duration::from_nanos(random.below(LIFE.as_nanos() as u64));
            if Instant::now() < *dies[family].get_or_insert_with(|| Instant::now() + life()) {
                continue;
            }
            kill_at_work(&mut parents[family]);
            reap(&mut parents[family]);
            let inherited = families.inherited.load(family);
            parents[family] = families.parent(family);
            (started[family], dies[family]) = (Instant::now(), None);
            orphans += reap_orphans(&parents.iter().map(Process::pid).collect::<Vec<_>>());
            assert_ne!(inode(family), Some(inherited), "the children did not remove the segment");
            killed += 1;
        }
    }
    parents.into_iter().for_each(kill_and_join);
    orphans += reap_orphans(&[]);
    assert_eq!(descriptors(), open, "descriptors are left open");
    assert_eq!(session(), [Pid::this()], "a process is left");
    let reclaim = |family| child(move || _ = Segment::reclaim(&segment_name(family)).unwrap());
    join_all((0..FAMILIES).map(reclaim).collect::<Vec<_>>());
    assert!(orphans > u64::from(killed), "{orphans} children of {killed} parents");
    fact("recoveries", orphans);
}

/// Returns the processes of this session.
fn session() -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids =
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
    let own = getsid(None);
    pids.filter(|&pid| getsid(Some(pid)) == own).collect()
}
