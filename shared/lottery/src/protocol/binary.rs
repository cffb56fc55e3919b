//! What `counted` and `sentinel` share: bets as fields of bytes, in which documents and numbers are integers.

use byteorder::{BigEndian, ByteOrder};

use super::{AgencyOptions, ProtocolError, Unencodable};
use crate::{Bet, Birthdate, InvalidBet, decimal};

/// Bytes of a date, `YYYY-MM-DD`.
const DATE_BYTES: usize = 10;
/// Bytes of a document.
pub(super) const DOCUMENT_BYTES: usize = 4;

/// Bytes from which fields are taken, first to last. A field that is not all there is `None`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'b> {
    /// What was not taken yet.
    pub rest: &'b [u8],
}

impl<'b> Fields<'b> {
    /// The next bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next bytes, as many as the type says: `from_be_bytes` makes an integer of them.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    /// An unsigned integer of `width` bytes, 1 to 4.
    pub fn length(&mut self, width: usize) -> Option<usize> {
        self.bytes(width).map(|bytes| BigEndian::read_uint(bytes, width) as usize)
    }

    /// A date, not checked.
    pub fn date(&mut self) -> Option<&'b [u8]> {
        self.bytes(DATE_BYTES)
    }
}

/// A bet as it lies on the wire, with nothing checked.
#[derive(Debug)]
pub(super) struct RawBet<'b> {
    pub agency: u8,
    pub first_name: &'b [u8],
    pub last_name: &'b [u8],
    pub birthdate: &'b [u8],
    pub document: u32,
    pub number: u32,
}

impl<'b> RawBet<'b> {
    /// The bet, if it is one. `record` says which of the batch it is, counted from 1.
    pub fn checked(&self, record: usize) -> Result<Bet<'b>, ProtocolError> {
        let text =
            |bytes| std::str::from_utf8(bytes).map_err(|_| ProtocolError::NotUtf8 { record });
        let (first_name, last_name, date) =
            (text(self.first_name)?, text(self.last_name)?, text(self.birthdate)?);
        let invalid = |source| ProtocolError::Bet { record, source };
        let birthdate =
            Birthdate::from_iso(date).ok_or_else(|| invalid(InvalidBet::birthdate(date)))?;
        let (agency, document, number) =
            (self.agency.into(), self.document.into(), Some(self.number));
        let bet = Bet { agency, first_name, last_name, document, birthdate, number };
        bet.validate().map_err(invalid)?;
        Ok(bet)
    }
}

/// The agency of a run as the wire carries it. The programs keep it within the dialect's `max_agency`.
pub(super) fn agency_byte(options: &AgencyOptions) -> u8 {
    debug_assert!(
        (1..=255).contains(&options.agency),
        "agency {} does not fit a byte",
        options.agency
    );
    options.agency as u8
}

/// Document and number of a bet as the integers that travel.
///
/// A document with leading zeros is refused: it would arrive as another text.
pub(super) fn document_and_number(bet: &Bet<'_>) -> Result<(u32, u32), Unencodable> {
    let document = integer(bet.document.as_str())?;
    Ok((document, bet.number.ok_or(Unencodable::Missing { field: "number" })?))
}

/// Refuses to carry `value` of `what` where at most `max` fit.
pub(super) fn within(what: &'static str, value: usize, max: usize) -> Result<usize, Unencodable> {
    if value > max { Err(Unencodable::OverLimit { what, value, max }) } else { Ok(value) }
}

/// The documents of winners as integers.
pub(super) fn documents(winners: &[&str]) -> Result<Vec<u8>, Unencodable> {
    let mut bytes = Vec::with_capacity(DOCUMENT_BYTES * winners.len());
    for text in winners {
        bytes.extend_from_slice(&integer(text)?.to_be_bytes());
    }
    Ok(bytes)
}

/// The integers that are the documents of winners, as texts.
pub(super) fn read_documents(bytes: &[u8]) -> Vec<String> {
    bytes
        .chunks_exact(DOCUMENT_BYTES)
        .map(|document| BigEndian::read_u32(document).to_string())
        .collect()
}

fn integer(document: &str) -> Result<u32, Unencodable> {
    decimal::parse(document).ok_or(Unencodable::NotNumeric { field: "document" })
}
