//! The tasks in flight to one worker: the one that it runs, and some queued behind it, so that the
//! worker does not wait for the dispatcher between two tasks.

use std::collections::VecDeque;
use std::time::Duration;

use super::message::{QueuedTask, TaskId};
use super::progress::Progress;
use crate::pipe::{Connection, PipeError};

/// Most tasks in flight to one worker.
///
/// Measured with trivial tasks in chunks of one, in alternating runs, against one running and one
/// queued task: with eight a single worker does 50 % more tasks per second (92,000 to 62,000), and
/// four workers do 6 % more. Nothing else in the pool depends on the number.
pub(super) const CAPACITY: usize = 8;
/// Longest task that is queued behind another one, and that another one is queued behind.
///
/// A longer task goes only to an idle worker and is never taken back. It takes long in any case,
/// taking it back would leave a copy in the first worker's socket, and reading it may be what kills
/// a worker.
const MAX_QUEUED_BYTES: usize = 4 << 10;
/// Most messages in a worker's socket, including those whose tasks were taken back.
const MAX_UNREAD_MESSAGES: u64 = 2 * CAPACITY as u64;

/// The tasks that were sent to one worker and have no result yet.
pub(super) struct InFlight {
    progress: Progress,
    /// In the order in which the worker runs them.
    tasks: VecDeque<Sent>,
    /// Number of messages sent to the worker.
    sent: u64,
}

struct Sent {
    /// Number of the message that carried the task.
    message: u64,
    id: TaskId,
    /// Copy of the task, unless it is too long to be taken back.
    task: Option<Vec<u8>>,
}

