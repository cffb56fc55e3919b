//! The batch that an agency fills, limited in bets and in bytes.

use super::{MAX_PACKET_BYTES, Push, Unencodable};
use crate::scan::{FileRow, WINDOW, window};
use crate::{Bet, CopiedRows, FileRows};

/// Checks that no text of the bet contains the character that separates fields on the wire.
pub fn check_separator(bet: &Bet<'_>, separator: char) -> Result<(), Unencodable> {
    match bet.texts().into_iter().find(|(_, text)| text.contains(separator)) {
        Some((field, _)) => Err(Unencodable::Separator { field, separator }),
        None => Ok(()),
    }
}

/// The bytes of a batch and the number of its bets. The dialect writes the bets, the header before
/// them and the trailer after them.
#[derive(Debug)]
pub struct Packet {
    bytes: Vec<u8>,
    bets: usize,
    max_bets: usize,
    /// Bytes reserved before the bets. The dialect overwrites them when the packet is complete.
    header: usize,
    /// Bytes that the dialect appends after the bets.
    trailer: usize,
}

impl Packet {
    /// Creates an empty batch for at most `max_bets` bets (at least 1), with room for `header`
    /// bytes before and `trailer` bytes after them.
    pub fn new(max_bets: u16, header: usize, trailer: usize) -> Self {
        let mut packet =
            Self { bytes: Vec::new(), bets: 0, max_bets: max_bets.max(1).into(), header, trailer };
        packet.clear();
        packet
    }

    /// Returns the number of bets.
    pub fn bets(&self) -> usize {
        self.bets
    }

    /// Returns the number of bets as the u16 on the wire. It fits, because `max_bets` is a u16.
    pub fn count(&self) -> u16 {
        u16::try_from(self.bets).unwrap_or(u16::MAX)
    }

    /// Returns all bytes written so far, including the header.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.bets > 0, "an empty batch must not be sent");
        &mut self.bytes
    }

    /// Adds a bet, which `put` writes, if there is room. The batch is unchanged if `put` fails.
    pub fn push(
        &mut self,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), Unencodable>,
    ) -> Result<Push, Unencodable> {
        let before = self.bytes.len();
        // The bet is written even if the batch is full, so that the error of a bet which the
        // dialect cannot encode does not depend on its position.
        let written = put(&mut self.bytes);
        if written.is_ok() && self.has_room() {
            self.bets += 1;
            return Ok(Push::Added);
        }
        self.bytes.truncate(before);
        written.map(|()| Push::Full)
    }

    /// Adds rows of a file, each of which `put` writes, up to the first one that needs care or for
    /// which there is no room. `put` returns `None` if its row needs care.
    #[inline(always)]
    pub(super) fn copy_rows<const SEPARATOR: u8>(
        &mut self,
        rows: FileRows<'_>,
        put: impl Fn(&mut FileRow<'_>, &mut Vec<u8>) -> Option<()>,
    ) -> CopiedRows {
        let mut copied = CopiedRows::default();
        let mut spare = [0; WINDOW];
        while copied.rows < rows.max {
            let window = window(rows.bytes, copied.bytes, &mut spare);
            let Some(mut row) = FileRow::read::<SEPARATOR>(window, &rows) else { break };
            let before = self.bytes.len();
            let is_written = put(&mut row, &mut self.bytes).is_some();
            copied.is_full = is_written && !self.has_room();
            if !is_written || copied.is_full {
                self.bytes.truncate(before);
                break;
            }
            let (length, end) = row.lengths();
            self.bets += 1;
            copied.rows += 1;
            copied.end = copied.bytes + end;
            copied.bytes += length;
        }
        copied
    }

    /// Returns true if the bytes, which include one more bet than is counted, may be sent.
    fn has_room(&self) -> bool {
        self.bets < self.max_bets && self.bytes.len() + self.trailer <= MAX_PACKET_BYTES
    }

    /// Removes all bets.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(self.header, 0);
        self.bets = 0;
    }
}
