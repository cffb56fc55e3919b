//! The cross-process mutex that its holder may take again (a reentrant lock).

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{Pid, gettid};

use crate::memory::layout::{ElementType, Object};
use crate::sync::held::{MOST_HELD, count_in, count_in_closely, count_out};
use crate::sync::lock::{Inherited, Lock, LockError, LockFailure, MarkConsistent, never_busy};
use crate::sync::mutex::{Acquired, LockBlock, Unfinished};
use crate::sync::primitive::{Participants, Planned, Primitive};
use crate::sys::generation::known_generation;
use crate::sys::mapping::Place;
use crate::sys::namespaces::Namespaces;

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
    /// The process that locked, by its [`generation`](crate::sys::generation::generation).
    generation: u32,
    thread: PhantomData<*mut ()>,
}

impl Primitive for RLock {
    type Size = ();

    const ELEMENT: ElementType = ElementType::U8;

    fn planned((): Self::Size, _participants: Participants) -> Result<Planned, String> {
        Ok(Planned::elements(0))
    }

    fn describe(place: &Place, _object: &Object) -> Option<String> {
        Some(Self { lock: Lock::at(place.clone()) }.to_string())
    }
}

impl RLock {
    /// Returns the lock of an object, if the object has the size of one.
    pub(crate) fn open(place: Place, object: &Object) -> Option<Self> {
        (object.length == 0).then(|| Self { lock: Lock::at(place) })
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
        match count_in(MOST_HELD) {
            Some(generation) => RLockGuard::lock(self.block(), generation, 1),
            None => self.lock_closely(),
        }
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
        let guard = RLockGuard::of(self.block(), self.enter()?);
        guard.taken(self.block().lock_timeout(timeout), 1)
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

    /// Counts the lock, as [`Lock::enter`] does. Taking it again is always possible.
    fn enter(&self) -> Result<u32, LockFailure> {
        match self.lock.enter(MOST_HELD) {
            Err(LockFailure::TooMany) if self.holder() == Some(gettid()) => {
                self.lock.enter(u32::MAX)
            }
            entered => entered,
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_closely(&self) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        RLockGuard::lock(self.block(), self.enter()?, 1)
    }
}

impl<'a> RLockGuard<'a> {
    /// Returns the guard of a lock that is counted already, and that the caller takes now.
    #[inline]
    fn of(block: &'a LockBlock, generation: u32) -> Self {
        Self { block, generation, thread: PhantomData }
    }

    /// Waits for the lock of this block, which is counted already. A lock that was free has `depth`
    /// holds then.
    #[inline]
    fn lock(block: &'a LockBlock, generation: u32, depth: u64) -> Result<Self, LockError<Self>> {
        let guard = Self::of(block, generation);
        match block.lock_at_once() {
            Ok(()) => Ok(guard.at(depth)),
            Err(first) => guard.wait(first, depth),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(self, first: Unfinished, depth: u64) -> Result<Self, LockError<Self>> {
        let outcome = self.block.wait(first);
        never_busy(self.taken(outcome, depth)?)
    }

    pub(crate) fn block(&self) -> &'a LockBlock {
        self.block
    }

    /// Returns true if this process took the lock. A forked child that inherited the guard holds
    /// nothing.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == known_generation()
    }

    /// Returns the guard of a lock that was free. It stands for `depth` holds.
    #[inline]
    fn at(self, depth: u64) -> Self {
        self.block.version.store(depth, Ordering::Release);
        self
    }

    /// Returns the guard after this outcome of locking its block.
    fn taken(
        self,
        outcome: Result<Acquired, Errno>,
        depth: u64,
    ) -> Result<Option<Self>, LockError<Self>> {
        match outcome {
            Ok(Acquired::Clean) => return Ok(Some(self.at(depth))),
            Ok(Acquired::OwnerDied) => {
                return Err(LockError::OwnerDied(Inherited::new(self.at(depth))));
            }
            Err(Errno::EDEADLK) => {
                // The thread holds one lock, however often.
                count_out();
                self.block.version.fetch_add(1, Ordering::AcqRel);
                return Ok(Some(self));
            }
            _ => {}
        }
        // The guard holds nothing, and its drop would release the lock.
        std::mem::forget(self);
        count_out();
        outcome.map(|_| None).map_err(|errno| LockError::Failed(errno.into()))
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
        // It has held the lock before the wait, so it is recognised.
        let generation = count_in_closely(u32::MAX, Namespaces::UNKNOWN);
        Self::lock(block, generation.map_err(LockFailure::of)?, depth)
    }
}

impl MarkConsistent for RLockGuard<'_> {
    fn mark_consistent(&self) {
        self.block.mark_consistent();
    }
}

impl Drop for RLockGuard<'_> {
    #[inline]
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
