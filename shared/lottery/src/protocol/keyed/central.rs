//! The central's codec of `keyed`.

use twox_hash::XxHash3_64;

use super::code::{self, NOT_YET};
use super::message::{HEADER_BYTES, Header, VERSION, put_message};
use super::{
    BATCH, COUNT_BYTES, ERROR, FINISH, KEY_BYTES, LAST, MAX_REASON_BYTES, REPLY, RESULTS, SESSION,
    WINNERS,
};
use crate::protocol::binary::{Fields, within};
use crate::protocol::records::{
    LENGTH_BYTES, decode_counted, prepare_records, put_counted, put_u16,
};
use crate::protocol::{
    CentralCodec, Decoded, Denial, MAX_REQUEST_BYTES, ProtocolError, Refusal, Refused, Then,
    Unencodable,
};
use crate::{BatchKey, Bet, Prepared, Reply, Request, Results};

/// The central's codec. The length before a body is enough to wait for the end of a message without
/// decoding its beginning again.
#[derive(Debug, Default)]
pub(super) struct KeyedCentralCodec {
    /// True once the last request of the connection has begun.
    is_last: bool,
}

impl CentralCodec for KeyedCentralCodec {
    /// Returns true once version and type of a batch have arrived.
    fn begins_batch(&self, buffer: &[u8]) -> bool {
        matches!(*buffer, [VERSION, kind, ..] if kind & !LAST == BATCH)
    }

    fn decode<'b>(&mut self, buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal> {
        let Some(header) = Header::decode(buffer)? else { return Ok(Decoded::Incomplete) };
        self.is_last = header.kind & LAST != 0;
        let consumed = header.message_bytes();
        if consumed > MAX_REQUEST_BYTES {
            return Err(ProtocolError::TooLarge { max: MAX_REQUEST_BYTES }.into());
        }
        let Some(body) = header.body_in(buffer) else { return Ok(Decoded::Incomplete) };
        match decode_body(header, body) {
            Ok(request) => Ok(Decoded::Complete { request, consumed }),
            Err(refusal) => Err(Refusal { consumed: Some(consumed), ..refusal }),
        }
    }

    fn prepare<'b>(&mut self, buffer: &'b [u8], rows: &mut Vec<u8>) -> Option<Prepared<'b>> {
        let header = Header::decode(buffer).ok()??;
        let consumed = header.message_bytes();
        if header.kind & !LAST != BATCH || consumed > MAX_REQUEST_BYTES {
            return None;
        }
        let Batch { key, count, content } = Batch::decode(header, header.body_in(buffer)?).ok()?;
        let start = rows.len();
        let records = &content[LENGTH_BYTES..];
        let prepared = prepare_records(records, key.agency, consumed, rows)?;
        if prepared.bets != usize::from(count) {
            rows.truncate(start);
            return None;
        }
        self.is_last = header.kind & LAST != 0;
        Some(Prepared { key: Some(key), ..prepared })
    }

    /// Encodes the reply. Closes only after the last request of the connection.
    fn encode(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Then, Unencodable> {
        match reply {
            Reply::Stored { winners, .. } => {
                put_message(BATCH | REPLY, out, |out| put_counted(winners, out));
            }
            Reply::Next(sequence) => put_message(SESSION | REPLY, out, |out| {
                out.extend_from_slice(&sequence.to_be_bytes());
            }),
            Reply::Results(Results { winners, in_flight }) => {
                put_message(RESULTS | REPLY, out, |out| {
                    out.extend_from_slice(&in_flight.to_be_bytes());
                    out.extend_from_slice(&winners.to_be_bytes());
                });
            }
            Reply::Finished => put_message(FINISH | REPLY, out, |_| {}),
            Reply::Winners(documents) => put_winners(documents, out)?,
            Reply::NotYet => put_error(NOT_YET, 0, "the draw has not been held", out),
            Reply::Echo(_) => return Err(Unencodable::Reply),
        }
        Ok(self.then())
    }

    fn winners_sent(&mut self) -> Then {
        self.then()
    }

    /// Appends the error reply. Closes after the last request, and if the end of the message is
    /// unknown.
    fn refuse(&mut self, refused: Refused<'_>, out: &mut Vec<u8>) -> Then {
        match refused {
            Refused::Message(error) => {
                put_error(code::of_message(error), 0, &error.to_string(), out);
                let has_no_end = matches!(
                    error,
                    ProtocolError::UnknownVersion { .. } | ProtocolError::TooLarge { .. }
                );
                if has_no_end { Then::Close } else { self.then() }
            }
            Refused::Request(denial) => {
                let (code, text) = code::of_denial(denial);
                let expected = match denial {
                    Denial::Sequence { expected } => expected,
                    _ => 0,
                };
                put_error(code, expected, text, out);
                self.then()
            }
        }
    }
}

