//! The agency's codec of `keyed`.

use byteorder::{BigEndian, ByteOrder};

use super::code::{self, NOT_YET};
use super::message::{HEADER_BYTES, Header, VERSION, put_message, write_length};
use super::{
    BATCH, COUNT_BYTES, ERROR, ERROR_BYTES, FINISH, KEY_BYTES, LAST, MAX_REASON_BYTES, NEXT_BYTES,
    REPLY, RESULTS, RESULTS_BYTES, SESSION, SESSION_BYTES, WINNERS,
};
use crate::protocol::binary::Fields;
use crate::protocol::records::{
    INCOMPLETE, LENGTH_BYTES, MAX_RECORD_BYTES, copy_records, decode_counted, no_unused_bytes,
    push_record,
};
use crate::protocol::{
    AgencyCodec, AgencyOptions, Answer, ConnectionUse, Denied, Packet, ProtocolError, Push,
    Receipt, Unencodable, error::no_trailing_bytes, text,
};
use crate::{Bet, CopiedRows, FileRows, Results};

/// Largest body of the reply to a batch: 65,535 winners with the longest records.
const MAX_STORED_BYTES: usize =
    LENGTH_BYTES + u16::MAX as usize * (LENGTH_BYTES + MAX_RECORD_BYTES);
/// Header, key and the count of the records.
const BEFORE_RECORDS: usize = HEADER_BYTES + KEY_BYTES + LENGTH_BYTES;

/// The agency's codec.
#[derive(Debug)]
pub(super) struct KeyedAgencyCodec {
    session: [u8; SESSION_BYTES],
    agency: u16,
    /// Bits in the type of every request: [`LAST`] if each has a connection of its own.
    flags: u8,
    /// Number of the batch in its session.
    sequence: u64,
    batch: Packet,
}

impl KeyedAgencyCodec {
    /// Creates a codec with an empty batch, the first of its session.
    pub(super) fn new(options: &AgencyOptions) -> Self {
        let AgencyOptions { agency, max_bets, session, connection, .. } = *options;
        let flags = match connection {
            ConnectionUse::Kept => 0,
            ConnectionUse::PerRequest => LAST,
        };
        let batch = Packet::new(max_bets, BEFORE_RECORDS, 0);
        Self { session, agency, flags, sequence: 1, batch }
    }

    /// Returns a request whose body ends with the agency, after `before`.
    fn request(&self, kind: u8, before: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_message(kind | self.flags, &mut out, |out| {
            out.extend_from_slice(before);
            out.extend_from_slice(&self.agency.to_be_bytes());
        });
        out
    }
}

impl AgencyCodec for KeyedAgencyCodec {
    fn push(&mut self, bet: &Bet<'_>) -> Result<Push, Unencodable> {
        push_record(&mut self.batch, bet)
    }

    fn copy_rows(&mut self, rows: FileRows<'_>) -> CopiedRows {
        copy_records(&mut self.batch, rows)
    }

    fn bets(&self) -> usize {
        self.batch.bets()
    }

    fn packet(&mut self) -> &[u8] {
        let count = self.batch.count();
        let packet = self.batch.bytes();
        packet[..2].copy_from_slice(&[VERSION, BATCH | self.flags]);
        write_length(packet);
        let (session, rest) = packet[HEADER_BYTES..].split_at_mut(SESSION_BYTES);
        session.copy_from_slice(&self.session);
        BigEndian::write_u16(rest, self.agency);
        BigEndian::write_u64(&mut rest[2..], self.sequence);
        BigEndian::write_u16(&mut rest[10..], count);
        packet
    }

    fn clear(&mut self) {
        self.batch.clear();
    }

    fn receipt(&self, reply: &[u8]) -> Result<Option<Receipt>, ProtocolError> {
        let Some(body) = body_of(reply, BATCH | REPLY)? else { return Ok(None) };
        let winners = decode_counted(body, self.agency)?.len();
        Ok(Some(Receipt::Stored { winners: Some(winners) }))
    }

    fn notification(&self) -> Option<Vec<u8>> {
        Some(self.request(FINISH, &[]))
    }

    fn acknowledgement(&self, reply: &[u8]) -> Result<Option<()>, ProtocolError> {
        Ok(body_of(reply, FINISH | REPLY)?.map(|_| ()))
    }

    fn question(&self) -> Vec<u8> {
        self.request(WINNERS, &[])
    }

    fn answer(&self, reply: &[u8]) -> Result<Option<Answer>, ProtocolError> {
        if let Ok(Some(Failure { code: NOT_YET, .. })) = Failure::decode(reply) {
            return Ok(Some(Answer::NotYet));
        }
        let Some(body) = body_of(reply, WINNERS | REPLY)? else { return Ok(None) };
        Ok(Some(Answer::Winners(decode_documents(body)?.len() as u64)))
    }

    fn results(&self, reply: &[u8]) -> Result<Option<Results>, ProtocolError> {
        let Some(body) = body_of(reply, RESULTS | REPLY)? else { return Ok(None) };
        let mut fields = Fields { rest: body };
        let (in_flight, winners) = (fields.array(), fields.array());
        Ok(in_flight.zip(winners).map(|(in_flight, winners)| Results {
            in_flight: u32::from_be_bytes(in_flight),
            winners: u64::from_be_bytes(winners),
        }))
    }

