//! The rounds of a barrier: who has come, who has to, and how a round ended for those who slept through its end.

use super::broken::BreakCause;
use crate::memory::element::Shareable;
use crate::sync::participant::{Identity, Row};
use crate::sync::record::{Full, Head, State};

/// The numbers of a barrier, as the table in `layout` lists them.
#[derive(Clone, Copy, Shareable)]
#[repr(C)]
pub(super) struct Rounds {
    parties: u64,
    /// How many have come for this round. All of them, while the action runs.
    arrived: u64,
    /// Rounds begun so far, those that broke included: what a sleeper knows its round by.
    generation: u64,
    /// Rounds completed so far: what a party's row is marked with.
    rounds: u64,
    /// How often it broke.
    breaks: u64,
    /// The generation that the last break ended.
    last_break: u64,
    /// Why it broke last, and [`BROKEN`] while it is.
    cause: u64,
}

impl Head for Rounds {}

/// The bit of the cause that says that the barrier is broken now. Without it a reset has mended it.
const BROKEN: u64 = 1 << 63;

/// What somebody who comes gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) index: usize,
    generation: u64,
    breaks: u64,
}

/// What coming to a barrier leads to.
pub(super) enum Entry {
    /// It is broken.
    Broken(BreakCause),
    /// One of those who wait.
    Waits(Ticket),
    /// The last one.
    Last(Ticket),
    /// None of this round: all have come, and the action runs. The ticket is for waiting until that is over.
    TooMany(Ticket),
}

/// How the round of a ticket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Waiting,
    Completed,
    Broken(BreakCause),
}

impl Rounds {
    pub(super) fn parties(&self) -> usize {
        self.parties as usize
    }

    pub(super) fn arrived(&self) -> usize {
        self.arrived as usize
    }

    /// Why it is broken, if it is.
    pub(super) fn broken(&self) -> Option<BreakCause> {
        (self.cause & BROKEN != 0).then(|| BreakCause::from_code(self.cause))
    }

    fn ticket(&self) -> Ticket {
        Ticket { index: self.arrived(), generation: self.generation, breaks: self.breaks }
    }

    pub(super) fn outcome(&self, ticket: Ticket) -> Outcome {
        if self.generation == ticket.generation {
            return Outcome::Waiting;
        }
        // The one break since was in a later round. Had there been two, nothing would be known of the first, and somebody who
        // slept through both is told of the second.
        let broke_later = self.breaks == ticket.breaks + 1 && self.last_break != ticket.generation;
        if self.breaks == ticket.breaks || broke_later {
            Outcome::Completed
        } else {
            Outcome::Broken(BreakCause::from_code(self.cause))
        }
    }
}

impl State<Rounds> {
    /// Lets somebody in. The last one completes the round, if that shall be done `at_once`.
    pub(super) fn enter(&mut self, own: Identity, at_once: bool) -> Result<Entry, Full> {
        if let Some(cause) = self.head.broken() {
            return Ok(Entry::Broken(cause));
        }
        let ticket = self.head.ticket();
        if self.head.arrived == self.head.parties {
            return Ok(Entry::TooMany(ticket));
        }
        self.enrol(own)?;
        self.head.arrived += 1;
        if self.head.arrived < self.head.parties {
            return Ok(Entry::Waits(ticket));
        }
        if at_once {
            self.complete();
        }
        Ok(Entry::Last(ticket))
    }

    /// Writes down a process as a party of this round.
    pub(super) fn enrol(&mut self, party: Identity) -> Result<(), Full> {
        let rounds = self.head.rounds;
        if let Some(row) = self.row(party) {
            row.mark = rounds;
            return Ok(());
        }
        let row = Row { who: party, count: 0, mark: rounds };
        self.insert(row).or_else(|Full| {
            self.remove(|row| !is_party(row, rounds));
            self.insert(row)
        })
    }

    pub(super) fn complete(&mut self) {
        self.head.rounds += 1;
        self.next_generation();
    }

    fn next_generation(&mut self) {
        self.head.generation += 1;
        self.head.arrived = 0;
    }

    /// Breaks the barrier, unless it is broken: what broke it first counts.
    pub(super) fn break_by(&mut self, cause: BreakCause) {
        if self.head.broken().is_none() {
            self.head.cause = cause.code() | BROKEN;
            self.head.breaks += 1;
            self.head.last_break = self.head.generation;
            self.next_generation();
        }
    }

    pub(super) fn reset(&mut self, dead: &[Identity]) {
        self.remove(|row| dead.contains(&row.who));
        if self.head.arrived > 0 {
            self.break_by(BreakCause::Reset);
        }
        self.head.cause &= !BROKEN;
    }

    /// Forgets dead processes; breaks the barrier if one of them was a party. Whether it was.
    pub(super) fn remove_dead(&mut self, dead: &[Identity]) -> bool {
        let rounds = self.head.rounds;
        let gone = self.remove(|row| dead.contains(&row.who));
        let party = gone.iter().find(|row| is_party(row, rounds));
        if let Some(party) = party {
            self.break_by(BreakCause::PartyDied(party.who.pid()));
        }
        party.is_some()
    }

    /// Forgets a process that ends in order.
    pub(super) fn leave(&mut self, party: Identity) {
        self.remove(|row| row.who == party);
    }
}

/// Whether the round that has the number `rounds` waits for the process of this row: it came to it, or to the one before.
fn is_party(row: &Row, rounds: u64) -> bool {
    row.mark + 1 >= rounds
}
