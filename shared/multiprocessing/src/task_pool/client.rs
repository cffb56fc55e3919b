//! The owner's side of a pool of tasks: gives tasks to the dispatcher and keeps the results until they are asked for.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::TaskError;
use super::function::{Call, Code};
use super::message::{TaskId, close, result_parts, task, terminate};
use crate::deadline::Deadline;
use crate::fork::generation;
use crate::pipe::Connection;

/// A pool as its owner's threads share it.
#[derive(Debug)]
pub(super) struct Client {
    dispatcher: Connection,
    code: Code,
    /// The process that has the pool, as [`generation`] counts.
    generation: u32,
    state: Mutex<State>,
    /// Something has come, or the thread that received has stopped doing so.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    last: TaskId,
    /// Tasks whose results somebody will ask for, and the outcomes of those that are done.
    tasks: HashMap<TaskId, Option<Vec<u8>>>,
    /// Whether a thread waits for the dispatcher right now. It is the only one that does.
    somebody_receives: bool,
    /// Whether the dispatcher is gone.
    has_ended: bool,
    /// Whether no more tasks are taken.
    is_closed: bool,
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
        // Without the lock: while this waits for room, another thread may receive.
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
    pub(super) fn wait_any(&self, tasks: &[TaskId], deadline: Deadline) -> Result<Option<usize>, TaskError> {
        self.wait_until(deadline, |state| {
            let is_done = |id: &TaskId| !matches!(state.tasks.get(id), Some(None));
            tasks.iter().position(is_done).or(state.has_ended.then_some(0))
        })
    }

    /// The outcomes of a task that is done, whose result is not asked for again.
    pub(super) fn take(&self, task: TaskId) -> Result<Vec<u8>, TaskError> {
        self.state().tasks.remove(&task).flatten().ok_or(TaskError::PoolEnded)
    }

    /// Waits until the dispatcher is gone, and with it the pool. Whether it is.
    pub(super) fn wait_for_end(&self, deadline: Deadline) -> Result<bool, TaskError> {
        let ended = self.wait_until(deadline, |state| state.has_ended.then_some(()))?;
        Ok(ended.is_some())
    }

    /// Takes no more tasks; the dispatcher ends when all are done.
    pub(super) fn close(&self) -> Result<(), TaskError> {
        if !self.is_ours() {
            return Err(TaskError::Inherited);
        }
        if !std::mem::replace(&mut self.state().is_closed, true) {
            // When it is gone already, that is found out by whoever waits for its end.
            let _ = self.dispatcher.send_bytes(&close());
        }
        Ok(())
    }

    /// Asks the dispatcher to end at once. Whether it could be asked within the time.
    pub(super) fn terminate(&self, timeout: Duration) -> bool {
        self.state().is_closed = true;
        self.dispatcher.send_bytes_timeout(&terminate(), timeout).unwrap_or(true)
    }

    /// Receives until there is an answer or the time is over.
    fn wait_until<R>(
        &self,
        deadline: Deadline,
        answer: impl Fn(&State) -> Option<R>,
    ) -> Result<Option<R>, TaskError> {
        if !self.is_ours() {
            return Err(TaskError::Inherited);
        }
        let mut state = self.state();
        loop {
            self.receive(&mut state);
            if let Some(answer) = answer(&state) {
                return Ok(Some(answer));
            }
            let left = deadline.left()?.map(Duration::from);
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            if state.somebody_receives {
                let left = left.unwrap_or(Duration::MAX);
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            state.somebody_receives = true;
            drop(state);
            // Ready also when the dispatcher is gone.
            let polled = self.dispatcher.poll(left.unwrap_or(Duration::MAX));
            state = self.state();
            state.somebody_receives = false;
            self.changed.notify_all();
            polled?;
        }
    }

    /// Takes in what has come.
    fn receive(&self, state: &mut State) {
        // Another thread is about to do it.
        if state.somebody_receives {
            return;
        }
        while !state.has_ended {
            match self.dispatcher.recv_bytes_timeout(Duration::ZERO) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    if let Some((id, outcomes)) = result_parts(&message)
                        && let Some(outcome) = state.tasks.get_mut(&id)
                    {
                        *outcome = Some(outcomes.to_vec());
                    }
                }
                // What was lost with an error cannot be told from what is still to come: nothing can be waited for any more.
                Err(_) => state.has_ended = true,
            }
        }
    }
}
