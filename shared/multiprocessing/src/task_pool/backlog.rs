//! The tasks that the dispatcher has sent to a worker and has no result of: the one it works on,
//! and some behind that, so that it need not wait for the next one.

use std::collections::VecDeque;
use std::time::Duration;

use super::message::{TaskId, WaitingTask};
use super::offers::{MOST, Offers};
use crate::pipe::{Connection, PipeError};

/// Tasks of more bytes are given only to idle workers, and never taken back. They take long anyway,
/// would occupy the socket twice, and may kill a worker before it begins them.
const LONGEST_AHEAD: usize = 4 << 10;
/// How many messages may be in the socket of a worker, including those that were taken back
/// meanwhile.
const MOST_ON_THEIR_WAY: u64 = 2 * MOST as u64;

/// The tasks of one worker.
pub(super) struct Backlog {
    offers: Offers,
    tasks: VecDeque<Sent>,
    /// How many messages were sent to the worker, and how many of these it has certainly received.
    sent: u64,
    received: u64,
}

struct Sent {
    /// The number of the message to this worker, from 1.
    message: u64,
    id: TaskId,
    /// The task, if it is short enough to be taken back.
    task: Option<Vec<u8>>,
}

/// What a dead worker leaves.
pub(super) struct Remains {
    /// Tasks that it had not begun.
    pub(super) unbegun: Vec<WaitingTask>,
    /// Tasks that it had begun, or whose length may have killed it. This is one at most, because it
    /// does one after the other, if all that it sent could be received.
    pub(super) lost: Vec<TaskId>,
}

