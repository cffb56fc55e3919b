//! The results of tasks that were submitted without waiting.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::Client;
use super::error::TaskError;
use super::function::Call;
use super::message::{TaskId, parse};
use crate::pipe::{decode, encode};
use crate::sys::deadline::Deadline;

/// The outcomes of the arguments of a task.
pub(super) type Outcomes<R> = Vec<Result<R, TaskError>>;

/// Builds a result from the results of finished tasks.
type Assemble<T> = fn(&Client, &[TaskId]) -> Result<T, TaskError>;

/// The future result of submitted tasks, like Python's `AsyncResult`.
///
/// Dropping it discards the result. The tasks still run.
///
/// | Python | here |
/// |---|---|
/// | `result.get()` | `result.get()?` |
/// | `result.get(timeout=1)` | `if result.wait_timeout(second)? { result.get()? }` |
/// | `result.wait()` | `result.wait()?` |
/// | `result.wait(1)` | `result.wait_timeout(second)?` |
/// | `result.ready()` | `result.wait_timeout(Duration::ZERO)?` |
/// | `future.cancel()` of `concurrent.futures` | `result.cancel()?` |
/// | `result.successful()`, `callback`, `error_callback` | `match result.get()` |
#[derive(Debug)]
#[must_use = "dropping this discards the result"]
pub struct AsyncResult<T> {
    pub(super) client: Arc<Client>,
    /// The submitted tasks, or the error of submitting them.
    pub(super) tasks: Result<Vec<TaskId>, TaskError>,
    /// Builds the result from the results of the tasks.
    assemble: Assemble<T>,
}

impl<T> AsyncResult<T> {
    /// Submits a task per chunk of arguments, all or none. It encodes all arguments first, so that
    /// no task runs if one of them cannot be encoded.
    pub(super) fn submit<'a, A: Serialize + 'a>(
        client: &Arc<Client>,
        call: Call,
        chunks: impl Iterator<Item = &'a [A]>,
        assemble: Assemble<T>,
    ) -> Self {
        let mut tasks = Vec::new();
        let submit = || {
            for bytes in chunks.map(encode).collect::<Result<Vec<_>, _>>()? {
                tasks.push(client.submit(call, &bytes)?);
            }
            Ok(())
        };
        let submitted = submit();
        let mut result = Self { client: client.clone(), tasks: Ok(tasks), assemble };
        if let Err(error) = submitted {
            result.discard();
            result.tasks = Err(error);
        }
        result
    }

    /// Waits until the tasks are finished, without a limit.
    ///
    /// # Errors
    /// [`TaskError::Inherited`] in a forked child. Errors of the tasks are reported by
    /// [`get`](Self::get).
    pub fn wait(&self) -> Result<(), TaskError> {
        self.wait_until(Deadline::NEVER).map(drop)
    }

    /// Waits until the tasks are finished, at most this long.
    ///
    /// Returns true if they are finished or can no longer finish, so that [`get`](Self::get)
    /// returns without waiting.
    ///
    /// # Errors
    /// The same as for [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, TaskError> {
        self.wait_until(Deadline::after(timeout)?)
    }

    fn wait_until(&self, deadline: Deadline) -> Result<bool, TaskError> {
        for task in self.tasks() {
            if self.client.wait_until(deadline, |state| state.place(&[*task]))?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the submitted tasks.
    pub(super) fn tasks(&self) -> &[TaskId] {
        self.tasks.as_deref().unwrap_or_default()
    }

    fn discard(&self) {
        self.tasks().iter().for_each(|task| self.client.forget(*task));
    }

    /// Waits for the result without a limit, and returns it. Waits for all tasks even if one has
    /// failed.
    ///
    /// # Errors
    /// The error of the first failed task, in the order of the arguments.
    pub fn get(self) -> Result<T, TaskError> {
        self.wait()?;
        self.take()
    }

    /// Returns the result of tasks that are finished.
    pub(super) fn take(mut self) -> Result<T, TaskError> {
        let tasks = std::mem::replace(&mut self.tasks, Ok(Vec::new()))?;
        (self.assemble)(&self.client, &tasks)
    }
}

/// Takes the results of finished tasks with several arguments each, or returns the first error.
pub(super) fn all<R>(client: &Client, tasks: &[TaskId]) -> Result<Vec<R>, TaskError>
where
    R: DeserializeOwned,
{
    // Takes every result even after an error, because the client would keep the rest forever.
    let outcomes: Vec<_> = tasks.iter().map(|task| outcomes(client, &[*task])).collect();
    let mut results = Vec::new();
    for outcomes in outcomes {
        for outcome in outcomes? {
            results.push(outcome?);
        }
    }
    Ok(results)
}

/// Takes the result of one finished task with one argument.
pub(super) fn one<R: DeserializeOwned>(client: &Client, task: &[TaskId]) -> Result<R, TaskError> {
    let no_result = || TaskError::Decode("a task of one argument has no result".to_owned());
    all(client, task)?.pop().ok_or_else(no_result)
}

/// Takes the outcomes of one finished task, or its error for all arguments.
pub(super) fn outcomes<R>(client: &Client, task: &[TaskId]) -> Result<Outcomes<R>, TaskError>
where
    R: DeserializeOwned,
{
    let message = client.take(task.first().copied().unwrap_or_default())?;
    let (_, outcomes) = parse(&message).unwrap_or_default();
    decode::<Result<_, _>>(outcomes)?
}

impl<T> Drop for AsyncResult<T> {
    fn drop(&mut self) {
        self.discard();
    }
}
