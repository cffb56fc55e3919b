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

use byteorder::{BigEndian, ByteOrder};

pub use super::records::MAX_RECORD_BYTES;
use super::records::{
    LENGTH_BYTES, copy_records, decode_records, prepare_records, push_record, put_counted, put_u16,
    record_end,
};
use super::{
    AgencyCodec, AgencyOptions, Answer, CentralCodec, ConnectionUse, Decoded, Dialect,
    MAX_REQUEST_BYTES, Packet, ProtocolError, Push, Receipt, Refusal, Refused, Then, Unencodable,
    error::no_trailing_bytes,
};
use crate::{Bet, CopiedRows, FileRows, Prepared, Reply, Request, Results};

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

const BATCH_TYPE: u8 = 0;
const QUERY_TYPE: u8 = 1;
const PARTIAL: u8 = 0;
const TOTAL: u8 = 1;
/// The agency of every bet.
const NO_AGENCY: u16 = 0;
/// The type byte and the u16 count.
const BATCH_HEADER_BYTES: usize = 3;

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
            Some(&other) => {
                let expected = "0 for a batch or 1 for a query";
                Err(ProtocolError::UnknownRequest { kind: other, expected }.into())
            }
        }
    }

    fn prepare<'b>(&mut self, buffer: &'b [u8], rows: &mut Vec<u8>) -> Option<Prepared<'b>> {
        let end = match buffer {
            [BATCH_TYPE, ..] => self.batch_end(buffer).ok()??,
            _ => return None,
        };
        prepare_records(&buffer[BATCH_HEADER_BYTES..end], NO_AGENCY, end, rows)
    }

    /// Encodes the reply. Counts saturate at their largest value on the wire: 65,535 in flight,
    /// 4,294,967,295 winners.
    fn encode(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Then, Unencodable> {
        match reply {
            Reply::Stored { winners, .. } => put_counted(winners, out),
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
        let bets = decode_records(&buffer[BATCH_HEADER_BYTES..end], self.records, NO_AGENCY)?;
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
            if end > MAX_REQUEST_BYTES {
                return Err(ProtocolError::TooLarge { max: MAX_REQUEST_BYTES });
            }
            if end > buffer.len() {
                return Ok(None);
            }
            (self.records, self.scanned) = (record, end);
        }
        Ok(Some(self.scanned))
    }
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
        Ok(self.results(reply)?.map(Answer::Results))
    }

    fn results(&self, reply: &[u8]) -> Result<Option<Results>, ProtocolError> {
        decode_results(reply)
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
    decode_records(&buffer[LENGTH_BYTES..], count, NO_AGENCY).map(Some)
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
