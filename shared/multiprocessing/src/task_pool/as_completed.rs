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
    /// The results that were not returned yet, with their indexes. Those that are known to be
    /// complete come first, in the order of completion.
    results: VecDeque<(usize, AsyncResult<T>)>,
    /// Number of results that are known to be complete.
    complete: usize,
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
        let results: VecDeque<_> = results.into_iter().enumerate().collect();
        let is_own = |result: &AsyncResult<T>| Arc::ptr_eq(&result.client, &self.client);
        assert!(results.iter().all(|(_, result)| is_own(result)), "a result of another pool");
        AsCompleted { client: self.client.clone(), results, complete: 0 }
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
        if self.complete > 0 || self.results.is_empty() {
            return Ok(true);
        }
        let places = self.client.wait_until(deadline, |state| {
            let place = |(_, result): &(usize, AsyncResult<T>)| state.place(result.tasks());
            let places: Vec<_> = self.results.iter().map(place).collect();
            places.iter().any(Option::is_some).then_some(places)
        })?;
        let Some(places) = places else { return Ok(false) };
        self.complete = places.iter().flatten().count();
        let mut placed: Vec<_> = places.into_iter().zip(self.results.drain(..)).collect();
        placed.sort_by_key(|(place, _)| (place.is_none(), *place));
        self.results.extend(placed.into_iter().map(|(_, result)| result));
        Ok(true)
    }
}

impl<T> Iterator for AsCompleted<T> {
    type Item = (usize, Result<T, TaskError>);

    /// Waits for the next complete result without a limit, and returns it with its index.
    fn next(&mut self) -> Option<Self::Item> {
        // After an error of the wait, `get` returns it for each result.
        let _ = self.wait_until(Deadline::NEVER);
        self.complete = self.complete.saturating_sub(1);
        let (index, result) = self.results.pop_front()?;
        Some((index, result.get()))
    }
}
