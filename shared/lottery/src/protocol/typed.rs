//! The `typed` dialect, the main one: a request-type byte, one request per connection, and queries
//! answered with a partial or total number of winners.
//!
//! All integers are unsigned big-endian, all text is UTF-8.
//!
//! | message | layout |
//! |---|---|
//! | record | u16 length, then `first;last;document;birthdate`, optionally followed by `;number` |
//! | batch | u8 `0`, u16 count (1 to 65535), records |
//! | batch reply | u16 count of winners, their records in the order of the request |
//! | query | u8 `1` |
//! | query reply, total | u8 `1`, u32 winners |
//! | query reply, partial | u8 `0`, u16 agencies in flight, u32 winners so far |

mod rules;
mod scan;

use byteorder::{BigEndian, ByteOrder};

use super::text::Fields;
use super::{
    AgencyCodec, AgencyOptions, Answer, CentralCodec, ConnectionUse, Decoded, Dialect,
    MAX_REQUEST_BYTES, Packet, ProtocolError, Push, Receipt, Refusal, Refused, Then, Unencodable,
    check_separator, error::no_trailing_bytes,
};
use crate::{
    Bet, Birthdate, InvalidBet, MAX_TEXT_BYTES, Prepared, Reply, Request, Results, decimal,
};

/// The row of the dialect table.
pub const DIALECT: Dialect = Dialect {
    name: "typed",
    connections: &[ConnectionUse::PerRequest],
    waits_for_draw: false,
    number_is_optional: true,
    has_keys: false,
    originals_join_reads: true,
    // Messages carry no agency number, so the dialect does not limit it.
    max_agency: u16::MAX,
    // No agency gets an answer.
    check_document: |_| Ok(()),
    central: || Box::<TypedCentralCodec>::default(),
    agency: Some(|options| Box::new(TypedAgencyCodec::new(options))),
    rules: rules::rules,
};

/// The complete query for the results.
pub const QUERY: [u8; 1] = [QUERY_TYPE];

/// Length of the longest valid record: three texts, an ISO date, a ten-digit number and four
/// separators. A record that announces more is rejected before its bytes arrive.
pub const MAX_RECORD_BYTES: usize = 3 * MAX_TEXT_BYTES + 10 + 10 + 4;

const BATCH_TYPE: u8 = 0;
const QUERY_TYPE: u8 = 1;
const PARTIAL: u8 = 0;
const TOTAL: u8 = 1;
const SEPARATOR: u8 = b';';
/// The type byte and the u16 count.
const BATCH_HEADER_BYTES: usize = 3;
/// The u16 before a record, and before the winners of a reply.
const LENGTH_BYTES: usize = 2;

/// The central's codec. It stores how far a batch was scanned, so that a batch which arrives byte
/// by byte is not scanned from its start each time.
#[derive(Debug, Default)]
pub struct TypedCentralCodec {
    /// Number of complete records.
    records: usize,
    /// Offset of the first byte after them; 0 until the header has arrived.
    scanned: usize,
}

impl CentralCodec for TypedCentralCodec {
    /// Returns true once the type byte of a batch has arrived.
    fn begins_batch(&self, buffer: &[u8]) -> bool {
        buffer.first() == Some(&BATCH_TYPE)
    }

    fn decode<'b>(&mut self, buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal> {
        match buffer.first() {
            None => Ok(Decoded::Incomplete),
            Some(&QUERY_TYPE) => {
                Ok(Decoded::Complete { request: Request::Results, consumed: QUERY.len() })
            }
            Some(&BATCH_TYPE) => self.decode_batch(buffer).map_err(Refusal::from),
            Some(&other) => Err(ProtocolError::UnknownRequest(other).into()),
        }
    }

    fn prepare<'b>(&mut self, buffer: &'b [u8], rows: &mut Vec<u8>) -> Option<Prepared<'b>> {
        let end = match buffer {
            [BATCH_TYPE, ..] => self.batch_end(buffer).ok()??,
            _ => return None,
        };
        scan::prepare(&buffer[..end], rows)
    }

    /// Encodes the reply. Counts saturate at their largest value on the wire: 65,535 in flight,
    /// 4,294,967,295 winners.
    fn encode(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Then, Unencodable> {
        match reply {
            Reply::Stored { winners, .. } => {
                put_u16(out, winners.len());
                for bet in winners {
                    put_record(bet, out);
                }
            }
            Reply::Results(Results { winners, in_flight }) => {
                if *in_flight == 0 {
                    out.push(TOTAL);
                } else {
                    out.push(PARTIAL);
                    put_u16(out, *in_flight as usize);
                }
                out.extend_from_slice(&u32::try_from(*winners).unwrap_or(u32::MAX).to_be_bytes());
            }
            _ => return Err(Unencodable::Reply),
        }
        Ok(Then::Close)
    }

    /// Closes the connection, because the dialect has no error reply.
    fn refuse(&mut self, _refused: Refused<'_>, _out: &mut Vec<u8>) -> Then {
        Then::Close
    }
}

