//! The errors of queues.

use std::error::Error;

use super::iter::Ending;
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

/// The error of putting a message of any length, or taking one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageQueueError {
    /// There was no room for the message until the timeout.
    #[error("the queue is full")]
    Full,
    /// The queue is [closed](crate::MessageQueue::close): it takes no more messages and has none
    /// left.
    #[error("the queue is closed")]
    Closed,
    /// The message would not fit into the empty queue. Nothing was put.
    #[error("a message of {bytes} bytes is too long for a queue with a capacity of {capacity}")]
    TooLong {
        /// Bytes of the message. An encoded value may have more bytes than the value.
        bytes: usize,
        /// Bytes of the longest message.
        capacity: usize,
    },
    /// The value cannot be encoded. Nothing was put.
    #[error("the value cannot be put: {0}")]
    Encode(#[source] Box<dyn Error + Send + Sync>),
    /// The message does not encode a value of this type. It was taken.
    #[error("the message is not a value of this type: {0}")]
    Decode(#[source] Box<dyn Error + Send + Sync>),
    /// Another program has overwritten the numbers of the queue. No message was taken.
    #[error("the numbers of the queue contradict each other")]
    Damaged,
    /// The operating system returned an error.
    #[error(transparent)]
    Failed(#[from] LockFailure),
}

impl Ending for QueueError {
    fn is_closed(&self) -> bool {
        *self == Self::Closed
    }

    fn concerns_one_message(&self) -> bool {
        false
    }
}

impl Ending for MessageQueueError {
    fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    fn concerns_one_message(&self) -> bool {
        matches!(self, Self::Decode(_))
    }
}
