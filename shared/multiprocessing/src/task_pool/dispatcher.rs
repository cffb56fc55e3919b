//! The dispatcher of a pool of tasks: a process that starts the workers, gives them the tasks, and
//! sends the results back.
//!
//! It is a process of its own because only a process with one thread may fork, and the owner of a
//! pool may have many. Also, tasks go on while the owner is busy. When all workers are busy each
//! gets a few short tasks ahead, so that none waits for the dispatcher between tasks. The
//! dispatcher takes back tasks that are not begun for an idle worker, so that no task waits behind
//! a long one. If a worker dies it takes them back too, so that only the task in progress fails.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigHandler, Signal};

use super::error::TaskError;
use super::function::failure;
use super::message::{Order, WaitingTask, result, result_parts};
use super::workers::{Duties, Workers};
use crate::pipe::{Connection, PipeError};
use crate::sys::deadline::Deadline;
use crate::sys::signal::set_disposition;
use crate::sys::wait::poll_until;

/// How long idle workers may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// How many orders are received before the workers are looked after again.
const ORDERS_AT_ONCE: usize = 64;
/// How many results are sent back before the workers are looked after again.
const RESULTS_AT_ONCE: usize = 64;
/// Larger results are announced first: to receive them the owner needs a descriptor, and may have
/// none.
const ANNOUNCED: usize = 1 << 15;

struct Dispatcher<'a> {
    owner: Connection,
    workers: Workers<'a>,
    /// Tasks that no worker has.
    waiting: VecDeque<WaitingTask>,
    /// Results that the owner has not taken yet.
    results: VecDeque<Vec<u8>>,
    /// True if the owner will send no more tasks.
    is_closed: bool,
    /// True if a worker that has room refused a task, or the owner's socket a result: this user has
    /// too many descriptors in flight between processes, and no event reports when there are fewer.
    is_task_refused: bool,
    is_result_refused: bool,
}

/// Which of the polled descriptors are ready.
struct Ready {
    owner: bool,
    /// Slots of workers that sent something or ended, with true if they ended.
    workers: Vec<(usize, bool)>,
}

/// Runs a pool for its owner, and returns the exit code. The first message to the owner reports the
/// start: nothing if all workers were started, otherwise the one that was not and its error number.
pub(super) fn run(owner: Connection, duties: Duties) -> i32 {
    // Ctrl-C is for the owner: when it ends, the pool does. SIGCHLD may be inherited as ignored;
    // then the kernel would reap the workers itself without reporting how they ended.
    let _ = set_disposition(Signal::SIGINT, SigHandler::SigIgn);
    let _ = set_disposition(Signal::SIGCHLD, SigHandler::SigDfl);
    let (workers, started) = Workers::start(duties);
    let failed = started.err().map(|(worker, errno)| (worker, errno as i32));
    let is_informed = owner.send(&failed).is_ok();
    let mut dispatcher = Dispatcher {
        owner,
        workers,
        waiting: VecDeque::new(),
        results: VecDeque::new(),
        is_closed: false,
        is_task_refused: false,
        is_result_refused: false,
    };
    let done = if failed.is_none() && is_informed { dispatcher.serve() } else { Ok(false) };
    let all_done = matches!(done, Ok(true));
    dispatcher.workers.end(if all_done { GRACE } else { Duration::ZERO });
    i32::from(done.is_err())
}

