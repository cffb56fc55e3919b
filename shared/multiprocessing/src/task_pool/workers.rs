//! The workers of a pool of tasks as its dispatcher keeps them: each is given tasks, a few ahead, and replaced when it ends.

use std::os::fd::{AsFd, BorrowedFd};
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
use crate::pool::{Running, SPAWN_PAUSE, Slot};
use crate::sys::exit::Exit;

/// Pause between two attempts in a slot whose workers only end, while other workers are ready.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
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
pub(super) struct Workers<'a> {
    duties: Duties<'a>,
    slots: Vec<Slot<Member>>,
    /// The offers of each slot, for one worker after the other.
    offers: Vec<Offers>,
    /// How many tasks were done.
    done: u64,
}

impl<'a> Workers<'a> {
    /// Starts the first workers, or says which one could not be and why; those that were end with it.
    pub(super) fn start(duties: Duties<'a>) -> (Self, Result<(), (usize, Errno)>) {
        let mut workers = Self { duties, slots: Vec::new(), offers: Vec::new(), done: 0 };
        match Offers::of_workers(workers.duties.workers) {
            Ok(offers) => workers.offers = offers,
            Err(errno) => return (workers, Err((0, errno))),
        }
        for slot in 0..workers.offers.len() {
            workers.slots.push(Slot::empty());
            if let Err(errno) = workers.start_worker(slot) {
                return (workers, Err((slot, errno)));
            }
        }
        (workers, Ok(()))
    }

    fn start_worker(&mut self, slot: usize) -> Result<(), Errno> {
        let Self { duties, slots, offers, .. } = self;
        let (process, member) =
            Member::start(&offers[slot], duties.tasks_per_worker, |dispatcher| {
                // Every worker has the same descriptors, whenever it starts: none of its siblings'.
                slots.clear();
                work(dispatcher, &offers[slot], duties.initializer, duties.tasks_per_worker)
            })?;
        self.slots[slot].start(process, member);
        Ok(())
    }

    /// Starts the workers that are due.
    pub(super) fn start_due(&mut self) {
        let now = Instant::now();
        for slot in 0..self.slots.len() {
            if self.slots[slot].is_due(now) && self.start_worker(slot).is_err() {
                self.slots[slot].due_after(SPAWN_PAUSE);
            }
        }
    }

