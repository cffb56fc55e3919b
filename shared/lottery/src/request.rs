//! Requests and replies: everything that dialects and the central exchange.
//!
//! A dialect translates bytes to a [`Request`] and a [`Reply`] to bytes. The central uses only
//! these types and no dialect.

use std::hash::{BuildHasher, RandomState};

use crate::Bet;

/// A request of an agency. Texts borrow from the connection's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Store these bets, all or none of them.
    Store(Vec<Bet<'a>>),
    /// Store these bets, all or none of them, unless the batch with this key is stored already. The
    /// reply is the same in both cases.
    StoreOnce {
        /// Identifies the batch.
        key: BatchKey,
        /// The bets, all of the agency in the key.
        bets: Vec<Bet<'a>>,
    },
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

/// Identifies a batch, so that the central stores it once however often it arrives.
///
/// The batches of a session are numbered from 1 without gaps, and each is sent after the reply to
/// the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchKey {
    /// The session: random bytes that the agency has chosen.
    pub session: [u8; 16],
    /// Number of the agency, at least 1. All batches of a session have the same.
    pub agency: u16,
    /// Number of the batch in its session, at least 1.
    pub sequence: u64,
    /// Hash of the bets. Two batches with the same number and different hashes are not the same
    /// batch.
    pub content: u64,
}

impl BatchKey {
    /// Returns random bytes for a new session.
    pub fn new_session() -> [u8; 16] {
        // Each hasher has a new key, which the system's random numbers determine.
        let [high, low] = [(); 2].map(|()| RandomState::new().hash_one(()));
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }
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
