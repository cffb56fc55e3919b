//! Requests and replies: everything that dialects and the central exchange.
//!
//! A dialect translates bytes to a [`Request`] and a [`Reply`] to bytes. The central uses only
//! these types and no dialect.

use crate::Bet;

/// A request of an agency. Texts borrow from the connection's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Store these bets, all or none of them.
    Store(Vec<Bet<'a>>),
    /// Return the winners so far and the number of agencies in flight.
    Results,
    /// Record that this agency has sent all its bets.
    Finish {
        /// Number of the agency, at least 1.
        agency: u16,
    },
    /// Wait for the draw, then return the winners of this agency.
    Winners {
        /// Number of the agency, at least 1.
        agency: u16,
        /// True if the same message announces that the agency has sent all its bets.
        finished: bool,
    },
    /// Send this text back.
    Echo(&'a [u8]),
    /// Close the connection: the agency has received its winners. No reply.
    Close,
}

/// A reply of the central.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The batch is stored.
    Stored {
        /// Number of bets in the batch.
        bets: usize,
        /// The winning bets, in the order of the batch.
        winners: Vec<Bet<'a>>,
    },
    /// The answer to [`Request::Results`].
    Results(Results),
    /// The central has recorded that the agency has finished.
    Finished,
    /// The draw has taken place; the documents of the agency's own winners, in storage order.
    Winners(Vec<&'a str>),
    /// The draw has not taken place, and this central rejects early queries instead of delaying
    /// them.
    NotYet,
    /// The text of [`Request::Echo`].
    Echo(&'a [u8]),
}

/// The reply to [`Request::Results`]: the state of the lottery at the moment of the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Results {
    /// Winners among all stored bets.
    pub winners: u64,
    /// Number of batches in flight. The result is a total if this is 0, otherwise it is partial.
    pub in_flight: u32,
}
