//! What the central says about workers that the pool's watchdog ends.

use std::fs;
use std::time::Duration;

use conventions::duration::GoDuration;
use conventions::log_line::{Outcome, error};
use multiprocessing::Exit;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::lines::{describe, whole_milliseconds};

/// The limit of the watchdog, and the reasons for which it ended workers.
#[derive(Debug)]
pub struct Watchdog {
    /// How long a worker may show no heartbeat; `None` for no limit.
    timeout: Option<Duration>,
    /// Workers that were signalled and have not ended yet, and why.
    stuck: Vec<(Pid, String)>,
}

impl Watchdog {
    /// Returns the watchdog of a central. A timeout of 0 means no limit.
    pub fn new(timeout: Duration) -> Self {
        let mut watchdog = Self { timeout: None, stuck: Vec::new() };
        watchdog.limit(timeout);
        watchdog
    }

    /// Changes how long a worker may show no heartbeat. 0 means no limit.
    pub fn limit(&mut self, timeout: Duration) {
        self.timeout = (!timeout.is_zero()).then_some(timeout);
    }

    /// Returns how long a worker may show no heartbeat.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Logs that a worker is ended because it showed no heartbeat for this long. `locks` are the
    /// locks that it holds.
    pub fn log_stuck(
        &mut self,
        slot: usize,
        pid: Pid,
        silent: Duration,
        state: char,
        signal: Signal,
        locks: &[&str],
    ) {
        let silent = GoDuration(whole_milliseconds(silent));
        let reason = format!("no heartbeat for {silent}, the process {}", activity(state));
        error("watchdog", Outcome::Fail)
            .with("worker", slot)
            .with("pid", pid)
            .with("signal", signal)
            .with("error", &reason)
            .with("kernel_function", kernel_function(pid).as_deref().unwrap_or("unknown"))
            .with("locks", if locks.is_empty() { "none".to_owned() } else { locks.join(" ") })
            .write();
        self.stuck.push((pid, reason));
    }

    /// Describes how a worker died, with the reason if the watchdog ended it, and otherwise the
    /// likely cause.
    pub fn describe(&mut self, pid: Pid, exit: Exit) -> String {
        match self.stuck.extract_if(.., |(stuck, _)| *stuck == pid).last() {
            Some((_, reason)) => format!("{exit} by the watchdog: {reason}"),
            None => describe(exit),
        }
    }
}

/// Describes a letter of `/proc/PID/stat`.
fn activity(state: char) -> String {
    match state {
        'R' => "computes".to_owned(),
        'S' => "waits".to_owned(),
        'T' => "is stopped (SIGSTOP)".to_owned(),
        't' => "is stopped (by a debugger)".to_owned(),
        other => format!("is in state {other}"),
    }
}

/// Returns the function of the kernel in which a process waits, where the kernel shows it.
fn kernel_function(pid: Pid) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/wchan"))
        .ok()
        .filter(|name| !matches!(name.as_str(), "" | "0"))
}
