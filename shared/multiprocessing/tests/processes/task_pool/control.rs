//! Control over the tasks of a pool: the context that they share, cancelling them, their order of
//! completion, and their time limit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::OnceLock;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use multiprocessing::{AsyncResult, Exit, Plan, RawArray, Segment, TaskError, TaskPool};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, getpid};

use super::refusals::dispatcher_is_idle;
use super::workers::hang;
use crate::common::{
    Random, apply, assert_less, child, chunk, is_gone, join_all, process_state, segment, square,
    test, wait_until, workers,
};

/// For each task: which process has begun it, and whether it may end.
static BEGUN: OnceLock<RawArray<i32>> = OnceLock::new();
static MAY_END: OnceLock<RawArray<i32>> = OnceLock::new();

fn shared() -> Segment {
    let segment = segment(&Plan::new().raw_array::<i32>("begun", 64).raw_array::<i32>("end", 64));
    BEGUN.set(segment.raw_array("begun").unwrap()).unwrap();
    MAY_END.set(segment.raw_array("end").unwrap()).unwrap();
    segment
}

/// A task that ends once the test allows it.
fn gated(number: usize) -> usize {
    BEGUN.get().unwrap().store(number, getpid().as_raw());
    wait_until("the task may end", || MAY_END.get().unwrap().load(number) != 0);
    number
}

fn begun(number: usize) -> i32 {
    BEGUN.get().unwrap().load(number)
}

fn end(number: usize) {
    MAY_END.get().unwrap().store(number, 1);
}

/// Counts the values that were dropped, in a field of `BEGUN`.
struct Context {
    pid: i32,
    limits: Vec<u64>,
}

impl Drop for Context {
    fn drop(&mut self) {
        BEGUN.get().unwrap().fetch_add(63, 1);
    }
}

/// Python's `initargs` are what the initializer captures.
#[apply(test)]
fn tasks_share_the_value_of_their_workers_initializer_also_in_replacements() {
    let _segment = shared();
    let limits = vec![3, 5, 7];
    let initializer = || Context { pid: getpid().as_raw(), limits: limits.clone() };
    let pool = TaskPool::builder(2).max_tasks_per_child(5).initializer(initializer);
    let mut pool = pool.start().unwrap();
    let task = |index: usize| {
        let context = TaskPool::context::<Context>().unwrap();
        assert!(Rc::ptr_eq(&context, &TaskPool::context().unwrap()));
        assert!(TaskPool::context::<u8>().is_none(), "another type");
        let in_thread = || TaskPool::context::<Context>().is_none();
        assert!(thread::spawn(in_thread).join().unwrap(), "another thread");
        assert_eq!(context.pid, getpid().as_raw(), "the context of another worker");
        (context.pid, context.limits[index % 3])
    };
    let values = pool.map_chunked(task, 0..40, chunk(1)).unwrap();
    assert!((0..40).all(|index| values[index].1 == [3, 5, 7][index % 3]));
    let pids = values.iter().map(|value| value.0).collect::<std::collections::HashSet<_>>();
    assert!(pids.len() >= 8, "{} workers with at most 5 tasks each", pids.len());
    assert!(TaskPool::context::<Context>().is_none(), "the owner is no worker");
    pool.join().unwrap();
    assert!(begun(63) >= 8, "only {} values were dropped", begun(63));
    drop(pool);

    // Without an initializer the value is `()`, also in a pool in a pool.
    let pool = TaskPool::builder(1).initializer(|| 7_u8).start().unwrap();
    let nested = |()| {
        let pool = TaskPool::new(1).unwrap();
        let inner = |()| (TaskPool::context::<u8>().is_none(), TaskPool::context::<()>().is_some());
        (TaskPool::context::<u8>().map(|value| *value), pool.apply(inner, ()).unwrap())
    };
    assert_eq!(pool.apply(nested, ()), Ok((Some(7), (true, true))));
}

