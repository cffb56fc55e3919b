//! Segments that this process can only read.

use std::fmt;
use std::time::{Duration, SystemTime};

use nix::unistd::Pid;

use super::access::Access;
use super::declaration::{Declared, SegmentOf};
use super::found::Opening;
use super::{Segment, SegmentError, Snapshot};
use crate::memory::element::{AtomicElement, Shareable};
use crate::memory::layout::{Object, kinds};
use crate::sync::array::RawArray;
use crate::sync::event::Event;
use crate::sync::lock::{Lock, LockFailure};
use crate::sync::queue::{JoinableQueue, Queue};
use crate::sync::semaphore::Semaphore;
use crate::sync::value::{RawValue, Value};
use crate::sys::name::SegmentName;

/// A segment, or an object of one, that this process can only read. The memory is mapped without
/// the right to write, so a mistake in this process cannot change it. A view has the operations
/// that need no write:
///
/// ```
/// use multiprocessing::{Plan, Segment, SegmentName, View};
///
/// let name = SegmentName::unique("doc.view")?;
/// let segment = Segment::create(&name, &Plan::new().value::<u64>("winners"))?;
/// segment.value::<u64>("winners")?.set(3)?;
///
/// let seen = View::open(&name)?;
/// let winners = seen.value::<u64>("winners")?;
/// assert_eq!(winners.get(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What writes does not compile: `winners.set(4)` is no method of a `View<Value<u64>>`.
///
/// ```compile_fail,E0599
/// # use multiprocessing::{SegmentName, View};
/// # let seen = View::open(&SegmentName::unique("doc.view")?)?;
/// seen.value::<u64>("winners")?.set(4)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// In a [`SharedState`](crate::SharedState), the type of the fields decides: see there.
#[derive(Clone)]
pub struct View<H>(H);

impl View<Segment> {
    /// Opens an existing segment to read it, with the rules of [`Segment::open`].
    ///
    /// # Errors
    /// The same as for [`Segment::open`].
    pub fn open(name: &SegmentName) -> Result<Self, SegmentError> {
        Self::open_for(name, Access::Private)
    }

    pub(super) fn open_for(name: &SegmentName, access: Access) -> Result<Self, SegmentError> {
        Segment::open_for(name, Opening::to_read(access)).map(Self)
    }

    /// Works like [`open`](Self::open), without waiting for a segment that is being created.
    pub(super) fn open_now(name: &SegmentName, access: Access) -> Result<Self, SegmentError> {
        Segment::open_now(name, Opening::to_read(access)).map(Self)
    }

    /// Works like [`Segment::name`].
    pub fn name(&self) -> &SegmentName {
        self.0.name()
    }

    /// Works like [`Segment::objects`].
    pub fn objects(&self) -> &[Object] {
        self.0.objects()
    }

    /// Works like [`Segment::snapshot`].
    pub fn snapshot(&self, object: &Object) -> Snapshot {
        self.0.snapshot(object)
    }

    /// Works like [`Segment::creator`].
    pub fn creator(&self) -> Pid {
        self.0.creator()
    }

    /// Works like [`Segment::creator_is_alive`].
    pub fn creator_is_alive(&self) -> bool {
        self.0.creator_is_alive()
    }

    /// Works like [`Segment::created`].
    pub fn created(&self) -> SystemTime {
        self.0.created()
    }

    /// Works like [`Segment::generation`].
    pub fn generation(&self) -> u64 {
        self.0.generation()
    }

    /// Works like [`Segment::ensure_current`].
    ///
    /// # Errors
    /// [`SegmentError::Removed`].
    pub fn ensure_current(&self) -> Result<(), SegmentError> {
        self.0.ensure_current()
    }
}

/// Writes items only if the parentheses before them are empty.
macro_rules! if_empty {
    (() $($item:tt)*) => { $($item)* };
    (($($_some:tt)+) $($item:tt)*) => {};
}

macro_rules! views {
    ($(
        $(#[$_doc:meta])*
        $_code:literal: $module:ident::$kind:ident $(<$type:ident: $bound:ident>)?, $_shape:ident,
        $method:ident($($_size:ident: $_size_type:ty)?) $(with ($($with:tt)*))?;
    )*) => {
        /// One method for each kind of object, except for a condition. Each returns a view, or
        /// [`SegmentError::Object`] if the segment has no object of this name, kind and type.
        impl View<Segment> {
            $(
                if_empty! {
                    ($($($with)*)?)
                    #[doc = concat!("Returns a view of the [`", stringify!($kind), "`](crate::", stringify!($kind), ").")]
                    pub fn $method $(<$type: $bound>)? (
                        &self, name: &str
                    ) -> Result<View<crate::sync::$module::$kind $(<$type>)?>, SegmentError> {
                        self.0.$method(name).map(View)
                    }
                }
            )*
        }
    };
}
kinds!(views);

impl<T: Shareable> View<Value<T>> {
    /// Works like [`Value::get`].
    pub fn get(&self) -> T {
        self.0.get()
    }

    /// Works like [`Value::get_lock`].
    pub fn get_lock(&self) -> View<Lock> {
        View(self.0.get_lock().clone())
    }
}

impl<T: AtomicElement> View<RawValue<T>> {
    /// Works like [`RawValue::load`].
    pub fn load(&self) -> T {
        self.0.load()
    }
}

impl<T: AtomicElement> View<RawArray<T>> {
    /// Works like [`RawArray::len`].
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Works like [`RawArray::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Works like [`RawArray::load`].
    ///
    /// # Panics
    /// If there is no element `index`.
    pub fn load(&self, index: usize) -> T {
        self.0.load(index)
    }

    /// Works like [`RawArray::iter`].
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.0.iter()
    }
}

impl View<Event> {
    /// Works like [`Event::is_set`].
    pub fn is_set(&self) -> bool {
        self.0.is_set()
    }

    /// Works like [`Event::wait`].
    pub fn wait(&self) -> Result<(), LockFailure> {
        self.0.wait()
    }

    /// Works like [`Event::wait_timeout`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, LockFailure> {
        self.0.wait_timeout(timeout)
    }
}

impl View<Lock> {
    /// Works like [`Lock::holder`].
    pub fn holder(&self) -> Option<Pid> {
        self.0.holder()
    }

    /// Works like [`Lock::recoveries`].
    pub fn recoveries(&self) -> u64 {
        self.0.recoveries()
    }
}

impl View<Semaphore> {
    /// Works like [`Semaphore::get_value`].
    pub fn get_value(&self) -> u64 {
        self.0.get_value()
    }
}

impl<T: Shareable> View<Queue<T>> {
    /// Works like [`Queue::len`].
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Works like [`Queue::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Works like [`Queue::is_closed`].
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl<T: Shareable> View<JoinableQueue<T>> {
    /// Works like [`JoinableQueue::unfinished`].
    pub fn unfinished(&self) -> usize {
        self.0.unfinished()
    }
}

impl<S, H: Declared<S, Segment = Segment>> Declared<S> for View<H> {
    type Segment = View<Segment>;

    fn add(plan: super::Plan, name: &str, size: S) -> super::Plan {
        H::add(plan, name, size)
    }

    fn find(segment: &View<Segment>, name: &str, size: Option<S>) -> Result<Self, SegmentError> {
        H::find(&segment.0, name, size).map(Self)
    }

    fn size(&self) -> S {
        self.0.size()
    }
}

impl SegmentOf for View<Segment> {
    fn open(name: &SegmentName) -> Result<Self, SegmentError> {
        Self::open(name)
    }
}

impl<H: fmt::Debug> fmt::Debug for View<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(&self.0).finish()
    }
}
