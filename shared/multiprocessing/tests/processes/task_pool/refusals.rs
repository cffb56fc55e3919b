//! Task pools to which the system refuses something, or which lose something.

use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use multiprocessing::{Connection, Exit, Plan, RawArray, Segment, TaskError, TaskPool, pipe};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, getpid, setuid};

use super::workers::are_gone_soon;
use crate::common::{
    LIMIT, Program, apply, assert_less, children_of, cpu_time, dispatcher, fact, leave_out,
    program, run_command, segment, sleep_for_ever, square, test, wait_until, workers,
};

/// A length that does not fit into a packet.
const LARGE: usize = 100_000;
/// Limit of the descriptors that a process may have, and that a user may have in flight.
const FEW: u64 = 64;

/// Flags that tasks wait for, and counts.
static FLAGS: OnceLock<RawArray<u64>> = OnceLock::new();

fn shared() -> Segment {
    let segment = segment(&Plan::new().raw_array::<u64>("flags", 4));
    FLAGS.set(segment.raw_array("flags").unwrap()).unwrap();
    segment
}

fn waits_for(flag: usize) {
    FLAGS.get().unwrap().fetch_add(3, 1);
    wait_until("the task may end", || FLAGS.get().unwrap().load(flag) == 1);
}

fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

fn bytes(length: usize) -> Vec<u8> {
    vec![7; length]
}

/// Becomes a user of its own, whose descriptors in flight are limited; those of root are not.
fn become_limited_user() {
    if !Uid::effective().is_root() {
        leave_out("becoming another user needs root");
    }
    setrlimit(Resource::RLIMIT_NOFILE, FEW, FEW).unwrap();
    setuid(Uid::from_raw(0x4000_0000 + getpid().as_raw().cast_unsigned())).unwrap();
}

/// Checks that the dispatcher sleeps.
pub fn dispatcher_is_idle() {
    let before = cpu_time(dispatcher());
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_time(dispatcher()) - before;
    assert_less("processor time in a second", used, Duration::from_millis(100));
}

/// Sends descriptors until this user has as many in flight as allowed, and returns how many.
fn fill(pipe: &(Connection, Connection)) -> usize {
    let stdin = std::io::stdin();
    let sent = || pipe.0.send_fd_timeout(stdin.as_fd(), Duration::ZERO).unwrap();
    std::iter::from_fn(|| sent().then_some(())).count()
}

/// A large task that cannot be sent delays no result of others, and is done once it can be sent.
#[apply(test)]
fn a_large_task_that_cannot_be_sent_delays_no_result_and_is_sent_later() {
    become_limited_user();
    let _segment = shared();
    let pool = TaskPool::new(2).unwrap();
    let [first, second] = [1, 2].map(|flag| pool.apply_async(waits_for, flag));
    wait_until("both tasks have begun", || FLAGS.get().unwrap().load(3) == 2);
    let large = pool.apply_async(length, bytes(LARGE));
    // By then the dispatcher has the task, and none of its descriptors is in flight.
    std::thread::sleep(Duration::from_millis(500));
    let full = pipe().unwrap();
    assert!(fill(&full) > 0);
    FLAGS.get().unwrap().store(1, 1);
    assert_eq!(first.wait_timeout(LIMIT), Ok(true));
    FLAGS.get().unwrap().store(2, 1);
    assert_eq!(second.wait_timeout(LIMIT), Ok(true));
    assert_eq!(large.wait_timeout(Duration::from_millis(300)), Ok(false), "it was not refused");
    dispatcher_is_idle();
    drop(full);
    assert_eq!(large.get(), Ok(LARGE));
}

/// A large result that cannot be sent to the owner blocks nothing else, and comes once it can be
/// sent.
#[apply(test)]
fn a_large_result_that_cannot_be_sent_is_sent_later() {
    become_limited_user();
    let _segment = shared();
    let pool = TaskPool::new(2).unwrap();
    let mut results: Vec<_> = (0..12).map(|_| pool.apply_async(bytes, LARGE)).collect();
    // By then the dispatcher has all results, and the owner's socket is full.
    std::thread::sleep(Duration::from_millis(500));
    let full = pipe().unwrap();
    assert!(fill(&full) > 0);
    // The kernel applies the sender's limit: there are too many for the dispatcher, no matter how
    // many the owner takes.
    run_command(
        "prlimit",
        &["--pid", &dispatcher().to_string(), &format!("--nofile={}:{FEW}", FEW / 2)],
    );
    while results[0].wait_timeout(Duration::from_millis(300)).unwrap() {
        assert!(results.remove(0).get() == Ok(bytes(LARGE)));
    }
    assert!(results.len() > 1, "nothing was refused");
    dispatcher_is_idle();
    drop(full);
    assert!(results.into_iter().all(|result| result.get() == Ok(bytes(LARGE))));
}

/// Workers that end right after their initializer are not started endlessly without a pause.
#[apply(test)]
fn workers_that_end_before_their_first_task_are_given_up_after_a_few_starts() {
    let _segment = shared();
    let prepare = || {
        FLAGS.get().unwrap().fetch_add(0, 1);
        // The initializer succeeds, but then the worker cannot even wait for a task.
        setrlimit(Resource::RLIMIT_NOFILE, 0, 0).unwrap();
    };
    let mut pool = TaskPool::builder(1).initializer(prepare).start().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let started = FLAGS.get().unwrap().load(0);
    assert!((2..20).contains(&started), "{started} were started");
    assert_eq!(pool.apply(square, 3), Err(TaskError::NotReady { exit: Exit::Code(1) }));
    assert_eq!(pool.join(), Ok(()));
}

/// An owner that cannot wait for a moment loses its pool, gets errors, and ends the pool in time.
#[apply(test)]
fn an_owner_cut_off_from_its_pool_gets_errors_and_ends_it_in_time() {
    let mut pool = TaskPool::new(2).unwrap();
    let results: Vec<_> = (0..20).map(|_| pool.apply_async(bytes, LARGE)).collect();
    assert!(results[0].wait_timeout(LIMIT).unwrap());
    let (most, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    let hidden: Vec<_> = results.into_iter().map(|result| result.get().is_ok()).collect();
    setrlimit(Resource::RLIMIT_NOFILE, most, hard).unwrap();
    assert!(hidden.contains(&false), "the owner could wait");
    assert_eq!(pool.apply(square, 3), Err(TaskError::PoolEnded));
    let begun = Instant::now();
    assert_eq!(pool.join_timeout(LIMIT), Err(TaskError::PoolEnded));
    assert!(begun.elapsed() < LIMIT);
    assert_eq!(children_of(getpid()), []);
}

/// An owner for the test to kill. The kernel signals its death to no child, because it is another
/// user now.
#[apply(program)]
fn owner_as_another_user(_: &[&str]) {
    let _segment = shared();
    let pool = TaskPool::new(2).unwrap();
    let _long = pool.apply_async(waits_for, 1);
    fact("family", dispatcher());
    workers(2).iter().for_each(|worker| fact("family", worker));
    let is_root = Uid::effective().is_root();
    if is_root {
        setuid(Uid::from_raw(65534)).unwrap();
    }
    fact("all", "printed");
    sleep_for_ever();
}

#[apply(test)]
fn dispatcher_and_workers_are_gone_soon_after_the_kill_of_an_owner_that_changed_its_user() {
    let mut owner = Program::start(owner_as_another_user, &[]);
    owner.line("all=");
    assert_eq!(owner.count("family="), 3);
    owner.signal(Signal::SIGKILL);
    are_gone_soon(&owner, "family");
    assert!(!owner.name.path().exists());
    owner.wait();
}
