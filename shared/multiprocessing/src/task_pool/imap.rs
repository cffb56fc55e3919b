//! Iterators over results, while the arguments are still being produced.

use std::collections::VecDeque;
use std::iter::Fuse;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::async_result::{AsyncResult, Outcomes, outcomes};
use super::client::Client;
use super::error::TaskError;
use super::function::Call;
use crate::sys::deadline::Deadline;

/// Iterator over the results of tasks whose arguments come from an iterator. Created by
/// [`TaskPool::imap`](super::TaskPool::imap) and its variants.
///
/// It takes arguments as the workers need them, sixteen tasks per worker ahead of the results that
/// were requested. So the iterator of arguments may be endless. (Python takes all arguments at
/// once.) Dropping this discards the remaining results. Tasks that were submitted still run.
#[derive(Debug)]
#[must_use = "no task is submitted before the first result is requested"]
pub struct Imap<R, I> {
    pub(super) client: Arc<Client>,
    pub(super) call: Call,
    pub(super) arguments: Fuse<I>,
    /// Number of arguments per task.
    pub(super) chunk: NonZeroUsize,
    /// Most tasks in flight at the same time.
    pub(super) window: usize,
    pub(super) in_order: bool,
    /// The tasks in flight, each with the number of its arguments.
    pub(super) in_flight: VecDeque<(AsyncResult<Outcomes<R>>, usize)>,
    /// Results that arrived and were not returned yet.
    pub(super) ready: VecDeque<Result<R, TaskError>>,
}

impl<A, R, I> Imap<R, I>
where
    A: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = A>,
{
    /// Waits until [`next`](Iterator::next) can return without waiting, at most this long. Returns
    /// true if it can.
    ///
    /// # Errors
    /// [`TaskError::Inherited`] in a forked child. Errors of the tasks are items of the iterator.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<bool, TaskError> {
        self.wait_until(Deadline::after(timeout)?)
    }

    fn wait_until(&mut self, deadline: Deadline) -> Result<bool, TaskError> {
        while self.ready.is_empty() {
            self.submit_ahead();
            if self.in_flight.is_empty() {
                return Ok(true);
            }
            let candidates = if self.in_order { 1 } else { self.in_flight.len() };
            let finished = self.client.wait_until(deadline, |state| {
                let mut tasks = self.in_flight.iter().take(candidates);
                tasks.position(|(task, _)| state.place(task.tasks()).is_some())
            })?;
            let Some((task, arguments)) = finished.and_then(|at| self.in_flight.remove(at)) else {
                return Ok(false);
            };
            match task.take() {
                Ok(outcomes) => self.ready.extend(outcomes),
                Err(error) => self.ready.extend(vec![error; arguments].into_iter().map(Err)),
            }
        }
        Ok(true)
    }

    /// Submits tasks until the window is full or the arguments are exhausted.
    fn submit_ahead(&mut self) {
        while self.in_flight.len() < self.window {
            let arguments: Vec<A> = self.arguments.by_ref().take(self.chunk.get()).collect();
            if arguments.is_empty() {
                return;
            }
            let chunk = std::iter::once(&arguments[..]);
            let task = AsyncResult::submit(&self.client, self.call, chunk, outcomes);
            self.in_flight.push_back((task, arguments.len()));
        }
    }
}

impl<A, R, I> Iterator for Imap<R, I>
where
    A: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = A>,
{
    type Item = Result<R, TaskError>;

    /// Waits for the next result without a limit, and returns it. Other results follow an error.
    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.wait_until(Deadline::NEVER) {
            // No result will arrive any more. The iterator ends after this error, so that a caller
            // that skips errors does not loop forever.
            self.in_flight.clear();
            self.window = 0;
            return Some(Err(error));
        }
        self.ready.pop_front()
    }
}
