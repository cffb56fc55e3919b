//! The trait behind `#[derive(SharedState)]`: one structure declares the objects of a segment.

use super::{Plan, Segment, SegmentError};
use crate::memory::element::{AtomicElement, Shareable, elements_in};
use crate::sync::array::{Array, RawArray};
use crate::sync::barrier::Barrier;
use crate::sync::event::Event;
use crate::sync::lock::Lock;
use crate::sync::queue::{JoinableQueue, Queue};
use crate::sync::rlock::RLock;
use crate::sync::semaphore::{BoundedSemaphore, Semaphore};
use crate::sync::value::{RawValue, Value};
use crate::sys::name::SegmentName;

pub use shm_multiprocessing_derive::SharedState;

/// A structure whose fields are the objects of one segment.
///
/// The derive writes the [`Plan`], looks up every handle, and checks a segment that another program
/// created. The name of an object is the name of its field, so no program names an object by a
/// string:
///
/// ```
/// use multiprocessing::{Lock, RawArray, Segment, SegmentName, SharedState, Value};
///
/// #[derive(Clone, Debug, SharedState)]
/// #[shared(args(workers: usize))]
/// struct Shared {
///     #[shared(segment)]
///     segment: Segment,
///     /// Written by the holder of its lock.
///     winners: Value<u64>,
///     /// Per worker: 1 while a batch is in flight. Written by that worker alone.
///     #[shared(len = workers)]
///     processing: RawArray<u8>,
///     /// Orders the appends to the log file.
///     log: Lock,
/// }
///
/// let name = SegmentName::new(&format!("doc.shared-state.{}", std::process::id()))?;
/// let shared = Shared::create(&name, 4)?;
/// shared.winners.update(|winners| *winners += 3)?;
/// shared.processing.store(2, 1);
///
/// // Another process opens it. It reads the number of workers back from the segment.
/// let seen = Shared::open(&name)?;
/// assert_eq!((seen.winners.get(), seen.processing.len(), seen.processing.load(2)), (3, 4, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Attributes
///
/// The type of a field determines the kind of the object and its element type. Some kinds need one
/// more number, which may be any expression of the arguments:
///
/// | attribute of the field | for |
/// |---|---|
/// | none | [`Lock`], [`RLock`], [`Event`], [`Value`], [`RawValue`] |
/// | `#[shared(len = ...)]` | [`Array`], [`RawArray`] |
/// | `#[shared(units = ...)]` | [`Semaphore`], [`BoundedSemaphore`] |
/// | `#[shared(parties = ...)]` | [`Barrier`] |
/// | `#[shared(capacity = ...)]` | [`Queue`], [`JoinableQueue`] |
/// | `#[shared(lock = field)]` | [`Condition`](crate::Condition) with that lock |
/// | `#[shared(segment)]` | the [`Segment`], which keeps its entry in `/dev/shm` |
///
/// | attribute of the structure | meaning |
/// |---|---|
/// | `#[shared(args(a: A, b: B))]` | [`Args`](Self::Args) is `()`, `A` or `(A, B)` |
/// | `#[shared(participants = ...)]` | [`Plan::participants`] for all objects |
///
/// # What is checked
///
/// [`open`](Self::open) and [`of`](Self::of) return [`SegmentError::Object`], which names the
/// object, if an object is missing or has another kind, element type or length. Objects that are
/// not declared are ignored, so a declaration can grow.
///
/// An argument that is a whole `len`, `capacity` or `parties` is read back from the first such
/// object, and all other sizes that depend on it are checked against it. Sizes that depend on an
/// argument that cannot be read back are accepted as they are. The units of a semaphore change
/// while it is in use and are never checked.
pub trait SharedState: Sized {
    /// What the creator chooses: the `args` of the declaration, as `()`, one type or a tuple.
    type Args;

    /// Returns the plan of the declared objects, in the order of the fields.
    fn plan(args: Self::Args) -> Plan;

    /// Returns the handles to the objects of a segment.
    fn of(segment: Segment) -> Result<Self, SegmentError>;

    /// Creates a segment with the declared objects, as [`Segment::create`] does.
    fn create(name: &SegmentName, args: Self::Args) -> Result<Self, SegmentError> {
        Self::of(Segment::create(name, &Self::plan(args))?)
    }

    /// Opens an existing segment, as [`Segment::open`] does, and checks it against the declaration.
    fn open(name: &SegmentName) -> Result<Self, SegmentError> {
        Self::of(Segment::open(name)?)
    }
}

/// The declaration of an object that needs no attribute.
#[derive(Clone, Copy, Debug)]
pub struct NoAttribute;

/// `#[shared(len = ...)]`: elements of an array.
#[derive(Clone, Copy, Debug)]
pub struct Len(pub usize);

/// `#[shared(units = ...)]`: units of a semaphore.
#[derive(Clone, Copy, Debug)]
pub struct Units(pub u64);

/// `#[shared(parties = ...)]`: parties of a barrier.
#[derive(Clone, Copy, Debug)]
pub struct Parties(pub usize);

/// `#[shared(capacity = ...)]`: messages that a queue has room for.
#[derive(Clone, Copy, Debug)]
pub struct Capacity(pub usize);

/// A type of handle that a field of a [`SharedState`] may have, with the attribute it needs.
#[diagnostic::on_unimplemented(
    message = "the shared object `{Self}` cannot be declared with `{Size}`",
    label = "needs another `#[shared(...)]` attribute, or is not a shared object",
    note = "`Lock`, `RLock`, `Event`, `Value` and `RawValue` take no attribute; `Array` and \
            `RawArray` take `len`, semaphores `units`, `Barrier` `parties`, queues `capacity`, \
            `Condition` `lock`",
    note = "elements and messages must be `Shareable`; those of raw objects must be integers"
)]
pub trait Declared<Size>: Sized {
    /// Adds the object to a plan.
    fn add(plan: Plan, name: &str, size: Size) -> Plan;

