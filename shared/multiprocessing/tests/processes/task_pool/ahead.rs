//! DOC

use std::sync::OnceLock;

use multiprocessing::{Exit, Plan, RawArray, RawValue, Segment, TaskError, TaskPool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::workers::{MEET, meet};
use crate::common::{apply, chunk, segment, square, test, wait_until};

/// More tasks than all workers of a scenario are given ahead.
const MANY: u64 = 100;

/// The worker that has the long task, and whether the task may end.
static LONG: OnceLock<RawArray<i32>> = OnceLock::new();
/// How many short tasks were begun.
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

/// How many were begun before it, and who does it.
fn place(_: u64) -> (u64, i32) {
    (BEGUN.get().unwrap().fetch_add(1), getpid().as_raw())
}

/// Everything is done while one worker is at a long task, by others; and then it works again, for it has not done its share.
#[apply(test)]
fn no_task_waits_behind_a_long_one_while_another_worker_has_nothing_to_do() {
    let _segment = shared();
    let pool = TaskPool::builder(2).max_tasks_per_child(10).start().unwrap();
    let long = pool.apply_async(long_task, ());
    // All of them at once, so that both are given some ahead.
    let places = pool.map_chunked(place, 0..MANY, chunk(1)).unwrap();
    let busy = has_long_task().as_raw();
    assert!(places.iter().all(|(_, pid)| *pid != busy), "{places:?}");
    LONG.get().unwrap().store(1, 1);
    assert_eq!(long.get(), Ok(busy));
    let pids = pool.map_chunked(meet, [2; 2], chunk(1)).unwrap();
    assert!(pids.contains(&busy) && pids[0] != pids[1], "{pids:?}, not {busy}");
}

/// Tasks that were given to a worker whose task takes long are begun before most of the others, also when there always are others.
#[apply(test)]
fn a_task_given_to_a_worker_that_is_long_busy_does_not_wait_until_all_others_are_done() {
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

/// Of the tasks that a killed worker has, only the one it is at is lost.
#[apply(test)]
fn the_tasks_that_a_killed_worker_had_not_begun_are_done_by_another_in_their_order() {
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

/// Workers end all the time, right after they have done tasks and while they are given others: what they have done counts.
#[apply(test)]
fn what_a_worker_has_done_counts_also_when_it_ends_while_it_is_given_more() {
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
