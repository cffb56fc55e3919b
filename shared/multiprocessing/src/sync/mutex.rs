//! The lock block: a robust process-shared pthread mutex with its bookkeeping, at a place in shared memory.
//!
//! Robust means: when its holder dies, the kernel hands the mutex to the next one and says so (`EOWNERDEAD`), even to one that
//! is already waiting. Not `raw_sync`'s mutex: that one is not robust, a SIGKILL of its holder locks everyone out for ever.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

use crate::memory::layout::LOCK_BYTES;
use crate::sys::deadline::{Deadline, known_look, new_look};
use crate::sys::mapping::Place;

/// Bytes kept for the mutex: 40 are used on x86-64, 48 on AArch64.
const MUTEX_BYTES: usize = 48;
const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= MUTEX_BYTES);

/// A lock block as it lies in shared memory; the table in `layout` describes it.
#[repr(C)]
pub(crate) struct LockBlock {
    mutex: UnsafeCell<MaybeUninit<[u64; MUTEX_BYTES / 8]>>,
    /// How many times a holder died and a successor repaired. Written by the holder.
    pub(crate) recoveries: AtomicU64,
    /// Number of commits to the [`Value`](crate::Value) this block guards; for an [`RLock`](crate::RLock) the holder's depth. Written
    /// by the holder.
    pub(crate) version: AtomicU64,
}

const _: () = assert!(size_of::<LockBlock>() == LOCK_BYTES);

// SAFETY: the mutex is only touched through pthread calls, which synchronise between threads and processes; the rest is atomic.
unsafe impl Sync for LockBlock {}

/// A place that starts with a lock block.
#[derive(Clone)]
pub(crate) struct LockPlace(Place);

impl LockPlace {
    /// Checked here, once: [`block`](Self::block) is called several times in every critical section.
    ///
    /// # Panics
    /// When no lock block can be there: places come from the layout, so that would be a bug here.
    pub(crate) fn new(place: Place) -> Self {
        let fits = place.bytes() >= LOCK_BYTES && place.start().cast::<LockBlock>().is_aligned();
        assert!(fits, "no lock block here");
        Self(place)
    }

    pub(crate) fn block(&self) -> &LockBlock {
        // SAFETY: inside the place and aligned, checked in `new`; the place stays mapped while `self` lives; any bytes are a valid
        // block (integers and uninitialised memory); only shared references to it are ever made.
        unsafe { &*self.0.start().cast::<LockBlock>() }
    }
}

/// What came of trying to get the mutex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// It is ours.
    Clean,
    /// It is ours, and its last holder died with it.
    OwnerDied,
    /// Somebody else holds it, or still did at the deadline.
    Busy,
}

