//! The end of a task pool: orderly by `join`, or at once by a drop.

use std::time::Duration;

use nix::errno::Errno;

use super::client::State;
use super::message::{CLOSE, TERMINATE};
use super::{TaskError, TaskPool};
use crate::pipe::PipeError;
use crate::sys::deadline::Deadline;

/// How long the dispatcher may take to end after a request to terminate. It is killed after that.
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(5);

impl TaskPool {
    /// Closes the pool, and waits until all tasks are finished and the workers have ended, like
    /// Python's `close()` and `join()`.
    ///
    /// Results that were not taken yet remain available. Workers that are still running the
    /// initializer get five seconds to end.
    ///
    /// # Errors
    /// [`TaskError::PoolEnded`] if the dispatcher was killed, [`TaskError::Inherited`] in a forked
    /// child.
    pub fn join(&mut self) -> Result<(), TaskError> {
        self.join_until(Deadline::NEVER).map(drop)
    }

    /// Works like [`join`](Self::join), but waits at most this long. Returns true if the pool has
    /// ended.
    ///
    /// # Errors
    /// The same as for [`join`](Self::join).
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<bool, TaskError> {
        self.join_until(Deadline::after(timeout)?)
    }

    fn join_until(&mut self, deadline: Deadline) -> Result<bool, TaskError> {
        if !self.client.end(CLOSE, deadline)? {
            return Ok(false);
        }
        let is_closed = |state: &State| Some(matches!(state.end.as_ref()?, PipeError::Closed));
        match self.client.wait_until(deadline, is_closed)? {
            None => return Ok(false),
            // The dispatcher still runs, but its results are not received any more.
            Some(false) => _ = self.dispatcher.kill(),
            Some(true) => {}
        }
        // Otherwise the dispatcher has closed the connection, which is the last thing it does.
        match self.dispatcher.exit_until(deadline) {
            Ok(Some(exit)) if exit.is_success() => Ok(true),
            Ok(None) => Ok(false),
            // The exit status is lost if SIGCHLD is ignored. A killed dispatcher leaves results
            // missing.
            Err(Errno::ECHILD) if self.client.has_all_results() => Ok(true),
            Ok(Some(_)) | Err(Errno::ECHILD) => Err(TaskError::PoolEnded),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for TaskPool {
    /// Ends the workers at once, even during a task.
    fn drop(&mut self) {
        // A forked child of the owner has only a copy of the handle.
        if self.client.check_owner().is_err() {
            return;
        }
        let deadline = Deadline::after(TERMINATE_TIMEOUT).unwrap_or(Deadline::NEVER);
        let _ = self.client.end(TERMINATE, deadline);
        if !matches!(self.dispatcher.exit_until(deadline), Ok(Some(_))) {
            // The workers end with the dispatcher.
            let _ = self.dispatcher.kill();
            let _ = self.dispatcher.join();
        }
    }
}
