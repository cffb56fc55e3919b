//! DOC

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

/// More than goes into a packet.
const LARGE: usize = 100_000;
/// Descriptors that a process may have, and a user have on their way.
const FEW: u64 = 64;

/// What tasks wait for, and how often something happened.
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
fn dispatcher_is_idle() {
    let before = cpu_time(dispatcher());
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_time(dispatcher()) - before;
    assert_less("processor time in a second", used, Duration::from_millis(100));
}

/// As many descriptors on their way as this user may have.
fn fill(pipe: &(Connection, Connection)) -> usize {
    let stdin = std::io::stdin();
    let sent = || pipe.0.send_fd_timeout(stdin.as_fd(), Duration::ZERO).unwrap();
    std::iter::from_fn(|| sent().then_some(())).count()
}

/// A large task that no worker can be sent keeps no result from its owner, and is done once it can be sent.
#[apply(test)]
fn a_large_task_that_cannot_be_sent_keeps_no_result_back_and_is_sent_later() {
    become_limited_user();
    let _segment = shared();
    let pool = TaskPool::new(2).unwrap();
    let [first, second] = [1, 2].map(|flag| pool.apply_async(waits_for, flag));
    wait_until("both are at work", || FLAGS.get().unwrap().load(3) == 2);
    let large = pool.apply_async(length, bytes(LARGE));
    // The dispatcher has it by then, and no descriptor of it is on its way.
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

/// A large result that the owner cannot be sent keeps the dispatcher from nothing else, and comes once it can be sent.
#[apply(test)]
fn a_large_result_that_cannot_be_sent_is_sent_later() {
    become_limited_user();
    let _segment = shared();
    let pool = TaskPool::new(2).unwrap();
    let mut results: Vec<_> = (0..12).map(|_| pool.apply_async(bytes, LARGE)).collect();
    // The dispatcher has them all by then, and the owner's socket is full.
    std::thread::sleep(Duration::from_millis(500));
    let full = pipe().unwrap();
    assert!(fill(&full) > 0);
    // The kernel compares with the sender's limit: however many the owner takes out now, there are too many for the dispatcher.
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

/// Workers that end right after they were prepared are not started without end and without a pause.
#[apply(test)]
fn workers_that_end_before_they_have_begun_a_task_are_given_up_after_some() {
    let _segment = shared();
    let prepare = || {
        FLAGS.get().unwrap().fetch_add(0, 1);
        // It can prepare, and then cannot even wait for a task.
        setrlimit(Resource::RLIMIT_NOFILE, 0, 0).unwrap();
    };
    let mut pool = TaskPool::builder(1).initializer(prepare).start().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let started = FLAGS.get().unwrap().load(0);
    assert!((2..20).contains(&started), "{started} were started");
    assert_eq!(pool.apply(square, 3), Err(TaskError::NotReady { exit: Exit::Code(1) }));
    assert_eq!(pool.join(), Ok(()));
}

/// An owner that could not wait for a moment has lost its pool, is told so, and ends it in time.
#[apply(test)]
fn an_owner_that_is_cut_off_from_its_pool_is_told_and_ends_it_in_time() {
    let mut pool = TaskPool::new(2).unwrap();
    let results: Vec<_> = (0..20).map(|_| pool.apply_async(bytes, LARGE)).collect();
    assert!(results[0].wait_timeout(LIMIT).unwrap());
    let (most, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    let hidden: Vec<_> = results.into_iter().map(|result| result.get().is_ok()).collect();
    setrlimit(Resource::RLIMIT_NOFILE, most, hard).unwrap();
    assert!(hidden.contains(&false), "it could wait");
    assert_eq!(pool.apply(square, 3), Err(TaskError::PoolEnded));
    let begun = Instant::now();
    assert_eq!(pool.join_timeout(LIMIT), Err(TaskError::PoolEnded));
    assert!(begun.elapsed() < LIMIT);
    assert_eq!(children_of(getpid()), []);
}

/// For the test to kill: the kernel tells nobody of this owner's death, for it is another user now.
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
    fact("all", "told");
    sleep_for_ever();
}

#[apply(test)]
fn dispatcher_and_workers_of_a_killed_owner_are_gone_soon_also_when_it_had_changed_its_user() {
    let mut owner = Program::start(owner_as_another_user, &[]);
    owner.line("all=");
    assert_eq!(owner.count("family="), 3);
    owner.signal(Signal::SIGKILL);
    are_gone_soon(&owner, "family");
    assert!(!owner.name.path().exists());
    owner.wait();
}
