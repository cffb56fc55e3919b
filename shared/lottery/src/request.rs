//! The vocabulary between the dialects and the central: what can be asked and what can be answered.
//!
//! A dialect turns bytes into a [`Request`] and a [`Reply`] into bytes; the central knows only these.

use crate::Bet;

/// What an agency asks of the central. Texts borrow from the connection's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Store these bets, all or none. Never empty.
    Store(Vec<Bet<'a>>),
    /// Tell the winners so far and how many agencies are in flight.
    Results,
}

/// What the central answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The batch is stored; these of its bets won, in the order they came.
    Stored {
        /// The winning bets of the batch.
        winners: Vec<Bet<'a>>,
    },
    /// The answer to [`Request::Results`].
    Results(Results),
}

/// The state of the lottery at the moment of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Results {
    /// Winners among all stored bets.
    pub winners: u64,
    /// Agencies whose batch has begun and not ended; 0 makes the answer a total, anything else a partial one.
    pub in_flight: u32,
}
