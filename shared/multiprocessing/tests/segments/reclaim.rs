//! What remains of a segment when its creators are killed, and who may take its name.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multiprocessing::{Plan, Process, Segment, SegmentError, SegmentName};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::common::{
    LIMIT, Program, apply, child, fact, is_gone, join_all, kill_and_join, name, parse_pid,
    process_state, program, segment, sleep_for_ever, test, unique_name, wait_until, write_entry,
};

/// Creates a segment and starts children that wait to be killed, two of which want its lock. Prints
/// the pids of the children, and `ready` at last.
#[apply(program)]
fn creator(arguments: &[&str]) {
    let children: usize = arguments[0].parse().unwrap();
    let segment = segment(&Plan::new().lock("lock").raw_value::<u64>("ready"));
    let (lock, ready) = (segment.lock("lock").unwrap(), segment.raw_value::<u64>("ready").unwrap());
    let children: Vec<_> = (0..children)
        .map(|number| {
            child(|| {
                ready.fetch_add(1);
                let _guard = (number < 2).then(|| lock.lock());
                sleep_for_ever();
            })
        })
        .collect();
    children.iter().for_each(|child| fact("child", child.pid()));
    wait_until("all children run", || ready.load() == children.len() as u64);
    fact("ready", 1);
    sleep_for_ever();
}

/// Starts a creator with children, and waits until all run.
pub fn family(children: usize) -> (Program, Vec<Pid>) {
    let mut program = Program::start(creator, &[&children.to_string()]);
    let pids = (0..children).map(|_| parse_pid(&program.line("child="))).collect();
    program.line("ready");
    (program, pids)
}

/// Takes the lock that a process has while it removes an entry. Closing the file gives it back.
pub fn lock_for_removal(entry: &File) {
    let whole = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(entry, FcntlArg::F_OFD_SETLK(&whole)).unwrap();
}

/// Stops children, so that they cannot react to the death of their parent.
pub fn freeze(children: &[Pid]) {
    for child in children {
        kill(*child, Signal::SIGSTOP).unwrap();
        wait_until("the child is stopped", || process_state(*child) == Some('T'));
    }
}

/// A process that reclaims takes the lock of a removal for a moment, to find out whether the
/// creator or a child of it lives.
#[apply(test)]
fn children_remove_the_entry_even_if_another_process_tries_to_reclaim_it_at_that_moment() {
    let (mut program, children) = family(3);
    let path = program.name.path();
    let entry = File::options().read(true).write(true).open(&path).unwrap();
    lock_for_removal(&entry);
    program.signal(Signal::SIGKILL);
    program.wait();
    std::thread::sleep(Duration::from_millis(20));
    drop(entry);
    wait_until("the children end", || children.iter().all(|child| is_gone(*child)));
    assert!(!path.exists());
}

/// True in a process that stops itself once it has found a segment in use.
static STOPS: AtomicBool = AtomicBool::new(false);

/// Takes the place of the function of the C library, for the library under test as well.
///
/// # Safety
/// None is needed: the call only takes integers.
#[unsafe(no_mangle)]
unsafe extern "C" fn flock(file: libc::c_int, operation: libc::c_int) -> libc::c_int {
    // SAFETY: flock(2) takes two integers and touches no memory.
    let outcome = unsafe { libc::syscall(libc::SYS_flock, file, operation) } as libc::c_int;
    let error = Errno::last();
    if outcome != 0 && STOPS.swap(false, Ordering::Relaxed) {
        raise(Signal::SIGSTOP).unwrap();
    }
    error.set();
    outcome
}

/// Reclaims a segment, and stops when it finds the segment in use.
#[apply(program)]
fn reclaims(arguments: &[&str]) {
    STOPS.store(true, Ordering::Relaxed);
    let name = SegmentName::new(arguments[0]).unwrap();
    fact("reclaimed", Segment::reclaim(&name).unwrap());
}

#[apply(test)]
fn a_process_that_was_stopped_while_it_reclaimed_removes_what_the_children_have_left() {
    let (mut program, children) = family(2);
    let path = program.name.path();
    let mut reclaimer = Program::start(reclaims, &[program.name.as_str()]);
    let is_stopped = || process_state(reclaimer.pid()) == Some('T');
    wait_until("it has the lock of the removal, and stops", is_stopped);
    program.signal(Signal::SIGKILL);
    program.wait();
    wait_until("the children end", || children.iter().all(|child| is_gone(*child)));
    assert!(path.exists(), "the children have not waited for the lock");
    reclaimer.signal(Signal::SIGCONT);
    reclaimer.succeed();
    assert_eq!(reclaimer.fact("reclaimed"), "true");
    assert!(!path.exists());
}

