//! One shared value: with a lock and whole at every moment, or raw and atomic.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::memory::cell::{atomic, read_words, write_words};
use crate::memory::element::{AtomicElement, Shareable, check_copied, elements_in, sealed::Atomic};
use crate::memory::layout::{ElementType, Object};
use crate::sync::copies::Copies;
use crate::sync::lock::{Lock, LockError, LockFailure, LockGuard, MarkConsistent};
use crate::sync::primitive::{Participants, Planned, Primitive};
use crate::sys::mapping::Place;

/// A shared value with its own lock, like Python's `multiprocessing.Value`.
///
/// A change is made on a copy and committed by one store when the guard is dropped. So the value is
/// whole at whatever point a process is killed. Readers without the lock see the last committed
/// value. The next holder after a dead one finds the last committed value too.
///
/// A value is copied on the stack, so it has at most 64 KiB. More does not compile. An
/// [`Array`](crate::Array) is changed in place and may have any size:
///
/// ```compile_fail,E0080
/// # use multiprocessing::{Plan, Segment, SegmentName};
/// let plan = Plan::new().value::<[u64; 8193]>("large");
/// ```
#[derive(Clone)]
pub struct Value<T> {
    copies: Copies,
    kind: PhantomData<T>,
}

impl<T: Shareable> Primitive for Value<T> {
    type Size = ();

    const ELEMENT: ElementType = T::ELEMENT;

    fn schema() -> Option<String> {
        Some(T::schema())
    }

    fn planned((): Self::Size, _participants: Participants) -> Result<Planned, String> {
        const { check_copied::<T>() };
        Ok(Planned::elements(elements_in::<T>()))
    }

    fn wanted() -> String {
        format!("{}, length {}", T::ELEMENT, elements_in::<T>())
    }
}

impl<T: Shareable> Value<T> {
    /// Returns the value of an object, if the object has this size.
    pub(crate) fn open(place: Place, object: &Object) -> Option<Self> {
        const { check_copied::<T>() };
        (object.length == elements_in::<T>())
            .then(|| Self { copies: Copies::new(&place), kind: PhantomData })
    }

    /// Returns the last committed value. Takes no lock and never waits for a holder.
    pub fn get(&self) -> T {
        self.copies.read(|copy| read_words(copy, 0))
    }

    /// Replaces the value under the lock.
    pub fn set(&self, value: T) -> Result<(), LockFailure> {
        self.update(|current| *current = value).map(drop)
    }

    /// Changes the value under the lock and returns the new one. If the last holder died, this
    /// takes the lock all the same, because the value is always whole. [`lock`](Self::lock) reports
    /// such a death.
    pub fn update(&self, change: impl FnOnce(&mut T)) -> Result<T, LockFailure> {
        let _guard = match self.get_lock().lock() {
            Ok(guard) => guard,
            Err(LockError::OwnerDied(inherited)) => inherited.repaired(),
            Err(LockError::Failed(failure)) => return Err(failure),
        };
        let mut value = read_words(self.copies.current(), 0);
        change(&mut value);
        self.copies.commit(|copy| write_words(copy, 0, &value));
        Ok(value)
    }

    /// Waits for the lock of the value, as Python's `value.get_lock()` in a `with` does.
    ///
    /// # Errors
    /// The same as for [`Lock::lock`]. With [`LockError::OwnerDied`] the value itself is whole,
    /// with all of the dead holder's change or none of it. The caller repairs anything else that
    /// the lock guards.
    pub fn lock(&self) -> Result<ValueGuard<'_, T>, LockError<ValueGuard<'_, T>>> {
        match self.get_lock().lock() {
            Ok(guard) => Ok(self.guard(guard)),
            Err(error) => Err(error.map(|guard| self.guard(guard))),
        }
    }

    /// Works like [`lock`](Self::lock), but waits at most this long. Returns `None` if the time is
    /// over.
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<ValueGuard<'_, T>>, LockError<ValueGuard<'_, T>>> {
        let acquired = self.get_lock().lock_timeout(timeout);
        let guarded = acquired.map(|acquired| acquired.map(|guard| self.guard(guard)));
        guarded.map_err(|error| error.map(|guard| self.guard(guard)))
    }

