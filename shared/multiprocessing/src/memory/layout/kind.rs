//! The kinds of object that a directory names, and how many bytes each takes.

use std::fmt;

use super::{ElementType, HEAD_BYTES, LOCK_BYTES, ROW_BYTES, SIGNAL_BYTES};

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum ObjectKind {
    /// [`Lock`](crate::Lock)
    Lock = 1,
    /// [`Value`](crate::Value)
    Value = 2,
    /// [`RawValue`](crate::RawValue)
    RawValue = 3,
    /// [`Array`](crate::Array)
    Array = 4,
    /// [`RawArray`](crate::RawArray)
    RawArray = 5,
    /// [`RLock`](crate::RLock)
    RLock = 6,
    /// [`Semaphore`](crate::Semaphore)
    Semaphore = 7,
    /// [`BoundedSemaphore`](crate::BoundedSemaphore)
    BoundedSemaphore = 8,
    /// [`Event`](crate::Event)
    Event = 9,
    /// [`Condition`](crate::Condition)
    Condition = 10,
    /// [`Barrier`](crate::Barrier)
    Barrier = 11,
    /// [`Queue`](crate::Queue)
    Queue = 12,
    /// [`JoinableQueue`](crate::JoinableQueue)
    JoinableQueue = 13,
}

impl ObjectKind {
    pub(super) const ALL: [Self; 13] = [
        Self::Lock,
        Self::Value,
        Self::RawValue,
        Self::Array,
        Self::RawArray,
        Self::RLock,
        Self::Semaphore,
        Self::BoundedSemaphore,
        Self::Event,
        Self::Condition,
        Self::Barrier,
        Self::Queue,
        Self::JoinableQueue,
    ];

    /// Whether it starts with a lock block.
    pub(crate) fn has_lock(self) -> bool {
        !matches!(self, Self::RawValue | Self::RawArray | Self::Event)
    }

    /// Whether it starts with a lock block, two copies of numbers and rows, and the signal line.
    pub(crate) fn has_record(self) -> bool {
        self.is_record() || self.is_queue()
    }

    /// Whether it is a record and a ring of messages.
    pub(crate) fn is_queue(self) -> bool {
        matches!(self, Self::Queue | Self::JoinableQueue)
    }

    fn is_record(self) -> bool {
        matches!(self, Self::Semaphore | Self::BoundedSemaphore | Self::Condition | Self::Barrier)
    }

    /// Bytes an object of this kind takes for `length` elements, or `None` where that overflows; of a joinable queue without its
    /// rows.
    pub(crate) fn bytes(self, element: ElementType, length: usize) -> Option<usize> {
        let elements = element.size().checked_mul(length)?;
        match self {
            _ if self.is_record() => {
                let copy = ROW_BYTES.checked_mul(length)?.checked_add(HEAD_BYTES)?;
                copy.checked_mul(2)?.checked_add(LOCK_BYTES + SIGNAL_BYTES)
            }
            Self::Lock | Self::RLock => Some(LOCK_BYTES),
            Self::Value => {
                elements.checked_next_multiple_of(8)?.checked_mul(2)?.checked_add(LOCK_BYTES)
            }
            Self::Array => elements.checked_add(LOCK_BYTES),
            _ if self.is_queue() => {
                elements.checked_add(LOCK_BYTES + 2 * HEAD_BYTES + SIGNAL_BYTES)
            }
            _ => Some(elements),
        }
    }

    /// Whether an object of this kind and length can take so many bytes.
    pub(super) fn takes(self, bytes: usize, element: ElementType, length: usize) -> bool {
        let more = self.bytes(element, length).and_then(|least| bytes.checked_sub(least));
        more.is_some_and(|rows| match self {
            Self::JoinableQueue => rows.is_multiple_of(2 * ROW_BYTES),
            _ => rows == 0,
        })
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lock => "Lock",
            Self::Value => "Value",
            Self::RawValue => "RawValue",
            Self::Array => "Array",
            Self::RawArray => "RawArray",
            Self::RLock => "RLock",
            Self::Semaphore => "Semaphore",
            Self::BoundedSemaphore => "BoundedSemaphore",
            Self::Event => "Event",
            Self::Condition => "Condition",
            Self::Barrier => "Barrier",
            Self::Queue => "Queue",
            Self::JoinableQueue => "JoinableQueue",
        })
    }
}