impl InFlight {
    /// Starts the count of messages to a new worker, which uses this row from now on.
    pub(super) fn new(progress: &Progress) -> Self {
        progress.reset();
        Self { progress: progress.clone(), tasks: VecDeque::new(), sent: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(super) fn contains(&self, id: TaskId) -> bool {
        self.tasks.iter().any(|sent| sent.id == id)
    }

    /// Returns true if a task of this many bytes may be sent.
    pub(super) fn accepts(&self, bytes: usize) -> bool {
        let may_queue = || {
            self.len() < CAPACITY
                && bytes <= MAX_QUEUED_BYTES
                && self.tasks.iter().all(|sent| sent.task.is_some())
        };
        self.sent.saturating_sub(self.progress.received()) < MAX_UNREAD_MESSAGES
            && (self.is_empty() || may_queue())
    }

    /// Sends a task that it [`accepts`](Self::accepts).
    ///
    /// On failure it returns the task, with the error or with `None` if the socket has no room.
    pub(super) fn send(
        &mut self,
        worker: &Connection,
        (id, task): QueuedTask,
    ) -> Result<(), (QueuedTask, Option<PipeError>)> {
        // Never waits, not even for an idle worker, which may be stopped. The kernel also refuses
        // large tasks while all processes of this user have too many descriptors in flight.
        let sent = worker.send_bytes_timeout(&task, Duration::ZERO);
        if !matches!(sent, Ok(true)) {
            return Err(((id, task), sent.err()));
        }
        self.sent += 1;
        let task = (task.len() <= MAX_QUEUED_BYTES).then_some(task);
        self.tasks.push_back(Sent { message: self.sent, id, task });
        Ok(())
    }

    /// Removes a task whose result has arrived. Returns false if it was not the next to be
    /// finished.
    pub(super) fn complete(&mut self, id: TaskId) -> bool {
        let is_next = self.tasks.front().is_some_and(|sent| sent.id == id);
        if is_next {
            self.tasks.pop_front();
        }
        is_next
    }

    /// Takes back all tasks that have not begun. Returns none of a task that is too long for that.
    pub(super) fn take_back(&mut self) -> Vec<QueuedTask> {
        if self.tasks.iter().any(|sent| sent.task.is_none()) {
            return Vec::new();
        }
        let settled = self.progress.take_back(self.sent);
        let begun = self.tasks.partition_point(|sent| sent.message <= settled);
        self.tasks.drain(begun..).flat_map(|sent| Some((sent.id, sent.task?))).collect()
    }

    /// Removes all tasks of a worker that has ended, after its last result was received. Returns
    /// those that had not begun, and those that are lost. At most one is lost, because a worker
    /// runs one task at a time.
    pub(super) fn drain(&mut self) -> (Vec<QueuedTask>, Vec<TaskId>) {
        let not_begun = self.take_back();
        (not_begun, self.tasks.drain(..).map(|sent| sent.id).collect())
    }

    /// Returns when the task that the worker runs began, in milliseconds of the monotonic clock.
    /// Returns `None` if it runs none.
    pub(super) fn began(&self) -> Option<u64> {
        let oldest = self.tasks.front()?.message;
        (oldest <= self.progress.settled()).then(|| self.progress.began())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipe::pipe;

    /// Returns the tasks in flight to a worker, its progress, and both ends of its connection.
    fn in_flight() -> (InFlight, Progress, Connection, Connection) {
        let progress = Progress::for_workers(1).unwrap().swap_remove(0);
        let (here, there) = pipe().unwrap();
        (InFlight::new(&progress), progress, here, there)
    }

    #[test]
    fn tasks_that_have_not_begun_are_taken_back_in_order() {
        let (mut in_flight, progress, here, _there) = in_flight();
        (1..=4).for_each(|id| in_flight.send(&here, (id, vec![7])).unwrap());
        assert_eq!(in_flight.began(), None);
        assert!(progress.begin(1, 70));
        assert_eq!(in_flight.began(), Some(70));
        assert_eq!(in_flight.take_back(), [(2, vec![7]), (3, vec![7]), (4, vec![7])]);
        assert!((2..=4).all(|message| !progress.begin(message, 71)));
        assert!(!in_flight.complete(2) && in_flight.complete(1) && !in_flight.complete(1));
        assert!(in_flight.is_empty());
    }

    #[test]
    fn a_dead_worker_loses_the_task_that_it_had_begun_and_any_long_one() {
        let (mut in_flight, progress, here, _there) = in_flight();
        (1..=3).for_each(|id| in_flight.send(&here, (id, vec![7])).unwrap());
        assert!(progress.begin(1, 70) && in_flight.complete(1) && progress.begin(2, 70));
        assert_eq!(in_flight.drain(), (vec![(3, vec![7])], vec![2]));
        in_flight.send(&here, (4, vec![7; MAX_QUEUED_BYTES + 1])).unwrap();
        assert_eq!(in_flight.drain(), (vec![], vec![4]));
    }

    #[test]
    fn a_long_task_is_alone_in_flight() {
        let (mut in_flight, _progress, here, _there) = in_flight();
        assert!(in_flight.accepts(usize::MAX), "an idle worker accepts a task of any size");
        in_flight.send(&here, (1, vec![7; MAX_QUEUED_BYTES + 1])).unwrap();
        assert!(!in_flight.accepts(1) && in_flight.take_back().is_empty());
        assert!(in_flight.complete(1));
        in_flight.send(&here, (2, vec![7])).unwrap();
        assert!(in_flight.accepts(MAX_QUEUED_BYTES) && !in_flight.accepts(MAX_QUEUED_BYTES + 1));
    }

    #[test]
    fn the_unread_messages_of_a_worker_are_limited_until_it_receives_them() {
        let (mut in_flight, progress, here, _there) = in_flight();
        let ahead = (1..1000).take_while(|&id| {
            let accepts = in_flight.accepts(MAX_QUEUED_BYTES);
            if accepts {
                in_flight.send(&here, (id, vec![7; MAX_QUEUED_BYTES])).unwrap();
                assert_eq!(in_flight.take_back().len(), 1);
            }
            accepts
        });
        assert_eq!(ahead.count() as u64, MAX_UNREAD_MESSAGES);
        assert!(in_flight.is_empty() && !in_flight.accepts(1));
        assert!(!progress.begin(1, 70) && in_flight.accepts(usize::MAX));
    }

    #[test]
    fn a_task_that_is_sent_again_does_not_run_from_its_first_message() {
        let (mut in_flight, progress, here, _there) = in_flight();
        (11..=13).for_each(|id| in_flight.send(&here, (id, vec![7])).unwrap());
        assert!(progress.begin(1, 70));
        for (id, task) in in_flight.take_back() {
            in_flight.send(&here, (id, task)).unwrap();
        }
        // The worker receives the messages in order.
        let begun: Vec<_> = (2..=5).map(|message| progress.begin(message, 70)).collect();
        assert_eq!(begun, [false, false, true, true]);
    }

    #[test]
    fn tasks_are_accepted_up_to_the_capacity() {
        let (mut in_flight, _progress, here, _there) = in_flight();
        let sent = (1..100)
            .take_while(|&id| in_flight.accepts(1) && in_flight.send(&here, (id, vec![7])).is_ok());
        assert_eq!(sent.count(), CAPACITY);
        assert!(!in_flight.accepts(1));
    }

    #[test]
    fn a_task_that_cannot_be_sent_is_returned_and_not_in_flight() {
        let (mut in_flight, _progress, here, there) = in_flight();
        drop(there);
        let returned = in_flight.send(&here, (1, vec![7]));
        assert!(matches!(returned, Err((_, Some(PipeError::Closed)))), "{returned:?}");
        assert!(in_flight.is_empty());
    }
}
