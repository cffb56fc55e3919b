//! A queue that knows which of its messages are done with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::counts::JOINS;
use super::error::QueueError;
use super::ring::{deadline, endless};
use super::task::Task;
use super::{Kind, Queue};
use crate::memory::element::Shareable;
use crate::sync::lock::LockFailure;
use crate::sync::participant::Identity;
use crate::sync::record::Full;
use crate::sys::deadline::Deadline;

/// A [`Queue`](crate::Queue) of tasks: whoever takes one says when it is done, and others wait until all are, as with Python's
/// `multiprocessing.JoinableQueue`.
///
/// | Python | here |
/// |---|---|
/// | `queue = JoinableQueue(16)` | `Plan::new().joinable_queue::<u64>("queue", 16)`, `segment.joinable_queue::<u64>("queue")?` |
/// | `item = queue.get()` ... `queue.task_done()` | `let task = queue.get()?;` until it is dropped: a [`Task`] |
/// | `task_done()` once too often: `ValueError` | cannot be written |
/// | `queue.join()` | `queue.join()?`, or for a limited time `queue.join_timeout(secs)?` |
/// | all else | as a [`Queue`](crate::Queue) |
///
/// The queue writes down which process has how many tasks in hand, in the same store by which they are taken. When a process is
/// killed
///
/// * with tasks in hand, or taking one, or saying that one is done: each is still in the queue, or done, or *lost*. Nobody gets a
///   lost one again, for it may be half done. Whoever joins finds out within a fifth of a second, does not wait for it, and is
///   told: [`QueueError::Lost`];
/// * while it joins: nobody is hindered;
/// * in any other call: as with a [`Queue`](crate::Queue).
///
/// A queue does not know who ought to take what is left in it: where those may all be killed, join with a timeout. And who joins
/// with a task in its own hand waits for itself. The handle can be cloned and is inherited by forked children.
pub type JoinableQueue<T> = Queue<T, Joinable>;

/// A taken message is a [`Task`], and joins wait until all tasks are done.
#[derive(Default)]
pub struct Joinable {
    /// How many lost tasks the joins by this handle have reported.
    reported: AtomicU32,
}

impl Kind for Joinable {
    const NAME: &'static str = "JoinableQueue";
    const HAS_ROWS: bool = true;
}

impl Clone for Joinable {
    /// From here on the joins by either handle report what is lost.
    fn clone(&self) -> Self {
        Self { reported: AtomicU32::new(self.reported.load(Ordering::Relaxed)) }
    }
}

impl<T: Shareable> JoinableQueue<T> {
    /// Takes the first message; waits for one, however long that takes.
    ///
    /// # Errors
    /// [`QueueError::Closed`] when the queue is closed, or is closed meanwhile, and nothing is left in it,
    /// [`QueueError::TooManyHolders`], or what the system says.
    pub fn get(&self) -> Result<Task<T>, QueueError> {
        endless(self.get_within(None)?)
    }

