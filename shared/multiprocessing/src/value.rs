//! One shared value: with a lock and whole at every moment, or raw and atomic.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use crate::cell::{WORD, atomic, read_words, write_words};
use crate::element::{AtomicElement, Shareable, sealed::Atomic};
use crate::layout::LOCK_BYTES;
use crate::lock::{Lock, LockError, LockFailure, LockGuard, Repair};
use crate::mapping::Place;

/// A shared value with its own lock, like Python's `multiprocessing.Value`.
///
/// A change is made on a copy and committed by one store when the guard is dropped. So the value is whole at every moment,
/// whoever is killed wherever: readers without the lock see the last committed value, and a successor of a dead holder finds
/// the value as it was before.
#[derive(Clone)]
pub struct Value<T> {
    lock: Lock,
    /// The two copies, one behind the other; the current one is number `version % 2`.
    copies: [Place; 2],
    kind: PhantomData<T>,
}

impl<T: Shareable> Value<T> {
    pub(crate) fn new(place: &Place) -> Self {
        let padded = size_of::<T>().next_multiple_of(WORD);
        let copy = |index: usize| place.part(LOCK_BYTES + index * padded, padded);
        Self { lock: Lock::new(place.part(0, LOCK_BYTES)), copies: [copy(0), copy(1)], kind: PhantomData }
    }

    /// The last committed value. Takes no lock and never waits for a holder.
    pub fn get(&self) -> T {
        let version = &self.lock.block().version;
        loop {
            let before = version.load(Ordering::Acquire);
            let value = self.read(before);
            // Commit number `before + 2` is the first to write where we read, and it starts only after `before + 1` is done: an
            // unchanged version means nobody wrote there meanwhile.
            fence(Ordering::Acquire);
            if version.load(Ordering::Relaxed) == before {
                return value;
            }
        }
    }

    /// Replaces the value under the lock.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn set(&self, value: T) -> Result<(), LockFailure> {
        self.update(|current| *current = value).map(drop)
    }

    /// Changes the value under the lock and returns the new one. A dead holder's lock is taken over here, since the value is
    /// always whole; [`lock`](Self::lock) tells about it.
    ///
    /// # Errors
    /// [`LockFailure`] when the lock cannot be had.
    pub fn update(&self, change: impl FnOnce(&mut T)) -> Result<T, LockFailure> {
        let mut guard = match self.lock() {
            Ok(guard) => guard,
            Err(LockError::OwnerDied(inherited)) => inherited.repaired(),
            Err(LockError::Failed(failure)) => return Err(failure),
        };
        change(&mut guard);
        Ok(*guard)
    }

    /// Waits for the value's lock, as Python's `value.get_lock()` in a `with` does.
    ///
    /// # Errors
    /// As [`Lock::lock`]. With [`LockError::OwnerDied`] the value itself is whole, with all of the dead holder's change or with
    /// none of it; what else the lock guards is for the caller to repair.
    pub fn lock(&self) -> Result<ValueGuard<'_, T>, LockError<ValueGuard<'_, T>>> {
        self.lock.lock().map(|guard| self.guard(guard)).map_err(|error| error.map(|guard| self.guard(guard)))
    }

    /// As [`lock`](Self::lock), at most this long; `None` when the time is over.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<ValueGuard<'_, T>>, LockError<ValueGuard<'_, T>>> {
        let acquired = self.lock.lock_timeout(timeout);
        let guarded = acquired.map(|acquired| acquired.map(|guard| self.guard(guard)));
        guarded.map_err(|error| error.map(|guard| self.guard(guard)))
    }

    /// The lock, to look at.
    pub fn get_lock(&self) -> &Lock {
        &self.lock
    }

    fn guard<'a>(&'a self, lock: LockGuard<'a>) -> ValueGuard<'a, T> {
        let version = self.lock.block().version.load(Ordering::Acquire);
        let unwinding = std::thread::panicking();
        ValueGuard { value: self, copy: self.read(version), changed: false, unwinding, lock }
    }

    fn read(&self, version: u64) -> T {
        read_words(&self.copies[(version % 2) as usize])
    }

    /// Makes `value` the current one. The caller holds the lock.
    fn commit(&self, value: &T) {
        let version = &self.lock.block().version;
        let next = version.load(Ordering::Relaxed).wrapping_add(1);
        // Pairs with the fence in `get`: whoever sees one of the words below also sees the version before them.
        fence(Ordering::Release);
        write_words(&self.copies[(next % 2) as usize], value);
        version.store(next, Ordering::Release);
    }
}

impl<T: Shareable + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("value", &self.get()).field("lock", &self.lock).finish()
    }
}

/// Holds the lock of a [`Value`] and a copy of it. Changes become visible, all at once, when the guard is dropped; not when it is
/// dropped by a panic, and not in a forked child that inherited it.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct ValueGuard<'a, T: Shareable> {
    value: &'a Value<T>,
    copy: T,
    changed: bool,
    /// Whether it was made by a destructor that a panic runs; then the panic is no reason to give the change up.
    unwinding: bool,
    /// Dropped after the commit in `drop`: fields go last.
    lock: LockGuard<'a>,
}

impl<T: Shareable> ValueGuard<'_, T> {
    /// Makes the changes so far visible now, with the lock still held: for whoever must change something else *after* the value.
    pub fn commit(&mut self) {
        if std::mem::take(&mut self.changed) && self.lock.is_ours() {
            self.value.commit(&self.copy);
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

impl<T: Shareable> Repair for ValueGuard<'_, T> {
    fn mark_repaired(&self) {
        self.lock.mark_repaired();
    }
}

impl<T: Shareable> Drop for ValueGuard<'_, T> {
    fn drop(&mut self) {
        if self.unwinding || !std::thread::panicking() {
            self.commit();
        }
    }
}

/// A shared number without a lock, like Python's `RawValue`, but atomic: never torn, and adding is one step.
#[derive(Clone)]
pub struct RawValue<T> {
    place: Place,
    kind: PhantomData<T>,
}

impl<T: AtomicElement> RawValue<T> {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, kind: PhantomData }
    }

    /// The value now.
    pub fn load(&self) -> T {
        T::load(self.cell())
    }

    /// Replaces the value.
    pub fn store(&self, value: T) {
        T::store(self.cell(), value);
    }

    /// Adds, wrapping at the type's limits, and returns the value before.
    pub fn fetch_add(&self, value: T) -> T {
        T::fetch_add(self.cell(), value)
    }

    /// Subtracts, wrapping at the type's limits, and returns the value before.
    pub fn fetch_sub(&self, value: T) -> T {
        T::fetch_sub(self.cell(), value)
    }

    /// Raises the value to at least this and returns the value before.
    pub fn fetch_max(&self, value: T) -> T {
        T::fetch_max(self.cell(), value)
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
