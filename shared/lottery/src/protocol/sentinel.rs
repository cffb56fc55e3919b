//! The `sentinel` dialect: batches of binary packets on one connection, with 9000 and 9001 where a length would stand.
//!
//! All integers are unsigned big-endian, all text is UTF-8.
//!
//! | message | layout |
//! |---|---|
//! | hello | u8 agency (1 to 255), first on the connection: every bet of it is of this agency |
//! | packet | u16 bytes that follow, u8 length, first name, u8 length, last name, birthdate `YYYY-MM-DD`, u32 document, u32 number |
//! | batch | u16 bytes that follow, packets |
//! | batch reply | `ACK` or `ERR` |
//! | notification | u16 `9000`: all bets are sent, and the winners are wanted |
//! | winners | u16 `9001`, u16 bytes that follow, u32 documents; then the connection ends |
//!
//! A name has at most 30 characters. A batch in which one packet is wrong is answered with `ERR`, and nothing of it is taken; the
//! connection goes on. An empty batch is answered with `ACK`.

mod rules;

use byteorder::{BigEndian, ByteOrder};

use super::binary::{
    DOCUMENT_BYTES, Fields, RawBet, agency_byte, document_and_number, documents, read_documents,
    within,
};
use super::{
    AgencyCodec, AgencyOptions, Answer, CentralCodec, ConnectionUse, Decoded, Dialect,
    MAX_PACKET_BYTES, Packet, ProtocolError, Push, Receipt, Refusal, Then, Unencodable,
    error::no_trailing_bytes,
};
use crate::{Bet, Reply, Request};

/// Its row in the table of dialects.
pub const DIALECT: Dialect = Dialect {
    name: "sentinel",
    connections: &[ConnectionUse::Kept],
    waits_for_draw: true,
    max_agency: u8::MAX as u16,
    central: || Box::<SentinelCentralCodec>::default(),
    agency: Some(|options| Box::new(SentinelAgencyCodec::new(options))),
    rules: rules::rules,
};

/// Longest first or last name in characters. Source: the original server.
const MAX_NAME_CHARACTERS: usize = 30;

const HELLO_BYTES: usize = 1;
/// The u16 before a batch, a packet and the documents.
const LENGTH_BYTES: usize = 2;
const NOTIFICATION: u16 = 9000;
const WINNERS: u16 = 9001;
const ACK: &[u8] = b"ACK";
const ERR: &[u8] = b"ERR";
/// As many as their length in bytes can tell.
const MAX_WINNERS: usize = u16::MAX as usize / DOCUMENT_BYTES;

// The length of a batch that an agency of ours sends is never taken for a notification.
const _: () = assert!(MAX_PACKET_BYTES < NOTIFICATION as usize);

/// The central's side.
#[derive(Debug, Default)]
struct SentinelCentralCodec {
    /// Whose connection it is, once the hello has come.
    agency: Option<u8>,
}

impl CentralCodec for SentinelCentralCodec {
    /// True when both bytes of a batch's length are there.
    fn begins_batch(&self, buffer: &[u8]) -> bool {
        self.agency.is_some() && length(buffer).is_some_and(|length| length != NOTIFICATION)
    }

    fn decode<'b>(&mut self, buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal> {
        let Some(agency) = self.agency else { return self.decode_hello(buffer) };
        let Some(length) = length(buffer) else { return Ok(Decoded::Incomplete) };
        if length == NOTIFICATION {
            let request = Request::Winners { agency: agency.into(), finished: true };
            return Ok(Decoded::Complete { request, consumed: LENGTH_BYTES });
        }
        let consumed = LENGTH_BYTES + usize::from(length);
        let Some(payload) = buffer.get(LENGTH_BYTES..consumed) else {
            return Ok(Decoded::Incomplete);
        };
        let packets = Packets { rest: payload };
        let count = packets.clone().count();
        let bets = decode_packets(agency, packets, count).map_err(|error| Refusal {
            error,
            bets: Some(count),
            consumed: Some(consumed),
        })?;
        Ok(Decoded::Complete { request: Request::Store(bets), consumed })
    }

    fn encode(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Then, Unencodable> {
        match reply {
            Reply::Stored { .. } => {
                out.extend_from_slice(ACK);
                Ok(Then::Continue)
            }
            Reply::Winners(winners) => {
                within("winners", winners.len(), MAX_WINNERS)?;
                let documents = documents(winners)?;
                out.extend_from_slice(&WINNERS.to_be_bytes());
                out.extend_from_slice(&(documents.len() as u16).to_be_bytes());
                out.extend_from_slice(&documents);
                Ok(Then::Close)
            }
            _ => Err(Unencodable::Reply),
        }
    }

    /// A bad hello has no reply; whatever comes after a good one has, and the connection goes on.
    fn refuse(&mut self, _error: Option<&ProtocolError>, out: &mut Vec<u8>) -> Then {
        if self.agency.is_none() {
            return Then::Close;
        }
        out.extend_from_slice(ERR);
        Then::Continue
    }
}

impl SentinelCentralCodec {
    fn decode_hello<'b>(&mut self, buffer: &[u8]) -> Result<Decoded<'b>, Refusal> {
        match *buffer {
            [] => Ok(Decoded::Incomplete),
            [0, ..] => Err(ProtocolError::NoAgency.into()),
            [agency, ..] => {
                self.agency = Some(agency);
                Ok(Decoded::Skip { consumed: HELLO_BYTES })
            }
        }
    }
}

/// The u16 at the start, once it is there.
fn length(buffer: &[u8]) -> Option<u16> {
    buffer.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// The packets of a batch, without their lengths; `None` for the last if it is cut off.
#[derive(Clone, Debug)]
struct Packets<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for Packets<'b> {
    type Item = Option<&'b [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut fields = Fields { rest: self.rest };
        let packet = fields.length(LENGTH_BYTES).and_then(|bytes| fields.bytes(bytes));
        self.rest = if packet.is_some() { fields.rest } else { &[] };
        Some(packet)
    }
}

