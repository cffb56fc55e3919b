//! Waiting for something with a limit, and looking at processes from outside.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

/// Longest wait for a child to end, or for a call that must return.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until a condition holds, and returns how long that took.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
    begun.elapsed()
}

/// Waits until a process sleeps in the kernel.
pub fn wait_until_blocked(pid: Pid) {
    wait_until("the process blocks", || process_state(pid) == Some('S'));
}

/// Returns the state letter of a process, `None` when there is none.
pub fn process_state(pid: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

/// Returns true if a process has ended, also if its parent has not reaped it yet.
pub fn is_gone(pid: Pid) -> bool {
    matches!(process_state(pid), None | Some('Z' | 'X'))
}

/// Returns the number of descriptors that this process has open, plus the one that lists them.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Returns the processor time that a process has used.
pub fn cpu_time(pid: Pid) -> Duration {
    let statistics = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(statistics.split_whitespace().next().unwrap().parse().unwrap())
}

pub fn parse_pid(text: &str) -> Pid {
    Pid::from_raw(text.parse().unwrap())
}

/// Returns the items sorted and without repetition.
pub fn distinct<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    items.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}