    /// Returns when the next worker is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.slots.iter().filter_map(Slot::next_due).min()
    }

    fn running(&self) -> impl Iterator<Item = &Running<Member>> {
        self.slots.iter().filter_map(Slot::running)
    }

    fn running_mut(&mut self) -> impl Iterator<Item = &mut Running<Member>> {
        self.slots.iter_mut().filter_map(Slot::running_mut)
    }

    /// Returns true if no worker has a task.
    pub(super) fn are_idle(&self) -> bool {
        self.running().all(|running| running.worker.backlog.is_empty())
    }

    /// Returns how the last worker ended, if none will ever be ready.
    pub(super) fn have_given_up(&self) -> Option<Exit> {
        self.slots.iter().map(Slot::given_up).collect::<Option<Vec<_>>>()?.pop()
    }

    /// Returns, per running worker, its slot, what is readable when it has sent something, and what
    /// is readable when it has ended.
    pub(super) fn sources(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>, BorrowedFd<'_>)> {
        self.slots.iter().enumerate().filter_map(|(slot, place)| {
            let Running { process, worker, .. } = place.running()?;
            let ended = process.as_fd();
            Some((slot, worker.source().unwrap_or(ended), ended))
        })
    }

    /// Returns true if a worker may be given a task of this many bytes.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        self.running().any(|running| running.takes(bytes))
    }

    /// Gives a task to one of the workers that have least to do. Or returns it, when all have enough or there is no room, or with the
    /// reason why it cannot be sent.
    pub(super) fn give(
        &mut self,
        mut task: WaitingTask,
    ) -> Result<(), (WaitingTask, Option<PipeError>)> {
        loop {
            let done = self.done;
            let takers = self.running_mut().filter(|running| running.takes(task.1.len()));
            let Some(least) = takers.min_by_key(|running| running.worker.backlog.len()) else {
                return Err((task, None));
            };
            match least.worker.give(task, done) {
                // It has just ended, and was not given the task.
                Err((returned, Some(PipeError::Closed))) => task = returned,
                given => return given,
            }
        }
    }

    /// Takes a task back that nobody has begun, from the worker that has most to do, if another one has nothing.
    pub(super) fn take_back(&mut self) -> Option<WaitingTask> {
        let is_idle =
            |running: &Running<Member>| running.worker.backlog.is_empty() && running.takes(0);
        if !self.running().any(is_idle) {
            return None;
        }
        let busiest = self.running_mut().max_by_key(|running| running.worker.backlog.len())?;
        busiest.worker.take_back()
    }

    /// Takes back what is overtaken: what lies with workers that are long at work on one task.
    pub(super) fn take_back_overtaken(&mut self) -> Vec<WaitingTask> {
        let most = self.done.saturating_sub(OVERTAKEN.saturating_mul(self.slots.len() as u64));
        let members = self.running_mut().map(|running| &mut running.worker);
        let overtaken = members.filter(|member| member.done_before < most);
        overtaken.flat_map(|member| std::iter::from_fn(|| member.take_back())).collect()
    }

    /// Receives what a worker has sent, and returns the results of its tasks.
    pub(super) fn receive(&mut self, slot: usize) -> Vec<Vec<u8>> {
        let Some(Running { is_ready, worker, .. }) = self.slots[slot].running_mut() else {
            return Vec::new();
        };
        let was_ready = *is_ready;
        let results = worker.receive(is_ready, &mut self.done);
        if !was_ready && *is_ready {
            self.retry_given_up();
        }
        results
    }

    /// Makes workers due in slots that were given up: one was just ready, so another may be.
    fn retry_given_up(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.given_up().is_some()) {
            slot.due_after(Duration::ZERO);
        }
    }

    /// Replaces a worker that has ended and whose messages were received. Returns the tasks that it
    /// had not begun, and the results of those that it had begun: that it died.
    pub(super) fn remove_dead(&mut self, slot: usize) -> (Vec<WaitingTask>, Vec<Vec<u8>>) {
        let place = &mut self.slots[slot];
        let Some(mut dead) = place.exit().and_then(|exit| place.remove_dead(exit)) else {
            return (Vec::new(), Vec::new());
        };
        let Remains { unbegun, lost } = dead.worker.backlog.remains();
        // A worker that has begun a task is replaced at once, whatever happened before: tasks may
        // kill as many workers as they like.
        if dead.worker.has_worked || !lost.is_empty() {
            place.forget_deaths();
        }
        let pause = place.after_death(&dead).pause();
        let others_are_ready = self.running().any(|running| running.is_ready);
        if let Some(pause) = pause.or(others_are_ready.then_some(RETRY_PAUSE)) {
            self.slots[slot].due_after(pause);
        }
        let (pid, exit) = (dead.pid.as_raw(), dead.exit);
        let death = |task| result(task, &failure(&TaskError::WorkerDied { pid, exit }));
        (unbegun, lost.into_iter().map(death).collect())
    }

    /// Ends every worker and waits until they are gone. Those that are at work after the grace are killed.
    pub(super) fn end(self, grace: Duration) {
        // Closing a connection, which happens here, tells its worker to end.
        let running = self.slots.into_iter().filter_map(Slot::into_running);
        let mut processes: Vec<_> = running.map(|running| running.process).collect();
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

impl Running<Member> {
    /// Returns true if the worker may be given a task of this many bytes now.
    fn takes(&self, bytes: usize) -> bool {
        self.is_ready && self.worker.takes(bytes)
    }
}
