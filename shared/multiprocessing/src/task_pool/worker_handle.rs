//! The dispatcher's handle to one worker: the connection to it, and the tasks that it was sent. It
//! runs one, and some short ones wait behind it, so that the worker does not wait for the
//! dispatcher between two tasks.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;

use super::message::{NO_TASK, QueuedTask, TaskId, parse};
use super::progress::Progress;
use super::worker::READY;
use crate::pipe::{Connection, PipeError, pipe};
use crate::process::Process;

/// Most messages to one worker that it has not answered.
///
/// One is running and seven wait. Against one running and one waiting task, a single worker does
/// 2.3 times as many trivial tasks per second, and four workers do 1.27 times as many. Two workers
/// do 1.38 times as many tasks of 10 us. From 100 us on, it makes no difference. `BENCHES.md` has
/// the numbers. No code depends on this one.
pub(super) const CAPACITY: usize = 8;
/// Longest task that waits behind another one, and that another one waits behind.
///
/// A longer task goes only to an idle worker and is never taken back. It takes long in any case,
/// taking it back would leave a copy in the first worker's socket, and reading it may be what kills
/// a worker.
const MAX_QUEUED_BYTES: usize = 4 << 10;

pub(super) struct WorkerHandle {
    /// `None` once receiving has failed, because the worker is ending.
    connection: Option<Connection>,
    progress: Progress,
    /// Number of messages sent to the worker.
    sent: u64,
    /// The tasks of the messages that the worker has not answered, in the order in which it takes
    /// them. [`NO_TASK`] is in place of a task that was taken back. The message of a task that is
    /// too long to be taken back is not kept.
    unanswered: VecDeque<QueuedTask>,
    /// Number of tasks that the worker has finished.
    pub(super) finished: u64,
    /// True once the worker was killed because its task had overrun the limit.
    pub(super) has_overrun: bool,
}

impl WorkerHandle {
    /// Starts a worker. `work` is the body of its process.
    pub(super) fn start(
        work: impl FnOnce(&Connection, &Progress) -> i32,
    ) -> Result<(Process, Self), Errno> {
        let progress = Progress::new()?;
        let (here, there) = pipe().map_err(|error| match error {
            PipeError::System(errno) => errno,
            _ => Errno::EIO,
        })?;
        let process = Process::fork_with(there, |there| work(&there, &progress))
            .map_err(|error| error.errno())?;
        Ok((process, Self::new(here, progress)))
    }

    fn new(connection: Connection, progress: Progress) -> Self {
        Self {
            connection: Some(connection),
            progress,
            sent: 0,
            unanswered: VecDeque::new(),
            finished: 0,
            has_overrun: false,
        }
    }

