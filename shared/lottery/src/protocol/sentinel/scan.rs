//! The rows of a batch in one pass, and a batch of the rows of a file.

use super::{LENGTH_BYTES, MAX_NAME_CHARACTERS, Packets, decode_packet, read_packet};
use crate::Prepared;
use crate::scan::{BinaryBet, Copied, FileRow, append_rows};

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

/// Appends the packet of a row, if nothing in it needs care.
#[inline(always)]
pub(super) fn put_row(row: &FileRow<'_>, out: &mut Vec<u8>) -> Option<()> {
    // No name has more characters than bytes.
    let bet = row.binary(MAX_NAME_CHARACTERS)?;
    let names: usize = bet.names.iter().map(|name| 1 + name.length).sum();
    out.extend_from_slice(&((names + AFTER_NAMES_BYTES) as u16).to_be_bytes());
    for name in &bet.names {
        out.push(name.length as u8);
        name.put(out);
    }
    out.extend_from_slice(bet.birthdate);
    out.extend_from_slice(&bet.document.to_be_bytes());
    out.extend_from_slice(&bet.number.to_be_bytes());
    Some(())
}
