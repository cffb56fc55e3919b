//! The tasks in flight to one worker: the one that it runs, and some queued behind it, so that the
//! worker does not wait for the dispatcher between two tasks.

use std::collections::VecDeque;
use std::time::Duration;

use super::claims::{CAPACITY, ClaimTable};
use super::message::{QueuedTask, TaskId};
use crate::pipe::{Connection, PipeError};

/// Longest task that is queued behind another one.
///
/// A longer task goes only to an idle worker and is never taken back. It takes long in any case,
/// taking it back would leave a copy in the first worker's socket, and reading it may be what kills
/// a worker.
const MAX_QUEUED_BYTES: usize = 4 << 10;
/// Most messages in a worker's socket, including those whose tasks were taken back meanwhile.
const MAX_UNREAD_MESSAGES: u64 = 2 * CAPACITY as u64;

/// The tasks that were sent to one worker and have no result yet.
pub(super) struct InFlight {
    claims: ClaimTable,
    tasks: VecDeque<Sent>,
    /// Number of messages sent to the worker.
    sent: u64,
    /// Number of the last message that the worker has certainly received.
    received: u64,
}

struct Sent {
    /// Number of the message that carried the task, from 1 per worker.
    message: u64,
    id: TaskId,
    /// Copy of the task, unless it is too long to be taken back.
    task: Option<Vec<u8>>,
}

/// The tasks in flight to a worker that died.
pub(super) struct Unfinished {
    /// Tasks that the worker had not started.
    pub(super) not_started: Vec<QueuedTask>,
    /// Tasks that the worker had started, or that were too long to be taken back.
    ///
    /// A worker runs one task at a time, so there is at most one if all its results were received.
    pub(super) lost: Vec<TaskId>,
}

