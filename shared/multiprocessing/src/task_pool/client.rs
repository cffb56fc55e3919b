//! The owner's side of a task pool: submits tasks to the dispatcher, and keeps results until the
//! caller takes them.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::TaskError;
use super::function::{Call, LoadedCode};
use super::message::{ANNOUNCED, NOT_CANCELLED, TaskId, failed, message, parse, task};
use crate::pipe::{Connection, PipeError};
use crate::sys::deadline::Deadline;
use crate::sys::generation::generation;

/// The connection to a dispatcher, shared by the owner's threads.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) dispatcher: Connection,
    code: LoadedCode,
    /// Fork [`generation`] of the process that owns the pool.
    generation: u32,
    state: Mutex<State>,
    /// Notified when the receiving thread has received a message or stopped receiving.
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Id of the last submitted task.
    last: TaskId,
    /// Tasks whose results are still wanted.
    pub(super) tasks: HashMap<TaskId, Task>,
    /// Number of results that were stored so far.
    finished: u64,
    /// The task whose result comes next, if the dispatcher has announced it.
    announced: Option<TaskId>,
    /// True while a thread receives from the dispatcher. Only one does at a time.
    is_receiving: bool,
    /// Number of threads that wait for the receiving one.
    waiters: usize,
    /// Why no more results can arrive. [`PipeError::Closed`] means that the dispatcher has ended.
    /// With any other error, results were lost while it may still run.
    pub(super) end: Option<PipeError>,
    /// True once the pool accepts no more tasks.
    is_closed: bool,
}

/// What the owner knows of a task.
#[derive(Debug, PartialEq)]
pub(super) enum Task {
    Unfinished,
    /// The task was to be cancelled, and had begun. It has no result yet.
    Begun,
    Finished {
        /// How many results were stored before this one.
        place: u64,
        message: Vec<u8>,
    },
}

/// Most messages that a wait receives after its deadline. The awaited result may be among those
/// that have already arrived, but they must not keep the wait from ending.
const MAX_LATE_MESSAGES: usize = 64;

impl State {
    /// Stores the result of a task, unless it is no longer wanted.
    fn store(&mut self, message: Vec<u8>) {
        let Some((id, outcomes)) = parse(&message) else { return };
        self.announced = (outcomes == ANNOUNCED).then_some(id);
        match (outcomes, self.tasks.get_mut(&id)) {
            (ANNOUNCED, _) | (_, None) | (NOT_CANCELLED, Some(Task::Finished { .. })) => {}
            (NOT_CANCELLED, Some(task)) => *task = Task::Begun,
            (_, Some(task)) => {
                *task = Task::Finished { place: self.finished, message };
                self.finished += 1;
            }
        }
    }

    /// Handles a failure to receive a result.
    fn store_failure(&mut self, error: PipeError) {
        match (error, self.announced) {
            // No descriptor was left to receive a large result. Only that result is lost.
            (error @ (PipeError::NoRoom | PipeError::System(_)), Some(id)) => {
                self.store(failed(id, &error.into()));
            }
            // The result of an unknown task is lost, so a wait for any task might never end.
            (error, _) => self.end = Some(error),
        }
    }

    /// Returns the place of these tasks in the order of completion, or `None` if one of them has
    /// no result yet. A task that can no longer finish comes last, and one whose result is gone
    /// comes first.
    pub(super) fn place(&self, tasks: &[TaskId]) -> Option<u64> {
        tasks.iter().try_fold(0, |last, task| match self.tasks.get(task) {
            None => Some(last),
            Some(Task::Finished { place, .. }) => Some(last.max(*place)),
            Some(_) => self.end.as_ref().map(|_| u64::MAX),
        })
    }
}

