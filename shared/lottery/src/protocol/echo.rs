//! The `echo` dialect of the assignment's first part: the central sends each line back and closes.

mod rules;

use super::{
    CentralCodec, ConnectionUse, Decoded, Dialect, MAX_PACKET_BYTES, ProtocolError, Refusal,
    Refused, Then, Unencodable,
};
use crate::{Reply, Request};

/// The row of the dialect table.
pub const DIALECT: Dialect = Dialect {
    name: "echo",
    connections: &[ConnectionUse::PerRequest],
    waits_for_draw: false,
    number_is_optional: false,
    has_keys: false,
    originals_join_reads: false,
    max_agency: u16::MAX,
    // No agency gets an answer.
    check_document: |_| Ok(()),
    central: || Box::new(EchoCentralCodec),
    agency: None,
    rules: rules::rules,
};

/// Longest message in bytes, including the line break. A longer one is rejected.
pub const MAX_MESSAGE_BYTES: usize = MAX_PACKET_BYTES;

/// The central's codec. It has no state: a message is short enough to be scanned again when more of
/// it arrives.
#[derive(Debug)]
pub struct EchoCentralCodec;

impl CentralCodec for EchoCentralCodec {
    /// Returns false: the dialect has no batches.
    fn begins_batch(&self, _buffer: &[u8]) -> bool {
        false
    }

    fn decode<'b>(&mut self, buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal> {
        let end = buffer.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
        // A line without its line break is at least one byte longer than the buffer.
        if end.unwrap_or(buffer.len() + 1) > MAX_MESSAGE_BYTES {
            return Err(ProtocolError::TooLarge { max: MAX_MESSAGE_BYTES }.into());
        }
        Ok(end.map_or(Decoded::Incomplete, |end| message_of(&buffer[..end])))
    }

    /// Accepts a message that ends with the stream instead of a line break.
    fn decode_last<'b>(&mut self, buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal> {
        match self.decode(buffer)? {
            Decoded::Incomplete if !buffer.is_empty() => Ok(message_of(buffer)),
            decoded => Ok(decoded),
        }
    }

    fn encode(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Then, Unencodable> {
        let Reply::Echo(text) = reply else { return Err(Unencodable::Reply) };
        out.extend_from_slice(text);
        out.push(b'\n');
        Ok(Then::Close)
    }

    /// Closes the connection, because the dialect has no error reply.
    fn refuse(&mut self, _refused: Refused<'_>, _out: &mut Vec<u8>) -> Then {
        Then::Close
    }
}

/// Returns the request of a complete message: its text without the trailing blanks that Python's
/// `bytes.rstrip()` removes.
fn message_of(bytes: &[u8]) -> Decoded<'_> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let kept = bytes.iter().rposition(|byte| !is_blank(byte)).map_or(0, |last| last + 1);
    Decoded::Complete { request: Request::Echo(&bytes[..kept]), consumed: bytes.len() }
}

/// Returns the message with this number of an agency.
pub fn message(agency: u16, number: u32) -> Vec<u8> {
    format!("[CLIENT {agency}] Message N°{number}\n").into_bytes()
}

/// Returns the text of a reply without its line break, or `None` while that has not arrived.
pub fn decode_reply(reply: &[u8]) -> Option<&[u8]> {
    let end = reply.iter().position(|&byte| byte == b'\n')?;
    Some(&reply[..end])
}
