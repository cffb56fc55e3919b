//! How far a worker is with its messages, in memory that the dispatcher and the worker share.

use std::num::NonZeroUsize;

use nix::errno::Errno;

use crate::memory::cell::{WORD, word};
use crate::sys::atomic::Ordering;
use crate::sys::mapping::{Mapping, Place};
use crate::sys::namespaces::Namespaces;

/// Word with the number of the last settled message: its task has begun or was taken back.
const SETTLED: usize = 0;
/// Word with the time at which the last task may have begun, in milliseconds of the monotonic
/// clock.
const BEGAN: usize = 1;
/// Bytes of both words.
const BYTES: NonZeroUsize = NonZeroUsize::new(2 * WORD).unwrap();

/// The progress of one worker. The dispatcher numbers its messages to a worker from 1, each carries
/// one task, and the worker takes them in order.
///
/// One word, which only grows, decides if a task has begun. The worker raises it to the
/// number of a message and thereby begins its task. The dispatcher raises it to the number of the
/// last message and thereby takes back every task that has not begun. So the dispatcher knows of
/// each task whether it has begun, even if the worker is killed or stopped.
#[derive(Clone)]
pub(super) struct Progress(Place);

impl Progress {
    /// Returns the progress of a worker that has not received a message yet.
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self(Place::whole(&Mapping::nameless(BYTES, Namespaces::UNKNOWN)?)))
    }

    /// Begins the task of a message, at this time. Returns false if it was taken back. The worker
    /// does this for each message that it receives.
    pub(super) fn begin(&self, message: u64, now: u64) -> bool {
        word(&self.0, BEGAN).store(now, Ordering::Relaxed);
        // Release: a dispatcher that sees this number also sees the time above. The task itself
        // travels through a socket.
        word(&self.0, SETTLED).fetch_max(message, Ordering::Release) < message
    }

    /// Takes back the tasks of all messages up to this one that have not begun. Returns the number
    /// of the last message whose task has begun or was taken back before.
    pub(super) fn take_back(&self, last_sent: u64) -> u64 {
        word(&self.0, SETTLED).fetch_max(last_sent, Ordering::Acquire)
    }

    /// Returns the number of the last message whose task has begun or was taken back.
    pub(super) fn settled(&self) -> u64 {
        word(&self.0, SETTLED).load(Ordering::Acquire)
    }

    /// Returns when the last task began. Read after [`settled`](Self::settled), it is not earlier
    /// than the beginning of a task that had begun by then.
    pub(super) fn began(&self) -> u64 {
        word(&self.0, BEGAN).load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_begun_or_is_taken_back_and_never_both() {
        let progress = Progress::new().unwrap();
        assert!(progress.begin(1, 70));
        assert_eq!((progress.settled(), progress.began()), (1, 70));
        assert_eq!(progress.take_back(4), 1);
        assert!((2..=4).all(|message| !progress.begin(message, 72)));
        assert!(progress.begin(5, 73), "messages after those that were taken back");
        assert_eq!((progress.take_back(5), progress.began()), (5, 73));
    }
}
