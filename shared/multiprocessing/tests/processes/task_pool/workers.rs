//! The workers of a task pool: their number, their lives, and what they inherit.

use std::process::Command;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use multiprocessing::{
    Exit, Lock, Plan, Process, RawArray, RawValue, Segment, StartError, TaskError, TaskPool, Value,
};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getpid};

use crate::common::{
    LIMIT, Program, apply, assert_less, child, children_of, chunk, descriptors_of, dispatcher,
    distinct, fact, is_gone, join_all, parse_pid, program, segment, sleep_for_ever, square, test,
    wait_until, workers,
};

/// Shared objects for tasks, created before the pool.
pub static MEET: OnceLock<RawValue<u64>> = OnceLock::new();
static STARTS: OnceLock<RawArray<i32>> = OnceLock::new();
static NEXT: OnceLock<RawValue<u64>> = OnceLock::new();
static LOCK: OnceLock<Lock> = OnceLock::new();
static TOTAL: OnceLock<Value<u64>> = OnceLock::new();

/// Waits until this many workers do such a task at the same time, and returns the process. The
/// number of calls must be a multiple of that, because a worker that waits does no other task.
pub fn meet(parties: u64) -> i32 {
    let met = MEET.get().unwrap();
    let all = (met.fetch_add(1) / parties + 1) * parties;
    wait_until("enough workers serve", || met.load() >= all);
    getpid().as_raw()
}

pub fn hang(_: ()) {
    sleep_for_ever();
}

/// Kills a worker and waits until the dispatcher has reaped it. Until then it counts as a worker.
fn kill_worker_and_wait(worker: Pid) {
    kill(worker, Signal::SIGKILL).unwrap();
    wait_until("the worker is gone", || !children_of(dispatcher()).contains(&worker));
}

#[apply(test)]
fn there_are_as_many_workers_as_asked_for_and_at_least_one() {
    assert!(matches!(TaskPool::new(0), Err(StartError::NoWorkers)));
    assert!(matches!(
        TaskPool::builder(3).max_tasks_per_child(0).start(),
        Err(StartError::NoTasks)
    ));
    assert_eq!(children_of(getpid()), []);

    let segment = segment(&Plan::new().raw_value::<u64>("meet"));
    MEET.set(segment.raw_value("meet").unwrap()).unwrap();
    let pool = TaskPool::new(3).unwrap();
    for _ in 0..3 {
        let pids = distinct(pool.map_chunked(meet, [3; 3], chunk(1)).unwrap());
        let mut all: Vec<_> = workers(3).into_iter().map(Pid::as_raw).collect();
        all.sort_unstable();
        assert_eq!(pids, all);
        let held = workers(3).into_iter().map(descriptors_of);
        assert_eq!(distinct(held).len(), 1, "the descriptors of the workers differ");
        kill_worker_and_wait(workers(3)[0]);
    }
}

/// A pool leaves nothing behind, no matter how it ends.
#[apply(test)]
fn a_joined_or_dropped_pool_takes_no_tasks_and_leaves_nothing_behind() {
    let before = descriptors_of(getpid());
    let is_clean_after = |pids: &[Pid]| {
        assert!(pids.iter().all(|pid| is_gone(*pid)));
        assert_eq!((children_of(getpid()), descriptors_of(getpid())), (vec![], before));
    };
    // Dropped with ten thousand long tasks in the queue.
    let pool = TaskPool::new(3).unwrap();
    let pids = [vec![dispatcher()], workers(3)].concat();
    let long: Vec<_> = (0..10_000).map(|_| pool.apply_async(hang, ())).collect();
    assert_eq!(long[0].wait_timeout(Duration::from_millis(50)), Ok(false));
    let begun = Instant::now();
    drop(pool);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(long.into_iter().all(|result| result.get() == Err(TaskError::PoolEnded)));
    is_clean_after(&pids);

    // Joined, and then given more tasks.
    let mut pool = TaskPool::new(2).unwrap();
    let pids = [vec![dispatcher()], workers(2)].concat();
    let result = pool.map_async(square, 0..10);
    let mut results = pool.imap(square, 0..100);
    assert_eq!(results.next(), Some(Ok(0)));
    assert_eq!((pool.join(), pool.join_timeout(Duration::ZERO)), (Ok(()), Ok(true)));
    assert_eq!(result.get().unwrap()[9], 81);
    assert_eq!(pool.map(square, 0..10), Err(TaskError::PoolEnded));
    assert_eq!(pool.apply_async(square, 1).get(), Err(TaskError::PoolEnded));
    // Earlier tasks were done.
    assert_eq!(results.by_ref().map_while(Result::ok).last(), Some(square(2 * 16 - 1)));
    drop((pool, results));
    is_clean_after(&pids);

    // Joined with a short timeout while it is at work.
    let mut pool = TaskPool::new(1).unwrap();
    let result = pool.apply_async(|()| sleep(Duration::from_millis(300)), ());
    let begun = Instant::now();
    assert_eq!(pool.join_timeout(Duration::from_millis(100)), Ok(false));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!(pool.apply(square, 1), Err(TaskError::PoolEnded));
    assert_eq!((pool.join_timeout(LIMIT), result.get()), (Ok(true), Ok(())));
    drop(pool);
    is_clean_after(&[]);
}

