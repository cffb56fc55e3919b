//! How many locks the calling thread holds. The kernel frees a limited number when a thread dies.

use std::cell::Cell;

use crate::sys::generation::generation;

/// Most locks that the kernel frees when their thread dies (`ROBUST_LIST_LIMIT`). The others would
/// stay locked forever.
const FREED_BY_KERNEL: u32 = 2048;

/// Most locks that a thread may hold through guards. The rest is for the locks inside the other
/// primitives, which are held for a moment, and for robust mutexes of other code.
pub(crate) const MOST_HELD: u32 = FREED_BY_KERNEL - 48;

thread_local! {
    /// The number of held locks, and the [`generation`] of the process that holds them. A forked
    /// child holds none of those of its parent.
    static HELD: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// Counts a lock that the calling thread is about to take, unless it holds this many already.
/// Returns the [`generation`] of the process.
#[inline]
pub(crate) fn count_in(most: u32) -> Option<u32> {
    let (number, of) = HELD.get();
    let generation = generation();
    let number = if of == generation { number } else { 0 };
    HELD.set((number + u32::from(number < most), generation));
    (number < most).then_some(generation)
}

/// Counts a lock that the calling thread is about to release, or could not take.
#[inline]
pub(crate) fn count_out() {
    let (number, generation) = HELD.get();
    HELD.set((number.saturating_sub(1), generation));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_on_limits_states_the_numbers_of_the_code() {
        let limits = include_str!("../../docs/limits.md");
        assert_eq!((MOST_HELD, FREED_BY_KERNEL), (2_000, 2_048));
        assert!(limits.contains("**A thread holds at most 2,000 locks**"));
    }
}
