//! The locks that a condition works with, and its operations on their guards: check a guard,
//! release its lock, take the lock again.

use std::fmt;
use std::ptr;

use crate::sync::lock::{Lock, LockError, LockFailure, LockGuard};
use crate::sync::mutex::LockBlock;
use crate::sync::rlock::{RLock, RLockGuard};

/// A lock that a condition works with.
pub(crate) trait ConditionLock {
    /// Returns the underlying lock.
    fn lock(&self) -> &Lock;
}

impl ConditionLock for Lock {
    fn lock(&self) -> &Lock {
        self
    }
}

impl ConditionLock for RLock {
    fn lock(&self) -> &Lock {
        self.plain()
    }
}

/// A guard of such a lock.
pub(crate) trait Held: Sized {
    /// What remains of the guard while the lock is released.
    type Suspended;
    /// Returns true if it is a guard of this lock, and this thread holds it.
    fn holds(&self, lock: &Lock) -> bool;
    /// Releases the lock.
    fn suspend(self) -> Self::Suspended;
    /// Takes the lock again.
    fn resume(suspended: Self::Suspended) -> Result<Self, LockError<Self>>;
}

impl<'a> Held for LockGuard<'a> {
    type Suspended = &'a LockBlock;

    fn holds(&self, lock: &Lock) -> bool {
        ptr::eq(self.block(), lock.block()) && self.is_ours()
    }

    fn suspend(self) -> &'a LockBlock {
        self.block()
    }

    fn resume(block: &'a LockBlock) -> Result<Self, LockError<Self>> {
        LockGuard::resume(block)
    }
}

impl<'a> Held for RLockGuard<'a> {
    type Suspended = (&'a LockBlock, u64);

    fn holds(&self, lock: &Lock) -> bool {
        ptr::eq(self.block(), lock.block()) && self.is_ours()
    }

    fn suspend(self) -> (&'a LockBlock, u64) {
        RLockGuard::suspend(self)
    }

    fn resume((block, depth): (&'a LockBlock, u64)) -> Result<Self, LockError<Self>> {
        RLockGuard::resume(block, depth)
    }
}

/// The error of a wait that returns no ordinary guard.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConditionError<G> {
    /// The record has no room for another waiter; see
    /// [`Plan::participants`](crate::Plan::participants). The lock was not released.
    Full(G),
    /// The outcome of taking the lock again. It is [`LockFailure::NotHeld`] if the guard belonged
    /// to another lock or was inherited by fork; the guard is dropped then.
    Lock(LockError<G>),
}

impl<G> From<LockFailure> for ConditionError<G> {
    fn from(failure: LockFailure) -> Self {
        Self::Lock(LockError::Failed(failure))
    }
}

impl<G> From<LockError<G>> for ConditionError<G> {
    fn from(error: LockError<G>) -> Self {
        Self::Lock(error)
    }
}

impl<G> fmt::Display for ConditionError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("no more room to record another waiter"),
            Self::Lock(error) => error.fmt(f),
        }
    }
}

impl<G: fmt::Debug> std::error::Error for ConditionError<G> {}
