//! The cross-process mutex. The next holder after a dead one learns of the death and must repair
//! the data first.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::memory::layout::{ElementType, Object};
use crate::sync::held::{MOST_HELD, Unheld, count_in, count_in_closely, count_out};
use crate::sync::mutex::{Acquired, LockBlock, LockPlace, Unfinished};
use crate::sync::primitive::{Participants, Planned, Primitive};
use crate::sys::generation::known_generation;
use crate::sys::mapping::Place;
use crate::sys::namespaces::Namespaces;

/// A mutex shared by processes, like Python's `multiprocessing.Lock`, except that the death of a
/// holder does not block the others.
///
/// The handle can be cloned and inherited by forked children; every copy is the same lock.
#[derive(Clone)]
pub struct Lock {
    place: LockPlace,
}

/// Holds a [`Lock`] until it is dropped. It belongs to the thread that locked: the kernel frees a
/// mutex when its *thread* dies.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct LockGuard<'a> {
    block: &'a LockBlock,
    /// The process that locked, by its [`generation`](crate::sys::generation::generation). A forked
    /// child has copies of its parent's guards.
    generation: u32,
    /// Guards stay in their thread.
    thread: PhantomData<*mut ()>,
}

/// The error of taking a lock. The guard may be inside.
#[derive(Debug)]
pub enum LockError<G> {
    /// The caller holds the lock, but its last holder died holding it: what it guards may be half
    /// changed. The guard is inside.
    OwnerDied(Inherited<G>),
    /// The caller does not hold the lock.
    Failed(LockFailure),
}

/// The reason why a lock cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockFailure {
    /// The next holder after a dead one released the lock without a repair. No process can take the
    /// lock again.
    #[error("the lock is lost: its holder died and its successor did not repair")]
    Unrecoverable,
    /// The calling thread holds the lock already and would wait for itself forever.
    #[error("this thread already holds the lock")]
    Deadlock,
    /// The calling thread holds 2,000 locks already. The kernel frees at most 2,048 when a thread
    /// dies, and the others would stay locked forever.
    #[error("this thread already holds {MOST_HELD} locks: more would not be freed at its death")]
    TooMany,
    /// This process is a child in another pid or time namespace than the users of the segment. They
    /// could not tell whether it lives, and might take it for one of themselves.
    #[error("this process is in another pid or time namespace than the segment")]
    OtherNamespace,
    /// The segment is removed, so the process that this call waits for may never come. Its creator
    /// has ended, or another process has replaced it. Programs that opened the segment by name get
    /// this from a wait, within 200 ms, in everything but a lock. Open the segment again.
    #[error("the segment is removed: its creator has ended or was replaced; open it again")]
    Removed,
    /// The call needs the lock, and the calling thread does not hold it.
    #[error("this thread does not hold the lock")]
    NotHeld,
    /// The operating system refused.
    #[error("locking failed: {0}")]
    System(Errno),
}

impl LockFailure {
    pub(crate) fn of(reason: Unheld) -> Self {
        match reason {
            Unheld::TooMany => Self::TooMany,
            Unheld::OtherNamespace => Self::OtherNamespace,
        }
    }
}

/// A guard inherited from a dead holder. Repair what it guards, then call
/// [`repaired`](Self::repaired). Dropping it without that makes the lock unusable for all processes
/// ([`LockFailure::Unrecoverable`]), so that no process takes half-changed data for whole.
#[must_use = "repair what the lock guards and call `repaired`, or the lock is lost for all processes"]
pub struct Inherited<G>(G);

/// The operation that [`Inherited`] needs of a guard.
pub(crate) trait MarkConsistent {
    /// Declares the guarded data sound.
    fn mark_consistent(&self);
}

impl<G> Inherited<G> {
    pub(crate) fn new(guard: G) -> Self {
        Self(guard)
    }

    /// Wraps the guard in another one.
    pub(crate) fn map<H>(self, wrap: impl FnOnce(G) -> H) -> Inherited<H> {
        Inherited(wrap(self.0))
    }
}

#[allow(private_bounds)] // `MarkConsistent` is an implementation detail of every guard.
impl<G: MarkConsistent> Inherited<G> {
    /// Declares that what the lock guards is sound again, and returns the guard as an ordinary one.
    pub fn repaired(self) -> G {
        self.0.mark_consistent();
        self.0
    }
}

impl<G> Deref for Inherited<G> {
    type Target = G;
    fn deref(&self) -> &G {
        &self.0
    }
}

impl<G> DerefMut for Inherited<G> {
    fn deref_mut(&mut self) -> &mut G {
        &mut self.0
    }
}

impl<G> fmt::Debug for Inherited<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inherited(..)")
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied(_) => f.write_str("the lock's holder died while holding it"),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl<G: fmt::Debug> std::error::Error for LockError<G> {}

impl<G> LockError<G> {
    pub(crate) fn map<H>(self, wrap: impl FnOnce(G) -> H) -> LockError<H> {
        match self {
            Self::OwnerDied(inherited) => LockError::OwnerDied(inherited.map(wrap)),
            Self::Failed(failure) => LockError::Failed(failure),
        }
    }
}

impl<G> From<LockFailure> for LockError<G> {
    fn from(failure: LockFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Errno> for LockFailure {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOTRECOVERABLE => Self::Unrecoverable,
            Errno::EDEADLK => Self::Deadlock,
            other => Self::System(other),
        }
    }
}

impl Primitive for Lock {
    type Size = ();

    const ELEMENT: ElementType = ElementType::U8;

