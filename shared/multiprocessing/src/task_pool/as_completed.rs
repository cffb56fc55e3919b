//! The results of several calls in the order in which they are completed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::TaskPool;
use super::async_result::AsyncResult;
use super::client::Client;
use super::error::TaskError;
use crate::sys::deadline::Deadline;

/// Iterator over results in the order in which they are completed. Created by
/// [`TaskPool::as_completed`].
#[derive(Debug)]
pub struct AsCompleted<T> {
    client: Arc<Client>,
    /// The results that are not known to be complete, with their indexes.
    pending: Vec<(usize, AsyncResult<T>)>,
    /// Complete results, in the order of completion.
    complete: VecDeque<(usize, AsyncResult<T>)>,
}

impl TaskPool {
    /// Returns an iterator over these results in the order in which they are completed, like
    /// `as_completed` of Python's `concurrent.futures`. Each comes with its index in `results`. The
    /// functions may differ, as long as they return the same type.
    ///
    /// Dropping the iterator discards the remaining results. Their tasks still run.
    ///
    /// ```
    /// use multiprocessing::TaskPool;
    ///
    /// let pool = TaskPool::new(2)?;
    /// let half = pool.apply_async(|n: u64| n / 2, 8);
    /// let square = pool.apply_async(|n: u64| n * n, 8);
    /// for (index, result) in pool.as_completed([half, square]) {
    ///     assert_eq!(result?, [4, 64][index]);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If a result comes from another pool.
    pub fn as_completed<T>(
        &self,
        results: impl IntoIterator<Item = AsyncResult<T>>,
    ) -> AsCompleted<T> {
        let pending: Vec<_> = results.into_iter().enumerate().collect();
        let is_own = |result: &AsyncResult<T>| Arc::ptr_eq(result.client(), &self.client);
        assert!(pending.iter().all(|(_, result)| is_own(result)), "a result of another pool");
        AsCompleted { client: self.client.clone(), pending, complete: VecDeque::new() }
    }
}

impl<T> AsCompleted<T> {
    /// Waits until [`next`](Iterator::next) can return without waiting, at most this long. Returns
    /// true if it can.
    ///
    /// # Errors
    /// [`TaskError::Inherited`] in a forked child. Errors of the tasks are items of the iterator.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<bool, TaskError> {
        self.wait_until(Deadline::after(timeout)?)
    }

    fn wait_until(&mut self, deadline: Deadline) -> Result<bool, TaskError> {
        if !self.complete.is_empty() || self.pending.is_empty() {
            return Ok(true);
        }
        let groups: Vec<_> = self.pending.iter().map(|(_, result)| result.tasks()).collect();
        let Some(places) = self.client.wait_for_groups(&groups, deadline)? else {
            return Ok(false);
        };
        let pending = std::mem::take(&mut self.pending).into_iter().zip(places);
        let (mut complete, pending): (Vec<_>, Vec<_>) = pending.partition(|(_, at)| at.is_some());
        complete.sort_by_key(|(_, place)| *place);
        self.complete.extend(complete.into_iter().map(|(result, _)| result));
        self.pending.extend(pending.into_iter().map(|(result, _)| result));
        Ok(true)
    }
}

impl<T> Iterator for AsCompleted<T> {
    type Item = (usize, Result<T, TaskError>);

    /// Waits for the next complete result without a limit, and returns it with its index.
    fn next(&mut self) -> Option<Self::Item> {
        if self.wait_until(Deadline::NEVER).is_err() {
            // `get` returns the error for each.
            self.complete.extend(self.pending.drain(..));
        }
        let (index, result) = self.complete.pop_front()?;
        Some((index, result.get()))
    }
}