impl Backlog {
    pub(super) fn new(offers: Offers) -> Self {
        Self { offers, tasks: VecDeque::new(), sent: 0, received: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Returns true if a task of this many bytes may be added.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        self.is_empty()
            || self.len() < MOST
                && bytes <= LONGEST_AHEAD
                && self.sent - self.received < MOST_ON_THEIR_WAY
    }

    /// Sends a task that it [`takes`](Self::takes). Returns the task if there is no room, or with
    /// the reason why it cannot be sent.
    pub(super) fn send(
        &mut self,
        worker: &Connection,
        (id, task): WaitingTask,
    ) -> Result<(), (WaitingTask, Option<PipeError>)> {
        let message = self.sent + 1;
        let is_on_offer = self.offers.make(message);
        debug_assert!(is_on_offer, "no room to offer task {id}");
        // Does not wait, even for an idle worker: it may be stopped, and large tasks are refused
        // while too many descriptors are in flight, from any sender.
        let sent = worker.send_bytes_timeout(&task, Duration::ZERO);
        if !matches!(sent, Ok(true)) {
            self.offers.claim(message);
            return Err(((id, task), sent.err()));
        }
        self.sent = message;
        let task = (task.len() <= LONGEST_AHEAD).then_some(task);
        self.tasks.push_back(Sent { message, id, task });
        Ok(())
    }

    /// Notes that the worker has done a task. Returns true if it had that task.
    pub(super) fn is_done(&mut self, id: TaskId) -> bool {
        let Some(at) = self.tasks.iter().position(|sent| sent.id == id) else { return false };
        if let Some(done) = self.tasks.remove(at) {
            self.received = done.message;
        }
        true
    }

    /// Takes back the first task that is not begun, except the very first one. That one stays in
    /// any case: its result proves that everything sent before was received.
    pub(super) fn take_back(&mut self) -> Option<WaitingTask> {
        let is_ours = |&at: &usize| {
            let Sent { message, task, .. } = &self.tasks[at];
            task.is_some() && self.offers.claim(*message)
        };
        let first = (1..self.tasks.len()).find(is_ours)?;
        let Sent { id, task, .. } = self.tasks.remove(first)?;
        task.map(|task| (id, task))
    }

    /// Returns what remains when the worker has ended and every result that it sent was received.
    pub(super) fn remains(&mut self) -> Remains {
        let mut remains = Remains { unbegun: Vec::new(), lost: Vec::new() };
        for Sent { message, id, task } in self.tasks.drain(..) {
            let was_begun = !self.offers.claim(message);
            match task {
                Some(task) if !was_begun => remains.unbegun.push((id, task)),
                _ => remains.lost.push(id),
            }
        }
        remains
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipe::pipe;

    fn backlog() -> (Backlog, Offers) {
        let offers = Offers::of_workers(1).unwrap().swap_remove(0);
        (Backlog::new(offers.clone()), offers)
    }

    #[test]
    fn begun_tasks_stay_with_the_worker_and_others_are_taken_back_in_order() {
        let (mut backlog, offers) = backlog();
        let (here, _there) = pipe().unwrap();
        (1..=4).for_each(|id| backlog.send(&here, (id, vec![7])).unwrap());
        assert!(offers.claim(1));
        assert_eq!(
            [backlog.take_back(), backlog.take_back()],
            [Some((2, vec![7])), Some((3, vec![7]))]
        );
        assert!(!offers.claim(2) && !offers.claim(3) && offers.claim(4));
        assert_eq!(backlog.take_back(), None);
        assert!(backlog.is_done(1) && !backlog.is_done(1) && !backlog.is_done(3));
        let Remains { unbegun, lost } = backlog.remains();
        assert_eq!((unbegun, lost), (vec![], vec![4]));
    }

    #[test]
    fn the_last_task_is_not_taken_back_but_remains_when_the_worker_has_ended() {
        let (mut backlog, _offers) = backlog();
        let (here, _there) = pipe().unwrap();
        backlog.send(&here, (1, vec![7])).unwrap();
        assert_eq!(backlog.take_back(), None);
        let Remains { unbegun, lost } = backlog.remains();
        assert_eq!((unbegun, lost), (vec![(1, vec![7])], vec![]));
    }

    #[test]
    fn a_worker_that_is_long_busy_gets_a_limited_number_of_messages_until_a_result_comes() {
        let (mut backlog, offers) = backlog();
        let (here, _there) = pipe().unwrap();
        assert!(backlog.takes(usize::MAX), "an idle worker takes a task of any size");
        backlog.send(&here, (1, vec![7; LONGEST_AHEAD])).unwrap();
        assert!(offers.claim(1) && !backlog.takes(LONGEST_AHEAD + 1));
        let ahead = (2..1000).take_while(|&id| {
            let takes = backlog.takes(LONGEST_AHEAD);
            if takes {
                backlog.send(&here, (id, vec![7; LONGEST_AHEAD])).unwrap();
                assert!(backlog.take_back().is_some());
            }
            takes
        });
        assert_eq!(ahead.count() as u64, MOST_ON_THEIR_WAY - 1);
        assert!(backlog.is_done(1) && backlog.is_empty() && backlog.takes(usize::MAX));
        // Once it has done this one, it has received everything sent before it.
        backlog.send(&here, (2000, vec![7])).unwrap();
        assert!(!backlog.takes(1) && backlog.is_done(2000));
        backlog.send(&here, (2001, vec![7])).unwrap();
        assert!(backlog.takes(1));
    }

    #[test]
    fn a_task_that_was_taken_back_and_given_again_is_not_begun_before_those_that_are_before_it_now()
    {
        let (mut backlog, offers) = backlog();
        let (here, _there) = pipe().unwrap();
        let send = |backlog: &mut Backlog, id| backlog.send(&here, (id, vec![7])).unwrap();
        (11..=13).for_each(|id| send(&mut backlog, id));
        assert_eq!(backlog.take_back(), Some((12, vec![7])));
        send(&mut backlog, 14);
        send(&mut backlog, 12);
        // Acts as the worker does when it receives one message after the other.
        let begins: Vec<_> = (1..=5).map(|message| offers.claim(message)).collect();
        assert_eq!(begins, [true, false, true, true, true]);
    }

    #[test]
    fn as_many_tasks_are_given_ahead_as_there_is_room() {
        let (mut backlog, _offers) = backlog();
        let (here, _there) = pipe().unwrap();
        let given = (1..100)
            .take_while(|&id| backlog.takes(1) && backlog.send(&here, (id, vec![7])).is_ok());
        assert_eq!(given.count(), MOST);
        assert!(!backlog.takes(1));
    }

    #[test]
    fn a_task_that_cannot_be_sent_is_returned_and_not_on_offer() {
        let (mut backlog, offers) = backlog();
        let (here, there) = pipe().unwrap();
        drop(there);
        let returned = backlog.send(&here, (1, vec![7]));
        assert!(matches!(returned, Err((_, Some(PipeError::Closed)))), "{returned:?}");
        assert!(!offers.claim(1) && backlog.is_empty());
    }
}
