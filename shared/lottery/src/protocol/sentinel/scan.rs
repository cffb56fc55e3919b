//! The rows of a batch in one pass.

use super::{LENGTH_BYTES, MAX_NAME_CHARACTERS, Packets, decode_packet, read_packet};
use crate::Prepared;
use crate::scan::{BinaryBet, Copied, append_rows};

/// Bytes of a packet after its last name: birthdate, document and number.
const AFTER_NAMES_BYTES: usize = 10 + 4 + 4;

/// Appends the rows of `batch`, a whole message.
pub(super) fn prepare<'b>(batch: &'b [u8], agency: u8, rows: &mut Vec<u8>) -> Option<Prepared<'b>> {
    append_rows(rows, agency.into(), |rows| {
        let mut packets = Packets { rest: batch.get(LENGTH_BYTES..)? };
        while let Some(packet) = packets.next() {
            let packet = packet?;
            let raw = read_packet(agency, packet)?;
            let end = batch.len() - packets.rest.len();
            let last_name = end - AFTER_NAMES_BYTES - raw.last_name.len();
            let first_name = last_name - 1 - raw.first_name.len();
            let bet = BinaryBet {
                batch,
                first_name: (first_name, raw.first_name.len()),
                last_name: (last_name, raw.last_name.len()),
                birthdate: raw.birthdate,
                document: raw.document,
                number: raw.number,
            };
            // No name has more characters than bytes.
            let record = rows.next_record();
            let decode = || decode_packet(agency, Some(packet), record).ok();
            match rows.copy_binary(&bet, MAX_NAME_CHARACTERS) {
                Copied::Loser => {}
                Copied::Winner => rows.push_winner(decode()?),
                Copied::No => rows.push(decode()?)?,
            }
        }
        Some(batch.len())
    })
}
