//! The dispatcher of a task pool: the process that starts the workers, sends them tasks, and
//! returns their results to the owner.
//!
//! It is a separate process for two reasons. Only a process with one thread may fork, and the owner
//! may have many. Tasks also go on while the owner does other work.
//!
//! A busy worker gets a few short tasks in advance, so that it does not wait for the dispatcher
//! between two tasks. One step takes back those that have not begun. So no task waits behind a long
//! one while another worker is idle, only the task that a worker runs fails with it, and any other
//! can be cancelled. How many tasks wait at a worker was decided by measuring: see
//! [`CAPACITY`](super::worker_handle::CAPACITY).

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigHandler, Signal};

use super::message::{CANCEL, CLOSE, TERMINATE, failed, parse};
use super::worker::Initializer;
use super::workers::{Limits, Workers};
use crate::pipe::{Connection, PipeError};
use crate::sys::deadline::Deadline;
use crate::sys::signal::set_disposition;
use crate::sys::wait::poll_until;

/// How long idle workers may take to end before they are killed.
const GRACE: Duration = Duration::from_secs(5);
/// Most requests received and results sent per loop round, so that workers are served in between.
const MAX_MESSAGES: usize = 64;

struct Dispatcher<'a> {
    owner: Connection,
    workers: Workers<'a>,
    /// True once the owner has closed the pool and submits no more tasks.
    is_closed: bool,
    /// True if the owner's socket had room at the last look. It is asked only if there are results.
    has_room: bool,
}

/// Runs a pool for its owner, and returns the exit code.
///
/// It first reports to the owner whether the workers were started: `None`, or the slot of the first
/// failure and its errno.
pub(super) fn run(owner: Connection, limits: Limits, initializer: Initializer) -> i32 {
    // Ctrl-C is for the owner: the pool ends with it. An ignored SIGCHLD, inherited from the owner,
    // would make the kernel reap the workers and discard their exit status.
    let _ = set_disposition(Signal::SIGINT, SigHandler::SigIgn);
    let _ = set_disposition(Signal::SIGCHLD, SigHandler::SigDfl);
    let mut workers = Workers::new(limits, initializer);
    let failed = workers.start().err().map(|(worker, errno)| (worker, errno as i32));
    let is_reported = owner.send(&failed).is_ok();
    let mut dispatcher = Dispatcher { owner, workers, is_closed: false, has_room: false };
    let done = if failed.is_none() && is_reported { dispatcher.serve() } else { Ok(false) };
    let all_done = matches!(done, Ok(true));
    dispatcher.workers.end(if all_done { GRACE } else { Duration::ZERO });
    i32::from(done.is_err())
}

impl Dispatcher<'_> {
    /// Serves until the pool has ended. Returns true if the owner closed it and all tasks are
    /// finished, or false if the owner terminated it or is gone.
    fn serve(&mut self) -> Result<bool, PipeError> {
        loop {
            self.workers.start_due();
            let is_task_refused = self.workers.send_tasks();
            self.workers.fail_without_workers();
            let overrun = self.workers.kill_overrun()?;
            let is_result_refused = self.send_results()?;
            if self.is_closed && self.workers.are_done() {
                return Ok(true);
            }
            if !self.wait(overrun, is_task_refused, is_result_refused)? {
                return Ok(false);
            }
        }
    }

    /// Waits until a message comes, a worker ends or is due to start, a task may have overrun, or a
    /// result can be sent. Receives messages. Returns false if the pool must end at once.
    ///
    /// The kernel refuses a descriptor while this user has too many in flight between processes. No
    /// event reports when that changes, so the wait has a limit while a message is refused.
    fn wait(
        &mut self,
        overrun: Option<Duration>,
        is_task_refused: bool,
        is_result_refused: bool,
    ) -> Result<bool, PipeError> {
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, !self.workers.results.is_empty() && !is_result_refused);
        let mut polled = vec![PollFd::new(self.owner.as_fd(), events)];
        // Two entries per worker.
        let mut slots = Vec::new();
        for (slot, messages, ended) in self.workers.sources() {
            slots.push(slot);
            polled.extend([messages, ended].map(|source| PollFd::new(source, PollFlags::POLLIN)));
        }
        let until_due = |moment: Instant| moment.saturating_duration_since(Instant::now());
        let next_due = self.workers.next_due().map(until_due);
        let deadline = match next_due.into_iter().chain(overrun).min() {
            Some(left) => Deadline::after(left)?,
            None => Deadline::NEVER,
        };
        let is_refused = is_task_refused || is_result_refused;
        poll_until(&mut polled, if is_refused { deadline.look()? } else { deadline })?;
        let owner = polled[0].revents().unwrap_or(PollFlags::all());
        let is_ready = |polled: &PollFd| polled.any().unwrap_or(true);
        let ready: Vec<_> =
            polled[1..].chunks_exact(2).map(|pair| [0, 1].map(|at| is_ready(&pair[at]))).collect();
        self.has_room = owner.contains(PollFlags::POLLOUT);
        for (slot, [has_sent, has_ended]) in slots.into_iter().zip(ready) {
            if has_sent || has_ended {
                self.workers.receive(slot);
            }
            if has_ended {
                self.workers.remove_dead(slot);
            }
        }
        Ok((owner - PollFlags::POLLOUT).is_empty() || self.receive_requests()?)
    }

    /// Sends results to the owner as long as its socket has room. Returns true if one was refused
    /// although the socket had room.
    fn send_results(&mut self) -> Result<bool, PipeError> {
        for sent in 0..MAX_MESSAGES {
            let Some(result) = self.workers.results.front_mut() else { break };
            let mut is_sent = self.owner.send_bytes_timeout(result, Duration::ZERO);
            // A large result needs a file, and too many may be open. The short error still fits.
            if let Err(PipeError::System(errno)) = is_sent {
                let (id, _) = parse(result).unwrap_or_default();
                *result = failed(id, &errno.into());
                is_sent = self.owner.send_bytes_timeout(result, Duration::ZERO);
            }
            if !is_sent? {
                return Ok(self.has_room && sent == 0);
            }
            self.workers.results.pop_front();
        }
        Ok(false)
    }

    /// Receives requests of the owner. Returns false if the pool must end at once.
    fn receive_requests(&mut self) -> Result<bool, PipeError> {
        for _ in 0..MAX_MESSAGES {
            let request = match self.owner.recv_bytes_timeout(Duration::ZERO) {
                Ok(Some(request)) => request,
                Ok(None) => break,
                // The owner has ended, or has dropped the pool.
                Err(PipeError::Closed) => return Ok(false),
                // A task of unknown id is lost, and the owner would wait for it forever. The cause
                // is not a lack of descriptors: those used while starting workers are free again.
                Err(error) => return Err(error),
            };
            match parse(&request).ok_or(PipeError::Malformed)? {
                (CANCEL, task) => self.workers.cancel(parse(task).ok_or(PipeError::Malformed)?.0),
                (CLOSE, _) => self.is_closed = true,
                (TERMINATE, _) => return Ok(false),
                (id, _) => self.workers.queued.push_back((id, request)),
            }
        }
        Ok(true)
    }
}
