//! The owner's side of a pool of tasks: it gives tasks to the dispatcher and keeps the results
//! until they are taken.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::TaskError;
use super::function::{Call, Code, failure};
use super::message::{TaskId, close, result, result_parts, task, terminate};
use crate::pipe::{Connection, PipeError};
use crate::sys::deadline::Deadline;
use crate::sys::fork::generation;

/// A pool as the threads of its owner share it.
#[derive(Debug)]
pub(super) struct Client {
    dispatcher: Connection,
    code: Code,
    /// The process that owns the pool, by its [`generation`].
    generation: u32,
    state: Mutex<State>,
    /// Signals that the receiving thread has received something, or has stopped waiting.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    last: TaskId,
    /// Tasks whose results will be taken, and the results that have arrived.
    tasks: HashMap<TaskId, Option<Vec<u8>>>,
    /// The task whose result comes next, if it was announced.
    announced: Option<TaskId>,
    /// True while a thread waits for the dispatcher. Only one does.
    somebody_receives: bool,
    /// How many threads wait for that thread.
    followers: usize,
    /// True if nothing can come from the dispatcher any more: it is gone, or this process is cut
    /// off from it.
    has_ended: bool,
    is_cut_off: bool,
    /// True if no more tasks are accepted.
    is_closed: bool,
    /// True if the dispatcher knows that.
    has_said_so: bool,
}

/// How many results are received when the time is over: the wanted one may be among them, and they
/// may never end.
const MOST_LATE: usize = 64;

impl State {
    /// Keeps the result of a task, unless it will not be taken.
    fn note(&mut self, message: Vec<u8>) {
        let Some((id, outcomes)) = result_parts(&message) else { return };
        self.announced = outcomes.is_empty().then_some(id);
        if !outcomes.is_empty()
            && let Some(outcome) = self.tasks.get_mut(&id)
        {
            *outcome = Some(message);
        }
    }

    fn note_failure(&mut self, error: PipeError) {
        match (error, self.announced) {
            // There was no descriptor left to receive a large result with. Only that result is
            // lost.
            (error @ (PipeError::NoRoom | PipeError::System(_)), Some(id)) => {
                self.note(result(id, &failure(&error.into())));
            }
            (error, _) => {
                self.has_ended = true;
                // A lost result looks like one that is still to come, so no wait makes sense any
                // more.
                self.is_cut_off = !matches!(error, PipeError::Closed);
            }
        }
    }
}

impl Client {
    pub(super) fn new(dispatcher: Connection, code: Code) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { dispatcher, code, generation: generation(), state, changed }
    }

    /// Returns true if this process owns the pool. A forked child has a copy of the handle, and
    /// must not touch the dispatcher.
    pub(super) fn is_ours(&self) -> bool {
        self.generation == generation()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a task to the pool.
    pub(super) fn submit(&self, call: Call, arguments: &[u8]) -> Result<TaskId, TaskError> {
        if !self.is_ours() {
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
            state.tasks.insert(id, None);
            id
        };
        // Without the lock: while this waits for room, another thread may receive. The dispatcher
        // always makes room, because it accepts tasks even if its results are not taken.
        match self.dispatcher.send_bytes(&task(id, call, arguments)) {
            Ok(()) => Ok(id),
            Err(error) => {
                self.forget(id);
                Err(error.into())
            }
        }
    }

    /// Notes that the result of this task will not be taken.
    pub(super) fn forget(&self, task: TaskId) {
        self.state().tasks.remove(&task);
    }

    /// Waits until one of these tasks is done or can never be, and returns which. `None` if the
    /// time is over.
    pub(super) fn wait_any(
        &self,
        tasks: &[TaskId],
        deadline: Deadline,
    ) -> Result<Option<usize>, TaskError> {
        self.wait_until(deadline, |state| {
            let is_done = |id: &TaskId| !matches!(state.tasks.get(id), Some(None));
            tasks.iter().position(is_done).or(state.has_ended.then_some(0))
        })
    }

    /// Takes the result of a task that is done.
    pub(super) fn take(&self, task: TaskId) -> Result<Vec<u8>, TaskError> {
        self.state().tasks.remove(&task).flatten().ok_or(TaskError::PoolEnded)
    }

    /// Waits until the dispatcher is gone, and with it the pool. Returns true if it is.
    pub(super) fn wait_for_end(&self, deadline: Deadline) -> Result<bool, TaskError> {
        let ended = self.wait_until(deadline, |state| state.has_ended.then_some(()))?;
        Ok(ended.is_some())
    }

    /// Returns true if the dispatcher may go on but this process cannot receive from it any more.
    pub(super) fn is_cut_off(&self) -> bool {
        self.state().is_cut_off
    }

    /// Returns true if every result that will be taken has arrived.
    pub(super) fn has_all(&self) -> bool {
        self.state().tasks.values().all(Option::is_some)
    }

    /// Accepts no more tasks, and informs the dispatcher, which ends when all are done. Returns
    /// true if it could be informed within the time.
    pub(super) fn close(&self, deadline: Deadline) -> Result<bool, TaskError> {
        if !self.is_ours() {
            return Err(TaskError::Inherited);
        }
        let mut state = self.state();
        state.is_closed = true;
        if state.has_said_so {
            return Ok(true);
        }
        drop(state);
        let said = match left(deadline)? {
            None => self.dispatcher.send_bytes(&close()).map(|()| true),
            Some(left) => self.dispatcher.send_bytes_timeout(&close(), left),
        };
        // If it is gone already, the wait for its end finds that out.
        let said = said.unwrap_or(true);
        self.state().has_said_so = said;
        Ok(said)
    }

    /// Asks the dispatcher to end at once. Returns true if it could be asked within the time.
    pub(super) fn terminate(&self, timeout: Duration) -> bool {
        self.state().is_closed = true;
        self.dispatcher.send_bytes_timeout(&terminate(), timeout).unwrap_or(true)
    }

    /// Waits until there is an answer or the time is over. One of the waiting threads receives for
    /// all of them.
    fn wait_until<R>(
        &self,
        deadline: Deadline,
        answer: impl Fn(&State) -> Option<R>,
    ) -> Result<Option<R>, TaskError> {
        if !self.is_ours() {
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
            if late > MOST_LATE {
                return Ok(None);
            }
            if state.somebody_receives {
                if left == Some(Duration::ZERO) {
                    return Ok(None);
                }
                state.followers += 1;
                let woken = self.changed.wait_timeout(state, left.unwrap_or(Duration::MAX));
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
                state.followers -= 1;
                continue;
            }
            state.somebody_receives = true;
            drop(state);
            // Also if no time is left: something may be there already.
            let came = match left {
                None => self.dispatcher.recv_bytes().map(Some),
                Some(left) => self.dispatcher.recv_bytes_timeout(left),
            };
            state = self.state();
            state.somebody_receives = false;
            if state.followers > 0 {
                self.changed.notify_all();
            }
            match came {
                Ok(Some(message)) => state.note(message),
                Ok(None) => return Ok(None),
                Err(error) => state.note_failure(error),
            }
        }
    }
}

