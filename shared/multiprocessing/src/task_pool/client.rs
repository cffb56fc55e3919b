//! The owner's side of a task pool: submits tasks to the dispatcher, and keeps results until the
//! caller takes them.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::TaskError;
use super::function::{Call, LoadedCode, failure};
use super::message::{NOT_CANCELLED, TaskId, close, parse_result, result, task, terminate};
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
    /// True once no more results can arrive.
    pub(super) has_ended: bool,
    /// True if results were lost while the dispatcher may still run.
    is_broken: bool,
    /// True once the pool accepts no more tasks.
    is_closed: bool,
    /// True once the dispatcher was sent the request to close.
    is_close_sent: bool,
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
        let Some((id, outcomes)) = parse_result(&message) else { return };
        self.announced = outcomes.is_empty().then_some(id);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        match (outcomes, &*task) {
            ([], _) | (NOT_CANCELLED, Task::Finished { .. }) => {}
            (NOT_CANCELLED, _) => *task = Task::Begun,
            _ => {
                *task = Task::Finished { place: self.finished, message };
                self.finished += 1;
            }
        }
    }

    /// Returns the place of a finished task in the order of results. A task that can no longer
    /// finish comes last, and one whose result is gone comes first.
    fn place(&self, task: TaskId) -> Option<u64> {
        match self.tasks.get(&task) {
            None => Some(0),
            Some(Task::Finished { place, .. }) => Some(*place),
            Some(_) => self.has_ended.then_some(u64::MAX),
        }
    }

    /// Handles a failure to receive a result.
    fn store_failure(&mut self, error: PipeError) {
        match (error, self.announced) {
            // No descriptor was left to receive a large result. Only that result is lost.
            (error @ (PipeError::NoRoom | PipeError::System(_)), Some(id)) => {
                self.store(result(id, &failure(&error.into())));
            }
            (error, _) => {
                self.has_ended = true;
                // The result of an unknown task is lost, so a wait for any task might never end.
                self.is_broken = !matches!(error, PipeError::Closed);
            }
        }
    }
}