#[apply(test)]
fn a_task_that_has_not_begun_is_cancelled_and_another_one_is_not() {
    let _segment = shared();
    let mut pool = TaskPool::new(1).unwrap();
    let finished = pool.apply_async(square, 3);
    finished.wait().unwrap();
    assert_eq!(finished.cancel(), Ok(false));
    assert_eq!(finished.get(), Ok(9));

    let tasks: Vec<_> = (0..40).map(|number| pool.apply_async(gated, number)).collect();
    wait_until("the first task has begun", || begun(0) != 0);
    // Number 1 waits at the worker, and number 39 at the dispatcher.
    for number in [1, 39, 20, 20] {
        assert_eq!(tasks[number].cancel(), Ok(true), "task {number}");
    }
    assert_eq!((tasks[0].cancel(), tasks[0].cancel()), (Ok(false), Ok(false)));
    let all = pool.map_async(gated, 40..60);
    assert_eq!(all.cancel(), Ok(true));
    assert_eq!(all.get(), Err(TaskError::Cancelled));
    (0..40).for_each(end);
    for (number, task) in tasks.into_iter().enumerate() {
        let is_cancelled = [1, 20, 39].contains(&number);
        assert_eq!(task.get(), if is_cancelled { Err(TaskError::Cancelled) } else { Ok(number) });
        assert_eq!(begun(number) == 0, is_cancelled, "task {number}");
    }
    assert!((40..60).all(|number| begun(number) == 0));

    // What waits at a stopped worker has not begun either.
    let long = pool.apply_async(gated, 60);
    wait_until("the task has begun", || begun(60) != 0);
    let worker = Pid::from_raw(begun(60));
    kill(worker, Signal::SIGSTOP).unwrap();
    wait_until("the worker is stopped", || process_state(worker) == Some('T'));
    let behind = pool.apply_async(gated, 61);
    assert_eq!((behind.cancel(), long.cancel()), (Ok(true), Ok(false)));
    kill(worker, Signal::SIGCONT).unwrap();
    end(60);
    assert_eq!((long.get(), behind.get()), (Ok(60), Err(TaskError::Cancelled)));

    let inherited = pool.apply_async(square, 3);
    join_all([child(|| assert_eq!(inherited.cancel(), Err(TaskError::Inherited)))]);
    pool.join().unwrap();
    assert_eq!(pool.apply_async(square, 3).cancel(), Ok(false), "it was never submitted");
    assert_eq!(begun(61), 0);
}

/// What was sent to a stopped worker and cancelled stays in its socket until it goes on.
#[apply(test)]
fn a_worker_that_was_stopped_while_many_tasks_were_cancelled_runs_the_next_one() {
    let pool = TaskPool::new(1).unwrap();
    assert_eq!(pool.apply(square, 3), Ok(9));
    let worker = workers(1)[0];
    kill(worker, Signal::SIGSTOP).unwrap();
    wait_until("the worker is stopped", || process_state(worker) == Some('T'));
    for _ in 0..40 {
        let task = pool.apply_async(square, 3);
        dispatcher_is_idle();
        assert_eq!(task.cancel(), Ok(true));
    }
    let next = pool.apply_async(square, 5);
    dispatcher_is_idle();
    kill(worker, Signal::SIGCONT).unwrap();
    assert_eq!(next.wait_timeout(Duration::from_secs(30)), Ok(true), "it never runs");
    assert_eq!(next.get(), Ok(25));
}

#[apply(test)]
fn results_come_in_the_order_in_which_they_are_completed() {
    let _segment = shared();
    let pool = TaskPool::new(4).unwrap();
    let gates: Vec<_> = (0..4).map(|number| pool.apply_async(gated, number)).collect();
    let mut completed = pool.as_completed(gates);
    assert_eq!(completed.wait_timeout(Duration::from_millis(20)), Ok(false));
    for number in [2, 0, 3, 1] {
        end(number);
        assert_eq!(completed.next(), Some((number, Ok(number))));
    }
    assert_eq!((completed.wait_timeout(Duration::ZERO), completed.next()), (Ok(true), None));

    // Several that were complete before come in their order too, with errors among them.
    (0..4).for_each(|number| MAY_END.get().unwrap().store(number, 0));
    let mut results: Vec<_> = (0..4).map(|number| pool.apply_async(gated, number)).collect();
    for number in [3, 1, 0] {
        end(number);
        results[number].wait().unwrap();
    }
    results.push(pool.apply_async(|_: usize| panic!("at once"), 4));
    results[4].wait().unwrap();
    end(2);
    let order: Vec<_> =
        pool.as_completed(results).map(|(at, result)| (at, result.is_ok())).collect();
    assert_eq!(order, [(3, true), (1, true), (0, true), (4, false), (2, true)]);

    let maps = [0..9_u64, 0..0].map(|numbers| pool.map_async(square, numbers));
    let lengths = pool.as_completed(maps).map(|(at, squares)| (at, squares.unwrap().len()));
    let mut lengths: Vec<_> = lengths.collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [(0, 9), (1, 0)]);
    assert_eq!(pool.as_completed::<u8>([]).next(), None);
    let mut inherited = pool.as_completed([pool.apply_async(square, 3)]);
    let in_child = || {
        assert_eq!(inherited.next(), Some((0, Err(TaskError::Inherited))));
        assert_eq!(inherited.next(), None);
    };
    join_all([child(in_child)]);
}

