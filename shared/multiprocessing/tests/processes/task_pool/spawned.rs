//! Task pools whose dispatcher is spawned, in a program with threads.

use std::sync::OnceLock;

use multiprocessing::{Plan, Segment, SegmentName, TaskError, TaskPool, Value, pipe};
use nix::unistd::Pid;

use crate::common::{
    apply, child, is_gone, kill_and_join, name, segment, sleep_for_ever, test, wait_until,
};
use crate::spawn::threaded;

static TOTAL: OnceLock<Value<u64>> = OnceLock::new();

fn open(name: SegmentName) {
    let total = Segment::open(&name).and_then(|segment| segment.value::<u64>("total"));
    TOTAL.set(total.unwrap()).unwrap();
}

fn add(number: u64) -> u64 {
    TOTAL.get().unwrap().update(|total| *total += number).unwrap();
    number
}

#[apply(test)]
fn a_spawned_pool_runs_functions_whose_state_its_initializer_opens() {
    let segment = segment(&Plan::new().value::<u64>("total"));
    let _thread = threaded();
    let mut pool = TaskPool::builder(2).start_spawned(open, name()).unwrap();
    assert_eq!(pool.map(add, [1, 2, 3]).unwrap(), [1, 2, 3]);
    assert_eq!(segment.value::<u64>("total").unwrap().get(), 6);
    let concat = |first: String, second: String| first + &second;
    let pairs = [("a".to_owned(), "b".to_owned())];
    assert_eq!(pool.starmap(concat, pairs).unwrap(), ["ab"]);
    pool.join().unwrap();
}

#[apply(test)]
fn a_killed_worker_of_a_spawned_pool_costs_only_its_task() {
    let _thread = threaded();
    let pool = TaskPool::builder(2).start_spawned(|()| (), ()).unwrap();
    let abort = |()| -> u8 { std::process::abort() };
    assert!(matches!(pool.apply(abort, ()), Err(TaskError::WorkerDied { .. })));
    assert_eq!(pool.map(|n: u64| n * n, 0..4).unwrap(), [0, 1, 4, 9]);
}

/// A worker of a spawned pool has the addresses of its own process, not of the owner of that pool.
#[apply(test)]
fn a_task_of_a_spawned_pool_starts_a_forked_pool_of_its_own() {
    let _thread = threaded();
    let pool = TaskPool::builder(1).start_spawned(|()| (), ()).unwrap();
    let nested =
        |numbers: Vec<u64>| TaskPool::new(2).unwrap().map(|n: u64| n + 1, numbers).unwrap();
    assert_eq!(pool.apply(nested, vec![1, 2]).unwrap(), [2, 3]);
}

#[apply(test)]
fn the_processes_of_a_spawned_pool_end_with_their_killed_owner() {
    let (here, there) = pipe().unwrap();
    let owner = child(|| {
        let _thread = threaded();
        let pool = TaskPool::builder(1).start_spawned(|()| (), ()).unwrap();
        let pids = |()| (std::process::id(), std::os::unix::process::parent_id());
        there.send(&pool.apply(pids, ()).unwrap()).unwrap();
        sleep_for_ever();
    });
    let (worker, dispatcher) = here.recv::<(i32, i32)>().unwrap();
    assert_ne!(dispatcher, owner.pid().as_raw());
    kill_and_join(owner);
    let pids = [worker, dispatcher].map(Pid::from_raw);
    wait_until("dispatcher and worker end", || pids.iter().all(|pid| is_gone(*pid)));
}
