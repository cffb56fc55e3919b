//! The dispatcher of a task pool: the process that starts the workers, sends them tasks, and
//! returns their results to the owner.
//!
//! It is a separate process for two reasons. Only a process with one thread may fork, and the owner
//! may have many. Tasks also go on while the owner does other work.
//!
//! A busy worker gets a few short tasks in advance, so that it does not wait for the dispatcher
//! between two tasks. The dispatcher takes back all that have not begun in one step. It does this
//! in three cases. If another worker is idle, no task waits behind a long one. If the worker dies
//! or is killed, only the task that it was running fails. A task that is taken back can be
//! cancelled.
//!
//! How many tasks are in flight to a worker was decided by measuring: see
//! [`CAPACITY`](super::in_flight::CAPACITY).

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigHandler, Signal};

use super::error::TaskError;
use super::function::failure;
use super::message::{QueuedTask, Request, TaskId, not_cancelled, parse_result, result};
use super::workers::{WorkerOptions, Workers};
use crate::pipe::{Connection, PipeError};
use crate::sys::deadline::Deadline;
use crate::sys::signal::set_disposition;
use crate::sys::wait::poll_until;

/// How long idle workers may take to end before they are killed.
const GRACE: Duration = Duration::from_secs(5);
/// Most requests received per loop round, so that workers are served in between.
const MAX_REQUESTS: usize = 64;
/// Most results sent per loop round, so that workers are served in between.
const MAX_RESULTS: usize = 64;
/// Longest result that is not announced. To receive a larger one the owner may need a descriptor,
/// and if it has none it must still learn which task has lost its result.
const MAX_UNANNOUNCED_BYTES: usize = 1 << 15;

struct Dispatcher<'a> {
    owner: Connection,
    workers: Workers<'a>,
    /// Tasks that are in flight to no worker.
    queued: VecDeque<QueuedTask>,
    /// Results to be sent to the owner.
    results: VecDeque<Vec<u8>>,
    /// True once the owner has closed the pool and submits no more tasks.
    is_closed: bool,
    /// True if the last task was refused although a worker accepts it.
    ///
    /// The kernel refuses a descriptor while this user has too many in flight between processes. No
    /// event reports when that changes, so [`wait`](Self::wait) polls with a limit.
    is_task_refused: bool,
    /// True if the last result was refused although the owner's socket has room, for the same
    /// reason.
    is_result_refused: bool,
}

/// The polled sources that are ready.
struct Ready {
    owner: bool,
    /// Slots of the workers that sent a message or ended, and whether they ended.
    workers: Vec<(usize, bool)>,
}

