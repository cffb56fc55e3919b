//! What the tests of task pools share: the processes of a pool, and small tasks.

use std::num::NonZeroUsize;

use nix::unistd::{Pid, getpid};

use super::wait_until;

/// Returns the children of a process that has one thread; none when it has ended.
pub fn children_of(parent: Pid) -> Vec<Pid> {
    let listed = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let listed = listed.unwrap_or_default();
    listed.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
}

/// Returns the dispatcher of the only pool of this process.
pub fn dispatcher() -> Pid {
    let children = children_of(getpid());
    assert_eq!(children.len(), 1, "{children:?}");
    children[0]
}

/// Waits until the only pool of this process has `count` workers, and returns them.
pub fn workers(count: usize) -> Vec<Pid> {
    let dispatcher = dispatcher();
    wait_until("all workers are there", || children_of(dispatcher).len() == count);
    children_of(dispatcher)
}

/// Returns the number of descriptors that a process has open.
pub fn descriptors_of(process: Pid) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

pub fn chunk(items: usize) -> NonZeroUsize {
    NonZeroUsize::new(items).unwrap()
}

pub fn square(number: u64) -> u64 {
    number * number
}
