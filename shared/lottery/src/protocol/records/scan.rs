//! The rows of records in one pass.

use super::{LENGTH_BYTES, SEPARATOR, decode_record};
use crate::Prepared;
use crate::scan::{Copied, Scanned, WINDOW, append_rows, window};

/// Appends the rows of the bets of `agency` that `records` consists of. `consumed` is the length of
/// their message.
pub(in crate::protocol) fn prepare_records<'b>(
    records: &'b [u8],
    agency: u16,
    consumed: usize,
    rows: &mut Vec<u8>,
) -> Option<Prepared<'b>> {
    append_rows(rows, agency, |rows| {
        let mut at = 0;
        let mut spare = [0; WINDOW];
        while at < records.len() {
            let length = usize::from(u16::from_be_bytes(*records.get(at..)?.first_chunk()?));
            at += LENGTH_BYTES;
            let record = rows.next_record();
            let decode = || decode_record(records.get(at..at + length)?, record, agency).ok();
            // The zeros after the last record need care, so none is copied that is incomplete.
            let window = window(records, at, &mut spare);
            let mut scanned = Scanned::of::<SEPARATOR, b','>(window, length);
            match rows.copy(window, &mut scanned, length, true) {
                Copied::Loser => {}
                Copied::Winner => rows.push_winner(decode()?),
                Copied::No => rows.push(decode()?)?,
            }
            at += length;
        }
        Some(consumed)
    })
}