#[apply(test)]
fn workers_at_their_task_limit_are_replaced_even_while_the_pool_is_joined() {
    let mut pool = TaskPool::builder(3).max_tasks_per_child(10).start().unwrap();
    let first = workers(3);
    let results: Vec<_> = (0..100).map(|number| pool.apply_async(square, number)).collect();
    for (number, result) in (0..).zip(results) {
        assert_eq!(result.get(), Ok(square(number)));
    }
    let brief = |_| sleep(Duration::from_millis(1));
    wait_until("all workers are replaced", || {
        pool.map_chunked(brief, 0..6, chunk(1)).unwrap();
        !children_of(dispatcher()).iter().any(|worker| first.contains(worker))
    });
    // No worker exceeds its task limit, and the number of workers stays.
    let mut pids = pool.map_chunked(|_: u64| getpid().as_raw(), 0..60, chunk(1)).unwrap();
    pids.sort_unstable();
    assert!(pids.chunk_by(|one, next| one == next).all(|tasks| tasks.len() <= 10), "{pids:?}");
    assert_eq!(workers(3).len(), 3);
    pool.join().unwrap();

    let mut pool = TaskPool::builder(3).max_tasks_per_child(1).start().unwrap();
    let slow = |number: u64| {
        sleep(Duration::from_millis(100));
        square(number)
    };
    let results: Vec<_> = (0..6).map(|number| pool.apply_async(slow, number)).collect();
    pool.join().unwrap();
    for (number, result) in (0..).zip(results) {
        assert_eq!(result.get(), Ok(square(number)));
    }
}

/// A program that ends while its pool is at work and not dropped.
#[apply(program)]
fn ends_with_a_pool_at_work(_: &[&str]) {
    static POOL: OnceLock<TaskPool> = OnceLock::new();
    let pool = POOL.get_or_init(|| TaskPool::new(2).unwrap());
    assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
    drop(pool.apply_async(hang, ()));
    fact("dispatcher", dispatcher());
    workers(2).iter().for_each(|worker| fact("worker", worker));
}

/// Checks that the processes that a program has printed are gone soon, even on a busy machine.
pub fn are_gone_soon(program: &Program, key: &str) {
    let pids: Vec<_> =
        program.seen.iter().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
    assert!(!pids.is_empty());
    let took = wait_until("the processes end", || pids.iter().all(|pid| is_gone(parse_pid(pid))));
    assert_less("the processes end", took, Duration::from_secs(5));
}

#[apply(test)]
fn a_program_that_ends_with_a_busy_pool_ends_well_and_leaves_no_process() {
    let mut program = Program::start(ends_with_a_pool_at_work, &[]);
    program.succeed();
    are_gone_soon(&program, "dispatcher");
    are_gone_soon(&program, "worker");
}

/// With so few descriptors that only some of the workers can start.
#[apply(test)]
fn a_pool_that_cannot_start_all_workers_does_not_start() {
    // Each worker costs the dispatcher two descriptors.
    setrlimit(Resource::RLIMIT_NOFILE, 24, 24).unwrap();
    let before = descriptors_of(getpid());
    let Err(StartError::Worker { worker, source }) = TaskPool::new(20) else {
        panic!("the pool started")
    };
    assert!((3..20).contains(&worker), "{worker}");
    assert!(source.to_string().contains("EMFILE"), "{source}");
    assert_eq!((children_of(getpid()), descriptors_of(getpid())), (vec![], before));
    assert_eq!(TaskPool::new(2).unwrap().map(square, 0..10).unwrap().len(), 10);
    assert_eq!((children_of(getpid()), descriptors_of(getpid())), (vec![], before));
}

