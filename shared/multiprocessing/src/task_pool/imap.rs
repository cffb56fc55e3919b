//! An iterator of results whose arguments are still being made.

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

/// The results of tasks whose arguments come from an iterator, from
/// [`TaskPool::imap`](super::TaskPool::imap) and its variants.
///
/// Arguments are taken from the iterator as workers need them, sixteen tasks per worker ahead of
/// the results that were taken, so it may be endless. (Python takes all of them at once.) Dropping
/// this discards the remaining results. Tasks that were given to the pool are done nevertheless.
#[derive(Debug)]
#[must_use = "nothing is done before the first result is asked for"]
pub struct Imap<R, I> {
    client: Arc<Client>,
    call: Call,
    arguments: Fuse<I>,
    /// Number of arguments per task.
    chunk: NonZeroUsize,
    /// Number of tasks in flight at the same time.
    ahead: usize,
    in_order: bool,
    under_way: VecDeque<Task>,
    ready: VecDeque<Result<R, TaskError>>,
}

/// A task in flight.
#[derive(Debug)]
struct Task {
    /// The number of the task, or why the pool did not accept it.
    id: Result<TaskId, TaskError>,
    /// Its number of arguments.
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
        ahead: usize,
        in_order: bool,
    ) -> Self {
        let (under_way, ready) = (VecDeque::new(), VecDeque::new());
        Self { client, call, arguments: arguments.fuse(), chunk, ahead, in_order, under_way, ready }
    }

    /// Waits until [`next`](Iterator::next) would not wait, at most this long. Returns true if it
    /// would not.
    ///
    /// # Errors
    /// [`TaskError::Inherited`] in a forked child.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<bool, TaskError> {
        self.wait_until(Deadline::after(timeout)?)
    }

    fn wait_until(&mut self, deadline: Deadline) -> Result<bool, TaskError> {
        while self.ready.is_empty() {
            self.go_ahead();
            if self.under_way.is_empty() {
                return Ok(true);
            }
            let candidates = if self.in_order { 1 } else { self.under_way.len() };
            // A task that the pool did not accept is done.
            let place =
                match self.under_way.iter().take(candidates).position(|task| task.id.is_err()) {
                    Some(place) => Some(place),
                    None => {
                        let tasks: Vec<_> = self
                            .under_way
                            .iter()
                            .take(candidates)
                            .flat_map(|task| task.id.clone())
                            .collect();
                        self.client.wait_any(&tasks, deadline)?
                    }
                };
            let Some(task) = place.and_then(|place| self.under_way.remove(place)) else {
                return Ok(false);
            };
            match task.id.and_then(|id| outcomes(&self.client, id)) {
                Ok(outcomes) => self.ready.extend(outcomes),
                Err(error) => self.ready.extend((0..task.arguments).map(|_| Err(error.clone()))),
            }
        }
        Ok(true)
    }

    /// Gives the pool as many tasks as may be in flight.
    fn go_ahead(&mut self) {
        while self.under_way.len() < self.ahead {
            let arguments: Vec<A> = self.arguments.by_ref().take(self.chunk.get()).collect();
            if arguments.is_empty() {
                return;
            }
            let bytes = encode(&arguments).map_err(TaskError::from);
            let id = bytes.and_then(|bytes| self.client.submit(self.call, &bytes));
            self.under_way.push_back(Task { id, arguments: arguments.len() });
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

    /// Returns the next result. Waits for it without a limit. After an error the others still come.
    fn next(&mut self) -> Option<Self::Item> {
        match self.wait_until(Deadline::NEVER) {
            Ok(_) => self.ready.pop_front(),
            Err(error) => {
                // Nothing will come any more, and later calls must not return the same error for
                // ever.
                self.give_up();
                self.ahead = 0;
                Some(Err(error))
            }
        }
    }
}

impl<R, I> Imap<R, I> {
    fn give_up(&mut self) {
        self.under_way.drain(..).flat_map(|task| task.id).for_each(|task| self.client.forget(task));
    }
}

impl<R, I> Drop for Imap<R, I> {
    fn drop(&mut self) {
        self.give_up();
    }
}
