//! The dispatcher's workers: chooses the worker for each task, and replaces workers that end.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::error::TaskError;
use super::function::failure;
use super::in_flight::CAPACITY;
use super::message::{QueuedTask, TaskId, result};
use super::progress::Progress;
use super::worker::{Initializer, work};
use super::worker_handle::WorkerHandle;
use crate::pipe::PipeError;
use crate::pool::{Running, SPAWN_PAUSE, Slot};
use crate::sys::exit::Exit;

/// Pause between two starts in a slot that was given up, while workers of other slots are ready.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Number of tasks per worker that the workers finish between two looks for those that have
/// finished none. Their queued tasks go to other workers, because they would starve behind a long
/// one.
const BETWEEN_LOOKS: u64 = CAPACITY as u64;

/// Configuration of the workers.
pub(super) struct WorkerOptions<'a> {
    /// Number of workers.
    pub(super) workers: usize,
    /// Number of tasks after which a worker ends and is replaced.
    pub(super) tasks_per_worker: u64,
    /// Called once in each worker before its first task.
    pub(super) initializer: Initializer<'a>,
    /// Time after which a task has overrun.
    pub(super) task_timeout: Option<Duration>,
}

/// The workers, each in its slot.
pub(super) struct Workers<'a> {
    pub(super) options: WorkerOptions<'a>,
    slots: Vec<Slot<WorkerHandle>>,
    /// The progress of the worker in each slot. A replacement uses the row of the worker before it.
    progress: Vec<Progress>,
    /// Number of tasks that all workers have finished since the last look.
    finished: u64,
}

impl<'a> Workers<'a> {
    /// Starts the first workers. On failure it also returns the slot and the error, and the caller
    /// ends the workers that were started.
    pub(super) fn start(options: WorkerOptions<'a>) -> (Self, Result<(), (usize, Errno)>) {
        let mut workers = Self { options, slots: Vec::new(), progress: Vec::new(), finished: 0 };
        match Progress::for_workers(workers.options.workers) {
            Ok(progress) => workers.progress = progress,
            Err(errno) => return (workers, Err((0, errno))),
        }
        for slot in 0..workers.progress.len() {
            workers.slots.push(Slot::empty());
            if let Err(errno) = workers.start_worker(slot) {
                return (workers, Err((slot, errno)));
            }
        }
        (workers, Ok(()))
    }

