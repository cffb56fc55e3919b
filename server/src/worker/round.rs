//! A round: the batches and finish marks of one pass of the event loop, and the ticket of each.
//!
//! The store of the central decides when a round is committed, and when its tickets may be
//! answered: see [`Store`](super::store::Store). A round goes on over the next passes until then. A
//! ticket names its connection instead of borrowing it, because the connection may be gone when the
//! answer is known.

use std::net::IpAddr;

use lottery::protocol::CentralCodec;
use lottery::{BatchKey, Bet, Prepared, is_winner, write_rows, write_winner_line};

use super::pace::Mark;
use super::request::Origin;
use super::table::Token;
use super::winners::Winners;
use crate::central::{Accepted, Rejected, SessionQuestion};
use crate::storage::{Group, Written};

/// The answer that a connection is due once its request is committed and published, or rejected.
#[derive(Debug)]
pub struct Ticket {
    /// The connection to answer.
    pub connection: Token,
    /// Address of its peer, for the log.
    pub ip: IpAddr,
    /// True if the request holds an in-flight mark, which its publication releases.
    pub in_flight: bool,
    /// True if the request is large.
    pub is_large: bool,
    /// What the answer and the log lines need of the request.
    pub request: Pending,
}

/// A request in a round.
#[derive(Debug)]
pub enum Pending {
    /// A batch.
    Batch {
        /// Bets in it.
        bets: usize,
        /// The winners among them.
        winners: Winners,
        /// The bet, if it is the only one and has a number.
        single: Option<Single>,
    },
    /// An agency asks for the number of the next batch of its session.
    Session,
    /// An agency asks for the winners so far.
    Results,
    /// An agency has finished.
    Finish,
    /// An agency has finished and asks for its winners.
    FinishThenWinners {
        /// The agency.
        agency: u16,
    },
}

impl Pending {
    /// Returns the bytes that its winners keep in memory.
    pub fn answer_bytes(&self) -> usize {
        match self {
            Self::Batch { winners, .. } => winners.bytes(),
            _ => 0,
        }
    }
}

/// What the log says about a batch of one bet.
#[derive(Debug)]
pub struct Single {
    /// Its document.
    pub document: String,
    /// Its number.
    pub number: u32,
}

/// A ticket and the result of its request.
pub type Answerable = (Ticket, Result<Accepted, Rejected>);

/// The batches and finish marks of one pass of the event loop.
#[derive(Debug, Default)]
pub struct Round {
    /// The prepared batches that are not committed yet.
    group: Group,
    /// One per batch in `group`.
    batches: Vec<Ticket>,
    /// Agencies to be marked as finished.
    agencies: Vec<u16>,
    /// One per agency in `agencies`.
    finishes: Vec<Ticket>,
    /// Sessions that are asked for.
    sessions: Vec<SessionQuestion>,
    /// One per session in `sessions`.
    questions: Vec<Ticket>,
    /// Bytes that the winners keep in memory of batches that are not committed yet.
    answer_bytes: usize,
    /// True while the requests that are added are large.
    pub is_large: bool,
}