// Not in the libc crate; glibc 2.30 and later have it. Needed because the deadline of `pthread_mutex_timedlock` is on the wall
// clock, which jumps.
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

    /// Makes the mutex, once, by the creator of the segment, before anybody else can know it.
    pub(crate) fn initialise(&self) -> Result<(), Errno> {
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: `attributes` is valid for writes and initialised by this call before any other use.
        check(unsafe { libc::pthread_mutexattr_init(attributes) })?;
        // SAFETY: initialised above.
        check(unsafe {
            libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED)
        })?;
        // SAFETY: initialised above.
        check(unsafe {
            libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST)
        })?;
        // Error-checking: locking twice in one thread is reported instead of waiting for oneself for ever, and unlocking in a
        // forked child that inherited a guard is refused instead of freeing the parent's lock.
        // SAFETY: initialised above.
        check(unsafe {
            libc::pthread_mutexattr_settype(attributes, libc::PTHREAD_MUTEX_ERRORCHECK)
        })?;
        // SAFETY: the block has room for a mutex (asserted above) and nobody else uses it yet.
        check(unsafe { libc::pthread_mutex_init(self.mutex(), attributes) })?;
        // SAFETY: initialised above, not used afterwards.
        check(unsafe { libc::pthread_mutexattr_destroy(attributes) })
    }

    /// Waits for the mutex, for ever.
    pub(crate) fn lock(&self) -> Result<Acquired, Errno> {
        // One that is free is had whatever the deadline. To look whether it is free would already take a tenth of the time.
        match self.lock_until(known_look()) {
            Ok(Acquired::Busy) => self.wait_to_lock(),
            outcome => outcome,
        }
    }

    /// Waits for a mutex that was not free. Apart from [`lock`](Self::lock), which is short without it.
    #[cold]
    fn wait_to_lock(&self) -> Result<Acquired, Errno> {
        loop {
            match self.lock_until(new_look()?)? {
                Acquired::Busy => {}
                acquired => return Ok(acquired),
            }
        }
    }

    /// Takes the mutex if it is free. One that this very thread holds is not: nobody would wait, so there is no deadlock.
    ///
    /// Not by `pthread_mutex_trylock`: glibc's (2.36 at least) takes a lost mutex before it says so and does not give it back, and
    /// whoever comes next waits for ever.
    pub(crate) fn try_lock(&self) -> Result<Acquired, Errno> {
        match self.lock_until(TimeSpec::new(0, 0)) {
            Err(Errno::EDEADLK) => Ok(Acquired::Busy),
            outcome => outcome,
        }
    }

    /// Waits for the mutex at most this long, on the monotonic clock.
    ///
    /// Giving the mutex back wakes one waiter. If that one is killed before it runs, while another process has taken the mutex,
    /// nobody remembers that there are more waiters: they would sleep on although the mutex is free. (Neither the kernel's robust
    /// list nor glibc covers this.) So everybody looks again after a `LONGEST_SLEEP`.
    pub(crate) fn lock_timeout(&self, timeout: Duration) -> Result<Acquired, Errno> {
        let deadline = Deadline::after(timeout)?;
        loop {
            match self.lock_until(deadline.next_look()?)? {
                Acquired::Busy if !deadline.has_passed()? => {}
                outcome => return Ok(outcome),
            }
        }
    }

    fn lock_until(&self, deadline: TimeSpec) -> Result<Acquired, Errno> {
        let deadline: &libc::timespec = deadline.as_ref();
        // SAFETY: as in `lock`; the deadline is a valid timespec for the length of the call.
        acquired(unsafe { pthread_mutex_clocklock(self.mutex(), libc::CLOCK_MONOTONIC, deadline) })
    }

    /// Declares the guarded data sound again after [`Acquired::OwnerDied`]. The caller holds the mutex.
    pub(crate) fn mark_consistent(&self) {
        // SAFETY: as in `lock`; when the caller did not get it from a dead owner this only returns EINVAL.
        let result = unsafe { libc::pthread_mutex_consistent(self.mutex()) };
        debug_assert_eq!(result, 0, "repaired a mutex that was not inherited from a dead holder");
        self.recoveries.fetch_add(1, Ordering::AcqRel);
    }

    /// Gives the mutex back. In a process that inherited the guard by fork it does nothing.
    pub(crate) fn unlock(&self) {
        // SAFETY: as in `lock`; an error-checking mutex refuses anyone but its holder.
        let result = unsafe { libc::pthread_mutex_unlock(self.mutex()) };
        debug_assert!(matches!(result, 0 | libc::EPERM), "unlocking failed with {result}");
    }

    /// The thread that holds the mutex now, if any: for display, it may have changed when the caller looks.
    pub(crate) fn holder(&self) -> Option<Pid> {
        /// The thread id in a robust futex word; the rest are flags (`FUTEX_TID_MASK` of the kernel's ABI).
        const TID_MASK: u32 = 0x3fff_ffff;
        // SAFETY: glibc keeps the futex word of a mutex in its first four bytes; aligned, as the block is.
        let word = unsafe { &*self.mutex().cast::<AtomicU32>() };
        let holder = word.load(Ordering::Acquire) & TID_MASK;
        (holder != 0).then(|| Pid::from_raw(holder.cast_signed()))
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