    fn documents(&self, reply: &[u8]) -> Option<Vec<String>> {
        if let Ok(Some(body)) = body_of(reply, WINNERS | REPLY) {
            let documents = decode_documents(body).ok()?;
            return Some(documents.into_iter().map(str::to_owned).collect());
        }
        let body = body_of(reply, BATCH | REPLY).ok()??;
        let winners = decode_counted(body, self.agency).ok()?;
        Some(winners.iter().map(|bet| bet.document.to_string()).collect())
    }

    fn set_sequence(&mut self, sequence: u64) {
        debug_assert!(sequence > 0, "batches are numbered from 1");
        self.sequence = sequence;
    }

    fn session_question(&self) -> Option<Vec<u8>> {
        Some(self.request(SESSION, &self.session))
    }

    fn next_sequence(&self, reply: &[u8]) -> Result<Option<u64>, ProtocolError> {
        let body = body_of(reply, SESSION | REPLY)?;
        let next = body.and_then(|body| Some(u64::from_be_bytes(*body.first_chunk()?)));
        if next == Some(0) { Err(ProtocolError::NoSequence) } else { Ok(next) }
    }

    fn denied(&self, reply: &[u8]) -> Option<Denied> {
        let Failure { code, expected, reason } = Failure::decode(reply).ok()??;
        Some(Denied { advice: code::advice(code, expected), reason })
    }
}

/// An error reply.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: u8,
    /// The sequence that the central expects.
    pub(super) expected: u64,
    reason: String,
}

impl Failure {
    /// Decodes an error reply, or returns `None` while bytes are missing.
    pub(super) fn decode(reply: &[u8]) -> Result<Option<Self>, ProtocolError> {
        Ok(complete(reply, ERROR)?.and_then(|(_, body)| Self::decode_body(body)))
    }

    fn decode_body(body: &[u8]) -> Option<Self> {
        let mut fields = Fields { rest: body };
        let [code] = fields.array()?;
        let expected = u64::from_be_bytes(fields.array()?);
        let text = text::excerpt(&String::from_utf8_lossy(fields.rest));
        let reason = if text.is_empty() { format!("error {code:#04x}") } else { text };
        Some(Self { code, expected, reason })
    }
}

/// Returns the body of a reply of this type, or `None` while bytes are missing. A complete error
/// reply is an unexpected one.
fn body_of(reply: &[u8], expected: u8) -> Result<Option<&[u8]>, ProtocolError> {
    match complete(reply, expected)? {
        Some((ERROR, body)) => {
            let failure = Failure::decode_body(body);
            let text = failure.map(|failure| failure.reason).unwrap_or_default();
            Err(ProtocolError::UnexpectedReply { text })
        }
        other => Ok(other.map(|(_, body)| body)),
    }
}

/// Returns type and body of a complete reply, which is of the expected type or an error. Returns
/// `None` while bytes are missing. Other replies are rejected as soon as their header has arrived.
fn complete(reply: &[u8], expected: u8) -> Result<Option<(u8, &[u8])>, ProtocolError> {
    let Some(header) = Header::decode(reply)? else { return Ok(None) };
    let Header { kind, body } = header;
    let (shortest, longest) = body_lengths(kind).ok_or(ProtocolError::UnknownReply(kind))?;
    if !(shortest..=longest).contains(&body) {
        return Err(header.bad_length());
    }
    if kind != expected && kind != ERROR {
        return Err(ProtocolError::UnexpectedReply { text: format!("type {kind:#04x}") });
    }
    let Some(body) = header.body_in(reply) else { return Ok(None) };
    no_trailing_bytes(&reply[header.message_bytes()..])?;
    Ok(Some((kind, body)))
}

/// Returns the shortest and the longest body of a reply of this type.
fn body_lengths(kind: u8) -> Option<(usize, usize)> {
    const BATCH_REPLY: u8 = BATCH | REPLY;
    const RESULTS_REPLY: u8 = RESULTS | REPLY;
    const FINISH_REPLY: u8 = FINISH | REPLY;
    const WINNERS_REPLY: u8 = WINNERS | REPLY;
    const SESSION_REPLY: u8 = SESSION | REPLY;
    match kind {
        BATCH_REPLY => Some((LENGTH_BYTES, MAX_STORED_BYTES)),
        RESULTS_REPLY => Some((RESULTS_BYTES, RESULTS_BYTES)),
        FINISH_REPLY => Some((0, 0)),
        WINNERS_REPLY => Some((COUNT_BYTES, u32::MAX as usize)),
        SESSION_REPLY => Some((NEXT_BYTES, NEXT_BYTES)),
        ERROR => Some((ERROR_BYTES, ERROR_BYTES + MAX_REASON_BYTES)),
        _ => None,
    }
}

/// Decodes the documents of the winners.
fn decode_documents(body: &[u8]) -> Result<Vec<&str>, ProtocolError> {
    let mut fields = Fields { rest: body };
    let count = fields.length(COUNT_BYTES).unwrap_or_default();
    let mut documents = Vec::new();
    for record in 1..=count {
        let document = fields.length(LENGTH_BYTES).and_then(|bytes| fields.bytes(bytes));
        let document = document.ok_or(ProtocolError::Malformed { record, reason: INCOMPLETE })?;
        documents
            .push(std::str::from_utf8(document).map_err(|_| ProtocolError::NotUtf8 { record })?);
    }
    no_unused_bytes(fields.rest)?;
    Ok(documents)
}