impl Dispatcher<'_> {
    /// Works until the owner has closed the pool and all is done, or the owner stops it. Returns
    /// true if all is done.
    fn serve(&mut self) -> Result<bool, PipeError> {
        loop {
            self.workers.start_due();
            self.hand_out();
            self.fail_if_no_worker_will_be_ready();
            self.hand_back()?;
            if self.is_closed && self.is_idle() {
                return Ok(true);
            }
            let ready = self.wait()?;
            for (slot, has_ended) in ready.workers {
                for result in self.workers.receive(slot) {
                    self.keep(result);
                }
                if has_ended {
                    let (unbegun, lost) = self.workers.remove_dead(slot);
                    self.wait_again(unbegun);
                    self.results.extend(lost);
                }
            }
            if ready.owner && !self.take_orders()? {
                return Ok(false);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.results.is_empty() && self.workers.are_idle()
    }

    /// Waits until something happens or a worker is due.
    fn wait(&self) -> Result<Ready, Errno> {
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, !self.results.is_empty() && !self.is_result_refused);
        let mut polled = vec![PollFd::new(self.owner.as_fd(), events)];
        // Two entries for each worker.
        let mut slots = Vec::new();
        for (slot, came, ended) in self.workers.sources() {
            slots.push(slot);
            polled.extend([came, ended].map(|source| PollFd::new(source, PollFlags::POLLIN)));
        }
        let deadline = match self.workers.next_due() {
            Some(moment) => Deadline::after(moment.saturating_duration_since(Instant::now()))?,
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

    /// Gives tasks to the workers that have least to do.
    fn hand_out(&mut self) {
        self.is_task_refused = false;
        let overtaken = self.workers.take_back_overtaken();
        self.wait_again(overtaken);
        while let Some(task) = self.waiting.pop_front().or_else(|| self.workers.take_back()) {
            match self.workers.give(task) {
                Ok(()) => {}
                Err(((id, _), Some(error))) => {
                    self.results.push_back(result(id, &failure(&error.into())))
                }
                Err((task, None)) => {
                    self.is_task_refused = self.workers.takes(task.1.len());
                    return self.waiting.push_front(task);
                }
            }
        }
    }

    /// Puts tasks that were given out before in front of all that were not, in their order of
    /// arrival.
    fn wait_again(&mut self, mut tasks: Vec<WaitingTask>) {
        tasks.sort_unstable_by_key(|(id, _)| Reverse(*id));
        tasks.into_iter().for_each(|task| self.waiting.push_front(task));
    }

    /// Fails the tasks if no worker will ever be ready, instead of letting them wait.
    fn fail_if_no_worker_will_be_ready(&mut self) {
        if let Some(exit) = self.workers.have_given_up() {
            let error = failure(&TaskError::NotReady { exit });
            self.results.extend(self.waiting.drain(..).map(|(id, _)| result(id, &error)));
        }
    }

    /// Queues a result for the owner.
    fn keep(&mut self, message: Vec<u8>) {
        if message.len() > ANNOUNCED
            && let Some((id, _)) = result_parts(&message)
        {
            self.results.push_back(result(id, &[]));
        }
        self.results.push_back(message);
    }

    /// Sends results to the owner as long as it takes them.
    fn hand_back(&mut self) -> Result<(), PipeError> {
        self.is_result_refused = false;
        for _ in 0..RESULTS_AT_ONCE {
            let Some(front) = self.results.front_mut() else { break };
            match self.owner.send_bytes_timeout(front, Duration::ZERO) {
                Ok(true) => {
                    self.is_result_refused = false;
                    self.results.pop_front();
                }
                Ok(false) => {
                    // Stops after two refusals in a row: room may have appeared between the refusal
                    // and the check.
                    let had_room =
                        std::mem::replace(&mut self.is_result_refused, has_room(&self.owner)?);
                    if had_room || !self.is_result_refused {
                        break;
                    }
                }
                // A large result needs a file, and there may be too many. A few bytes report the
                // failure instead.
                Err(PipeError::System(errno)) => {
                    let id = result_parts(front).map(|(id, _)| id).unwrap_or_default();
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

    /// Receives the orders of the owner. Returns true if it wants the pool to go on.
    fn take_orders(&mut self) -> Result<bool, PipeError> {
        for _ in 0..ORDERS_AT_ONCE {
            let order = match self.owner.recv_bytes_timeout(Duration::ZERO) {
                Ok(Some(order)) => order,
                Ok(None) => break,
                // The owner is gone, or has dropped the pool.
                Err(PipeError::Closed) => return Ok(false),
                // The task is unknown, and its owner would wait for it for ever. The cause is no
                // lack of descriptors: those that starting workers took for a moment are free.
                Err(error) => return Err(error),
            };
            match Order::of(&order) {
                Some(Order::Task(id)) => self.waiting.push_back((id, order)),
                Some(Order::Close) => self.is_closed = true,
                Some(Order::Terminate) => return Ok(false),
                None => return Err(PipeError::Malformed),
            }
        }
        Ok(true)
    }
}

/// Returns true if a socket reports room for a message.
fn has_room(socket: &Connection) -> Result<bool, Errno> {
    poll_until(
        &mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)],
        Deadline::after(Duration::ZERO)?,
    )
}
