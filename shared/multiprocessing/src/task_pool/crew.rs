//! The workers of a pool of tasks as its dispatcher keeps them: each is given tasks, a few ahead, and replaced when it ends.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::backlog::{Backlog, Remains};
use super::error::TaskError;
use super::function::failure;
use super::message::{WaitingTask, result, result_parts};
use super::offers::{MOST, Offers};
use super::worker::{READY, work};
use crate::exit::Exit;
use crate::fork::SpawnError;
use crate::pipe::{Connection, PipeError, pipe};
use crate::pool::{Backoff, Next};
use crate::process::Process;

/// Pause after a fork that failed, for the machine is out of processes or memory; and between two attempts in a place where workers
/// only end, while there are others that work.
const PAUSE: Duration = Duration::from_millis(500);
/// When the workers have done so many tasks each, on the average, and one none, what that one has not begun is given to others: behind
/// its long task it could wait for ever while others overtake it.
const OVERTAKEN: u64 = 2 * MOST as u64;

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
    /// How many tasks were done.
    done: u64,
}

/// One place for a worker.
struct Slot {
    state: State,
    backoff: Backoff,
    offers: Offers,
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
    backlog: Backlog,
    /// How many tasks the crew had done when this worker was given its first one, or sent its last result.
    done_before: u64,
}

impl<'a> Crew<'a> {
    /// Starts the first workers, or says which one could not be and why; those that were end with it.
    pub(super) fn start(duties: Duties<'a>) -> (Self, Result<(), (usize, Errno)>) {
        let offers = Offers::of_workers(duties.workers);
        let mut crew = Self { duties, slots: Vec::new(), done: 0 };
        let offers = match offers {
            Ok(offers) => offers,
            Err(errno) => return (crew, Err((0, errno))),
        };
        for (worker, offers) in offers.into_iter().enumerate() {
            match crew.start_worker(&offers) {
                Ok(started) => {
                    let state = State::Running(started);
                    crew.slots.push(Slot { state, backoff: Backoff::default(), offers });
                }
                Err(errno) => return (crew, Err((worker, errno))),
            }
        }
        (crew, Ok(()))
    }

    fn start_worker(&mut self, offers: &Offers) -> Result<Worker, Errno> {
        let (here, there) = pipe().map_err(errno_of)?;
        let Self { duties, slots, .. } = self;
        let process = Process::spawn_with(there, |there| {
            // Its copies of the siblings' descriptors: every worker shall have the same ones, whenever it started.
            slots.clear();
            work(&there, offers, duties.initializer, duties.tasks_per_worker)
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
            backlog: Backlog::new(offers.clone()),
            done_before: 0,
        })
    }