impl TypedCentralCodec {
    fn decode_batch<'b>(&mut self, buffer: &'b [u8]) -> Result<Decoded<'b>, ProtocolError> {
        let Some(end) = self.batch_end(buffer)? else { return Ok(Decoded::Incomplete) };
        let bets = decode_records(&buffer[BATCH_HEADER_BYTES..end], self.records)?;
        Ok(Decoded::Complete { request: Request::Store(bets), consumed: end })
    }

    /// Returns the length of the batch, or `None` while it is incomplete. All its records are then
    /// counted.
    fn batch_end(&mut self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        if buffer.len() < BATCH_HEADER_BYTES {
            return Ok(None);
        }
        let announced = usize::from(BigEndian::read_u16(&buffer[1..]));
        if announced == 0 {
            return Err(ProtocolError::EmptyBatch);
        }
        self.scanned = self.scanned.max(BATCH_HEADER_BYTES);
        while self.records < announced {
            let record = self.records + 1;
            let Some(end) = record_end(buffer, self.scanned, record)? else { return Ok(None) };
            if end > buffer.len() {
                return Ok(None);
            }
            (self.records, self.scanned) = (record, end);
        }
        Ok(Some(self.scanned))
    }
}

/// Returns the offset after the record that starts at `start`, or `None` while its length has not
/// arrived. The offset is beyond the buffer while the record is incomplete.
fn record_end(buffer: &[u8], start: usize, record: usize) -> Result<Option<usize>, ProtocolError> {
    let Some(length) = buffer.get(start..start + LENGTH_BYTES) else { return Ok(None) };
    let bytes = usize::from(BigEndian::read_u16(length));
    if bytes > MAX_RECORD_BYTES {
        return Err(ProtocolError::RecordTooLong { record, bytes, max: MAX_RECORD_BYTES });
    }
    let end = start + LENGTH_BYTES + bytes;
    if end > MAX_REQUEST_BYTES {
        return Err(ProtocolError::TooLarge { max: MAX_REQUEST_BYTES });
    }
    Ok(Some(end))
}

/// Decodes `count` records that are known to be complete.
fn decode_records(mut bytes: &[u8], count: usize) -> Result<Vec<Bet<'_>>, ProtocolError> {
    let mut bets = Vec::with_capacity(count);
    for record in 1..=count {
        let (length, rest) = bytes.split_at(LENGTH_BYTES);
        let (text, rest) = rest.split_at(usize::from(BigEndian::read_u16(length)));
        bets.push(decode_record(text, record)?);
        bytes = rest;
    }
    Ok(bets)
}

fn decode_record(bytes: &[u8], record: usize) -> Result<Bet<'_>, ProtocolError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ProtocolError::NotUtf8 { record })?;
    let mut fields = Fields::<SEPARATOR>::new(text);
    let (Some(first_name), Some(last_name), Some(document), Some(date), number, None) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        let found = Fields::<SEPARATOR>::new(text).count();
        return Err(ProtocolError::FieldCount { record, found, expected: "4 or 5" });
    };
    let invalid = |source| ProtocolError::Bet { record, source };
    let birthdate =
        Birthdate::from_unpadded(date).ok_or_else(|| invalid(InvalidBet::birthdate(date)))?;
    // Only plain decimals, because the reply must repeat the digits and is written from the
    // integer.
    let number = number
        .map(|digits| decimal::parse(digits).ok_or_else(|| invalid(InvalidBet::number(digits))))
        .transpose()?;
    let bet =
        Bet { agency: 0, first_name, last_name, document: document.into(), birthdate, number };
    bet.validate().map_err(invalid)?;
    Ok(bet)
}