fn decode_packets(
    agency: u8,
    packets: Packets<'_>,
    count: usize,
) -> Result<Vec<Bet<'_>>, ProtocolError> {
    let mut bets = Vec::with_capacity(count);
    for packet in packets {
        let record = bets.len() + 1;
        let bet = packet.and_then(|packet| read_packet(agency, packet));
        let bet = bet.ok_or(ProtocolError::Layout { record })?.checked(record)?;
        for (what, characters) in name_lengths(&bet) {
            if characters > MAX_NAME_CHARACTERS {
                let (value, max) = (characters, MAX_NAME_CHARACTERS);
                return Err(ProtocolError::OverLimit { record, what, value, max });
            }
        }
        bets.push(bet);
    }
    Ok(bets)
}

/// The fields of a packet, if they fill it exactly.
fn read_packet(agency: u8, packet: &[u8]) -> Option<RawBet<'_>> {
    let mut fields = Fields { rest: packet };
    let [first_length] = fields.array()?;
    let first_name = fields.bytes(first_length.into())?;
    let [last_length] = fields.array()?;
    let last_name = fields.bytes(last_length.into())?;
    let birthdate = fields.date()?;
    let (document, number) =
        (u32::from_be_bytes(fields.array()?), u32::from_be_bytes(fields.array()?));
    let bet = RawBet { agency, first_name, last_name, birthdate, document, number };
    fields.rest.is_empty().then_some(bet)
}

/// How many characters the names have.
fn name_lengths(bet: &Bet<'_>) -> [(&'static str, usize); 2] {
    [
        ("characters of the first name", bet.first_name.chars().count()),
        ("characters of the last name", bet.last_name.chars().count()),
    ]
}

/// Appends the packet of a bet.
fn put_packet(bet: &Bet<'_>, out: &mut Vec<u8>) -> Result<(), Unencodable> {
    bet.validate()?;
    for (what, characters) in name_lengths(bet) {
        within(what, characters, MAX_NAME_CHARACTERS)?;
    }
    let (document, number) = document_and_number(bet)?;
    let length_at = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    for name in [bet.first_name, bet.last_name] {
        // A character has at most 4 bytes, so the length fits.
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(&bet.birthdate.iso_bytes());
    out.extend_from_slice(&document.to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    let bytes = out.len() - length_at - LENGTH_BYTES;
    BigEndian::write_u16(&mut out[length_at..], bytes as u16);
    Ok(())
}

/// The agency's side.
#[derive(Debug)]
struct SentinelAgencyCodec {
    agency: u8,
    batch: Packet,
}

impl SentinelAgencyCodec {
    fn new(options: &AgencyOptions) -> Self {
        Self { agency: agency_byte(options), batch: Packet::new(options.max_bets, LENGTH_BYTES, 0) }
    }
}

impl AgencyCodec for SentinelAgencyCodec {
    fn greeting(&self) -> Vec<u8> {
        vec![self.agency]
    }

    fn push(&mut self, bet: &Bet<'_>) -> Result<Push, Unencodable> {
        self.batch.push(|out| put_packet(bet, out))
    }

    fn bets(&self) -> usize {
        self.batch.bets()
    }

    fn packet(&mut self) -> &[u8] {
        let packet = self.batch.bytes();
        let payload = packet.len() - LENGTH_BYTES;
        BigEndian::write_u16(packet, payload as u16);
        packet
    }

    fn clear(&mut self) {
        self.batch.clear();
    }

    fn receipt(&self, reply: &[u8]) -> Result<Option<Receipt>, ProtocolError> {
        for (bytes, receipt) in [(ACK, Receipt::Stored { winners: None }), (ERR, Receipt::Refused)]
        {
            if let Some(trailing) = reply.strip_prefix(bytes) {
                no_trailing_bytes(trailing)?;
                return Ok(Some(receipt));
            }
            if bytes.starts_with(reply) {
                return Ok(None);
            }
        }
        Err(no_such_reply(reply, ACK.len()))
    }

    fn question(&self) -> Vec<u8> {
        NOTIFICATION.to_be_bytes().to_vec()
    }

    fn answer(&self, reply: &[u8]) -> Result<Option<Answer>, ProtocolError> {
        let winners = read_winners(reply)?;
        Ok(winners.map(|documents| Answer::Winners((documents.len() / DOCUMENT_BYTES) as u64)))
    }

    fn documents(&self, reply: &[u8]) -> Option<Vec<String>> {
        read_winners(reply).ok().flatten().map(read_documents)
    }
}

/// The documents in the reply to the notification; `None` while bytes are missing.
fn read_winners(reply: &[u8]) -> Result<Option<&[u8]>, ProtocolError> {
    let mut fields = Fields { rest: reply };
    let Some(code) = fields.array() else { return Ok(None) };
    if u16::from_be_bytes(code) != WINNERS {
        return Err(no_such_reply(reply, LENGTH_BYTES));
    }
    let Some(bytes) = fields.length(LENGTH_BYTES) else { return Ok(None) };
    if !bytes.is_multiple_of(DOCUMENT_BYTES) {
        return Err(no_such_reply(reply, 2 * LENGTH_BYTES));
    }
    let Some(documents) = fields.bytes(bytes) else { return Ok(None) };
    no_trailing_bytes(fields.rest)?;
    Ok(Some(documents))
}

/// The error that shows the first bytes of what is no reply.
fn no_such_reply(reply: &[u8], shown: usize) -> ProtocolError {
    ProtocolError::NoSuchReply(reply.iter().copied().take(shown).collect())
}
