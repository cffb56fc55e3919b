//! Which process of a family of forks this is: a number that changes with every fork, whichever
//! code forks.
#![allow(unsafe_code)]

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::sys::namespaces::compare_with_parent;

/// The number of the first process of a family.
const FIRST: u32 = 1;

/// The word that holds the number until [`watch_forks`] has replaced it.
static UNWATCHED: AtomicU32 = AtomicU32::new(FIRST);
/// The word that holds the number of this process. In a page that forks wipe, it is 0 in a child
/// that has not asked for its number yet.
static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new((&raw const UNWATCHED).cast_mut());
/// The highest number that this process or an ancestor has given out.
static LAST: AtomicU32 = AtomicU32::new(FIRST);

/// Returns the number of this process. No ancestor has the same one, so it distinguishes an
/// inherited guard from one of this process. Siblings may share a number.
#[inline]
pub(crate) fn generation() -> u32 {
    match known_generation() {
        0 => next_generation(word()),
        known => known,
    }
}

/// Returns the number of this process, or 0 if it has not asked for it yet. Then nothing that has a
/// number is of this process.
#[inline]
pub(crate) fn known_generation() -> u32 {
    word().load(Ordering::Relaxed)
}

#[inline]
fn word() -> &'static AtomicU32 {
    // SAFETY: the pointer leads to a static, or to a page that is never unmapped.
    unsafe { &*WORD.load(Ordering::Acquire) }
}

/// Gives this process its number, after a fork has wiped that of its parent.
#[cold]
fn next_generation(word: &AtomicU32) -> u32 {
    compare_with_parent();
    // Raised first: if another thread forks in between, its child gets a higher number.
    let next = LAST.fetch_add(1, Ordering::AcqRel) + 1;
    match word.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => next,
        Err(known) => known,
    }
}

/// From now on, every fork of this process and its children changes the number, also a fork by
/// other code: a daemon, a C library, a `pre_exec`. Programs without a guard need not call this.
pub(crate) fn watch_forks() -> Result<(), Errno> {
    let unwatched = (&raw const UNWATCHED).cast_mut();
    if WORD.load(Ordering::Acquire) != unwatched {
        return Ok(());
    }
    let bytes = NonZeroUsize::MIN;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: the kernel chooses where, so no other mapping is touched. It rounds up to a page.
    let page = unsafe { mmap_anonymous(None, bytes, protection, MapFlags::MAP_PRIVATE) }?;
    let word = page.cast::<AtomicU32>();
    // SAFETY: the page was just mapped, so it is valid, zeroed and aligned.
    unsafe { word.as_ref() }.store(LAST.load(Ordering::Acquire), Ordering::Relaxed);
    // SAFETY: the advice concerns only the page that was just mapped.
    let advised = unsafe { madvise(page, bytes.get(), MmapAdvise::MADV_WIPEONFORK) };
    let publish = |()| {
        let published =
            WORD.compare_exchange(unwatched, word.as_ptr(), Ordering::AcqRel, Ordering::Acquire);
        published.map_err(|_| Errno::EEXIST)
    };
    match advised.and_then(publish) {
        // From here on the page stays mapped until the process ends.
        Ok(_) => Ok(()),
        Err(error) => {
            // SAFETY: no other code knows the page.
            let _ = unsafe { munmap(page, bytes.get()) };
            // Another thread has published its page first.
            if error == Errno::EEXIST { Ok(()) } else { Err(error) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn every_thread_gets_the_same_number_before_and_after_the_watch_begins() {
        let before = generation();
        let start = Barrier::new(4);
        let begin = || {
            start.wait();
            watch_forks().map(|()| generation())
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(begin)).collect();
            assert!(threads.into_iter().all(|thread| thread.join().unwrap() == Ok(before)));
        });
        assert_eq!((watch_forks(), generation()), (Ok(()), before));
    }
}
