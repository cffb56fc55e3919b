//! The `sentinel` dialect: batches of binary packets, with 9000 and 9001 in place of a length.
//!
//! All integers are unsigned big-endian, all text is UTF-8. A *size* is the number of bytes that
//! follow it.
//!
//! | message | layout |
//! |---|---|
//! | hello | u8 agency (1 to 255), first on the connection: the agency of all its bets |
//! | name | u8 length, that many bytes |
//! | packet | u16 size, first name, last name, birthdate `YYYY-MM-DD`, u32 document, u32 number |
//! | batch | u16 size, packets |
//! | batch reply | `ACK` or `ERR` |
//! | notification | u16 `9000`: announces that all bets are sent and asks for the winners |
//! | winners | u16 `9001`, u16 size, u32 documents; then the central closes |
//!
//! A name has at most 30 characters. The central answers a batch with an invalid packet with `ERR`,
//! stores nothing of it and continues. It answers an empty batch with `ACK`.

mod rules;
mod scan;

use byteorder::{BigEndian, ByteOrder};

use super::binary::{
    DOCUMENT_BYTES, Fields, RawBet, agency_byte, check_document, document_and_number, documents,
    read_documents, within,
};
use super::{
    AgencyCodec, AgencyOptions, Answer, CentralCodec, ConnectionUse, Decoded, Dialect,
    MAX_PACKET_BYTES, Packet, ProtocolError, Push, Receipt, Refusal, Refused, Then, Unencodable,
    error::no_trailing_bytes,
};
use crate::{Bet, CopiedRows, FileRows, Prepared, Reply, Request};

/// The row of the dialect table.
pub const DIALECT: Dialect = Dialect {
    name: "sentinel",
    connections: &[ConnectionUse::Kept],
    waits_for_draw: true,
    number_is_optional: false,
    has_keys: false,
    originals_join_reads: false,
    max_agency: u8::MAX as u16,
    check_document,
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
/// Largest number of winners: their length in bytes is a u16.
const MAX_WINNERS: usize = u16::MAX as usize / DOCUMENT_BYTES;

// A longer packet could have 9000 in its length field, which the central reads as a notification.
const _: () = assert!(MAX_PACKET_BYTES < NOTIFICATION as usize);

/// The central's codec.
#[derive(Debug, Default)]
struct SentinelCentralCodec {
    /// The agency that the connection belongs to; `None` until the hello has arrived.
    agency: Option<u8>,
}

impl CentralCodec for SentinelCentralCodec {
    /// Returns true once both bytes of a batch's length have arrived.
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

    fn prepare<'b>(&mut self, buffer: &'b [u8], rows: &mut Vec<u8>) -> Option<Prepared<'b>> {
        let agency = self.agency?;
        let length = length(buffer).filter(|&length| length != NOTIFICATION)?;
        scan::prepare(buffer.get(..LENGTH_BYTES + usize::from(length))?, agency, rows)
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

    /// Closes without a reply after an invalid hello; otherwise appends `ERR` and continues.
    fn refuse(&mut self, _refused: Refused<'_>, out: &mut Vec<u8>) -> Then {
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

/// Returns the u16 at the start of the buffer, or `None` while it is incomplete.
fn length(buffer: &[u8]) -> Option<u16> {
    buffer.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// An iterator over the packets of a batch, without their lengths. It yields `None` for a last
/// packet that the end of the batch truncates.
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
        bets.push(decode_packet(agency, packet, bets.len() + 1)?);
    }
    Ok(bets)
}

fn decode_packet(
    agency: u8,
    packet: Option<&[u8]>,
    record: usize,
) -> Result<Bet<'_>, ProtocolError> {
    let bet = packet.and_then(|packet| read_packet(agency, packet));
    let bet = bet.ok_or(ProtocolError::Layout { record })?.checked(record)?;
    for (what, characters) in name_lengths(&bet) {
        if characters > MAX_NAME_CHARACTERS {
            let (value, max) = (characters, MAX_NAME_CHARACTERS);
            return Err(ProtocolError::OverLimit { record, what, value, max });
        }
    }
    Ok(bet)
}

/// Reads the fields of a packet, or returns `None` if they do not fill it exactly.
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

/// Returns the number of characters in each name, with the text for an error.
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
        // 30 characters have at most 120 bytes, so the length fits a u8.
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

/// The agency's codec.
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

    fn copy_rows(&mut self, rows: FileRows<'_>) -> CopiedRows {
        self.batch.copy_rows::<b','>(rows, |row, out| scan::put_row(row, out))
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

/// Returns the documents in the reply to the notification, or `None` while bytes are missing.
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

/// Returns the error with the first `shown` bytes of an unknown reply.
fn no_such_reply(reply: &[u8], shown: usize) -> ProtocolError {
    ProtocolError::NoSuchReply(reply.iter().copied().take(shown).collect())
}
