//! The two sides of a dialect: what a central and an agency need of it, bytes in and bytes out.
//!
//! A codec belongs to one connection (the central's) or one run (the agency's) and does no I/O. The caller keeps the bytes and shows
//! everything that has arrived of the current message, from its first byte; how the bytes were split or coalesced on the way makes
//! no difference.

use std::fmt::Debug;

use super::{ProtocolError, Unencodable};
use crate::{Bet, Reply, Request, Results};

/// How far the bytes shown to [`CentralCodec::decode`] go.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'b> {
    /// The message is not all there yet.
    Incomplete,
    /// A whole message.
    Complete {
        /// What is asked; borrows from the bytes shown.
        request: Request<'b>,
        /// Bytes of the message. What follows them is the next message, where the dialect has one.
        consumed: usize,
    },
    /// A whole message that asks for nothing: a greeting.
    Skip {
        /// Bytes of the message.
        consumed: usize,
    },
}

/// A message that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why not.
    pub error: ProtocolError,
    /// Bets of the batch it announced, where it was one.
    pub bets: Option<usize>,
    /// Bytes of the message, where its end is known: the connection may go on behind it. `None`: nothing on it can be understood
    /// any more.
    pub consumed: Option<usize>,
}

impl From<ProtocolError> for Refusal {
    /// A refusal after which nothing can be understood.
    fn from(error: ProtocolError) -> Self {
        Self { error, bets: None, consumed: None }
    }
}

/// What becomes of a connection after the bytes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next message may come.
    Continue,
    /// The central closes.
    Close,
}

/// The central's side of a dialect, for one connection.
pub trait CentralCodec: Debug {
    /// Whether the bytes shown, which start a message, begin a batch: from then on the agency is in flight.
    fn begins_batch(&self, buffer: &[u8]) -> bool;

    /// Reads what has arrived. `buffer` starts at the first byte of the message and grows from call to call until the message is
    /// whole or refused; then the next one starts.
    ///
    /// # Errors
    /// [`Refusal`] as soon as the bytes can be no valid message any more.
    fn decode<'b>(&mut self, buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal>;

    /// Reads what has arrived when the peer has ended its side and no more will come. Most dialects understand nothing then that
    /// they did not understand before.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    fn decode_last<'b>(&mut self, _buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal> {
        Ok(Decoded::Incomplete)
    }

    /// Appends the bytes of the reply to the last request.
    ///
    /// # Errors
    /// [`Unencodable`] when the dialect cannot carry it; nothing was appended, and the connection is to be closed.
    fn encode(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Then, Unencodable>;

    /// Appends the dialect's error reply, if it has one: to bytes that cannot be understood (`error`), or to a request that was
    /// understood and cannot be carried out (`None`).
    fn refuse(&mut self, error: Option<&ProtocolError>, out: &mut Vec<u8>) -> Then;
}

/// What became of a bet offered to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// It is in the batch.
    Added,
    /// The batch is full, by bets or by bytes; send it, then offer the bet again.
    Full,
}

/// What a central answers to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Every bet of it is stored.
    Stored {
        /// How many of them won, in a dialect that says so.
        winners: Option<usize>,
    },
    /// None of it is stored.
    Refused,
}

/// What a central answers to the question for the winners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The winners of all agencies, so far or in total.
    Results(Results),
    /// The draw was held: this many winners are the agency's own.
    Winners(u64),
    /// The draw was not held yet; ask again.
    NotYet,
    /// The central cannot answer, and says why.
    Refused(String),
}

/// The agency's side of a dialect. It holds the batch that is being filled.
pub trait AgencyCodec: Debug + Send {
    /// The bytes to send first on every connection, before any message.
    fn greeting(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Offers a bet to the batch. An empty batch has room for every bet that can be carried.
    ///
    /// # Errors
    /// [`Unencodable`] when the dialect cannot carry it; the batch is as it was.
    fn push(&mut self, bet: &Bet<'_>) -> Result<Push, Unencodable>;

    /// Bets in the batch.
    fn bets(&self) -> usize;

    /// The bytes of the batch, which must not be empty. At most [`MAX_PACKET_BYTES`](super::MAX_PACKET_BYTES).
    fn packet(&mut self) -> &[u8];

    /// Empties the batch for the next bets.
    fn clear(&mut self);

    /// Reads the reply to a batch; `None` while bytes are missing.
    ///
    /// # Errors
    /// [`ProtocolError`] when the bytes can be no such reply.
    fn receipt(&self, reply: &[u8]) -> Result<Option<Receipt>, ProtocolError>;

    /// The bytes that say the agency has sent all its bets, in a dialect where that is a message of its own and acknowledged.
    fn notification(&self) -> Option<Vec<u8>> {
        None
    }

    /// Reads the acknowledgement of the notification; `None` while bytes are missing.
    ///
    /// # Errors
    /// [`ProtocolError`] when the bytes can be no such reply.
    fn acknowledgement(&self, reply: &[u8]) -> Result<Option<()>, ProtocolError> {
        Err(ProtocolError::TrailingBytes(reply.len()))
    }

    /// The bytes that ask for the winners, and, where there is no notification of its own, say that all bets are sent.
    fn question(&self) -> Vec<u8>;

    /// Reads the reply to the question; `None` while bytes are missing.
    ///
    /// # Errors
    /// [`ProtocolError`] when the bytes can be no such reply.
    fn answer(&self, reply: &[u8]) -> Result<Option<Answer>, ProtocolError>;

    /// The documents of the winners that a reply names, in its order: the reply to the question where the draw tells them, the
    /// reply to a batch where that does. `None` where the dialect never names any, and for bytes that are no such reply or not
    /// all of it.
    fn documents(&self, _reply: &[u8]) -> Option<Vec<String>> {
        None
    }

    /// The bytes to send when the winners have arrived, before closing.
    fn final_message(&self) -> &'static [u8] {
        &[]
    }
}
