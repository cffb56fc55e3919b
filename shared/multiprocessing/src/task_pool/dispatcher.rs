//! The dispatcher of a pool of tasks: a process of its own that starts the workers, gives each one task at a time, and hands the
//! results back.
//!
//! It is a process because only a process with one thread may fork, and whoever has the pool shall be free to have many; and
//! because tasks shall go on while the owner is busy with other things. One task at a time, so that no task waits behind a long
//! one while another worker has nothing to do, and so that it is known which one a dead worker had.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigHandler, Signal};

use super::error::TaskError;
use super::function::failure;
use super::message::{Order, TaskId, result, result_parts};
use super::worker::{READY, work};
use crate::deadline::Deadline;
use crate::exit::Exit;
use crate::fork::{SpawnError, set_disposition};
use crate::pipe::{Connection, PipeError, pipe};
use crate::pool::{Backoff, Next};
use crate::process::Process;
use crate::wait::poll_until;

/// Pause after a fork that failed: the machine is out of processes or memory.
const SPAWN_PAUSE: Duration = Duration::from_millis(500);
/// How long workers that have nothing more to do may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// So many orders are taken in before the workers are looked after again.
const ORDERS_AT_ONCE: usize = 64;

/// What a pool's processes shall do, beside tasks.
pub(super) struct Duties<'a> {
    pub(super) workers: usize,
    /// After so many tasks a worker ends and another takes its place.
    pub(super) tasks_per_worker: u64,
    pub(super) initializer: &'a dyn Fn(),
}

/// One place for a worker.
struct Slot {
    state: State,
    backoff: Backoff,
}

enum State {
    Running(Worker),
    /// Another worker is due.
    Due(Instant),
    /// Nobody is started here any more: workers only ended before they were ready, the last one so.
    GivenUp(Exit),
}

struct Worker {
    process: Process,
    /// `None` once the worker has closed it: it is about to end.
    connection: Option<Connection>,
    started: Instant,
    is_ready: bool,
    /// How many more tasks it may be given.
    tasks_left: u64,
    /// What it is at work on.
    task: Option<TaskId>,
}

struct Dispatcher<'a> {
    owner: Connection,
    duties: Duties<'a>,
    slots: Vec<Slot>,
    /// Tasks that no worker has got yet.
    waiting: VecDeque<(TaskId, Vec<u8>)>,
    /// Results that the owner has not taken yet.
    results: VecDeque<Vec<u8>>,
    /// Whether the owner will send no more tasks.
    is_closed: bool,
}

/// Which of the polled descriptors are ready.
struct Ready {
    owner: bool,
    /// By slot: something came from the worker; it has ended.
    workers: Vec<(usize, bool, bool)>,
}

/// Runs a pool for its owner, to whom it first says whether all workers were started: nothing, or which one was not and the
/// number of the error. Returns the exit code.
pub(super) fn run(owner: Connection, duties: Duties) -> i32 {
    // Ctrl-C is for the owner: when it ends, the pool does.
    let _ = set_disposition(Signal::SIGINT, SigHandler::SigIgn);
    let mut dispatcher = Dispatcher {
        owner,
        duties,
        slots: Vec::new(),
        waiting: VecDeque::new(),
        results: VecDeque::new(),
        is_closed: false,
    };
    let started = dispatcher.start_all();
    let failed = started.is_err();
    let told = dispatcher.owner.send(&started.err());
    let done = if failed || told.is_err() { Ok(false) } else { dispatcher.serve() };
    let all_done = matches!(done, Ok(true));
    dispatcher.end_all(if all_done { GRACE } else { Duration::ZERO });
    i32::from(done.is_err())
}