impl KeyedCentralCodec {
    /// Returns what follows the reply to the request that was decoded.
    fn then(&self) -> Then {
        if self.is_last { Then::Close } else { Then::Continue }
    }
}

fn decode_body<'b>(header: Header, body: &'b [u8]) -> Result<Request<'b>, Refusal> {
    match header.kind & !LAST {
        BATCH => {
            let batch = Batch::decode(header, body)?;
            Ok(Request::StoreOnce { key: batch.key, bets: batch.bets()? })
        }
        RESULTS if body.is_empty() => Ok(Request::Results),
        RESULTS => Err(header.bad_length().into()),
        FINISH => Ok(Request::Finish { agency: decode_agency(header, body)? }),
        WINNERS => Ok(Request::Winners { agency: decode_agency(header, body)?, finished: false }),
        SESSION => Ok(decode_session(header, body)?),
        _ => {
            let expected = "1 for a batch, 2 for the results, 3 to finish, 4 for the winners or 5 \
                            for a session";
            Err(ProtocolError::UnknownRequest { kind: header.kind, expected }.into())
        }
    }
}

fn decode_agency(header: Header, body: &[u8]) -> Result<u16, ProtocolError> {
    let bytes = body.try_into().map_err(|_| header.bad_length())?;
    some_agency(u16::from_be_bytes(bytes))
}

fn decode_session(header: Header, body: &[u8]) -> Result<Request<'static>, ProtocolError> {
    let mut fields = Fields { rest: body };
    match (fields.array(), fields.array(), fields.rest) {
        (Some(session), Some(agency), []) => {
            Ok(Request::Session { session, agency: some_agency(u16::from_be_bytes(agency))? })
        }
        _ => Err(header.bad_length()),
    }
}

fn some_agency(agency: u16) -> Result<u16, ProtocolError> {
    if agency == 0 { Err(ProtocolError::NoAgency) } else { Ok(agency) }
}

/// The body of a batch whose bets are not yet decoded.
struct Batch<'b> {
    key: BatchKey,
    /// Number of bets that it announces.
    count: u16,
    /// The count and the records.
    content: &'b [u8],
}

impl<'b> Batch<'b> {
    fn decode(header: Header, body: &'b [u8]) -> Result<Self, Refusal> {
        let mut fields = Fields { rest: body };
        let (Some(session), Some(agency), Some(sequence)) =
            (fields.array(), fields.array().map(u16::from_be_bytes), fields.array())
        else {
            return Err(header.bad_length().into());
        };
        let content = fields.rest;
        debug_assert_eq!(content.len() + KEY_BYTES, body.len(), "the key has a fixed length");
        let Some(count) = content.first_chunk().map(|count| u16::from_be_bytes(*count)) else {
            return Err(header.bad_length().into());
        };
        let refused = |error| Refusal { bets: Some(count.into()), ..Refusal::from(error) };
        let agency = some_agency(agency).map_err(refused)?;
        let sequence = u64::from_be_bytes(sequence);
        if sequence == 0 {
            return Err(refused(ProtocolError::NoSequence));
        }
        if count == 0 {
            return Err(refused(ProtocolError::EmptyBatch));
        }
        // The central keeps the hash, so later versions must compute the same.
        let key = BatchKey { session, agency, sequence, content: XxHash3_64::oneshot(content) };
        Ok(Self { key, count, content })
    }

    fn bets(&self) -> Result<Vec<Bet<'b>>, Refusal> {
        let refused = |error| Refusal { bets: Some(self.count.into()), ..Refusal::from(error) };
        decode_counted(self.content, self.key.agency).map_err(refused)
    }
}

/// Appends the documents of the winners. Reserves the memory at once, because an answer may have
/// many megabytes.
fn put_winners(documents: &[&str], out: &mut Vec<u8>) -> Result<(), Unencodable> {
    let bytes =
        COUNT_BYTES + documents.iter().map(|document| LENGTH_BYTES + document.len()).sum::<usize>();
    let longest = documents.iter().map(|document| document.len()).max().unwrap_or(0);
    within("bytes of a document", longest, u16::MAX.into())?;
    within("bytes of winners", bytes, u32::MAX as usize)?;
    out.reserve_exact(HEADER_BYTES + bytes);
    put_message(WINNERS | REPLY, out, |out| {
        out.extend_from_slice(&(documents.len() as u32).to_be_bytes());
        for document in documents {
            put_u16(out, document.len());
            out.extend_from_slice(document.as_bytes());
        }
    });
    Ok(())
}

fn put_error(code: u8, expected: u64, text: &str, out: &mut Vec<u8>) {
    let end = text.floor_char_boundary(MAX_REASON_BYTES);
    put_message(ERROR, out, |out| {
        out.push(code);
        out.extend_from_slice(&expected.to_be_bytes());
        out.extend_from_slice(&text.as_bytes()[..end]);
    });
}
