//! The workers of a pool of tasks as its dispatcher keeps them: each is given one task at a time and replaced when it ends.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::error::TaskError;
use super::function::failure;
use super::message::{TaskId, result, result_parts};
use super::worker::{READY, work};
use crate::exit::Exit;
use crate::fork::SpawnError;
use crate::pipe::{Connection, PipeError, pipe};
use crate::pool::{Backoff, Next};
use crate::process::Process;

/// Pause after a fork that failed, for the machine is out of processes or memory; and between two attempts in a place where workers
/// only end, while there are others that work.
const PAUSE: Duration = Duration::from_millis(500);

/// What a pool's processes shall do, beside tasks.
pub(super) struct Duties<'a> {
    pub(super) workers: usize,
    /// After so many tasks a worker ends and another takes its place.
    pub(super) tasks_per_worker: u64,
    pub(super) initializer: &'a dyn Fn(),
}

/// The workers, each in its slot.
pub(super) struct Crew<'a> {
    duties: Duties<'a>,
    slots: Vec<Slot>,
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
    /// Workers only ended before they were ready, the last one so. Nobody is started here before another slot's worker is ready.
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

impl<'a> Crew<'a> {
    /// Starts the first workers, or says which one could not be and why; those that were end with it.
    pub(super) fn start(duties: Duties<'a>) -> (Self, Result<(), (usize, Errno)>) {
        let mut crew = Self { slots: Vec::new(), duties };
        for worker in 0..crew.duties.workers {
            match crew.start_worker() {
                Ok(started) => {
                    crew.slots.push(Slot { state: State::Running(started), backoff: Backoff::default() });
                }
                Err(errno) => return (crew, Err((worker, errno))),
            }
        }
        (crew, Ok(()))
    }

    fn start_worker(&mut self) -> Result<Worker, Errno> {
        let (here, there) = pipe().map_err(errno_of)?;
        let Self { duties, slots } = self;
        let process = Process::spawn_with(there, |there| {
            // Its copies of the siblings' descriptors: every worker shall have the same ones, whenever it started.
            slots.clear();
            work(&there, duties.initializer, duties.tasks_per_worker)
        });
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
            tasks_left: duties.tasks_per_worker,
            task: None,
        })
    }

    /// Starts the workers that are due.
    pub(super) fn start_due(&mut self) {
        let now = Instant::now();
        for slot in 0..self.slots.len() {
            if matches!(self.slots[slot].state, State::Due(moment) if moment <= now) {
                self.slots[slot].state = match self.start_worker() {
                    Ok(worker) => State::Running(worker),
                    Err(_) => State::Due(now + PAUSE),
                };
            }
        }
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = self.slots.iter().filter_map(|slot| match slot.state {
            State::Due(moment) => Some(moment),
            _ => None,
        });
        due.min()
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Worker)> {
        self.slots.iter().enumerate().filter_map(|(slot, Slot { state, .. })| match state {
            State::Running(worker) => Some((slot, worker)),
            _ => None,
        })
    }

    /// Whether nobody is at work.
    pub(super) fn is_at_rest(&self) -> bool {
        self.running().all(|(_, worker)| worker.task.is_none())
    }

    /// How the last worker ended, if none will ever be ready.
    pub(super) fn has_given_up(&self) -> Option<Exit> {
        let given_up = |slot: &Slot| match slot.state {
            State::GivenUp(exit) => Some(exit),
            _ => None,
        };
        self.slots.iter().map(given_up).collect::<Option<Vec<_>>>()?.pop()
    }

    /// By slot, what is readable when something comes from the worker, and when it has ended.
    pub(super) fn sources(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>, BorrowedFd<'_>)> {
        self.running().map(|(slot, worker)| {
            let ended = worker.process.as_fd();
            // One that has closed its connection has nothing more to say.
            (slot, worker.connection.as_ref().map_or(ended, Connection::as_fd), ended)
        })
    }

    /// Gives a task to a worker that has none. Whether there was one.
    pub(super) fn give(&mut self, id: TaskId, task: &[u8]) -> Result<bool, PipeError> {
        for Slot { state, .. } in &mut self.slots {
            let State::Running(worker) = state else { continue };
            let Some(connection) = &worker.connection else { continue };
            if worker.is_ready && worker.task.is_none() && worker.tasks_left > 0 {
                // There is always room: a worker that has no task has taken everything in.
                match connection.send_bytes(task) {
                    Ok(()) => {
                        worker.task = Some(id);
                        worker.tasks_left -= 1;
                        return Ok(true);
                    }
                    // It has just ended, and was not given the task.
                    Err(PipeError::Closed) => worker.connection = None,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(false)
    }

    /// Takes in what a worker has sent: the result of its task, if it is that.
    pub(super) fn take(&mut self, slot: usize) -> Option<Vec<u8>> {
        let State::Running(worker) = &mut self.slots[slot].state else { return None };
        loop {
            match worker.connection.as_ref()?.recv_bytes_timeout(Duration::ZERO) {
                Ok(Some(message)) if message == READY => {
                    worker.is_ready = true;
                    self.slots[slot].backoff = Backoff::default();
                    self.try_again();
                    return None;
                }
                Ok(Some(message)) => {
                    let id = result_parts(&message).map(|(id, _)| id);
                    if worker.task.is_some() && id == worker.task {
                        worker.task = None;
                        return Some(message);
                    }
                }
                Ok(None) => return None,
                // It ends, which the process tells.
                Err(_) => worker.connection = None,
            }
        }
    }

    /// A worker can become ready, so it is worth a try also where that was given up.
    fn try_again(&mut self) {
        for Slot { state, .. } in &mut self.slots {
            if matches!(state, State::GivenUp(_)) {
                *state = State::Due(Instant::now());
            }
        }
    }

    /// A worker has ended, and what it sent was taken in: what it had is lost, and another one takes its place. Returns the result
    /// of its task: that it died.
    pub(super) fn bury(&mut self, slot: usize) -> Option<Vec<u8>> {
        let State::Running(worker) = &mut self.slots[slot].state else { return None };
        let exit = match worker.process.join_timeout(Duration::ZERO) {
            Ok(exit) => exit?,
            // Somebody else reaped it, and nobody knows how it ended.
            Err(_) => Exit::Code(255),
        };
        let (pid, task) = (worker.process.pid().as_raw(), worker.task);
        let (is_ready, uptime) = (worker.is_ready, worker.started.elapsed());
        let Slot { state, backoff } = &mut self.slots[slot];
        *state = State::GivenUp(exit);
        // Deaths before a worker was ready do not count any more, so one that was is replaced at once: tasks may kill as many as
        // they like.
        let pause = match backoff.after_death(exit, uptime, is_ready) {
            Next::Restart => Some(Duration::ZERO),
            Next::RestartAfter(pause) => Some(pause),
            Next::GiveUp | Next::CannotServe | Next::Stay => {
                self.running().any(|(_, worker)| worker.is_ready).then_some(PAUSE)
            }
        };
        if let Some(pause) = pause {
            self.slots[slot].state = State::Due(Instant::now() + pause);
        }
        Some(result(task?, &failure(&TaskError::WorkerDied { pid, exit })))
    }

    /// Ends every worker and waits until they are gone. Those that are at work after the grace are killed.
    pub(super) fn end(self, grace: Duration) {
        let workers = self.slots.into_iter().filter_map(|slot| match slot.state {
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
