//! The vocabulary between the dialects and the central: what can be asked and what can be answered.
//!
//! A dialect turns bytes into a [`Request`] and a [`Reply`] into bytes; the central knows only these.

use crate::Bet;

/// What an agency asks of the central. Texts borrow from the connection's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Store these bets, all or none.
    Store(Vec<Bet<'a>>),
    /// Tell the winners so far and how many agencies are in flight.
    Results,
    /// Note that this agency has sent all its bets.
    Finish {
        /// Which agency, not 0.
        agency: u16,
    },
    /// Wait for the draw, then tell this agency its winners.
    Winners {
        /// Which agency, not 0.
        agency: u16,
        /// The same message says that the agency has sent all its bets.
        finished: bool,
    },
    /// Send this line back.
    Echo(&'a [u8]),
    /// Nothing: the agency has read its winners and closes.
    Close,
}

/// What the central answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The batch is stored.
    Stored {
        /// Bets in it.
        bets: usize,
        /// Those that won, in the order they came.
        winners: Vec<Bet<'a>>,
    },
    /// The answer to [`Request::Results`].
    Results(Results),
    /// It is noted that the agency has finished.
    Finished,
    /// The draw was held; these are the documents of the agency's own winners, in the order of storage.
    Winners(Vec<&'a str>),
    /// The draw was not held yet, and this central does not let anybody wait who has not finished.
    NotYet,
    /// The line of [`Request::Echo`].
    Echo(&'a [u8]),
}

/// The state of the lottery at the moment of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Results {
    /// Winners among all stored bets.
    pub winners: u64,
    /// Agencies whose batch has begun and not ended; 0 makes the answer a total, anything else a partial one.
    pub in_flight: u32,
}