#[apply(test)]
fn children_of_a_killed_creator_end_within_a_second_and_remove_its_entry() {
    let (mut program, children) = family(5);
    program.signal(Signal::SIGKILL);
    let took = wait_until("the children end", || children.iter().all(|child| is_gone(*child)));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(!program.name.path().exists());
    program.wait();
    assert!(!Segment::reclaim(&program.name).unwrap());
}

#[apply(test)]
fn the_entry_left_when_all_processes_are_killed_is_reclaimed_and_its_name_reused() {
    let (mut program, children) = family(2);
    freeze(&children);
    program.signal(Signal::SIGKILL);
    program.wait();
    assert!(program.name.path().exists());

    let Err(SegmentError::InUse { creator, .. }) = Segment::reclaim(&program.name) else {
        panic!("reclaimed while children live")
    };
    assert_eq!(creator, program.pid().as_raw().cast_unsigned());
    let stale = Segment::open(&program.name).unwrap();
    assert!(!stale.creator_is_alive());
    drop(stale);

    children.iter().for_each(|child| kill(*child, Signal::SIGKILL).unwrap());
    wait_until("the children end", || children.iter().all(|child| is_gone(*child)));
    // The kernel releases their lock only after their end.
    wait_until("the entry can be reclaimed", || {
        matches!(Segment::reclaim(&program.name), Ok(true))
    });
    assert!(!program.name.path().exists());
    assert!(!Segment::reclaim(&program.name).unwrap());
    drop(Segment::create(&program.name, &Plan::new().lock("lock")).unwrap());
}

#[apply(test)]
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

#[apply(test)]
fn entries_that_were_never_finished_are_reclaimed() {
    let name = unique_name();
    let segment = Segment::create(&name, &Plan::new().lock("lock")).unwrap();
    let mut half_made = fs::read(name.path()).unwrap();
    half_made[12] = 0;
    drop(segment);
    for bytes in [Vec::new(), vec![0; 4096], half_made] {
        write_entry(&name, bytes);
        assert!(Segment::reclaim(&name).unwrap());
        assert!(!name.path().exists());
    }
}

#[apply(test)]
fn an_entry_that_an_orphan_is_removing_is_not_reclaimed() {
    let name = unique_name();
    let segment = Segment::create(&name, &Plan::new().lock("lock")).unwrap();
    let stale = fs::read(name.path()).unwrap();
    drop(segment);
    write_entry(&name, stale);
    let orphan = File::options().write(true).open(name.path()).unwrap();
    lock_for_removal(&orphan);
    let refused = Segment::reclaim(&name);
    assert!(matches!(refused, Err(SegmentError::InUse { .. })), "{refused:?}");
    assert!(name.path().exists());
    drop(orphan);
    assert!(Segment::reclaim(&name).unwrap());
}