    /// Returns a descriptor that is readable when the worker has sent a message, or `None` once the
    /// worker has closed its end.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(Connection::as_fd)
    }

    /// Returns the tasks that the worker has, in order.
    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.unanswered.iter().map(|(id, _)| *id).filter(|id| *id != NO_TASK)
    }

    /// Returns true if the worker has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Returns true if a task of this many bytes may be sent once the worker is ready.
    /// `max_tasks` is the most that a worker runs.
    pub(super) fn accepts(&self, bytes: usize, max_tasks: u64) -> bool {
        let unanswered = self.unanswered.len();
        self.connection.is_some()
            && !self.has_overrun
            && self.finished.saturating_add(unanswered as u64) < max_tasks
            && (unanswered == 0
                || unanswered < CAPACITY && bytes <= MAX_QUEUED_BYTES && !self.has_long_task())
    }

    fn has_long_task(&self) -> bool {
        self.unanswered.front().is_some_and(|(id, task)| *id != NO_TASK && task.is_empty())
    }

    /// Sends a task that it [`accepts`](Self::accepts), and takes it out of `task`. Returns false
    /// if the socket has no room or the worker has just ended.
    pub(super) fn send(&mut self, task: &mut QueuedTask) -> Result<bool, PipeError> {
        let Some(connection) = &self.connection else { return Ok(false) };
        // Never waits, not even for an idle worker, which may be stopped. The kernel also refuses
        // large tasks while all processes of this user have too many descriptors in flight.
        match connection.send_bytes_timeout(&task.1, Duration::ZERO) {
            Err(PipeError::Closed) | Ok(false) => return Ok(false),
            sent => sent?,
        };
        let mut task = mem::take(task);
        if task.1.len() > MAX_QUEUED_BYTES {
            task.1 = Vec::new();
        }
        self.sent += 1;
        self.unanswered.push_back(task);
        Ok(true)
    }

    /// Takes back the tasks that have not begun, in order. Leaves this many of the newest messages
    /// to the worker. Returns none if a task is too long for that.
    pub(super) fn take_back(&mut self, left: usize) -> Vec<QueuedTask> {
        if self.has_long_task() {
            return Vec::new();
        }
        let last = self.sent - left as u64;
        let begun = self.progress.take_back(last).saturating_sub(self.answered()) as usize;
        let taken_back = self.unanswered.len() - left;
        let not_begun = self.unanswered.iter_mut().take(taken_back).skip(begun).map(mem::take);
        not_begun.filter(|(id, _)| *id != NO_TASK).collect()
    }

    /// Returns the number of the last message that is answered.
    fn answered(&self) -> u64 {
        self.sent - self.unanswered.len() as u64
    }

    /// Receives the messages that the worker has sent. Sets `is_ready` if the worker has reported
    /// it, and returns the results.
    pub(super) fn receive(&mut self, is_ready: &mut bool) -> Vec<Vec<u8>> {
        let mut results = Vec::new();
        while let Some(connection) = &self.connection {
            match connection.recv_bytes_timeout(Duration::ZERO) {
                Ok(Some(message)) => {
                    // Every answer confirms the messages whose tasks were taken back before.
                    let is_task = |(id, _): &QueuedTask| *id != NO_TASK;
                    let next = self.unanswered.iter().position(is_task);
                    let next = next.unwrap_or(self.unanswered.len());
                    // A task may have written a false message to the socket.
                    let task = parse(&message).map(|(id, _)| id);
                    if message == READY {
                        *is_ready = true;
                        self.unanswered.drain(..next);
                    } else if task.is_some() && task == self.tasks().next() {
                        self.unanswered.drain(..=next);
                        self.finished += 1;
                        results.push(message);
                    }
                }
                Ok(None) => break,
                // The worker is ending. Its process descriptor reports the end.
                Err(_) => self.connection = None,
            }
        }
        results
    }

    /// Returns how many milliseconds are left until a task may have overrun this limit, or `None`
    /// if the worker has no task.
    pub(super) fn left(&self, limit: u64, now: u64) -> Option<u64> {
        if self.is_idle() || self.has_overrun {
            return None;
        }
        let passed = self.unanswered.iter().position(|(id, _)| *id != NO_TASK);
        let next = passed.map(|passed| self.answered() + passed as u64 + 1);
        let has_begun = next.is_some_and(|message| message <= self.progress.settled());
        // A task that has not begun yet begins now at the earliest.
        let began = if has_begun { self.progress.began() } else { now };
        // Whole milliseconds of the clock: one more has certainly passed.
        Some(began.saturating_add(limit).saturating_add(1).saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::TaskError;
    use super::super::message::{failed, message};
    use super::*;

    const NO_LIMIT: u64 = u64::MAX;

    /// Returns the handle to a worker, the progress of the worker, and its end of the connection.
    fn handle() -> (WorkerHandle, Progress, Connection) {
        let progress = Progress::new().unwrap();
        let (here, there) = pipe().unwrap();
        (WorkerHandle::new(here, progress.clone()), progress, there)
    }

    fn send(handle: &mut WorkerHandle, ids: impl IntoIterator<Item = TaskId>) {
        ids.into_iter().for_each(|id| assert!(handle.send(&mut (id, vec![7])).unwrap()));
    }

    /// Receives these answers of the worker, and returns the number of results.
    fn receive(handle: &mut WorkerHandle, worker: &Connection, answers: &[&[u8]]) -> usize {
        answers.iter().for_each(|answer| worker.send_bytes(answer).unwrap());
        handle.receive(&mut false).len()
    }

    #[test]
    fn tasks_that_have_not_begun_are_taken_back_in_order() {
        let (mut handle, progress, worker) = handle();
        send(&mut handle, 1..=4);
        assert_eq!((handle.left(10, 100), handle.left(10, 200)), (Some(11), Some(11)));
        assert!(progress.begin(1, 70));
        assert_eq!((handle.left(10, 79), handle.left(10, 81)), (Some(2), Some(0)));
        assert_eq!(handle.take_back(1), [(2, vec![7]), (3, vec![7])]);
        assert_eq!(handle.take_back(0), [(4, vec![7])]);
        assert!((2..=4).all(|message| !progress.begin(message, 71)));
        assert_eq!(receive(&mut handle, &worker, &[&message(2, b"of another task"), READY]), 0);
        assert_eq!(receive(&mut handle, &worker, &[&message(1, b"done"), &message(1, b"")]), 1);
        assert_eq!((handle.tasks().count(), handle.is_idle()), (0, false));
        assert_eq!(receive(&mut handle, &worker, &[READY]), 0);
        assert!(handle.is_idle());
    }

    #[test]
    fn a_task_that_is_sent_again_does_not_run_from_its_first_message() {
        let (mut handle, progress, worker) = handle();
        send(&mut handle, 11..=13);
        assert!(progress.begin(1, 70));
        assert_eq!(receive(&mut handle, &worker, &[&message(11, b"done")]), 1);
        for mut task in handle.take_back(0) {
            assert!(handle.send(&mut task).unwrap());
        }
        // The worker receives the messages in order.
        let begun: Vec<_> = (2..=5).map(|message| progress.begin(message, 70)).collect();
        assert_eq!(begun, [false, false, true, true]);
        assert_eq!(handle.take_back(0), []);
        assert!(handle.tasks().eq([12, 13]), "those that have begun");
    }

    #[test]
    fn a_long_task_is_alone_and_is_not_taken_back() {
        let (mut handle, _progress, worker) = handle();
        assert!(handle.accepts(usize::MAX, 1), "an idle worker accepts a task of any size");
        assert!(handle.send(&mut (1, vec![7; MAX_QUEUED_BYTES + 1])).unwrap());
        assert!(!handle.accepts(1, NO_LIMIT) && handle.take_back(0).is_empty());
        assert_eq!(receive(&mut handle, &worker, &[&failed(1, &TaskError::Cancelled)]), 1);
        send(&mut handle, [2]);
        let accepts = |bytes| handle.accepts(bytes, NO_LIMIT);
        assert!(accepts(MAX_QUEUED_BYTES) && !accepts(MAX_QUEUED_BYTES + 1));
    }

    #[test]
    fn messages_without_an_answer_are_limited_even_if_their_tasks_were_taken_back() {
        let (mut handle, _progress, worker) = handle();
        for sent in 0..CAPACITY {
            assert!(handle.accepts(1, NO_LIMIT) && !handle.accepts(1, sent as u64));
            send(&mut handle, [7]);
            assert_eq!(handle.take_back(0).len(), 1);
        }
        assert!(!handle.accepts(1, NO_LIMIT));
        receive(&mut handle, &worker, &[READY]);
        assert!(handle.accepts(1, NO_LIMIT));
    }

    #[test]
    fn a_task_that_cannot_be_sent_is_left_to_the_caller() {
        let (mut handle, _progress, worker) = handle();
        drop(worker);
        let mut task = (1, vec![7]);
        assert!(!handle.send(&mut task).unwrap() && task == (1, vec![7]));
        assert!(handle.is_idle());
        handle.receive(&mut false);
        assert!(!handle.accepts(1, NO_LIMIT));
    }
}
