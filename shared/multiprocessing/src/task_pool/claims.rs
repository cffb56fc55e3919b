//! Which of the tasks sent to a worker have not been started, in memory that the dispatcher and the
//! worker share.

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;

use nix::errno::Errno;

use crate::memory::cell::{WORD, word};
use crate::sys::mapping::{Mapping, Place};
use crate::sys::namespaces::Namespaces;

/// Number of queued tasks per worker. The entries of one worker fill one cache line, which no other
/// worker's entries share.
///
/// Measured with trivial tasks: with 4, a worker does half as many per second, because it waits for
/// the dispatcher more often. With 16, a single worker does 50 % more, and two workers do no more.
pub(super) const CAPACITY: usize = 8;

/// Empty entry. Message numbers start at 1.
const EMPTY: u64 = 0;

/// The queued tasks of one worker, in shared memory. An atomic claim decides whether the worker
/// runs a task or the dispatcher takes it back.
///
/// An entry holds the number of the message that carried the task. A claim replaces the number by
/// [`EMPTY`], which succeeds for one process only. So the dispatcher knows of every task whether it
/// was started, even if the worker is killed or stopped.
///
/// Entries hold message numbers, which both sides count, instead of task ids. A task may be taken
/// back and later sent to the same worker again, and the worker must not run it from the first
/// message.
#[derive(Clone)]
pub(super) struct ClaimTable {
    words: Place,
}

impl ClaimTable {
    /// Creates the empty tables of this many workers.
    pub(super) fn for_workers(workers: usize) -> Result<Vec<Self>, Errno> {
        let each = CAPACITY * WORD;
        let bytes = workers.checked_mul(each).and_then(NonZeroUsize::new).ok_or(Errno::ENOMEM)?;
        let all = Place::whole(&Mapping::nameless(bytes, Namespaces::UNKNOWN)?);
        Ok((0..workers).map(|worker| Self { words: all.part(worker * each, each) }).collect())
    }

    /// Makes the task of a message claimable. The dispatcher does this before it sends the message.
    /// Returns false if the table is full.
    pub(super) fn publish(&self, message: u64) -> bool {
        self.replace(EMPTY, message)
    }

    /// Claims the task of a message. Returns false if it was claimed before.
    pub(super) fn claim(&self, message: u64) -> bool {
        self.replace(message, EMPTY)
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        // Relaxed is enough: only the order of changes of one word matters, since the task itself
        // travels through a socket.
        let replaced = |index| {
            word(&self.words, index)
                .compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        (0..CAPACITY).any(replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_task_is_claimed_exactly_once() {
        let [first, second] =
            <[_; 2]>::try_from(ClaimTable::for_workers(2).unwrap()).unwrap_or_else(|_| panic!());
        assert!((1..=CAPACITY as u64).all(|message| first.publish(message)));
        assert!(!first.publish(99) && second.publish(99), "each worker has its own capacity");
        assert!(!first.claim(99) && second.claim(99) && !second.claim(99));

        let claimed_by_all: usize = std::thread::scope(|scope| {
            let claim_all =
                || (1..=CAPACITY as u64).filter(|&message| first.claim(message)).count();
            let threads = [(); 4].map(|()| scope.spawn(claim_all));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(claimed_by_all, CAPACITY);
        assert!(first.publish(99), "a claim frees its entry");
    }
}
