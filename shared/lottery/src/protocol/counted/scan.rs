//! The rows of a batch in one pass, and a batch of the rows of a file.

use super::{COUNT_BYTES, Edition, Fields};
use crate::scan::{BinaryBet, Copied, FileRow, append_rows};
use crate::{MAX_TEXT_BYTES, Prepared};

/// Bytes of a bet after its last name: document, birthdate and number.
const AFTER_NAMES_BYTES: usize = 4 + 10 + 2;

/// Longest name in bytes that is copied. In the course's data the longest has 23.
const MAX_COPIED_BYTES: usize = 30;
const _: () = assert!(MAX_COPIED_BYTES <= MAX_TEXT_BYTES);

/// Appends the rows of `batch`, a whole message of bets of one agency.
pub(super) fn prepare<'b>(
    edition: Edition,
    batch: &'b [u8],
    agency: u8,
    rows: &mut Vec<u8>,
) -> Option<Prepared<'b>> {
    append_rows(rows, agency.into(), |rows| {
        let mut fields = Fields { rest: batch.get(COUNT_BYTES..)? };
        while !fields.rest.is_empty() {
            let record = rows.next_record();
            let raw = edition.read_bet(&mut fields, record).ok()??;
            let end = batch.len() - fields.rest.len();
            let last_name = end - AFTER_NAMES_BYTES - raw.last_name.len();
            let first_name = last_name - edition.width - raw.first_name.len();
            let bet = BinaryBet {
                batch,
                first_name: (first_name, raw.first_name.len()),
                last_name: (last_name, raw.last_name.len()),
                birthdate: raw.birthdate,
                document: raw.document,
                number: raw.number,
            };
            match rows.copy_binary(&bet, MAX_COPIED_BYTES) {
                Copied::Loser => {}
                Copied::Winner => rows.push_winner(raw.checked(record).ok()?),
                Copied::No => rows.push(raw.checked(record).ok()?)?,
            }
        }
        Some(batch.len())
    })
}

/// Appends the bet of a row, if nothing in it needs care.
#[inline(always)]
pub(super) fn put_row(
    edition: Edition,
    agency: u8,
    row: &FileRow<'_>,
    out: &mut Vec<u8>,
) -> Option<()> {
    let bet = row.binary(MAX_COPIED_BYTES)?;
    let number = u16::try_from(bet.number).ok()?;
    out.push(agency);
    for name in &bet.names {
        edition.put(name.length, out);
        name.put(out);
    }
    out.extend_from_slice(&bet.document.to_be_bytes());
    out.extend_from_slice(bet.birthdate);
    out.extend_from_slice(&number.to_be_bytes());
    Some(())
}