    /// Starts the workers that are due.
    pub(super) fn start_due(&mut self) {
        let now = Instant::now();
        for slot in 0..self.slots.len() {
            if matches!(self.slots[slot].state, State::Due(moment) if moment <= now) {
                let offers = self.slots[slot].offers.clone();
                self.slots[slot].state = match self.start_worker(&offers) {
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
        self.running().all(|(_, worker)| worker.backlog.is_empty())
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

    fn running_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.slots.iter_mut().filter_map(|Slot { state, .. }| match state {
            State::Running(worker) => Some(worker),
            _ => None,
        })
    }

    /// Gives a task to one of the workers that have least to do. Or returns it, when all have enough, or with the reason why it
    /// cannot be sent.
    pub(super) fn give(&mut self, mut task: WaitingTask) -> Result<(), (WaitingTask, Option<PipeError>)> {
        loop {
            let done = self.done;
            let takers = self.running_mut().filter(|worker| worker.takes(task.1.len()));
            let Some(worker) = takers.min_by_key(|worker| worker.backlog.len()) else {
                return Err((task, None));
            };
            let Some(connection) = &worker.connection else { return Err((task, None)) };
            if worker.backlog.is_empty() {
                worker.done_before = done;
            }
            match worker.backlog.send(connection, task) {
                Ok(()) => {
                    worker.tasks_left -= 1;
                    return Ok(());
                }
                // It has just ended, and was not given the task. What it sent before is still to be taken in.
                Err((returned, Some(PipeError::Closed))) => {
                    worker.tasks_left = 0;
                    task = returned;
                }
                Err(returned) => return Err(returned),
            }
        }
    }

    /// Takes a task back that nobody has begun, from the worker that has most to do, if another one has nothing.
    pub(super) fn take_back(&mut self) -> Option<WaitingTask> {
        let is_idle = |worker: &Worker| worker.backlog.is_empty() && worker.takes(0);
        if !self.running().any(|(_, worker)| is_idle(worker)) {
            return None;
        }
        self.running_mut().max_by_key(|worker| worker.backlog.len())?.take_back()
    }

    /// Takes back what is overtaken: what lies with workers that are long at work on one task.
    pub(super) fn take_back_overtaken(&mut self) -> Vec<WaitingTask> {
        let most = self.done.saturating_sub(OVERTAKEN.saturating_mul(self.slots.len() as u64));
        let overtaken = self.running_mut().filter(|worker| worker.done_before < most);
        overtaken.flat_map(|worker| std::iter::from_fn(|| worker.take_back())).collect()
    }

    /// Takes in what a worker has sent: the results of its tasks, if it is that.
    pub(super) fn take(&mut self, slot: usize) -> Vec<Vec<u8>> {
        let mut results = Vec::new();
        let State::Running(worker) = &mut self.slots[slot].state else { return results };
        let mut has_become_ready = false;
        while let Some(connection) = &worker.connection {
            match connection.recv_bytes_timeout(Duration::ZERO) {
                Ok(Some(message)) if message == READY => {
                    worker.is_ready = true;
                    has_become_ready = true;
                }
                Ok(Some(message)) => {
                    if result_parts(&message).is_some_and(|(id, _)| worker.backlog.is_done(id)) {
                        self.done += 1;
                        worker.done_before = self.done;
                        results.push(message);
                    }
                }
                Ok(None) => break,
                // It ends, which the process tells.
                Err(_) => worker.connection = None,
            }
        }
        if has_become_ready {
            self.slots[slot].backoff = Backoff::default();
            self.try_again();
        }
        results
    }

    /// A worker can become ready, so it is worth a try also where that was given up.
    fn try_again(&mut self) {
        for Slot { state, .. } in &mut self.slots {
            if matches!(state, State::GivenUp(_)) {
                *state = State::Due(Instant::now());
            }
        }
    }

    /// A worker has ended, and what it sent was taken in: another one takes its place. Returns the tasks that it had and did not begin,
    /// and the results of those that it had begun: that it died.
    pub(super) fn bury(&mut self, slot: usize) -> (Vec<WaitingTask>, Vec<Vec<u8>>) {
        let nothing = (Vec::new(), Vec::new());
        let Slot { state, backoff, offers } = &mut self.slots[slot];
        let State::Running(worker) = state else { return nothing };
        let exit = match worker.process.join_timeout(Duration::ZERO) {
            Ok(Some(exit)) => exit,
            Ok(None) => return nothing,
            // Somebody else reaped it, and nobody knows how it ended.
            Err(_) => Exit::Code(255),
        };
        let backlog = std::mem::replace(&mut worker.backlog, Backlog::new(offers.clone()));
        let Remains { unbegun, lost } = backlog.remains();
        let pid = worker.process.pid().as_raw();
        let (is_ready, uptime) = (worker.is_ready, worker.started.elapsed());
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
        let death = |task| result(task, &failure(&TaskError::WorkerDied { pid, exit }));
        (unbegun, lost.into_iter().map(death).collect())
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

impl Worker {
    /// Whether it may be given a task of so many bytes.
    fn takes(&self, bytes: usize) -> bool {
        self.is_ready && self.connection.is_some() && self.tasks_left > 0 && self.backlog.takes(bytes)
    }

    fn take_back(&mut self) -> Option<WaitingTask> {
        let task = self.backlog.take_back();
        self.tasks_left += u64::from(task.is_some());
        task
    }
}

fn errno_of(error: PipeError) -> Errno {
    match error {
        PipeError::System(errno) => errno,
        _ => Errno::EIO,
    }
}
