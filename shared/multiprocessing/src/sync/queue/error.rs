//! The errors of queues.

use crate::sync::lock::LockFailure;

/// The error of putting, taking or joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// There was no room for the message until the timeout.
    #[error("the queue is full")]
    Full,
    /// The queue is [closed](crate::Queue::close): it takes no more messages and has none left.
    #[error("the queue is closed")]
    Closed,
    /// From [`JoinableQueue::join`](crate::JoinableQueue::join): nothing is left to be done, but
    /// tasks were lost, because their processes died or panicked.
    #[error("{tasks} tasks were lost: their processes died or panicked")]
    Lost {
        /// Number of lost tasks that this handle had not reported yet.
        tasks: u64,
    },
    /// From [`JoinableQueue::get`](crate::JoinableQueue::get): the record has no room for another
    /// process with tasks in progress; see [`Plan::participants`](crate::Plan::participants). No
    /// message was taken.
    #[error("no more room to record which process has tasks in progress")]
    TooManyHolders,
    /// The operating system returned an error.
    #[error(transparent)]
    Failed(#[from] LockFailure),
}
