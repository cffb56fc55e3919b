//! The `counted` dialect in two editions: a count, then bets of binary fields; the reply is one
//! byte.
//!
//! All integers are unsigned big-endian, all text is UTF-8. An integer of the edition's *width* is
//! a u16 in `counted`, as the original's description says, and a u8 in `counted-u8`, as its
//! programs do.
//!
//! | message | layout |
//! |---|---|
//! | name | width length, that many bytes |
//! | bet | u8 agency, first name, last name, u32 document, birthdate `YYYY-MM-DD`, u16 number |
//! | batch | u16 count (1 to 65535), bets |
//! | batch reply | u8 `0` stored; `1` not stored, then the central closes |
//! | end | u16 `0`, u8 agency: announces that all bets are sent and asks for the winners |
//! | winners | width count, u32 documents |
//! | final byte | u8 `1` (`counted`) or `3` (`counted-u8`); the central accepts either |
//!
//! A connection belongs to one agency, 1 to 255. By default the agency opens one connection per
//! message, like the original programs. The central accepts several messages per connection.

mod rules;
mod scan;

use byteorder::{BigEndian, ByteOrder};

use super::binary::{
    DOCUMENT_BYTES, Fields, RawBet, agency_byte, check_document, document_and_number, documents,
    read_documents, within,
};
use super::{
    AgencyCodec, AgencyOptions, Answer, CentralCodec, ConnectionUse, Decoded, Dialect,
    MAX_REQUEST_BYTES, Packet, ProtocolError, Push, Receipt, Refusal, Refused, Then, Unencodable,
    error::no_trailing_bytes,
};
use crate::{Bet, CopiedRows, FileRows, InvalidBet, MAX_TEXT_BYTES, Prepared, Reply, Request};

/// The row of the dialect table for the edition that the original's description specifies.
pub const DIALECT: Dialect = Dialect {
    name: "counted",
    connections: CONNECTIONS,
    waits_for_draw: true,
    number_is_optional: false,
    has_keys: false,
    originals_join_reads: true,
    max_agency: u8::MAX as u16,
    check_document,
    central: || Box::new(CountedCentralCodec::new(Edition::U16)),
    agency: Some(|options| Box::new(CountedAgencyCodec::new(Edition::U16, options))),
    rules: || rules::rules(Edition::U16),
};

/// The row of the dialect table for the edition that the original programs implement.
pub const DIALECT_U8: Dialect = Dialect {
    name: "counted-u8",
    connections: CONNECTIONS,
    waits_for_draw: true,
    number_is_optional: false,
    has_keys: false,
    originals_join_reads: true,
    max_agency: u8::MAX as u16,
    check_document,
    central: || Box::new(CountedCentralCodec::new(Edition::U8)),
    agency: Some(|options| Box::new(CountedAgencyCodec::new(Edition::U8, options))),
    rules: || rules::rules(Edition::U8),
};

const CONNECTIONS: &[ConnectionUse] = &[ConnectionUse::PerRequest, ConnectionUse::Kept];

/// The u16 before the bets of a batch.
const COUNT_BYTES: usize = 2;
/// Length of the end message: a count of 0 and the agency.
const END_BYTES: usize = COUNT_BYTES + 1;
const STORED: u8 = 0;
const REFUSED: u8 = 1;
/// The final bytes of both editions.
const FINAL_BYTES: [u8; 2] = [1, 3];

/// The differences between the two editions.
#[derive(Clone, Copy, Debug)]
struct Edition {
    /// Bytes of the length before a name and of the count before the winners.
    width: usize,
    /// The byte that an agency sends after receiving its winners.
    final_byte: &'static [u8; 1],
}

impl Edition {
    const U16: Self = Self { width: 2, final_byte: &[1] };
    const U8: Self = Self { width: 1, final_byte: &[3] };

    /// Returns the largest count of winners.
    fn max_count(self) -> usize {
        (1 << (8 * self.width)) - 1
    }

