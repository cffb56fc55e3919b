//! Encoding and decoding shared by `counted` and `sentinel`, whose bets are binary fields with
//! integer documents and numbers.

use byteorder::{BigEndian, ByteOrder};

use super::{AgencyOptions, ProtocolError, Unencodable};
use crate::{Bet, Birthdate, InvalidBet, decimal};

/// Length of a date, `YYYY-MM-DD`.
const DATE_BYTES: usize = 10;
/// Length of a document, a u32.
pub(super) const DOCUMENT_BYTES: usize = 4;

/// A reader of consecutive fields. Each method returns `None` if the field is incomplete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'b> {
    /// Bytes not yet read.
    pub rest: &'b [u8],
}

impl<'b> Fields<'b> {
    /// Reads the next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// Reads the next `N` bytes as an array, from which `from_be_bytes` makes an integer.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    /// Reads an unsigned integer of `width` bytes, 1 to 4.
    pub fn length(&mut self, width: usize) -> Option<usize> {
        let bytes = self.bytes(width)?;
        Some(bytes.iter().fold(0, |value, &byte| (value << 8) | usize::from(byte)))
    }

    /// Reads the bytes of a date without checking them.
    pub fn date(&mut self) -> Option<&'b [u8]> {
        self.bytes(DATE_BYTES)
    }
}

/// The fields of a bet on the wire, not yet checked.
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
    /// Returns the bet if its fields are valid. `record` is its position in the batch, from 1.
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

/// Returns the agency's number as the byte on the wire. The programs keep it within the dialect's
/// `max_agency`.
pub(super) fn agency_byte(options: &AgencyOptions) -> u8 {
    debug_assert!(
        (1..=255).contains(&options.agency),
        "agency {} does not fit a byte",
        options.agency
    );
    options.agency as u8
}

/// Returns document and number of a bet as the integers on the wire.
///
/// A document with leading zeros is rejected, because the central would decode a different text.
pub(super) fn document_and_number(bet: &Bet<'_>) -> Result<(u32, u32), Unencodable> {
    let document = integer(bet.document.as_str())?;
    Ok((document, bet.number.ok_or(Unencodable::Missing { field: "number" })?))
}

/// Returns `value` if it is at most `max`, otherwise an error that names `what`.
pub(super) fn within(what: &'static str, value: usize, max: usize) -> Result<usize, Unencodable> {
    if value > max { Err(Unencodable::OverLimit { what, value, max }) } else { Ok(value) }
}

/// Encodes the documents of winners as integers.
pub(super) fn documents(winners: &[&str]) -> Result<Vec<u8>, Unencodable> {
    let mut bytes = Vec::with_capacity(DOCUMENT_BYTES * winners.len());
    for text in winners {
        bytes.extend_from_slice(&integer(text)?.to_be_bytes());
    }
    Ok(bytes)
}

/// Checks that a document can be encoded as an integer.
pub(super) fn check_document(document: &str) -> Result<(), Unencodable> {
    integer(document).map(drop)
}

/// Decodes the documents of winners to texts.
pub(super) fn read_documents(bytes: &[u8]) -> Vec<String> {
    bytes
        .chunks_exact(DOCUMENT_BYTES)
        .map(|document| BigEndian::read_u32(document).to_string())
        .collect()
}

fn integer(document: &str) -> Result<u32, Unencodable> {
    decimal::parse(document).ok_or(Unencodable::NotNumeric { field: "document" })
}
