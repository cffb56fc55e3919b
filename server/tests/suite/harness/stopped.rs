//! Processes held still, so that a test can look at a moment that lasts microseconds otherwise.

use nix::sys::signal::Signal;

use super::deadline::eventually;
use super::processes::{kill, state};

/// A process that does not run (SIGSTOP) until this is dropped.
#[derive(Debug)]
#[must_use = "the process goes on when this is dropped"]
pub struct Stopped {
    pid: u32,
}

impl Stopped {
    /// Stops a process this test started and waits until it stands still.
    ///
    /// # Panics
    /// When it goes on running.
    pub fn new(pid: u32) -> Self {
        let stopped = Self { pid };
        kill(pid, Signal::SIGSTOP);
        let stands = |state: &Option<char>| matches!(state, None | Some('T' | 'Z'));
        // Most often it takes microseconds; a pause would be most of the time of a test that does this a thousand times.
        if !(0..200).any(|_| stands(&state(pid))) {
            eventually("a stopped process", || state(pid), stands);
        }
        stopped
    }

    /// Which process it is.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills it where it stands.
    pub fn kill(self) {
        kill(self.pid, Signal::SIGKILL);
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill(self.pid, Signal::SIGCONT);
    }
}
