//! The view of a worker process on its pool: its slot, how it reports that it is ready, and when it
//! must stop.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::write;

use super::IGNORED;
use crate::sys::signal::set_disposition;

/// The pool as one of its workers sees it.
#[derive(Debug)]
pub struct Worker {
    slot: usize,
    /// Write end of the pipe on which workers report to the supervisor that they are ready.
    ready: OwnedFd,
    /// Delivers SIGTERM as data, so that a stop is an event like any other and interrupts nothing.
    stop: SignalFd,
    stopping: Cell<bool>,
}

impl Worker {
    /// Returns the signals that a worker keeps blocked: SIGTERM is read from
    /// [`stop_fd`](Self::stop_fd).
    pub(super) fn mask() -> SigSet {
        [Signal::SIGTERM].into_iter().collect()
    }

    /// Sets the signal dispositions of a worker process. Runs in the child.
    pub(super) fn new(slot: usize, ready: OwnedFd) -> Result<Self, Errno> {
        // A terminal sends these three to the whole process group; the supervisor turns them into
        // one orderly stop.
        let terminal = [Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];
        // A broken connection or a file at its limit is an error of a write, not a reason to die.
        let writing = [Signal::SIGPIPE, Signal::SIGXFSZ];
        // Operators send the rest to every process of a name.
        for signal in terminal.into_iter().chain(writing).chain(IGNORED) {
            set_disposition(signal, SigHandler::SigIgn)?;
        }
        let stop =
            SignalFd::with_flags(&Self::mask(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { slot, ready, stop, stopping: Cell::new(false) })
    }

    /// Returns the number of this worker's slot, from 0. Its successors have the same.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Reports to the supervisor that this worker can serve.
    pub fn ready(&self) {
        let message = std::process::id().to_ne_bytes();
        // Fails only if the supervisor is gone, and then this process is about to end.
        while let Err(Errno::EINTR) = write(&self.ready, &message) {}
    }

    /// Returns true if the pool asks this worker to finish. It stays true.
    pub fn stop_requested(&self) -> bool {
        if let Ok(Some(_)) = self.stop.read_signal() {
            self.stopping.set(true);
        }
        self.stopping.get()
    }

    /// Returns a descriptor that is readable when [`stop_requested`](Self::stop_requested) may have
    /// changed, for epoll or poll.
    pub fn stop_fd(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }
}
