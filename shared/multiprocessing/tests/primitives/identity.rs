//! How processes recognise each other: a live one is never taken for a dead one, nor the reverse.
#![allow(unsafe_code)]

use std::fs::File;
use std::time::Duration;
use std::{iter, thread};

use multiprocessing::{Plan, Process};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::Pid;

use crate::common::{
    LIMIT, apply, child, join_all, kill_and_join, process_state, segment, sleep_for_ever, test,
    wait_until,
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

#[apply(test)]
fn a_process_whose_main_thread_has_ended_is_alive_until_its_last_thread_ends() {
    let plan = Plan::new().semaphore("unit", 1).event("held").barrier("meet", 2);
    let segment = segment(&plan);
    let unit = segment.semaphore("unit").unwrap();
    let held = segment.event("held").unwrap();
    let process = Process::spawn(|| {
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
