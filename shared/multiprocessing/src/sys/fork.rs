//! The fork call, what a child sets up before its body runs, and how it ends after that.
#![allow(unsafe_code)]

use std::io::Write;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use std::{fs, io, mem, thread};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{ForkResult, Pid, fork};

use crate::sys::generation::watch_forks;
use crate::sys::orphans::{
    ORPHANED, Parent, end_with, exit_now, forget_segments_not_of, remove_segments_of_ending,
};
use crate::sys::spawn_error::SpawnError;

/// Exit code of a child that panicked, the same as that of the standard library's runtime.
const PANICKED: i32 = 101;
/// How long a joined thread may still be listed in `/proc`: the kernel wakes the joiner slightly
/// before it removes the thread.
const THREAD_LEAVING: Duration = Duration::from_millis(10);

/// Counts the threads of this process. A thread that is just ending gets a moment to disappear.
pub(crate) fn threads() -> io::Result<usize> {
    let count = || Ok(fs::read_dir("/proc/self/task")?.count());
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
    // SAFETY: this process has one thread (checked above), so no thread that is missing in the
    // child holds a lock of the allocator or of stdio. So the child may run any code.
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