    /// Returns the lock, for inspection.
    pub fn get_lock(&self) -> &Lock {
        self.copies.lock()
    }

    fn guard<'a>(&'a self, lock: LockGuard<'a>) -> ValueGuard<'a, T> {
        let copy = read_words(self.copies.current(), 0);
        ValueGuard { value: self, copy, changed: false, unwinding: std::thread::panicking(), lock }
    }
}

impl<T: Shareable + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("value", &self.get()).field("lock", self.get_lock()).finish()
    }
}

/// Holds the lock of a [`Value`] and a copy of it. Changes become visible, all at once, when the
/// guard is dropped. They are discarded if a panic drops the guard, or if a forked child drops an
/// inherited one.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct ValueGuard<'a, T: Shareable> {
    value: &'a Value<T>,
    copy: T,
    changed: bool,
    /// True if the guard was created during a panic, in a destructor. Then that panic is not a
    /// reason to discard the change.
    unwinding: bool,
    /// Dropped after the commit in `drop`, because fields are dropped last.
    lock: LockGuard<'a>,
}

impl<T: Shareable> ValueGuard<'_, T> {
    /// Makes the changes so far visible now, while the lock is still held. For a caller that must
    /// change something else *after* the value.
    pub fn commit(&mut self) {
        if std::mem::take(&mut self.changed) && self.lock.is_ours() {
            self.value.copies.commit(|copy| write_words(copy, 0, &self.copy));
        }
    }
}

impl<T: Shareable> Deref for ValueGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T: Shareable> DerefMut for ValueGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        &mut self.copy
    }
}

impl<T: Shareable + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueGuard").field(&self.copy).finish()
    }
}

impl<T: Shareable> MarkConsistent for ValueGuard<'_, T> {
    fn mark_consistent(&self) {
        self.lock.mark_consistent();
    }
}

impl<T: Shareable> Drop for ValueGuard<'_, T> {
    fn drop(&mut self) {
        if self.unwinding || !std::thread::panicking() {
            self.commit();
        }
    }
}

/// A shared number without a lock, like Python's `RawValue`, but every operation is atomic.
#[derive(Clone)]
pub struct RawValue<T> {
    place: Place,
    kind: PhantomData<T>,
}

impl<T: AtomicElement> Primitive for RawValue<T> {
    type Size = ();

    const ELEMENT: ElementType = T::ELEMENT;

    fn planned((): Self::Size, _participants: Participants) -> Result<Planned, String> {
        Ok(Planned::elements(1))
    }
}

impl<T: AtomicElement> RawValue<T> {
    /// Returns the value of an object, if the object is a single element.
    pub(crate) fn open(place: Place, object: &Object) -> Option<Self> {
        (object.length == 1).then_some(Self { place, kind: PhantomData })
    }

    /// Returns the value.
    pub fn load(&self) -> T {
        T::load(self.cell())
    }

    /// Replaces the value.
    pub fn store(&self, value: T) {
        T::store(self.cell(), value);
    }

    /// Adds, wrapping at the type's limits, and returns the previous value.
    pub fn fetch_add(&self, value: T) -> T {
        T::fetch_add(self.cell(), value)
    }

    /// Subtracts, wrapping at the type's limits, and returns the previous value.
    pub fn fetch_sub(&self, value: T) -> T {
        T::fetch_sub(self.cell(), value)
    }

    /// Raises the value to at least this, and returns the previous value.
    pub fn fetch_max(&self, value: T) -> T {
        T::fetch_max(self.cell(), value)
    }

    /// Replaces the value by `new` if it is `current`, in one step. Returns the previous value.
    ///
    /// # Errors
    /// The value, if it is another one. It stays.
    pub fn compare_exchange(&self, current: T, new: T) -> Result<T, T> {
        T::compare_exchange(self.cell(), current, new)
    }

    fn cell(&self) -> &<T as Atomic>::Cell {
        atomic::<T>(&self.place, 0)
    }
}

impl<T: AtomicElement + fmt::Debug> fmt::Debug for RawValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawValue").field(&self.load()).finish()
    }
}
