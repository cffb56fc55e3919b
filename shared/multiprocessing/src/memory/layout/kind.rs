//! The table of the kinds of object, and how many bytes each takes.

use std::fmt;

use super::{ElementType, HEAD_BYTES, LOCK_BYTES, ROW_BYTES, SIGNAL_BYTES};

/// Passes the table of the kinds to another macro. A new primitive needs a file in `sync` and a row
/// here. A row has
///
/// - the documentation of the method of [`Plan`](crate::Plan),
/// - the code in the directory, which is part of the layout: never reuse one,
/// - the module in `sync` and the type of the handle,
/// - the [`Shape`],
/// - the name that the methods of `Plan` and [`Segment`](crate::Segment) share,
/// - the argument of the method of `Plan`, whose name selects the attribute in a
///   [`SharedState`](crate::SharedState),
/// - after `with`, the argument of the method of `Segment`.
macro_rules! kinds {
    ($macro:ident) => {
        $macro! {
            /// Adds a [`Lock`](crate::Lock).
            1: lock::Lock, Lock, lock();
            /// Adds a [`Value`](crate::Value) with its own lock.
            2: value::Value<T: Shareable>, Copies, value();
            /// Adds a [`RawValue`](crate::RawValue).
            3: value::RawValue<T: AtomicElement>, Elements, raw_value();
            /// Adds an [`Array`](crate::Array) of `length` elements with its own lock.
            4: array::Array<T: Shareable>, LockedElements, array(length: usize);
            /// Adds a [`RawArray`](crate::RawArray) of `length` elements.
            5: array::RawArray<T: AtomicElement>, Elements, raw_array(length: usize);
            /// Adds an [`RLock`](crate::RLock).
            6: rlock::RLock, Lock, rlock();
            /// Adds a [`Semaphore`](crate::Semaphore) of `units` units, at most `i32::MAX`.
            7: semaphore::Semaphore, Record, semaphore(units: u64);
            /// Adds a [`BoundedSemaphore`](crate::BoundedSemaphore) of `units` units, at most
            /// `i32::MAX`.
            8: semaphore::BoundedSemaphore, Record, bounded_semaphore(units: u64);
            /// Adds an [`Event`](crate::Event), not set.
            9: event::Event, Elements, event();
            /// Adds a [`Condition`](crate::Condition). The handle needs the [`Lock`](crate::Lock)
            /// or [`RLock`](crate::RLock) that guards what its waiters wait for.
            10: condition::Condition, Record, condition() with (lock: &impl ConditionLock);
            /// Adds a [`Barrier`](crate::Barrier) for `parties` parties, at least 1.
            11: barrier::Barrier, Record, barrier(parties: usize);
            /// Adds a [`Queue`](crate::Queue) of at most `capacity` messages, at least 1.
            12: queue::Queue<T: Shareable>, Ring, queue(capacity: usize);
            /// Adds a [`JoinableQueue`](crate::JoinableQueue) of at most `capacity` messages, at
            /// least 1.
            13: queue::JoinableQueue<T: Shareable>, RingWithRows, joinable_queue(capacity: usize);
            /// Adds a [`MessageQueue`](crate::MessageQueue) that has room for a message of
            /// `capacity` bytes, at least 1, or for shorter ones.
            14: queue::MessageQueue, Ring, message_queue(capacity: usize);
        }
    };
}
pub(crate) use kinds;

macro_rules! define {
    ($(
        $(#[$_doc:meta])*
        $code:literal: $_module:ident::$kind:ident $(<$_type:ident: $_bound:ident>)?, $shape:ident,
        $_method:ident($($_size:ident: $_size_type:ty)?) $(with ($($_with:tt)*))?;
    )*) => {
        /// The kind of an object.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum ObjectKind {
            $(
                #[doc = concat!("[`", stringify!($kind), "`](crate::", stringify!($kind), ")")]
                $kind = $code,
            )*
        }

        impl ObjectKind {
            /// Returns the kind of a directory code.
            pub(super) fn from_code(code: u32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$kind),)*
                    _ => None,
                }
            }

            /// Returns how the bytes of an object of this kind are arranged.
            pub(crate) fn shape(self) -> Shape {
                match self {
                    $(Self::$kind => Shape::$shape,)*
                }
            }

            fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)*
                }
            }
        }
    };
}
kinds!(define);

/// How the bytes of an object are arranged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A lock block.
    Lock,
    /// A lock block and two copies of a value.
    Copies,
    /// A lock block and elements.
    LockedElements,
    /// Elements alone.
    Elements,
    /// A record with a row per element of the object's length.
    Record,
    /// A record without rows, and a ring of messages.
    Ring,
    /// A record whose rows the length does not count, and a ring of messages.
    RingWithRows,
}

impl ObjectKind {
    /// Returns true if it starts with a lock block.
    pub(crate) fn has_lock(self) -> bool {
        self.shape() != Shape::Elements
    }

    /// Returns true if it starts with a lock block, two copies of numbers and rows, and the signal
    /// line.
    pub(crate) fn has_record(self) -> bool {
        matches!(self.shape(), Shape::Record | Shape::Ring | Shape::RingWithRows)
    }

    /// Returns the bytes that an object of this kind takes for `length` elements, without rows that
    /// its length does not count. `None` if that overflows.
    pub(crate) fn bytes(self, element: ElementType, length: usize) -> Option<usize> {
        let elements = element.size().checked_mul(length)?;
        match self.shape() {
            Shape::Lock => Some(LOCK_BYTES),
            Shape::Copies => {
                elements.checked_next_multiple_of(8)?.checked_mul(2)?.checked_add(LOCK_BYTES)
            }
            Shape::LockedElements => elements.checked_add(LOCK_BYTES),
            Shape::Elements => Some(elements),
            Shape::Record => {
                let copy = ROW_BYTES.checked_mul(length)?.checked_add(HEAD_BYTES)?;
                copy.checked_mul(2)?.checked_add(LOCK_BYTES + SIGNAL_BYTES)
            }
            Shape::Ring | Shape::RingWithRows => {
                elements.checked_add(LOCK_BYTES + 2 * HEAD_BYTES + SIGNAL_BYTES)
            }
        }
    }

    /// Returns true if an object of this kind and length can take this many bytes.
    pub(super) fn takes(self, bytes: usize, element: ElementType, length: usize) -> bool {
        let more = self.bytes(element, length).and_then(|least| bytes.checked_sub(least));
        more.is_some_and(|rows| match self.shape() {
            Shape::RingWithRows => rows.is_multiple_of(2 * ROW_BYTES),
            _ => rows == 0,
        })
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
