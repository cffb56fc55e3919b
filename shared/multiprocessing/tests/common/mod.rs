//! What the process tests share: the probe, names of their own, waiting with a limit.
#![allow(dead_code, unused_imports)] // Every test program uses a part of it.

mod pool;
mod probe;
mod python;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use multiprocessing::SegmentName;
use nix::unistd::Pid;

pub use pool::{pool, started, stop};
pub use probe::{Probe, run};
pub use python::{python, python_lines, read_segment, running_python};

/// After this a probe hangs: it is killed and its test fails.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A segment name that nobody else uses.
pub fn unique_name() -> SegmentName {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    SegmentName::new(&format!("mp-test.{}.{number}", std::process::id())).unwrap()
}

/// Polls until something is so, and says how long that took.
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    begun.elapsed()
}

/// The state letter of a process; `None` when there is none.
pub fn state(pid: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

/// Whether a process is gone, or dead and not reaped yet by whoever inherited it.
pub fn is_gone(pid: Pid) -> bool {
    matches!(state(pid), None | Some('Z' | 'X'))
}

pub fn parse_pid(text: &str) -> Pid {
    Pid::from_raw(text.parse().unwrap())
}

/// Whether this user may make namespaces; says so when not, because the test that asks does nothing then.
#[allow(clippy::print_stderr)]
pub fn can_unshare(what: &str) -> bool {
    let flags = ["--mount", "--pid", "--fork", "true"];
    let can = Command::new("unshare").args(flags).stderr(Stdio::null()).status();
    let can = can.is_ok_and(|status| status.success());
    if !can {
        eprintln!("SKIPPED, needs root and unshare: {what}");
    }
    can
}

/// Numbers, sorted and without repetition.
pub fn distinct<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    items.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}
