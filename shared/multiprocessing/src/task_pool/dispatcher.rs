//! The dispatcher of a pool of tasks: a process of its own that starts the workers, gives them the tasks, and hands the results back.
//!
//! It is a process because only a process with one thread may fork, and whoever has the pool shall be free to have many; and
//! because tasks shall go on while the owner is busy with other things. When all workers are at work each is given a few short tasks
//! ahead, so that none waits for the dispatcher between them. Those that nobody has begun are taken back for a worker that has nothing
//! to do, so that no task waits behind a long one, and when their worker dies, so that nothing fails but the task it was at.

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

/// How long workers that have nothing more to do may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// So many orders are taken in before the workers are looked after again.
const ORDERS_AT_ONCE: usize = 64;
/// So many results are handed back before the workers are looked after again.
const RESULTS_AT_ONCE: usize = 64;
/// Larger results are announced: to receive them the owner needs a descriptor, and may have none.
const ANNOUNCED: usize = 1 << 15;

struct Dispatcher<'a> {
    owner: Connection,
    workers: Workers<'a>,
    /// Tasks that lie with no worker.
    waiting: VecDeque<WaitingTask>,
    /// Results that the owner has not taken yet.
    results: VecDeque<Vec<u8>>,
    /// Whether the owner will send no more tasks.
    is_closed: bool,
    /// Whether a task was refused by a worker that has room, and a result by the owner's socket: too many descriptors are on their way
    /// between processes of this user, and nobody tells when there are fewer.
    is_task_refused: bool,
    is_result_refused: bool,
}

/// Which of the polled descriptors are ready.
struct Ready {
    owner: bool,
    /// Slots of workers that sent something or ended, and whether they ended.
    workers: Vec<(usize, bool)>,
}

/// Runs a pool for its owner, to whom it first says whether all workers were started: nothing, or which one was not and the
/// number of the error. Returns the exit code.
pub(super) fn run(owner: Connection, duties: Duties) -> i32 {
    // Ctrl-C is for the owner: when it ends, the pool does. And whoever started it may ignore SIGCHLD, which is inherited: the
    // kernel would reap the workers itself and tell nobody how they ended.
    let _ = set_disposition(Signal::SIGINT, SigHandler::SigIgn);
    let _ = set_disposition(Signal::SIGCHLD, SigHandler::SigDfl);
    let (workers, started) = Workers::start(duties);
    let failed = started.err().map(|(worker, errno)| (worker, errno as i32));
    let is_told = owner.send(&failed).is_ok();
    let mut dispatcher = Dispatcher {
        owner,
        workers,
        waiting: VecDeque::new(),
        results: VecDeque::new(),
        is_closed: false,
        is_task_refused: false,
        is_result_refused: false,
    };
    let done = if failed.is_none() && is_told { dispatcher.serve() } else { Ok(false) };
    let all_done = matches!(done, Ok(true));
    dispatcher.workers.end(if all_done { GRACE } else { Duration::ZERO });
    i32::from(done.is_err())
}

impl Dispatcher<'_> {
    /// Works until the owner has closed the pool and everything is done, or the owner wants no more. Whether everything is done.
    fn serve(&mut self) -> Result<bool, PipeError> {
        loop {
            self.workers.start_due();
            self.hand_out();
            self.fail_what_nobody_will_do();
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

    /// Waits until something happens or somebody is due.
    fn wait(&self) -> Result<Ready, Errno> {
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, !self.results.is_empty() && !self.is_result_refused);
        let mut polled = vec![PollFd::new(self.owner.as_fd(), events)];
        // Two places for each worker.
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

    /// Puts tasks that were given out before in front of all those that were not, in the order in which they came.
    fn wait_again(&mut self, mut tasks: Vec<WaitingTask>) {
        tasks.sort_unstable_by_key(|(id, _)| Reverse(*id));
        tasks.into_iter().for_each(|task| self.waiting.push_front(task));
    }

    /// When no worker will ever be ready, the tasks fail instead of waiting.
    fn fail_what_nobody_will_do(&mut self) {
        if let Some(exit) = self.workers.have_given_up() {
            let error = failure(&TaskError::NotReady { exit });
            self.results.extend(self.waiting.drain(..).map(|(id, _)| result(id, &error)));
        }
    }

    /// Keeps a result for the owner.
    fn keep(&mut self, message: Vec<u8>) {
        if message.len() > ANNOUNCED
            && let Some((id, _)) = result_parts(&message)
        {
            self.results.push_back(result(id, &[]));
        }
        self.results.push_back(message);
    }

    /// Sends results to the owner while it takes them.
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
                    // Twice in a row: there may have been room for it only since.
                    let had_room =
                        std::mem::replace(&mut self.is_result_refused, has_room(&self.owner)?);
                    if had_room || !self.is_result_refused {
                        break;
                    }
                }
                // A large one needs a file, and there may be too many. That it failed is told in a few bytes.
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

    /// Takes in what the owner wants. Whether it wants the pool to go on.
    fn take_orders(&mut self) -> Result<bool, PipeError> {
        for _ in 0..ORDERS_AT_ONCE {
            let order = match self.owner.recv_bytes_timeout(Duration::ZERO) {
                Ok(Some(order)) => order,
                Ok(None) => break,
                // The owner is gone, or has dropped the pool.
                Err(PipeError::Closed) => return Ok(false),
                // Nobody knows which task it was, and its owner would wait for it for ever. It is not for want of a descriptor: what
                // starting workers took for a moment is free.
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

/// Whether a socket has room for a message, as far as it says.
fn has_room(socket: &Connection) -> Result<bool, Errno> {
    poll_until(
        &mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)],
        Deadline::after(Duration::ZERO)?,
    )
}
