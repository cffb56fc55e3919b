//! How far a worker is with its messages, in memory that the dispatcher and the worker share.

use std::num::NonZeroUsize;

use nix::errno::Errno;

use crate::memory::cell::word;
use crate::sys::atomic::Ordering;
use crate::sys::mapping::{Mapping, Place};
use crate::sys::namespaces::Namespaces;

/// Bytes per worker: one cache line, which no other worker uses.
const ROW_BYTES: usize = 64;
/// Word with the number of the last settled message: its task has begun or was taken back.
const SETTLED: usize = 0;
/// Word with the number of the last message that the worker has received.
const RECEIVED: usize = 1;
/// Word with the time at which the last task may have begun, in milliseconds of the monotonic
/// clock.
const BEGAN: usize = 2;

/// The progress of one worker. The dispatcher numbers its messages to a worker from 1, each carries
/// one task, and the worker takes them in order.
///
/// One word, which only grows, decides if a task has begun. The worker raises it to the
/// number of a message and thereby begins its task. The dispatcher raises it to the number of the
/// last message and thereby takes back every task that has not begun. So the dispatcher knows of
/// each task whether it has begun, even if the worker is killed or stopped.
#[derive(Clone)]
pub(super) struct Progress {
    row: Place,
}

impl Progress {
    /// Creates the rows of this many workers.
    pub(super) fn for_workers(workers: usize) -> Result<Vec<Self>, Errno> {
        let bytes = workers.checked_mul(ROW_BYTES).and_then(NonZeroUsize::new);
        let all =
            Place::whole(&Mapping::nameless(bytes.ok_or(Errno::ENOMEM)?, Namespaces::UNKNOWN)?);
        Ok((0..workers).map(|worker| Self::new(all.part(worker * ROW_BYTES, ROW_BYTES))).collect())
    }

    /// Returns the progress in this row, whose words are zero.
    pub(super) fn new(row: Place) -> Self {
        Self { row }
    }

    /// Resets the row for a new worker. The dispatcher does this while no worker uses the row.
    pub(super) fn reset(&self) {
        for index in [SETTLED, RECEIVED, BEGAN] {
            word(&self.row, index).store(0, Ordering::Relaxed);
        }
    }

    /// Begins the task of a message, at this time. Returns false if it was taken back. The worker
    /// does this for each message that it receives.
    pub(super) fn begin(&self, message: u64, now: u64) -> bool {
        word(&self.row, RECEIVED).store(message, Ordering::Relaxed);
        word(&self.row, BEGAN).store(now, Ordering::Relaxed);
        // Release: a dispatcher that sees this number also sees the time above. The task itself
        // travels through a socket.
        word(&self.row, SETTLED).fetch_max(message, Ordering::Release) < message
    }

    /// Takes back the tasks of all messages up to this one that have not begun. Returns the number
    /// of the last message whose task has begun or was taken back before.
    pub(super) fn take_back(&self, last_sent: u64) -> u64 {
        word(&self.row, SETTLED).fetch_max(last_sent, Ordering::Acquire)
    }

    /// Returns the number of the last message whose task has begun or was taken back.
    pub(super) fn settled(&self) -> u64 {
        word(&self.row, SETTLED).load(Ordering::Acquire)
    }

    /// Returns the number of the last message that the worker has received.
    pub(super) fn received(&self) -> u64 {
        word(&self.row, RECEIVED).load(Ordering::Relaxed)
    }

    /// Returns when the last task began. Read after [`settled`](Self::settled), it is not earlier
    /// than the beginning of a task that had begun by then.
    pub(super) fn began(&self) -> u64 {
        word(&self.row, BEGAN).load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_begun_or_is_taken_back_and_never_both() {
        let rows = Progress::for_workers(2).unwrap();
        assert!(rows[0].begin(1, 70) && rows[1].begin(1, 71), "each worker has its own row");
        assert_eq!((rows[0].settled(), rows[0].began(), rows[0].received()), (1, 70, 1));
        assert_eq!(rows[0].take_back(4), 1);
        assert!((2..=4).all(|message| !rows[0].begin(message, 72)));
        assert!(rows[0].begin(5, 73), "messages after those that were taken back");
        assert_eq!(rows[0].take_back(5), 5);
        assert!(rows[1].begin(2, 74));
        rows[0].reset();
        assert!(rows[0].begin(1, 75) && rows[0].settled() == 1);
    }
}
