//! The lock block: a robust process-shared pthread mutex with its bookkeeping, at a place in shared
//! memory.
//!
//! Robust means that if the holder dies, the next process gets the mutex and learns of the death
//! (`EOWNERDEAD`), even if it was waiting already. The mutex of `raw_sync` is not robust: after a
//! SIGKILL of its holder it stays locked forever.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::hint;
use std::mem::MaybeUninit;
use std::num::NonZero;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

use crate::memory::layout::LOCK_BYTES;
use crate::sys::deadline::{Deadline, new_look, with_known_look};
use crate::sys::mapping::Place;
use crate::sys::namespaces::Namespaces;

/// Bytes reserved for the mutex: 40 are used on x86-64, 48 on AArch64.
const MUTEX_BYTES: usize = 48;
const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= MUTEX_BYTES);
/// The word of a mutex that holds its kind.
const KIND_WORD: usize = 4;

/// The thread id in a robust futex word; the rest are flags (`FUTEX_TID_MASK` of the kernel's ABI).
const TID_MASK: u32 = 0x3fff_ffff;
/// How often a thread looks at a held mutex before it sleeps.
const LOOKS: u32 = 2;
/// How often it pauses after each look: together for a microsecond or two.
const PAUSES: u32 = 100;

/// A lock block as it is in shared memory; the page in `layout` describes it.
#[repr(C)]
pub(crate) struct LockBlock {
    mutex: UnsafeCell<MaybeUninit<[u64; MUTEX_BYTES / 8]>>,
    /// Number of times that a holder died and the next one repaired the data. Written by the
    /// holder.
    pub(crate) recoveries: AtomicU64,
    /// Number of commits to the [`Value`](crate::Value) that this block guards. For an
    /// [`RLock`](crate::RLock) the depth of the holder. Written by the holder.
    pub(crate) version: AtomicU64,
}

const _: () = assert!(size_of::<LockBlock>() == LOCK_BYTES);

// SAFETY: the mutex is only touched through pthread calls, which synchronise between threads and
// processes. The rest is atomic.
unsafe impl Sync for LockBlock {}

/// A place that starts with a lock block.
#[derive(Clone)]
pub(crate) struct LockPlace(Place);

impl LockPlace {
    /// Checks the place once, here: [`block`](Self::block) is called several times in every
    /// critical section.
    ///
    /// # Panics
    /// If no lock block fits there. Places come from the layout, so that would be a bug of this
    /// crate.
    pub(crate) fn new(place: Place) -> Self {
        let fits = place.bytes() >= LOCK_BYTES && place.start().cast::<LockBlock>().is_aligned();
        assert!(fits, "no lock block here");
        Self(place)
    }

    /// Returns the namespaces of the users of the lock.
    #[inline]
    pub(crate) fn namespaces(&self) -> Namespaces {
        self.0.namespaces()
    }

    #[inline]
    pub(crate) fn block(&self) -> &LockBlock {
        // SAFETY: the block is inside the place and aligned, checked in `new`. The place stays
        // mapped while `self` lives. Any bytes are a valid block (integers and uninitialised
        // memory). Only shared references to it are ever made.
        unsafe { &*self.0.start().cast::<LockBlock>() }
    }
}

/// The outcome of an attempt to lock the mutex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// The caller holds it.
    Clean,
    /// The caller holds it, and its last holder died holding it.
    OwnerDied,
    /// Another thread holds it, or still did at the deadline.
    Busy,
}

/// The result of an attempt to lock the mutex that did not just take it.
#[derive(Clone, Copy)]
pub(crate) struct Unfinished(NonZero<libc::c_int>);

// Missing in the libc crate; glibc has it since 2.30. It is needed because the deadline of
// `pthread_mutex_timedlock` is on the wall clock, which jumps.
unsafe extern "C" {
    fn pthread_mutex_clocklock(
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        deadline: *const libc::timespec,
    ) -> libc::c_int;
}