    fn start_worker(&mut self, slot: usize) -> Result<(), Errno> {
        let Self { options, slots, progress, .. } = self;
        let (process, handle) =
            WorkerHandle::start(&progress[slot], options.tasks_per_worker, |dispatcher| {
                // Closes the inherited descriptors of the other workers, so that every worker has
                // the same ones no matter when it started.
                slots.clear();
                work(dispatcher, &progress[slot], options.initializer, options.tasks_per_worker)
            })?;
        self.slots[slot].start(process, handle);
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

    pub(super) fn running(&self) -> impl Iterator<Item = &Running<WorkerHandle>> {
        self.slots.iter().filter_map(Slot::running)
    }

    pub(super) fn running_mut(&mut self) -> impl Iterator<Item = &mut Running<WorkerHandle>> {
        self.slots.iter_mut().filter_map(Slot::running_mut)
    }

    /// Returns true if no worker has a task in flight.
    pub(super) fn are_idle(&self) -> bool {
        self.running().all(|running| running.worker.in_flight.is_empty())
    }

    /// Returns how a worker ended if all slots are given up, so that no worker will ever be ready.
    pub(super) fn have_given_up(&self) -> Option<Exit> {
        self.slots.iter().map(Slot::given_up).collect::<Option<Vec<_>>>()?.pop()
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

    /// Returns true if a worker accepts a task of this many bytes.
    pub(super) fn accept(&self, bytes: usize) -> bool {
        self.running().any(|running| running.accepts(bytes))
    }

    /// Sends a task to the worker with the fewest tasks in flight.
    ///
    /// On failure it returns the task, with the error, or with `None` if no worker accepts the task
    /// or the socket has no room.
    pub(super) fn send(
        &mut self,
        mut task: QueuedTask,
    ) -> Result<(), (QueuedTask, Option<PipeError>)> {
        loop {
            let candidates = self.running_mut().filter(|running| running.accepts(task.1.len()));
            let Some(chosen) = candidates.min_by_key(|running| running.worker.in_flight.len())
            else {
                return Err((task, None));
            };
            match chosen.worker.send(task) {
                // The worker has just ended, and did not receive the task.
                Err((returned, Some(PipeError::Closed))) => task = returned,
                sent => return sent,
            }
        }
    }

    /// Takes back the queued tasks of the worker with the most tasks in flight, if another worker
    /// is idle.
    pub(super) fn take_back(&mut self) -> Vec<QueuedTask> {
        let is_idle = |running: &Running<WorkerHandle>| {
            running.worker.in_flight.is_empty() && running.accepts(0)
        };
        if !self.running().any(is_idle) {
            return Vec::new();
        }
        let several = self.running_mut().filter(|running| running.worker.in_flight.len() > 1);
        let busiest = several.max_by_key(|running| running.worker.in_flight.len());
        busiest.map(|running| running.worker.take_back()).unwrap_or_default()
    }

    /// Takes back the queued tasks of workers that have finished none while others have finished
    /// many (see [`BETWEEN_LOOKS`]).
    pub(super) fn take_back_overtaken(&mut self) -> Vec<QueuedTask> {
        if self.finished < BETWEEN_LOOKS.saturating_mul(self.slots.len() as u64) {
            return Vec::new();
        }
        self.finished = 0;
        let workers = self.running_mut().map(|running| &mut running.worker);
        let stuck = workers.filter_map(|worker| {
            let has_progressed = std::mem::replace(&mut worker.has_progressed, false);
            (!has_progressed).then_some(worker)
        });
        stuck.flat_map(WorkerHandle::take_back).collect()
    }

    /// Takes back the queued tasks of the worker to which this task was sent, among them this one
    /// unless it has begun.
    pub(super) fn take_back_with(&mut self, task: TaskId) -> Vec<QueuedTask> {
        let mut workers = self.running_mut().map(|running| &mut running.worker);
        let with_task = workers.find(|worker| worker.in_flight.contains(task));
        with_task.map(WorkerHandle::take_back).unwrap_or_default()
    }

    /// Receives the messages of a worker, and returns the results of its tasks.
    pub(super) fn receive(&mut self, slot: usize) -> Vec<Vec<u8>> {
        let Some(Running { is_ready, worker, .. }) = self.slots[slot].running_mut() else {
            return Vec::new();
        };
        let was_ready = *is_ready;
        let results = worker.receive(is_ready);
        self.finished += results.len() as u64;
        if !was_ready && *is_ready {
            self.retry_given_up();
        }
        results
    }

    /// Schedules workers in slots that were given up. One worker has become ready, so others may
    /// too.
    fn retry_given_up(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.given_up().is_some()) {
            slot.due_after(Duration::ZERO);
        }
    }

    /// Removes a worker that has ended, after its messages were received, and schedules a
    /// replacement.
    ///
    /// Returns the tasks that the worker had not begun, and the results of those that are lost: the
    /// error [`TaskError::WorkerDied`] or [`TaskError::TimedOut`].
    pub(super) fn remove_dead(&mut self, slot: usize) -> (Vec<QueuedTask>, Vec<Vec<u8>>) {
        let place = &mut self.slots[slot];
        let Some(mut dead) = place.exit().and_then(|exit| place.remove_dead(exit)) else {
            return (Vec::new(), Vec::new());
        };
        let (not_begun, lost) = dead.worker.in_flight.drain();
        // A worker that has begun a task is replaced at once, because tasks that kill their
        // workers must not stop the pool.
        if dead.worker.has_worked || !lost.is_empty() {
            place.forget_deaths();
        }
        let pause = place.after_death(&dead).pause();
        let others_are_ready = self.running().any(|running| running.is_ready);
        if let Some(pause) = pause.or(others_are_ready.then_some(RETRY_PAUSE)) {
            self.slots[slot].due_after(pause);
        }
        let pid = dead.pid.as_raw();
        let error = match dead.worker.has_overrun {
            true => TaskError::TimedOut { pid },
            false => TaskError::WorkerDied { pid, exit: dead.exit },
        };
        let failed = |task| result(task, &failure(&error));
        (not_begun, lost.into_iter().map(failed).collect())
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

impl Running<WorkerHandle> {
    /// Returns true if the worker accepts a task of this many bytes now.
    fn accepts(&self, bytes: usize) -> bool {
        self.is_ready && self.worker.accepts(bytes)
    }
}