    fn planned((): Self::Size, _participants: Participants) -> Result<Planned, String> {
        Ok(Planned::elements(0))
    }
}

impl Lock {
    /// Returns the lock of an object, if the object has the size of one.
    pub(crate) fn open(place: Place, object: &Object) -> Option<Self> {
        (object.length == 0).then(|| Self::at(place))
    }

    /// Returns the lock whose block is at the start of the place.
    pub(crate) fn at(place: Place) -> Self {
        Self { place: LockPlace::new(place) }
    }

    pub(crate) fn block(&self) -> &LockBlock {
        self.place.block()
    }

    /// Waits for the lock without a limit. Signals do not interrupt it.
    ///
    /// # Errors
    /// [`LockError::OwnerDied`] with the guard if the last holder died, or [`LockError::Failed`].
    pub fn lock(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        match count_in(MOST_HELD) {
            Some(generation) => LockGuard::lock(self.block(), generation),
            None => self.lock_closely(MOST_HELD),
        }
    }

    /// Works like [`lock`](Self::lock), without a limit to the number of held locks. For a
    /// primitive that holds its lock only for a moment, and must be able to do so when it is
    /// dropped.
    pub(crate) fn lock_briefly(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.block().back_off_while_held();
        match count_in(u32::MAX) {
            Some(generation) => LockGuard::lock(self.block(), generation),
            None => self.lock_closely(u32::MAX),
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_closely(&self, most: u32) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        LockGuard::lock(self.block(), self.enter(most)?)
    }

    /// Takes the lock if it is free. Returns `None` if it is not.
    pub fn try_lock(&self) -> Result<Option<LockGuard<'_>>, LockError<LockGuard<'_>>> {
        LockGuard::of(self.block(), self.enter(MOST_HELD)?).taken(self.block().try_lock())
    }

    /// Waits for the lock at most this long on the monotonic clock. Returns `None` if the time is
    /// over.
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<Option<LockGuard<'_>>, LockError<LockGuard<'_>>> {
        let guard = LockGuard::of(self.block(), self.enter(MOST_HELD)?);
        guard.taken(self.block().lock_timeout(timeout))
    }

    /// Counts the lock that the calling thread is about to take, unless it holds this many already
    /// or this process has moved away from the lock. Returns the generation of the process.
    pub(crate) fn enter(&self, most: u32) -> Result<u32, LockFailure> {
        count_in_closely(most, self.place.namespaces()).map_err(LockFailure::of)
    }

    /// Returns the thread that holds the lock at this moment, for display. A process with one
    /// thread has its pid here.
    pub fn holder(&self) -> Option<Pid> {
        self.block().holder()
    }

    /// Returns how many times a holder died and the next one repaired the data.
    pub fn recoveries(&self) -> u64 {
        self.block().recoveries.load(Ordering::Acquire)
    }
}

impl Drop for Lock {
    /// A forgotten guard leaves the mutex in the list of those that its thread holds, which the C
    /// library and the kernel follow. Then the memory must stay mapped until the process ends.
    fn drop(&mut self) {
        if self
            .holder()
            .is_some_and(|thread| Path::new(&format!("/proc/self/task/{thread}")).exists())
        {
            std::mem::forget(self.place.clone());
        }
    }
}

impl<'a> LockGuard<'a> {
    /// Returns the guard of a lock that is counted already, and that the caller takes now.
    #[inline]
    fn of(block: &'a LockBlock, generation: u32) -> Self {
        Self { block, generation, thread: PhantomData }
    }

    /// Waits for the lock of this block, which is counted already.
    #[inline]
    fn lock(block: &'a LockBlock, generation: u32) -> Result<Self, LockError<Self>> {
        let guard = Self::of(block, generation);
        match block.lock_at_once() {
            Ok(()) => Ok(guard),
            Err(first) => guard.wait(first),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(self, first: Unfinished) -> Result<Self, LockError<Self>> {
        let outcome = self.block.wait(first);
        never_busy(self.taken(outcome)?)
    }

    /// Returns the guard after this outcome of locking its block.
    fn taken(self, outcome: Result<Acquired, Errno>) -> Result<Option<Self>, LockError<Self>> {
        match outcome {
            Ok(Acquired::Clean) => return Ok(Some(self)),
            Ok(Acquired::OwnerDied) => return Err(LockError::OwnerDied(Inherited::new(self))),
            _ => {}
        }
        // The guard holds nothing, and its drop would release the lock.
        std::mem::forget(self);
        count_out();
        outcome.map(|_| None).map_err(|errno| LockError::Failed(errno.into()))
    }

    /// Takes the lock of this block again, at the end of a wait.
    pub(crate) fn resume(block: &'a LockBlock) -> Result<Self, LockError<Self>> {
        // It has held the lock before the wait, so it is recognised.
        let generation = count_in_closely(u32::MAX, Namespaces::UNKNOWN);
        Self::lock(block, generation.map_err(LockFailure::of)?)
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
}

/// Returns the guard of a wait without a limit. That never ends with a busy lock.
pub(crate) fn never_busy<G>(guard: Option<G>) -> Result<G, LockError<G>> {
    guard.ok_or(LockError::Failed(LockFailure::System(Errno::EBUSY)))
}

impl MarkConsistent for LockGuard<'_> {
    fn mark_consistent(&self) {
        self.block.mark_consistent();
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_ours() {
            count_out();
            self.block.unlock();
        }
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockGuard")
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holder = self.holder().map(Pid::as_raw);
        f.debug_struct("Lock")
            .field("holder", &holder)
            .field("recoveries", &self.recoveries())
            .finish()
    }
}