impl LockBlock {
    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        self.mutex.get().cast()
    }

    /// Initialises the mutex. The creator of the segment calls this once, before any other process
    /// knows the segment.
    pub(crate) fn initialise(&self) -> Result<(), Errno> {
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: `attributes` is valid for writes and initialised by this call before any other
        // use.
        check(unsafe { libc::pthread_mutexattr_init(attributes) })?;
        // SAFETY: initialised above.
        check(unsafe {
            libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED)
        })?;
        // SAFETY: initialised above.
        check(unsafe {
            libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST)
        })?;
        // Error-checking: locking twice in one thread is reported instead of waiting forever.
        // SAFETY: initialised above.
        check(unsafe {
            libc::pthread_mutexattr_settype(attributes, libc::PTHREAD_MUTEX_ERRORCHECK)
        })?;
        // SAFETY: the block has room for a mutex (asserted above), and no other code uses it yet.
        check(unsafe { libc::pthread_mutex_init(self.mutex(), attributes) })?;
        // SAFETY: initialised above, not used afterwards.
        check(unsafe { libc::pthread_mutexattr_destroy(attributes) })
    }

    /// Takes the mutex if it is free and its last holder has released it. Otherwise the caller goes
    /// on with [`wait`](Self::wait).
    #[inline]
    pub(crate) fn lock_at_once(&self) -> Result<(), Unfinished> {
        // Takes a free mutex even if the time has passed, so a cached time is enough. Checking
        // first whether it is free would take a tenth of the time of this call.
        let result = with_known_look(|look| {
            // SAFETY: as in `lock_until`. The time belongs to this thread, which changes it before
            // or after this call.
            unsafe { self.clocklock(look.as_ptr()) }
        });
        NonZero::new(result).map_or(Ok(()), |result| Err(Unfinished(result)))
    }

    /// Waits a few microseconds if the mutex is held. For a mutex that is held for less time than
    /// that: without this the caller would sleep, and the holder would have to wake it.
    ///
    /// The thread does not look at the mutex meanwhile. Each look, and each turn with another
    /// processor, moves the cache line, which takes longer than all that a holder does. So the
    /// others do many operations in that time, and all together are faster.
    #[inline]
    pub(crate) fn back_off_while_held(&self) {
        for _ in 0..LOOKS {
            if self.holder_word() & TID_MASK == 0 {
                return;
            }
            (0..PAUSES).for_each(|_| hint::spin_loop());
        }
    }

    /// Waits for the mutex without a limit.
    pub(crate) fn wait(&self, first: Unfinished) -> Result<Acquired, Errno> {
        let mut outcome = acquired(first.0.get())?;
        while outcome == Acquired::Busy {
            outcome = self.lock_until(new_look()?)?;
        }
        Ok(outcome)
    }

    /// Takes the mutex if it is free. If the calling thread holds it, it is busy: the call would
    /// not wait, so there is no deadlock.
    ///
    /// This does not use `pthread_mutex_trylock`. That of glibc (2.36 at least) takes an
    /// unrecoverable mutex before it reports the state, and does not release it, so the next caller
    /// waits forever.
    ///
    /// The time is before the start of the clock, because the C library compares it with that and
    /// asks the kernel about any other. Such a call would take microseconds, and would mark the
    /// mutex as one with a waiter, so that unlocking it needs a call too.
    pub(crate) fn try_lock(&self) -> Result<Acquired, Errno> {
        match self.lock_until(TimeSpec::new(-1, 0)) {
            Err(Errno::EDEADLK) => Ok(Acquired::Busy),
            outcome => outcome,
        }
    }

    /// Waits for the mutex at most this long, on the monotonic clock.
    ///
    /// Unlocking wakes one waiter. That waiter may be killed before it runs, while another process
    /// has taken the mutex. Then no process knows that there are more waiters, and they would stay
    /// asleep although the mutex is free. Neither the kernel's robust list nor glibc covers this.
    /// So every waiter checks again after `LONGEST_SLEEP`.
    pub(crate) fn lock_timeout(&self, timeout: Duration) -> Result<Acquired, Errno> {
        // Without a look at the clock.
        let Err(first) = self.lock_at_once() else { return Ok(Acquired::Clean) };
        match acquired(first.0.get()) {
            Ok(Acquired::Busy) => {}
            outcome => return outcome,
        }
        let deadline = Deadline::after(timeout)?;
        loop {
            match self.lock_until(deadline.next_look()?)? {
                Acquired::Busy if !deadline.has_passed()? => {}
                outcome => return Ok(outcome),
            }
        }
    }

    fn lock_until(&self, deadline: TimeSpec) -> Result<Acquired, Errno> {
        // SAFETY: the mutex is initialised and stays mapped while `self` is borrowed. The deadline
        // is a valid timespec for the length of the call.
        acquired(unsafe { self.clocklock(&raw const deadline) })
    }

    /// # Safety
    /// The deadline is valid for reads during the call.
    #[inline]
    unsafe fn clocklock(&self, deadline: *const TimeSpec) -> libc::c_int {
        // `TimeSpec` is a transparent wrapper of the structure of the C library.
        // SAFETY: the caller vouches for the deadline; the mutex is valid while `self` is borrowed.
        unsafe { pthread_mutex_clocklock(self.mutex(), libc::CLOCK_MONOTONIC, deadline.cast()) }
    }

    /// Declares the guarded data sound again after [`Acquired::OwnerDied`]. The caller holds the
    /// mutex.
    pub(crate) fn mark_consistent(&self) {
        // SAFETY: as in `lock_until`. If the caller did not get it from a dead holder, this only
        // returns EINVAL.
        let result = unsafe { libc::pthread_mutex_consistent(self.mutex()) };
        debug_assert_eq!(result, 0, "repaired a mutex that was not inherited from a dead holder");
        self.recoveries.fetch_add(1, Ordering::AcqRel);
    }

    /// Unlocks the mutex, which the calling thread holds. In a process that inherited the guard by
    /// fork it may not be called: the C library recognises the holder by its thread id, which a
    /// thread of another process may have too, in another pid namespace or after a raw clone(2).
    #[inline]
    pub(crate) fn unlock(&self) {
        // SAFETY: as in `lock_until`.
        let result = unsafe { libc::pthread_mutex_unlock(self.mutex()) };
        // The error is that of a process that has overwritten the mutex.
        debug_assert!(matches!(result, 0 | libc::EPERM), "unlocking failed with {result}");
    }

    /// Returns true if the mutex is of the kind that [`initialise`](Self::initialise) makes. The C
    /// library waits for ever at some others, and aborts the process at the rest.
    pub(crate) fn has_our_kind(&self) -> Result<bool, Errno> {
        let ours = Self {
            mutex: UnsafeCell::new(MaybeUninit::new([0; MUTEX_BYTES / 8])),
            recoveries: AtomicU64::new(0),
            version: AtomicU64::new(0),
        };
        ours.initialise()?;
        Ok(self.kind() == ours.kind())
    }

    fn kind(&self) -> u32 {
        // SAFETY: the word is inside the mutex, and aligned because the block is. In glibc for 64
        // bits it comes after the lock word, the depth, the owner and the number of users.
        let word = unsafe { &*self.mutex().cast::<AtomicU32>().wrapping_add(KIND_WORD) };
        word.load(Ordering::Relaxed)
    }

    /// Returns the thread that holds the mutex now, if any. For display only, because it may change
    /// at any time.
    pub(crate) fn holder(&self) -> Option<Pid> {
        let holder = self.holder_word() & TID_MASK;
        (holder != 0).then(|| Pid::from_raw(holder.cast_signed()))
    }

    #[inline]
    fn holder_word(&self) -> u32 {
        // SAFETY: glibc keeps the futex word of a mutex in its first four bytes, which are aligned
        // because the block is.
        let word = unsafe { &*self.mutex().cast::<AtomicU32>() };
        word.load(Ordering::Acquire)
    }
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result == 0 { Ok(()) } else { Err(Errno::from_raw(result)) }
}

fn acquired(result: libc::c_int) -> Result<Acquired, Errno> {
    match result {
        0 => Ok(Acquired::Clean),
        libc::EOWNERDEAD => Ok(Acquired::OwnerDied),
        libc::ETIMEDOUT => Ok(Acquired::Busy),
        error => Err(Errno::from_raw(error)),
    }
}
