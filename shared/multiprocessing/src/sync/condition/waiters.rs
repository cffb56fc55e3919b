//! The waiters of a condition: a line of tickets, and which of them were notified.

use std::fmt;

use crate::memory::element::Shareable;
use crate::sync::participant::{Identity, Row};
use crate::sync::record::{Full, Head, State};

/// The numbers of a condition, as the page in `layout` lists them. A row's mark is its ticket. Its
/// count is 0 while it waits, and the next ticket at that moment once it is notified. Rows are in
/// the order of their tickets.
#[derive(Clone, Copy, Shareable)]
#[repr(C)]
pub(super) struct Waiters {
    /// Number of tickets issued; the first one is 1.
    last_ticket: u64,
    passed_on: u64,
}

impl Head for Waiters {}

/// How many waiters were notified, and which kinds of sleepers they are.
#[derive(Clone, Copy, Default)]
pub(super) struct Given {
    pub(super) count: usize,
    pub(super) kinds: u32,
}

/// Returns the kind of sleeper for a ticket. There are 32 kinds, so waking one wakes few others.
pub(super) fn kind(ticket: u64) -> u32 {
    1 << (ticket % u64::from(u32::BITS))
}

impl Given {
    fn add(&mut self, row: &mut Row, next_ticket: u64) {
        row.count = next_ticket;
        self.count += 1;
        self.kinds |= kind(row.mark);
    }
}

impl State<Waiters> {
    pub(super) fn line_up(&mut self, own: Identity) -> Result<u64, Full> {
        let ticket = self.head.last_ticket.saturating_add(1);
        self.insert(Row { who: own, count: 0, mark: ticket })?;
        self.head.last_ticket = ticket;
        Ok(ticket)
    }

    pub(super) fn is_notified(&self, ticket: u64) -> bool {
        self.rows().iter().any(|row| row.mark == ticket && row.count > 0)
    }

    /// Removes a ticket from the line. Returns true if it was notified.
    pub(super) fn leave(&mut self, ticket: u64) -> bool {
        self.remove(|row| row.mark == ticket).iter().any(|row| row.count > 0)
    }

    /// Notifies this many waiters that are not yet notified, from the front of the line.
    pub(super) fn notify(&mut self, waiters: usize) -> Given {
        let next_ticket = self.head.last_ticket.saturating_add(1);
        let mut given = Given::default();
        for row in self.rows_mut().iter_mut().filter(|row| row.count == 0).take(waiters) {
            given.add(row, next_ticket);
        }
        given
    }

    /// Removes dead processes from the line. Each of their notifications goes to the next process
    /// that was waiting when it was given.
    pub(super) fn remove_dead(&mut self, dead: &[Identity]) -> Given {
        let removed = self.remove(|row| dead.contains(&row.who));
        let mut given = Given::default();
        for notified in removed.iter().filter(|row| row.count > 0) {
            let waited = |row: &&mut Row| row.count == 0 && row.mark < notified.count;
            if let Some(next_waiter) = self.rows_mut().iter_mut().find(waited) {
                given.add(next_waiter, notified.count);
            }
        }
        self.head.passed_on = self.head.passed_on.saturating_add(given.count as u64);
        given
    }
}

impl fmt::Display for State<Waiters> {
    /// `2 wait`, followed by the number of notifications passed on from dead processes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wait", self.rows().len())?;
        match self.head.passed_on {
            0 => Ok(()),
            passed_on => write!(f, " ({passed_on} notifications passed on from dead processes)"),
        }
    }
}
