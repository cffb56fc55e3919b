//! The fork call, what a child sets up before its body runs, and how it ends after that.
#![allow(unsafe_code)]

use std::io::Write;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io, mem, thread};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{ForkResult, Pid, fork, getpid};

use crate::sys::generation::watch_forks;
use crate::sys::orphans::{
    ORPHANED, Parent, end_with, exit_now, forget_segments_not_of, remove_segments_of_ending,
};
use crate::sys::proc::activity;
use crate::sys::spawn_error::SpawnError;

/// Exit code of a child that panicked, the same as that of the standard library's runtime.
const PANICKED: i32 = 101;
/// How long a joined thread may still be listed in `/proc`: the kernel wakes the joiner slightly
/// before it removes the thread.
const THREAD_LEAVING: Duration = Duration::from_millis(10);
/// How long a test harness may take to wait for the test that it has started.
const HARNESS_WAITING: Duration = Duration::from_secs(1);

/// The process whose main thread belongs to the test harness and waits for its test, without a lock
/// that a child could need. No process has the number 0.
static TEST_PROCESS: AtomicI32 = AtomicI32::new(0);

/// Waits until the main thread of this process waits for the calling thread, the only other one.
/// From then on, this process may fork although it has two threads.
pub(crate) fn wait_for_test_harness() {
    let (own, begun) = (getpid(), Instant::now());
    while begun.elapsed() < HARNESS_WAITING {
        // The state of a process is that of its main thread.
        if activity(own).is_some_and(|activity| activity.state == 'S') {
            return TEST_PROCESS.store(own.as_raw(), Ordering::Release);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Counts the threads of this process, without the one of a test harness that waits. A thread that
/// is just ending gets a moment to disappear.
pub(crate) fn threads() -> io::Result<usize> {
    let is_test = TEST_PROCESS.load(Ordering::Acquire) == getpid().as_raw();
    let listed = || Ok::<_, io::Error>(fs::read_dir("/proc/self/task")?.count());
    let count = || Ok(listed()? - usize::from(is_test));
    if count()? == 1 {
        return Ok(1);
    }
    thread::sleep(THREAD_LEAVING);
    count()
}

/// Forks a child that runs `body` with the signal mask `mask` and exits with the code it returns.
/// The child ends at once if its parent is gone.
pub(crate) fn fork_child(mask: &SigSet, body: impl FnOnce() -> i32) -> Result<Pid, SpawnError> {
    let threads = threads().map_err(SpawnError::Threads)?;
    if threads != 1 {
        return Err(SpawnError::ManyThreads { threads });
    }
    watch_forks().map_err(SpawnError::Fork)?;
    // Otherwise both processes would write what is buffered now.
    let _ = io::stdout().flush();
    let (parent, ended) = Parent::of_children().map_err(SpawnError::Fork)?;
    // A signal that reached the child before it has its own handlers would run the parent's.
    let mut saved = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut saved))
        .map_err(SpawnError::Fork)?;
    // SAFETY: this process has one thread (checked above), or another one that waits for this one
    // to end. So no thread that is missing in the child holds a lock of the allocator or of stdio,
    // and the child may run any code.
    let forked = unsafe { fork() };
    match forked {
        Ok(ForkResult::Child) => {
            exit_now(run_body(parent, || {
                forget_segments_not_of(parent);
                match watch_parent(parent, ended, mask) {
                    Ok(()) => body(),
                    // The child could outlive its parent unnoticed, which is worse than not
                    // starting.
                    Err(errno) => errno as i32,
                }
            }))
        }
        Ok(ForkResult::Parent { child }) => {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&saved), None).map_err(SpawnError::Fork)?;
            Ok(child)
        }
        Err(errno) => {
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&saved), None);
            Err(SpawnError::Fork(errno))
        }
    }
}

/// Runs the body of a child and cleans up after it. Returns the exit code.
pub(crate) fn run_body(parent: Parent, body: impl FnOnce() -> i32) -> i32 {
    let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        // Its destructor might panic, into frames that belong to the parent.
        mem::forget(payload);
        PANICKED
    });
    let _ = io::stdout().flush();
    remove_segments_of_ending(parent);
    code
}

/// Arranges in a new child that it ends with its parent, and sets its signal mask.
pub(crate) fn watch_parent(parent: Parent, ended: OwnedFd, mask: &SigSet) -> Result<(), Errno> {
    let mut mask = *mask;
    // If the parent blocks this signal, the child would not learn of its parent's end.
    mask.remove(ORPHANED);
    end_with(parent, ended)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_on_fork_safety_states_the_numbers_of_the_code() {
        let page = include_str!("../../docs/fork-safety.md");
        assert!(page.contains(&format!("is given {} ms", THREAD_LEAVING.as_millis())));
        assert!(page.contains(&format!("| {PANICKED} | it panicked |")));
    }
}
