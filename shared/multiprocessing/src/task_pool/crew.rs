//! The workers of a pool of tasks as its dispatcher keeps them: each is given tasks, a few ahead, and replaced when it ends.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::backlog::Remains;
use super::error::TaskError;
use super::function::failure;
use super::member::Member;
use super::message::{WaitingTask, result};
use super::offers::{MOST, Offers};
use super::worker::work;
use crate::pipe::PipeError;
use crate::pool::{Backoff, Next};
use crate::sys::exit::Exit;

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
    Running(Member),
    /// Another worker is due.
    Due(Instant),
    /// Workers only ended before they had begun a task, the last one so. Nobody is started here before another slot's worker is ready.
    GivenUp(Exit),
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

    fn start_worker(&mut self, offers: &Offers) -> Result<Member, Errno> {
        let Self { duties, slots, .. } = self;
        Member::start(offers, duties.tasks_per_worker, |dispatcher| {
            // Its copies of the siblings' descriptors: every worker shall have the same ones, whenever it started.
            slots.clear();
            work(dispatcher, offers, duties.initializer, duties.tasks_per_worker)
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

    fn running(&self) -> impl Iterator<Item = (usize, &Member)> {
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
            let (came, ended) = worker.sources();
            (slot, came, ended)
        })
    }

    fn running_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.slots.iter_mut().filter_map(|Slot { state, .. }| match state {
            State::Running(worker) => Some(worker),
            _ => None,
        })
    }

    /// Whether a worker may be given a task of so many bytes.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        self.running().any(|(_, worker)| worker.takes(bytes))
    }

    /// Gives a task to one of the workers that have least to do. Or returns it, when all have enough or there is no room, or with the
    /// reason why it cannot be sent.
    pub(super) fn give(
        &mut self,
        mut task: WaitingTask,
    ) -> Result<(), (WaitingTask, Option<PipeError>)> {
        loop {
            let done = self.done;
            let takers = self.running_mut().filter(|worker| worker.takes(task.1.len()));
            let Some(worker) = takers.min_by_key(|worker| worker.backlog.len()) else {
                return Err((task, None));
            };
            match worker.give(task, done) {
                // It has just ended, and was not given the task.
                Err((returned, Some(PipeError::Closed))) => task = returned,
                given => return given,
            }
        }
    }

    /// Takes a task back that nobody has begun, from the worker that has most to do, if another one has nothing.
    pub(super) fn take_back(&mut self) -> Option<WaitingTask> {
        if !self.running().any(|(_, worker)| worker.backlog.is_empty() && worker.takes(0)) {
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
        let State::Running(worker) = &mut self.slots[slot].state else { return Vec::new() };
        let was_ready = worker.is_ready;
        let results = worker.receive(&mut self.done);
        if !was_ready && worker.is_ready {
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
        let Slot { state, backoff, .. } = &mut self.slots[slot];
        let State::Running(worker) = state else { return nothing };
        let exit = match worker.process.join_timeout(Duration::ZERO) {
            Ok(Some(exit)) => exit,
            Ok(None) => return nothing,
            // Somebody else reaped it, and nobody knows how it ended.
            Err(_) => Exit::Code(255),
        };
        let Remains { unbegun, lost } = worker.backlog.remains();
        let pid = worker.process.pid().as_raw();
        let (is_ready, uptime) = (worker.is_ready, worker.started.elapsed());
        // One that has begun a task is replaced at once, whatever was before: tasks may kill as many as they like.
        if worker.has_worked || !lost.is_empty() {
            *backoff = Backoff::default();
        }
        *state = State::GivenUp(exit);
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
