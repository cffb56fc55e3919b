//! A shared array: with a lock, or raw and atomic element by element.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::memory::cell::{atomic, elements};
use crate::memory::element::{AtomicElement, Shareable, elements_in, sealed::Atomic};
use crate::memory::layout::{ElementType, LOCK_BYTES, Object};
use crate::sync::lock::{Lock, LockError, LockGuard, MarkConsistent};
use crate::sync::primitive::{Participants, Planned, Primitive};
use crate::sys::mapping::Place;

/// A shared array with its own lock, like Python's `multiprocessing.Array`. Its length never
/// changes.
///
/// Holders change the elements in place. A holder that is killed may leave a change half done, and
/// the next holder gets [`LockError::OwnerDied`].
#[derive(Clone)]
pub struct Array<T> {
    lock: Lock,
    elements: Place,
    kind: PhantomData<T>,
}

impl<T: Shareable> Primitive for Array<T> {
    type Size = usize;

    const ELEMENT: ElementType = T::ELEMENT;

    fn schema() -> Option<String> {
        Some(T::schema())
    }

    fn planned(length: Self::Size, _participants: Participants) -> Result<Planned, String> {
        Ok(Planned::elements(length.saturating_mul(elements_in::<T>())))
    }

    fn size(&self) -> Option<Self::Size> {
        Some(self.len())
    }

    fn wanted_with(length: Self::Size) -> String {
        format!("{}, length {}", T::ELEMENT, length.saturating_mul(elements_in::<T>()))
    }
}

impl<T: Shareable> Array<T> {
    /// Returns the array of an object.
    pub(crate) fn open(place: Place, _object: &Object) -> Option<Self> {
        let elements = place.part(LOCK_BYTES, place.bytes() - LOCK_BYTES);
        Some(Self { lock: Lock::at(place.part(0, LOCK_BYTES)), elements, kind: PhantomData })
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.elements.bytes() / size_of::<T>()
    }

    /// Returns true if it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for the lock. The guard dereferences to the slice of the elements.
    pub fn lock(&self) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        match self.lock.lock() {
            Ok(guard) => Ok(self.guard(guard)),
            Err(error) => Err(error.map(|guard| self.guard(guard))),
        }
    }

    /// Works like [`lock`](Self::lock), but waits at most this long. Returns `None` if the time is
    /// over.
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<ArrayGuard<'_, T>>, LockError<ArrayGuard<'_, T>>> {
        let acquired = self.lock.lock_timeout(timeout);
        let guarded = acquired.map(|acquired| acquired.map(|guard| self.guard(guard)));
        guarded.map_err(|error| error.map(|guard| self.guard(guard)))
    }

    /// Returns the lock, for inspection.
    pub fn get_lock(&self) -> &Lock {
        &self.lock
    }

    fn guard<'a>(&'a self, lock: LockGuard<'a>) -> ArrayGuard<'a, T> {
        // SAFETY: the elements are inside the place and aligned (`elements`), and any bytes are a
        // valid `T` (`Shareable`). `lock` is this array's lock and lives as long as the slice,
        // inside the guard. It is error-checking, so it refuses a second guard meanwhile, in this
        // thread too.
        let elements = unsafe { &mut *elements(&self.elements) };
        ArrayGuard { elements, lock }
    }
}

/// Holds the lock of an [`Array`]; dereferences to its elements.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct ArrayGuard<'a, T> {
    elements: &'a mut [T],
    lock: LockGuard<'a>,
}

impl<T> Deref for ArrayGuard<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.elements
    }
}

impl<T> DerefMut for ArrayGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.elements
    }
}

impl<T: fmt::Debug> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ArrayGuard").field(&self.elements).finish()
    }
}

impl<T> MarkConsistent for ArrayGuard<'_, T> {
    fn mark_consistent(&self) {
        self.lock.mark_consistent();
    }
}

/// A shared array of numbers without a lock, like Python's `RawArray`, but every element is atomic.
#[derive(Clone)]
pub struct RawArray<T> {
    elements: Place,
    kind: PhantomData<T>,
}

impl<T: AtomicElement> Primitive for RawArray<T> {
    type Size = usize;

    const ELEMENT: ElementType = T::ELEMENT;

    fn planned(length: Self::Size, _participants: Participants) -> Result<Planned, String> {
        Ok(Planned::elements(length))
    }

    fn size(&self) -> Option<Self::Size> {
        Some(self.len())
    }

    fn wanted_with(length: Self::Size) -> String {
        format!("{}, length {length}", T::ELEMENT)
    }
}

impl<T: AtomicElement> RawArray<T> {
    /// Returns the array of an object.
    pub(crate) fn open(elements: Place, _object: &Object) -> Option<Self> {
        Some(Self { elements, kind: PhantomData })
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.elements.bytes() / size_of::<T>()
    }

    /// Returns true if it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the element.
    ///
    /// # Panics
    /// If there is no element `index`, as with a slice. The other methods panic in the same case.
    pub fn load(&self, index: usize) -> T {
        T::load(self.cell(index))
    }

    /// Replaces the element.
    pub fn store(&self, index: usize, value: T) {
        T::store(self.cell(index), value);
    }

    /// Adds to the element, wrapping at the type's limits, and returns its previous value.
    pub fn fetch_add(&self, index: usize, value: T) -> T {
        T::fetch_add(self.cell(index), value)
    }

    /// Subtracts from the element, wrapping at the type's limits, and returns its previous value.
    pub fn fetch_sub(&self, index: usize, value: T) -> T {
        T::fetch_sub(self.cell(index), value)
    }

    /// Raises the element to at least this, and returns its previous value.
    pub fn fetch_max(&self, index: usize, value: T) -> T {
        T::fetch_max(self.cell(index), value)
    }

    /// Replaces the element by `new` if it is `current`, in one step. Returns its previous value.
    ///
    /// # Errors
    /// The element, if it has another value. It stays.
    pub fn compare_exchange(&self, index: usize, current: T, new: T) -> Result<T, T> {
        T::compare_exchange(self.cell(index), current, new)
    }

    /// Reads as many elements as `into` has, from element `first` on. Each is read in one step, so
    /// none is torn. But all together are no snapshot: other processes may change some of them in
    /// between.
    ///
    /// # Panics
    /// If the array ends before that, and then nothing is read.
    pub fn load_slice(&self, first: usize, into: &mut [T]) {
        self.check_range(first, into.len());
        into.iter_mut().zip(first..).for_each(|(value, index)| *value = self.load(index));
    }

    /// Replaces as many elements as `values` has, from element `first` on. Each is written in one
    /// step, in order. Other processes may see some of the new values before the others, and if
    /// this process is killed, some elements may keep their old values.
    ///
    /// # Panics
    /// If the array ends before that, and then nothing is written.
    pub fn store_slice(&self, first: usize, values: &[T]) {
        self.check_range(first, values.len());
        values.iter().zip(first..).for_each(|(value, index)| self.store(index, *value));
    }

    fn check_range(&self, first: usize, length: usize) {
        let fits = first.checked_add(length).is_some_and(|end| end <= self.len());
        assert!(fits, "{length} elements from element {first} on, of {}", self.len());
    }

    /// Returns an iterator over the elements. It reads each element only when it reaches it.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        (0..self.len()).map(|index| self.load(index))
    }

    fn cell(&self, index: usize) -> &<T as Atomic>::Cell {
        atomic::<T>(&self.elements, index)
    }
}

impl<T: AtomicElement + fmt::Debug> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
