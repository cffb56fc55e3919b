//! Iterators over results, while the arguments are still being produced.

use std::collections::VecDeque;
use std::iter::Fuse;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::async_result::outcomes;
use super::client::Client;
use super::error::TaskError;
use super::function::Call;
use super::message::TaskId;
use crate::pipe::encode;
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
    client: Arc<Client>,
    call: Call,
    arguments: Fuse<I>,
    /// Number of arguments per task.
    chunk: NonZeroUsize,
    /// Most tasks in flight at the same time.
    window: usize,
    in_order: bool,
    in_flight: VecDeque<Task>,
    /// Results that arrived and were not returned yet.
    ready: VecDeque<Result<R, TaskError>>,
}

/// A task in flight.
#[derive(Debug)]
struct Task {
    /// Id of the task, or the error of submitting it.
    id: Result<TaskId, TaskError>,
    /// Number of its arguments.
    arguments: usize,
}

impl<A, R, I> Imap<R, I>
where
    A: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = A>,
{
    pub(super) fn new(
        client: Arc<Client>,
        call: Call,
        arguments: I,
        chunk: NonZeroUsize,
        window: usize,
        in_order: bool,
    ) -> Self {
        let (in_flight, ready) = (VecDeque::new(), VecDeque::new());
        let arguments = arguments.fuse();
        Self { client, call, arguments, chunk, window, in_order, in_flight, ready }
    }

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
            // A task that could not be submitted has its outcome already.
            let place =
                match self.in_flight.iter().take(candidates).position(|task| task.id.is_err()) {
                    Some(place) => Some(place),
                    None => {
                        let tasks: Vec<_> = self
                            .in_flight
                            .iter()
                            .take(candidates)
                            .flat_map(|task| task.id.clone())
                            .collect();
                        self.client.wait_any(&tasks, deadline)?
                    }
                };
            let Some(task) = place.and_then(|place| self.in_flight.remove(place)) else {
                return Ok(false);
            };
            match task.id.and_then(|id| outcomes(&self.client, id)) {
                Ok(outcomes) => self.ready.extend(outcomes),
                Err(error) => self.ready.extend((0..task.arguments).map(|_| Err(error.clone()))),
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
            let bytes = encode(&arguments).map_err(TaskError::from);
            let id = bytes.and_then(|bytes| self.client.submit(self.call, &bytes));
            self.in_flight.push_back(Task { id, arguments: arguments.len() });
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
        match self.wait_until(Deadline::NEVER) {
            Ok(_) => self.ready.pop_front(),
            Err(error) => {
                // No result will arrive any more. The iterator ends after this error, so that a
                // caller that skips errors does not loop forever.
                self.discard();
                self.window = 0;
                Some(Err(error))
            }
        }
    }
}

impl<R, I> Imap<R, I> {
    /// Discards the results of the tasks in flight.
    fn discard(&mut self) {
        self.in_flight.drain(..).flat_map(|task| task.id).for_each(|task| self.client.forget(task));
    }
}

impl<R, I> Drop for Imap<R, I> {
    fn drop(&mut self) {
        self.discard();
    }
}
