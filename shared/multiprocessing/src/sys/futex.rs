//! Sleeping on a word of shared memory until another process changes it: the futex of the kernel
//! without anything on top.
//!
//! The kernel keeps the list of sleepers and removes one that is killed. So no process ever waits
//! for a dead sleeper, unlike with the condition variables and barriers of glibc.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::atomic::AtomicU32;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;

/// All kinds of sleepers: [`wait`] is woken with any kind, [`wake`] wakes all kinds.
pub(crate) const ANY: u32 = u32::MAX;

/// Sleeps until sleepers of one of the kinds in `bits` are woken, if the word is still `seen`, or
/// until the monotonic clock shows `deadline`. May return early without a wake-up. Signals do not
/// end the sleep.
pub(crate) fn wait(
    word: &AtomicU32,
    seen: u32,
    deadline: TimeSpec,
    bits: u32,
) -> Result<(), Errno> {
    let deadline: &libc::timespec = deadline.as_ref();
    loop {
        // SAFETY: the word is aligned and mapped as long as the reference lives, the deadline is a
        // valid timespec for the length of the call, and the kernel writes to neither. The futex is
        // not private, because processes share the word.
        let result = unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT_BITSET,
                seen,
                ptr::from_ref(deadline),
                ptr::null::<u32>(),
                bits,
            )
        };
        match Errno::result(result) {
            Ok(_) | Err(Errno::EAGAIN | Errno::ETIMEDOUT) => return Ok(()),
            // The deadline is a point in time, so waiting again does not extend it.
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Wakes at most `count` sleepers of the kinds in `bits`.
pub(crate) fn wake(word: &AtomicU32, count: u32, bits: u32) {
    let count = count.min(i32::MAX.cast_unsigned());
    // SAFETY: as in `wait`; the kernel only looks up the sleepers at this address.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE_BITSET,
            count,
            ptr::null::<libc::timespec>(),
            ptr::null::<u32>(),
            bits,
        )
    };
    debug_assert!(result >= 0, "waking failed: {}", Errno::last());
}
