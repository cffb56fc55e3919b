//! A message that a process works on.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::thread;

use super::counts::Counts;
use super::waits::JOINS;
use crate::sync::participant::Identity;
use crate::sync::record::Record;

/// A message of a [`JoinableQueue`](crate::JoinableQueue) that the process which took it works on.
/// It dereferences to the message. The task is done when this is dropped: Python's `task_done()`,
/// which can be neither forgotten nor called too often.
///
/// The task is *lost* instead if the process ends before that for any reason, or if a panic drops
/// the task, because the code that panicked has not done its work. A
/// [join](crate::JoinableQueue::join) reports lost tasks. A task can move to another thread. The
/// copy that a forked child inherits is only a copy of the message: dropping it does nothing.
#[must_use = "the task is done when this is dropped"]
pub struct Task<T> {
    record: Arc<Record<Counts>>,
    message: T,
    owner: Identity,
}

impl<T> Task<T> {
    /// Returns the task that the record counts for its owner.
    pub(super) fn new(record: Arc<Record<Counts>>, message: T, owner: Identity) -> Self {
        Self { record, message, owner }
    }
}

impl<T> Deref for Task<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.message
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        let lost = thread::panicking();
        let call =
            self.record.update_as(|state, own| own == self.owner && state.put_down(own, lost));
        // The lock of a record never becomes unrecoverable, and other failures cannot be repaired
        // here. The task is lost when this process ends.
        if call == Ok(true) {
            self.record.announce(u64::MAX, JOINS);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Task").field(&self.message).finish()
    }
}
