//! Encoding and decoding of the records of `typed` and `keyed`: text with a length before it.

mod scan;

use byteorder::{BigEndian, ByteOrder};

use super::text::Fields;
use super::{Packet, ProtocolError, Push, Unencodable, check_separator};
use crate::{Bet, Birthdate, CopiedRows, FileRows, InvalidBet, MAX_TEXT_BYTES, decimal};
pub(super) use scan::prepare_records;

/// Length of the longest valid record: three texts, an ISO date, a ten-digit number and four
/// separators. A record that announces more is rejected before its bytes arrive.
pub const MAX_RECORD_BYTES: usize = 3 * MAX_TEXT_BYTES + 10 + 10 + 4;

/// The u16 before a record, and the count before several.
pub(super) const LENGTH_BYTES: usize = 2;
/// What separates the fields of a record.
pub(super) const SEPARATOR: u8 = b';';

/// Says of a record that the message has fewer bytes than it announces.
pub(super) const INCOMPLETE: &str = "ends after its message";

/// Returns the offset after the record that starts at `start`, or `None` while its length has not
/// arrived. The offset is beyond the buffer while the record is incomplete.
pub(super) fn record_end(
    buffer: &[u8],
    start: usize,
    record: usize,
) -> Result<Option<usize>, ProtocolError> {
    let Some(length) = buffer.get(start..start + LENGTH_BYTES) else { return Ok(None) };
    let bytes = usize::from(BigEndian::read_u16(length));
    if bytes > MAX_RECORD_BYTES {
        return Err(ProtocolError::RecordTooLong { record, bytes, max: MAX_RECORD_BYTES });
    }
    Ok(Some(start + LENGTH_BYTES + bytes))
}

/// Decodes `count` records that are known to be complete. All bets get the same agency, because
/// records have none.
pub(super) fn decode_records(
    mut bytes: &[u8],
    count: usize,
    agency: u16,
) -> Result<Vec<Bet<'_>>, ProtocolError> {
    let mut bets = Vec::with_capacity(count);
    for record in 1..=count {
        let (length, rest) = bytes.split_at(LENGTH_BYTES);
        let (text, rest) = rest.split_at(usize::from(BigEndian::read_u16(length)));
        bets.push(decode_record(text, record, agency)?);
        bytes = rest;
    }
    Ok(bets)
}

/// Decodes a u16 count and as many records, which fill `bytes`.
pub(super) fn decode_counted(bytes: &[u8], agency: u16) -> Result<Vec<Bet<'_>>, ProtocolError> {
    let (count, records) = bytes.split_first_chunk().unwrap_or((&[0; LENGTH_BYTES], &[]));
    let count = usize::from(u16::from_be_bytes(*count));
    let mut end = 0;
    for record in 1..=count {
        match record_end(records, end, record)? {
            Some(next) if next <= records.len() => end = next,
            _ => return Err(ProtocolError::Malformed { record, reason: INCOMPLETE }),
        }
    }
    no_unused_bytes(&records[end..])?;
    decode_records(records, count, agency)
}

/// Returns an error if bytes follow the last record of a message.
pub(super) fn no_unused_bytes(rest: &[u8]) -> Result<(), ProtocolError> {
    if rest.is_empty() { Ok(()) } else { Err(ProtocolError::UnusedBytes(rest.len())) }
}

fn decode_record(bytes: &[u8], record: usize, agency: u16) -> Result<Bet<'_>, ProtocolError> {
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
    let bet = Bet { agency, first_name, last_name, document: document.into(), birthdate, number };
    bet.validate().map_err(invalid)?;
    Ok(bet)
}

/// Appends an integer as u16, which saturates.
pub(super) fn put_u16(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes());
}

/// Appends the count of these bets and their records.
pub(super) fn put_counted(bets: &[Bet<'_>], out: &mut Vec<u8>) {
    put_u16(out, bets.len());
    for bet in bets {
        put_record(bet, out);
    }
}

/// Appends a record with its length, which fits a u16: the record of a valid bet has at most
/// [`MAX_RECORD_BYTES`].
pub(super) fn put_record(bet: &Bet<'_>, out: &mut Vec<u8>) {
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

/// Adds the record of a bet to a batch, if there is room.
pub(super) fn push_record(batch: &mut Packet, bet: &Bet<'_>) -> Result<Push, Unencodable> {
    bet.validate()?;
    check_separator(bet, SEPARATOR.into())?;
    batch.push(|out| {
        put_record(bet, out);
        Ok(())
    })
}

/// Adds the records of rows to a batch, up to the first row that needs care or for which there is
/// no room.
pub(super) fn copy_records(batch: &mut Packet, rows: FileRows<'_>) -> CopiedRows {
    batch.copy_rows::<SEPARATOR>(rows, |row, out| row.put_record(out))
}
