//! The worker's side of a pool: its slot, its report that it is ready, and the supervisor's
//! requests.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{getppid, write};

use super::{REOPEN, RETIRE};
use crate::sys::backtrace::report_aborts;
use crate::sys::signal::set_disposition;

/// A request to a worker to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopRequest {
    /// Newer workers have taken over. The worker takes no new work and returns when it has finished
    /// what it has, however long that takes.
    Retire,
    /// The pool stops, or an operator sent SIGTERM to this worker. It finishes within the grace
    /// period.
    Stop,
}

/// A worker's handle to its pool.
#[derive(Debug)]
pub struct Worker {
    slot: usize,
    /// Write end of the pipe on which workers report that they are ready.
    ready: OwnedFd,
    /// Delivers the requests as data, so that they interrupt no system call.
    requests: SignalFd,
    /// The request to end that has arrived, if any.
    stop: Cell<Option<StopRequest>>,
    /// True if a request to reopen the log files has arrived and was not taken yet.
    reopen: Cell<bool>,
}

impl Worker {
    /// Returns the signals that a worker keeps blocked. It reads them from
    /// [`stop_fd`](Self::stop_fd).
    pub(super) fn mask() -> SigSet {
        [Signal::SIGTERM, RETIRE, REOPEN].into_iter().collect()
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
        // Operators may send these to all processes of one name.
        let others = [Signal::SIGWINCH, Signal::SIGTTIN, Signal::SIGTTOU];
        for signal in terminal.into_iter().chain(writing).chain(others) {
            set_disposition(signal, SigHandler::SigIgn)?;
        }
        report_aborts(aborts)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let requests = SignalFd::with_flags(&Self::mask(), flags)?;
        Ok(Self { slot, ready, requests, stop: Cell::new(None), reopen: Cell::new(false) })
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

    /// Returns true if the worker should end: take no new work, finish, and return. Once true, it
    /// stays true.
    pub fn stop_requested(&self) -> bool {
        self.requested().is_some()
    }

    /// Returns how the worker should end, if it should. A request to retire may become a request to
    /// stop later.
    pub fn requested(&self) -> Option<StopRequest> {
        self.receive();
        self.stop.get()
    }

    /// Returns true once after each request to reopen the log files (SIGUSR1).
    pub fn take_reopen(&self) -> bool {
        self.receive();
        self.reopen.take()
    }

    /// Returns a descriptor for epoll or poll. It is readable when a request has arrived that
    /// [`requested`](Self::requested), [`stop_requested`](Self::stop_requested) and
    /// [`take_reopen`](Self::take_reopen) have not seen yet.
    pub fn stop_fd(&self) -> BorrowedFd<'_> {
        self.requests.as_fd()
    }

    /// Reads the requests that have arrived.
    fn receive(&self) {
        while let Ok(Some(info)) = self.requests.read_signal() {
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGTERM) => self.stop.set(Some(StopRequest::Stop)),
                // An operator may send it to all processes of one name by mistake.
                Ok(RETIRE) if info.ssi_pid == getppid().as_raw().cast_unsigned() => {
                    self.stop.set(self.stop.get().or(Some(StopRequest::Retire)));
                }
                Ok(REOPEN) => self.reopen.set(true),
                _ => {}
            }
        }
    }
}
