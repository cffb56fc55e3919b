//! A queue that tracks which of its messages are done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::error::QueueError;
use super::iter::messages;
use super::task::Task;
use super::waits::{JOINS, Numbers, deadline};
use super::{Kind, Queue, endless};
use crate::memory::element::Shareable;
use crate::sync::lock::LockFailure;
use crate::sync::participant::Identity;
use crate::sync::record::Full;
use crate::sys::deadline::Deadline;

/// A [`Queue`] of tasks. A taker marks each as done, and other processes wait until
/// all are, as with Python's `multiprocessing.JoinableQueue`.
///
/// | Python | here |
/// |---|---|
/// | `queue = JoinableQueue(16)` | `Plan::new().joinable_queue::<u64>("queue", 16)`, |
/// | | `segment.joinable_queue::<u64>("queue")?` |
/// | `item = queue.get()` | `let task = queue.get()?;`, a [`Task`] |
/// | `queue.task_done()` | `drop(task)` |
/// | `task_done()` too often: `ValueError` | cannot be written |
/// | `queue.join()` | `queue.join()?`, or `queue.join_timeout(secs)?` |
/// | all else | as a [`Queue`] |
///
/// The queue records how many tasks each process has in progress. Taking a task and recording it is
/// one commit. When a process is killed
///
/// * with tasks in progress, or taking one, or marking one as done: each is still in the queue, or
///   done, or *lost*. No process gets a lost task again, because it may be half done. A join
///   detects the loss within 200 ms, does not wait for the task, and returns [`QueueError::Lost`];
/// * while it joins: other processes continue;
/// * in any other call: the same as for a [`Queue`].
///
/// A queue does not know which processes are expected to take its tasks. A join waits for tasks
/// that no living process takes. A put on a full queue, or a get from an empty one, whose other
/// side is dead waits as with a [`Queue`]. If those processes may be killed, use the timed forms. A
/// process that joins while it has a task in progress waits for itself. The handle can be cloned
/// and is inherited by forked children.
pub type JoinableQueue<T> = Queue<T, Joinable>;

/// The kind of a joinable queue: a taken message is a [`Task`], and joins wait until all tasks are
/// done.
#[derive(Default)]
pub struct Joinable {
    /// How many lost tasks the joins through this handle have reported.
    reported: AtomicU32,
}

impl Kind for Joinable {
    const NAME: &'static str = "JoinableQueue";
    const HAS_ROWS: bool = true;
}

impl Clone for Joinable {
    /// Each handle reports the tasks that are lost from now on.
    fn clone(&self) -> Self {
        Self { reported: AtomicU32::new(self.reported.load(Ordering::Relaxed)) }
    }
}

impl<T: Shareable> JoinableQueue<T> {
    /// Takes the first message. Waits for one without a limit.
    ///
    /// # Errors
    /// [`QueueError::Closed`] if the queue is closed, even if that happens during the wait, and
    /// empty; [`QueueError::TooManyHolders`].
    pub fn get(&self) -> Result<Task<T>, QueueError> {
        endless(self.get_within(None)?)
    }

    /// Takes the first message. Returns `None` if there is none.
    pub fn try_get(&self) -> Result<Option<Task<T>>, QueueError> {
        self.get_timeout(Duration::ZERO)
    }

    /// Takes the first message. Waits for one at most this long. Returns `None` if the time is
    /// over.
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<Task<T>>, QueueError> {
        self.get_within(Some(timeout))
    }

    /// Takes tasks until the queue is closed and empty, as [`Queue::iter`] does for messages.
    pub fn iter(&self) -> impl Iterator<Item = Result<Task<T>, QueueError>> {
        messages(|| self.get_within(None))
    }

    /// Works like [`iter`](Self::iter), and also ends if no message came for this long.
    pub fn iter_timeout(
        &self,
        timeout: Duration,
    ) -> impl Iterator<Item = Result<Task<T>, QueueError>> {
        messages(move || self.get_within(Some(timeout)))
    }

