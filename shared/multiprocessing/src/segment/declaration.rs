//! The trait behind `#[derive(SharedState)]`: one structure declares the objects of a segment.

use super::{Plan, Segment, SegmentError};
use crate::memory::element::{AtomicElement, Shareable};
use crate::memory::layout::{ObjectKind, kinds};
use crate::sync::primitive::Primitive;
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
/// | `#[shared(capacity = ...)]` | [`Queue`], [`JoinableQueue`], [`MessageQueue`] |
/// | `#[shared(lock = field)]` | [`Condition`](crate::Condition) with that lock |
/// | `#[shared(segment)]` | the [`Segment`], which keeps its entry in `/dev/shm` |
///
/// | attribute of the structure | meaning |
/// |---|---|
/// | `#[shared(args(a: A, b: B))]` | [`Args`](Self::Args) is `()`, `A` or `(A, B)` |
/// | `#[shared(participants = ...)]` | [`Plan::participants`] for all objects |
///
/// # Reading alone
///
/// A program that only reads declares views of the same objects, and maps the segment without the
/// right to write:
///
/// ```
/// use multiprocessing::{RawArray, Segment, SegmentName, SharedState, Value, View};
/// # #[derive(SharedState)]
/// # struct Shared {
/// #     #[shared(segment)]
/// #     segment: Segment,
/// #     winners: Value<u64>,
/// #     #[shared(len = 4)]
/// #     processing: RawArray<u8>,
/// # }
///
/// #[derive(SharedState)]
/// struct Seen {
///     #[shared(segment)]
///     segment: View<Segment>,
///     winners: View<Value<u64>>,
///     #[shared(len = 4)]
///     processing: View<RawArray<u8>>,
/// }
///
/// # let name = SegmentName::unique("doc.seen")?;
/// # let shared = Shared::create(&name, ())?;
/// let seen = Seen::open(&name)?;
/// assert_eq!((seen.winners.get(), seen.processing.load(3)), (0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// [`Array`]: crate::Array
/// [`Barrier`]: crate::Barrier
/// [`BoundedSemaphore`]: crate::BoundedSemaphore
/// [`Event`]: crate::Event
/// [`JoinableQueue`]: crate::JoinableQueue
/// [`Lock`]: crate::Lock
/// [`MessageQueue`]: crate::MessageQueue
/// [`Queue`]: crate::Queue
/// [`RLock`]: crate::RLock
/// [`RawArray`]: crate::RawArray
/// [`RawValue`]: crate::RawValue
/// [`Semaphore`]: crate::Semaphore
/// [`Value`]: crate::Value
pub trait SharedState: Sized {
    /// What the creator chooses: the `args` of the declaration, as `()`, one type or a tuple.
    type Args;

    /// The type of the field `#[shared(segment)]`: [`Segment`], or [`View`](crate::View)`<Segment>`
    /// of a program that only reads. Then all other fields are views, too.
    type Segment: SegmentOf;

    /// Returns the plan of the declared objects, in the order of the fields.
    fn plan(args: Self::Args) -> Plan;

    /// Returns the handles to the objects of a segment.
    fn of(segment: Self::Segment) -> Result<Self, SegmentError>;

    /// Creates a segment with the declared objects, as [`Segment::create`] does.
    fn create(name: &SegmentName, args: Self::Args) -> Result<Self, SegmentError>
    where
        Self: SharedState<Segment = Segment>,
    {
        Self::of(Segment::create(name, &Self::plan(args))?)
    }

    /// Opens the segment of this name, or creates it if there is none or its creator is dead, as
    /// [`Segment::open_or_create`] does. Checks a segment that exists against the declaration, but
    /// not against the arguments: the creator has chosen those.
    fn open_or_create(name: &SegmentName, args: Self::Args) -> Result<Self, SegmentError>
    where
        Self: SharedState<Segment = Segment>,
    {
        Self::of(Segment::open_or_create(name, &Self::plan(args))?)
    }

