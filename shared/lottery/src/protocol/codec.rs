//! The traits that a dialect implements: one codec for the central and one for the agency.
//!
//! A codec does no I/O. A central's codec belongs to one connection, an agency's codec to one run.
//! The caller keeps the received bytes and passes everything that has arrived of the current
//! message, from its first byte. How the network splits or joins the bytes does not affect the
//! result.

use std::fmt::Debug;

use super::{ProtocolError, Unencodable};
use crate::{Bet, CopiedRows, FileRows, Prepared, Reply, Request, Results};

/// The result of [`CentralCodec::decode`].
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'b> {
    /// The message is not complete yet.
    Incomplete,
    /// A complete message.
    Complete {
        /// The request, which borrows from the buffer.
        request: Request<'b>,
        /// Length of the message in bytes. The next message starts after it.
        consumed: usize,
    },
    /// A complete message that is not a request, such as a greeting.
    Skip {
        /// Length of the message in bytes.
        consumed: usize,
    },
}

/// A message that the central rejects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub error: ProtocolError,
    /// Number of bets that the batch announced, if the message is a batch.
    pub bets: Option<usize>,
    /// Length of the message in bytes, if its end is known; the next message starts after it.
    /// `None` if the rest of the connection cannot be decoded.
    pub consumed: Option<usize>,
}

impl From<ProtocolError> for Refusal {
    /// Returns a refusal after which the rest of the connection cannot be decoded.
    fn from(error: ProtocolError) -> Self {
        Self { error, bets: None, consumed: None }
    }
}

/// Why a message gets an error reply.
#[derive(Clone, Copy, Debug)]
pub enum Refused<'a> {
    /// Its bytes are not a valid request.
    Message(&'a ProtocolError),
    /// It is a valid request, and the central did not execute it.
    Request(Denial),
}

/// Why the central did not execute a valid request, as far as a dialect can express it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The central cannot execute it now, for example because the disk is full. The same request
    /// may succeed later.
    Unavailable,
    /// Bets are closed.
    Closed,
    /// The central does not accept this request from this peer.
    NotPermitted,
    /// The central cannot accept one of the bets.
    Unacceptable,
    /// The sequence number is not the next one of the session.
    Sequence {
        /// The next one.
        expected: u64,
    },
    /// The batch with this sequence number is stored, and it has other bets.
    OtherContent,
    /// The session belongs to another agency.
    OtherAgency,
    /// The central has no room for another session.
    NoRoom,
}

/// What the central does with the connection after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Waits for the next message.
    Continue,
    /// Closes the connection.
    Close,
}

/// The central's codec of a dialect, for one connection.
pub trait CentralCodec: Debug {
    /// Returns true if `buffer`, which starts at the first byte of a message, starts a batch. From
    /// then on the batch counts as in flight.
    fn begins_batch(&self, buffer: &[u8]) -> bool;

    /// Decodes the message at the start of `buffer`.
    ///
    /// The caller passes the same bytes and all later ones until the message is complete or
    /// rejected. The next call then starts at the next message. A message is rejected as soon as
    /// its bytes cannot become a valid one.
    fn decode<'b>(&mut self, buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal>;

    /// Checks the message at the start of `buffer` and appends its rows of `bets.csv` to `rows`, if
    /// it is a complete and valid batch of at least two bets, all of the same agency.
    ///
    /// Returns `None` for any other message, and appends nothing. [`decode`](Self::decode) then
    /// finds out what it is. The rows, the winners and the length are those that `decode`,
    /// [`write_rows`](crate::write_rows) and [`is_winner`](crate::is_winner) yield. The caller may
    /// still decode the same message after it was prepared.
    fn prepare<'b>(&mut self, _buffer: &'b [u8], _rows: &mut Vec<u8>) -> Option<Prepared<'b>> {
        None
    }

    /// Decodes the message at the start of `buffer` when the peer has ended its side of the
    /// connection.
    ///
    /// The default treats the message as incomplete, because most dialects mark the end of a
    /// message in its bytes.
    fn decode_last<'b>(&mut self, _buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal> {
        Ok(Decoded::Incomplete)
    }

    /// Appends the reply to the last request to `out`.
    ///
    /// # Errors
    /// If the dialect cannot encode the reply. Nothing is appended, and the caller closes the
    /// connection.
    fn encode(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Then, Unencodable>;

    /// Records that the winners of an agency are the reply to the last request, and returns what
    /// follows it. The caller has their bytes already, because they are the same on every
    /// connection of the dialect: another codec has encoded them.
    fn winners_sent(&mut self) -> Then {
        Then::Close
    }

    /// Appends the dialect's error reply, if it has one.
    fn refuse(&mut self, refused: Refused<'_>, out: &mut Vec<u8>) -> Then;
}

/// The result of [`AgencyCodec::push`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// The bet is in the batch.
    Added,
    /// The batch has no room for the bet. Send the batch, then push the bet again.
    Full,
}