/// Returns how much time is left. `None` means no limit.
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

    /// Returns a client with three tasks, and the stand-in for its dispatcher.
    fn client() -> (Client, Connection, [TaskId; 3]) {
        let (here, there) = pipe().unwrap();
        let client = Client::new(here, Code::known());
        let tasks = [(); 3].map(|()| client.submit(call(), b"").unwrap());
        (client, there, tasks)
    }

    fn is_done(client: &Client, task: TaskId) -> bool {
        client.wait_any(&[task], Deadline::after(Duration::ZERO).unwrap()).unwrap().is_some()
    }

    #[test]
    fn nothing_is_kept_of_tasks_that_are_given_up_or_whose_results_were_taken() {
        let (client, dispatcher, [first, second, third]) = client();
        client.forget(first);
        for task in [first, second, third, 99] {
            dispatcher.send_bytes(&result(task, b"done")).unwrap();
        }
        assert!(is_done(&client, third));
        client.forget(second);
        assert_eq!(client.take(third), Ok(result(third, b"done")));
        assert_eq!(client.take(third), Err(TaskError::PoolEnded));
        assert!(client.state().tasks.is_empty());
    }

    #[test]
    fn a_result_that_was_announced_and_lost_fails_its_task_only() {
        let (client, dispatcher, [first, second, third]) = client();
        dispatcher.send_bytes(&result(first, &[])).unwrap();
        assert!(!is_done(&client, first));
        client.state().note_failure(PipeError::NoRoom);
        assert!(is_done(&client, first) && !is_done(&client, second));
        dispatcher.send_bytes(&result(second, &[])).unwrap();
        dispatcher.send_bytes(&result(second, b"done")).unwrap();
        assert!(is_done(&client, second) && !is_done(&client, third));
        // Not announced, so it may belong to any task.
        client.state().note_failure(PipeError::NoRoom);
        assert!(is_done(&client, third));
        assert_eq!(
            (client.take(third), client.submit(call(), b"")),
            (Err(TaskError::PoolEnded), Err(TaskError::PoolEnded))
        );
        assert_eq!(client.take(second), Ok(result(second, b"done")));
    }

    #[test]
    fn after_the_deadline_some_more_results_are_received_and_not_all() {
        let (client, dispatcher, [first, ..]) = client();
        let sent = (1000..).take_while(|&task| {
            dispatcher
                .send_bytes_timeout(&result(task, b"of another task"), Duration::ZERO)
                .unwrap()
        });
        assert!(sent.count() > MOST_LATE);
        assert!(!is_done(&client, first));
        assert!(client.dispatcher.poll(Duration::ZERO).unwrap(), "some are left");
        dispatcher.send_bytes(&result(first, b"done")).unwrap();
        assert!((0..10).any(|_| is_done(&client, first)));
    }

    #[test]
    fn a_process_that_lost_something_unannounced_is_cut_off_and_one_whose_dispatcher_is_gone_is_not()
     {
        for (error, is_cut_off) in [(PipeError::Closed, false), (PipeError::Malformed, true)] {
            let (client, _dispatcher, [first, ..]) = client();
            client.state().note_failure(error);
            assert!(is_done(&client, first));
            assert_eq!(client.is_cut_off(), is_cut_off);
        }
    }
}
