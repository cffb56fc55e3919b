//! What can be wrong with bytes of a peer, and with a bet that a dialect cannot carry.

use crate::InvalidBet;

/// Why a message from the peer cannot be understood.
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
    /// A record, which is a line in the dialects of text, cannot be taken apart.
    #[error("record {record} {reason}")]
    Malformed {
        /// Which record of the message, counted from 1.
        record: usize,
        /// What is wrong with it, as the end of a sentence.
        reason: &'static str,
    },
    /// A batch announces another number of records than it has, or none that can be read.
    #[error("the batch announces {announced:?} records and has {found}")]
    Count {
        /// What stood there, cut to a readable length.
        announced: String,
        /// How many there are.
        found: usize,
    },
    /// A message that is no batch does not look as it must.
    #[error("invalid {message} format: {text}")]
    Format {
        /// Which message.
        message: &'static str,
        /// What stood there, one line, cut to a readable length.
        text: String,
    },
    /// A message came where the dialect has no place for it.
    #[error("a message that must not follow {after}")]
    OutOfPlace {
        /// What it followed.
        after: &'static str,
    },
    /// A line of the central is no reply to what was said.
    #[error("unexpected reply {text:?}")]
    UnexpectedReply {
        /// What stood there, one line, cut to a readable length.
        text: String,
    },
    /// The agency calls itself 0, which is no agency.
    #[error("0 is the number of no agency")]
    NoAgency,
    /// A connection belongs to one agency, and this is another.
    #[error("agency {found} on a connection of agency {expected}")]
    OtherAgency {
        /// Who it is now.
        found: u16,
        /// Who it was before.
        expected: u16,
    },
    /// The fields of a record end before or behind the place where its length ends it.
    #[error("the fields of record {record} do not fill it exactly")]
    Layout {
        /// Which record of the batch, counted from 1.
        record: usize,
    },
    /// Something in a record is more than the dialect allows.
    #[error("record {record}: {what}: {value}, at most {max} are allowed")]
    OverLimit {
        /// Which record of the batch, counted from 1.
        record: usize,
        /// What is counted.
        what: &'static str,
        /// How much there is.
        value: usize,
        /// The limit.
        max: usize,
    },
    /// The byte that an agency sends behind its winners is another than the dialect knows.
    #[error("unknown final byte {0}")]
    UnknownFinalByte(u8),
    /// No reply of a central starts with these bytes.
    #[error("no reply starts with the bytes {0:02x?}")]
    NoSuchReply(Vec<u8>),
}

/// Refuses what follows a reply that is whole.
pub(super) fn no_trailing_bytes(trailing: &[u8]) -> Result<(), ProtocolError> {
    match trailing.len() {
        0 => Ok(()),
        extra => Err(ProtocolError::TrailingBytes(extra)),
    }
}

/// Why a bet or a reply cannot be put on the wire of a dialect.
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
    /// The dialect has no such reply.
    #[error("the dialect has no such reply")]
    Reply,
    /// The bet has no such field, and the dialect has no way to leave it out.
    #[error("the bet has no {field}, which the wire needs")]
    Missing {
        /// Which field.
        field: &'static str,
    },
    /// A text that the dialect carries as a number is none, or would come back as another text.
    #[error("{field} is not a plain decimal from 0 to 4294967295")]
    NotNumeric {
        /// Which field.
        field: &'static str,
    },
    /// Something is more than the dialect carries.
    #[error("{what}: {value}, at most {max} fit the wire")]
    OverLimit {
        /// What is counted.
        what: &'static str,
        /// How much there is.
        value: usize,
        /// The limit.
        max: usize,
    },
}