    /// Returns the handle to the object; with a size, only if the object has this size.
    fn find(segment: &Segment, name: &str, size: Option<Size>) -> Result<Self, SegmentError>;

    /// Returns the size that the object was created with, or 0 for one that does not keep it.
    fn size(&self) -> usize {
        0
    }
}

/// Implements [`Declared`] for kinds that need no attribute. `Plan` and `Segment` have a method of
/// the same name for each.
macro_rules! declared_without_attribute {
    ($(impl<$($element:ident: $bound:ident)?> $type:ty, $method:ident;)*) => {$(
        impl<$($element: $bound)?> Declared<NoAttribute> for $type {
            fn add(plan: Plan, name: &str, _: NoAttribute) -> Plan {
                plan.$method$(::<$element>)?(name)
            }

            fn find(
                segment: &Segment,
                name: &str,
                _: Option<NoAttribute>,
            ) -> Result<Self, SegmentError> {
                segment.$method(name)
            }
        }
    )*};
}

declared_without_attribute! {
    impl<> Lock, lock;
    impl<> RLock, rlock;
    impl<> Event, event;
    impl<T: Shareable> Value<T>, value;
    impl<T: AtomicElement> RawValue<T>, raw_value;
}

impl<T: Shareable> Declared<Len> for Array<T> {
    fn add(plan: Plan, name: &str, Len(length): Len) -> Plan {
        plan.array::<T>(name, length)
    }

    fn find(segment: &Segment, name: &str, size: Option<Len>) -> Result<Self, SegmentError> {
        let text = |length: usize| {
            format!("Array of {}, length {}", T::ELEMENT, length.saturating_mul(elements_in::<T>()))
        };
        sized(segment, name, segment.array(name)?, size.map(|Len(length)| length), text)
    }

    fn size(&self) -> usize {
        self.len()
    }
}

impl<T: AtomicElement> Declared<Len> for RawArray<T> {
    fn add(plan: Plan, name: &str, Len(length): Len) -> Plan {
        plan.raw_array::<T>(name, length)
    }

    fn find(segment: &Segment, name: &str, size: Option<Len>) -> Result<Self, SegmentError> {
        let text = |length| format!("RawArray of {}, length {length}", T::ELEMENT);
        sized(segment, name, segment.raw_array(name)?, size.map(|Len(length)| length), text)
    }

    fn size(&self) -> usize {
        self.len()
    }
}

impl Declared<Units> for Semaphore {
    fn add(plan: Plan, name: &str, Units(units): Units) -> Plan {
        plan.semaphore(name, units)
    }

    fn find(segment: &Segment, name: &str, _: Option<Units>) -> Result<Self, SegmentError> {
        segment.semaphore(name)
    }
}

impl Declared<Units> for BoundedSemaphore {
    fn add(plan: Plan, name: &str, Units(units): Units) -> Plan {
        plan.bounded_semaphore(name, units)
    }

    fn find(segment: &Segment, name: &str, _: Option<Units>) -> Result<Self, SegmentError> {
        segment.bounded_semaphore(name)
    }
}

impl Declared<Parties> for Barrier {
    fn add(plan: Plan, name: &str, Parties(parties): Parties) -> Plan {
        plan.barrier(name, parties)
    }

    fn find(segment: &Segment, name: &str, size: Option<Parties>) -> Result<Self, SegmentError> {
        let text = |parties| format!("Barrier of {parties} parties");
        sized(segment, name, segment.barrier(name)?, size.map(|Parties(parties)| parties), text)
    }

    fn size(&self) -> usize {
        self.parties()
    }
}

impl<T: Shareable> Declared<Capacity> for Queue<T> {
    fn add(plan: Plan, name: &str, Capacity(capacity): Capacity) -> Plan {
        plan.queue::<T>(name, capacity)
    }

    fn find(segment: &Segment, name: &str, size: Option<Capacity>) -> Result<Self, SegmentError> {
        let text = |capacity| format!("Queue of {capacity} messages");
        sized(segment, name, segment.queue(name)?, size.map(|Capacity(capacity)| capacity), text)
    }

    fn size(&self) -> usize {
        self.capacity()
    }
}

impl<T: Shareable> Declared<Capacity> for JoinableQueue<T> {
    fn add(plan: Plan, name: &str, Capacity(capacity): Capacity) -> Plan {
        plan.joinable_queue::<T>(name, capacity)
    }

    fn find(segment: &Segment, name: &str, size: Option<Capacity>) -> Result<Self, SegmentError> {
        let text = |capacity| format!("JoinableQueue of {capacity} messages");
        let queue = segment.joinable_queue(name)?;
        sized(segment, name, queue, size.map(|Capacity(capacity)| capacity), text)
    }

    fn size(&self) -> usize {
        self.capacity()
    }
}

/// Returns the object if it has the wanted size. `text` describes an object of a size.
fn sized<T: Declared<Size>, Size>(
    segment: &Segment,
    name: &str,
    object: T,
    wanted: Option<usize>,
    text: impl Fn(usize) -> String,
) -> Result<T, SegmentError> {
    match wanted {
        Some(wanted) if object.size() != wanted => {
            Err(segment.mismatch(name, text(wanted), Some(text(object.size()))))
        }
        _ => Ok(object),
    }
}
