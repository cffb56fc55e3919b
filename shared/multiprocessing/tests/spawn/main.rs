//! Tests of spawned children in an ordinary test binary, whose `main` belongs to the test harness.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};
use std::time::Duration;

use multiprocessing::{Connection, JoinError, PipeError, Process, SpawnError, TaskPool, pipe};
use nix::sys::signal::Signal;

mod hook {
    multiprocessing::test_hook!();
}

/// Longest wait for a child to end.
const LIMIT: Duration = Duration::from_secs(10);

fn factorial(number: u64) -> Result<u64, String> {
    (1..=number).try_fold(1_u64, u64::checked_mul).ok_or_else(|| format!("{number}! is too large"))
}

#[test]
fn a_test_spawns_children() {
    assert_eq!(Process::spawn(factorial, 5).unwrap().join(), Ok(120));
    let failed = Process::spawn(factorial, 50).unwrap().join();
    assert_eq!(failed, Err(JoinError::Failed("50! is too large".to_owned())));
    let (here, there) = pipe().unwrap();
    let killed = Process::spawn(|end: Connection| end.recv::<()>(), there);
    let mut killed = killed.unwrap();
    killed.kill().unwrap();
    let ended = killed.join_timeout(LIMIT);
    assert!(matches!(ended, Err(JoinError::Ended(exit)) if exit.is_signal(Signal::SIGKILL)));
    assert!(matches!(here.recv::<()>(), Err(PipeError::Closed)));
}

#[test]
fn a_child_of_a_test_may_spawn_and_fork_until_it_starts_a_thread() {
    let both = |number: u64| -> Result<u64, JoinError> {
        let mut forked = Process::fork(|| Process::fork(|| factorial(number)).unwrap().join());
        let spawned = Process::spawn(factorial, number).unwrap().join()?;
        let sum = forked.as_mut().unwrap().join()? + spawned;
        let _thread = std::thread::spawn(std::thread::park);
        let forked = Process::fork(|| 0);
        assert!(matches!(forked, Err(SpawnError::ManyThreads { threads: 2 })), "{forked:?}");
        Ok(sum)
    };
    assert_eq!(Process::spawn(both, 4).unwrap().join(), Ok(48));
    let here = Process::fork(|| 0);
    assert!(matches!(here, Err(SpawnError::ManyThreads { .. })), "{here:?}");
}

/// The thread of a test ends long before the harness does.
#[test]
fn a_child_outlives_the_thread_that_started_it() {
    let (here, there) = pipe().unwrap();
    let start = move || Process::spawn(|end: Connection| end.recv::<u8>(), there).unwrap();
    let mut child = std::thread::spawn(start).join().unwrap();
    assert_eq!(
        child.join_timeout(Duration::from_millis(100)),
        Ok(None),
        "it ended with the thread"
    );
    here.send(&7_u8).unwrap();
    assert_eq!(child.join_timeout(LIMIT), Ok(Some(7)));
}

#[test]
fn a_test_starts_a_task_pool() {
    let pool = TaskPool::builder(2).start_spawned(|()| (), ()).unwrap();
    assert_eq!(pool.map(factorial, [3, 4]).unwrap(), [Ok(6), Ok(24)]);
}

#[tokio::test]
async fn a_task_of_a_runtime_with_one_thread_spawns_children() {
    let mut child = Process::spawn(factorial, 6).unwrap();
    let joined = tokio::task::spawn_blocking(move || child.join()).await;
    assert_eq!(joined.unwrap(), Ok(720));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_a_runtime_with_many_threads_spawn_children() {
    let tasks: Vec<_> = (1..=4)
        .map(|number| {
            tokio::task::spawn_blocking(move || Process::spawn(factorial, number).unwrap().join())
        })
        .collect();
    let mut products = Vec::new();
    for task in tasks {
        products.push(task.await.unwrap().unwrap());
    }
    assert_eq!(products, [1, 2, 6, 24]);
}

#[test]
fn prints() {
    Process::spawn(|()| println!("printed by the child"), ()).unwrap().join().unwrap();
}

/// The harness of a child announces the hook as a test. That would be confusing among the results
/// of the tests.
#[test]
fn a_child_prints_what_its_function_prints_and_nothing_of_the_harness() {
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(["prints", "--exact", "--nocapture"]).stdin(Stdio::null());
    let output = tests.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("printed by the child\n"), "{text}");
    assert_eq!(text.matches("running 1 test").count(), 1, "{text}");
    assert!(!text.contains("multiprocessing_test_hook"), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
