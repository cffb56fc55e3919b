//! The results of tasks that were submitted without waiting.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::client::Client;
use super::error::TaskError;
use super::message::{TaskId, parse_result};
use crate::pipe::decode;
use crate::sys::deadline::Deadline;

/// Decoded result of a task: one outcome per argument, or one error for all of them.
type Outcomes<R> = Result<Vec<Result<R, TaskError>>, TaskError>;

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
    client: Arc<Client>,
    /// The submitted tasks, or the error of submitting them.
    tasks: Result<Vec<TaskId>, TaskError>,
    /// Builds the result from the results of the tasks.
    assemble: fn(&Client, &[TaskId]) -> Result<T, TaskError>,
}

impl<T> AsyncResult<T> {
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
            if self.client.wait_any(&[*task], deadline)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    pub(super) fn is_submitted(&self) -> bool {
        self.tasks.is_ok()
    }

    /// Returns the submitted tasks.
    pub(super) fn tasks(&self) -> &[TaskId] {
        self.tasks.as_deref().unwrap_or_default()
    }

    /// Waits for the result without a limit, and returns it. Waits for all tasks even if one has
    /// failed.
    ///
    /// # Errors
    /// The error of the first failed task, in the order of the arguments.
    pub fn get(mut self) -> Result<T, TaskError> {
        self.wait()?;
        let tasks = std::mem::replace(&mut self.tasks, Ok(Vec::new()))?;
        (self.assemble)(&self.client, &tasks)
    }
}

impl<R: DeserializeOwned> AsyncResult<R> {
    /// Creates the result of one task with one argument.
    pub(super) fn of_one(client: Arc<Client>, task: Result<TaskId, TaskError>) -> Self {
        let assemble = |client: &Client, tasks: &[TaskId]| {
            let result = all(client, tasks)?.pop();
            result
                .ok_or_else(|| TaskError::Decode("a task of one argument has no result".to_owned()))
        };
        Self { client, tasks: task.map(|task| vec![task]), assemble }
    }
}

impl<R: DeserializeOwned> AsyncResult<Vec<R>> {
    /// Creates the result of several tasks with several arguments each.
    pub(super) fn of_all(client: Arc<Client>, tasks: Result<Vec<TaskId>, TaskError>) -> Self {
        Self { client, tasks, assemble: all }
    }
}

/// Takes the results of all tasks, or returns the first error.
fn all<R: DeserializeOwned>(client: &Client, tasks: &[TaskId]) -> Result<Vec<R>, TaskError> {
    let outcomes = tasks.iter().map(|task| outcomes::<R>(client, *task));
    // Takes every result even after an error, because the client would keep the rest forever.
    let outcomes: Vec<_> = outcomes.collect();
    let mut results = Vec::new();
    for outcome in outcomes {
        for result in outcome? {
            results.push(result?);
        }
    }
    Ok(results)
}

/// Takes and decodes the result of a finished task.
pub(super) fn outcomes<R: DeserializeOwned>(client: &Client, task: TaskId) -> Outcomes<R> {
    let message = client.take(task)?;
    let (_, outcomes) = parse_result(&message).unwrap_or_default();
    decode::<Outcomes<R>>(outcomes).unwrap_or_else(|error| Err(error.into()))
}

impl<T> Drop for AsyncResult<T> {
    fn drop(&mut self) {
        self.tasks().iter().for_each(|task| self.client.forget(*task));
    }
}
