//! Cancels tasks that have not begun.

use super::async_result::AsyncResult;
use super::client::{Client, Task};
use super::error::TaskError;
use super::function::failure;
use super::message::{TaskId, cancel, result};
use crate::sys::deadline::Deadline;

impl<T> AsyncResult<T> {
    /// Cancels the tasks that have not begun, like `Future.cancel` of Python's
    /// `concurrent.futures`. Returns true if no task of this result has begun, so that all are
    /// cancelled.
    ///
    /// A cancelled task never runs, and its error is [`TaskError::Cancelled`]. A task that has
    /// begun runs to its end, and its result can still be taken. A task of more than 4 KiB counts
    /// as begun as soon as it is in flight to a worker.
    ///
    /// Waits for the dispatcher's answer.
    ///
    /// # Errors
    /// [`TaskError::Inherited`] in a forked child, [`TaskError::PoolEnded`] if the pool ends before
    /// it answers.
    pub fn cancel(&self) -> Result<bool, TaskError> {
        for task in self.tasks() {
            self.client().request_cancel(*task)?;
        }
        let mut are_cancelled = self.is_submitted();
        for task in self.tasks() {
            are_cancelled &= self.client().is_cancelled(*task)?;
        }
        Ok(are_cancelled)
    }
}

impl Client {
    /// Requests that a task is cancelled, unless it is known to have begun.
    fn request_cancel(&self, task: TaskId) -> Result<(), TaskError> {
        if !self.is_owner() {
            return Err(TaskError::Inherited);
        }
        let is_unfinished = self.state().tasks.get(&task) == Some(&Task::Unfinished);
        if is_unfinished {
            self.dispatcher.send_bytes(&cancel(task))?;
        }
        Ok(())
    }

    /// Waits for the answer to [`request_cancel`](Self::request_cancel). Returns true if the task
    /// is cancelled.
    fn is_cancelled(&self, task: TaskId) -> Result<bool, TaskError> {
        let cancelled = result(task, &failure(&TaskError::Cancelled));
        let answer = self.wait_until(Deadline::NEVER, |state| match state.tasks.get(&task) {
            Some(Task::Finished { message, .. }) => Some(Ok(*message == cancelled)),
            Some(Task::Unfinished) => state.has_ended.then_some(Err(TaskError::PoolEnded)),
            Some(Task::Begun) | None => Some(Ok(false)),
        })?;
        answer.unwrap_or(Ok(false))
    }
}
