//! The dispatcher's workers and their tasks: chooses the worker for each task, and replaces workers
//! that end.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::error::TaskError;
use super::message::{ANNOUNCED, NOT_CANCELLED, QueuedTask, TaskId, failed, message, parse};
use super::worker::{Initializer, work};
use super::worker_handle::{CAPACITY, WorkerHandle};
use crate::pool::{Running, SPAWN_PAUSE, Slot};
use crate::sys::deadline::now_in_ms;

/// Pause between two starts in a slot that was given up, while workers of other slots are ready.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How many tasks per worker may be sent after the one that a worker runs. Then that one takes
/// long, and the tasks that wait behind it go to other workers, because they would starve.
const MAX_OVERTAKEN: u64 = 2 * CAPACITY as u64;
/// Longest result that is not announced. To receive a larger one the owner may need a descriptor,
/// and if it has none it must still learn which task has lost its result.
const MAX_UNANNOUNCED_BYTES: usize = 1 << 15;

/// Configuration of the workers.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Limits {
    /// Number of workers.
    pub(super) workers: usize,
    /// Number of tasks after which a worker ends and is replaced.
    pub(super) tasks_per_worker: u64,
    /// Time after which a task has overrun.
    pub(super) task_timeout: Option<Duration>,
}

/// The workers, each in its slot, with all tasks and results that are in the dispatcher.
pub(super) struct Workers<'a> {
    limits: Limits,
    initializer: Initializer<'a>,
    slots: Vec<Slot<WorkerHandle>>,
    /// Tasks that no worker has.
    pub(super) queued: VecDeque<QueuedTask>,
    /// Results to be sent to the owner.
    pub(super) results: VecDeque<Vec<u8>>,
}

impl<'a> Workers<'a> {
    pub(super) fn new(limits: Limits, initializer: Initializer<'a>) -> Self {
        let (queued, results) = (VecDeque::new(), VecDeque::new());
        Self { limits, initializer, slots: Vec::new(), queued, results }
    }

    /// Starts the first workers. On failure it returns the slot and the error, and the caller ends
    /// the workers that were started.
    pub(super) fn start(&mut self) -> Result<(), (usize, Errno)> {
        for slot in 0..self.limits.workers {
            self.slots.push(Slot::empty());
            self.start_worker(slot).map_err(|errno| (slot, errno))?;
        }
        Ok(())
    }

    fn start_worker(&mut self, slot: usize) -> Result<(), Errno> {
        let Self { limits, initializer, slots, .. } = self;
        let (process, handle) = WorkerHandle::start(|dispatcher, progress| {
            // Closes the inherited descriptors of the other workers, so that every worker has the
            // same ones no matter when it started.
            slots.clear();
            work(dispatcher, progress, initializer, limits)
        })?;
        self.slots[slot].start(process, handle);
        Ok(())
    }

    /// Starts the workers that are due. Tries slots again that were given up if a worker is ready,
    /// because others may become ready too.
    pub(super) fn start_due(&mut self) {
        let now = Instant::now();
        let one_is_ready = self.running().any(|running| running.is_ready);
        for slot in 0..self.slots.len() {
            if one_is_ready && self.slots[slot].given_up().is_some() {
                self.slots[slot].due_after(RETRY_PAUSE);
            }
            if self.slots[slot].is_due(now) && self.start_worker(slot).is_err() {
                self.slots[slot].due_after(SPAWN_PAUSE);
            }
        }
    }

