//! Why a queue refuses.

use crate::sync::lock::LockFailure;

/// Why a message was not put, or none was taken, or a join tells more than that all is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// There was no room for the message, all the time that was given.
    #[error("the queue is full")]
    Full,
    /// Somebody has [closed](crate::Queue::close) the queue: it takes no message any more, and has none left to give.
    #[error("the queue is closed")]
    Closed,
    /// Of a [`JoinableQueue::join`](crate::JoinableQueue::join): nothing is left to be done, but so many tasks were not. Those who
    /// had them in hand died or panicked.
    #[error("{tasks} tasks were lost with those who had them in hand")]
    Lost {
        /// How many of which this handle had not told yet.
        tasks: u64,
    },
    /// Of a [`JoinableQueue`](crate::JoinableQueue): as many living processes have tasks in hand as there is room to write down; see
    /// [`Plan::participants`](crate::Plan::participants). No message was taken.
    #[error("no more room to write down who has a task in hand")]
    TooManyHolders,
    /// The operating system refused.
    #[error(transparent)]
    Failed(#[from] LockFailure),
}