    fn get_within(&self, timeout: Option<Duration>) -> Result<Option<Task<T>>, QueueError> {
        let own = Identity::own().map_err(LockFailure::from)?;
        let get = || {
            self.ring.get(timeout, |held, _| {
                held.update(|state| {
                    // The row comes first, because nothing may be taken without room for a row.
                    state.hand_to(own).map_err(|Full| QueueError::TooManyHolders)?;
                    state.head.taken = state.head.taken.wrapping_add(1);
                    Ok(())
                })
            })
        };
        let taken = match get() {
            // Some of the recorded processes may be dead.
            Err(QueueError::TooManyHolders) => {
                self.remove_dead(&self.ring.record.dead())?;
                get()
            }
            outcome => outcome,
        };
        let task = |message| Task::new(Arc::clone(&self.ring.record), message, own);
        taken.map(|taken| taken.map(task))
    }

    /// Waits without a limit until every message that was put is done. The wait also ends if all
    /// were done at some moment during the wait and more were put after that.
    ///
    /// # Errors
    /// [`QueueError::Lost`] if the wait is over but tasks were lost. The joins through one handle
    /// report each lost task once. The first join through a handle of [`Segment`](crate::Segment)
    /// reports all tasks lost so far.
    pub fn join(&self) -> Result<(), QueueError> {
        self.join_until(Deadline::NEVER).map(drop)
    }

    /// Works like [`join`](Self::join), but waits at most this long. Returns true if everything was
    /// done, and false if the time is over.
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, QueueError> {
        self.join_until(deadline(Some(timeout))?)
    }

    fn join_until(&self, deadline: Deadline) -> Result<bool, QueueError> {
        let record = &self.ring.record;
        let rounds = record.head().rounds;
        loop {
            self.remove_dead(&record.look_for_dead()?)?;
            // Takes the lock only to request a wake-up, and then sleeps, because the workers need
            // the lock.
            let seen = record.announcements();
            let counts = record.head();
            if counts.unfinished() == 0 || counts.rounds != rounds {
                return self.report_lost(counts.lost);
            }
            if deadline.has_passed().map_err(LockFailure::from)? {
                return Ok(false);
            }
            if counts.waits().is_joined() {
                record.sleep(seen, deadline, JOINS)?;
            } else {
                record.update(|state| state.head.join())?;
            }
        }
    }

    /// Returns the outcome of a join if this many tasks were lost so far.
    fn report_lost(&self, lost: u32) -> Result<bool, QueueError> {
        match lost.saturating_sub(self.kind.reported.fetch_max(lost, Ordering::Relaxed)) {
            0 => Ok(true),
            tasks => Err(QueueError::Lost { tasks: tasks.into() }),
        }
    }

    /// Counts the tasks of dead processes as lost.
    fn remove_dead(&self, dead: &[Identity]) -> Result<(), LockFailure> {
        if !dead.is_empty() && self.ring.record.update(|state| state.remove_dead(dead))? {
            self.ring.record.announce(u64::MAX, JOINS);
        }
        Ok(())
    }

    /// Returns how many messages were put and are not done at this moment: those in the queue and
    /// tasks in progress. Tasks of dead processes count as lost once another process has noticed
    /// the death.
    pub fn unfinished(&self) -> usize {
        self.ring.record.head().unfinished() as usize
    }