fn put_u16(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes());
}

/// Appends a record with its length, which fits a u16: the record of a valid bet has at most
/// [`MAX_RECORD_BYTES`].
fn put_record(bet: &Bet<'_>, out: &mut Vec<u8>) {
    let length_at = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    for text in [bet.first_name, bet.last_name, bet.document.as_str()] {
        out.extend_from_slice(text.as_bytes());
        out.push(SEPARATOR);
    }
    out.extend_from_slice(&bet.birthdate.iso_bytes());
    if let Some(number) = bet.number {
        out.push(SEPARATOR);
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
    let bytes = out.len() - length_at - LENGTH_BYTES;
    debug_assert!(bytes <= MAX_RECORD_BYTES, "a record of {bytes} bytes passed validation");
    BigEndian::write_u16(&mut out[length_at..], u16::try_from(bytes).unwrap_or(u16::MAX));
}

/// The agency's codec.
#[derive(Debug)]
pub struct TypedAgencyCodec {
    batch: Packet,
}

impl TypedAgencyCodec {
    /// Creates a codec with an empty batch.
    pub fn new(options: &AgencyOptions) -> Self {
        Self { batch: Packet::new(options.max_bets, BATCH_HEADER_BYTES, 0) }
    }
}

impl AgencyCodec for TypedAgencyCodec {
    fn push(&mut self, bet: &Bet<'_>) -> Result<Push, Unencodable> {
        bet.validate()?;
        check_separator(bet, SEPARATOR.into())?;
        self.batch.push(|out| {
            put_record(bet, out);
            Ok(())
        })
    }

    fn bets(&self) -> usize {
        self.batch.bets()
    }

    fn packet(&mut self) -> &[u8] {
        let count = self.batch.count();
        let packet = self.batch.bytes();
        packet[0] = BATCH_TYPE;
        BigEndian::write_u16(&mut packet[1..], count);
        packet
    }

    fn clear(&mut self) {
        self.batch.clear();
    }

    fn receipt(&self, reply: &[u8]) -> Result<Option<Receipt>, ProtocolError> {
        let winners = decode_winners(reply)?;
        Ok(winners.map(|winners| Receipt::Stored { winners: Some(winners.len()) }))
    }

    fn question(&self) -> Vec<u8> {
        QUERY.to_vec()
    }

    fn answer(&self, reply: &[u8]) -> Result<Option<Answer>, ProtocolError> {
        Ok(decode_results(reply)?.map(Answer::Results))
    }

    fn documents(&self, reply: &[u8]) -> Option<Vec<String>> {
        let winners = decode_winners(reply).ok().flatten()?;
        Some(winners.iter().map(|bet| bet.document.to_string()).collect())
    }
}

/// Decodes the reply to a batch: its winners, or `None` while bytes are missing.
pub fn decode_winners(buffer: &[u8]) -> Result<Option<Vec<Bet<'_>>>, ProtocolError> {
    if buffer.len() < LENGTH_BYTES {
        return Ok(None);
    }
    let count = usize::from(BigEndian::read_u16(buffer));
    let mut end = LENGTH_BYTES;
    for record in 1..=count {
        match record_end(buffer, end, record)? {
            Some(next) if next <= buffer.len() => end = next,
            _ => return Ok(None),
        }
    }
    no_trailing_bytes(&buffer[end..])?;
    decode_records(&buffer[LENGTH_BYTES..], count).map(Some)
}

/// Decodes the reply to a query, or returns `None` while bytes are missing.
pub fn decode_results(buffer: &[u8]) -> Result<Option<Results>, ProtocolError> {
    let (in_flight, rest) = match buffer {
        [TOTAL, rest @ ..] => (0, rest),
        [PARTIAL, high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]).into(), rest),
        [] | [PARTIAL, ..] => return Ok(None),
        [other, ..] => return Err(ProtocolError::UnknownReply(*other)),
    };
    let Some((winners, trailing)) = rest.split_first_chunk() else { return Ok(None) };
    no_trailing_bytes(trailing)?;
    Ok(Some(Results { winners: u32::from_be_bytes(*winners).into(), in_flight }))
}
