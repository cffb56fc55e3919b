//! How processes recognise each other: a live one is never taken for a dead one, nor the reverse.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;
use std::{iter, thread};

use multiprocessing::{LockError, Plan, Process, QueueError, Segment, SegmentName, segments};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::Pid;

use crate::common::{
    LIMIT, apply, child, join_all, kill_and_join, name, process_state, program, segment,
    sleep_for_ever, test, unique_name, wait_until, words_of_program,
};

/// Longer than the others take to notice a death.
const NOTICED: Duration = Duration::from_millis(500);

/// Ends the calling thread alone, even if it is the main thread.
fn end_this_thread() -> ! {
    // SAFETY: the thread holds no lock and owns nothing that another thread waits for.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("the thread has ended");
}

/// The first use of a primitive by a thread must not need a descriptor, because the thread may find
/// none. Its permits and tasks would then belong to no process.
#[apply(test)]
fn a_thread_that_finds_no_free_descriptor_holds_units_and_tasks_as_any_other() {
    let plan = Plan::new().semaphore("unit", 1).joinable_queue::<u64>("tasks", 4);
    let segment = segment(&plan);
    let unit = segment.semaphore("unit").unwrap();
    let tasks = segment.joinable_queue::<u64>("tasks").unwrap();
    let hold = || {
        tasks.put(1).unwrap();
        let (gate, queue) = (unit.clone(), tasks.clone());
        let take = move || {
            let files: Vec<_> = iter::from_fn(|| File::open("/dev/null").ok()).collect();
            let held = (gate.acquire().unwrap(), queue.get().unwrap());
            drop(files);
            held
        };
        // Dropped by a thread that has descriptors.
        drop(thread::spawn(take).join().unwrap());
        assert_eq!((unit.get_value(), tasks.unfinished(), tasks.lost()), (1, 0, 0));
    };
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    // Also in a child, which has another identity.
    join_all([child(hold)]);
    hold();
    assert_eq!(tasks.join_timeout(LIMIT), Ok(true));
}

/// Opens the segment again, in the process that had a unit before it executed this program.
#[apply(program)]
fn reopens(_: &[&str]) {
    let segment = Segment::open(&name()).unwrap();
    let permit = segment.semaphore("unit").unwrap().acquire_timeout(LIMIT).unwrap().unwrap();
    assert_eq!(permit.recovered(), 1, "what the process held before is not its own");
    let meet = segment.barrier("meet").unwrap();
    assert_eq!(meet.wait_timeout(LIMIT).err(), None);
}

fn is_stale(name: &SegmentName) -> bool {
    segments().unwrap().iter().any(|listing| listing.name == *name && listing.is_stale())
}

#[apply(test)]
fn a_process_that_executes_another_program_holds_nothing_any_more() {
    let plan = Plan::new().semaphore("unit", 1).joinable_queue::<u64>("tasks", 1);
    let segment = segment(&plan.event("held").barrier("meet", 2).lock("lock"));
    let (unit, held) = (segment.semaphore("unit").unwrap(), segment.event("held").unwrap());
    let tasks = segment.joinable_queue::<u64>("tasks").unwrap();
    let lock = segment.lock("lock").unwrap();
    let execute = |words: &[String]| {
        let (_permit, _task) = (unit.acquire().unwrap(), tasks.get().unwrap());
        let _guard = lock.lock().unwrap();
        held.set();
        Command::new(&words[0]).args(&words[1..]).exec()
    };
    tasks.put(1).unwrap();
    let sleep = ["sleep", "1000"].map(str::to_owned);
    let own = unique_name();
    let sleeps = child(|| {
        let _segment = Segment::create(&own, &Plan::new()).unwrap();
        panic!("{}", execute(&sleep));
    });
    held.wait().unwrap();
    wait_until("its segment is stale", || is_stale(&own));
    assert_eq!(unit.acquire_timeout(LIMIT).unwrap().map(|permit| permit.recovered()), Some(1));
    assert_eq!(tasks.join_timeout(LIMIT), Err(QueueError::Lost { tasks: 1 }));
    let Err(LockError::OwnerDied(inherited)) = lock.lock() else { panic!("the kernel frees it") };
    drop(inherited.repaired());
    assert_eq!(process_state(sleeps.pid()), Some('S'), "it still runs");
    assert_eq!(Segment::reclaim(&own).ok(), Some(true));
    kill_and_join(sleeps);

    // A party that its parent enrols may still execute another program before it arrives.
    held.clear();
    tasks.put(2).unwrap();
    let again = words_of_program(&reopens, &[]);
    let reopening = child(|| panic!("{}", execute(&again)));
    let meet = segment.barrier("meet").unwrap();
    meet.enrol(reopening.pid()).unwrap();
    assert_eq!(meet.wait_timeout(LIMIT).err(), None);
    join_all([reopening]);
}

#[apply(test)]
fn a_process_whose_main_thread_has_ended_is_alive_until_its_last_thread_ends() {
    let plan = Plan::new().semaphore("unit", 1).event("held").barrier("meet", 2);
    let segment = segment(&plan);
    let unit = segment.semaphore("unit").unwrap();
    let held = segment.event("held").unwrap();
    let process = Process::fork(|| {
        let (unit, held) = (unit.clone(), held.clone());
        thread::spawn(move || {
            let _permit = unit.acquire().unwrap();
            held.set();
            sleep_for_ever();
        });
        end_this_thread();
    });
    let process = process.unwrap();
    held.wait().unwrap();
    wait_until("the main thread has ended", || process_state(process.pid()) == Some('Z'));
    assert!(unit.acquire_timeout(NOTICED).unwrap().is_none(), "the unit of a live process");
    let meet = segment.barrier("meet").unwrap();
    assert_eq!(meet.enrol(process.pid()), Ok(()), "a live process can be enrolled");
    kill_and_join(process);
    assert_eq!(unit.acquire_timeout(NOTICED).unwrap().map(|permit| permit.recovered()), Some(1));
    assert!(meet.enrol(Pid::from_raw(i32::MAX)).is_err());
}