    /// Returns how many tasks were lost so far. A death counts once a process has noticed it.
    pub fn lost(&self) -> u64 {
        self.ring.record.head().lost.into()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::{Plan, Segment, SegmentName};

    fn queue(test: &str) -> (Segment, JoinableQueue<u64>) {
        let name =
            SegmentName::new(&format!("mp-unit.joinable.{test}.{}", std::process::id())).unwrap();
        let segment =
            Segment::create(&name, &Plan::new().joinable_queue::<u64>("queue", 2)).unwrap();
        let queue = segment.joinable_queue("queue").unwrap();
        (segment, queue)
    }

    /// Longer than any wait here lasts.
    const LIMIT: Duration = Duration::from_secs(30);

    /// Returns the result of a join that already waits while something happens to the queue.
    fn joined_while(
        queue: &JoinableQueue<u64>,
        happens: impl FnOnce(),
    ) -> Result<bool, QueueError> {
        let begun = Instant::now();
        let outcome = thread::scope(|scope| {
            let joining = scope.spawn(|| queue.join_timeout(LIMIT));
            while !queue.ring.record.head().waits().is_joined() {
                thread::yield_now();
            }
            happens();
            joining.join().unwrap()
        });
        assert!(begun.elapsed() < LIMIT / 3);
        outcome
    }

    #[test]
    fn a_join_detects_that_all_is_done_even_without_a_wake_up() {
        let (_segment, queue) = queue("uncalled");
        queue.put(1).unwrap();
        let task = queue.get().unwrap();
        let outcome = joined_while(&queue, || {
            // This is what a process does that is killed before it wakes the sleepers.
            let finished = queue.ring.record.update_as(|state, own| state.put_down(own, false));
            assert_eq!(finished, Ok(true));
        });
        assert_eq!((outcome, queue.unfinished()), (Ok(true), 0));
        // The task was counted as finished above, so this drop must not count it again.
        drop(task);
        assert_eq!((queue.unfinished(), queue.lost()), (0, 0));
    }

    #[test]
    fn a_join_ends_if_all_was_done_for_a_moment() {
        let (_segment, queue) = queue("moment");
        queue.put(1).unwrap();
        let task = queue.get().unwrap();
        let outcome = joined_while(&queue, || {
            // In one commit, so that no process can see the state in between.
            let finished = queue.ring.record.update_as(|state, own| {
                let finished = state.put_down(own, false);
                state.head.put += 1;
                finished
            });
            assert_eq!(finished, Ok(true));
        });
        assert_eq!((outcome, queue.unfinished()), (Ok(true), 1));
        drop(task);
        assert_eq!(queue.join_timeout(Duration::ZERO), Ok(false));
    }

    #[test]
    fn every_handle_reports_a_lost_task_once() {
        let (segment, queue) = queue("reported");
        let lose = || {
            queue.put(7).unwrap();
            let task = queue.get().unwrap();
            queue.ring.record.update_as(|state, own| state.put_down(own, true)).unwrap();
            drop(task);
        };
        let lost = |tasks| Err(QueueError::Lost { tasks });
        let twice =
            |queue: &JoinableQueue<u64>| [queue.join_timeout(LIMIT), queue.join_timeout(LIMIT)];
        let before = queue.clone();
        lose();
        lose();
        assert_eq!(twice(&queue), [lost(2), Ok(true)]);
        let after = queue.clone();
        lose();
        assert_eq!(twice(&queue), [lost(1), Ok(true)]);
        assert_eq!(twice(&before), [lost(3), Ok(true)]);
        assert_eq!(twice(&after), [lost(1), Ok(true)]);
        assert_eq!(twice(&segment.joinable_queue("queue").unwrap()), [lost(3), Ok(true)]);
        assert_eq!(queue.lost(), 3);
    }

    #[test]
    fn corrupt_numbers_end_no_process() {
        let (_segment, queue) = queue("lies");
        queue.put(1).unwrap();
        let task = queue.get().unwrap();
        let lie = |count| {
            queue.ring.record.update_as(|state, own| state.row(own).map(|row| row.count = count))
        };
        lie(u64::MAX).unwrap();
        queue.put(2).unwrap();
        drop(queue.get().unwrap());
        lie(0).unwrap();
        drop(task);
        assert_eq!((queue.unfinished(), queue.join_timeout(LIMIT)), (0, Ok(true)));
        let dead = queue.ring.record.update_as(|state, own| {
            state.hand_to(own)?;
            state.row(own).into_iter().for_each(|row| row.count = u64::MAX);
            Ok::<_, Full>(own)
        });
        queue.remove_dead(&[dead.unwrap().unwrap()]).unwrap();
        assert_eq!(queue.lost(), u32::MAX.into());
    }
}