/// Runs a pool for its owner, and returns the exit code.
///
/// It first reports to the owner whether the workers were started: `None`, or the slot of the first
/// failure and its errno.
pub(super) fn run(owner: Connection, options: WorkerOptions) -> i32 {
    // Ctrl-C is for the owner: the pool ends with it. An ignored SIGCHLD, inherited from the owner,
    // would make the kernel reap the workers and discard their exit status.
    let _ = set_disposition(Signal::SIGINT, SigHandler::SigIgn);
    let _ = set_disposition(Signal::SIGCHLD, SigHandler::SigDfl);
    let (workers, started) = Workers::start(options);
    let failed = started.err().map(|(worker, errno)| (worker, errno as i32));
    let is_reported = owner.send(&failed).is_ok();
    let mut dispatcher = Dispatcher {
        owner,
        workers,
        queued: VecDeque::new(),
        results: VecDeque::new(),
        is_closed: false,
        is_task_refused: false,
        is_result_refused: false,
    };
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
            self.end_overrun_tasks()?;
            self.send_tasks();
            self.fail_tasks_without_workers();
            self.send_results()?;
            if self.is_closed && self.is_idle() {
                return Ok(true);
            }
            let ready = self.wait()?;
            for (slot, has_ended) in ready.workers {
                for result in self.workers.receive(slot) {
                    self.queue_result(result);
                }
                if has_ended {
                    let (not_begun, lost) = self.workers.remove_dead(slot);
                    self.requeue(not_begun);
                    self.results.extend(lost);
                }
            }
            if ready.owner && !self.receive_requests()? {
                return Ok(false);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.queued.is_empty() && self.results.is_empty() && self.workers.are_idle()
    }

    /// Waits until a source is ready or a worker is due to start.
    fn wait(&self) -> Result<Ready, Errno> {
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, !self.results.is_empty() && !self.is_result_refused);
        let mut polled = vec![PollFd::new(self.owner.as_fd(), events)];
        // Two entries per worker.
        let mut slots = Vec::new();
        for (slot, messages, ended) in self.workers.sources() {
            slots.push(slot);
            polled.extend([messages, ended].map(|source| PollFd::new(source, PollFlags::POLLIN)));
        }
        let until_due = |moment: Instant| moment.saturating_duration_since(Instant::now());
        let next_due = self.workers.next_due().map(until_due);
        let deadline = match next_due.into_iter().chain(self.workers.until_overrun()?).min() {
            Some(left) => Deadline::after(left)?,
            None => Deadline::NEVER,
        };
        let is_refused = self.is_task_refused || self.is_result_refused;
        poll_until(&mut polled, if is_refused { deadline.look()? } else { deadline })?;
        let is_ready = |polled: &PollFd| polled.any().unwrap_or(true);
        let (owner, workers) = (&polled[0], polled[1..].chunks_exact(2));
        let owner =
            owner.revents().is_none_or(|events| events != PollFlags::POLLOUT && !events.is_empty());
        let ready = slots.into_iter().zip(workers).filter(|(_, pair)| pair.iter().any(is_ready));
        Ok(Ready { owner, workers: ready.map(|(slot, pair)| (slot, is_ready(&pair[1]))).collect() })
    }

    /// Sends tasks to workers as long as one accepts them.
    fn send_tasks(&mut self) {
        self.is_task_refused = false;
        let overtaken = self.workers.take_back_overtaken();
        self.requeue(overtaken);
        loop {
            if self.queued.is_empty() {
                let taken_back = self.workers.take_back();
                self.requeue(taken_back);
            }
            let Some(task) = self.queued.pop_front() else { return };
            match self.workers.send(task) {
                Ok(()) => {}
                Err(((id, _), Some(error))) => {
                    self.results.push_back(result(id, &failure(&error.into())))
                }
                Err((task, None)) => {
                    self.is_task_refused = self.workers.accept(task.1.len());
                    return self.queued.push_front(task);
                }
            }
        }
    }

    /// Puts tasks that were taken back to the front of the queue, in the order of submission.
    fn requeue(&mut self, mut tasks: Vec<QueuedTask>) {
        tasks.sort_unstable_by_key(|(id, _)| Reverse(*id));
        tasks.into_iter().for_each(|task| self.queued.push_front(task));
    }

    /// Ends the tasks that have taken longer than the limit, with their workers.
    fn end_overrun_tasks(&mut self) -> Result<(), Errno> {
        let (not_begun, results) = self.workers.kill_overrun()?;
        self.requeue(not_begun);
        results.into_iter().for_each(|result| self.queue_result(result));
        Ok(())
    }

    /// Cancels a task if it has not begun, and answers the owner.
    fn cancel(&mut self, task: TaskId) {
        let taken_back = self.workers.take_back_with(task);
        self.requeue(taken_back);
        let queued = self.queued.iter().position(|(id, _)| *id == task);
        self.results.push_back(match queued.and_then(|at| self.queued.remove(at)) {
            Some(_) => result(task, &failure(&TaskError::Cancelled)),
            None => not_cancelled(task),
        });
    }

    /// Fails the queued tasks if no worker will ever be ready, so that their callers do not wait
    /// forever.
    fn fail_tasks_without_workers(&mut self) {
        if let Some(exit) = self.workers.have_given_up() {
            let error = failure(&TaskError::NotReady { exit });
            self.results.extend(self.queued.drain(..).map(|(id, _)| result(id, &error)));
        }
    }

    /// Queues a result for the owner, behind an announcement if it is large.
    fn queue_result(&mut self, message: Vec<u8>) {
        if message.len() > MAX_UNANNOUNCED_BYTES
            && let Some((id, _)) = parse_result(&message)
        {
            self.results.push_back(result(id, &[]));
        }
        self.results.push_back(message);
    }

    /// Sends results to the owner as long as its socket has room.
    fn send_results(&mut self) -> Result<(), PipeError> {
        self.is_result_refused = false;
        for _ in 0..MAX_RESULTS {
            let Some(front) = self.results.front_mut() else { break };
            match self.owner.send_bytes_timeout(front, Duration::ZERO) {
                Ok(true) => {
                    self.is_result_refused = false;
                    self.results.pop_front();
                }
                Ok(false) => {
                    // Room may have appeared only after the attempt. So a refusal counts only if
                    // the next attempt fails as well.
                    let had_room =
                        std::mem::replace(&mut self.is_result_refused, has_room(&self.owner)?);
                    if had_room || !self.is_result_refused {
                        break;
                    }
                }
                // A large result needs a file, and too many may be open. The short error still
                // fits.
                Err(PipeError::System(errno)) => {
                    let id = parse_result(front).map(|(id, _)| id).unwrap_or_default();
                    *front = result(id, &failure(&errno.into()));
                    if !self.owner.send_bytes_timeout(front, Duration::ZERO)? {
                        break;
                    }
                    self.results.pop_front();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives requests of the owner. Returns false if the pool must end at once.
    fn receive_requests(&mut self) -> Result<bool, PipeError> {
        for _ in 0..MAX_REQUESTS {
            let request = match self.owner.recv_bytes_timeout(Duration::ZERO) {
                Ok(Some(request)) => request,
                Ok(None) => break,
                // The owner has ended, or has dropped the pool.
                Err(PipeError::Closed) => return Ok(false),
                // A task of unknown id is lost, and the owner would wait for it forever. The cause
                // is not a lack of descriptors: those used while starting workers are free again.
                Err(error) => return Err(error),
            };
            match Request::parse(&request) {
                Some(Request::Task(id)) => self.queued.push_back((id, request)),
                Some(Request::Cancel(id)) => self.cancel(id),
                Some(Request::Close) => self.is_closed = true,
                Some(Request::Terminate) => return Ok(false),
                None => return Err(PipeError::Malformed),
            }
        }
        Ok(true)
    }
}

/// Returns true if poll reports that a socket has room for a message.
fn has_room(socket: &Connection) -> Result<bool, Errno> {
    poll_until(
        &mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)],
        Deadline::after(Duration::ZERO)?,
    )
}