impl Client {
    pub(super) fn new(dispatcher: Connection, code: LoadedCode) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { dispatcher, code, generation: generation(), state, changed }
    }

    /// Returns true if this process owns the pool. A forked child has a copy of the handle, and
    /// must not talk to the dispatcher.
    pub(super) fn is_owner(&self) -> bool {
        self.generation == generation()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits a task.
    pub(super) fn submit(&self, call: Call, arguments: &[u8]) -> Result<TaskId, TaskError> {
        if !self.is_owner() {
            return Err(TaskError::Inherited);
        }
        if !self.code.contains(call) {
            return Err(TaskError::UnknownFunction);
        }
        let id = {
            let mut state = self.state();
            if state.is_closed || state.has_ended {
                return Err(TaskError::PoolEnded);
            }
            state.last += 1;
            let id = state.last;
            state.tasks.insert(id, Task::Unfinished);
            id
        };
        // Sent without the lock, so that another thread can receive while this one waits for room.
        // The dispatcher always makes room: it receives tasks even while its results are not
        // received.
        match self.dispatcher.send_bytes(&task(id, call, arguments)) {
            Ok(()) => Ok(id),
            Err(error) => {
                self.forget(id);
                Err(error.into())
            }
        }
    }

    /// Discards the result of a task that is no longer wanted.
    pub(super) fn forget(&self, task: TaskId) {
        self.state().tasks.remove(&task);
    }

    /// Waits until one of these tasks is finished or can no longer finish, and returns its index.
    /// Returns `None` when the deadline passes first.
    pub(super) fn wait_any(
        &self,
        tasks: &[TaskId],
        deadline: Deadline,
    ) -> Result<Option<usize>, TaskError> {
        self.wait_until(deadline, |state| tasks.iter().position(|id| state.place(*id).is_some()))
    }

    /// Waits until at least one of these groups of tasks is finished or can no longer finish.
    /// Returns for each group its place in the order of completion, if it is finished, or `None`
    /// when the deadline passes first.
    pub(super) fn wait_for_groups(
        &self,
        groups: &[&[TaskId]],
        deadline: Deadline,
    ) -> Result<Option<Vec<Option<u64>>>, TaskError> {
        self.wait_until(deadline, |state| {
            let place = |group: &&[TaskId]| {
                group.iter().try_fold(0, |last, task| Some(state.place(*task)?.max(last)))
            };
            let places: Vec<_> = groups.iter().map(place).collect();
            places.iter().any(Option::is_some).then_some(places)
        })
    }

    /// Removes and returns the result message of a finished task.
    pub(super) fn take(&self, task: TaskId) -> Result<Vec<u8>, TaskError> {
        match self.state().tasks.remove(&task) {
            Some(Task::Finished { message, .. }) => Ok(message),
            _ => Err(TaskError::PoolEnded),
        }
    }

    /// Waits until no more results can arrive. Returns false when the deadline passes first.
    pub(super) fn wait_for_end(&self, deadline: Deadline) -> Result<bool, TaskError> {
        let ended = self.wait_until(deadline, |state| state.has_ended.then_some(()))?;
        Ok(ended.is_some())
    }

    /// Returns true if results were lost while the dispatcher may still run.
    pub(super) fn is_broken(&self) -> bool {
        self.state().is_broken
    }

    /// Returns true if every result that is still wanted has arrived.
    pub(super) fn has_all_results(&self) -> bool {
        self.state().tasks.values().all(|task| matches!(task, Task::Finished { .. }))
    }

    /// Accepts no more tasks, and requests that the dispatcher ends once all tasks are finished.
    /// Returns false if the deadline passes before the request is sent.
    pub(super) fn close(&self, deadline: Deadline) -> Result<bool, TaskError> {
        if !self.is_owner() {
            return Err(TaskError::Inherited);
        }
        let mut state = self.state();
        state.is_closed = true;
        if state.is_close_sent {
            return Ok(true);
        }
        drop(state);
        let sent = match left(deadline)? {
            None => self.dispatcher.send_bytes(&close()).map(|()| true),
            Some(left) => self.dispatcher.send_bytes_timeout(&close(), left),
        };
        // If the dispatcher has ended already, the wait for its end reports that.
        let sent = sent.unwrap_or(true);
        self.state().is_close_sent = sent;
        Ok(sent)
    }

    /// Requests that the dispatcher ends at once. Returns false if the timeout passes before the
    /// request is sent.
    pub(super) fn terminate(&self, timeout: Duration) -> bool {
        self.state().is_closed = true;
        self.dispatcher.send_bytes_timeout(&terminate(), timeout).unwrap_or(true)
    }

    /// Waits until `answer` returns a value or the deadline passes. One of the waiting threads
    /// receives messages for all of them.
    pub(super) fn wait_until<R>(
        &self,
        deadline: Deadline,
        answer: impl Fn(&State) -> Option<R>,
    ) -> Result<Option<R>, TaskError> {
        if !self.is_owner() {
            return Err(TaskError::Inherited);
        }
        let mut state = self.state();
        let mut late = 0;
        loop {
            if let Some(answer) = answer(&state) {
                return Ok(Some(answer));
            }
            let left = left(deadline)?;
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
            let received = match left {
                None => self.dispatcher.recv_bytes().map(Some),
                Some(left) => self.dispatcher.recv_bytes_timeout(left),
            };
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

/// Returns the time until the deadline, or `None` if there is no deadline.
fn left(deadline: Deadline) -> Result<Option<Duration>, TaskError> {
    Ok(deadline.left()?.map(Duration::from))
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
        client.wait_any(&[task], Deadline::after(Duration::ZERO).unwrap()).unwrap().is_some()
    }

    #[test]
    fn discarded_tasks_and_taken_results_are_not_kept() {
        let (client, dispatcher, [first, second, third]) = client();
        client.forget(first);
        for task in [first, second, third, 99] {
            dispatcher.send_bytes(&result(task, b"done")).unwrap();
        }
        assert!(is_finished(&client, third));
        client.forget(second);
        assert_eq!(client.take(third), Ok(result(third, b"done")));
        assert_eq!(client.take(third), Err(TaskError::PoolEnded));
        assert!(client.state().tasks.is_empty());
    }

    #[test]
    fn losing_an_announced_result_fails_only_its_task() {
        let (client, dispatcher, [first, second, third]) = client();
        dispatcher.send_bytes(&result(first, &[])).unwrap();
        assert!(!is_finished(&client, first));
        client.state().store_failure(PipeError::NoRoom);
        assert!(is_finished(&client, first) && !is_finished(&client, second));
        dispatcher.send_bytes(&result(second, &[])).unwrap();
        dispatcher.send_bytes(&result(second, b"done")).unwrap();
        assert!(is_finished(&client, second) && !is_finished(&client, third));
        // Without an announcement, the lost result may belong to any task.
        client.state().store_failure(PipeError::NoRoom);
        assert!(is_finished(&client, third));
        assert_eq!(
            (client.take(third), client.submit(call(), b"")),
            (Err(TaskError::PoolEnded), Err(TaskError::PoolEnded))
        );
        assert_eq!(client.take(second), Ok(result(second, b"done")));
    }

    #[test]
    fn a_wait_receives_a_limited_number_of_results_after_its_deadline() {
        let (client, dispatcher, [first, ..]) = client();
        let sent = (1000..).take_while(|&task| {
            dispatcher
                .send_bytes_timeout(&result(task, b"of another task"), Duration::ZERO)
                .unwrap()
        });
        assert!(sent.count() > MAX_LATE_MESSAGES);
        assert!(!is_finished(&client, first));
        assert!(client.dispatcher.poll(Duration::ZERO).unwrap(), "some results are left");
        dispatcher.send_bytes(&result(first, b"done")).unwrap();
        assert!((0..10).any(|_| is_finished(&client, first)));
    }

    #[test]
    fn losing_an_unannounced_result_breaks_the_connection_and_a_closed_one_is_not_broken() {
        for (error, is_broken) in [(PipeError::Closed, false), (PipeError::Malformed, true)] {
            let (client, _dispatcher, [first, ..]) = client();
            client.state().store_failure(error);
            assert!(is_finished(&client, first));
            assert_eq!(client.is_broken(), is_broken);
        }
    }
}
