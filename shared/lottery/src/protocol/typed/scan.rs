//! The rows of a batch in one pass.

use super::{BATCH_HEADER_BYTES, LENGTH_BYTES, SEPARATOR, decode_record};
use crate::Prepared;
use crate::scan::{Copied, Scanned, WINDOW, append_rows, window};

/// Appends the rows of `batch`, a whole message.
pub(super) fn prepare<'b>(batch: &'b [u8], rows: &mut Vec<u8>) -> Option<Prepared<'b>> {
    append_rows(rows, 0, |rows| {
        let mut at = BATCH_HEADER_BYTES;
        let mut spare = [0; WINDOW];
        while at < batch.len() {
            let length = usize::from(u16::from_be_bytes(*batch.get(at..)?.first_chunk()?));
            at += LENGTH_BYTES;
            let record = rows.next_record();
            let decode = || decode_record(batch.get(at..at + length)?, record).ok();
            let window = window(batch, at, &mut spare);
            let mut scanned = Scanned::of::<SEPARATOR>(window, length);
            match rows.copy(window, &mut scanned, length, true) {
                Copied::Loser => {}
                Copied::Winner => rows.push_winner(decode()?),
                Copied::No => rows.push(decode()?)?,
            }
            at += length;
        }
        Some(at)
    })
}
