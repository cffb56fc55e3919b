//! A message that somebody works on.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::thread;

use super::counts::{Counts, JOINS};
use crate::sync::participant::Identity;
use crate::sync::record::Record;

/// A message of a [`JoinableQueue`](crate::JoinableQueue) in the hand of the process that took it; dereferences to the message. The
/// task is done when this is dropped: Python's `task_done()`, which cannot be forgotten, nor called once too often.
///
/// It is *lost* instead, and whoever [joins](crate::JoinableQueue::join) is told, when the process ends before, however it ends, and
/// when this is dropped by a panic that unwinds the stack: what panicked has not done its work. It can go to another thread. The
/// copy of it that a forked child inherits is a copy of the message and no more: dropping it does nothing.
#[must_use = "the task is done when this is dropped"]
pub struct Task<T> {
    record: Arc<Record<Counts>>,
    message: T,
    owner: Identity,
}

impl<T> Task<T> {
    /// One that the record says its owner has in hand.
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
        // The lock of a record is never lost, and the rest cannot be mended here: the task is lost when this process ends.
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
