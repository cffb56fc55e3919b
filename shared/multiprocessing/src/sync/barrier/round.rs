//! The rounds of a barrier: which parties have arrived, which are missing, and how a round ended
//! for parties that were asleep at its end.

use super::broken::BreakCause;
use crate::memory::element::Shareable;
use crate::sync::participant::{Identity, Row};
use crate::sync::record::{Full, Head, State};

/// The numbers of a barrier, as the page in `layout` lists them.
#[derive(Clone, Copy, Shareable)]
#[repr(C)]
pub(super) struct Rounds {
    parties: u64,
    /// Number of parties that have arrived in this round. While the action runs, that is all of
    /// them.
    arrived: u64,
    /// Number of rounds begun so far, broken ones included. A sleeper identifies its round by this.
    generation: u64,
    /// Number of rounds completed so far. The row of a party is marked with this.
    rounds: u64,
    /// Number of breaks.
    breaks: u64,
    /// The generation that the last break ended.
    last_break: u64,
    /// The cause of the last break, with [`BROKEN`] while it is broken.
    cause: u64,
}

impl Head for Rounds {}

/// The bit of the cause that is set while the barrier is broken. A reset clears it.
const BROKEN: u64 = 1 << 63;

/// The place of a process in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) index: usize,
    generation: u64,
    breaks: u64,
}

/// The outcome of arriving at a barrier.
pub(super) enum Entry {
    /// The barrier is broken.
    Broken(BreakCause),
    /// The process waits.
    Waits(Ticket),
    /// The process is the last one.
    Last(Ticket),
    /// All parties have arrived already and the action runs. With the ticket, the process waits
    /// until the action is over.
    TooMany(Ticket),
}

/// The state of the round of a ticket.
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

    /// Returns why it is broken, if it is.
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
        // True if the only break since the ticket was in a later round. After two breaks nothing is
        // known of the first one, and a process that slept through both gets the cause of the
        // second.
        let broke_later =
            self.breaks == ticket.breaks.wrapping_add(1) && self.last_break != ticket.generation;
        if self.breaks == ticket.breaks || broke_later {
            Outcome::Completed
        } else {
            Outcome::Broken(BreakCause::from_code(self.cause))
        }
    }
}

impl State<Rounds> {
    /// Records the arrival of a process. The last one completes the round if `at_once` is true.
    pub(super) fn enter(&mut self, own: Identity, at_once: bool) -> Result<Entry, Full> {
        if let Some(cause) = self.head.broken() {
            return Ok(Entry::Broken(cause));
        }
        let ticket = self.head.ticket();
        if self.head.arrived >= self.head.parties {
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

    /// Records a process as a party of this round.
    pub(super) fn enrol(&mut self, party: Identity) -> Result<(), Full> {
        let rounds = self.head.rounds;
        if let Some(row) = self.row(party) {
            // It may have been enrolled by its parent, which does not know what it executes.
            (row.who, row.mark) = (party, rounds);
            return Ok(());
        }
        let row = Row { who: party, count: 0, mark: rounds };
        self.insert(row).or_else(|Full| {
            self.keep(|row| is_party(row, rounds));
            self.insert(row)
        })
    }

    pub(super) fn complete(&mut self) {
        self.head.rounds = self.head.rounds.wrapping_add(1);
        self.next_generation();
    }

    fn next_generation(&mut self) {
        self.head.generation = self.head.generation.wrapping_add(1);
        self.head.arrived = 0;
    }

    /// Breaks the barrier, unless it is broken already: the first cause counts.
    pub(super) fn break_by(&mut self, cause: BreakCause) {
        if self.head.broken().is_none() {
            self.head.cause = cause.code() | BROKEN;
            self.head.breaks = self.head.breaks.wrapping_add(1);
            self.head.last_break = self.head.generation;
            self.next_generation();
        }
    }

    pub(super) fn reset(&mut self, dead: &[Identity]) {
        self.keep(|row| !dead.contains(&row.who));
        if self.head.arrived > 0 {
            self.break_by(BreakCause::Reset);
        }
        self.head.cause &= !BROKEN;
    }

    /// Removes dead processes, and breaks the barrier if one of them was a party. Returns true if
    /// it breaks.
    pub(super) fn remove_dead(&mut self, dead: &[Identity]) -> bool {
        let rounds = self.head.rounds;
        let gone = self.remove(|row| dead.contains(&row.who));
        let party = gone.iter().find(|row| is_party(row, rounds));
        if let Some(party) = party {
            self.break_by(BreakCause::PartyDied(party.who.pid()));
        }
        party.is_some()
    }

    /// Removes a process that leaves the barrier.
    pub(super) fn leave(&mut self, party: Identity) {
        self.keep(|row| row.who != party);
    }
}

/// Returns true if the round number `rounds` waits for the process of this row: it arrived in this
/// round or in the one before.
fn is_party(row: &Row, rounds: u64) -> bool {
    row.mark.saturating_add(1) >= rounds
}