impl Round {
    /// Prepares a batch: writes its rows and winner lines into the round. No lock is held.
    pub fn prepare(
        &mut self,
        origin: &Origin,
        bets: &[Bet<'_>],
        key: Option<BatchKey>,
    ) -> Result<(), Rejected> {
        let mut winners = Winners::default();
        self.group.add(|rows, lines| {
            let mut places = Vec::new();
            for (place, winner) in bets.iter().enumerate().filter(|(_, bet)| is_winner(bet)) {
                write_winner_line(winner, lines);
                winners.push(winner);
                places.push(place);
            }
            let written = Written { bets: bets.len(), winners: places, key };
            write_rows(bets, rows).map(|()| written)
        })?;
        let single = match bets {
            [Bet { document, number: Some(number), .. }] => {
                Some(Single { document: document.to_string(), number: *number })
            }
            _ => None,
        };
        self.push_batch(origin, Pending::Batch { bets: bets.len(), winners, single });
        Ok(())
    }

    /// Prepares the batch at the start of `message` as [`prepare`](Self::prepare) does, in one
    /// pass over its bytes, and returns the length of the message. Returns `None` and changes
    /// nothing if the message has to be decoded, or if `accepts` returns false.
    pub fn prepare_message(
        &mut self,
        origin: &Origin,
        message: &[u8],
        codec: &mut dyn CentralCodec,
        accepts: impl FnOnce(&Prepared<'_>) -> bool,
    ) -> Option<usize> {
        let mut winners = Winners::default();
        let (mut bets, mut consumed) = (0, 0);
        let added = self.group.add(|rows, lines| {
            let prepared = codec.prepare(message, rows).filter(accepts).ok_or(())?;
            for (_, winner) in &prepared.winners {
                write_winner_line(winner, lines);
                winners.push(winner);
            }
            (bets, consumed) = (prepared.bets, prepared.consumed);
            let places = prepared.winners.iter().map(|(place, _)| *place).collect();
            Ok::<_, ()>(Written { bets, winners: places, key: prepared.key })
        });
        added.ok()?;
        self.push_batch(origin, Pending::Batch { bets, winners, single: None });
        Some(consumed)
    }

    fn push_batch(&mut self, origin: &Origin, batch: Pending) {
        self.answer_bytes += batch.answer_bytes();
        self.batches.push(self.ticket(origin, batch));
    }

    /// Returns the ticket of a request.
    pub fn ticket(&self, origin: &Origin, request: Pending) -> Ticket {
        let Origin { connection, ip, mark } = *origin;
        let (in_flight, is_large) = (mark == Mark::Held, self.is_large);
        Ticket { connection, ip, in_flight, is_large, request }
    }

    /// Adds an agency that has finished. `request` says what its connection waits for.
    pub fn finish(&mut self, origin: &Origin, agency: u16, request: Pending) {
        self.agencies.push(agency);
        self.finishes.push(self.ticket(origin, request));
    }

    /// Adds a question for the number of the next batch of a session.
    pub fn ask(&mut self, origin: &Origin, session: SessionQuestion) {
        self.sessions.push(session);
        self.questions.push(self.ticket(origin, Pending::Session));
    }

    /// Returns true if the round holds finish marks.
    pub fn has_finishes(&self) -> bool {
        !self.agencies.is_empty()
    }

    /// Returns true if the round holds batches or questions about sessions.
    pub fn has_batches(&self) -> bool {
        !self.group.is_empty() || !self.sessions.is_empty()
    }

    /// Returns true if the round holds nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.group.is_empty() && self.agencies.is_empty() && self.sessions.is_empty()
    }

    /// Returns true if the round should be committed before it grows further.
    pub fn is_full(&self) -> bool {
        self.group.is_full()
    }

    /// Returns the bytes that the winners keep in memory of what is not committed yet.
    pub fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// Returns what is to be committed.
    pub fn contents(&self) -> (&Group, &[u16], &[SessionQuestion]) {
        (&self.group, &self.agencies, &self.sessions)
    }

    /// Takes the batches with their tickets, and leaves an empty group in their place.
    pub fn take_batches(&mut self, empty: Group) -> (Group, Vec<Ticket>) {
        self.answer_bytes = 0;
        (std::mem::replace(&mut self.group, empty), std::mem::take(&mut self.batches))
    }

    /// Takes the questions about sessions with their tickets.
    pub fn take_sessions(&mut self) -> (Vec<SessionQuestion>, Vec<Ticket>) {
        (std::mem::take(&mut self.sessions), std::mem::take(&mut self.questions))
    }

    /// Takes the finish marks with their tickets.
    pub fn take_finishes(&mut self) -> (Vec<u16>, Vec<Ticket>) {
        (std::mem::take(&mut self.agencies), std::mem::take(&mut self.finishes))
    }

    /// Empties the round, and returns its tickets in the order of its contents: batches, finish
    /// marks, sessions.
    pub fn take_tickets(&mut self) -> impl Iterator<Item = Ticket> {
        self.group.clear();
        self.agencies.clear();
        self.sessions.clear();
        self.answer_bytes = 0;
        self.batches.drain(..).chain(self.finishes.drain(..)).chain(self.questions.drain(..))
    }
}