    /// Reads bet number `record` of a batch, or returns `None` while it is incomplete. A name
    /// longer than a bet allows is rejected before its bytes arrive.
    #[inline(always)]
    fn read_bet<'b>(
        self,
        fields: &mut Fields<'b>,
        record: usize,
    ) -> Result<Option<RawBet<'b>>, ProtocolError> {
        let Some([agency]) = fields.array() else { return Ok(None) };
        let Some(first_name) = self.read_name("first name", fields, record)? else {
            return Ok(None);
        };
        let Some(last_name) = self.read_name("last name", fields, record)? else { return Ok(None) };
        let (Some(document), Some(birthdate), Some(number)) =
            (fields.array(), fields.date(), fields.array())
        else {
            return Ok(None);
        };
        let (document, number) = (u32::from_be_bytes(document), u16::from_be_bytes(number).into());
        Ok(Some(RawBet { agency, first_name, last_name, birthdate, document, number }))
    }

    #[inline(always)]
    fn read_name<'b>(
        self,
        field: &'static str,
        fields: &mut Fields<'b>,
        record: usize,
    ) -> Result<Option<&'b [u8]>, ProtocolError> {
        let Some(bytes) = fields.length(self.width) else { return Ok(None) };
        if bytes > MAX_TEXT_BYTES {
            return Err(ProtocolError::Bet {
                record,
                source: InvalidBet::TooLong { field, bytes },
            });
        }
        Ok(fields.bytes(bytes))
    }

    /// Appends a bet as one of `agency`.
    fn put_bet(self, agency: u8, bet: &Bet<'_>, out: &mut Vec<u8>) -> Result<(), Unencodable> {
        bet.validate()?;
        let (document, number) = document_and_number(bet)?;
        let number = within("number", number as usize, u16::MAX.into())?;
        out.push(agency);
        for name in [bet.first_name, bet.last_name] {
            self.put(name.len(), out);
            out.extend_from_slice(name.as_bytes());
        }
        out.extend_from_slice(&document.to_be_bytes());
        out.extend_from_slice(&bet.birthdate.iso_bytes());
        out.extend_from_slice(&(number as u16).to_be_bytes());
        Ok(())
    }

    /// Returns the documents in the reply to the end message, or `None` while bytes are missing.
    fn read_winners(self, reply: &[u8]) -> Result<Option<&[u8]>, ProtocolError> {
        let mut fields = Fields { rest: reply };
        let count = fields.length(self.width);
        let Some(documents) = count.and_then(|count| fields.bytes(DOCUMENT_BYTES * count)) else {
            return Ok(None);
        };
        no_trailing_bytes(fields.rest)?;
        Ok(Some(documents))
    }

    /// Appends a length or count, which must fit the edition's width.
    fn put(self, value: usize, out: &mut Vec<u8>) {
        let at = out.len();
        out.resize(at + self.width, 0);
        BigEndian::write_uint(&mut out[at..], value as u64, self.width);
    }
}

/// The central's codec.
#[derive(Debug)]
struct CountedCentralCodec {
    edition: Edition,
    /// The agency that the connection belongs to: that of its first bet or end message.
    agency: Option<u8>,
    /// True if the winners were sent and the agency's final byte is next.
    awaits_final: bool,
    /// Progress of the batch that is arriving.
    progress: Progress,
}

/// How far a batch was scanned, so that a batch which arrives byte by byte is not scanned from its
/// start each time.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Number of complete bets.
    bets: usize,
    /// Offset of the first byte after them; 0 before the first one.
    end: usize,
}

impl CountedCentralCodec {
    fn new(edition: Edition) -> Self {
        Self { edition, agency: None, awaits_final: false, progress: Progress::default() }
    }

    fn check_agency(&mut self, found: u8) -> Result<(), ProtocolError> {
        if found == 0 {
            return Err(ProtocolError::NoAgency);
        }
        let expected = *self.agency.get_or_insert(found);
        if found != expected {
            return Err(ProtocolError::OtherAgency {
                found: found.into(),
                expected: expected.into(),
            });
        }
        Ok(())
    }

    fn decode_batch<'b>(
        &mut self,
        buffer: &'b [u8],
        announced: usize,
    ) -> Result<Decoded<'b>, ProtocolError> {
        let Some(end) = self.batch_end(buffer, announced)? else { return Ok(Decoded::Incomplete) };
        self.progress = Progress::default();
        let mut fields = Fields { rest: &buffer[COUNT_BYTES..end] };
        let mut bets = Vec::with_capacity(announced);
        while let Some(bet) = self.edition.read_bet(&mut fields, bets.len() + 1)? {
            bets.push(bet.checked(bets.len() + 1)?);
        }
        Ok(Decoded::Complete { request: Request::Store(bets), consumed: end })
    }

    /// Returns the length of the batch, or `None` while it is incomplete.
    fn batch_end(
        &mut self,
        buffer: &[u8],
        announced: usize,
    ) -> Result<Option<usize>, ProtocolError> {
        // Bytes beyond the limit are never read, so the result does not depend on whether they have
        // already arrived.
        let buffer = &buffer[..buffer.len().min(MAX_REQUEST_BYTES)];
        let Progress { mut bets, mut end } = self.progress;
        end = end.max(COUNT_BYTES);
        while bets < announced {
            let mut fields = Fields { rest: buffer.get(end..).unwrap_or_default() };
            let Some(bet) = self.edition.read_bet(&mut fields, bets + 1)? else {
                if buffer.len() == MAX_REQUEST_BYTES {
                    return Err(ProtocolError::TooLarge { max: MAX_REQUEST_BYTES });
                }
                self.progress = Progress { bets, end };
                return Ok(None);
            };
            self.check_agency(bet.agency)?;
            (bets, end) = (bets + 1, buffer.len() - fields.rest.len());
        }
        self.progress = Progress { bets, end };
        Ok(Some(end))
    }
}

