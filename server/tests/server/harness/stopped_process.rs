//! Processes that are stopped, so that a test can examine a state that otherwise lasts
//! microseconds.

use nix::sys::signal::Signal;

use super::deadline::eventually;
use super::proc_files::state;
use super::program::kill;

/// A process that does not run (SIGSTOP) until this is dropped.
#[derive(Debug)]
#[must_use = "the process goes on when this is dropped"]
pub struct StoppedProcess {
    pid: u32,
}

impl StoppedProcess {
    /// Stops a process that this test started and waits until it no longer runs.
    pub fn new(pid: u32) -> Self {
        let stopped = Self { pid };
        kill(pid, Signal::SIGSTOP);
        let stands = |state: &Option<char>| matches!(state, None | Some('T' | 'Z'));
        // Stopping usually takes microseconds. If every poll paused, a test that stops a process a
        // thousand times would mostly sleep.
        if !(0..200).any(|_| stands(&state(pid))) {
            eventually("a stopped process", || state(pid), stands);
        }
        stopped
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills the process without letting it run again.
    pub fn kill(self) {
        kill(self.pid, Signal::SIGKILL);
    }
}

impl Drop for StoppedProcess {
    fn drop(&mut self) {
        kill(self.pid, Signal::SIGCONT);
    }
}