impl InFlight {
    pub(super) fn new(claims: ClaimTable) -> Self {
        Self { claims, tasks: VecDeque::new(), sent: 0, received: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Returns true if a task of this many bytes may be sent.
    pub(super) fn accepts(&self, bytes: usize) -> bool {
        self.is_empty()
            || self.len() < CAPACITY
                && bytes <= MAX_QUEUED_BYTES
                && self.sent - self.received < MAX_UNREAD_MESSAGES
    }

    /// Sends a task that it [`accepts`](Self::accepts).
    ///
    /// On failure it returns the task, with the error or with `None` if the socket has no room.
    pub(super) fn send(
        &mut self,
        worker: &Connection,
        (id, task): QueuedTask,
    ) -> Result<(), (QueuedTask, Option<PipeError>)> {
        let message = self.sent + 1;
        let is_published = self.claims.publish(message);
        debug_assert!(is_published, "the claim table has no room for task {id}");
        // Never waits, not even for an idle worker, which may be stopped. The kernel also refuses
        // large tasks while all processes of this user have too many descriptors in flight.
        let sent = worker.send_bytes_timeout(&task, Duration::ZERO);
        if !matches!(sent, Ok(true)) {
            self.claims.claim(message);
            return Err(((id, task), sent.err()));
        }
        self.sent = message;
        let task = (task.len() <= MAX_QUEUED_BYTES).then_some(task);
        self.tasks.push_back(Sent { message, id, task });
        Ok(())
    }

    /// Removes a task whose result has arrived. Returns false if it was not in flight.
    pub(super) fn complete(&mut self, id: TaskId) -> bool {
        let Some(at) = self.tasks.iter().position(|sent| sent.id == id) else { return false };
        if let Some(done) = self.tasks.remove(at) {
            self.received = done.message;
        }
        true
    }

    /// Takes back the oldest task that the worker has not started, but never the oldest in flight.
    ///
    /// The result of that one confirms that the worker has received every earlier message.
    pub(super) fn take_back(&mut self) -> Option<QueuedTask> {
        let is_claimed = |&at: &usize| {
            let Sent { message, task, .. } = &self.tasks[at];
            task.is_some() && self.claims.claim(*message)
        };
        let first = (1..self.tasks.len()).find(is_claimed)?;
        let Sent { id, task, .. } = self.tasks.remove(first)?;
        task.map(|task| (id, task))
    }

    /// Removes all tasks. For a worker that has ended, after its last result was received.
    pub(super) fn drain(&mut self) -> Unfinished {
        let mut unfinished = Unfinished { not_started: Vec::new(), lost: Vec::new() };
        for Sent { message, id, task } in self.tasks.drain(..) {
            let was_started = !self.claims.claim(message);
            match task {
                Some(task) if !was_started => unfinished.not_started.push((id, task)),
                _ => unfinished.lost.push(id),
            }
        }
        unfinished
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipe::pipe;

    fn in_flight() -> (InFlight, ClaimTable) {
        let claims = ClaimTable::for_workers(1).unwrap().swap_remove(0);
        (InFlight::new(claims.clone()), claims)
    }

    #[test]
    fn tasks_that_were_not_started_are_taken_back_in_order() {
        let (mut in_flight, claims) = in_flight();
        let (here, _there) = pipe().unwrap();
        (1..=4).for_each(|id| in_flight.send(&here, (id, vec![7])).unwrap());
        assert!(claims.claim(1));
        assert_eq!(
            [in_flight.take_back(), in_flight.take_back()],
            [Some((2, vec![7])), Some((3, vec![7]))]
        );
        assert!(!claims.claim(2) && !claims.claim(3) && claims.claim(4));
        assert_eq!(in_flight.take_back(), None);
        assert!(in_flight.complete(1) && !in_flight.complete(1) && !in_flight.complete(3));
        let Unfinished { not_started, lost } = in_flight.drain();
        assert_eq!((not_started, lost), (vec![], vec![4]));
    }

    #[test]
    fn the_oldest_task_is_not_taken_back_but_is_returned_when_the_worker_has_ended() {
        let (mut in_flight, _claims) = in_flight();
        let (here, _there) = pipe().unwrap();
        in_flight.send(&here, (1, vec![7])).unwrap();
        assert_eq!(in_flight.take_back(), None);
        let Unfinished { not_started, lost } = in_flight.drain();
        assert_eq!((not_started, lost), (vec![(1, vec![7])], vec![]));
    }

    #[test]
    fn the_unread_messages_of_a_busy_worker_are_limited_until_a_result_arrives() {
        let (mut in_flight, claims) = in_flight();
        let (here, _there) = pipe().unwrap();
        assert!(in_flight.accepts(usize::MAX), "an idle worker accepts a task of any size");
        in_flight.send(&here, (1, vec![7; MAX_QUEUED_BYTES])).unwrap();
        assert!(claims.claim(1) && !in_flight.accepts(MAX_QUEUED_BYTES + 1));
        let ahead = (2..1000).take_while(|&id| {
            let accepts = in_flight.accepts(MAX_QUEUED_BYTES);
            if accepts {
                in_flight.send(&here, (id, vec![7; MAX_QUEUED_BYTES])).unwrap();
                assert!(in_flight.take_back().is_some());
            }
            accepts
        });
        assert_eq!(ahead.count() as u64, MAX_UNREAD_MESSAGES - 1);
        assert!(in_flight.complete(1) && in_flight.is_empty() && in_flight.accepts(usize::MAX));
        // The result of this task confirms that all earlier messages were received.
        in_flight.send(&here, (2000, vec![7])).unwrap();
        assert!(!in_flight.accepts(1) && in_flight.complete(2000));
        in_flight.send(&here, (2001, vec![7])).unwrap();
        assert!(in_flight.accepts(1));
    }

    #[test]
    fn a_task_that_is_sent_again_does_not_run_from_its_first_message() {
        let (mut in_flight, claims) = in_flight();
        let (here, _there) = pipe().unwrap();
        let send = |in_flight: &mut InFlight, id| in_flight.send(&here, (id, vec![7])).unwrap();
        (11..=13).for_each(|id| send(&mut in_flight, id));
        assert_eq!(in_flight.take_back(), Some((12, vec![7])));
        send(&mut in_flight, 14);
        send(&mut in_flight, 12);
        // The claims of a worker that receives the messages in order.
        let claimed: Vec<_> = (1..=5).map(|message| claims.claim(message)).collect();
        assert_eq!(claimed, [true, false, true, true, true]);
    }

    #[test]
    fn tasks_are_accepted_up_to_the_capacity_of_the_claim_table() {
        let (mut in_flight, _claims) = in_flight();
        let (here, _there) = pipe().unwrap();
        let sent = (1..100)
            .take_while(|&id| in_flight.accepts(1) && in_flight.send(&here, (id, vec![7])).is_ok());
        assert_eq!(sent.count(), CAPACITY);
        assert!(!in_flight.accepts(1));
    }

    #[test]
    fn a_task_that_cannot_be_sent_is_returned_and_not_claimable() {
        let (mut in_flight, claims) = in_flight();
        let (here, there) = pipe().unwrap();
        drop(there);
        let returned = in_flight.send(&here, (1, vec![7]));
        assert!(matches!(returned, Err((_, Some(PipeError::Closed)))), "{returned:?}");
        assert!(!claims.claim(1) && in_flight.is_empty());
    }
}