/// Each worker runs the initializer once, no matter when it starts.
#[apply(test)]
fn every_worker_runs_the_initializer_once() {
    const STARTED: usize = 1000;
    let plan = Plan::new().raw_array::<i32>("starts", STARTED).raw_value::<u64>("next");
    let segment = segment(&plan);
    STARTS.set(segment.raw_array("starts").unwrap()).unwrap();
    let next = segment.raw_value::<u64>("next").unwrap();
    // One handle that the initializer stores for the tasks, and one from before the pool.
    let pool = TaskPool::builder(3).max_tasks_per_child(5).initializer(|| {
        STARTS.get().unwrap().store(next.fetch_add(1) as usize, getpid().as_raw());
        NEXT.set(next.clone()).unwrap();
    });
    let mut pool = pool.start().unwrap();
    let is_prepared = |_: u64| {
        let known = NEXT.get().is_some_and(|next| next.load() > 0);
        (
            known
                && STARTS.get().unwrap().iter().filter(|&start| start == getpid().as_raw()).count()
                    == 1,
            getpid().as_raw(),
        )
    };
    let prepared = pool.map_chunked(is_prepared, 0..100, chunk(1)).unwrap();
    assert!(prepared.iter().all(|(once, _)| *once), "{prepared:?}");
    assert!(NEXT.get().is_none(), "the owner is no worker");
    pool.join().unwrap();
    let started: Vec<_> = STARTS.get().unwrap().iter().take(next.load() as usize).collect();
    assert_eq!(distinct(started.clone()).len(), started.len());
    let used = distinct(prepared.into_iter().map(|(_, pid)| pid));
    assert!(
        used.len() >= 20 && used.iter().all(|pid| started.contains(pid)),
        "{used:?} of {started:?}"
    );
}

#[apply(test)]
fn two_hundred_workers_do_a_thousand_tasks() {
    let mut pool = TaskPool::new(200).unwrap();
    assert_eq!(workers(200).len(), 200);
    assert_eq!(pool.map_chunked(square, 0..1000, chunk(1)), Ok((0..1000).map(square).collect()));
    pool.join().unwrap();
    assert_eq!(children_of(getpid()), []);
}

fn count(by: u64) -> u64 {
    let _guard = LOCK.get().unwrap().lock().unwrap();
    TOTAL.get().unwrap().update(|total| *total += by).unwrap()
}

/// Handles from before the pool work in tasks, and so do those that an initializer opens by name.
#[apply(test)]
fn handles_from_before_the_pool_or_from_its_initializer_work_in_tasks() {
    let segment = segment(&Plan::new().lock("lock").value::<u64>("total"));
    let (name, total) = (segment.name().clone(), segment.value::<u64>("total").unwrap());
    let by_name = || {
        let segment = Segment::open(&name).unwrap();
        LOCK.set(segment.lock("lock").unwrap()).unwrap();
        TOTAL.set(segment.value("total").unwrap()).unwrap();
    };
    let pool = TaskPool::builder(4).initializer(by_name).start().unwrap();
    pool.map_chunked(count, vec![3; 200], chunk(1)).unwrap();
    assert_eq!(total.get(), 600);
    drop(pool);
    LOCK.set(segment.lock("lock").unwrap()).unwrap();
    TOTAL.set(total.clone()).unwrap();
    let pool = TaskPool::new(4).unwrap();
    pool.map_chunked(count, vec![2; 200], chunk(1)).unwrap();
    assert_eq!(total.get(), 1000);
}