impl CentralCodec for CountedCentralCodec {
    /// Returns true once both bytes of a count other than 0 have arrived.
    fn begins_batch(&self, buffer: &[u8]) -> bool {
        !self.awaits_final && matches!(buffer, [high, low, ..] if (*high, *low) != (0, 0))
    }

    fn decode<'b>(&mut self, buffer: &'b [u8]) -> Result<Decoded<'b>, Refusal> {
        match *buffer {
            [] => Ok(Decoded::Incomplete),
            [byte, ..] if self.awaits_final => {
                if !FINAL_BYTES.contains(&byte) {
                    return Err(ProtocolError::UnknownFinalByte(byte).into());
                }
                self.awaits_final = false;
                Ok(Decoded::Complete { request: Request::Close, consumed: 1 })
            }
            [0, 0, agency, ..] => {
                self.check_agency(agency)?;
                let request = Request::Winners { agency: agency.into(), finished: true };
                Ok(Decoded::Complete { request, consumed: END_BYTES })
            }
            [_] | [0, 0] => Ok(Decoded::Incomplete),
            [high, low, ..] => {
                let announced = u16::from_be_bytes([high, low]).into();
                let refused = |error| Refusal { error, bets: Some(announced), consumed: None };
                self.decode_batch(buffer, announced).map_err(refused)
            }
        }
    }

    fn prepare<'b>(&mut self, buffer: &'b [u8], rows: &mut Vec<u8>) -> Option<Prepared<'b>> {
        let announced = match *buffer {
            [high, low, ..] if !self.awaits_final => u16::from_be_bytes([high, low]).into(),
            _ => return None,
        };
        if announced == 0 {
            return None;
        }
        let end = self.batch_end(buffer, announced).ok()??;
        let prepared = scan::prepare(self.edition, &buffer[..end], self.agency?, rows)?;
        self.progress = Progress::default();
        Some(prepared)
    }

    fn encode(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>) -> Result<Then, Unencodable> {
        match reply {
            Reply::Stored { .. } => out.push(STORED),
            Reply::Winners(winners) => {
                let count = within("winners", winners.len(), self.edition.max_count())?;
                let documents = documents(winners)?;
                self.edition.put(count, out);
                out.extend_from_slice(&documents);
                return Ok(self.winners_sent());
            }
            _ => return Err(Unencodable::Reply),
        }
        Ok(Then::Continue)
    }

    fn winners_sent(&mut self) -> Then {
        self.awaits_final = true;
        Then::Continue
    }

    /// Appends the one error reply and closes: the start of the next message is unknown.
    fn refuse(&mut self, _refused: Refused<'_>, out: &mut Vec<u8>) -> Then {
        out.push(REFUSED);
        Then::Close
    }
}

/// The agency's codec. It sends all bets with the number of its own agency.
#[derive(Debug)]
struct CountedAgencyCodec {
    edition: Edition,
    agency: u8,
    batch: Packet,
}

impl CountedAgencyCodec {
    fn new(edition: Edition, options: &AgencyOptions) -> Self {
        let batch = Packet::new(options.max_bets, COUNT_BYTES, 0);
        Self { edition, agency: agency_byte(options), batch }
    }
}

impl AgencyCodec for CountedAgencyCodec {
    fn push(&mut self, bet: &Bet<'_>) -> Result<Push, Unencodable> {
        self.batch.push(|out| self.edition.put_bet(self.agency, bet, out))
    }

    fn copy_rows(&mut self, rows: FileRows<'_>) -> CopiedRows {
        let Self { edition, agency, batch } = self;
        batch.copy_rows::<b','>(rows, |row, out| scan::put_row(*edition, *agency, row, out))
    }

    fn bets(&self) -> usize {
        self.batch.bets()
    }

    fn packet(&mut self) -> &[u8] {
        let count = self.batch.count();
        let packet = self.batch.bytes();
        BigEndian::write_u16(packet, count);
        packet
    }

    fn clear(&mut self) {
        self.batch.clear();
    }

    fn receipt(&self, reply: &[u8]) -> Result<Option<Receipt>, ProtocolError> {
        let (receipt, trailing) = match reply {
            [] => return Ok(None),
            [STORED, trailing @ ..] => (Receipt::Stored { winners: None }, trailing),
            [REFUSED, trailing @ ..] => (Receipt::Refused, trailing),
            [other, ..] => return Err(ProtocolError::UnknownReply(*other)),
        };
        no_trailing_bytes(trailing)?;
        Ok(Some(receipt))
    }

    fn question(&self) -> Vec<u8> {
        vec![0, 0, self.agency]
    }

    fn answer(&self, reply: &[u8]) -> Result<Option<Answer>, ProtocolError> {
        let winners = self.edition.read_winners(reply)?;
        Ok(winners.map(|documents| Answer::Winners((documents.len() / DOCUMENT_BYTES) as u64)))
    }

    fn documents(&self, reply: &[u8]) -> Option<Vec<String>> {
        self.edition.read_winners(reply).ok().flatten().map(read_documents)
    }

    fn final_message(&self) -> &'static [u8] {
        self.edition.final_byte
    }
}
