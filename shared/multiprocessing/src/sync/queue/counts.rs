//! The numbers of a queue, and how many of its tasks each process has in progress.

use std::fmt;

use crate::memory::element::Shareable;
use crate::sync::participant::{Identity, Row};
use crate::sync::record::{Full, Head, State};

/// The numbers of a queue, as the page in `layout` lists them. In a joinable one the count of a row
/// is the number of tasks that a process has in progress. A plain one has no rows, and nothing is
/// ever finished.
#[derive(Clone, Copy, Shareable)]
#[repr(C)]
pub(super) struct Counts {
    /// Number of elements of a message.
    pub(super) message: u64,
    /// Messages put so far, and taken so far.
    pub(super) put: u64,
    pub(super) taken: u64,
    /// Number of tasks finished so far, done or lost.
    finished: u64,
    /// Number of these that were lost.
    pub(super) lost: u32,
    /// Number of times that the last unfinished task was finished. A join detects its end by this
    /// number, even if more messages were put since.
    pub(super) rounds: u32,
    /// The sleepers, and whether the queue is closed. It is one number, because a word that was
    /// changed in part is slow to read as a whole.
    waits: u64,
}

impl Head for Counts {}

/// Most sleepers of a [`Side`] that `waits` counts, in its lowest bits or above them. Further ones
/// detect changes by themselves.
const MOST_ASLEEP: u64 = 0xffff;
/// The bit of `waits` that is set once the queue is closed.
const CLOSED: u64 = 1 << 32;
/// The bit of `waits` that is set while a process may be sleeping until all tasks are finished.
const JOINED: u64 = 1 << 33;

/// What a process does with the queue, and the kind of sleeper that it is.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Put = 0,
    Get = 1,
}

/// The kind of sleeper that waits until all tasks are finished.
pub(super) const JOINS: u32 = 1 << 2;

/// The kinds of sleepers that a close wakes.
pub(super) const BOTH_SIDES: u32 = 1 << Side::Put as u32 | 1 << Side::Get as u32;

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Put => Self::Get,
            Self::Get => Self::Put,
        }
    }

    pub(super) fn bits(self) -> u32 {
        1 << self as u32
    }

    /// Returns the lowest bit of the count of this side in `waits`.
    fn shift(self) -> u32 {
        MOST_ASLEEP.count_ones() * self as u32
    }
}

impl Counts {
    pub(super) fn waiting(&self) -> u64 {
        self.put.wrapping_sub(self.taken)
    }

    pub(super) fn unfinished(&self) -> u64 {
        self.put.wrapping_sub(self.finished)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waits & CLOSED != 0
    }

    /// Only joins sleep at a closed queue.
    pub(super) fn close(&mut self) {
        self.waits = self.waits & JOINED | CLOSED;
    }

    /// Returns true if a process need not wait: it can proceed, or never will be able to.
    pub(super) fn has_an_answer(&self, side: Side, capacity: u64) -> bool {
        let finds = match side {
            Side::Put => self.waiting() < capacity,
            Side::Get => self.waiting() > 0,
        };
        finds || self.is_closed()
    }

    /// Returns how many processes of a side sleep and were not woken since. It is never too low for
    /// living ones, unless a process was killed between counting one out and waking it. It is too
    /// high if sleepers are gone, which costs a needless wake-up.
    pub(super) fn asleep(&self, side: Side) -> u64 {
        self.waits >> side.shift() & MOST_ASLEEP
    }

    pub(super) fn count_in(&mut self, side: Side) {
        if self.asleep(side) < MOST_ASLEEP {
            self.waits += 1 << side.shift();
        }
    }

    /// Counts out one sleeper. Returns true if there was one.
    pub(super) fn count_out(&mut self, side: Side) -> bool {
        let any = self.asleep(side) > 0;
        if any {
            self.waits -= 1 << side.shift();
        }
        any
    }

    /// Returns true if the process that finishes the last task will wake sleepers.
    pub(super) fn is_joined(&self) -> bool {
        self.waits & JOINED != 0
    }

    /// Asks the process that finishes the last task to wake sleepers, if a task is unfinished.
    pub(super) fn join(&mut self) {
        if self.unfinished() > 0 {
            self.waits |= JOINED;
        }
    }

    /// Counts tasks as finished. Returns true if sleepers must be woken because all tasks are
    /// finished.
    fn finish(&mut self, tasks: u64, lost: u64) -> bool {
        self.finished = self.finished.wrapping_add(tasks);
        self.lost = self.lost.saturating_add(u32::try_from(lost).unwrap_or(u32::MAX));
        if self.unfinished() > 0 {
            return false;
        }
        self.rounds = self.rounds.wrapping_add(1);
        let joined = self.is_joined();
        self.waits &= !JOINED;
        joined
    }
}

impl State<Counts> {
    /// Records that a process has one more task in progress.
    pub(super) fn hand_to(&mut self, who: Identity) -> Result<(), Full> {
        match self.row(who) {
            Some(row) => row.count = row.count.saturating_add(1),
            None => self.insert(Row { who, count: 1, mark: 0 })?,
        }
        Ok(())
    }

    /// Records that a task of a process is done or lost. Returns true if sleepers must be woken
    /// because all are finished.
    pub(super) fn put_down(&mut self, who: Identity, lost: bool) -> bool {
        let Some(row) = self.row(who) else { return false };
        row.count = row.count.saturating_sub(1);
        self.keep(|row| row.count > 0);
        self.head.finish(1, u64::from(lost))
    }

    /// Counts the tasks of dead processes as lost. Returns true if sleepers must be woken because
    /// all are finished.
    pub(super) fn remove_dead(&mut self, dead: &[Identity]) -> bool {
        let removed = self.remove(|row| dead.contains(&row.who));
        let lost = removed.iter().fold(0, |sum: u64, row| sum.saturating_add(row.count));
        lost > 0 && self.head.finish(lost, lost)
    }
}

/// The state of a queue and its capacity.
pub(super) struct Standing(pub(super) State<Counts>, pub(super) u64);

impl fmt::Display for Standing {
    /// `3 of 16 messages, closed, 2 held by 4711 (1 lost)`, without what does not apply.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(state, capacity) = self;
        let counts = &state.head;
        write!(f, "{} of {capacity} messages", counts.waiting())?;
        if counts.is_closed() {
            f.write_str(", closed")?;
        }
        for row in state.rows() {
            write!(f, ", {} held by {}", row.count, row.who.pid())?;
        }
        match counts.lost {
            0 => Ok(()),
            lost => write!(f, " ({lost} lost)"),
        }
    }
}
