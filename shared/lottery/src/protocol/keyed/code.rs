//! The codes of error replies. The high four bits are the class, which says what to do.

use crate::protocol::{Advice, Denial, ProtocolError};

/// Class of errors after which the same request may succeed later.
const RETRY: u8 = 0x1;
/// Class of errors after which the agency continues with the expected sequence.
const RESEND: u8 = 0x2;

/// The draw has not been held, and the central refuses early queries.
pub(super) const NOT_YET: u8 = 0x11;

/// Returns the code for a message whose bytes are not a valid request.
pub(super) fn of_message(error: &ProtocolError) -> u8 {
    match error {
        ProtocolError::UnknownVersion { .. } => 0x37,
        _ => 0x30,
    }
}

/// Returns the code and the text for a request that the central did not execute.
pub(super) fn of_denial(denial: Denial) -> (u8, &'static str) {
    match denial {
        Denial::Unavailable => (0x10, "the central cannot execute the request now, try again"),
        Denial::Sequence { .. } => (0x20, "the batch is not the next one of its session"),
        Denial::OtherContent => (0x31, "the batch with this number is stored with other bets"),
        Denial::Closed => (0x32, "bets are closed"),
        Denial::NotPermitted => (0x33, "the central does not accept this request from this peer"),
        Denial::OtherAgency => (0x34, "the session belongs to another agency"),
        Denial::NoRoom => (0x35, "the central has no room for another session"),
        Denial::Unacceptable => (0x36, "the central cannot accept a bet of the batch"),
    }
}

/// Returns what an agency does after an error. Codes that a later central adds are known by their
/// class. An agency stops after any other.
pub(super) fn advice(code: u8, expected: u64) -> Advice {
    match code >> 4 {
        RETRY => Advice::Retry,
        // Batches are numbered from 1.
        RESEND if expected > 0 => Advice::ResendFrom(expected),
        _ => Advice::Stop,
    }
}
