//! The owner's side of a pool of tasks: gives tasks to the dispatcher and keeps the results until they are asked for.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::TaskError;
use super::function::{Call, Code, failure};
use super::message::{TaskId, close, result, result_parts, task, terminate};
use crate::pipe::{Connection, PipeError};
use crate::sys::deadline::Deadline;
use crate::sys::fork::generation;

/// A pool as its owner's threads share it.
#[derive(Debug)]
pub(super) struct Client {
    dispatcher: Connection,
    code: Code,
    /// The process that has the pool, as [`generation`] counts.
    generation: u32,
    state: Mutex<State>,
    /// The thread that received has something, or has stopped waiting for it.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    last: TaskId,
    /// Tasks whose results somebody will ask for, and what was sent about those that are done.
    tasks: HashMap<TaskId, Option<Vec<u8>>>,
    /// The task whose result comes next, if it was announced.
    announced: Option<TaskId>,
    /// Whether a thread waits for the dispatcher right now. It is the only one that does.
    somebody_receives: bool,
    /// How many threads wait for that one.
    followers: usize,
    /// Whether nothing can come from the dispatcher any more: it is gone, or this process is cut off from it.
    has_ended: bool,
    is_cut_off: bool,
    /// Whether no more tasks are taken.
    is_closed: bool,
    /// Whether the dispatcher was told so.
    has_said_so: bool,
}

/// So many results are taken in when the time is over: the one that is waited for may be among them, and they may never end.
const MOST_LATE: usize = 64;

impl State {
    /// Notes what came of a task, unless nobody will ask for it.
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
            // There was no descriptor left to receive a large one with. It is lost, and no other.
            (error @ (PipeError::NoRoom | PipeError::System(_)), Some(id)) => {
                self.note(result(id, &failure(&error.into())));
            }
            (error, _) => {
                self.has_ended = true;
                // What was lost cannot be told from what is still to come: nothing can be waited for any more.
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

    /// Whether this process has the pool. A forked child has a copy of the handle, and must not touch the dispatcher.
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
        // Without the lock: while this waits for room, another thread may receive. The dispatcher makes room whatever happens: it
        // takes tasks in also when nobody takes its results.
        match self.dispatcher.send_bytes(&task(id, call, arguments)) {
            Ok(()) => Ok(id),
            Err(error) => {
                self.forget(id);
                Err(error.into())
            }
        }
    }

    /// Nobody will ask for the result of this task.
    pub(super) fn forget(&self, task: TaskId) {
        self.state().tasks.remove(&task);
    }

    /// Waits until one of these tasks is done or never will be, and says which; `None` when the time is over.
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

    /// What was sent about a task that is done, and is not asked for again.
    pub(super) fn take(&self, task: TaskId) -> Result<Vec<u8>, TaskError> {
        self.state().tasks.remove(&task).flatten().ok_or(TaskError::PoolEnded)
    }

    /// Waits until the dispatcher is gone, and with it the pool. Whether it is.
    pub(super) fn wait_for_end(&self, deadline: Deadline) -> Result<bool, TaskError> {
        let ended = self.wait_until(deadline, |state| state.has_ended.then_some(()))?;
        Ok(ended.is_some())
    }

    /// Whether the dispatcher may go on and cannot be heard any more.
    pub(super) fn is_cut_off(&self) -> bool {
        self.state().is_cut_off
    }

    /// Whether everything that somebody will ask for is there.
    pub(super) fn has_all(&self) -> bool {
        self.state().tasks.values().all(Option::is_some)
    }

    /// Takes no more tasks, and tells the dispatcher, which ends when all are done. Whether it could be told within the time.
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
        // When it is gone already, that is found out by whoever waits for its end.
        let said = said.unwrap_or(true);
        self.state().has_said_so = said;
        Ok(said)
    }

    /// Asks the dispatcher to end at once. Whether it could be asked within the time.
    pub(super) fn terminate(&self, timeout: Duration) -> bool {
        self.state().is_closed = true;
        self.dispatcher.send_bytes_timeout(&terminate(), timeout).unwrap_or(true)
    }

    /// Waits until there is an answer or the time is over. Of the threads that wait, one receives, for all of them.
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
            // Also when no time is left: something may be there already.
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

/// How long there is left; `None` for ever.
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

    /// A client with three tasks, and what stands for its dispatcher.
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
        // Not announced: it may have been anybody's.
        client.state().note_failure(PipeError::NoRoom);
        assert!(is_done(&client, third));
        assert_eq!(
            (client.take(third), client.submit(call(), b"")),
            (Err(TaskError::PoolEnded), Err(TaskError::PoolEnded))
        );
        assert_eq!(client.take(second), Ok(result(second, b"done")));
    }

    #[test]
    fn when_the_time_is_over_some_more_results_are_taken_in_and_not_all() {
        let (client, dispatcher, [first, ..]) = client();
        let sent = (1000..).take_while(|&task| {
            dispatcher
                .send_bytes_timeout(&result(task, b"of somebody else"), Duration::ZERO)
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