impl Client {
    pub(super) fn new(dispatcher: Connection, code: LoadedCode) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { dispatcher, code, generation: generation(), state, changed }
    }

    /// Checks that this process owns the pool. A forked child has a copy of the handle, and must
    /// not talk to the dispatcher.
    pub(super) fn check_owner(&self) -> Result<(), TaskError> {
        if self.generation == generation() { Ok(()) } else { Err(TaskError::Inherited) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits a task.
    pub(super) fn submit(&self, call: Call, arguments: &[u8]) -> Result<TaskId, TaskError> {
        self.check_owner()?;
        if !self.code.contains(call) {
            return Err(TaskError::UnknownFunction);
        }
        let mut state = self.state();
        if state.is_closed || state.end.is_some() {
            return Err(TaskError::PoolEnded);
        }
        state.last += 1;
        let id = state.last;
        state.tasks.insert(id, Task::Unfinished);
        drop(state);
        // Sent without the lock, so that another thread can receive while this one waits for room.
        // The dispatcher always makes room: it receives tasks even while its results are not
        // received.
        let sent = self.dispatcher.send_bytes(&task(id, call, arguments));
        sent.inspect_err(|_| self.forget(id))?;
        Ok(id)
    }

    /// Discards the result of a task that is no longer wanted.
    pub(super) fn forget(&self, task: TaskId) {
        self.state().tasks.remove(&task);
    }

    /// Removes and returns the result message of a finished task.
    pub(super) fn take(&self, task: TaskId) -> Result<Vec<u8>, TaskError> {
        match self.state().tasks.remove(&task) {
            Some(Task::Finished { message, .. }) => Ok(message),
            _ => Err(TaskError::PoolEnded),
        }
    }

    /// Returns true if every result that is still wanted has arrived.
    pub(super) fn has_all_results(&self) -> bool {
        self.state().tasks.values().all(|task| matches!(task, Task::Finished { .. }))
    }

    /// Accepts no more tasks, and sends the request [`CLOSE`](super::message::CLOSE) or
    /// [`TERMINATE`](super::message::TERMINATE). Returns false if the deadline passes before.
    pub(super) fn end(&self, request: u64, deadline: Deadline) -> Result<bool, TaskError> {
        self.check_owner()?;
        self.state().is_closed = true;
        let sent = self.dispatcher.send_bytes_until(&message(request, &[]), deadline);
        // If the dispatcher has ended already, the wait for its end reports that.
        Ok(sent.unwrap_or(true))
    }

    /// Waits until `answer` returns a value or the deadline passes. One of the waiting threads
    /// receives messages for all of them.
    pub(super) fn wait_until<R>(
        &self,
        deadline: Deadline,
        answer: impl Fn(&State) -> Option<R>,
    ) -> Result<Option<R>, TaskError> {
        self.check_owner()?;
        let mut state = self.state();
        let mut late = 0;
        loop {
            if let Some(answer) = answer(&state) {
                return Ok(Some(answer));
            }
            let left = deadline.left()?.map(Duration::from);
            late += usize::from(left == Some(Duration::ZERO));
            if late > MAX_LATE_MESSAGES {
                return Ok(None);
            }
            if state.is_receiving {
                if left == Some(Duration::ZERO) {
                    return Ok(None);
                }
                state.waiters += 1;
                let woken = self.changed.wait_timeout(state, left.unwrap_or(Duration::MAX));
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
                state.waiters -= 1;
                continue;
            }
            state.is_receiving = true;
            drop(state);
            // Receives even if no time is left, because a message may have arrived already.
            let received = self.dispatcher.recv_bytes_until(deadline);
            state = self.state();
            state.is_receiving = false;
            if state.waiters > 0 {
                self.changed.notify_all();
            }
            match received {
                Ok(Some(message)) => state.store(message),
                Ok(None) => return Ok(None),
                Err(error) => state.store_failure(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipe::pipe;

    fn call() -> Call {
        Call::of(|number: u64| number)
    }

    /// Returns a client with three submitted tasks, and the dispatcher's end of its connection.
    fn client() -> (Client, Connection, [TaskId; 3]) {
        let (here, there) = pipe().unwrap();
        let client = Client::new(here, LoadedCode::current());
        let tasks = [(); 3].map(|()| client.submit(call(), b"").unwrap());
        (client, there, tasks)
    }

    fn is_finished(client: &Client, task: TaskId) -> bool {
        client
            .wait_until(Deadline::after(Duration::ZERO).unwrap(), |state| state.place(&[task]))
            .unwrap()
            .is_some()
    }

    #[test]
    fn discarded_tasks_and_taken_results_are_not_kept() {
        let (client, dispatcher, [first, second, third]) = client();
        client.forget(first);
        for task in [first, second, third, 99] {
            dispatcher.send_bytes(&message(task, b"done")).unwrap();
        }
        assert!(is_finished(&client, third));
        client.forget(second);
        assert_eq!(client.take(third), Ok(message(third, b"done")));
        assert_eq!(client.take(third), Err(TaskError::PoolEnded));
        assert!(client.state().tasks.is_empty());
    }

    #[test]
    fn losing_an_announced_result_fails_only_its_task() {
        let (client, dispatcher, [first, second, third]) = client();
        dispatcher.send_bytes(&message(first, &[])).unwrap();
        assert!(!is_finished(&client, first));
        client.state().store_failure(PipeError::NoRoom);
        assert!(is_finished(&client, first) && !is_finished(&client, second));
        dispatcher.send_bytes(&message(second, &[])).unwrap();
        dispatcher.send_bytes(&message(second, b"done")).unwrap();
        assert!(is_finished(&client, second) && !is_finished(&client, third));
        // Without an announcement, the lost result may belong to any task.
        client.state().store_failure(PipeError::NoRoom);
        assert!(is_finished(&client, third));
        assert_eq!(
            (client.take(third), client.submit(call(), b"")),
            (Err(TaskError::PoolEnded), Err(TaskError::PoolEnded))
        );
        assert_eq!(client.take(second), Ok(message(second, b"done")));
    }

    #[test]
    fn a_wait_receives_a_limited_number_of_results_after_its_deadline() {
        let (client, dispatcher, [first, ..]) = client();
        let sent = (1000..).take_while(|&task| {
            dispatcher
                .send_bytes_timeout(&message(task, b"of another task"), Duration::ZERO)
                .unwrap()
        });
        assert!(sent.count() > MAX_LATE_MESSAGES);
        assert!(!is_finished(&client, first));
        assert!(client.dispatcher.poll(Duration::ZERO).unwrap(), "some results are left");
        dispatcher.send_bytes(&message(first, b"done")).unwrap();
        assert!((0..10).any(|_| is_finished(&client, first)));
    }

    #[test]
    fn losing_an_unannounced_result_breaks_the_connection_and_a_closed_one_is_not_broken() {
        for (error, is_broken) in [(PipeError::Closed, false), (PipeError::Malformed, true)] {
            let (client, _dispatcher, [first, ..]) = client();
            client.state().store_failure(error);
            assert!(is_finished(&client, first));
            let end = client.state().end.take();
            assert_eq!(!matches!(end, Some(PipeError::Closed)), is_broken);
        }
    }
}