#[apply(test)]
fn foreign_entries_are_refused_and_left_untouched() {
    let name = unique_name();
    let mut sparse = vec![0; 9000];
    sparse[8999] = 1;
    for bytes in [b"another text".to_vec(), sparse, vec![b'x'; 4096]] {
        write_entry(&name, &bytes);
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

#[apply(test)]
fn all_stale_entries_with_a_prefix_are_reclaimed_and_those_in_use_stay() {
    let (mut dead, children) = family(1);
    let (alive, _) = family(1);
    freeze(&children);
    dead.signal(Signal::SIGKILL);
    dead.wait();
    children.iter().for_each(|child| kill(*child, Signal::SIGKILL).unwrap());
    wait_until("the child ends", || children.iter().all(|child| is_gone(*child)));

    let mut reclaimed = Vec::new();
    // The kernel releases its lock only after its end.
    wait_until("reclaimed", || {
        reclaimed.extend(Segment::reclaim_all(dead.name.as_str()).unwrap());
        !reclaimed.is_empty()
    });
    assert_eq!(reclaimed, [dead.name.clone()]);
    assert_eq!(Segment::reclaim_all(alive.name.as_str()).unwrap(), []);
    assert!(alive.name.path().exists() && !dead.name.path().exists());
}

#[apply(test)]
fn reclaiming_reports_what_a_creator_left_behind() {
    let orderly = unique_name();
    drop(Segment::create(&orderly, &Plan::new().lock("lock")).unwrap());
    assert_eq!(Segment::reclaim_all(orderly.as_str()).unwrap(), []);
    let (mut killed, _) = family(0);
    killed.signal(Signal::SIGKILL);
    killed.wait();
    assert_eq!(Segment::reclaim_all(killed.name.as_str()).unwrap(), [killed.name.clone()]);
    assert_eq!(Segment::reclaim_all(killed.name.as_str()).unwrap(), []);
}

#[apply(test)]
fn a_child_that_drops_its_copy_or_panics_does_not_remove_the_entry() {
    let segment = segment(&Plan::new().value::<u64>("value"));
    let mut copy = Some(segment.clone());
    let dropping = Process::fork(|| {
        drop(copy.take());
        i32::from(!name().path().exists())
    });
    join_all([dropping.unwrap()]);
    let panicking = Process::fork(|| -> i32 {
        let _taken = copy.take();
        panic!("unwinds over the segment");
    });
    assert_eq!(panicking.unwrap().join().unwrap().to_string(), "exit code 101");
    assert!(name().path().exists());
    assert!(Segment::open(&name()).is_ok());
}

/// Each generation creates a segment and starts the next one. After the kill of the first one, each
/// dies of the death before it.
#[apply(test)]
fn the_entries_of_many_generations_are_removed_as_the_generations_die() {
    const GENERATIONS: usize = 24;
    let top = segment(&Plan::new().raw_value::<i32>("ready"));
    let ready = top.raw_value::<i32>("ready").unwrap();
    // The longest possible names.
    let name = |generation: usize| {
        SegmentName::new(&format!("{}.{generation:.<255}", name())[..255]).unwrap()
    };
    fn family(generation: usize, name: &dyn Fn(usize) -> SegmentName, ready: &dyn Fn()) -> ! {
        let _segment = Segment::create(&name(generation), &Plan::new().lock("lock")).unwrap();
        if generation == GENERATIONS {
            ready();
        } else {
            child(|| family(generation + 1, name, ready));
        }
        sleep_for_ever()
    }
    let first = child(|| family(1, &name, &|| ready.store(1)));
    wait_until("all generations run", || ready.load() == 1);
    kill_and_join(first);
    let names: Vec<_> = (1..=GENERATIONS).map(name).collect();
    assert_eq!(left_of(&names), [""; 0]);
}

/// Waits until these segments are removed, and reclaims those that are not. Returns their names.
fn left_of(names: &[SegmentName]) -> Vec<String> {
    let deadline = Instant::now() + LIMIT;
    while names.iter().any(|name| name.path().exists()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    names.iter().filter(|name| Segment::reclaim(name).unwrap()).map(ToString::to_string).collect()
}

/// An orphan removes the segments of its parent and its own, no matter how many segments came and
/// went before. It does not remove a segment that another process has created since under one of
/// these names.
#[apply(test)]
fn an_orphan_removes_its_own_and_its_parents_entries_and_no_others() {
    let top = segment(&Plan::new().raw_value::<i32>("orphan").raw_value::<u64>("step"));
    let (orphan, step) =
        (top.raw_value::<i32>("orphan").unwrap(), top.raw_value::<u64>("step").unwrap());
    let name = |which: &str| SegmentName::new(&format!("{}.{which}", name())).unwrap();
    let make = |which: &str| Segment::create(&name(which), &Plan::new().lock("lock")).unwrap();
    let parent = child(|| {
        (0..40).for_each(|_| drop(make("passing")));
        let (_kept, given_up) = (make("kept"), make("given-up"));
        let started = child(|| {
            let _own = make("own");
            step.store(1);
            sleep_for_ever();
        });
        orphan.store(started.pid().as_raw());
        wait_until("the child has its own segment", || step.load() == 1);
        drop(given_up);
        step.store(2);
        sleep_for_ever();
    });
    wait_until("a name is given up", || step.load() == 2);
    let _others = make("given-up");
    kill_and_join(parent);
    let orphan = Pid::from_raw(orphan.load());
    wait_until("the orphan ends", || matches!(process_state(orphan), None | Some('Z')));
    assert_eq!(left_of(&["kept", "own"].map(name)), [""; 0]);
    assert!(name("given-up").path().exists(), "the orphan removed what another process made");
}

/// A dead child and its own children do not remove the segment of the living parent.
#[apply(test)]
fn a_grandchild_does_not_remove_the_entry_of_its_living_grandparent() {
    let segment = segment(&Plan::new().raw_value::<i32>("grandchild"));
    let pid = segment.raw_value::<i32>("grandchild").unwrap();
    let middle = child(|| {
        let grandchild = child(|| sleep_for_ever());
        pid.store(grandchild.pid().as_raw());
        sleep_for_ever();
    });
    wait_until("the grandchild runs", || pid.load() != 0);
    let grandchild = Pid::from_raw(pid.load());
    kill_and_join(middle);
    wait_until("the grandchild ends", || matches!(process_state(grandchild), None | Some('Z')));
    assert!(name().path().exists(), "the grandchild removed its living grandparent's segment");
}
