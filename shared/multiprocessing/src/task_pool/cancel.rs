//! Cancels tasks that have not begun.

use super::async_result::AsyncResult;
use super::client::{State, Task};
use super::error::TaskError;
use super::message::{CANCEL, failed, message};
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
        self.client.check_owner()?;
        for task in self.tasks() {
            let is_unfinished = self.client.state().tasks.get(task) == Some(&Task::Unfinished);
            if is_unfinished {
                self.client.dispatcher.send_bytes(&message(CANCEL, &task.to_ne_bytes()))?;
            }
        }
        let mut are_cancelled = self.tasks.is_ok();
        for task in self.tasks() {
            let cancelled = failed(*task, &TaskError::Cancelled);
            let is_cancelled = |state: &State| match state.tasks.get(task) {
                Some(Task::Finished { message, .. }) => Some(Ok(*message == cancelled)),
                Some(Task::Unfinished) => state.end.as_ref().map(|_| Err(TaskError::PoolEnded)),
                Some(Task::Begun) | None => Some(Ok(false)),
            };
            let answer = self.client.wait_until(Deadline::NEVER, is_cancelled)?;
            are_cancelled &= answer.unwrap_or(Ok(false))?;
        }
        Ok(are_cancelled)
    }
}
