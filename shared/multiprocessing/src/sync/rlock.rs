//! The cross-process mutex that its holder may take again (a reentrant lock).

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{Pid, gettid};

use crate::memory::layout::{ElementType, Object};
use crate::sync::held::{count_in, count_out};
use crate::sync::lock::{Inherited, Lock, LockError, LockFailure, MarkConsistent};
use crate::sync::mutex::{Acquired, LockBlock};
use crate::sync::primitive::{Planned, Primitive};
use crate::sys::generation::generation;
use crate::sys::mapping::Place;

/// A mutex that its holder, a thread, may take again, like Python's `multiprocessing.RLock`. It is
/// free once every guard is dropped.
///
/// | Python | here |
/// |---|---|
/// | `lock = RLock()` | `Plan::new().rlock("lock")`, `segment.rlock("lock")?` |
/// | `with lock:` | `let guard = lock.lock()?;` until it is dropped |
/// | `lock.acquire(block=False)` | `lock.try_lock()?` |
/// | `lock.acquire(timeout=0.5)` | `lock.lock_timeout(Duration::from_millis(500))?` |
/// | `lock.release()` without holding it: `AssertionError` | cannot be written |
///
/// If the holder is killed, at any depth, the next one gets the guard inside
/// [`LockError::OwnerDied`], as with a [`Lock`], and must repair the data first. Its depth is 1.
/// The kernel wakes a waiting process at once. A waiter that is killed blocks no other.
///
/// The handle can be cloned and is inherited by forked children; every copy is the same lock.
#[derive(Clone)]
pub struct RLock {
    lock: Lock,
}

/// One hold on an [`RLock`]; dropping the last one frees the lock. It stays in the thread that
/// locked. The copy that a forked child inherits holds nothing.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct RLockGuard<'a> {
    block: &'a LockBlock,
    /// The process that locked, by its [`generation`].
    generation: u32,
    thread: PhantomData<*mut ()>,
}

impl Primitive for RLock {
    type Size = ();

    const ELEMENT: ElementType = ElementType::U8;

    fn planned((): Self::Size, _participants: usize) -> Result<Planned, String> {
        Ok(Planned::elements(0))
    }

    fn describe(place: &Place, _object: &Object) -> Option<String> {
        Some(Self { lock: Lock::new(place.clone()) }.to_string())
    }
}

impl RLock {
    /// Returns the lock of an object, if the object has the size of one.
    pub(crate) fn open(place: Place, object: &Object) -> Option<Self> {
        (object.length == 0).then(|| Self { lock: Lock::new(place) })
    }

    /// Returns the underlying lock.
    pub(crate) fn plain(&self) -> &Lock {
        &self.lock
    }

    fn block(&self) -> &LockBlock {
        self.lock.block()
    }

    /// Takes the lock. Waits without a limit if another thread holds it. Signals do not interrupt
    /// it.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] with the guard if the last holder died, or [`LockError::Failed`].
    pub fn lock(&self) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        self.check()?;
        let guard = self.guard(self.block().lock())?;
        // Cannot happen: a wait without a deadline never ends with a busy lock.
        guard.ok_or(LockError::Failed(LockFailure::System(Errno::EBUSY)))
    }

    /// Takes the lock if no other thread holds it. Returns `None` if one does.
    pub fn try_lock(&self) -> Result<Option<RLockGuard<'_>>, LockError<RLockGuard<'_>>> {
        self.lock_timeout(Duration::ZERO)
    }

    /// Works like [`lock`](Self::lock), but waits at most this long on the monotonic clock. Returns
    /// `None` if the time is over.
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<RLockGuard<'_>>, LockError<RLockGuard<'_>>> {
        self.check()?;
        self.guard(self.block().lock_timeout(timeout))
    }

    /// Returns the thread that holds the lock at this moment, for display. A process with one
    /// thread has its pid here.
    pub fn holder(&self) -> Option<Pid> {
        self.block().holder()
    }

    /// Returns how many guards its holder has at this moment, for display.
    pub fn depth(&self) -> u64 {
        self.holder().map_or(0, |_| self.block().version.load(Ordering::Acquire))
    }

    /// Returns how many times a holder died and the next one repaired the data.
    pub fn recoveries(&self) -> u64 {
        self.lock.recoveries()
    }

    /// Fails if the calling thread may not take the lock. Taking it again is always possible.
    fn check(&self) -> Result<(), LockFailure> {
        match self.lock.check() {
            Err(LockFailure::TooMany) if self.holder() == Some(gettid()) => Ok(()),
            checked => checked,
        }
    }

    fn guard(
        &self,
        result: Result<Acquired, Errno>,
    ) -> Result<Option<RLockGuard<'_>>, LockError<RLockGuard<'_>>> {
        let guard = RLockGuard::of(self.block());
        match result {
            Err(Errno::EDEADLK) => {
                guard.block.version.fetch_add(1, Ordering::AcqRel);
                Ok(Some(guard))
            }
            result => guard.taken(result, 1),
        }
    }
}

impl<'a> RLockGuard<'a> {
    fn of(block: &'a LockBlock) -> Self {
        Self { block, generation: generation(), thread: PhantomData }
    }

    pub(crate) fn block(&self) -> &'a LockBlock {
        self.block
    }

    /// Returns true if this process took the lock. A forked child that inherited the guard holds
    /// nothing.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == generation()
    }

    /// Makes a guard of the outcome of locking the mutex. It stands for `depth` holds.
    fn taken(
        self,
        result: Result<Acquired, Errno>,
        depth: u64,
    ) -> Result<Option<Self>, LockError<Self>> {
        if matches!(result, Ok(Acquired::Clean | Acquired::OwnerDied)) {
            self.block.version.store(depth, Ordering::Release);
            count_in(u32::MAX);
        }
        match result {
            Ok(Acquired::Clean) => return Ok(Some(self)),
            Ok(Acquired::OwnerDied) => return Err(LockError::OwnerDied(Inherited::new(self))),
            _ => {}
        }
        // The guard holds nothing, and its drop would release the lock.
        std::mem::forget(self);
        result.map(|_| None).map_err(|errno| LockError::Failed(errno.into()))
    }

    /// Releases the lock at any depth, and returns that depth.
    pub(crate) fn suspend(self) -> (&'a LockBlock, u64) {
        let block = self.block;
        count_out();
        std::mem::forget(self);
        let depth = block.version.swap(0, Ordering::AcqRel);
        block.unlock();
        (block, depth)
    }

    /// Takes the lock again, at this depth.
    pub(crate) fn resume(block: &'a LockBlock, depth: u64) -> Result<Self, LockError<Self>> {
        let guard = Self::of(block).taken(block.lock(), depth)?;
        guard.ok_or(LockError::Failed(LockFailure::System(Errno::EBUSY)))
    }
}

impl MarkConsistent for RLockGuard<'_> {
    fn mark_consistent(&self) {
        self.block.mark_consistent();
    }
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        // A depth that another process has overwritten by 0 must not keep the lock forever.
        if self.is_ours() && self.block.version.fetch_sub(1, Ordering::AcqRel) <= 1 {
            count_out();
            self.block.unlock();
        }
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RLockGuard")
    }
}

impl fmt::Display for RLock {
    /// `free`, or `held by 4711, depth 2`, followed by the number of recoveries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.holder() {
            Some(holder) => write!(f, "held by {holder}, depth {}", self.depth())?,
            None => f.write_str("free")?,
        }
        match self.recoveries() {
            0 => Ok(()),
            recoveries => write!(f, " (recovered {recoveries} times)"),
        }
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RLock({self})")
    }
}
