//! Task pools whose worker, dispatcher or owner dies or is stopped.

use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use multiprocessing::{Exit, Plan, RawArray, RawValue, TaskError, TaskPool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::workers::{MEET, are_gone_soon, hang, meet};
use crate::common::{
    Program, apply, assert_less, children_of, chunk, dispatcher, fact, is_gone, process_state,
    program, segment, sleep_for_ever, square, test, wait_until, wait_until_blocked, workers,
};

static AT_WORK: OnceLock<RawArray<i32>> = OnceLock::new();

const KILLED: Exit = Exit::Signal { signal: Signal::SIGKILL, core_dumped: false };

/// Announces that this process does the task of this number, and never returns.
fn note_and_hang(number: usize) {
    AT_WORK.get().unwrap().store(number, getpid().as_raw());
    sleep_for_ever();
}

/// Waits until a worker does the task of this number, and returns it.
fn at_work(number: usize) -> Pid {
    let pid = || AT_WORK.get().unwrap().load(number);
    wait_until("a worker has the task", || pid() != 0);
    Pid::from_raw(pid())
}

fn sigkill(pid: Pid) {
    kill(pid, Signal::SIGKILL).unwrap();
}

/// Checks that two workers serve at the same time.
fn two_serve(pool: &TaskPool) {
    let pids = pool.map_chunked(meet, [2; 4], chunk(1)).unwrap();
    assert_eq!(workers(2).len(), 2);
    assert!(pids.iter().any(|pid| *pid != pids[0]), "{pids:?}");
}

/// Kills workers at work and idle ones.
#[apply(test)]
fn the_task_of_a_killed_worker_fails_and_nothing_else_does() {
    let segment = segment(&Plan::new().raw_array::<i32>("at work", 4).raw_value::<u64>("meet"));
    AT_WORK.set(segment.raw_array("at work").unwrap()).unwrap();
    MEET.set(segment.raw_value("meet").unwrap()).unwrap();
    let pool = TaskPool::new(2).unwrap();
    let lost = pool.apply_async(note_and_hang, 1);
    let beside = pool.apply_async(|()| sleep(Duration::from_millis(300)), ());
    let behind = pool.map_async(square, 0..100);
    let victim = at_work(1);
    sigkill(victim);
    assert_eq!(lost.get(), Err(TaskError::WorkerDied { pid: victim.as_raw(), exit: KILLED }));
    assert_eq!((beside.get(), behind.get().map(|squares| squares.len())), (Ok(()), Ok(100)));
    two_serve(&pool);
    assert!(!workers(2).contains(&victim));

    for _ in 0..5 {
        for victim in workers(2) {
            wait_until_blocked(victim);
            sigkill(victim);
            // Until it is gone, it could be given a task, which would be lost.
            wait_until("the worker is gone", || is_gone(victim));
        }
        assert_eq!(pool.map_chunked(square, 0..20, chunk(1)).map(|squares| squares.len()), Ok(20));
    }
    // A chunk is lost with all its arguments, and other chunks are not.
    let results: Vec<_> = pool.imap_chunked(kills_at_thirteen, 0..20, chunk(5)).collect();
    let lost = |result: &_| matches!(result, Err(TaskError::WorkerDied { exit: KILLED, .. }));
    assert!(results[10..15].iter().all(lost), "{results:?}");
    assert!(
        [0..10, 15..20].into_iter().flatten().all(|number| results[number] == Ok(number as u64)),
        "{results:?}"
    );
    assert!(lost(&pool.map(kills_at_thirteen, 0..20).map(|_| 0)));
    two_serve(&pool);
}

fn kills_at_thirteen(number: u64) -> u64 {
    if number == 13 {
        sigkill(getpid());
    }
    number
}

/// Tasks end their own worker, which is replaced each time.
#[apply(test)]
fn a_task_that_ends_its_worker_fails_with_the_exit_of_the_worker() {
    let mut pool = TaskPool::new(1).unwrap();
    for _ in 0..20 {
        for code in [0, 3] {
            let exited = pool.apply(|code: i32| -> u8 { std::process::exit(code) }, code);
            assert!(
                matches!(exited, Err(TaskError::WorkerDied { exit: Exit::Code(c), .. }) if c == code),
                "{exited:?}"
            );
        }
        let aborted = pool.apply(|()| -> u8 { std::process::abort() }, ()).unwrap_err();
        let TaskError::WorkerDied { exit, .. } = aborted else { panic!("{aborted:?}") };
        assert!(exit.is_signal(Signal::SIGABRT), "{exit}");
    }
    assert_eq!(pool.map(square, 0..100).map(|squares| squares.len()), Ok(100));
    pool.join().unwrap();
}

#[apply(test)]
fn tasks_fail_within_seconds_when_no_worker_becomes_ready() {
    let begun = Instant::now();
    // Without a backtrace, which the environment may ask for and which takes longer than all the
    // rest.
    let fail = || std::panic::resume_unwind(Box::new("never ready"));
    let mut pool = TaskPool::builder(2).initializer(fail).start().unwrap();
    let before = pool.map_async(square, 0..100);
    let not_ready = TaskError::NotReady { exit: Exit::Code(101) };
    assert_eq!(before.get(), Err(not_ready.clone()));
    assert_less("the tasks fail", begun.elapsed(), Duration::from_secs(10));
    assert_eq!(pool.apply(square, 3), Err(not_ready.clone()));
    assert!(pool.imap(square, 0..20).all(|result| result == Err(not_ready.clone())));
    assert_eq!((pool.join(), children_of(getpid())), (Ok(()), vec![]));
}

/// Workers are killed in their initializer, and later ones are not.
#[apply(test)]
fn workers_killed_in_their_initializer_are_replaced() {
    let segment = segment(&Plan::new().raw_value::<u64>("starts").raw_value::<u64>("meet"));
    MEET.set(segment.raw_value("meet").unwrap()).unwrap();
    let starts = segment.raw_value::<u64>("starts").unwrap();
    let prepare = || {
        if starts.fetch_add(1) < 12 {
            sigkill(getpid());
        }
    };
    let mut pool = TaskPool::builder(2).initializer(prepare).start().unwrap();
    two_serve(&pool);
    pool.join().unwrap();
}

/// A slot whose workers only failed is tried again once another worker has become ready.
#[apply(test)]
fn a_slot_given_up_is_tried_again_once_another_worker_is_ready() {
    let plan = Plan::new().raw_value::<u64>("starts").raw_value::<u64>("meet");
    let segment = segment(&plan);
    MEET.set(segment.raw_value("meet").unwrap()).unwrap();
    let starts: RawValue<u64> = segment.raw_value("starts").unwrap();
    let prepare = || match starts.fetch_add(1) {
        // The first worker waits until the other slot is given up, after eight crashes.
        0 => {
            wait_until("the others have failed", || starts.load() > 8);
            sleep(Duration::from_millis(200));
        }
        1..=8 => panic!("not yet"),
        _ => {}
    };
    let pool = TaskPool::builder(2).initializer(prepare).start().unwrap();
    two_serve(&pool);
}

#[apply(test)]
fn after_the_death_of_the_dispatcher_every_task_fails_and_the_workers_end() {
    let segment = segment(&Plan::new().raw_array::<i32>("at work", 4));
    AT_WORK.set(segment.raw_array("at work").unwrap()).unwrap();
    let mut pool = TaskPool::new(2).unwrap();
    let (dispatcher, workers) = (dispatcher(), workers(2));
    let done = pool.apply_async(square, 5);
    done.wait().unwrap();
    let pending: Vec<_> =
        [1, 2, 3].map(|number| pool.apply_async(note_and_hang, number)).into_iter().collect();
    let mut results = pool.imap(|_: u64| hang(()), 0..3);
    assert_eq!(results.wait_timeout(Duration::ZERO), Ok(false));
    at_work(1);
    at_work(2);
    sigkill(dispatcher);
    let begun = Instant::now();
    assert!(pending.into_iter().all(|task| task.get() == Err(TaskError::PoolEnded)));
    assert!(results.all(|result| result == Err(TaskError::PoolEnded)));
    wait_until("the workers end", || workers.iter().all(|worker| is_gone(*worker)));
    assert_less("the workers end", begun.elapsed(), Duration::from_secs(5));
    // Earlier results are still there.
    assert_eq!(done.get(), Ok(25));
    assert_eq!(pool.apply(square, 3), Err(TaskError::PoolEnded));
    assert_eq!((pool.join(), pool.join()), (Err(TaskError::PoolEnded), Err(TaskError::PoolEnded)));
    drop(pool);

    // A dead dispatcher leaves no zombie without a join.
    let pool = TaskPool::new(1).unwrap();
    sigkill(self::dispatcher());
    drop(pool);
    assert_eq!(children_of(getpid()), []);
}

/// An owner for the test to kill.
#[apply(program)]
fn owner(_: &[&str]) {
    let segment = segment(&Plan::new().raw_array::<i32>("at work", 4));
    AT_WORK.set(segment.raw_array("at work").unwrap()).unwrap();
    let pool = TaskPool::new(3).unwrap();
    let _tasks = [1, 2].map(|number| pool.apply_async(note_and_hang, number));
    at_work(1);
    at_work(2);
    fact("family", dispatcher());
    workers(3).iter().for_each(|worker| fact("family", worker));
    fact("all", "printed");
    sleep_for_ever();
}

#[apply(test)]
fn dispatcher_workers_and_segment_of_a_killed_owner_are_gone_soon() {
    let mut owner = Program::start(owner, &[]);
    owner.line("all=");
    assert_eq!(owner.count("family="), 4);
    owner.signal(Signal::SIGKILL);
    are_gone_soon(&owner, "family");
    assert!(!owner.name.path().exists());
    owner.wait();
}

/// A pool waits for a stopped worker, which delays only its own task. Dropping the pool ends it,
/// and also a stopped dispatcher.
#[apply(test)]
fn a_pool_waits_for_a_stopped_worker_and_ends_it_when_dropped() {
    let segment = segment(&Plan::new().raw_array::<i32>("at work", 4));
    AT_WORK.set(segment.raw_array("at work").unwrap()).unwrap();
    let pool = TaskPool::new(2).unwrap();
    let slow = pool.apply_async(
        |number: usize| {
            AT_WORK.get().unwrap().store(number, getpid().as_raw());
            sleep(Duration::from_millis(100));
            number
        },
        1,
    );
    let stopped = at_work(1);
    kill(stopped, Signal::SIGSTOP).unwrap();
    wait_until("it is stopped", || process_state(stopped) == Some('T'));
    assert_eq!(pool.map(square, 0..100).map(|squares| squares.len()), Ok(100));
    assert_eq!(slow.wait_timeout(Duration::from_millis(300)), Ok(false));
    kill(stopped, Signal::SIGCONT).unwrap();
    assert_eq!(slow.get(), Ok(1));

    kill(stopped, Signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    drop(pool);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(is_gone(stopped));

    let mut pool = TaskPool::new(2).unwrap();
    let workers = workers(2);
    kill(dispatcher(), Signal::SIGSTOP).unwrap();
    // The dispatcher takes nothing, so there is soon no room for more. A join still times out on
    // time.
    let large = pool.imap(|text: String| text.len(), vec!["x".repeat(60_000); 8]);
    let giving = std::thread::spawn(|| large.map(Result::ok).collect::<Vec<_>>());
    wait_until("the child waits for room", || {
        let threads = std::fs::read_dir("/proc/self/task").unwrap();
        let waits = |syscall: String| syscall.starts_with(&format!("{} ", nix::libc::SYS_ppoll));
        threads
            .flatten()
            .any(|thread| std::fs::read_to_string(thread.path().join("syscall")).is_ok_and(waits))
    });
    let begun = Instant::now();
    assert_eq!(pool.join_timeout(Duration::from_millis(200)), Ok(false));
    assert!(
        begun.elapsed() >= Duration::from_millis(200) && begun.elapsed() < Duration::from_secs(4)
    );
    kill(dispatcher(), Signal::SIGCONT).unwrap();
    let given = giving.join().unwrap();
    assert!(given.contains(&Some(60_000)), "{given:?}");
    drop(pool);

    let pool = TaskPool::new(2).unwrap();
    kill(dispatcher(), Signal::SIGSTOP).unwrap();
    drop(pool);
    assert_eq!(children_of(getpid()), []);
    wait_until("the workers end", || workers.iter().all(|worker| is_gone(*worker)));
}