/// The reply to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The whole batch is stored.
    Stored {
        /// Number of winning bets, if the dialect reports it.
        winners: Option<usize>,
    },
    /// Nothing of the batch is stored.
    Refused,
}

/// The reply to the question for the winners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The winners of all agencies, partial or total.
    Results(Results),
    /// The draw has taken place: the number of the agency's own winners.
    Winners(u64),
    /// The draw has not taken place; ask again later.
    NotYet,
    /// The central reports an error, with this text.
    Refused(String),
}

/// An error reply that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What to do.
    pub advice: Advice,
    /// Why the central did not execute the request.
    pub reason: String,
}

/// What an agency does after an error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Sends the same request again later.
    Retry,
    /// Continues with the batch of this number.
    ResendFrom(u64),
    /// Stops: the same request will never succeed.
    Stop,
}

/// The agency's codec of a dialect. It holds the batch that is being filled.
///
/// The methods that decode a reply return `None` while bytes are missing, and an error if the bytes
/// are not a reply of this kind.
pub trait AgencyCodec: Debug + Send {
    /// Returns the bytes to send first on every connection.
    fn greeting(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Adds a bet to the batch if there is room. An empty batch has room for any bet.
    ///
    /// # Errors
    /// If the dialect cannot encode the bet. The batch is unchanged.
    fn push(&mut self, bet: &Bet<'_>) -> Result<Push, Unencodable>;

    /// Adds rows of a file to the batch, in their order, up to the first one that needs care or for
    /// which there is no room.
    ///
    /// The batch is the same as if each row was read as CSV and its bet was pushed. A row that does
    /// not have a valid bet, or none that the dialect can encode, needs care.
    fn copy_rows(&mut self, rows: FileRows<'_>) -> CopiedRows;

    /// Returns the number of bets in the batch.
    fn bets(&self) -> usize;

    /// Returns the bytes of the batch, at most [`MAX_PACKET_BYTES`](super::MAX_PACKET_BYTES). The
    /// batch must not be empty.
    fn packet(&mut self) -> &[u8];

    /// Removes all bets from the batch.
    fn clear(&mut self);

    /// Decodes the reply to a batch.
    fn receipt(&self, reply: &[u8]) -> Result<Option<Receipt>, ProtocolError>;

    /// Returns the message that announces that all bets are sent, if the dialect has a separate one
    /// that the central acknowledges.
    fn notification(&self) -> Option<Vec<u8>> {
        None
    }

    /// Decodes the acknowledgement of the notification.
    fn acknowledgement(&self, reply: &[u8]) -> Result<Option<()>, ProtocolError> {
        Err(ProtocolError::TrailingBytes(reply.len()))
    }

    /// Returns the message that asks for the winners. In a dialect without a notification it also
    /// announces that all bets are sent.
    fn question(&self) -> Vec<u8>;

    /// Decodes the reply to the question.
    fn answer(&self, reply: &[u8]) -> Result<Option<Answer>, ProtocolError>;

    /// Decodes the reply to [`Request::Results`], in a dialect with that request.
    fn results(&self, reply: &[u8]) -> Result<Option<Results>, ProtocolError> {
        Err(ProtocolError::TrailingBytes(reply.len()))
    }

    /// Returns the winners' documents in a complete reply, in its order. This is the reply to the
    /// question, or in `typed` the reply to a batch. Returns `None` for any other bytes, and in a
    /// dialect whose replies contain no documents.
    fn documents(&self, _reply: &[u8]) -> Option<Vec<String>> {
        None
    }

    /// Numbers the next batch in its session, where batches have keys.
    fn set_sequence(&mut self, _sequence: u64) {}

    /// Returns the message that asks for the number of the next batch, where batches have keys.
    fn session_question(&self) -> Option<Vec<u8>> {
        None
    }

    /// Decodes the reply to the question for the number of the next batch, which is at least 1.
    fn next_sequence(&self, reply: &[u8]) -> Result<Option<u64>, ProtocolError> {
        Err(ProtocolError::TrailingBytes(reply.len()))
    }

    /// Returns the error in a complete error reply, where error replies say what to do. Returns
    /// `None` for any other bytes.
    fn denied(&self, _reply: &[u8]) -> Option<Denied> {
        None
    }

    /// Returns the bytes to send after receiving the winners, before closing the connection.
    fn final_message(&self) -> &'static [u8] {
        &[]
    }
}
