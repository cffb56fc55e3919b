//! The dialect of the assignment's first part: a line comes, the same line goes back, and the central closes.

mod rules;

use super::{
    CentralCodec, ConnectionUse, Decoded, Dialect, MAX_PACKET_BYTES, ProtocolError, Refusal, Then,
    Unencodable,
};
use crate::{Reply, Request};

/// Its row in the table of dialects.
pub const DIALECT: Dialect = Dialect {
    name: "echo",
    connections: &[ConnectionUse::PerRequest],
    waits_for_draw: false,
    max_agency: u16::MAX,
    central: || Box::new(EchoCentralCodec),
    agency: None,
    rules: rules::rules,
};

/// Longest message in bytes, line break included; a longer one is refused.
pub const MAX_MESSAGE_BYTES: usize = MAX_PACKET_BYTES;

/// The central's side. It remembers nothing: a message is short enough to be looked through again.
#[derive(Debug)]
pub struct EchoCentralCodec;

impl CentralCodec for EchoCentralCodec {
    /// There are no batches.
    fn begins_batch(&self, _buffer: &[u8]) -> bool {
        false
    }

    fn decode<'b>(&mut self, buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal> {
        let end = buffer.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
        // A line whose end has not arrived ends after the next byte at the earliest.
        if end.unwrap_or(buffer.len() + 1) > MAX_MESSAGE_BYTES {
            return Err(ProtocolError::TooLarge { max: MAX_MESSAGE_BYTES }.into());
        }
        Ok(end.map_or(Decoded::Incomplete, |end| message_of(&buffer[..end])))
    }

    /// A message may end with the stream instead of a line break.
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

    /// There is no error reply.
    fn refuse(&mut self, _error: Option<&ProtocolError>, _out: &mut Vec<u8>) -> Then {
        Then::Close
    }
}

/// The request of a whole message: its text without the blanks that Python's `bytes.rstrip()` takes away.
fn message_of(bytes: &[u8]) -> Decoded<'_> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let kept = bytes.iter().rposition(|byte| !is_blank(byte)).map_or(0, |last| last + 1);
    Decoded::Complete { request: Request::Echo(&bytes[..kept]), consumed: bytes.len() }
}

/// The message number `number` of an agency.
pub fn message(agency: u16, number: u32) -> Vec<u8> {
    format!("[CLIENT {agency}] Message N°{number}\n").into_bytes()
}

/// The text of a reply, without its line break; `None` while that has not arrived.
pub fn decode_reply(reply: &[u8]) -> Option<&[u8]> {
    let end = reply.iter().position(|&byte| byte == b'\n')?;
    Some(&reply[..end])
}
