//! The tasks that were sent to a worker and are not begun, as the dispatcher and the worker both
//! see them.

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;

use nix::errno::Errno;

use crate::memory::cell::{WORD, word};
use crate::sys::mapping::{Mapping, Place};

/// How many tasks may be offered to a worker. With 4, a worker of trivial tasks does half as many
/// per second, because it waits for the dispatcher more often. With 16 it does half as many again
/// if it is the only one, and no more if there are two. The numbers of one worker fill a cache line
/// of their own.
pub(super) const MOST: usize = 8;

/// Marks an empty slot; message numbers start at 1.
const FREE: u64 = 0;

/// The numbers of the messages whose tasks are offered to one worker, in memory that the dispatcher
/// shares with it. An atomic claim turns a number back into [`FREE`] and decides who has the task:
/// the worker, to begin it, or the dispatcher, to give it to another one. So it is known of every
/// task whether it was begun, even if the worker is killed or stopped.
///
/// They are numbers of messages, which both sides count, and not of tasks: a task may be taken back
/// and given to the same worker again, and its first message must not pass for the second.
#[derive(Clone)]
pub(super) struct Offers {
    words: Place,
}

impl Offers {
    /// Makes the offers of this many workers.
    pub(super) fn of_workers(workers: usize) -> Result<Vec<Self>, Errno> {
        let each = MOST * WORD;
        let bytes = workers.checked_mul(each).and_then(NonZeroUsize::new).ok_or(Errno::ENOMEM)?;
        let all = Place::whole(&Mapping::nameless(bytes)?);
        Ok((0..workers).map(|worker| Self { words: all.part(worker * each, each) }).collect())
    }

    /// Notes that the task of a message is offered. The dispatcher calls this before it sends the
    /// message. Returns true if there was room.
    pub(super) fn make(&self, message: u64) -> bool {
        self.replace(FREE, message)
    }

    /// Claims the task of a message. Returns true if it was still offered.
    pub(super) fn claim(&self, message: u64) -> bool {
        self.replace(message, FREE)
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        // Only the order of changes of one word matters: the task itself comes through a socket.
        let replaced = |index| {
            word(&self.words, index)
                .compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        (0..MOST).any(replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_claimed_once_and_by_one_of_several() {
        let [first, second] =
            <[_; 2]>::try_from(Offers::of_workers(2).unwrap()).unwrap_or_else(|_| panic!());
        assert!((1..=MOST as u64).all(|message| first.make(message)));
        assert!(!first.make(99) && second.make(99), "each worker has its own room, and no more");
        assert!(!first.claim(99) && second.claim(99) && !second.claim(99));

        let claimed_by_all: usize = std::thread::scope(|scope| {
            let claim_all = || (1..=MOST as u64).filter(|&message| first.claim(message)).count();
            let threads = [(); 4].map(|()| scope.spawn(claim_all));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(claimed_by_all, MOST);
        assert!(first.make(99), "its room is free again");
    }
}