#[apply(test)]
fn results_of_another_pool_are_refused() {
    let [pool, other] = [(); 2].map(|()| TaskPool::new(1).unwrap());
    let result = other.apply_async(square, 3);
    let refused = catch_unwind(AssertUnwindSafe(|| pool.as_completed([result]).next()));
    assert_eq!(refused.unwrap_err().downcast_ref(), Some(&"a result of another pool"));
}

const LIMIT: Duration = Duration::from_millis(150);

fn timed_out(result: AsyncResult<()>) -> Pid {
    match result.get() {
        Err(TaskError::TimedOut { pid }) => Pid::from_raw(pid),
        other => panic!("{other:?}"),
    }
}

#[apply(test)]
fn a_task_over_its_limit_ends_with_its_worker_and_no_other_task_does() {
    let pool = TaskPool::builder(2).task_timeout(LIMIT).start().unwrap();
    let before = workers(2);
    let begun = Instant::now();
    let long = pool.apply_async(hang, ());
    let behind = pool.map_chunked(square, 0..50, chunk(1));
    assert_eq!(behind.map(|squares| squares.len()), Ok(50));
    let killed = timed_out(long);
    assert!(begun.elapsed() >= LIMIT, "after {:?}", begun.elapsed());
    assert_less("the limit is kept", begun.elapsed(), LIMIT + Duration::from_secs(2));
    assert!(before.contains(&killed) && is_gone(killed));
    assert!(!workers(2).contains(&killed), "the worker is replaced");

    // Both workers hang, and what waits behind them runs afterwards.
    let all: Vec<_> = (0..2).map(|_| pool.apply_async(hang, ())).collect();
    let behind = pool.map_async(square, 0..50);
    all.into_iter().for_each(|task| _ = timed_out(task));
    assert_eq!(behind.get().map(|squares| squares.len()), Ok(50));

    // A worker that is stopped during a task overruns as well.
    let stopped = pool.apply_async(|()| kill(getpid(), Signal::SIGSTOP).unwrap(), ());
    timed_out(stopped);
    let chunk = pool.map_chunked(|_: u64| sleep(LIMIT / 2), 0..4, chunk(4));
    assert!(matches!(chunk, Err(TaskError::TimedOut { .. })), "a chunk is one task: {chunk:?}");
    // A worker that ends by itself did not overrun.
    let exited = pool.apply(|()| -> u8 { std::process::exit(3) }, ());
    assert!(matches!(exited, Err(TaskError::WorkerDied { exit: Exit::Code(3), .. })), "{exited:?}");
    sleep(2 * LIMIT);
    assert_eq!(pool.apply(square, 7), Ok(49), "an idle worker does not overrun");
}

/// Milliseconds of the clock that all processes share.
fn now_in_ms() -> i32 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    i32::try_from(now.tv_sec() * 1000 % 100_000_000 + now.tv_nsec() / 1_000_000).unwrap()
}

/// Every other task takes about as long as it may, so that the kill of one often meets the next.
#[apply(test)]
fn a_short_task_never_overruns_whatever_the_tasks_before_it_take() {
    const LIMIT_MS: u64 = 50;
    const TASKS: u64 = 60;
    let segment = segment(&Plan::new().raw_array::<i32>("begun", TASKS as usize));
    BEGUN.set(segment.raw_array("begun").unwrap()).unwrap();
    let pool = TaskPool::builder(2).task_timeout(Duration::from_millis(LIMIT_MS)).start().unwrap();
    let mut random = Random::new();
    let work = |(number, us): (usize, u64)| {
        BEGUN.get().unwrap().store(number, now_in_ms());
        sleep(Duration::from_micros(us));
    };
    let long = |number| if number % 2 == 0 { 1000 * LIMIT_MS } else { 0 };
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| match long(number) {
            0 => pool.apply_async(work, (number as usize, 0)),
            us => pool.apply_async(work, (number as usize, us - 500 + random.below(2500))),
        })
        .collect();
    let mut overran = 0;
    for (number, result) in pool.as_completed(tasks) {
        if result.is_ok() {
            continue;
        }
        assert!(matches!(result, Err(TaskError::TimedOut { .. })), "task {number}: {result:?}");
        // On a busy machine even a short task may take long, and begin later than its time.
        let (began, now) = (begun(number), now_in_ms());
        assert!(began > 0, "task {number} was killed before it had begun");
        assert!(now - began >= LIMIT_MS as i32 / 2, "task {number} had only {} ms", now - began);
        overran += 1;
    }
    assert!(overran > 0, "no task overran");
}
