//! The frame of a message: version, type and length before the body.

use byteorder::{BigEndian, ByteOrder};

use crate::protocol::ProtocolError;

/// First byte of every message: bit 7 and the version 1.
pub(super) const VERSION: u8 = 0x81;
/// Version, type and the u32 length of the body.
pub(super) const HEADER_BYTES: usize = 6;

/// What is before the body of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Type of the message.
    pub(super) kind: u8,
    /// Announced length of the body.
    pub(super) body: usize,
}

impl Header {
    /// Decodes the header at the start of `buffer`, or returns `None` while it is incomplete. An
    /// unknown version is rejected as soon as its byte has arrived.
    pub(super) fn decode(buffer: &[u8]) -> Result<Option<Self>, ProtocolError> {
        match *buffer {
            [found, ..] if found != VERSION => {
                Err(ProtocolError::UnknownVersion { found, expected: VERSION })
            }
            [_, kind, a, b, c, d, ..] => {
                Ok(Some(Self { kind, body: u32::from_be_bytes([a, b, c, d]) as usize }))
            }
            _ => Ok(None),
        }
    }

    /// Returns the length of the message, which saturates.
    pub(super) fn message_bytes(self) -> usize {
        self.body.saturating_add(HEADER_BYTES)
    }

    /// Returns the body if all of it is in `buffer`, which starts with this header.
    pub(super) fn body_in(self, buffer: &[u8]) -> Option<&[u8]> {
        buffer.get(HEADER_BYTES..self.message_bytes())
    }

    /// Returns the error of a body that cannot have this length.
    pub(super) fn bad_length(self) -> ProtocolError {
        ProtocolError::BodyLength { kind: self.kind, bytes: self.body }
    }
}

/// Appends a message, whose body `put_body` appends.
pub(super) fn put_message(kind: u8, out: &mut Vec<u8>, put_body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[VERSION, kind, 0, 0, 0, 0]);
    put_body(out);
    write_length(&mut out[start..]);
}

/// Writes the length of the body into the header of a message.
pub(super) fn write_length(message: &mut [u8]) {
    let body = message.len() - HEADER_BYTES;
    debug_assert!(u32::try_from(body).is_ok(), "a body of {body} bytes");
    BigEndian::write_u32(&mut message[2..], u32::try_from(body).unwrap_or(u32::MAX));
}
