//! The errors of decoding a peer's bytes and of encoding a bet or a reply.

use crate::InvalidBet;

/// The reason why a message of the peer is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The byte of the request type has an unknown value.
    #[error("unknown request type {kind}, expected {expected}")]
    UnknownRequest {
        /// The value.
        kind: u8,
        /// The request types of the dialect, in words.
        expected: &'static str,
    },
    /// The first byte of a message is not the version of the dialect.
    #[error("unknown version {found:#04x}, expected {expected:#04x}")]
    UnknownVersion {
        /// The first byte.
        found: u8,
        /// The version of the dialect.
        expected: u8,
    },
    /// The length in a message is not one that a message of its type can have.
    #[error("a message of type {kind:#04x} cannot have a body of {bytes} bytes")]
    BodyLength {
        /// Type of the message.
        kind: u8,
        /// The length of the body.
        bytes: usize,
    },
    /// Bytes follow the last record of a message.
    #[error("{0} bytes after the last record")]
    UnusedBytes(usize),
    /// The number of a batch in its session is 0.
    #[error("batch 0 of a session is not valid, batches are numbered from 1")]
    NoSequence,
    /// The batch has no bets, and the dialect does not allow an empty one.
    #[error("batch of 0 records")]
    EmptyBatch,
    /// The message exceeds the dialect's limit.
    #[error("request of more than the allowed {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// A record announces more bytes than a valid bet can have.
    #[error("record {record} announces {bytes} bytes, at most {max} are allowed")]
    RecordTooLong {
        /// Position in the batch, from 1.
        record: usize,
        /// The announced length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A record has the wrong number of fields.
    #[error("record {record} has {found} fields, expected {expected}")]
    FieldCount {
        /// Position in the batch, from 1.
        record: usize,
        /// Number of fields in the record.
        found: usize,
        /// Number of fields that the dialect requires, in words.
        expected: &'static str,
    },
    /// A record is not UTF-8.
    #[error("record {record} is not UTF-8")]
    NotUtf8 {
        /// Position in the batch, from 1.
        record: usize,
    },
    /// The bet of a record is invalid.
    #[error("record {record}: {source}")]
    Bet {
        /// Position in the batch, from 1.
        record: usize,
        /// The reason.
        source: InvalidBet,
    },
    /// The byte of the reply type has an unknown value.
    #[error("unknown reply type {0}")]
    UnknownReply(u8),
    /// Bytes follow a complete reply.
    #[error("{0} bytes after the end of the reply")]
    TrailingBytes(usize),
    /// A record, which is a line in the text dialects, cannot be parsed.
    #[error("record {record} {reason}")]
    Malformed {
        /// Position in the message, from 1.
        record: usize,
        /// The reason, as a predicate of the record: "has no agency".
        reason: &'static str,
    },
    /// The number of records announced is not a number, or not the number received.
    #[error("the batch announces {announced:?} records and has {found}")]
    Count {
        /// Beginning of the received text.
        announced: String,
        /// Number of records received.
        found: usize,
    },
    /// A message other than a batch has the wrong format.
    #[error("invalid {message} format: {text}")]
    Format {
        /// Name of the message.
        message: &'static str,
        /// Beginning of the received text, as one line.
        text: String,
    },
    /// The dialect does not allow this message at this point of the connection.
    #[error("this message must not follow {after}")]
    OutOfPlace {
        /// The messages before it.
        after: &'static str,
    },
    /// A line of the central is not a reply to the last message.
    #[error("unexpected reply {text:?}")]
    UnexpectedReply {
        /// Beginning of the received text, as one line.
        text: String,
    },
    /// The agency number is 0.
    #[error("agency 0 is not valid, agencies are numbered from 1")]
    NoAgency,
    /// The agency differs from the one that the connection belongs to.
    #[error("agency {found} on a connection of agency {expected}; use one connection per agency")]
    OtherAgency {
        /// The agency of this message.
        found: u16,
        /// The agency of the connection.
        expected: u16,
    },
    /// The fields of a record are shorter or longer than the length before it.
    #[error("the fields of record {record} do not fill it exactly")]
    Layout {
        /// Position in the batch, from 1.
        record: usize,
    },
    /// A quantity in a record exceeds the dialect's limit.
    #[error("record {record}: {what}: {value}, at most {max} are allowed")]
    OverLimit {
        /// Position in the batch, from 1.
        record: usize,
        /// Name of the limited quantity.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The limit.
        max: usize,
    },
    /// The byte that an agency sends after receiving its winners has an unknown value.
    #[error("unknown final byte {0}, expected 1 or 3")]
    UnknownFinalByte(u8),
    /// The first bytes are not the start of any reply.
    #[error("unknown reply that starts with the bytes {0:02x?}")]
    NoSuchReply(Vec<u8>),
}

/// Returns an error if bytes follow a complete reply.
pub(super) fn no_trailing_bytes(trailing: &[u8]) -> Result<(), ProtocolError> {
    match trailing.len() {
        0 => Ok(()),
        extra => Err(ProtocolError::TrailingBytes(extra)),
    }
}

/// The reason why a dialect cannot encode a bet or a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unencodable {
    /// A field contains the dialect's separator, which cannot be escaped.
    #[error("{field} holds {separator:?}, which separates the fields on the wire")]
    Separator {
        /// Name of the field.
        field: &'static str,
        /// The separator.
        separator: char,
    },
    /// The bet is invalid; the central would reject it.
    #[error(transparent)]
    Invalid(#[from] InvalidBet),
    /// The dialect has no such reply.
    #[error("the dialect has no such reply")]
    Reply,
    /// The bet lacks a field that the dialect requires.
    #[error("the bet has no {field}, which this dialect requires")]
    Missing {
        /// Name of the field.
        field: &'static str,
    },
    /// A text that the dialect encodes as an integer is not a plain decimal.
    #[error("{field} is not a plain decimal from 0 to 4294967295")]
    NotNumeric {
        /// Name of the field.
        field: &'static str,
    },
    /// A quantity exceeds what the dialect can encode.
    #[error("{what}: {value}, at most {max} can be encoded in this dialect")]
    OverLimit {
        /// Name of the limited quantity.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The limit.
        max: usize,
    },
}
