//! The worker's side of a pool: its slot, its report that it is ready, and requests to stop.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::write;

use super::IGNORED;
use crate::sys::backtrace::report_aborts;
use crate::sys::signal::set_disposition;

/// A worker's handle to its pool.
#[derive(Debug)]
pub struct Worker {
    slot: usize,
    /// Write end of the pipe on which workers report that they are ready.
    ready: OwnedFd,
    /// Delivers SIGTERM as data, so that a stop interrupts no system call.
    stop: SignalFd,
    /// True once a stop was requested.
    stopping: Cell<bool>,
}

impl Worker {
    /// Returns the signals that a worker keeps blocked. It reads SIGTERM from
    /// [`stop_fd`](Self::stop_fd).
    pub(super) fn mask() -> SigSet {
        [Signal::SIGTERM].into_iter().collect()
    }

    /// Sets the signal dispositions of a worker process. Runs in the child. `aborts` is the pipe
    /// for the backtrace of an abort.
    pub(super) fn new(slot: usize, ready: OwnedFd, aborts: OwnedFd) -> Result<Self, Errno> {
        // A terminal sends these to the whole process group. The supervisor handles them and sends
        // SIGTERM to each worker.
        let terminal = [Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];
        // A write to a broken connection or beyond a file size limit must fail, not kill the
        // worker.
        let writing = [Signal::SIGPIPE, Signal::SIGXFSZ];
        // Operators may send the rest to all processes of one name.
        for signal in terminal.into_iter().chain(writing).chain(IGNORED) {
            set_disposition(signal, SigHandler::SigIgn)?;
        }
        report_aborts(aborts)?;
        let stop =
            SignalFd::with_flags(&Self::mask(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { slot, ready, stop, stopping: Cell::new(false) })
    }

    /// Returns the number of this worker's slot, from 0. A replacement has the same number.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Reports to the supervisor that this worker can serve.
    pub fn ready(&self) {
        let message = std::process::id().to_ne_bytes();
        // Any other error means that the supervisor is gone, and then this process is about to end.
        while let Err(Errno::EINTR) = write(&self.ready, &message) {}
    }

    /// Returns true if the pool has requested a stop. Once true, it stays true.
    pub fn stop_requested(&self) -> bool {
        if let Ok(Some(_)) = self.stop.read_signal() {
            self.stopping.set(true);
        }
        self.stopping.get()
    }

    /// Returns a descriptor for epoll or poll. It is readable when a request to stop has arrived
    /// that [`stop_requested`](Self::stop_requested) has not seen yet.
    pub fn stop_fd(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }
}
