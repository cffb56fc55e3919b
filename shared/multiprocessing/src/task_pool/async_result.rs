//! The results of tasks that the caller does not wait for.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::client::Client;
use super::error::TaskError;
use super::message::{TaskId, result_parts};
use crate::pipe::decode;
use crate::sys::deadline::Deadline;

/// The outcome of a task as it was sent: one per item, or an error for all of them.
type Outcomes<R> = Result<Vec<Result<R, TaskError>>, TaskError>;

/// The result of a task that a pool works on, like Python's `AsyncResult`. Dropping it discards the
/// result, not the task.
///
/// | Python | here |
/// |---|---|
/// | `result.get()` | `result.get()?` |
/// | `result.get(timeout=1)` | `if result.wait_timeout(secs)? { result.get()? }` |
/// | `result.wait()` | `result.wait()?` |
/// | `result.wait(1)` | `result.wait_timeout(secs)?` |
/// | `result.ready()` | `result.wait_timeout(Duration::ZERO)?` |
/// | `result.successful()`, `callback`, `error_callback` | `match result.get()` |
#[derive(Debug)]
#[must_use = "the result is given up when this is dropped"]
pub struct AsyncResult<T> {
    client: Arc<Client>,
    /// The ids of the tasks, or why there are none.
    tasks: Result<Vec<TaskId>, TaskError>,
    /// Makes the result from the outcomes of the tasks.
    assemble: fn(&Client, &[TaskId]) -> Result<T, TaskError>,
}

impl<T> AsyncResult<T> {
    /// Waits without a limit until the tasks are done.
    ///
    /// # Errors
    /// [`TaskError::Inherited`] in a forked child.
    pub fn wait(&self) -> Result<(), TaskError> {
        self.wait_until(Deadline::NEVER).map(drop)
    }

    /// Waits until the tasks are done, at most this long. Returns true if they are, or can never
    /// be; then [`get`](Self::get) does not wait.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, TaskError> {
        self.wait_until(Deadline::after(timeout)?)
    }

    fn wait_until(&self, deadline: Deadline) -> Result<bool, TaskError> {
        for task in self.tasks.iter().flatten() {
            if self.client.wait_any(&[*task], deadline)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the result. Waits for it without a limit, and for all tasks even if one of them
    /// failed.
    ///
    /// # Errors
    /// The error of the first task that failed.
    pub fn get(mut self) -> Result<T, TaskError> {
        self.wait()?;
        let tasks = std::mem::replace(&mut self.tasks, Ok(Vec::new()))?;
        (self.assemble)(&self.client, &tasks)
    }
}

impl<R: DeserializeOwned> AsyncResult<R> {
    /// Makes the result of one task with one argument.
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
    /// Makes the result of several tasks with several arguments each.
    pub(super) fn of_all(client: Arc<Client>, tasks: Result<Vec<TaskId>, TaskError>) -> Self {
        Self { client, tasks, assemble: all }
    }
}

fn all<R: DeserializeOwned>(client: &Client, tasks: &[TaskId]) -> Result<Vec<R>, TaskError> {
    let outcomes = tasks.iter().map(|task| outcomes::<R>(client, *task));
    // Takes all of them: those behind an error will not be asked for.
    let outcomes: Vec<_> = outcomes.collect();
    let mut results = Vec::new();
    for outcome in outcomes {
        for result in outcome? {
            results.push(result?);
        }
    }
    Ok(results)
}

/// Decodes the outcome of a task that is done.
pub(super) fn outcomes<R: DeserializeOwned>(client: &Client, task: TaskId) -> Outcomes<R> {
    let message = client.take(task)?;
    let (_, outcomes) = result_parts(&message).unwrap_or_default();
    decode::<Outcomes<R>>(outcomes).unwrap_or_else(|error| Err(error.into()))
}

impl<T> Drop for AsyncResult<T> {
    fn drop(&mut self) {
        self.tasks.iter().flatten().for_each(|task| self.client.forget(*task));
    }
}