    /// Takes the first message; `None` when there is none now.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn try_get(&self) -> Result<Option<Task<T>>, QueueError> {
        self.get_timeout(Duration::ZERO)
    }

    /// Takes the first message; waits for one at most this long. `None` when the time is over.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<Task<T>>, QueueError> {
        self.get_within(Some(timeout))
    }

    fn get_within(&self, timeout: Option<Duration>) -> Result<Option<Task<T>>, QueueError> {
        let deadline = deadline(timeout)?;
        let take = || {
            self.ring.get_until(deadline, |state, own| {
                // First its row: where there is no room for one, nothing may be taken.
                state.hand_to(own).map_err(|Full| QueueError::TooManyHolders)?;
                Ok((self.ring.take(&mut state.head), own))
            })
        };
        let taken = match take() {
            // Some of those who are written down may be dead.
            Err(QueueError::TooManyHolders) => {
                self.remove_dead(&self.ring.record.dead())?;
                take()
            }
            outcome => outcome,
        };
        let task = |(message, own)| Task::new(Arc::clone(&self.ring.record), message, own);
        taken.map(|taken| taken.map(task))
    }

    /// Waits until every message that was put is done with, or was so at one moment since; however long that takes.
    ///
    /// # Errors
    /// [`QueueError::Lost`] when the wait is over but tasks were lost. The joins by one handle tell of each once, so that the next
    /// one tells of later ones only; those by a new handle begin with all there were. Or what the system says.
    pub fn join(&self) -> Result<(), QueueError> {
        self.join_until(Deadline::NEVER).map(drop)
    }

    /// As [`join`](Self::join), at most this long. Whether all was done; `false` when the time is over.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, QueueError> {
        self.join_until(deadline(Some(timeout))?)
    }

    fn join_until(&self, deadline: Deadline) -> Result<bool, QueueError> {
        let record = &self.ring.record;
        let rounds = record.head().rounds;
        loop {
            self.remove_dead(&record.look_for_dead()?)?;
            // Asks for no lock, for those who work need it: only to be called, and then sleeps.
            let seen = record.announcements();
            let counts = record.head();
            if counts.unfinished() == 0 || counts.rounds != rounds {
                return self.report_lost(counts.lost);
            }
            if deadline.has_passed().map_err(LockFailure::from)? {
                return Ok(false);
            }
            if counts.is_joined() {
                record.sleep(seen, deadline, JOINS)?;
            } else {
                record.update(|state| state.head.join())?;
            }
        }
    }

    /// What a join comes to when so many tasks were lost so far.
    fn report_lost(&self, lost: u32) -> Result<bool, QueueError> {
        match lost.saturating_sub(self.kind.reported.fetch_max(lost, Ordering::Relaxed)) {
            0 => Ok(true),
            tasks => Err(QueueError::Lost { tasks: tasks.into() }),
        }
    }

    /// Counts what the dead had in hand as lost.
    fn remove_dead(&self, dead: &[Identity]) -> Result<(), LockFailure> {
        if !dead.is_empty() && self.ring.record.update(|state| state.remove_dead(dead))? {
            self.ring.record.announce(u64::MAX, JOINS);
        }
        Ok(())
    }

    /// How many messages were put and are not done with at this moment: those that wait to be taken, and those in somebody's hand.
    /// What dead processes had in hand is counted as lost once somebody has noticed the death.
    pub fn unfinished(&self) -> usize {
        self.ring.record.head().unfinished() as usize
    }

    /// How many tasks were lost so far, as far as anybody has noticed.
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

    /// What a join comes to that already waits while something happens to the queue.
    fn joined_while(
        queue: &JoinableQueue<u64>,
        happens: impl FnOnce(),
    ) -> Result<bool, QueueError> {
        let begun = Instant::now();
        let outcome = thread::scope(|scope| {
            let joining = scope.spawn(|| queue.join_timeout(LIMIT));
            while !queue.ring.record.head().is_joined() {
                thread::yield_now();
            }
            happens();
            joining.join().unwrap()
        });
        assert!(begun.elapsed() < LIMIT / 3);
        outcome
    }

    #[test]
    fn who_joins_finds_out_that_all_is_done_also_when_nobody_calls() {
        let (_segment, queue) = queue("uncalled");
        queue.put(1).unwrap();
        let task = queue.get().unwrap();
        let outcome = joined_while(&queue, || {
            // As one does it that is killed before it calls.
            let finished = queue.ring.record.update_as(|state, own| state.put_down(own, false));
            assert_eq!(finished, Ok(true));
        });
        assert_eq!((outcome, queue.unfinished()), (Ok(true), 0));
        // It was put down already: it is not done a second time.
        drop(task);
        assert_eq!((queue.unfinished(), queue.lost()), (0, 0));
    }

    #[test]
    fn who_joins_goes_on_when_all_was_done_for_a_moment() {
        let (_segment, queue) = queue("moment");
        queue.put(1).unwrap();
        let task = queue.get().unwrap();
        let outcome = joined_while(&queue, || {
            // In one commit, so that nobody can see the moment.
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
    fn a_lost_task_is_told_once_by_every_handle() {
        let (segment, queue) = queue("told");
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
    fn numbers_that_lie_end_no_process() {
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