    /// Opens an existing segment, as [`Segment::open`] or [`View::open`](crate::View::open) does.
    /// Checks it against the declaration.
    fn open(name: &SegmentName) -> Result<Self, SegmentError> {
        Self::of(Self::Segment::open(name)?)
    }
}

/// The segment of a [`SharedState`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a segment",
    label = "the field `#[shared(segment)]` is a `Segment` or a `View<Segment>`"
)]
pub trait SegmentOf: Sized {
    /// Opens it by its name.
    fn open(name: &SegmentName) -> Result<Self, SegmentError>;
}

impl SegmentOf for Segment {
    fn open(name: &SegmentName) -> Result<Self, SegmentError> {
        Self::open(name)
    }
}

/// The declaration of an object that needs no attribute.
#[derive(Clone, Copy, Debug)]
pub struct NoAttribute(pub ());

/// `#[shared(len = ...)]`: elements of an array.
#[derive(Clone, Copy, Debug)]
pub struct Len(pub usize);

/// `#[shared(units = ...)]`: units of a semaphore.
#[derive(Clone, Copy, Debug)]
pub struct Units(pub u64);

/// `#[shared(parties = ...)]`: parties of a barrier.
#[derive(Clone, Copy, Debug)]
pub struct Parties(pub usize);

/// `#[shared(capacity = ...)]`: messages that a queue has room for, or bytes.
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
    /// The segment that the object is in.
    type Segment;

    /// Adds the object to a plan.
    fn add(plan: Plan, name: &str, size: Size) -> Plan;

    /// Returns the handle to the object; with a size, only if the object has this size.
    fn find(segment: &Self::Segment, name: &str, size: Option<Size>) -> Result<Self, SegmentError>;

    /// Returns the size that the object was created with, or 0 for one that does not keep it.
    fn size(&self) -> Size;
}

/// Names the attribute that stands for the argument of a row of the table.
macro_rules! attribute {
    () => {
        NoAttribute
    };
    (length) => {
        Len
    };
    (units) => {
        Units
    };
    (parties) => {
        Parties
    };
    (capacity) => {
        Capacity
    };
}

/// Writes items only if the parentheses before them are empty.
macro_rules! if_empty {
    (() $($item:tt)*) => { $($item)* };
    (($($_some:tt)+) $($item:tt)*) => {};
}

macro_rules! declared {
    ($(
        $(#[$_doc:meta])*
        $_code:literal: $module:ident::$kind:ident $(<$type:ident: $bound:ident>)?, $_shape:ident,
        $method:ident($($size:ident: $_size_type:ty)?) $(with ($($with:tt)*))?;
    )*) => {$(
        // The derive itself handles a kind whose handle needs another object.
        if_empty! {
            ($($($with)*)?)
            impl $(<$type: $bound>)? Declared<attribute!($($size)?)>
                for crate::sync::$module::$kind $(<$type>)?
            {
                type Segment = Segment;

                fn add(plan: Plan, name: &str, size: attribute!($($size)?)) -> Plan {
                    plan.object::<Self>(name, ObjectKind::$kind, size.0)
                }

                fn find(
                    segment: &Segment,
                    name: &str,
                    size: Option<attribute!($($size)?)>,
                ) -> Result<Self, SegmentError> {
                    let object = segment.$method(name)?;
                    of_size(segment, name, ObjectKind::$kind, object, size.map(|size| size.0))
                }

                fn size(&self) -> attribute!($($size)?) {
                    attribute!($($size)?)(Primitive::size(self).unwrap_or_default())
                }
            }
        }
    )*};
}
kinds!(declared);

/// Returns the object unless it has another size than the wanted one.
fn of_size<P: Primitive>(
    segment: &Segment,
    name: &str,
    kind: ObjectKind,
    object: P,
    wanted: Option<P::Size>,
) -> Result<P, SegmentError> {
    let text = |size| format!("{kind} of {}", P::wanted_with(size));
    match (object.size(), wanted) {
        (Some(size), Some(wanted)) if size != wanted => {
            Err(segment.mismatch(name, text(wanted), Some(text(size))))
        }
        _ => Ok(object),
    }
}
