//! What can be wrong with bytes of a peer, and with a bet that a dialect cannot carry.

use crate::InvalidBet;

/// Why a message from the peer cannot be understood. The connection it came on cannot be used any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The first byte names no request.
    #[error("unknown request type {0}")]
    UnknownRequest(u8),
    /// A batch of no bets.
    #[error("batch of 0 records")]
    EmptyBatch,
    /// The message is larger than a central takes.
    #[error("request of more than {max} bytes")]
    TooLarge {
        /// The limit, [`MAX_REQUEST_BYTES`](super::MAX_REQUEST_BYTES).
        max: usize,
    },
    /// A record announces more bytes than any valid bet has.
    #[error("record {record} announces {bytes} bytes, at most {max} are allowed")]
    RecordTooLong {
        /// Which record of the batch, counted from 1.
        record: usize,
        /// The announced length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A record has another number of fields than the dialect knows.
    #[error("record {record} has {found} fields, expected {expected}")]
    FieldCount {
        /// Which record of the batch, counted from 1.
        record: usize,
        /// How many fields it has.
        found: usize,
        /// What the dialect wants, in words.
        expected: &'static str,
    },
    /// A record is not UTF-8.
    #[error("record {record} is not UTF-8")]
    NotUtf8 {
        /// Which record of the batch, counted from 1.
        record: usize,
    },
    /// A record holds a bet that breaks the rules of bets.
    #[error("record {record}: {source}")]
    Bet {
        /// Which record of the batch, counted from 1.
        record: usize,
        /// The rule it breaks.
        source: InvalidBet,
    },
    /// A reply of the central starts with a byte that no reply starts with.
    #[error("unknown reply type {0}")]
    UnknownReply(u8),
    /// A reply goes on after its end.
    #[error("{0} bytes after the end of the reply")]
    TrailingBytes(usize),
}

/// Why a bet cannot be put on the wire of a dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unencodable {
    /// A field holds the dialect's separator, which it has no way to escape.
    #[error("{field} holds {separator:?}, which separates the fields on the wire")]
    Separator {
        /// Which field.
        field: &'static str,
        /// The separator.
        separator: char,
    },
    /// The bet breaks a rule of bets; the central would refuse it.
    #[error(transparent)]
    Invalid(#[from] InvalidBet),
}
