//! Tasks given to workers ahead of time: another worker takes those that no worker has begun.

use std::sync::OnceLock;

use multiprocessing::{Exit, Plan, RawArray, RawValue, Segment, TaskError, TaskPool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::workers::{MEET, meet};
use crate::common::{apply, chunk, segment, square, test, wait_until};

/// More tasks than all workers of a test are given ahead.
const MANY: u64 = 100;

/// The worker that has the long task, and whether the task may end.
static LONG: OnceLock<RawArray<i32>> = OnceLock::new();
/// The number of short tasks that were begun.
static BEGUN: OnceLock<RawValue<u64>> = OnceLock::new();

fn shared() -> Segment {
    let plan =
        Plan::new().raw_array::<i32>("long", 2).raw_value::<u64>("begun").raw_value::<u64>("meet");
    let segment = segment(&plan);
    MEET.set(segment.raw_value("meet").unwrap()).unwrap();
    LONG.set(segment.raw_array("long").unwrap()).unwrap();
    BEGUN.set(segment.raw_value("begun").unwrap()).unwrap();
    segment
}

fn long_task((): ()) -> i32 {
    let long = LONG.get().unwrap();
    long.store(0, getpid().as_raw());
    wait_until("the long task may end", || long.load(1) == 1);
    getpid().as_raw()
}

fn has_long_task() -> Pid {
    wait_until("the long task has begun", || LONG.get().unwrap().load(0) != 0);
    Pid::from_raw(LONG.get().unwrap().load(0))
}

/// Returns how many tasks were begun before this one, and which process does it.
fn place(_: u64) -> (u64, i32) {
    (BEGUN.get().unwrap().fetch_add(1), getpid().as_raw())
}

/// While one worker does a long task, the other one does all the rest. Then the first one works
/// again, because it has not reached its task limit.
#[apply(test)]
fn no_task_waits_behind_a_long_one_while_another_worker_is_idle() {
    let _segment = shared();
    let pool = TaskPool::builder(2).max_tasks_per_child(10).start().unwrap();
    let long = pool.apply_async(long_task, ());
    // All tasks come at once, so that both workers are given some ahead.
    let places = pool.map_chunked(place, 0..MANY, chunk(1)).unwrap();
    let busy = has_long_task().as_raw();
    assert!(places.iter().all(|(_, pid)| *pid != busy), "{places:?}");
    LONG.get().unwrap().store(1, 1);
    assert_eq!(long.get(), Ok(busy));
    let pids = pool.map_chunked(meet, [2; 2], chunk(1)).unwrap();
    assert!(pids.contains(&busy) && pids[0] != pids[1], "{pids:?}, not {busy}");
}

/// Tasks given to a busy worker are begun before most of the others, even if there always are
/// others.
#[apply(test)]
fn a_task_given_to_a_busy_worker_does_not_wait_until_all_others_are_done() {
    let _segment = shared();
    let pool = TaskPool::new(3).unwrap();
    let long = pool.apply_async(long_task, ());
    let places = pool.map_chunked(place, 0..50 * MANY, chunk(1)).unwrap();
    let late =
        places.iter().zip(0..).map(|((begun, _), number)| begun.saturating_sub(number)).max();
    // It is taken back after 16 tasks of each of the three workers, more than once if a busy worker
    // gets it again.
    assert!(late.unwrap() < 1000, "{late:?} of 5000 tasks overtook it");
    LONG.get().unwrap().store(1, 1);
    long.get().unwrap();
}

/// Only the current task of a killed worker is lost.
#[apply(test)]
fn another_worker_does_the_unbegun_tasks_of_a_killed_worker_in_order() {
    let _segment = shared();
    let pool = TaskPool::new(1).unwrap();
    for round in 0..20 {
        LONG.get().unwrap().store(0, 0);
        let long = pool.apply_async(long_task, ());
        let behind: Vec<_> = (0..MANY).map(|number| pool.apply_async(place, number)).collect();
        let victim = has_long_task();
        kill(victim, Signal::SIGKILL).unwrap();
        let exit = Exit::Signal { signal: Signal::SIGKILL, core_dumped: false };
        assert_eq!(long.get(), Err(TaskError::WorkerDied { pid: victim.as_raw(), exit }));
        let places = behind.into_iter().map(|task| task.get().unwrap().0);
        assert!(
            places.eq(round * MANY..(round + 1) * MANY),
            "one worker does them in their order, once"
        );
    }
}

/// Workers keep ending right after they have done tasks and while they are given others. What they
/// have done counts.
#[apply(test)]
fn the_results_of_a_worker_count_even_if_it_ends_while_it_is_given_more_tasks() {
    const EACH: u64 = 7;
    let pool = TaskPool::new(2).unwrap();
    let square_or_end = |number: u64| {
        if number.is_multiple_of(EACH) { std::process::exit(5) } else { square(number) }
    };
    for (number, result) in (0_u64..).zip(pool.imap(square_or_end, 0..300 * EACH)) {
        match result {
            Err(TaskError::WorkerDied { exit: Exit::Code(5), .. })
                if number.is_multiple_of(EACH) => {}
            result => assert_eq!(result, Ok(square(number))),
        }
    }
}