/// Tasks may start processes, and pools of their own.
#[apply(test)]
fn tasks_start_pools_children_and_programs_of_their_own() {
    let pool = TaskPool::new(2).unwrap();
    let nested = |count: u64| {
        let mut pool = TaskPool::new(2).unwrap();
        let sum = pool.map(square, 0..count).unwrap().into_iter().sum::<u64>();
        let failed = pool.apply(|()| -> u8 { panic!("in a pool in a pool") }, ()).unwrap_err();
        assert!(failed.to_string().contains("in a pool in a pool"), "{failed}");
        pool.join().unwrap();
        sum
    };
    assert_eq!(pool.map_chunked(nested, [3, 4, 5], chunk(1)), Ok(vec![5, 14, 30]));
    // A child and a program that outlive the task keep neither the worker nor its connection.
    let leaves = |()| {
        let child = Process::fork(|| -> i32 { sleep_for_ever() }).unwrap();
        let program =
            Command::new("sleep").arg("1000").spawn().map(|program| program.id()).unwrap();
        (getpid().as_raw(), child.pid().as_raw(), program.cast_signed())
    };
    let (worker, child, program) = pool.apply(leaves, ()).unwrap();
    kill_worker_and_wait(Pid::from_raw(worker));
    wait_until("the child ends with the worker", || is_gone(Pid::from_raw(child)));
    assert!(!workers(2).contains(&Pid::from_raw(worker)));
    assert_eq!(pool.map(square, 0..100).unwrap().len(), 100);
    kill(Pid::from_raw(program), Signal::SIGKILL).unwrap();
}

/// Children of the owner inherit a handle that only returns errors.
#[apply(test)]
fn a_forked_child_of_the_owner_gets_errors_from_the_inherited_pool() {
    let mut pool = TaskPool::new(2).unwrap();
    let (mut result, mut results) = (pool.apply_async(square, 3), pool.imap(square, 0..20));
    assert_eq!(results.next(), Some(Ok(0)));
    for handed_over in [true, false] {
        let mut moved = Some((pool, result, results));
        let mut uses = || {
            let (mut pool, result, mut results) = moved.take().unwrap();
            assert_eq!(pool.apply(square, 1), Err(TaskError::Inherited));
            assert_eq!(pool.map_async(square, 0..3).get(), Err(TaskError::Inherited));
            assert_eq!(result.wait_timeout(LIMIT), Err(TaskError::Inherited));
            assert_eq!(result.get(), Err(TaskError::Inherited));
            assert_eq!((results.next(), results.next()), (Some(Err(TaskError::Inherited)), None));
            assert_eq!(
                (pool.join(), pool.join_timeout(LIMIT)),
                (Err(TaskError::Inherited), Err(TaskError::Inherited))
            );
        };
        let process = if handed_over {
            child(uses)
        } else {
            Process::fork_with((), |()| {
                uses();
                0
            })
            .unwrap()
        };
        join_all([process]);
        (pool, result, results) = moved.unwrap();
    }
    assert_eq!(result.get(), Ok(9));
    assert_eq!(results.collect::<Result<Vec<_>, _>>().unwrap().len(), 19);
    assert_eq!(pool.join(), Ok(()));
}

/// An owner of pools that gets interrupts, blocks every signal, and ignores SIGCHLD.
#[apply(program)]
fn owner_that_blocks_signals(_: &[&str]) {
    let pool = TaskPool::new(2).unwrap();
    let all = [vec![dispatcher()], workers(2)].concat();
    all.iter().for_each(|process| kill(*process, Signal::SIGINT).unwrap());
    assert_eq!(pool.map_chunked(square, 0..20, chunk(1)).unwrap().len(), 20);
    assert_eq!([vec![dispatcher()], workers(2)].concat(), all);
    drop(pool);

    SigSet::all().thread_block().unwrap();
    let mut pool = TaskPool::builder(2).max_tasks_per_child(3).start().unwrap();
    assert_eq!(pool.map_chunked(square, 0..20, chunk(1)).unwrap().len(), 20);
    let died = pool.apply(|()| -> u8 { std::process::exit(4) }, ());
    assert!(matches!(died, Err(TaskError::WorkerDied { exit: Exit::Code(4), .. })), "{died:?}");
    assert_eq!((pool.join(), children_of(getpid())), (Ok(()), vec![]));
}

#[apply(test)]
fn a_pool_works_under_ignored_and_blocked_signals_and_leaves_an_interrupt_to_its_owner() {
    let wrapper = ["env", "--ignore-signal=CHLD"];
    Program::start_through(&wrapper, owner_that_blocks_signals, &[]).succeed();
}
