//! How many locks the calling thread holds. The kernel frees a limited number when a thread dies.

use std::cell::Cell;

use crate::sys::generation::{generation, known_generation};
use crate::sys::namespaces::{Namespaces, has_moved, is_reachable};

/// Most locks that the kernel frees when their thread dies (`ROBUST_LIST_LIMIT`). The others would
/// stay locked forever.
const FREED_BY_KERNEL: u32 = 2048;

/// Most locks that a thread may hold through guards. The rest is for the locks inside the other
/// primitives, which are held for a moment, and for robust mutexes of other code.
pub(crate) const MOST_HELD: u32 = FREED_BY_KERNEL - 48;

/// Why the calling thread may not take a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unheld {
    /// It holds too many already.
    TooMany,
    /// The users of the segment cannot recognise its process.
    OtherNamespace,
}

/// The bits of [`HELD`] that hold the number of locks.
const NUMBER_BITS: u32 = u32::BITS;
/// No process has this generation.
const NO_PROCESS: u32 = u32::MAX;

thread_local! {
    /// The number of held locks, and above it the [`generation`] of the process that holds them. A
    /// forked child holds none of those of its parent. Both are in one word, so that one comparison
    /// finds every reason to look closer. A process that has moved to other namespaces must look
    /// at each lock, so it has the complement of its generation here.
    static HELD: Cell<u64> = const { Cell::new((NO_PROCESS as u64) << NUMBER_BITS) };
}

/// Counts a lock that the calling thread is about to take, if it may take any lock. Returns the
/// [`generation`] of the process. Otherwise the caller goes on with [`count_in_closely`].
#[inline]
pub(crate) fn count_in(most: u32) -> Option<u32> {
    let generation = known_generation();
    let held = HELD.get();
    let may = held.wrapping_sub(none_of(generation)) < u64::from(most);
    may.then(|| {
        HELD.set(held + 1);
        generation
    })
}

/// Counts a lock that the calling thread is about to take in a segment of these namespaces. Needed
/// for the first lock of a thread, in a process that has moved, and at the limit.
#[cold]
pub(crate) fn count_in_closely(most: u32, namespaces: Namespaces) -> Result<u32, Unheld> {
    // This comes first, because in a new child it finds out whether the child has moved.
    let generation = generation();
    let none = if has_moved() { none_of_moved(generation) } else { none_of(generation) };
    let number = HELD.get().wrapping_sub(none);
    let number = if number >> NUMBER_BITS == 0 { number } else { 0 };
    if number >= u64::from(most) {
        return Err(Unheld::TooMany);
    }
    // A mutex names its holder by a thread id, and a table its participants by pids.
    if !is_reachable(namespaces) {
        return Err(Unheld::OtherNamespace);
    }
    HELD.set(none + number + 1);
    Ok(generation)
}

/// Returns the word of a thread that holds no lock, in the process of this generation.
#[inline]
fn none_of(generation: u32) -> u64 {
    u64::from(generation) << NUMBER_BITS
}

/// Returns the same for a process that has moved: a word that never looks like one of [`none_of`],
/// so that every lock is looked at closely.
fn none_of_moved(generation: u32) -> u64 {
    none_of(!generation)
}

/// Counts a lock that the calling thread, which has counted it, is about to release or could not
/// take.
#[inline]
pub(crate) fn count_out() {
    HELD.set(HELD.get().wrapping_sub(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_moved_looks_closely_at_every_lock() {
        for generation in [1, 2, 1 << 30] {
            for number in [0, 1, u64::from(MOST_HELD)] {
                let held = none_of_moved(generation) + number;
                for known in [0, generation - 1, generation, generation + 1] {
                    let number = held.wrapping_sub(none_of(known));
                    assert!(number >= u64::from(u32::MAX), "{generation} looks like {known}");
                }
            }
        }
    }

    #[test]
    fn the_page_on_limits_states_the_numbers_of_the_code() {
        let limits = include_str!("../../docs/limits.md");
        assert_eq!((MOST_HELD, FREED_BY_KERNEL), (2_000, 2_048));
        assert!(limits.contains("**A thread holds at most 2,000 locks**"));
    }
}