impl Dispatcher<'_> {
    /// Starts the first workers, or says which one could not be and why.
    fn start_all(&mut self) -> Result<(), (usize, i32)> {
        for worker in 0..self.duties.workers {
            let started = self.start_worker().map_err(|error| (worker, error as i32))?;
            self.slots.push(Slot { state: State::Running(started), backoff: Backoff::default() });
        }
        Ok(())
    }

    fn start_worker(&self) -> Result<Worker, Errno> {
        let (here, there) = pipe().map_err(errno_of)?;
        let (initializer, most_tasks) = (self.duties.initializer, self.duties.tasks_per_worker);
        let process = Process::spawn_with(there, |there| work(&there, initializer, most_tasks));
        let process = process.map_err(|error| match error {
            SpawnError::Fork(errno) => errno,
            // This process has never had another one, but by an initializer's library that is linked in.
            SpawnError::ManyThreads { .. } => Errno::EDEADLK,
            SpawnError::Threads(error) => Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
        })?;
        Ok(Worker {
            process,
            connection: Some(here),
            started: Instant::now(),
            is_ready: false,
            tasks_left: most_tasks,
            task: None,
        })
    }

    /// Works until the owner has closed the pool and everything is done, or the owner wants no more. Whether everything is done.
    fn serve(&mut self) -> Result<bool, PipeError> {
        loop {
            self.start_due();
            self.hand_out();
            self.fail_what_nobody_will_do();
            self.hand_back()?;
            if self.is_closed && self.is_idle() {
                return Ok(true);
            }
            let ready = self.wait()?;
            for (slot, came, ended) in ready.workers {
                if came {
                    self.take_results(slot);
                }
                if ended {
                    self.bury(slot);
                }
            }
            if ready.owner && !self.take_orders()? {
                return Ok(false);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.results.is_empty()
            && self.running().all(|worker| worker.task.is_none())
    }

    fn running(&self) -> impl Iterator<Item = &Worker> {
        self.slots.iter().filter_map(|slot| match &slot.state {
            State::Running(worker) => Some(worker),
            _ => None,
        })
    }

    /// Waits until something happens or somebody is due.
    fn wait(&self) -> Result<Ready, Errno> {
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, !self.results.is_empty());
        let mut polled = vec![PollFd::new(self.owner.as_fd(), events)];
        // Two places for each worker that runs.
        let mut slots = Vec::with_capacity(self.slots.len());
        for (slot, Slot { state, .. }) in self.slots.iter().enumerate() {
            let State::Running(worker) = state else { continue };
            slots.push(slot);
            // One that has closed its connection has nothing more to say.
            let silent = worker.process.as_fd();
            let connection = worker.connection.as_ref().map_or(silent, Connection::as_fd);
            polled.push(PollFd::new(connection, PollFlags::POLLIN));
            polled.push(PollFd::new(worker.process.as_fd(), PollFlags::POLLIN));
        }
        poll_until(&mut polled, self.next_due()?)?;
        let is_ready = |polled: &PollFd| polled.any().unwrap_or(true);
        let owner =
            polled[0].revents().is_none_or(|events| events != PollFlags::POLLOUT && !events.is_empty());
        let workers = slots.iter().zip(polled[1..].chunks_exact(2));
        let workers = workers.map(|(slot, pair)| (*slot, is_ready(&pair[0]), is_ready(&pair[1])));
        Ok(Ready { owner, workers: workers.collect() })
    }

    fn next_due(&self) -> Result<Deadline, Errno> {
        let due = self.slots.iter().filter_map(|slot| match slot.state {
            State::Due(moment) => Some(moment),
            _ => None,
        });
        match due.min() {
            Some(moment) => Deadline::after(moment.saturating_duration_since(Instant::now())),
            None => Ok(Deadline::NEVER),
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        for slot in 0..self.slots.len() {
            if matches!(self.slots[slot].state, State::Due(moment) if moment <= now) {
                self.slots[slot].state = match self.start_worker() {
                    Ok(worker) => State::Running(worker),
                    Err(_) => State::Due(now + SPAWN_PAUSE),
                };
            }
        }
    }

    /// Gives a task to every worker that has none.
    fn hand_out(&mut self) {
        for Slot { state, .. } in &mut self.slots {
            let State::Running(worker) = state else { continue };
            let Some(connection) = &worker.connection else { continue };
            if worker.is_ready && worker.task.is_none() && worker.tasks_left > 0 {
                let Some((id, task)) = self.waiting.pop_front() else { return };
                // There is always room: a worker that has no task has taken everything in.
                match connection.send_bytes(&task) {
                    Ok(()) => {
                        worker.task = Some(id);
                        worker.tasks_left -= 1;
                    }
                    Err(PipeError::Closed) => {
                        // It has just ended, and was not given the task.
                        worker.connection = None;
                        self.waiting.push_front((id, task));
                    }
                    Err(error) => self.results.push_back(result(id, &failure(&error.into()))),
                }
            }
        }
    }

    /// When no worker will ever be ready, the tasks fail instead of waiting.
    fn fail_what_nobody_will_do(&mut self) {
        let given_up = |slot: &Slot| match slot.state {
            State::GivenUp(exit) => Some(exit),
            _ => None,
        };
        let Some(exits) = self.slots.iter().map(given_up).collect::<Option<Vec<_>>>() else { return };
        let Some(&exit) = exits.last() else { return };
        let error = failure(&TaskError::NotReady { exit });
        self.results.extend(self.waiting.drain(..).map(|(id, _)| result(id, &error)));
    }

    /// Sends results to the owner while it takes them.
    fn hand_back(&mut self) -> Result<(), PipeError> {
        while let Some(front) = self.results.front_mut() {
            match self.owner.send_bytes_timeout(front, Duration::ZERO) {
                Ok(true) => drop(self.results.pop_front()),
                Ok(false) => break,
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

    /// Takes in what a worker has sent.
    fn take_results(&mut self, slot: usize) {
        let State::Running(worker) = &mut self.slots[slot].state else { return };
        while let Some(connection) = &worker.connection {
            match connection.recv_bytes_timeout(Duration::ZERO) {
                Ok(Some(message)) if message == READY => {
                    worker.is_ready = true;
                    self.slots[slot].backoff = Backoff::default();
                    return;
                }
                Ok(Some(message)) => {
                    let id = result_parts(&message).map(|(id, _)| id);
                    if worker.task.is_some() && id == worker.task {
                        worker.task = None;
                        self.results.push_back(message);
                    }
                }
                Ok(None) => return,
                // It ends, which the process tells.
                Err(_) => worker.connection = None,
            }
        }
    }

    /// A worker has ended: what it had is lost, and another one takes its place.
    fn bury(&mut self, slot: usize) {
        self.take_results(slot);
        let State::Running(worker) = &mut self.slots[slot].state else { return };
        let exit = match worker.process.join_timeout(Duration::ZERO) {
            Ok(None) => return,
            Ok(Some(exit)) => exit,
            // Somebody else reaped it, and nobody knows how it ended.
            Err(_) => Exit::Code(255),
        };
        let (pid, task) = (worker.process.pid().as_raw(), worker.task.take());
        let (was_ready, uptime) = (worker.is_ready, worker.started.elapsed());
        if let Some(id) = task {
            let error = TaskError::WorkerDied { pid, exit };
            self.results.push_back(result(id, &failure(&error)));
        }
        let Slot { state, backoff } = &mut self.slots[slot];
        // A worker that was ready is replaced at once: tasks may kill as many as they like.
        let next = if was_ready { Next::Restart } else { backoff.after_death(exit, uptime, false) };
        *state = match next {
            Next::Restart => State::Due(Instant::now()),
            Next::RestartAfter(pause) => State::Due(Instant::now() + pause),
            Next::GiveUp | Next::CannotServe | Next::Stay => State::GivenUp(exit),
        };
    }

    /// Ends every worker and waits until they are gone. Those that are at work after the grace are killed.
    fn end_all(&mut self, grace: Duration) {
        let workers = self.slots.drain(..).filter_map(|slot| match slot.state {
            // Its connection is closed here, which tells it to end.
            State::Running(worker) => Some(worker.process),
            _ => None,
        });
        let mut processes: Vec<_> = workers.collect();
        let deadline = Instant::now() + grace;
        for process in &mut processes {
            let left = deadline.saturating_duration_since(Instant::now());
            if matches!(process.join_timeout(left), Ok(None)) {
                // It reaches also those that are stopped or block signals.
                let _ = process.kill();
            }
        }
        for process in &mut processes {
            let _ = process.join();
        }
    }
}

fn errno_of(error: PipeError) -> Errno {
    match error {
        PipeError::System(errno) => errno,
        _ => Errno::EIO,
    }
}
