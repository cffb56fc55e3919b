//! The numbers of a queue, and how many of its tasks each process has in progress.

use std::fmt;
use std::mem::offset_of;

use super::waits::{Numbers, WAITS, Waits};
use crate::memory::cell::WORD;
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
    /// [`Waits`]
    pub(super) waits: u64,
}

/// The index of the messages put, which a put changes alone.
pub(super) const PUT: usize = 1;
/// The index of the messages taken, which a get of a plain queue changes alone.
pub(super) const TAKEN: usize = 2;

impl Head for Counts {
    /// Taken messages are compared with those put.
    const STEADY: Option<usize> = Some(TAKEN);
}

impl Numbers for Counts {
    fn waits(&self) -> Waits {
        Waits::of(self.waits)
    }
}

const _: () = assert!(
    offset_of!(Counts, put) == PUT * WORD
        && offset_of!(Counts, taken) == TAKEN * WORD
        && offset_of!(Counts, waits) == WAITS * WORD
);

impl Counts {
    pub(super) fn waiting(&self) -> u64 {
        self.put.wrapping_sub(self.taken)
    }

    pub(super) fn unfinished(&self) -> u64 {
        self.put.wrapping_sub(self.finished)
    }

    /// Asks the process that finishes the last task to wake sleepers, if a task is unfinished.
    pub(super) fn join(&mut self) {
        if self.unfinished() > 0 {
            self.waits = self.waits().with_join(true).number();
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
        let waits = self.waits();
        self.waits = waits.with_join(false).number();
        waits.is_joined()
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
        if counts.waits().is_closed() {
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