    /// Returns when the next worker is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.slots.iter().filter_map(Slot::next_due).min()
    }

    fn running(&self) -> impl Iterator<Item = &Running<WorkerHandle>> {
        self.slots.iter().filter_map(Slot::running)
    }

    fn worker(&self, slot: usize) -> Option<&WorkerHandle> {
        Some(&self.slots[slot].running()?.worker)
    }

    /// Returns true if there are no tasks and no results.
    pub(super) fn are_done(&self) -> bool {
        let has_tasks = |running: &Running<WorkerHandle>| running.worker.tasks().next().is_some();
        self.queued.is_empty() && self.results.is_empty() && !self.running().any(has_tasks)
    }

    /// Returns, per running worker, its slot, a descriptor that is readable when it has sent a
    /// message, and a descriptor that is readable when it has ended.
    pub(super) fn sources(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>, BorrowedFd<'_>)> {
        self.slots.iter().enumerate().filter_map(|(slot, place)| {
            let Running { process, worker, .. } = place.running()?;
            let ended = process.as_fd();
            Some((slot, worker.source().unwrap_or(ended), ended))
        })
    }

    /// Sends tasks to the workers with the fewest, as long as one accepts them. Returns true if a
    /// task was refused although a worker accepts it.
    pub(super) fn send_tasks(&mut self) -> bool {
        if let Some((next, _)) = self.queued.front() {
            let oldest = next.saturating_sub(MAX_OVERTAKEN.saturating_mul(self.slots.len() as u64));
            self.take_back_if(|worker| worker.tasks().next().is_some_and(|id| id < oldest));
        }
        let max_tasks = self.limits.tasks_per_worker;
        let accepts = |running: &&mut Running<WorkerHandle>, bytes| {
            running.is_ready && running.worker.accepts(bytes, max_tasks)
        };
        loop {
            if self.queued.is_empty() {
                self.take_back_for_idle();
            }
            let Some(mut task) = self.queued.pop_front() else { return false };
            let running = self.slots.iter_mut().filter_map(Slot::running_mut);
            let candidates = running.filter(|running| accepts(running, task.1.len()));
            let chosen = candidates.min_by_key(|running| running.worker.tasks().count());
            let sent = chosen.map(|running| running.worker.send(&mut task));
            match sent {
                Some(Ok(true)) => {}
                Some(Err(error)) => self.results.push_back(failed(task.0, &error.into())),
                refused => {
                    self.queued.push_front(task);
                    return refused.is_some();
                }
            }
        }
    }

    /// If a worker is idle, takes back half of the waiting tasks of the worker with the most tasks.
    fn take_back_for_idle(&mut self) {
        if self.running().any(|running| running.is_ready && running.worker.is_idle()) {
            let count = |slot: usize| self.worker(slot).map_or(0, |it| it.tasks().count());
            let busiest = (0..self.slots.len()).map(|slot| (count(slot), slot)).max();
            if let Some((tasks @ 2.., slot)) = busiest {
                self.take_back(slot, (tasks - 1) / 2);
            }
        }
    }

    /// Takes back the waiting tasks of the workers that this is true for.
    fn take_back_if(&mut self, is_chosen: impl Fn(&WorkerHandle) -> bool) {
        for slot in 0..self.slots.len() {
            if self.worker(slot).is_some_and(&is_chosen) {
                self.take_back(slot, 0);
            }
        }
    }

    /// Takes back the waiting tasks of a worker, except this many of the newest.
    fn take_back(&mut self, slot: usize, left: usize) {
        let running = self.slots[slot].running_mut();
        let tasks = running.map(|running| running.worker.take_back(left)).unwrap_or_default();
        self.requeue(tasks);
    }

    /// Puts tasks that were taken back to the front of the queue, in the order of submission.
    fn requeue(&mut self, mut tasks: Vec<QueuedTask>) {
        tasks.sort_unstable_by_key(|(id, _)| *id);
        tasks.into_iter().rev().for_each(|task| self.queued.push_front(task));
    }

    /// Cancels a task if it has not begun, and answers the owner.
    pub(super) fn cancel(&mut self, task: TaskId) {
        self.take_back_if(|worker| worker.tasks().any(|id| id == task));
        let queued = self.queued.iter().position(|(id, _)| *id == task);
        self.results.push_back(match queued.and_then(|at| self.queued.remove(at)) {
            Some(_) => failed(task, &TaskError::Cancelled),
            None => message(task, NOT_CANCELLED),
        });
    }

    /// Fails the queued tasks if all slots are given up, so that no worker will ever be ready.
    pub(super) fn fail_without_workers(&mut self) {
        let given_up: Option<Vec<_>> = self.slots.iter().map(Slot::given_up).collect();
        if let Some(exit) = given_up.and_then(|mut exits| exits.pop()) {
            let error = TaskError::NotReady { exit };
            self.results.extend(self.queued.drain(..).map(|(id, _)| failed(id, &error)));
        }
    }

    /// Receives the results of a worker.
    pub(super) fn receive(&mut self, slot: usize) {
        let Some(Running { is_ready, worker, .. }) = self.slots[slot].running_mut() else { return };
        for result in worker.receive(is_ready) {
            if result.len() > MAX_UNANNOUNCED_BYTES
                && let Some((id, _)) = parse(&result)
            {
                self.results.push_back(message(id, ANNOUNCED));
            }
            self.results.push_back(result);
        }
    }

    /// Removes a worker that has ended, after its messages were received, and schedules a
    /// replacement. The task that it has begun fails with [`TaskError::WorkerDied`] or
    /// [`TaskError::TimedOut`]. At most one has, because a worker runs one at a time.
    pub(super) fn remove_dead(&mut self, slot: usize) {
        let place = &mut self.slots[slot];
        let Some(mut dead) = place.exit().and_then(|exit| place.remove_dead(exit)) else { return };
        let not_begun = dead.worker.take_back(0);
        let pid = dead.pid.as_raw();
        let error = match dead.worker.has_overrun {
            true => TaskError::TimedOut { pid },
            false => TaskError::WorkerDied { pid, exit: dead.exit },
        };
        let lost: Vec<_> = dead.worker.tasks().map(|id| failed(id, &error)).collect();
        // A worker that has begun a task is replaced at once, because tasks that kill their
        // workers must not stop the pool.
        if dead.worker.finished > 0 || !lost.is_empty() {
            place.forget_deaths();
        }
        if let Some(pause) = place.after_death(&dead).pause() {
            place.due_after(pause);
        }
        self.results.extend(lost);
        self.requeue(not_begun);
    }

    /// Kills the workers whose tasks have overrun the limit. Their deaths are noticed like any
    /// other. Returns the time until the next task may have overrun.
    pub(super) fn kill_overrun(&mut self) -> Result<Option<Duration>, Errno> {
        let Some(limit) = self.limits.task_timeout else { return Ok(None) };
        let limit = u64::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let now = now_in_ms()?;
        let has_overrun =
            |this: &Self, slot| this.worker(slot).is_some_and(|it| it.left(limit, now) == Some(0));
        for slot in 0..self.slots.len() {
            // From now on the worker begins no other task, which the kill would hit. If it has just
            // finished this one, the result arrives here or the time of the next task is newer.
            if has_overrun(self, slot) {
                self.take_back(slot, 0);
                self.receive(slot);
            }
            if has_overrun(self, slot)
                && let Some(Running { process, worker, .. }) = self.slots[slot].running_mut()
            {
                worker.has_overrun = true;
                // Fails only if other code of this process has reaped the worker.
                let _ = process.kill();
            }
        }
        let left = self.running().filter_map(|running| running.worker.left(limit, now)).min();
        Ok(left.map(Duration::from_millis))
    }

    /// Ends all workers and reaps them. Kills those that are still running after the grace period.
    pub(super) fn end(self, grace: Duration) {
        // This closes the connections, which makes each worker end after its current task.
        let running = self.slots.into_iter().filter_map(Slot::into_running);
        let mut processes: Vec<_> = running.map(|running| running.process).collect();
        let deadline = Instant::now() + grace;
        for process in &mut processes {
            let left = deadline.saturating_duration_since(Instant::now());
            if matches!(process.join_timeout(left), Ok(None)) {
                // SIGKILL also ends workers that are stopped or block signals.
                let _ = process.kill();
            }
        }
        for process in &mut processes {
            let _ = process.join();
        }
    }
}
